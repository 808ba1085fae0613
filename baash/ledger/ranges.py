"""Blocks of a ledger by height, in bulk: rows as one array, records as one buffer, nothing done for a single block.

Theory. The rows of a segment lie one behind the other in order of height, over all its rounds; the records of the blocks
of a cluster's part of a round do too. So a range costs a few reads a segment for its rows and one for each stretch of
records without a gap, whatever the number of blocks. What comes back is ``Blocks``, as from a node's replica.

Checks that rows are those of the heights asked for, and places; not hashes: that is for ``audit.py`` and ``restore.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from baash.errors import LedgerDamaged, LedgerError
from baash.ledger.reader import Ledger
from baash.ledger.round import SegmentFile
from baash.protocol.replica import Blocks

PIECE_BYTES = 1 << 20  # stays in a core's cache while it is used; larger pieces are slower (docs/performance.md)
ROWS_MAX = 8192  # 1 MiB of rows


def read(ledger: Ledger, first: int, after: int) -> Blocks:
    """The blocks [first, after), at least one, in one piece of memory: their records and 136 bytes each.

    LedgerError: there are no such blocks; LedgerDamaged, StorageError.
    """
    if first >= after:
        raise LedgerError(f"blocks {first} to {after - 1} of {ledger.path} are none: ask for at least one")
    parts = list(_stretches(ledger, first, after))
    rows = parts[0][1] if len(parts) == 1 else np.concatenate([found for _, found in parts])
    offsets = _offsets(rows)
    records = np.empty(int(offsets[-1]), dtype=np.uint8)
    at = 0
    for file, found in parts:
        size = int(found["bytes"].sum(dtype=np.int64))
        file.blocks(found, records[at : at + size])
        at += size
    return Blocks(rows, records, offsets)


def pieces(
    ledger: Ledger, first: int = 0, after: int | None = None, piece_bytes: int = PIECE_BYTES
) -> Iterator[Blocks]:
    """The blocks [first, after) in order, as many at a time as have ``piece_bytes`` of records, or one that has more.

    ``after`` None: all. Heights beyond the newest block are left out. LedgerDamaged, StorageError.
    """
    after = ledger.block_total if after is None else min(after, ledger.block_total)
    for file, rows in _stretches(ledger, first, after):
        offsets = _offsets(rows)
        at = 0
        while at < len(rows):
            limit = int(offsets[at]) + piece_bytes
            end = max(at + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
            yield Blocks(rows[at:end], file.blocks(rows[at:end]), offsets[at : end + 1] - offsets[at])
            at = end


def _stretches(ledger: Ledger, first: int, after: int) -> Iterator[tuple[SegmentFile, np.ndarray]]:
    """(segment, rows) of the blocks [first, after). LedgerDamaged if a row is not that of its block."""
    for file, rows in ledger.stretches(first, after, ROWS_MAX):
        wrong = np.flatnonzero(rows["height"] != np.arange(first, first + len(rows), dtype=np.uint64))
        if len(wrong):
            what = f"the row of block {first + int(wrong[0])} is another's"
            raise LedgerDamaged(f"{ledger.path}, {file.name}: {what}; baash verify says more")
        yield file, rows
        first += len(rows)


def _offsets(rows: np.ndarray) -> np.ndarray:
    return np.append(np.zeros(1, dtype=np.int64), np.cumsum(rows["bytes"], dtype=np.int64))
