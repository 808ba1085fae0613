"""The records of a round, read and hashed in pieces, into memory that is used again: where a walk (``kernels.Walk``) has
to leave it to us, since something is wrong or a block is large, and for the second pass (``once.py``).

Theory. One core hashes about as fast as a page cache is copied or fresh memory is zeroed; so records are read by ``pread``
into one buffer a thread and hashed where they lie before they leave the cache. A piece in which something is wrong is gone through
block by block, so that one bad block costs its neighbours nothing.

Never by mapping: a file that shrinks must become an error, not a signal. Does not look at headers (``blocks.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger.blocks import Fault
from baash.ledger.round import Round
from baash.records import BLOCK_ROW, Reason

PIECE_BYTES = 1 << 20
RECORD_BYTES_MIN = 72  # a header and an entity of one byte


@dataclass(frozen=True)
class Piece:
    """Whole good blocks [first, after) of a round, one behind the other; ``start``: number in the round of their first
    transaction. The arrays are good until the next piece is asked for."""

    first: int
    after: int
    start: int
    records: np.ndarray  # u1
    info: np.ndarray  # TRANSACTION_INFO
    ids: np.ndarray
    entities: np.ndarray


class Memory:
    """What one thread reads and hashes in."""

    def __init__(self) -> None:
        self.room, self.walk = kernels.Room(), kernels.Walk()
        self._buffer = np.empty(PIECE_BYTES, dtype=np.uint8)
        self._headers = np.empty(0, dtype=np.uint8)
        self._work = np.empty((PIECE_BYTES // RECORD_BYTES_MIN, 32), dtype=np.uint8)

    def bytes(self, size: int) -> np.ndarray:
        """u1: room for records."""
        if size > len(self._buffer):
            self._buffer = np.empty(size, dtype=np.uint8)
        return self._buffer[:size]

    def headers(self, round: Round) -> np.ndarray:
        """BLOCK_ROW: the headers of a round, good until the next round's are asked for."""
        first, count = int(round.locator["first_block"]), int(round.locator["block_count"])
        size = round.file.check("block_headers", first * BLOCK_ROW.itemsize, count * BLOCK_ROW.itemsize)
        if size > len(self._headers):
            self._headers = np.empty(size, dtype=np.uint8)
        round.file.read_into(self._headers[:size], "block_headers", first * BLOCK_ROW.itemsize)
        rows: np.ndarray = self._headers[:size].view(BLOCK_ROW)
        return rows

    def copy(self, hashes: np.ndarray) -> np.ndarray:
        """A copy of hashes (n, 32)."""
        if len(hashes) > len(self._work):
            self._work = np.empty_like(hashes)
        work = self._work[: len(hashes)]
        work[:] = hashes
        return work


def bounds_of(round: Round, rows: np.ndarray) -> np.ndarray:
    """u8 (n + 1): the number in the round of each block's first transaction, as the headers ``rows`` say; but no block has
    more than its bytes can hold, nor any whose bytes the segment has not. Raises LedgerDamaged if all together have more."""
    size = round.file.layout.data["records"].size
    held = np.minimum(rows["count"], np.where(rows["bytes"] <= size, rows["bytes"], 0) // RECORD_BYTES_MIN)
    bounds = np.concatenate((np.zeros(1, np.uint64), np.cumsum(held, dtype=np.uint64)))
    if int(bounds[-1]) > size // RECORD_BYTES_MIN:
        raise LedgerDamaged(
            f"{round.file.name}: the headers of a round speak of more records than the segment can hold"
        )
    return bounds


def good_pieces(
    round: Round, rows: np.ndarray, bounds: np.ndarray, memory: Memory, faults: list[Fault]
) -> Iterator[Piece]:
    """The round's good blocks, in order; what is wrong with the others goes to ``faults``. Raises StorageError.

    ``bounds``: as ``bounds_of``.
    """
    ends = np.concatenate((np.zeros(1, np.uint64), np.cumsum(rows["bytes"], dtype=np.uint64)))
    for first, after in _cuts(rows, ends):
        piece = _read(round, rows, bounds, first, after, int(ends[after]) - int(ends[first]), memory)
        if isinstance(piece, Piece):
            yield piece
            continue
        yield from one_by_one(round, rows, bounds, first, after, memory, faults)


def one_by_one(
    round: Round, rows: np.ndarray, bounds: np.ndarray, first: int, after: int, memory: Memory, faults: list[Fault]
) -> Iterator[Piece]:
    """The good ones among the blocks [first, after), each a piece; what is wrong with the others goes to ``faults``."""
    for block in range(first, after):
        alone = _read(round, rows, bounds, block, block + 1, int(rows["bytes"][block]), memory)
        if isinstance(alone, Piece):
            yield alone
        else:
            faults.append(alone)


def _cuts(rows: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    """Pieces of about PIECE_BYTES: (first block, block behind the last). The blocks of each are of one cluster and lie one
    behind the other. ``ends`` u8 (n + 1): where they would end if all did."""
    if not len(rows):
        return []
    apart = rows["records_offset"][1:] != rows["records_offset"][:-1] + rows["bytes"][:-1]
    borders = np.flatnonzero(apart | (rows["cluster"][1:] != rows["cluster"][:-1])) + 1
    found, first = [], 0
    for border in [*borders.tolist(), len(rows)]:
        while first < border:
            after = int(np.searchsorted(ends, ends[first] + np.uint64(PIECE_BYTES), side="right")) - 1
            after = min(max(after, first + 1), border)
            found.append((first, after))
            first = after
    return found


def _read(
    round: Round, rows: np.ndarray, bounds: np.ndarray, first: int, after: int, size: int, memory: Memory
) -> Piece | Fault:
    """The piece, of ``size`` bytes; or, if something is wrong in it, what that is if it was a block alone."""
    offset = int(rows["records_offset"][first])
    try:
        records = memory.bytes(round.file.check("records", offset, size))
        round.file.read_into(records, "records", offset)
    except LedgerDamaged as error:
        return Fault(first, None, f"its records cannot be read: {error}")
    info, ids, entities, reason, at = kernels.read(records, room=memory.room)
    if reason:
        return Fault(first, at, f"not a record: {Reason(reason).name}")
    if len(info) != int(bounds[after]) - int(bounds[first]):
        return Fault(first, None, f"{len(info)} records lie there, the header says {int(rows['count'][first])}")
    if not kernels.match_blocks(rows[first:after], info, memory.copy(ids), size):
        return Fault(first, None, "the records are not those of the content digest")
    return Piece(first, after, int(bounds[first]), records, info, ids, entities)
