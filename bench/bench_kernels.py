"""How fast the kernels are that do more than hash: records, rules, tables, votes.

``pytest bench/bench_kernels.py`` (smoke size), ``BAASH_BENCH=full`` for sizes that mean something.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from measure import FULL, ITEMS, RANDOM, run

from baash import kernels
from baash.records import ANY_VERSION


def records_of(payload_bytes: int) -> Any:
    names = (np.arange(ITEMS, dtype="<u8").view(np.uint8), np.arange(ITEMS + 1) * 8)
    payloads = (np.zeros(ITEMS * payload_bytes, dtype=np.uint8), np.arange(ITEMS + 1) * payload_bytes)
    return kernels.encode(1, np.arange(ITEMS), 0, ANY_VERSION, bytes(16), names, payloads, 0)[0]


def test_encode(benchmark: Any) -> None:
    run(benchmark, lambda: records_of(200), "transactions", ITEMS)


def test_scan(benchmark: Any) -> None:
    records = records_of(200)
    assert len(run(benchmark, lambda: kernels.scan(records), "transactions", ITEMS)[0]) == ITEMS


@pytest.mark.parametrize("filled", [False, True])
def test_check_transactions(benchmark: Any, filled: bool) -> None:
    """Every transaction creates an entity; against an empty state and against one of a million entities (full size)."""
    records = records_of(0)
    info, _, _ = kernels.scan(records)
    entities = kernels.entity_hashes(records, info)
    table, replay = kernels.EntityTable(), kernels.ReplayTable()
    if filled:
        others = RANDOM.integers(0, 256, (10 * ITEMS, 16), dtype=np.uint8)
        table.upsert(
            others, np.ones(len(others)).astype("u8"), np.ones(len(others), dtype=bool), np.zeros(len(others), "u8")
        )
    reasons, *_ = run(
        benchmark, lambda: kernels.check_transactions(table, replay, info, entities), "transactions", ITEMS
    )
    assert not reasons.any()


def table_of(count: int) -> tuple[kernels.EntityTable, Any]:
    keys = RANDOM.integers(0, 256, (count, 16), dtype=np.uint8)
    table = kernels.EntityTable(count)
    table.upsert(keys, np.arange(1, count + 1), np.ones(count, dtype=bool), np.arange(count))
    return table, keys


@pytest.mark.parametrize("entities", [10_000, 10_000_000] if FULL else [1_000])
def test_lookup(benchmark: Any, entities: int) -> None:
    """1,000 at a time, half of them there: in a table that fits the cache, and (full size) in one of half a gigabyte."""
    table, keys = table_of(entities)
    asked = RANDOM.integers(0, 256, (max(10 * ITEMS, 1000), 16), dtype=np.uint8)
    asked[::2] = keys[RANDOM.integers(0, entities, len(asked) // 2)]
    batches = [asked[start : start + 1000] for start in range(0, len(asked), 1000)]
    run(benchmark, lambda: [table.lookup(batch) for batch in batches], "entities", len(asked), entities=entities)


def test_upsert_while_growing(benchmark: Any) -> None:
    """1,000 at a time into a table that is empty at first; ``longest_call_cpu_s``: the longest pause that one call made."""
    count = 100 * ITEMS if FULL else 20 * ITEMS
    keys = RANDOM.integers(0, 256, (count, 16), dtype=np.uint8)
    ones, there = np.ones(1000, dtype="u8"), np.ones(1000, dtype=bool)
    calls: list[float] = []

    def work() -> None:
        table = kernels.EntityTable()
        for start in range(0, count, 1000):
            began = time.thread_time()
            table.upsert(keys[start : start + 1000], ones, there, ones)
            calls.append(time.thread_time() - began)

    run(benchmark, work, "entities", count)
    benchmark.extra_info.update(longest_call_cpu_s=max(calls), median_call_cpu_s=float(np.median(calls)))


def test_tally(benchmark: Any) -> None:
    windows = ITEMS // 10
    prefixes = RANDOM.integers(0, 9, (windows, 8))
    present = RANDOM.integers(0, 2, (windows, 8))
    run(benchmark, lambda: kernels.tally(prefixes, present, 5, 8), "windows", windows)
