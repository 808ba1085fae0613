"""The form of a window, from the bytes that came off the wire to the number of valid blocks. Used through ``baash.kernels``.

What depends on a node's state (versions, replays, locks, shards) and on keys (signatures) is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import TRANSACTION_INFO, U1, Bytes, as_bytes, as_rows, room_for_hashes
from baash.kernels.blocks import ENTRY_BYTES
from baash.kernels.dispatch import number

_SEED = hash(("baash", "windows")) & 0xFFFF_FFFF_FFFF_FFFF  # see kernels/tables.py


@dataclass(frozen=True)
class WindowForm:
    """What the bytes of a window say by themselves.

    ``whole``: every record is one and every claim holds; then ``info`` TRANSACTION_INFO (n), ``ids`` and ``entities`` (n, 32) describe
    all n transactions, else they are empty. ``valid_blocks``: how many blocks, from the first, are valid as far as form goes.
    ``reason``: 0, or ``records.Reason`` of transaction ``bad_index``, the first that is bad.
    """

    whole: bool
    valid_blocks: int
    reason: int
    bad_index: int
    info: npt.NDArray[Any]
    ids: U1
    entities: U1


def check_window(
    header: Bytes,
    entries: npt.NDArray[Any],
    entities: Bytes,
    records: Bytes,
    block_size: int,
    kernel: str | None = None,
) -> WindowForm:
    """Hold a window's claims against its records (``docs/ledger-format.md`` sections 3 to 5).

    ``header``: the 208 bytes of records.WINDOW; ``entries``: BLOCK_ENTRY (m), at most ``block_size`` transactions each; ``entities``:
    the short hashes that it says it writes. Any bytes are legal input, in any of them. In this order: the first record that is none;
    40 (WINDOW_MISMATCH, ``bad_index`` 0) when a count, size, root, list or digest is not that of the records; 30 (REPLAYED) at the
    first transaction whose (issuer, sequence) is that of one before it. The last leaves the window whole, and
    ``check_transactions`` has the last word on it: below its range the same transaction is TOO_OLD.
    """
    window = _core.Window(as_bytes(header), as_rows(entries, ENTRY_BYTES), as_bytes(entities), as_bytes(records))
    transactions, words = window.room()
    info = np.empty(transactions, dtype=TRANSACTION_INFO)
    ids, hashed = room_for_hashes(transactions), room_for_hashes(transactions)
    count, valid_blocks, reason, bad_index, whole = window.check(
        info.view(np.uint8).reshape(-1, TRANSACTION_INFO.itemsize),
        ids,
        hashed,
        np.empty(words, dtype=np.uint64),
        block_size,
        _SEED,
        number(kernel),
    )
    return WindowForm(whole, valid_blocks, reason, bad_index, info[:count], ids[:count], hashed[:count])
