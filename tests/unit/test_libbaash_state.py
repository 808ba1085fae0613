"""The state functions of libbaash through cffi: tables and rules against dictionaries and sets.

``Entities`` and ``Replay`` are what a C program would keep; the models are those of test_kernels_state.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from libbaash import Library, load
from test_kernels_state import WIDTH, Replays, judge, key, keys

from baash.records import ANY_VERSION, TRANSACTION_INFO, Reason

SEED = 0x9E3779B97F4A7C15


@pytest.fixture(scope="module")
def lib() -> Library:
    return load()


class Entities:
    """A table in memory of the caller, which grows when C says that it is full."""

    def __init__(self, lib: Library, capacity: int = 4) -> None:
        self.lib, self.grown = lib, 0
        self.arrays = [np.zeros((capacity, 4), dtype=np.uint64)]  # the newest, behind the one before
        self.c = lib.new("baash_entity_table *", {"entries": self.entries(), "capacity": capacity, "seed": SEED})

    def entries(self) -> object:
        return self.lib.ffi.cast("baash_entity *", self.lib.pointer(self.arrays[-1]))

    def grow(self) -> None:
        assert self.c.used == self.c.capacity * 7 // 10, "full at 70 %"
        self.arrays = [self.arrays[-1], np.zeros((2 * self.c.capacity, 4), dtype=np.uint64)]
        assert self.lib.entity_grow(self.c, self.entries(), len(self.arrays[0])) == self.lib.E_VALUE, "too few"
        assert self.lib.entity_grow(self.c, self.entries(), len(self.arrays[1])) == self.lib.OK
        self.grown += 1

    def lookup(self, wanted: np.ndarray) -> list[tuple[int, bool, int]]:
        n = len(wanted)
        versions, exists, last = np.ones(n, np.uint64), np.ones(n, np.uint8), np.ones(n, np.uint64)
        assert self.lib.entity_lookup(versions, exists, last, self.c, wanted, n) == self.lib.OK
        return list(zip(versions.tolist(), exists.astype(bool).tolist(), last.tolist(), strict=True))

    def upsert(self, wanted: np.ndarray, versions: list[int], exists: list[bool], last: list[int]) -> tuple[int, int]:
        """(status, items taken)"""
        lib, done = self.lib, self.lib.new("size_t *")
        columns = np.array(versions, np.uint64), np.array(exists, np.uint8), np.array(last, np.uint64)
        while (status := lib.entity_upsert(done, self.c, wanted, *columns, len(wanted))) == lib.E_FULL:
            self.grow()
        return status, done[0]

    def remove(self, wanted: np.ndarray) -> None:
        assert self.lib.entity_remove(self.c, wanted, len(wanted)) == self.lib.OK


class Replay:
    """As Entities, for (issuer, sequence). Bitmaps in pieces of two rows, which stay where they are when it grows."""

    def __init__(self, lib: Library, capacity: int = 2) -> None:
        self.lib, self.pieces, self.issuers = lib, [], np.zeros((0, 4), dtype=np.uint64)
        self.allocate(capacity, 0)

    def allocate(self, capacity: int, rows: int) -> None:
        issuers = np.zeros((capacity, 4), dtype=np.uint64)
        issuers[: len(self.issuers)] = self.issuers
        self.issuers, self.slots = issuers, np.zeros(2 * capacity, dtype=np.uint32)
        while len(self.pieces) < capacity // 2:
            self.pieces.append(np.zeros(2 * WIDTH // 64, dtype=np.uint64))
        self.bitmaps = self.lib.new("uint64_t *[]", [self.lib.pointer(piece) for piece in self.pieces])
        rest = {"slot_count": 2 * capacity, "row_capacity": capacity, "rows": rows, "width": WIDTH, "seed": SEED}
        places = {"slots": self.slots, "issuers": self.lib.ffi.cast("baash_issuer *", self.lib.pointer(issuers))}
        self.c = self.lib.new("baash_replay *", {**places, **rest, "bitmaps": self.bitmaps, "piece_bits": 1})

    def grow(self) -> None:
        self.allocate(2 * len(self.issuers), self.c.rows)
        assert self.lib.replay_index(self.c) == self.lib.OK

    def mark(self, pairs: list[tuple[int, int]]) -> None:
        done, numbers = self.lib.new("size_t *"), np.array([n for _, n in pairs], np.uint64)
        while self.lib.replay_mark(done, self.c, keys([i for i, _ in pairs]), numbers, len(pairs)) == self.lib.E_FULL:
            self.grow()
        assert done[0] == len(pairs)

    def merge(self, other: Replay) -> None:
        done = self.lib.new("size_t *")
        while self.lib.replay_merge(done, self.c, other.c) == self.lib.E_FULL:
            self.grow()
        assert done[0] == other.c.rows

    def check(self, pairs: list[tuple[int, int]]) -> list[int]:
        reasons, numbers = np.ones(len(pairs), np.uint16), np.array([n for _, n in pairs], np.uint64)
        status = self.lib.replay_check(reasons, self.c, keys([i for i, _ in pairs]), numbers, len(pairs))
        assert status == self.lib.OK
        return reasons.tolist()


def test_entity_table(lib: Library) -> None:
    random = np.random.default_rng(12)
    table, model = Entities(lib), {}
    for step in range(200):
        which = random.integers(0, 400, 20).tolist()
        if step % 3 == 2:
            table.remove(keys(which))
            model = {k: state for k, state in model.items() if k not in which}
        else:
            versions, exists = random.integers(1, 2**62, 20).tolist(), (random.integers(0, 2, 20) == 1).tolist()
            assert table.upsert(keys(which), versions, exists, list(range(20))) == (lib.OK, 20)
            model |= {k: (versions[i], exists[i], i) for i, k in enumerate(which)}
        assert table.c.used == len(model)
        assert table.lookup(keys(list(range(400)))) == [model.get(k, (0, False, 0)) for k in range(400)]
    assert table.grown > 3
    for versions, exists in (([1, 2**63], [True, True]), ([1, 0], [True, False])):
        assert table.upsert(keys([500, 501]), versions, exists, [0, 0]) == (lib.E_VALUE, 1)


def test_replay_table(lib: Library) -> None:
    random = np.random.default_rng(13)
    tables = [(Replay(lib), Replays()) for _ in range(2)]
    for step in range(40):
        table, model = tables[step % 2]
        pairs = list(
            zip(random.integers(0, 6, 12).tolist(), random.integers(0, 40 * step + 90, 12).tolist(), strict=True)
        )
        if step == 20:
            pairs += [(0, 2**64 - 1), (1, 2**63)]
        table.mark(pairs)
        for pair in pairs:
            model.mark(*pair)
        asked = [(i, n + d) for i, n in [*pairs, *model.highest.items()] for d in (-WIDTH, 1 - WIDTH, -1, 0, 1)]
        asked = [(i, n) for i, n in asked if 0 <= n < 2**64]
        assert table.check(asked) == [model.reason(*pair) for pair in asked]
    (ours, model), (theirs, other) = tables
    ours.merge(theirs)
    for pair in sorted(other.highest.items()):
        model.mark(*pair)
    for pair in other.seen:
        if other.reason(*pair) == Reason.REPLAYED:
            model.mark(*pair)
    asked = sorted(model.seen | other.seen)
    assert ours.check(asked) == [model.reason(*pair) for pair in asked] and ours.c.rows == len(model.highest)


def apply(table: Entities, replay: Replay, *changes: Any) -> list[Any]:
    """What baash_state_check found, put into table and replay: [baash_undo *, and the arrays that it needs]."""
    lib, written, count = table.lib, changes[4], changes[-1]
    done, entities, steps = table.lib.new("size_t *"), np.zeros((written, 4), np.uint64), np.zeros((9, 2), np.uint64)
    undo = lib.new("baash_undo *", {"entity_capacity": written, "step_capacity": 9})
    undo.entities = lib.ffi.cast("baash_entity *", lib.pointer(entities))
    undo.steps = lib.ffi.cast("baash_replay_step *", lib.pointer(steps))
    while (status := lib.state_apply(done, undo, table.c, replay.c, *changes)) == lib.E_FULL:
        if done[0] < written:
            table.grow()
        elif undo.step_capacity - undo.step_count < WIDTH // 64 + 3:
            steps = np.concatenate([steps, np.zeros_like(steps)])
            undo.steps, undo.step_capacity = lib.ffi.cast("baash_replay_step *", lib.pointer(steps)), len(steps)
        else:
            replay.grow()
    assert (status, done[0]) == (lib.OK, written + count)
    return [undo, entities, steps]


def test_rules(lib: Library) -> None:
    random = np.random.default_rng(14)
    table, replay = Entities(lib), Replay(lib)
    state: dict[int, tuple[int, bool]] = {}
    replays, first, met, lasts = Replays(), 1000, set(), {}
    for _ in range(60):
        count = int(random.integers(0, 25))
        versions = [ANY_VERSION, 0, 1, 2, 3]
        ts = [
            (int(random.integers(1, 6)), int(random.integers(0, 5)), versions[int(random.integers(0, 5))],
             int(random.integers(0, 3)), int(random.integers(0, first // 2)))
            for _ in range(count)
        ]  # fmt: skip
        info = np.zeros(count, dtype=TRANSACTION_INFO)
        for row, (operation, _, expected, issuer, number) in zip(info, ts, strict=True):
            row["operation"], row["expected_version"], row["sequence"] = operation, expected, number
            row["issuer"] = key(issuer)
        slot_count = 64
        slots, highests, firsts = (
            np.zeros(3 * slot_count, np.uint32),
            np.zeros((2, 25), np.uint64),
            np.zeros(25, np.uint32),
        )
        fields = {"slots": slots, "slot_count": slot_count, "issuer_rows": highests[0], "issuer_highests": highests[1]}
        overlay = lib.new("baash_overlay *", {**fields, "issuer_firsts": firsts})
        reasons, written, written_keys = np.ones(count, np.uint16), lib.new("size_t *"), np.zeros((count, 16), np.uint8)
        new = np.zeros(count, np.uint64), np.zeros(count, np.uint8), np.zeros(count, np.uint64)
        status = lib.state_check(
            reasons, written_keys, *new, written, overlay, table.c, replay.c, info,
            keys([t[1] for t in ts], 32), count, first,
        )  # fmt: skip
        assert status == lib.OK
        expected_reasons = [judge(state, replays, t) for t in ts]
        assert reasons.tolist() == expected_reasons
        met |= set(expected_reasons)
        valid = [(i, t) for i, t in enumerate(ts) if not expected_reasons[i]]
        final = {t[1]: (*state[t[1]], first + i) for i, t in valid if t[0] in (1, 2, 4)}
        rows = zip(written_keys, *(part.tolist() for part in new), strict=True)
        got = [(k.tobytes(), version, bool(exists), last) for k, version, exists, last in rows][: written[0]]
        assert got == [(key(k).tobytes(), *rest) for k, rest in final.items()]
        lasts |= {k: last for k, (_, _, last) in final.items()}
        before, asked = table.lookup(keys(list(range(5)))), sorted(replays.seen)
        checked, changes = replay.check(asked), (written_keys, *new, written[0], reasons, info, count)
        undo = apply(table, replay, *changes)
        if changes[4] and random.integers(0, 2):
            assert table.lookup(keys(list(range(5)))) != before
            assert lib.state_undo(undo[0], table.c, replay.c) == lib.OK
            assert undo[0].entity_count == undo[0].step_count == 0
            assert (table.lookup(keys(list(range(5)))), replay.check(asked)) == (before, checked)
            apply(table, replay, *changes)
        assert table.lookup(keys(list(range(5)))) == [(*state.get(k, (0, False)), lasts.get(k, 0)) for k in range(5)]
        assert replay.check(asked) == [replays.reason(*pair) for pair in asked]
        first += count
    assert met == {0, *map(int, (Reason.ENTITY_EXISTS, Reason.ENTITY_UNKNOWN, Reason.VERSION_MISMATCH)), 30, 31}
    overlay.slot_count = 2 * 25 - 1
    none = lib.state_check(
        np.zeros(25, np.uint16), np.zeros((25, 16), np.uint8), *(np.zeros(25, kind) for kind in ("u8", "u1", "u8")), written,
        overlay, table.c, replay.c, np.zeros(25, TRANSACTION_INFO), np.zeros((25, 32), np.uint8), 25, 0,
    )  # fmt: skip
    assert none == lib.E_VALUE
