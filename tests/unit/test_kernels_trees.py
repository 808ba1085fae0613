"""Merkle trees against RFC 9162 written down as recursion."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baash import kernels

LEAVES = np.random.default_rng(3).integers(0, 256, (600, 32), dtype=np.uint8)
READY = [kernel.name for kernel in kernels.available() if kernel.state == "ready"]


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(size: int) -> int:
    """The largest power of two smaller than ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: np.ndarray) -> bytes:
    """RFC 9162 section 2.1.1."""
    if len(leaves) < 2:
        return leaves[0].tobytes() if len(leaves) else h(b"")
    k = split(len(leaves))
    return h(b"\1" + root(leaves[:k]) + root(leaves[k:]))


def path(index: int, leaves: np.ndarray) -> list[bytes]:
    """RFC 9162 section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), root(leaves[k:])]
    return [*path(index - k, leaves[k:]), root(leaves[:k])]


def test_published_roots() -> None:
    """The trees of the test suite of Certificate Transparency."""
    lines = (Path(__file__).resolve().parents[1] / "vectors/merkle.txt").read_text().splitlines()
    leaves, roots = zip(*(line.split() for line in lines if not line.startswith("#")), strict=True)
    rows = np.frombuffer(bytes.fromhex("".join(leaves)), dtype=np.uint8).reshape(-1, 32)
    got = [kernels.merkle_roots(rows[:n], [0, n])[0].tobytes().hex() for n in range(1, 9)]
    assert got == list(roots)


@pytest.mark.parametrize("kernel", READY)
@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 70), max_size=8))
def test_many_trees_at_once(kernel: str, sizes: list[int]) -> None:
    offsets = np.cumsum([0, *sizes])
    roots = kernels.merkle_roots(LEAVES[: offsets[-1]], offsets, kernel=kernel)
    assert [r.tobytes() for r in roots] == [root(LEAVES[offsets[i] : offsets[i + 1]]) for i in range(len(sizes))]


def test_every_size_and_every_path() -> None:
    before = LEAVES.copy()
    for size in [*range(1, 71), 127, 128, 129, 600]:
        leaves = LEAVES[:size]
        expected = root(leaves)
        assert kernels.merkle_roots(leaves, [0, size])[0].tobytes() == expected
        every, lengths = kernels.merkle_paths(leaves)
        for index in range(size) if size < 33 else (0, size // 3, size - 1):
            steps = kernels.merkle_path(leaves, index)
            assert (every[index, : lengths[index]] == steps).all() and lengths[index] == len(steps)
            assert [step.tobytes() for step in steps] == path(index, leaves)
            assert kernels.merkle_root_from_path(leaves[index].tobytes(), index, size, steps) == expected
    assert (before == LEAVES).all(), "leaves are read, not written"


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.integers(0, 130), max_size=5))
def test_a_growing_log(parts: list[int]) -> None:
    frontier, size = np.zeros((64, 32), dtype=np.uint8), 0
    for part in parts:
        size, got = kernels.log_append(frontier, size, LEAVES[size : min(size + part, 600)])
        assert got == root(LEAVES[:size]) == kernels.log_root(frontier, size)
    for k in range(64):
        start = size >> (k + 1) << (k + 1)
        whole = root(LEAVES[start : start + (1 << k)]) if size >> k & 1 else bytes(32)
        assert frontier[k].tobytes() == whole


@pytest.mark.parametrize("change", ["index", "size", "shorter", "longer", "leaf"])
def test_a_path_proves_one_place_only(change: str) -> None:
    leaves = LEAVES[:21]
    steps, leaf, index, size = kernels.merkle_path(leaves, 5), leaves[5].tobytes(), 5, 21
    if change == "leaf":
        leaf = leaves[6].tobytes()
    index, size = index + (change == "index"), size * (3 if change == "size" else 1)
    steps = {"shorter": steps[:-1], "longer": np.vstack([steps, steps[:1]])}.get(change, steps)
    try:
        assert kernels.merkle_root_from_path(leaf, index, size, np.ascontiguousarray(steps)) != root(leaves)
    except ValueError as refusal:
        assert change in ("shorter", "longer", "size") and "length" in str(refusal)


def test_refusals() -> None:
    for offsets in ([0, 4], [2, 1], [-1, 2]):
        with pytest.raises(ValueError):
            kernels.merkle_roots(LEAVES[:3], np.array(offsets))
    with pytest.raises(ValueError):
        kernels.merkle_path(LEAVES[:3], 3)
    with pytest.raises(ValueError):
        kernels.merkle_root_from_path(bytes(32), 3, 3, b"")
    with pytest.raises(ValueError):
        kernels.log_append(np.zeros((64, 32), np.uint8), -1, LEAVES)
    with pytest.raises(ValueError):
        kernels.log_append(np.zeros((63, 32), np.uint8), 0, LEAVES)
    with pytest.raises(ValueError):
        kernels.merkle_roots(LEAVES[:, :31], [0, 1])
