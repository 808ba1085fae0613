"""The rules over tables: judge transactions, apply what was found, take it back. Used through ``baash.kernels``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, U2, U8, Bool, Integers, as_column, as_info_rows, as_rows, as_u8
from baash.kernels.tables import EntityTable, ReplayTable, power_of_two


def check_transactions(
    table: EntityTable, replay: ReplayTable, info: npt.NDArray[Any], entities: U1, first: int = 0
) -> tuple[U2, U1, U8, Bool, U8]:
    """Judge transactions in order (``docs/ledger-format.md`` section 3, Rules): (reasons, keys, versions, exists, last).

    ``info``: TRANSACTION_INFO (n); ``entities``: (n, 32) entity hashes. Each is held against table and replay and the effects of the
    valid ones before it. reasons u2 (n): 0; 30 or 31 (replays come first); 20, 21 or 22.
    The other four are the new state of each of the m entities that valid ones write, once, in the order of first writes:
    keys (m, 16), versions, exists, and last = ``first`` + index of the last write. Nothing is changed; to apply, call
    ``apply_transactions``, or, where nothing is ever taken back, ``table.upsert(keys, versions, exists, last)`` and ``replay.mark``
    with the pairs of the valid ones.
    """
    described, hashed = as_info_rows(info), as_rows(entities, 32)
    count = len(described)
    slots = power_of_two(2 * count)
    reasons = np.empty(count, dtype=np.uint16)
    keys = np.empty((count, 16), dtype=np.uint8)
    versions, last = np.empty(count, dtype=np.uint64), np.empty(count, dtype=np.uint64)
    exists = np.empty(count, dtype=np.bool_)
    written = _core.state_check(
        reasons,
        keys,
        versions,
        exists.view(np.uint8),
        last,
        np.zeros((3, slots), dtype=np.uint32),
        np.empty((2, count), dtype=np.uint64),
        np.empty(count, dtype=np.uint32),
        table.core,
        replay.view(),
        described,
        hashed,
        first,
        slots,
    )
    return reasons, keys[:written], versions[:written], exists[:written], last[:written]


class Applied:
    """What ``apply_transactions`` overwrote: 32 bytes an entity, 16 for every word of a bitmap and highest number that changed."""

    def __init__(self, table: EntityTable, replay: ReplayTable, core: Any) -> None:
        self._table, self._replay, self._core = table, replay, core

    def undo(self) -> None:
        """Take it back; once more does nothing. Nothing else may have changed the tables, later applies are undone before."""
        view = self._replay.view()
        self._core.undo(self._table.core, view)
        self._replay.settle(view)


def apply_transactions(
    table: EntityTable,
    replay: ReplayTable,
    info: npt.NDArray[Any],
    reasons: U2,
    keys: U1,
    versions: Integers,
    exists: npt.ArrayLike,
    last: Integers,
) -> Applied:
    """Apply what ``check_transactions`` found for ``info``, so that it can be taken back: for who goes on before a window is decided.

    The protocol does not need it: windows in flight write different entities, each is checked against what is committed, and only
    what is committed is applied. ValueError as ``EntityTable.upsert``; nothing is applied then.
    """
    described, found, marks = as_info_rows(info), as_column(reasons, np.uint16, len(info)), as_u8(last)
    wanted, numbers = as_rows(keys, 16), as_u8(versions)
    flags = np.ascontiguousarray(exists, dtype=np.bool_).view(np.uint8)
    most = replay.width // 64 + 3  # steps of one transaction
    steps = np.zeros((len(described) + most, 2), dtype=np.uint64)
    core = _core.Undo(np.empty((len(wanted), 4), dtype=np.uint64), steps)
    applied, done = Applied(table, replay, core), 0
    while True:
        view = replay.view()
        done, wrong = core.apply(done, table.core, view, wanted, numbers, flags, marks, found, described)
        table.settle()
        replay.settle(view)
        if wrong:
            applied.undo()
            raise ValueError(f"item {done} has version {numbers[done]}, exists {bool(flags[done])}")
        if done == len(wanted) + len(described):
            return applied
        if done < len(wanted):
            table.grow()
        elif len(steps) - core.steps_used < most:
            steps = np.concatenate([steps, np.zeros((len(steps) + most, 2), dtype=np.uint64)])
            core.room(steps)
        else:
            replay.grow()
