"""SHA-256 (FIPS 180-4) of many messages: ascending offsets, spans, rows. Used through ``baash.kernels``."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, U8, Bytes, Integers, as_bytes, as_offsets, as_rows, as_u8, room_for_hashes
from baash.kernels.dispatch import number

THREAD_BYTES = 256 << 10  # less work than this a thread costs more to hand over than to do


def sha256_batch(
    data: Bytes, offsets: Integers, out: U1 | None = None, kernel: str | None = None, threads: int = 1
) -> U1:
    """SHA-256 (FIPS 180-4) of ``data[offsets[i]:offsets[i + 1]]`` for n + 1 ascending offsets (i8 or u8).

    ``out``: (n, 32) u1, filled and returned. ``threads`` > 1 shares the bytes out over so many; the result is the same.
    """
    buffer, ends = as_bytes(data), as_offsets(offsets)
    out = room_for_hashes(len(ends) - 1, out)
    which = number(kernel)
    total = int(ends[-1]) - int(ends[0])

    def part(first: int, last: int) -> None:
        _core.sha256_batch(out[first:last], buffer, ends[first : last + 1], which)

    _shared_out(part, len(out), ends[1:] - ends[0], total, threads)
    return out


def sha256_spans(
    data: Bytes,
    starts: Integers,
    lengths: Integers,
    out: U1 | None = None,
    kernel: str | None = None,
    threads: int = 1,
) -> U1:
    """SHA-256 of ``data[starts[i]:starts[i] + lengths[i]]``, in any order, overlapping or not; else as ``sha256_batch``."""
    buffer, begins, sizes = as_bytes(data), as_u8(starts), as_u8(lengths)
    out = room_for_hashes(len(begins), out)
    if len(begins) != len(sizes):
        raise ValueError(f"{len(begins)} starts but {len(sizes)} lengths")
    which = number(kernel)
    sums = np.cumsum(sizes) if threads > 1 else sizes
    total = int(sums[-1]) if threads > 1 and len(sums) else 0

    def part(first: int, last: int) -> None:
        _core.sha256_spans(out[first:last], buffer, begins[first:last], sizes[first:last], which)

    _shared_out(part, len(out), sums, total, threads)
    return out


def hash_rows(array: npt.NDArray[Any], nbytes: int, kernel: str | None = None) -> U1:
    """SHA-256 of the first ``nbytes`` of each row of a structured array (n) or of u1 (n, width)."""
    width = array.shape[1] if array.dtype == np.uint8 and array.ndim == 2 else array.dtype.itemsize
    source = as_rows(array, width)
    if not 0 <= nbytes <= width:
        raise ValueError(f"rows have {width} bytes, {nbytes} were asked for")
    out = room_for_hashes(len(source))
    _core.sha256_rows(out, source, nbytes, number(kernel))
    return out


def _shared_out(part: Callable[[int, int], None], count: int, ends: U8, total: int, threads: int) -> None:
    """Run ``part(first, last)`` over items 0 … count, in ``threads`` shares of about equal bytes; ``ends``: running sums."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    threads = min(threads, count, total // THREAD_BYTES)
    if threads < 2:
        part(0, count)
        return
    goals = np.array([total * share // threads for share in range(1, threads)], dtype=np.uint64)
    cuts = [0, *np.searchsorted(ends, goals).tolist(), count]
    shares = [_pool(threads).submit(part, cuts[i], cuts[i + 1]) for i in range(threads)]
    wait(shares)
    if any(share.exception() for share in shares):
        part(0, count)  # raises again, and numbers the item from the first


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="baash-kernel")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
