"""How fast the kernels are that do more than hash: records, rules, tables, votes.

``pytest bench/bench_kernels.py`` (smoke size), ``BAASH_BENCH=full`` for sizes that mean something.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pytest
from measure import DEFAULT, FULL, ITEMS, RANDOM, READY, named, run

from baash import batch as batches
from baash import kernels
from baash.protocol.windows import block_offsets, entities_digest, entries_of
from baash.records import ANY_VERSION, WINDOW


def records_of(payload_bytes: int) -> Any:
    names = (np.arange(ITEMS, dtype="<u8").view(np.uint8), np.arange(ITEMS + 1) * 8)
    payloads = (np.zeros(ITEMS * payload_bytes, dtype=np.uint8), np.arange(ITEMS + 1) * payload_bytes)
    return kernels.encode(1, np.arange(ITEMS), 0, ANY_VERSION, bytes(16), names, payloads, 0)[0]


def test_encode(benchmark: Any) -> None:
    run(benchmark, lambda: records_of(200), "transactions", ITEMS)


def test_scan(benchmark: Any) -> None:
    records = records_of(200)
    assert len(run(benchmark, lambda: kernels.scan(records), "transactions", ITEMS)[0]) == ITEMS


def window_of(count: int, record_bytes: int, block_size: int) -> tuple[Any, Any, Any, Any]:
    """(header, entries, entity list, records) of a window that creates ``count`` entities with names as YCSB's."""
    names = b"".join(b"user%019d" % i for i in range(count))
    payload_bytes = record_bytes - 64 - 24
    payloads = RANDOM.integers(0, 256, count * payload_bytes, dtype=np.uint8), np.arange(count + 1) * payload_bytes
    entities = (names, np.arange(count + 1) * 23)
    batch = batches.scan(kernels.encode(1, np.arange(count), 0, ANY_VERSION, bytes(16), entities, payloads, 0)[0])[0]
    entries, written, row = (
        entries_of(batch, block_offsets(count, block_size)),
        batch.written(),
        np.zeros(1, dtype=WINDOW),
    )
    row["block_count"], row["transaction_count"], row["entity_count"] = len(entries), count, len(written)
    row["records_bytes"] = batch.records.nbytes
    root = kernels.merkle_roots(kernels.content_digests(entries, 0), np.array([0, len(entries)]))[0]
    row["content_root"], row["entities"] = root, np.frombuffer(entities_digest(written), dtype=np.uint8)
    return row, entries, written, batch.records


@pytest.mark.parametrize("kernel", [DEFAULT, *READY])
@pytest.mark.parametrize("where", ["near", "far"])
@pytest.mark.parametrize("block_size", [4, 250])
def test_check_window(benchmark: Any, block_size: int, where: str, kernel: str) -> None:
    """A window of 4 MB beside the hashes of its records alone, taken by turns: ``of_raw`` is what is left of their rate.

    far: each window is met once, as one that came off the wire (64 MB of them go round); near: always the same.
    """
    count = 4_000 if FULL else 200
    row, entries, written, records = window_of(count, 1_000, block_size)
    windows = [records.copy() for _ in range((16 if FULL else 2) if where == "far" else 1)]
    starts, lengths, out = np.arange(count) * 1_000, np.full(count, 1_000), np.empty((count, 32), dtype=np.uint8)
    raw: list[float] = []
    own: list[float] = []

    def hashes() -> None:
        begun = time.perf_counter()
        for window in windows:
            kernels.sha256_spans(window, starts, lengths, out=out, kernel=named(kernel))
        raw.append(time.perf_counter() - begun)

    def check() -> None:
        begun = time.perf_counter()
        for window in windows:
            found = kernels.check_window(row, entries, written, window, block_size, named(kernel))
            assert found.valid_blocks == len(entries)
        own.append(time.perf_counter() - begun)

    benchmark.group = f"window of {block_size}-transaction blocks, {where}"
    benchmark.pedantic(check, setup=hashes, rounds=(25 if where == "far" else 200) if FULL else 2, warmup_rounds=1)
    ratio = statistics.median(a / b for a, b in zip(raw, own, strict=True))
    benchmark.extra_info.update(
        {
            "of_raw": ratio,
            "to_reference": ratio,
            "raw_bytes_per_s": len(windows) * records.nbytes / min(raw),
            "full": FULL,
        }
    )
    print(f"window, blocks of {block_size}, {where}, {kernel}: {ratio:.3f} of the rate of sha256_spans")


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
