"""Certificates: a window header, its blocks' roots and the votes that carried it, so that anyone can recount.

Layout in ``docs/ledger-format.md`` section 5. Decoding copies nothing: the parts are views of the bytes, checked for
length only; ``examine`` does the arithmetic and names the first thing that is wrong, ``faults`` all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from baash import kernels
from baash.protocol import quorum
from baash.protocol.view import View
from baash.records import (
    ATTEMPT,
    BLOCK_ENTRY,
    CERTIFICATE,
    FORMAT_VERSION,
    VOTE,
    WINDOW,
    Answer,
    Decider,
    Tag,
    align,
    tagged,
)


@dataclass(frozen=True)
class Certificate:
    """A decoded certificate; arrays are views of the bytes it came from."""

    head: np.ndarray  # CERTIFICATE, scalar
    window: np.ndarray  # WINDOW, scalar
    members: np.ndarray  # u4
    entries: np.ndarray  # BLOCK_ENTRY
    votes: np.ndarray  # VOTE
    enclosed: np.ndarray  # u1: another certificate, or empty

    @cached_property
    def window_hash(self) -> bytes:
        return hashlib.sha256(self.window.tobytes()).digest()

    @cached_property
    def digests(self) -> np.ndarray:
        """(n, 32): the content digests of its blocks."""
        return kernels.content_digests(self.entries, int(self.window["cluster"]))

    @property
    def prefix(self) -> int:
        return int(self.head["prefix"])

    @property
    def decider(self) -> Decider:
        return Decider(int(self.head["decider"]))

    @cached_property
    def attempt_hash(self) -> bytes:
        return attempt_hash(self.window_hash, self.decider, int(self.head["attempt"]), self.members)


def attempt_hash(window_hash: bytes, decider: Decider, attempt: int, members: Sequence[int] | np.ndarray) -> bytes:
    """What a vote on this attempt signs."""
    head = tagged(np.zeros((), dtype=ATTEMPT), Tag.ATTEMPT)
    head["decider"], head["attempt"], head["member_count"] = decider, attempt, len(members)
    head["window"] = np.frombuffer(window_hash, dtype=np.uint8)
    return hashlib.sha256(head.tobytes() + members_bytes(members)).digest()


def encode(
    window: np.ndarray,
    decider: Decider,
    attempt: int,
    members: Sequence[int] | np.ndarray,
    entries: np.ndarray,
    votes: np.ndarray,
    prefix: int,
    enclosed: np.ndarray | None = None,
) -> np.ndarray:
    """The bytes (u1) of a certificate; ``votes`` ascending by node."""
    head = tagged(np.zeros((), dtype=CERTIFICATE), Tag.CERTIFICATE)
    inner = b"" if enclosed is None else enclosed.tobytes()
    body = window.tobytes() + members_bytes(members) + entries.tobytes() + votes.tobytes() + inner
    head["decider"], head["prefix"], head["attempt"] = decider, prefix, attempt
    head["member_count"], head["vote_count"], head["enclosed_bytes"] = len(members), len(votes), len(inner)
    head["total_bytes"] = head.nbytes + len(body)
    return np.frombuffer(head.tobytes() + body, dtype=np.uint8)


def decode(data: np.ndarray) -> Certificate:
    """A certificate from the first bytes of ``data`` (u1). Raises ValueError saying what does not fit."""
    if data.nbytes < CERTIFICATE.itemsize + WINDOW.itemsize:
        raise ValueError("certificate cut short")
    head = data[: CERTIFICATE.itemsize].view(CERTIFICATE)[0]
    if (int(head["zero"]), int(head["tag"]), int(head["version"])) != (0, Tag.CERTIFICATE, FORMAT_VERSION):
        raise ValueError("not a certificate")
    if int(head["decider"]) not in Decider.__members__.values():
        raise ValueError("certificate with an unknown decider")
    at = CERTIFICATE.itemsize
    window = data[at : at + WINDOW.itemsize].view(WINDOW)[0]
    at += WINDOW.itemsize
    if (int(window["zero"]), int(window["tag"]), int(window["version"])) != (0, Tag.WINDOW, FORMAT_VERSION):
        raise ValueError("certificate without a window")
    members, blocks, votes = int(head["member_count"]), int(window["block_count"]), int(head["vote_count"])
    sizes = (align(4 * members, 8), BLOCK_ENTRY.itemsize * blocks, VOTE.itemsize * votes, int(head["enclosed_bytes"]))
    if at + sum(sizes) != int(head["total_bytes"]) or int(head["total_bytes"]) > data.nbytes:
        raise ValueError("certificate whose parts are not its length")
    parts = []
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    return Certificate(
        head,
        window,
        parts[0].view("<u4")[:members],
        parts[1].view(BLOCK_ENTRY),
        parts[2].view(VOTE),
        parts[3],
    )


def canonical(raw: np.ndarray, made: Certificate) -> bool:
    """Whether ``raw``, of which ``made`` was decoded, are the only bytes that this certificate may have."""
    again = encode(
        made.window, made.decider, int(made.head["attempt"]), made.members, made.entries, made.votes, made.prefix,
        made.enclosed if made.enclosed.nbytes else None,
    )  # fmt: skip
    if again.tobytes() != raw.tobytes():
        return False
    if not made.enclosed.nbytes:
        return True
    try:
        inner = decode(made.enclosed)
    except ValueError:
        return False
    return inner.prefix == 0 and not inner.enclosed.nbytes and canonical(made.enclosed, inner)


def examine(certificate: Certificate, view: View) -> str | None:
    """The first thing that is wrong with a certificate under ``view``, or None: members, content root, votes, the recount."""
    return next(faults(certificate, view), None)


def faults(certificate: Certificate, view: View) -> Iterator[str]:
    """All that is wrong with a certificate under ``view``, as far as the one does not follow from the other."""
    inner = None
    if certificate.enclosed.nbytes:
        try:
            inner = decode(certificate.enclosed)
        except ValueError as error:
            yield f"enclosed: {error}"
            return
        if int(inner.head["total_bytes"]) != certificate.enclosed.nbytes:
            yield "the enclosed certificate has bytes behind it"
    wrong = _examine_place(certificate, view)
    if wrong:
        yield wrong
        return
    yield from _content_faults(certificate)
    yield from _vote_faults(certificate, view, enclosed=False)
    if inner is not None:
        yield from _enclosed_faults(certificate, view, inner)
        yield from _content_faults(inner)


def examine_votes(certificate: Certificate, view: View, inner: Certificate | None) -> str | None:
    """The same without a look at ``entries``, which need not be there; ``inner``: the enclosed certificate, if there is one."""
    wrong = _examine_place(certificate, view) or next(_vote_faults(certificate, view, enclosed=False), None)
    return wrong or (next(_enclosed_faults(certificate, view, inner), None) if inner is not None else None)


def _examine_place(certificate: Certificate, view: View) -> str | None:
    """View, ledger and cluster."""
    window, cluster = certificate.window, int(certificate.window["cluster"])
    if int(window["view"]) != view.view or window["ledger"].tobytes() != view.ledger:
        return "the window is of another view or ledger"
    if cluster >= len(view.coordinators):
        return f"the window is of cluster {cluster}, which does not exist"
    return None


def _content_faults(certificate: Certificate) -> Iterator[str]:
    window, digests = certificate.window, certificate.digests
    root = kernels.merkle_roots(digests, np.array([0, len(digests)]))[0]
    if root.tobytes() != window["content_root"].tobytes():
        yield "the content root is not that of the blocks"
    if int(certificate.entries["count"].sum(dtype=np.uint64)) != int(window["transaction_count"]):
        yield "the window's transaction count is not that of its blocks"
    if int(certificate.entries["bytes"].sum(dtype=np.uint64)) != int(window["records_bytes"]):
        yield "the window's size is not that of its blocks"


def _vote_faults(certificate: Certificate, view: View, *, enclosed: bool) -> Iterator[str]:
    """Members, every vote, and the recount. The place was examined."""
    wrong = _examine_members(certificate, view, int(certificate.window["cluster"]))
    if wrong:
        yield wrong  # what the votes sign covers the members
        return
    prefixes, wrong_votes = _votes(certificate, view)
    yield from wrong_votes
    if wrong_votes:
        return
    need = 1
    if certificate.decider is not Decider.STORAGE_VALIDATOR:
        need = view.parameters.quorum_of(len(certificate.members))
    given = sum(p is not None for p in prefixes)
    decided, status, _ = quorum.count(prefixes, need, int(certificate.window["block_count"]))
    if enclosed:
        if status == quorum.SETTLED:
            yield "the enclosed votes had sufficed"
    elif given < need:
        yield f"{given} votes, but {need} are needed"
    elif decided != certificate.prefix or (status == quorum.OPEN and decided < certificate.prefix):
        yield f"the votes carry {decided} blocks, the certificate says {certificate.prefix}"


def _enclosed_faults(certificate: Certificate, view: View, inner: Certificate) -> Iterator[str]:
    """What is wrong with ``inner``, the votes that did not suffice, but for its entries."""
    if certificate.decider is not Decider.STORAGE_VALIDATOR:
        yield "a certificate of members encloses another"
    elif inner.decider is not Decider.MEMBERS or inner.window_hash != certificate.window_hash:
        yield "encloses votes on another window"
    else:
        if inner.prefix != 0:
            yield "the enclosed certificate claims to have decided something"
        wrong = _examine_place(inner, view)
        if wrong:
            yield wrong
        else:
            yield from _vote_faults(inner, view, enclosed=True)


def _examine_members(certificate: Certificate, view: View, cluster: int) -> str | None:
    members = certificate.members.tolist()
    attempt = int(certificate.head["attempt"])
    if certificate.decider is Decider.STORAGE_VALIDATOR:
        storage = view.storage
        if storage is None or members != [storage.node]:
            return "decided by a storage validator that the view does not have"
        if attempt != 0 or not certificate.enclosed.nbytes:
            return "decided by the storage validator without the votes that did not suffice"
        return None
    legal = {n.node for n in view.validators(cluster)}
    if len(set(members)) != len(members) or not legal.issuperset(members):
        return "a member is not a validator of the cluster, or is listed twice"
    if attempt > view.parameters.replacements or len(members) != view.parameters.sub_cluster + attempt:
        return f"attempt {attempt} lists {len(members)} members"
    return None


def _votes(certificate: Certificate, view: View) -> tuple[list[int | None], list[str]]:
    """Each member's prefix, and what is wrong with the votes."""
    members = certificate.members.tolist()
    place = {node: i for i, node in enumerate(members)}
    prefixes: list[int | None] = [None] * len(members)
    wrong: list[str] = []
    last = -1
    for vote in certificate.votes:
        node = int(vote["node"])
        if node <= last:  # and no signature is checked: so there are never more checks than members
            wrong.append("votes are not in ascending order of node")
        elif node not in place:
            wrong.append(f"a vote by node {node}, which is not a member")
        elif not quorum.genuine(vote, view.nodes[node], certificate.attempt_hash):
            wrong.append(f"the vote of node {node} is not signed by it for this attempt")
        elif int(vote["answer"]) == Answer.PREFIX:
            prefixes[place[node]] = min(int(vote["prefix"]), int(certificate.window["block_count"]))
        last = max(last, node)
    return prefixes, wrong


def members_bytes(members: Sequence[int] | np.ndarray) -> bytes:
    """Node numbers as attempts and certificates have them."""
    raw = np.asarray(members, dtype="<u4").tobytes()
    return raw + bytes(-len(raw) % 8)
