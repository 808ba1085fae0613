"""One cluster's part of a round: taken out of a message, examined, and as the writes that put it where the plan says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from baash.errors import PeerError
from baash.protocol import certificate as certificates
from baash.protocol.committed import pad8, split_certificates
from baash.protocol.events import Write
from baash.protocol.messages import rows
from baash.protocol.plan import Log, Part, Plan
from baash.protocol.view import View
from baash.records import REJECTION, Reason

REASONS = [int(r) for r in Reason if r is not Reason.NONE]

BlocksOf = Callable[[certificates.Certificate], np.ndarray]  # the records (u1) of one of a cluster's own windows


def opened(cluster: int, sections: Sequence[np.ndarray]) -> Part:
    """The part of ``cluster`` in two sections of a message: rejections, certificates. Raises PeerError."""
    if len(sections) != 2:
        raise PeerError("a part of a round with the wrong sections")
    found = split_certificates(sections[1])
    rejections = rows(sections[0], REJECTION)
    if (rejections["cluster"] != cluster).any():
        raise PeerError(f"cluster {cluster} brings rejections of another")
    if not np.isin(rejections["reason"], REASONS).all() or rejections["reserved"].any():
        raise PeerError(f"cluster {cluster} brings rejections for no reason")
    return Part(cluster, tuple(c for c, _ in found), tuple(e for _, e in found), rejections)


def proposal(parts: Sequence[Part]) -> list[np.ndarray | bytes]:
    """The sections of a PROPOSE message."""
    sections: list[np.ndarray | bytes] = [np.array([p.cluster for p in parts], dtype="<u4").tobytes()]
    for part in parts:
        sections += [part.rejections.tobytes(), pad8(part.encoded)]
    return sections


def proposed(sections: Sequence[np.ndarray]) -> list[Part]:
    """The parts of a PROPOSE message, ascending by cluster. Raises PeerError."""
    clusters = rows(sections[0], np.dtype("<u4")).tolist()
    if len(sections) != 1 + 2 * len(clusters) or clusters != sorted(set(clusters)):
        raise PeerError("PROPOSE message with the wrong sections")
    return [opened(c, sections[1 + 2 * i : 3 + 2 * i]) for i, c in enumerate(clusters)]


def examine(part: Part, view: View, log: Log, *, votes: bool) -> str | None:
    """What is wrong with a part that is to follow ``log``: the place of its windows in their chain and, with ``votes``, the votes."""
    if part.cluster >= len(view.coordinators):
        return "there is no such cluster"
    number, previous = log.clusters[part.cluster]
    for certificate in part.certificates:
        window = certificate.window
        if int(window["cluster"]) != part.cluster or int(window["number"]) != number:
            return f"window {int(window['number'])} where {number} is due"
        if window["previous"].tobytes() != previous:
            return f"window {number} does not follow the one before"
        wrong = certificates.examine(certificate, view) if votes else None
        if wrong:
            return wrong
        number, previous = number + 1, certificate.window_hash
    return None


def equal(one: Part, other: Part) -> bool:
    """Whether two parts are the same to the byte."""
    same = [e.tobytes() for e in one.encoded] == [e.tobytes() for e in other.encoded]
    return same and one.rejections.tobytes() == other.rejections.tobytes()


def votes_of(part: Part) -> Iterator[np.void]:
    """All votes (VOTE) of a part, those included that did not suffice."""
    for certificate in part.certificates:
        yield from certificate.votes
        if certificate.enclosed.nbytes:
            yield from certificates.decode(certificate.enclosed).votes


def writes(plan: Plan, cluster: int, blocks_of: BlocksOf, *, leads: bool) -> tuple[Write, ...]:
    """A cluster's blocks and certificates; the leader's also what a round has one writer for."""
    segment = plan.after.cursor.segment
    found: list[Write] = []
    for part, records, encoded in zip(plan.parts, plan.records_offsets, plan.certificate_offsets, strict=True):
        if part.cluster == cluster:
            found += _own(segment, part, records, encoded, blocks_of)
    if leads:
        locator = plan.locator
        found.append(Write(segment, "block_headers", int(locator["first_block"]) * plan.rows.itemsize, _raw(plan.rows)))
        found.append(Write(segment, "certificates", int(locator["body_offset"]), plan.body))
        first = int(locator["first_rejection"]) * REJECTION.itemsize
        found.append(Write(segment, "rejections", first, _raw(plan.rejections)))
    return tuple(w for w in found if w.data.nbytes)


def _own(
    segment: int, part: Part, records: tuple[int, ...], encoded: tuple[int, ...], blocks_of: BlocksOf
) -> list[Write]:
    found = []
    for offset, at, certificate, raw in zip(records, encoded, part.certificates, part.encoded, strict=True):
        size = int(certificate.entries["bytes"][: certificate.prefix].sum(dtype=np.uint64))
        found.append(Write(segment, "records", offset, blocks_of(certificate)[:size]))
        found.append(Write(segment, "certificates", at, raw))
    return found


def _raw(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1)
