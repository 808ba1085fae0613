"""Every SHA-256 kernel against published vectors and hashlib; bounds; which kernel runs and why not."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baash import _core, kernels
from baash.errors import KernelUnavailable
from baash.kernels import dispatch

ROOT = Path(__file__).resolve().parents[2]
READY = [kernel.name for kernel in kernels.available() if kernel.state == "ready"]
every_kernel = pytest.mark.parametrize("kernel", READY)


def joined(messages: list[bytes]) -> tuple[bytes, np.ndarray]:
    return b"".join(messages), np.cumsum([0, *map(len, messages)])


def expected(messages: list[bytes]) -> list[bytes]:
    return [hashlib.sha256(message).digest() for message in messages]


def cavp(name: str) -> list[tuple[bytes, bytes]]:
    """NIST's Cryptographic Algorithm Validation Program: (message, hash)."""
    vectors = pytest.importorskip("cryptography_vectors", reason="NIST's vectors come with cryptography-vectors (pip)")
    with vectors.open_vector_file(f"hashes/SHA2/{name}.rsp", "r") as file:
        cases = re.findall(r"Len = (\d+)\s+Msg = (\w+)\s+MD = (\w+)", file.read())
    return [(bytes.fromhex(message)[: int(bits) // 8], bytes.fromhex(digest)) for bits, message, digest in cases]


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if no kernel had been chosen yet; afterwards again."""
    monkeypatch.delenv("BAASH_KERNEL", raising=False)
    monkeypatch.setattr(dispatch, "_obeyed", False)
    yield
    _core.init()


@every_kernel
@pytest.mark.parametrize("name", ["SHA256ShortMsg", "SHA256LongMsg"])
def test_nist_vectors(kernel: str, name: str) -> None:
    cases = cavp(name)
    assert len(cases) >= 64
    hashes = kernels.sha256_batch(*joined([message for message, _ in cases]), kernel=kernel)
    assert [row.tobytes() for row in hashes] == [digest for _, digest in cases]


@every_kernel
def test_own_vectors(kernel: str) -> None:
    lines = (ROOT / "tests/vectors/sha256.txt").read_text().splitlines()
    cases = [line.split() for line in lines if not line.startswith("#")]
    messages = [bytes.fromhex(message.strip("-")) for message, _ in cases]
    hashes = kernels.sha256_batch(*joined(messages), kernel=kernel)
    assert [row.tobytes().hex() for row in hashes] == [digest for _, digest in cases]


@every_kernel
@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=3000),
    spans=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 300)), max_size=40),
    threads=st.integers(1, 3),
)
def test_ragged_spans(kernel: str, data: bytes, spans: list[tuple[int, int]], threads: int) -> None:
    inside = [(start, min(length, len(data) - start)) for start, length in spans if start <= len(data)]
    starts, lengths = [start for start, _ in inside], [length for _, length in inside]
    hashes = kernels.sha256_spans(data, starts, lengths, kernel=kernel, threads=threads)
    assert [row.tobytes() for row in hashes] == expected([data[s : s + n] for s, n in inside])


@lru_cache(maxsize=1)
def a_million() -> tuple[np.ndarray, np.ndarray, np.ndarray, bytes]:
    """Random messages at random places of random bytes: data, starts, lengths, and all hashes by hashlib, one behind the other.

    Half of them have up to four blocks, where padding has its edges, one in a thousand up to 64 KiB.
    """
    random, count = np.random.default_rng(20240229), 1_000_000
    data = random.integers(0, 256, 1 << 20, dtype=np.uint8)
    most = random.choice([256, 1000, 1 << 16], count, p=[0.5, 0.499, 0.001])
    lengths = (random.random(count) * (most + 1)).astype(np.uint64)
    starts = (random.random(count) * (len(data) - lengths + 1)).astype(np.uint64)
    raw, sha256 = data.tobytes(), hashlib.sha256
    spans = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    return data, starts, lengths, b"".join([sha256(raw[start:end]).digest() for start, end in spans])


@every_kernel
def test_a_million_messages(kernel: str) -> None:
    data, starts, lengths, digests = a_million()
    assert kernels.sha256_spans(data, starts, lengths, kernel=kernel).tobytes() == digests


def test_a_million_messages_on_every_subset_of_features(forgotten: None) -> None:
    """By the default, which is a pair of kernels: once for each pair that some subset of this CPU's features leads to."""
    data, starts, lengths, digests = a_million()
    features = [1 << bit for bit in range(6)]  # BAASH_CPU_*
    tried = set()
    for size in range(len(features) + 1):
        for subset in itertools.combinations(features, size):
            assert _core.init(sum(subset))
            if (default := kernels.current()) not in tried:
                assert kernels.sha256_spans(data, starts, lengths).tobytes() == digests, f"{default} on {subset}"
                tried.add(default)
    assert "portable" in tried and len(tried) >= len(READY)


@every_kernel
@pytest.mark.parametrize("longest", [None, 0, 700, 1499])
def test_threads_give_the_same(kernel: str, longest: int | None) -> None:
    """Enough work for many shares; once with one message that is longer than all others together."""
    sizes = np.random.default_rng(1).integers(0, 3000, 1500)
    if longest is not None:
        sizes[longest] = 3_000_000
    offsets = np.append(0, np.cumsum(sizes))
    data = np.random.default_rng(2).integers(0, 256, offsets[-1], dtype=np.uint8)
    data.flags.writeable = False
    alone = kernels.sha256_batch(data, offsets, kernel=kernel)
    assert alone[77].tobytes() == hashlib.sha256(data[offsets[77] : offsets[78]].tobytes()).digest()
    broken = offsets.copy()
    broken[1200] = broken[1199] - 1
    for threads in (1, 2, 3, 4, 10**9):
        out = np.zeros_like(alone)
        assert kernels.sha256_batch(data, offsets, out=out, kernel=kernel, threads=threads) is out
        assert (out == alone).all()
        assert (kernels.sha256_spans(data, offsets[:-1], sizes, kernel=kernel, threads=threads) == alone).all()
        with pytest.raises(ValueError, match="1199"):
            kernels.sha256_batch(data, broken, kernel=kernel, threads=threads)


FORKED = """
import os, signal, threading
import numpy as np
from baash import kernels

def work():
    return kernels.sha256_batch(np.zeros(8 << 20, "u1"), np.arange(0, (8 << 20) + 1, 1 << 10), threads=4).tobytes()

def threads():
    return len(os.listdir("/proc/self/task"))

before, expected = threads(), work()
assert (threads() > before) == kernels.openmp()
if not (child := os.fork()):
    signal.alarm(30)
    os._exit(work() != expected or threads() != 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_child_of_fork_uses_one_thread() -> None:
    """libgomp's threads do not survive the fork, and waiting for them would last for ever."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("starts", "lengths"),
    [([9], [0]), ([0], [9]), ([4], [5]), ([-1], [2]), ([2], [-1]), ([2**64 - 1], [2]), ([0, 1], [1])],
)
def test_spans_outside(starts: list[int], lengths: list[int]) -> None:
    with pytest.raises(ValueError):
        kernels.sha256_spans(bytes(8), np.array(starts), np.array(lengths))


@pytest.mark.parametrize("offsets", [[0, 9], [4, 3], [-1, 3], [], [0, 3, 2, 8]])
def test_offsets_that_are_none(offsets: list[int]) -> None:
    with pytest.raises(ValueError):
        kernels.sha256_batch(bytes(8), np.array(offsets, dtype=np.int64))


def test_arguments_that_are_refused() -> None:
    with pytest.raises(ValueError, match="one piece"):
        kernels.sha256_batch(np.zeros((8, 8), np.uint8)[:, :4], [0, 1])
    with pytest.raises(ValueError, match="integers"):
        kernels.sha256_batch(bytes(8), [0.0, 1.5])
    with pytest.raises(ValueError, match="out must"):
        kernels.sha256_batch(bytes(8), [0, 1], out=np.zeros((2, 32), np.uint8))
    with pytest.raises(ValueError, match="threads"):
        kernels.sha256_batch(bytes(8), [0, 1], threads=0)
    assert kernels.sha256_batch(b"", [0]).shape == (0, 32)


def test_constant_of_the_self_test() -> None:
    """csrc/sha256/selftest.c compares with a hash over hashes; here it is made by somebody else."""
    source = (ROOT / "csrc/sha256/selftest.c").read_text()
    constant = bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w)", source)[:32])
    data = bytes(i % 251 for i in range(261 + 16))
    messages = [data[i * 5 % 16 : i * 5 % 16 + i] for i in range(261)]
    assert hashlib.sha256(b"".join(expected(messages))).digest() == constant


def test_the_best_kernel_is_chosen() -> None:
    demand = os.environ.get("BAASH_KERNEL")
    table = kernels.available()
    chosen = [kernel.name for kernel in table if kernel.chosen]
    partner = [kernel.name for kernel in table if kernel.partner]
    assert chosen == [demand or READY[-1]]
    singles = [name for name in READY if name not in ("avx2", "avx512")]
    assert partner == ([singles[-1]] if not demand and chosen != singles[-1:] else [])
    assert kernels.current() == "+".join(chosen + partner)
    assert {kernel.name for kernel in table} == {"portable", "avx2", "armv8", "shani", "avx512"} and "portable" in READY


@pytest.mark.parametrize("count", [1, 2, 14, 15, 31, 32, 33, 64, 5000])
def test_default_for_any_number_of_messages(count: int) -> None:
    """The chosen kernel and its partner together; lengths grow and shrink, some messages are much longer."""
    lengths = np.random.default_rng(count).integers(0, 400, count)
    lengths[:: max(count // 3, 1)] = 20_000
    offsets = np.append(0, np.cumsum(lengths))
    data = np.random.default_rng(1).integers(0, 256, offsets[-1], dtype=np.uint8)
    hashes = kernels.sha256_batch(data, offsets)
    messages = [data[a:b].tobytes() for a, b in itertools.pairwise(offsets)]
    assert [row.tobytes() for row in hashes] == expected(messages)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nonesuch", "is unknown"), ("late", "not built"), ("odd", "cpu cannot"), ("bad", "self-test failed")],
)
def test_a_demand_that_cannot_be_met(monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    broken = [("late", 0, 1, 2, "r"), ("odd", 0, 1, 3, "r"), ("bad", 0, 1, 4, "r")]
    table = [*_core.kernel_table(), *broken]
    monkeypatch.setattr(dispatch._core, "kernel_table", lambda: table)
    monkeypatch.setattr(dispatch, "_obeyed", False)
    monkeypatch.setenv("BAASH_KERNEL", name)
    for use in (kernels.current, lambda: kernels.sha256_batch(b"", [0])):
        with pytest.raises(KernelUnavailable, match=f"(?s){name}.*BAASH_KERNEL.*{reason}.*portable \\(ready\\)"):
            use()
    with pytest.raises(KernelUnavailable, match=reason):
        kernels.select(name)
    with pytest.raises(KernelUnavailable, match=reason):
        kernels.sha256_batch(b"", [0], kernel=name)
    assert kernels.available()[-1].name == "bad"  # saying what there is needs no kernel


@every_kernel
def test_a_demand_that_is_met(monkeypatch: pytest.MonkeyPatch, forgotten: None, kernel: str) -> None:
    monkeypatch.setenv("BAASH_KERNEL", kernel)
    assert kernels.current() == kernel  # alone, without a partner
    kernels.select(None)
    monkeypatch.delenv("BAASH_KERNEL")
    test_the_best_kernel_is_chosen()


def test_without_cpu_features_the_portable_kernel_runs(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    monkeypatch.delenv("BAASH_KERNEL", raising=False)
    assert _core.init(0)
    states = {kernel.name: kernel.state for kernel in kernels.available()}
    assert states["portable"] == "ready" and set(states.values()) <= {"ready", "cpu cannot", "not built"}
    assert list(states.values()).count("ready") == 1
    assert kernels.current() == "portable"
