"""The headers of one cluster's blocks as a node makes them for itself, and the little that proves them to it.

Theory. A round's blocks are the parts of the clusters, one behind the other. Of its own cluster's part a node can compute
every header but for one thing: the hash of the block before the first. It is told that hash, and the roots of the perfect
subtrees that cover the log before and behind its part (RFC 9162 section 2.1; at most two a level, none in a world of one
cluster). With its own hashes between them they must complete the tree whose root is in the commit record that every
coordinator signed. So nothing is taken on trust, and what a node is sent and computes grows with the logarithm of what
the other clusters commit, not with their number. ``docs/decisions/0012`` has the arithmetic.

Numbers of transactions are in no hash: they are held against the commit records' totals and each other, no more.

Keeps nothing: the blocks themselves are ``replica.py``'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.errors import PeerError
from baash.protocol.plan import Log, Plan


@dataclass(frozen=True)
class Tip:
    """The end of the chain as a node knows it. ``frontier`` ((64, 32) u1) is never changed in place."""

    block_total: int
    transaction_total: int
    head: bytes
    frontier: np.ndarray


def tip_of(log: Log) -> Tip:
    return Tip(log.block_total, log.transaction_total, log.head, log.frontier)


def surroundings(done: Plan, cluster: int) -> bytes:
    """What the nodes of ``cluster`` must be told of a round's other blocks: hashes of 32 bytes (see ``extend``)."""
    _, first, after = done.part_of(cluster)
    start = done.after.block_total - len(done.hashes)
    parent = done.hashes[first - 1].tobytes() if first else b""
    before = _roots(done.hashes[:first], start)
    behind = _roots(done.hashes[after:], start + after)
    return parent + before.tobytes() + behind.tobytes()


def extend(
    tip: Tip, record: np.ndarray, windows: np.ndarray, cluster: int | None, rows: np.ndarray, around: np.ndarray
) -> Tip:
    """The tip after a round; ``rows`` (BLOCK_ROW) of this cluster's blocks get height and parent, in place.

    ``record`` COMMIT_RECORD, checked; ``windows`` ROUND_WINDOW, of the body it names; ``around`` (u1): from
    ``surroundings``. Raises PeerError when they are not the log's: then ``rows`` are worth nothing.
    """
    clusters, blocks = windows["cluster"], windows["prefix"].astype(np.uint64)
    total = tip.block_total + int(blocks.sum())
    if bool((clusters[1:] < clusters[:-1]).any()) or total != int(record["block_total"]):
        raise PeerError("a round whose windows are not those of its commit record")
    first = tip.block_total + int(blocks[clusters < cluster].sum())
    after = first + len(rows)
    before, behind = _levels(tip.block_total, first), _levels(after, total)
    parents = int(first > tip.block_total)
    if around.nbytes != 32 * (parents + len(before) + len(behind)):
        raise PeerError("COMMITTED message with the wrong number of hashes of other clusters' blocks")
    told = [around[at : at + 32].tobytes() for at in range(0, around.nbytes, 32)]
    _check_numbers(rows, tip.transaction_total, int(record["transaction_total"]), alone=not parents)

    frontier = tip.frontier.copy()
    at = _carry(frontier, tip.block_total, before, told[parents : parents + len(before)])
    head = told[0] if parents else tip.head
    if len(rows):
        hashes = kernels.chain_blocks(rows, first, head)
        at, _ = kernels.log_append(frontier, at, hashes)
        head = hashes[-1].tobytes()
    _carry(frontier, at, behind, told[parents + len(before) :])
    newest: bytes = record["head"].tobytes()
    if kernels.log_root(frontier, total) != record["log_root"].tobytes() or (not behind and head != newest):
        raise PeerError("blocks that are not in the log of the commit record")
    return Tip(total, int(record["transaction_total"]), newest, frontier)


def _check_numbers(rows: np.ndarray, before: int, total: int, *, alone: bool) -> None:
    """The transactions of ``rows`` are numbered without gaps, inside the round; ``alone``: from its beginning."""
    if not len(rows):
        return
    firsts = rows["first_transaction"]
    ends = firsts + rows["count"]
    start = int(firsts[0])
    if bool((firsts[1:] != ends[:-1]).any()) or not before <= start <= int(ends[-1]) <= total:
        raise PeerError("COMMITTED message with impossible numbers of transactions")
    if alone and start != before:
        raise PeerError("COMMITTED message that leaves numbers of transactions out")


def _levels(first: int, after: int) -> list[int]:
    """Levels of the perfect subtrees that cover the leaves [first, after) of the log, from the left."""
    found = []
    while first < after:
        level = (after - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        found.append(level)
        first += 1 << level
    return found


def _roots(hashes: np.ndarray, first: int) -> np.ndarray:
    """(k, 32): the roots of these subtrees; ``hashes`` are the leaves from ``first`` on."""
    sizes = [1 << level for level in _levels(first, first + len(hashes))]
    return kernels.merkle_roots(hashes, np.cumsum([0, *sizes], dtype=np.int64))


def _carry(frontier: np.ndarray, size: int, levels: list[int], roots: list[bytes]) -> int:
    """Append perfect subtrees to the log of ``size`` leaves that ``frontier`` describes; the new size."""
    for level, root in zip(levels, roots, strict=True):
        at = level
        while size >> at & 1:
            root = hashlib.sha256(b"\x01" + frontier[at].tobytes() + root).digest()
            frontier[at] = 0
            at += 1
        frontier[at] = np.frombuffer(root, dtype=np.uint8)
        size += 1 << level
    return size
