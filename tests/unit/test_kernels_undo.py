"""What was applied and taken back leaves no trace: against tables that never saw it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baash import kernels
from baash.records import ANY_VERSION, TRANSACTION_INFO, Operation

WIDTH = 128
Tables = tuple[kernels.EntityTable, kernels.ReplayTable]
edges = [0, 1, 63, 64, 127, 128, 129, 255, 256, 2**63, 2**64 - 129, 2**64 - 1]
numbers = st.one_of(st.integers(0, 300), st.sampled_from(edges))
transactions = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.integers(0, 5), numbers), max_size=20)


def rows(which: Any, width: int) -> np.ndarray:
    found = np.zeros((len(which), width), dtype=np.uint8)
    found[:, 0], found[:, 8] = np.asarray(which, dtype=np.int64) % 251, np.asarray(which, dtype=np.int64) // 251
    return found


def check(tables: Tables, window: Any) -> tuple[np.ndarray, Any]:
    info = np.zeros(len(window), dtype=TRANSACTION_INFO)
    for row, (operation, _, _, number) in zip(info, window, strict=True):
        row["operation"], row["expected_version"], row["sequence"] = operation, ANY_VERSION, number
    info["issuer"] = rows([issuer for _, _, issuer, _ in window], 16)
    return info, kernels.check_transactions(*tables, info, rows([entity for _, entity, _, _ in window], 32))


def apply(tables: Tables, window: Any) -> kernels.Applied:
    info, (reasons, *delta) = check(tables, window)
    return kernels.apply_transactions(*tables, info, reasons, *delta)


def assert_same(tables: Tables, others: Tables) -> None:
    for mine, theirs in zip(tables[0].items(), others[0].items(), strict=True):
        assert np.array_equal(mine, theirs)
    assert len(tables[0]) == len(others[0]) and len(tables[1]) == len(others[1])
    asked = np.unique(np.concatenate([np.arange(500, dtype=np.uint64), np.array(edges, dtype=np.uint64)]))
    for issuer in range(6):
        ids = np.broadcast_to(rows([issuer], 16), (len(asked), 16))
        assert np.array_equal(tables[1].check(ids, asked), others[1].check(ids, asked))


def empty() -> Tables:
    return kernels.EntityTable(4), kernels.ReplayTable(WIDTH)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(transactions, st.lists(transactions, max_size=3)), max_size=4))
def test_lost_windows_leave_no_trace(steps: list[tuple[Any, list[Any]]]) -> None:
    tables, plain = empty(), empty()
    for kept, lost in steps:
        for applied in reversed([apply(tables, window) for window in lost]):
            applied.undo()
            applied.undo()
        assert_same(tables, plain)
        apply(tables, kept)
        info, (reasons, *delta) = check(plain, kept)
        plain[0].upsert(*delta)
        plain[1].mark(info["issuer"][reasons == 0], info["sequence"][reasons == 0])
        assert_same(tables, plain)


def test_undo_of_all_small_worlds() -> None:
    """Two numbers decided before (or one, or none), two of a lost window, over three widths of the bitmap."""
    places = range(0, 3 * WIDTH, 47)
    before = [(), *((a,) for a in places), *product(places, repeat=2)]
    asked = np.arange(3 * WIDTH)
    ids = np.broadcast_to(rows([0], 16), (len(asked), 16))
    for marked in before:
        tables = empty()
        tables[1].mark(ids[: len(marked)], np.array(marked, dtype=np.uint64))
        expected = tables[1].check(ids, asked)
        for lost in product(places, repeat=2):
            applied = apply(tables, [(Operation.NOTE, 0, 0, number) for number in lost])
            decided = tables[1].check(ids, asked)
            assert decided[list(lost)].all()
            applied.undo()
            assert np.array_equal(tables[1].check(ids, asked), expected), (marked, lost)
            assert len(tables[1]) == bool(marked)


def test_undo_of_every_operation() -> None:
    """One entity in each state it can be in, each pair of operations on it."""
    pasts: list[list[int]] = [[], [1], [1, 2], [1, 4], [1, 4, 1]]
    for past, lost in product(pasts, product((1, 2, 4), repeat=2)):
        tables = empty()
        apply(tables, [(operation, 3, 0, number) for number, operation in enumerate(past)])
        before = tables[0].items()
        apply(tables, [(operation, 3, 1, number) for number, operation in enumerate(lost)]).undo()
        assert all(np.array_equal(a, b) for a, b in zip(before, tables[0].items(), strict=True))


def test_undo_across_growth() -> None:
    """Everything grows under the window that is lost: both tables, the notes."""
    tables, plain = empty(), empty()
    for world in (tables, plain):
        apply(world, [(1, entity, 0, entity) for entity in range(500)])
    few = [(2, entity, entity, 7 * WIDTH * (entity % 3)) for entity in range(1500)]
    many = [(1, 500 + entity, 1500 + entity, entity) for entity in range(1500)]
    applied = [apply(tables, few), apply(tables, many)]
    assert len(tables[0]) == 2000 and len(tables[1]) == 1 + 499 + 1500
    for one in reversed(applied):
        one.undo()
    assert_same(tables, plain)
    again = [(1, 500 + entity, 1500 + entity, entity) for entity in range(1500)]
    assert np.array_equal(check(tables, again)[1][0], check(plain, again)[1][0])


def test_apply_refuses_a_wrong_delta_whole() -> None:
    tables, plain = empty(), empty()
    info, (reasons, keys, versions, exists, last) = check(tables, [(1, entity, 0, entity) for entity in range(9)])
    versions[7] = 1 << 63
    with pytest.raises(ValueError, match="item 7"):
        kernels.apply_transactions(*tables, info, reasons, keys, versions, exists, last)
    assert_same(tables, plain)
