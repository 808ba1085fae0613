"""Reads answered while a ledger grows: from entity hashes to the bytes of the transactions that wrote them last.

The entity table knows the number of that transaction; block rows know the first number of each block; so a batch of
reads is a search in one array; a node's replica answers for the newest blocks, one gather from the segments for the rest. Rows are kept for the rounds seen so far: 16 bytes a
block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from baash import kernels
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.protocol.replica import Replica
from baash.records import BLOCK_ROW


class Fetcher:
    """Looks transactions up by number while the ledger is being written."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._ledger: Ledger | None = None
        self._rounds = 0
        self._first: list[np.ndarray] = []  # first transaction of each block, by round
        self._starts = np.zeros(0, dtype=np.uint64)  # first transaction of each round
        self._total = 0

    def answer(self, table: kernels.EntityTable, replica: Replica, entities: np.ndarray) -> tuple[int, int, int]:
        """(how many of ``entities`` (n, 32) exist, of how many the newest block is in ``replica``, bytes of all these blocks).

        What the replica does not hold is read from the ledger.
        """
        _, exists, last = table.lookup(np.ascontiguousarray(entities[:, :16]))
        numbers, asked = np.unique(last[exists], return_counts=True)
        near, size = replica.holding(numbers)
        for round, blocks in self._places(numbers[~near]):
            size += int(round.records(round.headers()[blocks]).nbytes)
        return int(np.count_nonzero(exists)), int(asked[near].sum()), size

    def blocks(self, numbers: np.ndarray) -> Iterator[tuple[np.void, np.ndarray]]:
        """(row, records (u1)) of the blocks that hold these transactions (ascending numbers), each block once."""
        for round, blocks in self._places(numbers):
            for row in round.headers()[blocks]:
                yield row, round.records(np.array([row], dtype=BLOCK_ROW))

    def _places(self, numbers: np.ndarray) -> Iterator[tuple[Round, np.ndarray]]:
        """Rounds, and the indices of their blocks that hold these transactions."""
        if not len(numbers):
            return
        if int(numbers[-1]) >= self._total:
            self._catch_up()
        assert self._ledger is not None
        rounds = np.searchsorted(self._starts, numbers, side="right") - 1
        for index in np.unique(rounds).tolist():
            first = self._first[index]
            blocks = np.unique(np.searchsorted(first, numbers[rounds == index], side="right") - 1)
            yield self._ledger.rounds[index], blocks

    def _catch_up(self) -> None:
        if self._ledger is None:
            self._ledger = Ledger(self._path)
        else:
            self._ledger.refresh()
        starts = []
        for index in range(self._rounds, len(self._ledger.rounds)):
            rows = self._ledger.rounds[index].headers()
            self._first.append(rows["first_transaction"].copy())
            starts.append(int(rows["first_transaction"][0]) if len(rows) else self._ledger.transaction_total)
        self._starts = np.append(self._starts, np.array(starts, dtype=np.uint64))
        self._rounds = len(self._ledger.rounds)
        self._total = self._ledger.transaction_total

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
