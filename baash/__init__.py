"""BAASH: a ledger for machines that compute together. Importing it starts neither MPI nor HDF5."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from baash.ledger.opened import OpenedLedger

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(path: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None) -> OpenedLedger:
    """The ledger in the folder ``path``, for reading: blocks, look-ups, lineage, Arrow tables (``docs/python.md``).

    Safe while a writer appends. ``progress`` (transactions done, in all) is called while what no index file covers is read
    for the first look-up. Raises LedgerError (no ledger there), LedgerDamaged, StorageError.
    """
    from baash.ledger.opened import OpenedLedger

    return OpenedLedger(os.fspath(path), progress)
