"""The log tree: roots, inclusion paths and consistency paths over the block hashes of a ledger (RFC 9162 section 2.1).

Theory. Cut n leaves into chunks of 256. The largest power of two below n is a multiple of 256 when n is above it, so the tree
over the leaves is the tree over the roots of the chunks, the last of which may be ragged. So a path is the path within
one chunk, then that of the chunk among the chunks, and nothing but the chunks' roots (32 bytes for 256 blocks) is in memory.

Reads block headers in bulk and checks none of them: who builds a proof checks the proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from baash import kernels
from baash.errors import LedgerError
from baash.ledger.reader import Ledger
from baash.records import BLOCK_HEADER

CHUNK = 256
READ_BLOCKS = 64 * CHUNK  # rows read at once: 2 MiB
EMPTY_ROOT = hashlib.sha256(b"").digest()

Progress = Callable[[int, int], None]  # blocks done, in all
Roots = Callable[[int], "bytes | None"]  # number of a chunk → its root, if known


class LogTree:
    """The log tree of a ledger; roots of whole chunks are computed once and kept.

    ``roots``: what an index says of the chunks' roots. Only for those who check what they make of them: nobody vouches for it.
    """

    def __init__(self, ledger: Ledger, progress: Progress | None = None, roots: Roots | None = None) -> None:
        self._ledger = ledger
        self._progress = progress
        self._roots = roots or (lambda chunk: None)
        self._whole = np.zeros((0, 32), dtype=np.uint8)  # roots of the first chunks

    @property
    def size(self) -> int:
        """How many blocks the ledger has."""
        return self._ledger.block_total

    def root(self, size: int) -> bytes:
        """The root over the first ``size`` blocks. LedgerError if there are fewer."""
        self._check(size)
        return _root(self._chunks(size)) if size else EMPTY_ROOT

    def path(self, height: int, size: int) -> np.ndarray:
        """(k, 32): the inclusion path of the block at ``height`` among the first ``size``, from the leaf up."""
        self._check(size)
        if not 0 <= height < size:
            raise LedgerError(f"block {height} is not among the first {size} blocks of the log")
        chunk = height // CHUNK
        leaves = header_hashes(self._ledger, chunk * CHUNK, min(chunk * CHUNK + CHUNK, size))
        inside = kernels.merkle_path(leaves, height % CHUNK)
        return np.concatenate((inside, kernels.merkle_path(self._chunks(size), chunk)))

    def consistency(self, old: int, new: int) -> np.ndarray:
        """(k, 32): the proof that the first ``old`` blocks are a beginning of the first ``new`` (section 2.1.4.1).

        Empty if they are equal, or ``old`` is 0.
        """
        self._check(new)
        if not 0 <= old <= new:
            raise LedgerError(f"a log of {new} blocks cannot be an extension of one of {old}")
        found = [self._subtree(first, after) for first, after in _nodes(old, new)] if old else []
        return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, 32)

    def _check(self, size: int) -> None:
        if not 0 <= size <= self._ledger.block_total:
            raise LedgerError(f"{self._ledger.path} has {self._ledger.block_total} blocks, {size} were asked for")

    def _subtree(self, first: int, after: int) -> bytes:
        """The root of a subtree of the log: it begins at a multiple of its own (rounded up) size."""
        if after - first <= CHUNK:
            return _root(header_hashes(self._ledger, first, after))
        return _root(self._chunks(after)[first // CHUNK :])

    def _chunks(self, size: int) -> np.ndarray:
        """(⌈size / 256⌉, 32): the roots of the chunks of the first ``size`` blocks."""
        whole = size // CHUNK
        if len(self._whole) < whole:
            self._whole = np.concatenate((self._whole, *self._whole_chunks(len(self._whole), whole)))
        if size % CHUNK == 0:
            return self._whole[:whole]
        last = _root(header_hashes(self._ledger, whole * CHUNK, size))
        return np.concatenate((self._whole[:whole], np.frombuffer(last, dtype=np.uint8)[None, :]))

    def _whole_chunks(self, first: int, after: int) -> Iterator[np.ndarray]:
        """The roots of the chunks [first, after)."""
        while first < after and (root := self._roots(first)) is not None:
            yield np.frombuffer(root, dtype=np.uint8)[None, :]
            first += 1
        for at in range(first * CHUNK, after * CHUNK, READ_BLOCKS):
            stop = min(at + READ_BLOCKS, after * CHUNK)
            yield kernels.merkle_roots(
                header_hashes(self._ledger, at, stop), np.arange(0, stop - at + CHUNK, CHUNK, dtype=np.uint64)
            )
            if self._progress is not None:
                self._progress(stop, after * CHUNK)


def header_hashes(ledger: Ledger, first: int, after: int) -> np.ndarray:
    """(after - first, 32): hashes of the blocks [first, after)."""
    out = np.empty((after - first, 32), dtype=np.uint8)
    at = 0
    for _, rows in ledger.stretches(first, after):
        out[at : at + len(rows)] = kernels.hash_rows(rows, BLOCK_HEADER.itemsize)
        at += len(rows)
    return out


def extends(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that the log of ``new`` leaves begins with that of ``old`` (RFC 9162 section 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == new or old == 0:
        return not path and (old_root == new_root if old == new else old_root == EMPTY_ROOT)
    steps = list(path)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)  # a whole subtree: its root is known already
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    if not steps:
        return False
    left = right = steps[0]
    for step in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            left, right = _node(step, left), _node(step, right)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            right = _node(right, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and left == old_root and right == new_root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _root(leaves: np.ndarray) -> bytes:
    root: bytes = kernels.merkle_roots(leaves, np.array([0, len(leaves)], dtype=np.uint64))[0].tobytes()
    return root


def _nodes(old: int, new: int) -> list[tuple[int, int]]:
    """The subtrees [first, after) whose roots make the consistency proof, in its order."""
    first, after, cut, whole = 0, new, old, True
    found = []
    while cut != after:
        half = 1 << (after - first - 1).bit_length() - 1
        if cut - first <= half:
            found.append((first + half, after))
            after = first + half
        else:
            found.append((first, first + half))
            first, whole = first + half, False
    if not whole:
        found.append((first, after))
    return found[::-1]
