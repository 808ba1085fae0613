"""Reads answered while a ledger grows: from entity hashes to the bytes of the transactions that wrote them last.

The entity table knows the number of that transaction; a node's replica answers for the newest blocks; index files, and of rounds
that none covers the block rows, know which block holds which of the rest. So a batch of reads is a search in sorted arrays and a few
reads from the segments. Kept in memory: 16 bytes for each block that no index file covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from baash import kernels
from baash.ledger.reader import Ledger
from baash.ledger.round import SegmentFile
from baash.protocol.replica import Replica
from baash.records import BLOCK_ROW


class Fetcher:
    """Looks transactions up by number while the ledger is being written."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._ledger: Ledger | None = None
        self._opening = 0
        self._rounds = 0  # looked at
        self._first: list[np.ndarray] = []  # first transaction of each block, by round behind those of index files
        self._starts = np.zeros(0, dtype=np.uint64)  # first transaction of each of these rounds
        self._total = 0

    def answer(self, table: kernels.EntityTable, replica: Replica, entities: np.ndarray) -> tuple[int, int, int]:
        """(how many of ``entities`` (n, 32) exist, of how many the newest block is in ``replica``, bytes of all these blocks).

        What the replica does not hold is read from the ledger.
        """
        _, exists, last = table.lookup(np.ascontiguousarray(entities[:, :16]))
        numbers, asked = np.unique(last[exists], return_counts=True)
        near, size = replica.holding(numbers)
        for file, rows in self._places(numbers[~near]):
            size += int(file.blocks(rows).nbytes)
        return int(np.count_nonzero(exists)), int(asked[near].sum()), size

    def blocks(self, numbers: np.ndarray) -> Iterator[tuple[np.void, np.ndarray]]:
        """(row, records (u1)) of the blocks that hold these transactions (ascending numbers), each block once."""
        for file, rows in self._places(numbers):
            for row in rows:
                yield row, file.blocks(np.array([row], dtype=BLOCK_ROW))

    def _places(self, numbers: np.ndarray) -> Iterator[tuple[SegmentFile, np.ndarray]]:
        """Segments, and the rows of their blocks that hold these transactions."""
        if not len(numbers):
            return
        if int(numbers[-1]) >= self._total:
            self._catch_up()
        assert self._ledger is not None
        known = int(np.searchsorted(numbers, self._ledger.chain.transactions))
        yield from self._indexed(self._ledger, numbers[:known])
        numbers = numbers[known:]
        rounds = np.searchsorted(self._starts, numbers, side="right") - 1
        for index in np.unique(rounds).tolist():
            blocks = np.unique(np.searchsorted(self._first[index], numbers[rounds == index], side="right") - 1)
            round = self._ledger.rounds[self._ledger.chain.rounds + index]
            yield round.file, round.headers()[blocks]

    def _indexed(self, ledger: Ledger, numbers: np.ndarray) -> Iterator[tuple[SegmentFile, np.ndarray]]:
        while len(numbers):
            run = ledger.chain.run_of(int(numbers[0]))
            mine = int(np.searchsorted(numbers, run.after))
            for height in np.unique(run.heights(numbers[:mine])).tolist():
                file, row = ledger.place(height)[:2]
                yield file, file.headers(row, 1)
            numbers = numbers[mine:]

    def _catch_up(self) -> None:
        if self._ledger is None:
            self._ledger = Ledger(self._path)
        else:
            self._ledger.refresh()
        ledger = self._ledger
        if self._opening != ledger.openings:
            self._opening, self._rounds, self._first = ledger.openings, ledger.chain.rounds, []
            self._starts = np.zeros(0, dtype=np.uint64)
        starts = []
        for index in range(self._rounds, len(ledger.rounds)):
            rows = ledger.rounds[index].headers()
            self._first.append(rows["first_transaction"].copy())
            starts.append(int(rows["first_transaction"][0]) if len(rows) else ledger.transaction_total)
        self._starts = np.append(self._starts, np.array(starts, dtype=np.uint64))
        self._rounds = len(ledger.rounds)
        self._total = ledger.transaction_total

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
