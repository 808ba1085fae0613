"""Certificates: a window header, its blocks' roots and the votes that carried it, so that anyone can recount.

Layout in ``docs/ledger-format.md`` section 5. Decoding copies nothing: the parts are views of the bytes, checked for
length only; ``examine`` does the arithmetic and names the first thing that is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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


def examine(certificate: Certificate, view: View, *, enclosed: bool = False) -> str | None:
    """What is wrong with a certificate under ``view``, or None: members, content root, votes and the recount."""
    wrong = _examine_place(certificate, view) or _examine_content(certificate)
    wrong = wrong or _examine_votes(certificate, view, enclosed)
    if wrong or enclosed or not certificate.enclosed.nbytes:
        return wrong
    try:
        inner = decode(certificate.enclosed)
    except ValueError as error:
        return f"enclosed: {error}"
    if int(inner.head["total_bytes"]) != certificate.enclosed.nbytes:
        return "the enclosed certificate has bytes behind it"
    return _examine_enclosed(certificate, view, inner) or _examine_content(inner)


def examine_votes(certificate: Certificate, view: View, inner: Certificate | None) -> str | None:
    """The same without a look at ``entries``, which need not be there; ``inner``: the enclosed certificate, if there is one."""
    wrong = _examine_place(certificate, view) or _examine_votes(certificate, view, False)
    return wrong or (_examine_enclosed(certificate, view, inner) if inner is not None else None)


def _examine_place(certificate: Certificate, view: View) -> str | None:
    """View, ledger, cluster and members."""
    window, cluster = certificate.window, int(certificate.window["cluster"])
    if int(window["view"]) != view.view or window["ledger"].tobytes() != view.ledger:
        return "the window is of another view or ledger"
    if cluster >= len(view.coordinators):
        return f"the window is of cluster {cluster}, which does not exist"
    return _examine_members(certificate, view, cluster)


def _examine_content(certificate: Certificate) -> str | None:
    window = certificate.window
    digests = kernels.content_digests(certificate.entries, int(window["cluster"]))
    root = kernels.merkle_roots(digests, np.array([0, len(digests)]))[0]
    if root.tobytes() != window["content_root"].tobytes():
        return "the content root is not that of the blocks"
    if int(certificate.entries["count"].sum(dtype=np.uint64)) != int(window["transaction_count"]):
        return "the window's transaction count is not that of its blocks"
    if int(certificate.entries["bytes"].sum(dtype=np.uint64)) != int(window["records_bytes"]):
        return "the window's size is not that of its blocks"
    return None


def _examine_votes(certificate: Certificate, view: View, enclosed: bool) -> str | None:
    """Every vote, and the recount."""
    prefixes, wrong = _votes(certificate, view)
    if wrong:
        return wrong
    members = len(certificate.members)
    need = 1 if certificate.decider is Decider.STORAGE_VALIDATOR else view.parameters.quorum_of(members)
    decided, status, _ = quorum.count(prefixes, need, int(certificate.window["block_count"]))
    if enclosed:
        return "the enclosed votes had sufficed" if status == quorum.SETTLED else None
    if sum(p is not None for p in prefixes) < need:
        return f"{sum(p is not None for p in prefixes)} votes, but {need} are needed"
    if decided != certificate.prefix or (status == quorum.OPEN and decided < certificate.prefix):
        return f"the votes carry {decided} blocks, the certificate says {certificate.prefix}"
    return None


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


def _votes(certificate: Certificate, view: View) -> tuple[list[int | None], str | None]:
    """Each member's prefix, and what is wrong with the votes."""
    members = certificate.members.tolist()
    place = {node: i for i, node in enumerate(members)}
    prefixes: list[int | None] = [None] * len(members)
    last = -1
    for vote in certificate.votes:
        node = int(vote["node"])
        if node <= last:
            return prefixes, "votes are not in ascending order of node"
        last = node
        if node not in place:
            return prefixes, f"a vote by node {node}, which is not a member"
        if not quorum.genuine(vote, view.nodes[node], certificate.attempt_hash):
            return prefixes, f"the vote of node {node} is not signed by it for this attempt"
        if int(vote["answer"]) == Answer.PREFIX:
            prefixes[place[node]] = min(int(vote["prefix"]), int(certificate.window["block_count"]))
    return prefixes, None


def _examine_enclosed(certificate: Certificate, view: View, inner: Certificate) -> str | None:
    """What is wrong with ``inner``, the votes that did not suffice, but for its entries."""
    if certificate.decider is not Decider.STORAGE_VALIDATOR:
        return "a certificate of members encloses another"
    if inner.decider is not Decider.MEMBERS or inner.window_hash != certificate.window_hash:
        return "encloses votes on another window"
    if inner.prefix != 0:
        return "the enclosed certificate claims to have decided something"
    return _examine_place(inner, view) or _examine_votes(inner, view, True)


def members_bytes(members: Sequence[int] | np.ndarray) -> bytes:
    """Node numbers as attempts and certificates have them."""
    raw = np.asarray(members, dtype="<u4").tobytes()
    return raw + bytes(-len(raw) % 8)
