"""The blocks of a round, from a file to what an audit keeps of them. Used through ``baash.kernels``.

A piece of blocks is read, hashed, matched and taken before the next is read, in memory that is used again (``csrc/block/walk.c``), and
Python is asked only where there is something to look at. A walk is for one thread alone.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import ACT, TRANSACTION_INFO, U1, U4, U8, as_rows
from baash.kernels.blocks import ROW_BYTES
from baash.kernels.dispatch import number
from baash.kernels.transactions import RECORD_BYTES_MIN

BUFFER_BYTES = 1 << 20  # a larger block is the caller's to look at
PIECE_BYTES = 1 << 18  # with what is found of its records, half of a second-level cache


class Stop(IntEnum):
    """Why a walk stopped: at the end; at a piece that is taken, of which something is to be looked at; at one that is not taken,
    for something is wrong with it, or it cannot be read, or is too large."""

    DONE = 0
    LOOK = 1
    UNTAKEN = 2


class Walk:
    """Where a walk reads and hashes, and how far it is."""

    def __init__(self) -> None:
        rows = BUFFER_BYTES // RECORD_BYTES_MIN
        self._records: U1 = np.empty(BUFFER_BYTES, dtype=np.uint8)
        self._info = np.empty(rows, dtype=TRANSACTION_INFO)
        self._entities: U1 = np.empty((rows, 32), dtype=np.uint8)
        self._core = _core.Walk(
            self._records, as_rows(self._info, TRANSACTION_INFO.itemsize), np.empty((rows, 32), dtype=np.uint8),
            self._entities, PIECE_BYTES,
        )  # fmt: skip
        self.begin()

    def begin(self) -> None:
        """From the first block."""
        self._core.begin()
        self.first = self.after = 0
        self.signed = self.refers = self.strangers = False

    @property
    def filled(self) -> tuple[int, int]:
        """How many rows there are of pairs and ids8, and of acts."""
        found: tuple[int, int] = self._core.filled
        return found

    def take(
        self,
        acts: npt.NDArray[Any],
        pairs: U8,
        ids8: U8,
        place: tuple[int, int, int],
        rows: npt.NDArray[Any],
        bounds: U8,
        owners: U4,
        seeds: U8,
    ) -> Stop:
        """Walk on; ``acts``, ``pairs`` and ``ids8`` as in ``take_acts``, for all transactions of the round.

        ``place``: descriptor of the file, where in it the records begin, how many bytes they have. ``rows``: BLOCK_ROW (n);
        ``bounds`` u8 (n + 1): the number of each block's first transaction. Where it stops, ``first`` and ``after`` say at which
        blocks, and ``signed``, ``refers``, ``strangers`` whether there are such transactions.
        """
        stop = Stop(
            self._core.take(
                as_rows(acts, ACT.itemsize, copy=False), pairs, ids8, *place, as_rows(rows, ROW_BYTES, copy=False),
                bounds, owners, seeds, number(None),
            )
        )  # fmt: skip
        self.first, self.after, self._count, self._bytes = self._core.piece
        self.signed, self.refers, self.strangers = (bool(n) for n in self._core.met)
        return stop

    def piece(self) -> tuple[U1, npt.NDArray[Any], U1]:
        """(records u1, TRANSACTION_INFO, entities (n, 32)) of the piece that is to be looked at; good until the walk goes on."""
        return self._records[: self._bytes], self._info[: self._count], self._entities[: self._count]

    def skip(self, transactions: int = 0, acts: int = 0) -> None:
        """Go on behind the piece; so many rows the caller filled."""
        self._core.skip(transactions, acts)
