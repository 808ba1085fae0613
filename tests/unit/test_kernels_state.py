"""Tables and rules against dictionaries and sets."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baash import kernels
from baash.records import ANY_VERSION, TRANSACTION_INFO, Reason

WIDTH = 128
edges = [0, 1, 127, 128, 129, 255, 256, 257, 2**63, 2**64 - 129, 2**64 - 128, 2**64 - 1]
numbers = st.one_of(st.integers(0, 300), st.sampled_from(edges))
pairs = st.lists(st.tuples(st.integers(0, 2), numbers), max_size=40)


def key(number: int, width: int = 16) -> np.ndarray:
    """0, 2, 4, … share the half that chooses the place, as 1, 3, 5, … do; 0 and 251 share the other half."""
    row = np.zeros(width, dtype=np.uint8)
    row[0], row[8], row[15] = number % 251, number // 251, number % 2
    return row


def keys(which: list[int], width: int = 16) -> np.ndarray:
    return np.array([key(n, width) for n in which], dtype=np.uint8).reshape(-1, width)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 40), max_size=30), st.integers(1, 2**63 - 1)), max_size=12
    )
)
def test_entity_table(steps: list[tuple[bool, list[int], int]]) -> None:
    table, model = kernels.EntityTable(1), {}
    for remove, which, version in steps:
        if remove:
            table.remove(keys(which))
            model = {k: v for k, v in model.items() if k not in which}
        else:
            exists = np.arange(len(which)) % 2 == 0
            table.upsert(keys(which), np.full(len(which), version, dtype=np.uint64), exists, np.arange(len(which)))
            model |= {k: (version, bool(exists[i]), i) for i, k in enumerate(which)}
        assert len(table) == len(model)
        versions, there, last = table.copy().lookup(keys(list(range(41))))
        assert list(zip(versions.tolist(), there.tolist(), last.tolist(), strict=True)) == [
            model.get(k, (0, False, 0)) for k in range(41)
        ]
    got = {row.tobytes(): state for row, *state in zip(*table.items(), strict=True)}
    assert got == {key(k).tobytes(): list(state) for k, state in model.items()} and list(got) == sorted(got)


def test_entity_table_grows_and_is_copied() -> None:
    table, count = kernels.EntityTable(16), 100_000
    many = np.random.default_rng(5).integers(0, 256, (count, 32), dtype=np.uint8)[:, :16]
    table.upsert(many, np.arange(1, count + 1), np.ones(count, dtype=bool), np.arange(count))
    other = table.copy()
    other.remove(many[: count // 2])
    assert (len(table), len(other)) == (count, count // 2)
    assert (table.lookup(many)[0] == np.arange(1, count + 1)).all()
    assert other.lookup(many)[1].sum() == count // 2 and table.nbytes <= 32 * 2 * count / 0.7
    with pytest.raises(ValueError, match="item 1"):
        table.upsert(many[:2], [1, 0], [True, False], [0, 0])
    with pytest.raises(ValueError, match="item 0"):
        table.upsert(many[:1], np.array([1 << 63], dtype=np.uint64), [True], [0])


def test_entity_table_while_it_grows() -> None:
    """Held against a dictionary between all the small steps of a growth, copies and items included."""
    random = np.random.default_rng(9)
    table, model, growing = kernels.EntityTable(700), {}, 0
    for step in range(300):
        which = random.integers(0, 4000, 13).tolist()
        if step % 5 == 4:
            table.remove(keys(which))
            model = {k: v for k, v in model.items() if k not in which}
        else:
            table.upsert(keys(which), np.full(13, step + 1), np.ones(13, dtype=bool), np.arange(13))
            model |= {k: (step + 1, True, i) for i, k in enumerate(which)}
        grows = table.nbytes % 3 == 0  # the array before is half as large: three parts of a power of two
        growing += grows
        if grows or step % 20 == 0:
            table = table.copy() if step % 2 else table
            versions, there, last = table.lookup(keys(list(range(4000))))
            found = {k: (int(versions[k]), True, int(last[k])) for k in np.flatnonzero(there).tolist()}
            assert found == model and len(table) == len(model)
            listed = {row.tobytes(): tuple(state) for row, *state in zip(*table.items(), strict=True)}
            assert listed == {key(k).tobytes(): state for k, state in model.items()}
    assert growing > 3


@dataclass
class Replays:
    """What is decided, by issuer; the highest by issuer."""

    seen: set[tuple[int, int]] = field(default_factory=set)
    highest: dict[int, int] = field(default_factory=dict)

    def reason(self, issuer: int, number: int) -> int:
        if self.highest.get(issuer, number) - number >= WIDTH:
            return Reason.TOO_OLD
        return Reason.REPLAYED if (issuer, number) in self.seen else Reason.NONE

    def mark(self, issuer: int, number: int) -> None:
        if self.reason(issuer, number) != Reason.TOO_OLD:
            self.seen.add((issuer, number))
            self.highest[issuer] = max(number, self.highest.get(issuer, 0))


def replay_of(marked: list[tuple[int, int]]) -> tuple[kernels.ReplayTable, Replays]:
    table, model = kernels.ReplayTable(WIDTH), Replays()
    table.mark(keys([i for i, _ in marked]), np.array([n for _, n in marked], dtype=np.uint64))
    for pair in marked:
        model.mark(*pair)
    return table, model


def assert_same(table: kernels.ReplayTable, model: Replays, asked: list[tuple[int, int]]) -> None:
    around = {(i, n + d) for i, n in [*asked, *model.highest.items()] for d in (-WIDTH, 1 - WIDTH, -1, 0, 1, WIDTH)}
    probes = [(i, n) for i, n in sorted(around | model.seen) if 0 <= n < 2**64]
    reasons = table.check(keys([i for i, _ in probes]), np.array([n for _, n in probes], dtype=np.uint64))
    assert reasons.tolist() == [model.reason(*pair) for pair in probes]
    assert len(table) == len(model.highest)


@settings(max_examples=80, deadline=None)
@given(marked=pairs, others=pairs, later=pairs)
def test_replay_table(
    marked: list[tuple[int, int]], others: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    table, model = replay_of(marked)
    assert_same(table, model, [*marked, *others])
    theirs, their_model = replay_of(others)
    before = theirs.copy()
    theirs.merge(table)
    for issuer, highest in model.highest.items():
        their_model.mark(issuer, highest)
    for issuer, number in model.seen:
        if model.reason(issuer, number) == Reason.REPLAYED:
            their_model.mark(issuer, number)
    assert_same(theirs, their_model, [*marked, *others])
    assert_same(before, replay_of(others)[1], others)
    theirs.mark(keys([i for i, _ in later]), np.array([n for _, n in later], dtype=np.uint64))
    for pair in later:
        their_model.mark(*pair)
    assert_same(theirs, their_model, [*marked, *others, *later])


def test_replay_table_grows() -> None:
    table, count = kernels.ReplayTable(64), 3000
    issuers = np.random.default_rng(6).integers(0, 256, (count, 16), dtype=np.uint8)
    table.mark(issuers, np.arange(count))
    assert len(table) == count and (table.check(issuers, np.arange(count)) == Reason.REPLAYED).all()
    assert not table.check(issuers, np.arange(count) + 1).any()
    with pytest.raises(ValueError, match="widths"):
        table.merge(kernels.ReplayTable(128))
    with pytest.raises(ValueError, match="multiple of 64"):
        kernels.ReplayTable(100)


State = dict[int, tuple[int, bool]]
transaction = st.tuples(
    st.integers(1, 5), st.integers(0, 4), st.sampled_from([ANY_VERSION, 0, 1, 2, 3]), st.integers(0, 2), numbers
)


def judge(state: State, replays: Replays, t: tuple[int, int, int, int, int]) -> int:
    """The rules of docs/ledger-format.md section 3; valid ones take effect."""
    operation, entity, expected, issuer, number = t
    version, exists = state.get(entity, (0, False))
    reason = replays.reason(issuer, number)
    if not reason and operation == 1 and exists:
        reason = Reason.ENTITY_EXISTS
    if not reason and operation in (2, 3, 4) and not exists:
        reason = Reason.ENTITY_UNKNOWN
    if not reason and operation in (2, 4) and expected not in (ANY_VERSION, version):
        reason = Reason.VERSION_MISMATCH
    if not reason:
        replays.mark(issuer, number)
        if operation in (1, 2, 4):
            state[entity] = (version + 1, operation != 4)
    return reason


@settings(max_examples=150, deadline=None)
@given(calls=st.lists(st.lists(transaction, max_size=25), min_size=1, max_size=4))
def test_rules(calls: list[list[tuple[int, int, int, int, int]]]) -> None:
    table, replay = kernels.EntityTable(4), kernels.ReplayTable(WIDTH)
    state: State = {}
    replays, first = Replays(), 1000
    for ts in calls:
        info = np.zeros(len(ts), dtype=TRANSACTION_INFO)
        for row, (operation, _, expected, issuer, number) in zip(info, ts, strict=True):
            row["operation"], row["expected_version"], row["sequence"] = operation, expected, number
            row["issuer"] = key(issuer)
        entities = keys([t[1] for t in ts], 32)
        before, marked = table.items(), replay.copy()
        reasons, written, versions, exists, last = kernels.check_transactions(table, replay, info, entities, first)
        old = copy.deepcopy(replays)
        expected_reasons = [judge(state, replays, t) for t in ts]
        assert reasons.tolist() == expected_reasons
        valid = [(i, t) for i, t in enumerate(ts) if not expected_reasons[i] and t[0] in (1, 2, 4)]
        final = {t[1]: (*state[t[1]], first + i) for i, t in valid}
        got = zip(written, versions.tolist(), exists.tolist(), last.tolist(), strict=True)
        assert [(k.tobytes(), *rest) for k, *rest in got] == [(key(k).tobytes(), *rest) for k, rest in final.items()]
        assert all((a == b).all() for a, b in zip(before, table.items(), strict=True)), "the table is not changed"
        assert_same(marked, old, [])
        assert_same(replay, old, [])
        table.upsert(written, versions, exists, last)
        replay.mark(info["issuer"][reasons == 0], info["sequence"][reasons == 0])
        first += len(ts)


def test_rules_on_many() -> None:
    """Large enough for long searches in the overlay: every entity is created, updated with its version, retired."""
    count = 20_000
    entities = np.tile(np.random.default_rng(7).integers(0, 256, (count, 32), dtype=np.uint8), (3, 1))
    info = np.zeros(3 * count, dtype=TRANSACTION_INFO)
    info["operation"] = np.repeat([1, 2, 4], count)
    info["expected_version"] = np.repeat(np.array([ANY_VERSION, 1, 2], dtype=np.uint64), count)
    info["sequence"] = np.arange(3 * count)
    reasons, written, versions, exists, last = kernels.check_transactions(
        kernels.EntityTable(), kernels.ReplayTable(), info, entities
    )
    assert not reasons.any() and (written == entities[:count, :16]).all()
    assert (versions == 3).all() and not exists.any() and (last == np.arange(2 * count, 3 * count)).all()
    info["operation"][5] = 9
    assert kernels.check_transactions(kernels.EntityTable(), kernels.ReplayTable(), info, entities)[0][5] == 4


def test_rules_on_many_issuers() -> None:
    """Issuers that differ in one half only, often with the same numbers: what is compared is the whole pair."""
    count = 5000
    issuers = np.zeros((count, 16), dtype=np.uint8)
    issuers[:, :4] = np.arange(count, dtype="<u4").view(np.uint8).reshape(-1, 4)
    info = np.zeros(4 * count, dtype=TRANSACTION_INFO)
    info["operation"], info["issuer"] = 5, np.tile(issuers, (4, 1))
    own = np.random.default_rng(8).integers(0, 5, count) * 1000  # some share their numbers, others are far apart
    info["sequence"] = np.concatenate([own, own, own + WIDTH, own])
    reasons = kernels.check_transactions(
        kernels.EntityTable(), kernels.ReplayTable(WIDTH), info, np.zeros((4 * count, 32), dtype=np.uint8)
    )[0]
    assert (reasons == np.repeat([0, Reason.REPLAYED, 0, Reason.TOO_OLD], count)).all()


def test_merge_of_all_small_worlds() -> None:
    """Two numbers of theirs, one of ours; bits that are too old must not come back as newer numbers."""
    places = range(0, 3 * WIDTH, 23)
    for low in places:
        for high in places:
            for mine in places:
                table, model = replay_of([(0, mine)])
                table.merge(replay_of([(0, low), (0, high)])[0])
                for number in sorted({low, high} if abs(high - low) < WIDTH else {max(low, high)}, reverse=True):
                    model.mark(0, number)
                asked = np.arange(max(low, high, mine) + 1, dtype=np.uint64)
                reasons = table.check(np.broadcast_to(key(0), (len(asked), 16)), asked)
                top = len(asked) - 1
                marked = {number for _, number in model.seen if top - number < WIDTH}
                assert set(np.flatnonzero(reasons == Reason.REPLAYED).tolist()) == marked
                assert (reasons == Reason.TOO_OLD).sum() == max(0, top - WIDTH + 1)
