"""The state functions of libbaash through cffi: tables and rules against dictionaries and sets.

``Entities`` and ``Replay`` are what a C program would keep; the models are those of test_kernels_state.py.
"""

from __future__ import annotations

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
        self.lib, self.used, self.grown = lib, 0, 0
        self.array = np.zeros((capacity, 4), dtype=np.uint64)

    @property
    def entries(self) -> object:
        return self.lib.ffi.cast("baash_entity *", self.lib.pointer(self.array))

    def lookup(self, wanted: np.ndarray) -> list[tuple[int, bool, int]]:
        n = len(wanted)
        versions, exists, last = np.ones(n, np.uint64), np.ones(n, np.uint8), np.ones(n, np.uint64)
        status = self.lib.entity_lookup(versions, exists, last, self.entries, len(self.array), wanted, n, SEED)
        assert status == self.lib.OK
        return list(zip(versions.tolist(), exists.astype(bool).tolist(), last.tolist(), strict=True))

    def upsert(self, wanted: np.ndarray, versions: list[int], exists: list[bool], last: list[int]) -> tuple[int, int]:
        """(status, items taken)"""
        lib, done, used = self.lib, self.lib.new("size_t *"), self.lib.new("size_t *", self.used)
        columns = np.array(versions, np.uint64), np.array(exists, np.uint8), np.array(last, np.uint64)
        while True:
            status = lib.entity_upsert(done, used, self.entries, len(self.array), wanted, *columns, len(wanted), SEED)
            self.used = used[0]
            if status != lib.E_FULL:
                return status, done[0]
            old, before = self.entries, self.array
            assert self.used == len(before) * 7 // 10, "full at 70 %"
            self.array, self.grown = np.zeros((2 * len(before), 4), dtype=np.uint64), self.grown + 1
            assert lib.entity_rehash(self.entries, len(self.array), old, len(before), SEED) == lib.OK

    def remove(self, wanted: np.ndarray) -> None:
        used = self.lib.new("size_t *", self.used)
        status = self.lib.entity_remove(used, self.entries, len(self.array), wanted, len(wanted), SEED)
        assert status == self.lib.OK
        self.used = used[0]


class Replay:
    """As Entities, for (issuer, sequence)."""

    def __init__(self, lib: Library, capacity: int = 1) -> None:
        self.lib = lib
        self.allocate(capacity)

    def allocate(self, capacity: int) -> None:
        self.slots = np.zeros(2 * capacity, dtype=np.uint32)
        self.issuers = np.zeros((capacity, 4), dtype=np.uint64)
        self.bitmaps = np.zeros((capacity, WIDTH // 64), dtype=np.uint64)
        fields = {"slots": self.slots, "bitmaps": self.bitmaps, "slot_count": 2 * capacity, "row_capacity": capacity}
        issuers = self.lib.ffi.cast("baash_issuer *", self.lib.pointer(self.issuers))
        self.c = self.lib.new("baash_replay *", {**fields, "issuers": issuers, "width": WIDTH, "seed": SEED})

    def grow(self) -> None:
        issuers, bitmaps, rows = self.issuers, self.bitmaps, self.c.rows
        self.allocate(2 * len(issuers))
        self.issuers[: len(issuers)], self.bitmaps[: len(issuers)], self.c.rows = issuers, bitmaps, rows
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
        assert table.used == len(model)
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


def test_rules(lib: Library) -> None:
    random = np.random.default_rng(14)
    table, replay = Entities(lib), Replay(lib)
    state: dict[int, tuple[int, bool]] = {}
    replays, first, met = Replays(), 1000, set()
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
            reasons, written_keys, *new, written, overlay, table.entries, len(table.array), replay.c, info,
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
        table.upsert(written_keys[: written[0]], *(part[: written[0]].tolist() for part in new))
        replay.mark([(t[3], t[4]) for _, t in valid])
        first += count
    assert met == {0, *map(int, (Reason.ENTITY_EXISTS, Reason.ENTITY_UNKNOWN, Reason.VERSION_MISMATCH)), 30, 31}
    overlay.slot_count = 2 * 25 - 1
    none = lib.state_check(
        np.zeros(25, np.uint16), np.zeros((25, 16), np.uint8), *(np.zeros(25, kind) for kind in ("u8", "u1", "u8")), written,
        overlay, table.entries, len(table.array), replay.c, np.zeros(25, TRANSACTION_INFO), np.zeros((25, 32), np.uint8), 25, 0,
    )  # fmt: skip
    assert none == lib.E_VALUE
