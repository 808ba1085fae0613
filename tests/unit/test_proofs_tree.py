"""Paths in the log: against the recursive definitions of RFC 9162, over logs on both sides of every chunk's edge."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import Builder, batch_of, record

from baash import kernels
from baash.errors import LedgerError
from baash.ledger.proofs import tree
from baash.ledger.proofs.tree import LogTree, header_hashes
from baash.ledger.reader import Ledger
from baash.protocol.view import Parameters
from baash.records import Operation

BLOCKS = 600


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def half(leaves: list[bytes]) -> int:
    return 1 << (len(leaves) - 1).bit_length() - 1


def mth(leaves: list[bytes]) -> bytes:
    """Section 2.1.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    return node(mth(leaves[: half(leaves)]), mth(leaves[half(leaves) :]))


def inclusion(m: int, leaves: list[bytes]) -> list[bytes]:
    """Section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = half(leaves)
    if m < k:
        return [*inclusion(m, leaves[:k]), mth(leaves[k:])]
    return [*inclusion(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """Section 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = half(leaves)
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """600 blocks of one transaction, in three views and rounds of all sizes."""
    path = tmp_path_factory.mktemp("log") / "l"
    builder = Builder(path, clusters=2, parameters=Parameters(align=64, block_size=1))
    made = 0
    for sizes in ((1, 2, 100, 7), (255, 1), (13, 30, 191)):
        builder.begin_view()
        for size in sizes:
            notes = [record(Operation.NOTE, f"e{made + i}", made + i) for i in range(size)]
            builder.commit(batch_of(notes))
            made += size
    builder.close()
    opened = Ledger(path)
    assert opened.block_total == made == BLOCKS
    return opened


@pytest.fixture(scope="module")
def leaves(ledger: Ledger) -> list[bytes]:
    return [hashlib.sha256(block.row.tobytes()[:112]).digest() for block in ledger.blocks()]


EDGES = [1, 2, 3, 255, 256, 257, 258, 511, 512, 513, 599, 600]


@pytest.mark.parametrize("size", EDGES)
def test_inclusion_of_every_block(ledger: Ledger, leaves: list[bytes], size: int) -> None:
    log, root = LogTree(ledger), mth(leaves[:size])
    assert log.root(size) == root == LogTree(ledger).root(size)
    for height in {*range(0, size, 37), *(e - 1 for e in EDGES if e <= size)}:
        path = log.path(height, size)
        assert [row.tobytes() for row in path] == inclusion(height, leaves[:size])
        assert kernels.merkle_root_from_path(leaves[height], height, size, path) == root
    np.testing.assert_array_equal(LogTree(ledger).path(size - 1, size), log.path(size - 1, size))


def test_consistency_between_sizes(ledger: Ledger, leaves: list[bytes]) -> None:
    log = LogTree(ledger)
    for new in EDGES:
        for old in [0, *EDGES, 100, 384]:
            if old > new:
                continue
            path = [row.tobytes() for row in log.consistency(old, new)]
            assert path == (subproof(old, leaves[:new]) if old else [])
            assert tree.extends(old, mth(leaves[:old]), new, mth(leaves[:new]), path)
    np.testing.assert_array_equal(LogTree(ledger).consistency(257, 600), log.consistency(257, 600))


def test_what_is_read_in_pieces_is_the_same(
    ledger: Ledger, leaves: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "READ_BLOCKS", tree.CHUNK)
    steps: list[tuple[int, int]] = []
    assert LogTree(ledger, lambda done, total: steps.append((done, total))).root(600) == mth(leaves)
    assert steps == [(256, 512), (512, 512)]
    assert header_hashes(ledger, 100, 400).tobytes() == b"".join(leaves[100:400])


@pytest.mark.parametrize(("height", "size"), [(-1, 5), (5, 5), (0, 601), (0, 0), (3, -1)])
def test_paths_that_there_are_not(ledger: Ledger, height: int, size: int) -> None:
    with pytest.raises(LedgerError):
        LogTree(ledger).path(height, size)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (5, 601)])
def test_consistency_that_there_is_not(ledger: Ledger, old: int, new: int) -> None:
    with pytest.raises(LedgerError):
        LogTree(ledger).consistency(old, new)


@settings(max_examples=150, deadline=None)
@given(new=st.integers(1, 80), data=st.data())
def test_no_other_path_proves_consistency(new: int, data: st.DataObject) -> None:
    leaves = [hashlib.sha256(bytes([i])).digest() for i in range(new)]
    old = data.draw(st.integers(1, new))
    path, roots = subproof(old, leaves), (mth(leaves[:old]), mth(leaves))
    assert tree.extends(old, roots[0], new, roots[1], path)
    other = hashlib.sha256(b"other").digest()
    at = data.draw(st.integers(0, len(path)))
    wrong = [[*path[:at], other, *path[at:]]]
    if path:
        at = min(at, len(path) - 1)
        wrong += [[*path[:at], *path[at + 1 :]], [*path[:at], other, *path[at + 1 :]]]
    for one in wrong:
        assert not tree.extends(old, roots[0], new, roots[1], one)
    assert not tree.extends(old, other, new, roots[1], path) and not tree.extends(old, roots[0], new, other, path)
    if old != new:
        assert not tree.extends(new, roots[1], old, roots[0], path)
