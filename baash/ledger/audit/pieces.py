"""The records of a round, read and hashed in pieces that stay in the cache, into memory that is used again.

Theory. One core hashes about as fast as a page cache is copied or fresh memory is zeroed; so records are read by ``pread``
into one buffer a thread, of about the size of the second-level cache, and hashed where they lie before they leave it.
What is kept of them (``rows.py``) is 48 bytes a transaction. A piece in which something is wrong is gone through block by
block, so that one bad block costs its neighbours nothing.

Never by mapping: a file that shrinks must become an error, not a signal. Does not look at headers (``blocks.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger import blocks
from baash.ledger.blocks import Fault
from baash.ledger.round import Round
from baash.records import Reason

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
        self.room = kernels.Room()
        self._buffer = np.empty(PIECE_BYTES, dtype=np.uint8)

    def bytes(self, size: int) -> np.ndarray:
        if size > len(self._buffer):
            self._buffer = np.empty(size, dtype=np.uint8)
        return self._buffer[:size]


def bounds_of(round: Round, rows: np.ndarray) -> np.ndarray:
    """u8 (n + 1): the number in the round of each block's first transaction, as the headers ``rows`` say; but no block has
    more than its bytes can hold, nor any whose bytes the segment has not. Raises LedgerDamaged if all together have more."""
    size = round.file.layout.data["records"].size
    held = np.minimum(rows["count"], np.where(rows["bytes"] <= size, rows["bytes"], 0) // RECORD_BYTES_MIN)
    bounds = np.concatenate((np.zeros(1, np.uint64), np.cumsum(held, dtype=np.uint64)))
    if int(bounds[-1]) > size // RECORD_BYTES_MIN:
        raise LedgerDamaged(f"{round.file.name}: the headers of a round speak of more records than the segment can hold")
    return bounds


def good_pieces(
    round: Round, rows: np.ndarray, bounds: np.ndarray, memory: Memory, faults: list[Fault]
) -> Iterator[Piece]:
    """The round's good blocks, in order; what is wrong with the others goes to ``faults``. Raises StorageError.

    ``bounds``: as ``bounds_of``.
    """
    for first, after in _cuts(rows):
        piece = _read(round, rows, bounds, first, after, memory)
        if isinstance(piece, Piece):
            yield piece
            continue
        for block in range(first, after):
            alone = _read(round, rows, bounds, block, block + 1, memory)
            if isinstance(alone, Piece):
                yield alone
            else:
                faults.append(alone)


def _cuts(rows: np.ndarray) -> list[tuple[int, int]]:
    """Pieces of about PIECE_BYTES: (first block, block behind the last). No piece holds blocks of two clusters."""
    if not len(rows):
        return []
    ends = np.cumsum(rows["bytes"], dtype=np.uint64)
    borders = np.flatnonzero(rows["cluster"][1:] != rows["cluster"][:-1]) + 1
    found, first = [], 0
    for border in [*borders.tolist(), len(rows)]:
        while first < border:
            before = int(ends[first - 1]) if first else 0
            after = int(np.searchsorted(ends, np.uint64(before + PIECE_BYTES), side="right"))
            after = min(max(after, first + 1), border)
            found.append((first, after))
            first = after
    return found


def _read(round: Round, rows: np.ndarray, bounds: np.ndarray, first: int, after: int, memory: Memory) -> Piece | Fault:
    """The piece; or, if something is wrong in it, the fault of its first block if it was alone."""
    part, start = rows[first:after], int(bounds[first])
    try:
        records = round.records(part, memory.bytes)
    except LedgerDamaged as error:
        return Fault(first, None, f"its records cannot be read: {error}")
    info, ids, entities, reason, at = kernels.read(records, room=memory.room)
    if reason:
        return Fault(first, at, f"not a record: {Reason(reason).name}")
    inside = bounds[first : after + 1] - bounds[first]
    if len(info) != int(part["count"].sum(dtype=np.uint64)):
        return Fault(first, None, f"{len(info)} records lie there, the header says {int(part['count'][0])}")
    piece = Piece(first, after, start, records, info, ids, entities)
    fits = _on_boundaries(part, info, inside) and blocks.same_contents(part, ids, inside)
    return piece if fits else Fault(first, None, "the records are not those of the content digest")


def _on_boundaries(rows: np.ndarray, info: np.ndarray, bounds: np.ndarray) -> bool:
    """Whether every block ends where a record does."""
    ends = np.append(info["start"], rows["bytes"].sum(dtype=np.uint64))
    found: bool = bool((ends[bounds[1:].astype(np.int64)] == np.cumsum(rows["bytes"], dtype=np.uint64)).all())
    return found
