"""Merkle trees of RFC 9162 section 2.1, whole or growing. Leaves are leaf hashes already. Used through ``baash.kernels``."""

from __future__ import annotations

import numpy as np

from baash import _core
from baash.kernels.arrays import U1, Bytes, Integers, as_bytes, as_offsets, as_rows, room_for_hashes
from baash.kernels.dispatch import number


def merkle_roots(leaves: U1, offsets: Integers, kernel: str | None = None) -> U1:
    """(m, 32): RFC 9162 section 2.1.1 roots of the trees over ``leaves[offsets[i]:offsets[i + 1]]``.

    ``leaves``: (n, 32) leaf hashes. A tree without leaves has the root SHA-256("").
    """
    ends = as_offsets(offsets)
    work = as_rows(leaves, 32).copy()
    roots = room_for_hashes(len(ends) - 1)
    _core.merkle_roots(roots, work, np.empty(len(roots), dtype=np.uint64), ends, number(kernel))
    return roots


def merkle_path(leaves: U1, index: int, kernel: str | None = None) -> U1:
    """(k, 32): the inclusion path of leaf ``index``, from the leaf up (RFC 9162 section 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"leaf {index} of {len(leaves)} does not exist")
    path = room_for_hashes(64)
    length = _core.merkle_path(path, as_rows(leaves, 32).copy(), index, number(kernel))
    return path[:length].copy()


def merkle_paths(leaves: U1, kernel: str | None = None) -> tuple[U1, U1]:
    """The inclusion paths of all leaves: (paths (n, depth, 32), lengths u1 (n)); of row i the first lengths[i] count.

    ``leaves``: (n, 32) leaf hashes; depth is ⌈log₂ n⌉. Each path is what ``merkle_path`` gives; together they cost one tree.
    """
    work = as_rows(leaves, 32).copy()
    count, depth = len(work), max(len(work) - 1, 0).bit_length()
    paths = np.zeros((count * depth, 32), dtype=np.uint8)
    lengths = np.zeros(count, dtype=np.uint8)
    _core.merkle_paths(paths, lengths, work, depth, number(kernel))
    return paths.reshape(count, depth, 32), lengths


def merkle_root_from_path(leaf: Bytes, index: int, size: int, path: Bytes, kernel: str | None = None) -> bytes:
    """The root that ``path`` (k, 32) leads to from leaf hash ``leaf``, number ``index`` of ``size`` (section 2.1.3.2).

    ValueError when the path has not the length that such a path has, or the leaf is not in the tree.
    """
    steps = as_bytes(path)
    root = np.empty(32, dtype=np.uint8)
    if not 0 <= index < size < 1 << 63 or len(steps) % 32:
        raise ValueError(f"no path for leaf {index} of {size} has {len(steps)} bytes")
    if not _core.merkle_fold(root, as_bytes(leaf), index, size, steps.reshape(-1, 32), number(kernel)):
        raise ValueError(f"the path of leaf {index} of {size} has a wrong length: {len(steps) // 32}")
    return root.tobytes()


def log_append(frontier: U1, size: int, leaves: U1, kernel: str | None = None) -> tuple[int, bytes]:
    """Append (n, 32) leaf hashes to an RFC 9162 tree of ``size`` leaves: (new size, new root).

    ``frontier``: (64, 32) u1, changed in place; row k holds the root of the perfect subtree of 2^k leaves for each set bit k of the
    size (the largest subtree is the leftmost), zeros elsewhere. A new tree is zeros and 0.
    """
    source = as_rows(leaves, 32)
    if not 0 <= size < (1 << 63) - len(source):
        raise ValueError(f"a tree of {size} leaves cannot take {len(source)} more")
    work = np.empty((len(source) + 1, 32), dtype=np.uint8)
    _core.merkle_append(frontier, work, size, source, number(kernel))
    return size + len(source), log_root(frontier, size + len(source), kernel)


def log_root(frontier: U1, size: int, kernel: str | None = None) -> bytes:
    """The root of the tree of ``size`` leaves that ``frontier`` (64, 32) describes."""
    if not 0 <= size < 1 << 63:
        raise ValueError(f"no tree has {size} leaves")
    root = np.empty(32, dtype=np.uint8)
    _core.merkle_frontier(root, frontier, size, number(kernel))
    return root.tobytes()
