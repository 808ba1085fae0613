"""SHA-256 (FIPS 180-4) of many messages: ascending offsets, spans, rows. Used through ``baash.kernels``.

``threads``: the most that share the work of one call; the result is the same. They are OpenMP's: a build without it (``openmp()``)
does everything in the caller's thread, and so does a child of ``os.fork``, which they do not survive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, Bytes, Integers, as_bytes, as_offsets, as_rows, as_u8, room_for_hashes
from baash.kernels.dispatch import number


def openmp() -> bool:
    """Whether ``threads`` are built in."""
    return bool(_core.openmp())


def sha256_batch(
    data: Bytes, offsets: Integers, out: U1 | None = None, kernel: str | None = None, threads: int = 1
) -> U1:
    """SHA-256 (FIPS 180-4) of ``data[offsets[i]:offsets[i + 1]]`` for n + 1 ascending offsets (i8 or u8).

    ``out``: (n, 32) u1, filled and returned.
    """
    buffer, ends = as_bytes(data), as_offsets(offsets)
    out = room_for_hashes(len(ends) - 1, out)
    _core.sha256_batch(out, buffer, ends, number(kernel), _at_least_one(threads))
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
    _core.sha256_spans(out, buffer, begins, sizes, number(kernel), _at_least_one(threads))
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


def _at_least_one(threads: int) -> int:
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    return min(threads, 1 << 16)
