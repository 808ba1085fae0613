"""What a node keeps of the chain in memory: its cluster's newest blocks, up to a number of bytes.

Theory. Blocks come in windows, and the bytes of a window lie in one buffer: the message that brought it, or the batch its
coordinator made. A window is kept as a view of that buffer, copied nowhere, as long as this pins at most twice what is
kept; otherwise (a window larger than an eighth of the bound, a small remainder of a large one) its newest blocks are
copied, an eighth at most in one piece. So what is counted is what is pinned, and what is dropped, oldest first, is freed.
Nodes of one rank that were sent the same message share its bytes; each counts them all.

Holds what its node applied after its checks, never a proposal; a new view makes new nodes, and so begins anew. Answers for
what it holds and says so when it does not: older blocks, and those of other clusters, are in the shared ledger.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from baash import kernels
from baash.batch import Batch
from baash.errors import LedgerDamaged
from baash.records import BLOCK_ROW, Reason

REPLICA_BYTES = 512 << 10  # a node's, unless told: with tables and queues beside it a node stays below 1 MB
PIECES = 8  # of a full replica, at least
PIECE_BYTES = 1024  # what the objects of a piece take in memory beside its bytes


@dataclass(frozen=True)
class Blocks:
    """Blocks that follow one another in the chain, as views: nothing here is a copy of a record.

    ``rows`` BLOCK_ROW (n), of which ``records_offset`` means nothing here; ``records`` u1, the buffer they lie in; ``offsets``
    i8 (n + 1): where in it each block begins, and where the last ends.
    """

    rows: np.ndarray
    records: np.ndarray
    offsets: np.ndarray
    known_starts: np.ndarray | None = None  # see ``starts``

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def first(self) -> int:
        """Height of the first block."""
        return int(self.rows["height"][0])

    @property
    def first_transaction(self) -> int:
        """Number in the ledger of the first transaction."""
        return int(self.rows["first_transaction"][0])

    @cached_property
    def transactions(self) -> int:
        return int(self.rows["first_transaction"][-1]) + int(self.rows["count"][-1]) - self.first_transaction

    @cached_property
    def info(self) -> np.ndarray:
        """TRANSACTION_INFO, a scan of all records; ``start`` counts from ``offsets[0]``. LedgerDamaged: no records."""
        info, reason, _ = kernels.scan(self.records[int(self.offsets[0]) : int(self.offsets[-1])])
        if reason or len(info) != self.transactions:
            where = f"blocks {self.first} to {self.first + len(self) - 1}"
            raise LedgerDamaged(f"{where}: the records are not whole ({Reason(reason).name}); baash verify says more")
        return info

    @cached_property
    def starts(self) -> np.ndarray:
        """i8 or u4 (transactions + 1): where in ``records`` each transaction begins, and where the last ends."""
        if self.known_starts is not None:
            return self.known_starts
        return np.append(self.info["start"].astype(np.int64) + self.offsets[0], self.offsets[-1])

    def views(self) -> list[memoryview]:
        """The bytes of each block."""
        whole, ends = memoryview(self.records), self.offsets.tolist()
        return [whole[start:end] for start, end in pairwise(ends)]

    def cut(self, first: int, after: int) -> Blocks:
        """The blocks of these heights, sharing everything."""
        a, b = first - self.first, after - self.first
        starts = self.known_starts
        if starts is not None:
            numbers = self.rows["first_transaction"]
            head = int(numbers[0])
            starts = starts[int(numbers[a]) - head : int(numbers[b - 1]) + int(self.rows["count"][b - 1]) - head + 1]
        return Blocks(self.rows[a:b], self.records, self.offsets[a : b + 1], starts)


class Replica:
    """The newest blocks of one cluster, in at most ``bytes_max`` bytes of memory, of which 0 keeps none.

    A block costs its records, 136 bytes and 4 a transaction, so that the bytes bound the number of blocks too.
    """

    def __init__(self, bytes_max: int = REPLICA_BYTES) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0  # that it keeps from being freed
        self.pieces: list[Blocks] = []  # ascending; no piece reaches over a gap in the heights
        self._costs: list[int] = []
        self._heights: list[int] = []  # of the first block of each piece
        self._numbers: list[int] = []  # of the first transaction of each piece

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def add(self, rows: np.ndarray, batch: Batch) -> None:
        """The committed blocks of one window, newer than all here. ``rows`` BLOCK_ROW; ``batch`` their transactions."""
        if not len(rows):
            return
        rows = rows.copy()  # of what may be a round's
        rows["records_offset"] = 0
        starts = np.append(batch.info["start"], np.uint64(batch.records.nbytes)).astype(np.uint32)
        offsets = np.append(np.zeros(1, dtype=np.int64), np.cumsum(rows["bytes"], dtype=np.int64))
        whole = Blocks(rows, batch.records, offsets, starts)
        cost = _pinned(batch.records) + _overhead(whole)
        if cost <= self.bytes_max // PIECES and _pinned(batch.records) <= 2 * batch.records.nbytes:
            self._keep(whole, cost)
        else:
            for piece in _copies(whole, self.bytes_max):
                self._keep(piece, piece.records.nbytes + _overhead(piece))

    def blocks(self, first: int, after: int) -> list[Blocks] | None:
        """The blocks [first, after), in order; None: not all of them are here. Views: hold them as long as you like."""
        at = bisect_right(self._heights, first) - 1
        if at < 0:
            return None if first < after else []
        found = []
        while first < after:
            if at == len(self.pieces):
                return None
            piece = self.pieces[at]
            end = piece.first + len(piece)
            if not piece.first <= first < end:
                return None
            found.append(piece.cut(first, min(after, end)))
            first, at = end, at + 1
        return found

    def block(self, height: int) -> tuple[np.void, np.ndarray] | None:
        """One block: its row (BLOCK_ROW) and records (u1), as views; None: it is not here."""
        at = bisect_right(self._heights, height) - 1
        if at < 0:
            return None
        piece, i = self.pieces[at], height - self._heights[at]
        if i >= len(piece.rows):
            return None
        ends = piece.offsets
        return piece.rows[i], piece.records[ends[i] : ends[i + 1]]

    def holding(self, numbers: np.ndarray) -> tuple[np.ndarray, int]:
        """(bool, n: whether the block of each of these transactions is here; bytes of these blocks, each counted once).

        ``numbers``: u8, ascending, of the whole ledger.
        """
        held, size = np.zeros(len(numbers), dtype=bool), 0
        at = 0
        while at < len(numbers):
            index = bisect_right(self._numbers, int(numbers[at])) - 1
            if index >= 0:
                piece, head = self.pieces[index], self._numbers[index]
                after = int(np.searchsorted(numbers, np.uint64(head + piece.transactions)))
                firsts = piece.rows["first_transaction"]
                blocks = np.unique(np.searchsorted(firsts, numbers[at:after], side="right") - 1)
                size += int(piece.rows["bytes"][blocks].sum(dtype=np.uint64))
                held[at:after] = True
                at = max(at, after)
            if index + 1 == len(self.pieces):
                break
            at = max(at, int(np.searchsorted(numbers, np.uint64(self._numbers[index + 1]))))
        return held, size

    def _keep(self, piece: Blocks, cost: int) -> None:
        self.pieces.append(piece)
        self._costs.append(cost)
        self._heights.append(piece.first)
        self._numbers.append(piece.first_transaction)
        self.bytes += cost
        drop = 0
        while self.bytes > self.bytes_max:
            self.bytes -= self._costs[drop]
            drop += 1
        del self.pieces[:drop], self._costs[:drop], self._heights[:drop], self._numbers[:drop]


def _copies(whole: Blocks, bytes_max: int) -> Iterator[Blocks]:
    """The newest blocks that fit, copied, in pieces of an eighth of ``bytes_max`` or of one block."""
    costs = whole.rows["bytes"].astype(np.int64) + whole.rows["count"].astype(np.int64) * 4 + BLOCK_ROW.itemsize + 8
    ends = np.cumsum(costs)
    room = max(bytes_max // PIECES - PIECE_BYTES, 1)
    at = int(np.searchsorted(ends, int(ends[-1]) - bytes_max, side="left"))
    at += 1 if int(ends[-1]) > bytes_max else 0
    while at < len(whole):
        done = int(ends[at - 1]) if at else 0
        after = max(at + 1, int(np.searchsorted(ends, done + room, side="right")))
        part = whole.cut(whole.first + at, whole.first + after)
        start = int(part.offsets[0])
        starts = part.starts - np.uint32(start)
        records = whole.records[start : int(part.offsets[-1])].copy()
        yield Blocks(part.rows.copy(), records, part.offsets - start, starts)
        at = after


def _overhead(piece: Blocks) -> int:
    return piece.rows.nbytes + piece.offsets.nbytes + piece.starts.nbytes + PIECE_BYTES


def _pinned(array: np.ndarray) -> int:
    """Bytes that a view keeps from being freed."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.nbytes
