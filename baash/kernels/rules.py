"""The rules over tables: judge transactions, apply what was found, take it back. Used through ``baash.kernels``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import ACT, U1, U2, U4, U8, Bool, Integers, as_column, as_info_rows, as_rows, as_u8
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


@dataclass(frozen=True)
class Taken:
    """What ``take_acts`` met: ``acts`` rows filled, and how many have a signature, refer to others, are of another cluster."""

    acts: int
    signed: int
    refers: int
    strangers: int


def take_acts(
    acts: npt.NDArray[Any],
    pairs: U8,
    ids8: U8,
    info: npt.NDArray[Any],
    ids: U1,
    entities: U1,
    first: int,
    owners: U4,
    cluster: int,
    seeds: U8,
) -> Taken:
    """What spans a ledger, of n transactions, in one pass; all of it is written to the first three, of n each.

    ``acts`` ACT: of those that are no NOTE, with ``number`` = ``first`` + index; ``pairs``: prints of (issuer, sequence), as
    ``pair_prints``; ``ids8``: the first 8 bytes of each id. ``owners`` u4 (4,096): each shard's cluster.
    """
    return Taken(
        *_core.state_take(
            as_act_rows(acts),
            pairs,
            ids8,
            as_info_rows(info),
            as_rows(ids, 32),
            as_rows(entities, 32),
            first,
            np.require(owners, np.uint32, ["C", "A"]),
            cluster,
            seeds,
        )
    )


def pair_prints(issuers: U1, sequences: Integers, seeds: U8) -> U8:
    """u8 (n): equal for equal (issuer, sequence), else different but for chance (2⁻⁶⁴ a pair). ``seeds``: 3 secret numbers."""
    numbers = as_u8(sequences)
    out = np.empty(len(numbers), dtype=np.uint64)
    _core.state_prints(out, as_rows(issuers, 16), numbers, seeds)
    return out


def follow_rules(table: EntityTable, acts: npt.NDArray[Any]) -> U2:
    """Replay ``acts`` (ACT, in order): the reasons u2 (n) why they break a rule, or 0; those that do not change ``table``."""
    rows, done = as_act_rows(acts), 0
    reasons = np.empty(len(rows), dtype=np.uint16)
    while True:
        done = _core.state_follow(reasons, done, table.core, rows)
        table.settle()
        if done == len(rows):
            return reasons
        table.grow()


def as_act_rows(acts: npt.NDArray[Any]) -> U1:
    """(n, 32) u1, not copied: an array of ACT."""
    if acts.dtype != ACT:
        raise ValueError("an array of kernels.ACT is needed")
    return as_rows(acts, ACT.itemsize, copy=False)
