"""Content digests, the chain of block headers, and the count of votes. Used through ``baash.kernels``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import (
    U1,
    U4,
    Bool,
    Bytes,
    Integers,
    as_bytes,
    as_column,
    as_info_rows,
    as_rows,
    room_for_hashes,
)
from baash.kernels.dispatch import number

ENTRY_BYTES = 40  # records.BLOCK_ENTRY
ROW_BYTES = 128  # records.BLOCK_ROW


def content_digests(entries: npt.NDArray[Any], cluster: int, kernel: str | None = None) -> U1:
    """(m, 32): content digests (``docs/ledger-format.md`` section 4) of ``entries``, BLOCK_ENTRY (m), of one cluster."""
    source = as_rows(entries, ENTRY_BYTES)
    out = room_for_hashes(len(source))
    _core.block_contents(out, source, cluster, number(kernel))
    return out


def chain_blocks(rows: npt.NDArray[Any], height: int, parent: Bytes, kernel: str | None = None) -> U1:
    """(n, 32): hashes of block headers. ``rows``, BLOCK_ROW (n), gets ``height`` + i and each parent, in place.

    ``parent``: 32 bytes, the hash before the first (zeros at height 0).
    """
    target = as_rows(rows, ROW_BYTES, copy=False)
    out = room_for_hashes(len(target))
    _core.block_chain(out, target, height, as_bytes(parent), number(kernel))
    return out


def check_headers(
    rows: npt.NDArray[Any], height: int, view: int, first_transaction: int, kernel: str | None = None
) -> tuple[U1, bool]:
    """(hashes (n, 32), whether all is well) with the headers of a round.

    ``rows``: BLOCK_ROW (n). Well: each has the form of a header, is not empty, of this view, ``height`` + i, names the one before it as
    its parent and says how many transactions are before it (the first: ``first_transaction``), and blocks of one window lie one
    behind the other.
    """
    source = as_rows(rows, ROW_BYTES)
    hashes = room_for_hashes(len(source))
    return hashes, bool(_core.block_headers(hashes, source, height, view, first_transaction, number(kernel)))


def match_blocks(
    rows: npt.NDArray[Any], info: npt.NDArray[Any], work: U1, records_bytes: int, kernel: str | None = None
) -> bool:
    """Whether blocks that lie one behind the other are what their headers say: counts, sizes and content digests.

    ``rows``: BLOCK_ROW; ``info`` and ``work``, the ids, (n, 32): of the records, ``records_bytes`` in all, as ``read`` gives them.
    ``work`` is used up.
    """
    return bool(
        _core.block_match(work, as_rows(rows, ROW_BYTES, copy=False), as_info_rows(info), records_bytes, number(kernel))
    )


def tally(
    prefixes: npt.NDArray[Any], present: npt.NDArray[Any], quorums: Integers, block_counts: Integers
) -> tuple[U4, U1, Bool]:
    """Count the votes of many windows: (decided u4 (w), status u1 (w), dissent bool (w, m)).

    ``prefixes`` (w, m); ``present`` (w, m): 0 missing (may still come), 1 given, 2 has none to give (said so, is dead, or the
    window has fewer members than the array is wide); ``quorums``, ``block_counts`` (w) or one number.

    decided: the largest p, at most the block count, that ``quorum`` given votes gave or exceeded; 0 if fewer are given. It never
    falls when more votes come.
    status: 1 settled (quorum reached, and no missing vote can change ``decided``); 2 failed (quorum not reached, and not even if
    all missing votes came); 0 open (everything else). ``csrc/tally/tally.c`` has the reasoning. ValueError: quorum 0.
    dissent: who gave another prefix (capped at the block count) than the decided one.
    """
    given = np.ascontiguousarray(prefixes, dtype=np.uint32)
    there = np.ascontiguousarray(present, dtype=np.uint8)
    if given.ndim != 2:
        raise ValueError(f"prefixes need the shape (windows, members), not {given.shape}")
    decided = np.empty(len(given), dtype=np.uint32)
    status = np.empty(len(given), dtype=np.uint8)
    needed, caps = as_column(quorums, np.uint32, len(given)), as_column(block_counts, np.uint32, len(given))
    masks = np.empty((len(given), (given.shape[1] + 63) // 64), dtype=np.uint64)
    _core.tally(decided, status, masks, given, there, needed, caps)
    bits = np.unpackbits(masks.view(np.uint8), axis=1, count=given.shape[1], bitorder="little")
    return decided, status, bits.view(np.bool_)
