"""One cluster's part of a round: taken out of a message, and as the writes that put it where the plan says.

Looks at form only; what a part claims is examined by whoever takes it into a round (``rounds.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from baash.errors import PeerError
from baash.protocol import certificate as certificates
from baash.protocol.committed import split_certificates
from baash.protocol.events import Write
from baash.protocol.messages import rows
from baash.protocol.plan import Part, Plan
from baash.records import REJECTION

BlocksOf = Callable[[certificates.Certificate], np.ndarray]  # the records (u1) of one of a cluster's own windows


def opened(cluster: int, sections: Sequence[np.ndarray]) -> Part:
    """The part of ``cluster`` in two sections of a message: rejections, certificates. Raises PeerError."""
    if len(sections) != 2:
        raise PeerError("a part of a round with the wrong sections")
    found = split_certificates(sections[1])
    if (rows(sections[0], REJECTION)["cluster"] != cluster).any():
        raise PeerError(f"cluster {cluster} brings rejections of another")
    return Part(cluster, tuple(c for c, _ in found), tuple(e for _, e in found), rows(sections[0], REJECTION))


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
