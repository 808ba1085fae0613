"""Leaving no waste: what is done to a ledger once its segments are finished, at the end of a run and by ``baash compact``.

When that is safe is said in ``pack.py``. Here are the two who may do it: a run that has ended in order, and somebody who holds
the writer's lock and, before the newest view is touched, claims a number after it: the claim fences off a writer that
the lock does not show. Index files need no such care: ``index/building.py`` makes them beside any writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baash.ledger.copies.pack import Packed, Progress, pack, remove_unfinished, worth_packing
from baash.ledger.folder import Folder


def at_the_end(folder: Folder, view: int, *, locked: bool, progress: Progress | None = None) -> Packed:
    """By the leading coordinator of ``view``, which has ended in order. Nothing, if somebody newer has claimed the ledger.

    Raises LedgerError, StorageError; the ledger is well all the same.
    """
    if folder.newest_claim() != view:
        return Packed()
    if locked:
        remove_unfinished(folder)
    return pack(folder, newest_at_rest=True, progress=progress)


def compact(folder: Folder, info: Mapping[str, Any], progress: Progress | None = None) -> tuple[Packed, list[str]]:
    """Pack all that is finished; and notes. ``info``: who does it, for the claim and the lock.

    Raises LedgerBusy (somebody writes), LedgerDamaged, StorageError.
    """
    notes = []
    with folder.lock(info=info) as lock:
        at_rest = False
        if not lock.held:
            notes.append(f"{lock.note}: so the newest view, which somebody may write, is left as it is")
        else:
            remove_unfinished(folder)
            if worth_packing(folder):
                folder.claim_next(info)
                at_rest = True
        return pack(folder, newest_at_rest=at_rest, progress=progress), notes
