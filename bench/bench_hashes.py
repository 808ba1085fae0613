"""How fast messages and trees are hashed: every kernel beside ``hashlib`` and OpenSSL, one message at a time each.

``pytest bench/bench_hashes.py`` (smoke size), ``BAASH_BENCH=full`` for sizes that mean something. ``make bench-plots`` draws it.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
from measure import BYTES, DEFAULT, ITEMS, RANDOM, READY, named, openssl, run

from baash import kernels

SIZES = [32, 64, 100, 256, 1000, 4096, 16384]
OURS = [DEFAULT, *READY]


def lengths_of(mix: str) -> np.ndarray:
    """Ragged batches of about ``BYTES``."""
    match mix:
        case "even":  # all of the mean length of the next
            return np.full(max(BYTES // 1000, 64), 1000)
        case "uniform":
            return RANDOM.integers(0, 2001, max(BYTES // 1000, 64))
        case "lognormal":
            return np.minimum(RANDOM.lognormal(6.0, 1.0, max(BYTES // 665, 64)), 60_000).astype(np.int64)
        case "long-and-short":  # one of 16 KiB beside a thousand of 100 bytes
            lengths = np.full(max(BYTES // 116, 1100), 100)
            lengths[7::1000] = 16384
            return lengths
    raise ValueError(mix)


def measure(benchmark: Any, who: str, lengths: np.ndarray) -> None:
    offsets = np.append(0, np.cumsum(lengths)).astype(np.uint64)
    data = RANDOM.integers(0, 256, int(offsets[-1]), dtype=np.uint8)
    more = {"who": who, "messages": len(lengths), "blocks": int(((lengths + 8) // 64 + 1).sum())}
    if who == "hashlib":
        messages = [data[a:b].tobytes() for a, b in itertools.pairwise(offsets.tolist())]
        run(benchmark, lambda: [hashlib.sha256(m).digest() for m in messages], "messages", len(lengths), **more)
    elif who == "openssl":
        hash_all = openssl()
        if hash_all is None:
            pytest.skip("OpenSSL's libcrypto or a C compiler is not here")
        assert hash_all(data, offsets)[-1].tobytes() == kernels.sha256_batch(data, offsets)[-1].tobytes()
        run(benchmark, lambda: hash_all(data, offsets), "messages", len(lengths), **more)
    else:
        out = np.empty((len(lengths), 32), dtype=np.uint8)
        run(
            benchmark,
            lambda: kernels.sha256_batch(data, offsets, out=out, kernel=named(who)),
            "messages",
            len(lengths),
            **more,
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("who", [*OURS, "hashlib", "openssl"])
def test_sha256(benchmark: Any, who: str, size: int) -> None:
    benchmark.group = f"sha256 {size} bytes"
    measure(benchmark, who, np.full(max(BYTES // size, 64), size))


@pytest.mark.parametrize("mix", ["even", "uniform", "lognormal", "long-and-short"])
@pytest.mark.parametrize("who", [DEFAULT, "hashlib", "openssl"])
def test_ragged(benchmark: Any, who: str, mix: str) -> None:
    benchmark.group = f"ragged {mix}"
    measure(benchmark, who, lengths_of(mix))


@pytest.mark.parametrize("count", [1, 4, 14, 15, 32, 100])
@pytest.mark.parametrize("who", OURS)
def test_few_messages(benchmark: Any, who: str, count: int) -> None:
    """Where the crossover points of ``csrc/sha256/dispatch.c`` come from."""
    benchmark.group = f"{count} messages of 100 bytes"
    data, offsets = RANDOM.integers(0, 256, 100 * count, dtype=np.uint8), np.arange(count + 1) * 100
    out = np.empty((count, 32), dtype=np.uint8)

    def work() -> None:
        for _ in range(ITEMS // 100):
            kernels.sha256_batch(data, offsets, out=out)

    kernels.select(named(who))  # looking a name up costs more than a few messages
    try:
        run(benchmark, work, "messages", ITEMS // 100 * count, who=who)
    finally:
        kernels.select(None)


@pytest.mark.parametrize("leaves", [2, 4, 250, 10_000])
@pytest.mark.parametrize("who", [DEFAULT, *READY, "hashlib"])
def test_merkle_roots(benchmark: Any, who: str, leaves: int) -> None:
    """Roots of many blocks from their leaf hashes; with two leaves a root is one pair hash. Counted in pair hashes."""
    benchmark.group = f"Merkle roots of {leaves} leaves"
    trees = max(ITEMS // leaves, 1)
    rows = RANDOM.integers(0, 256, (trees * leaves, 32), dtype=np.uint8)
    pairs = trees * (leaves - 1)
    if who == "hashlib":
        messages = [b"\1" + row.tobytes() for row in np.resize(rows, (pairs, 64))]
        run(benchmark, lambda: [hashlib.sha256(m).digest() for m in messages], "pairs", pairs, who=who)
    else:
        offsets = np.arange(trees + 1) * leaves
        run(benchmark, lambda: kernels.merkle_roots(rows, offsets, kernel=named(who)), "pairs", pairs, who=who)


def test_merkle_paths(benchmark: Any) -> None:
    rows = RANDOM.integers(0, 256, (min(ITEMS, 10_000), 32), dtype=np.uint8)
    run(benchmark, lambda: kernels.merkle_paths(rows), "paths", len(rows))


def test_log_append(benchmark: Any) -> None:
    leaves = RANDOM.integers(0, 256, (ITEMS, 32), dtype=np.uint8)
    frontier = np.zeros((64, 32), dtype=np.uint8)
    run(benchmark, lambda: kernels.log_append(frontier, 0, leaves), "leaves", ITEMS)
