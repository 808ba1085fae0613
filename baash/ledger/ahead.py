"""Blocks by height, read ahead when they are asked for one after the other: a loop over heights costs no more than a range.

A block asked for at random is read alone. What is kept is bounded, is held against the hashes that cover it when it is read, and
is forgotten when the ledger's history is read anew.
"""

from __future__ import annotations

from baash.errors import LedgerDamaged
from baash.ledger.reader import Block, Ledger
from baash.ledger.transactions import Scanned, blocks_of, scan_blocks, transactions_of_block

BLOCKS_AHEAD = 1024
BYTES_AHEAD = 4 << 20


class Ahead:
    """The blocks of ``ledger``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._kept: list[Block] = []
        self._first = self._next = -1  # height of the first that is kept, and of the one behind the last that was given
        self._opening = -1

    def block(self, height: int) -> Block:
        """The block at a height that exists. LedgerError, LedgerDamaged, StorageError."""
        if self._opening != self._ledger.openings or self._ledger.closed:
            self._opening, self._kept, self._next = self._ledger.openings, [], -1
        if not 0 <= height - self._first < len(self._kept):
            self._read(height)
        self._next = height + 1
        return self._kept[height - self._first]

    def _read(self, height: int) -> None:
        scanned = self._further(height) if height == self._next else None
        scanned = scanned or transactions_of_block(self._ledger, height)
        self._kept, self._first = list(blocks_of(self._ledger, scanned)), height

    def _further(self, height: int) -> Scanned | None:
        """Four times as many as before, within bounds; None if one of them is damaged, which need not be the one that is asked for."""
        size = sum(block.records.nbytes for block in self._kept) // len(self._kept)
        many = min(4 * len(self._kept), BLOCKS_AHEAD, BYTES_AHEAD // max(size, 1))
        try:
            return next(scan_blocks(self._ledger, height, height + max(many, 1)))
        except LedgerDamaged:
            return None
