"""What the suites of this folder share: sizes, one way to measure, and somebody else's SHA-256 to stand beside ours.

``BAASH_BENCH=full`` gives sizes that mean something; without it each benchmark runs at a smoke size, as a test that it still runs.
One thread, data in memory, seed 1. Times on a shared machine say little, so what is kept and compared is a ratio: the rate of a
benchmark by that of ``hashlib`` on 64-byte messages, measured many times all through the same run (``REFERENCE``).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from baash import kernels

FULL = os.environ.get("BAASH_BENCH") == "full"
BYTES = 4 << 20 if FULL else 64 << 10
ITEMS = 100_000 if FULL else 1_000
ROUNDS = 15 if FULL else 2
READY = [kernel.name for kernel in kernels.available() if kernel.state == "ready"]
DEFAULT = "default"  # the chosen kernel and its partner
RANDOM = np.random.default_rng(1)

REFERENCE = [bytes([number % 256]) * 64 for number in range(4096)]
_best_reference_s = float("inf")


def reference_per_s() -> float:
    """Messages of 64 bytes that hashlib hashes in a second, by the best of all times so far."""
    global _best_reference_s
    for _ in range(5):
        began = time.perf_counter()
        for message in REFERENCE:
            hashlib.sha256(message).digest()
        _best_reference_s = min(_best_reference_s, time.perf_counter() - began)
    return len(REFERENCE) / _best_reference_s


def run(benchmark: Any, work: Callable[[], Any], unit: str, amount: int, **more: Any) -> Any:
    """Measure ``work`` and note ``amount`` of ``unit`` a second, and its ratio to the reference."""
    result = benchmark.pedantic(work, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.stats:  # none under --benchmark-disable
        rate = amount / benchmark.stats.stats.min
        benchmark.extra_info.update(
            {f"{unit}_per_s": rate, "to_reference": rate / reference_per_s(), "full": FULL, **more}
        )
    return result


def named(kernel: str) -> str | None:
    return None if kernel == DEFAULT else kernel


_EACH = """
#include <stddef.h>
#include <stdint.h>
typedef unsigned char *one(const unsigned char *, size_t, unsigned char *);
void each(one *hash, unsigned char *out, const unsigned char *data, const uint64_t *offsets, size_t count) {
    for (size_t i = 0; i < count; i++) hash(data + offsets[i], offsets[i + 1] - offsets[i], out + 32 * i);
}
"""


@cache
def openssl() -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """OpenSSL's ``SHA256`` called for each message from C, without Python in between; None where it cannot be had."""
    library, compiler = ctypes.util.find_library("crypto"), shutil.which("cc")
    if library is None or compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "each.c"), Path(folder, "each.so")
        source.write_text(_EACH)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", built, source], check=True)
        each = ctypes.CDLL(str(built)).each
    sha256 = ctypes.CDLL(library).SHA256

    def hash_all(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        out = np.empty((len(offsets) - 1, 32), dtype=np.uint8)
        arrays = [ctypes.c_void_p(array.ctypes.data) for array in (out, data, offsets)]
        each(sha256, *arrays, ctypes.c_size_t(len(out)))
        return out

    return hash_all
