"""What the kernels take as an array: bytes as they are, integers and hashes brought into the shape C reads.

Bytes in bulk are never copied: what does not lie in one piece is refused. Columns (integers, keys, hashes) may be strided views of
structured arrays or of another integer type, and are then copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

U1 = npt.NDArray[np.uint8]
U2 = npt.NDArray[np.uint16]
U4 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint64]
I8 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Bytes = npt.NDArray[Any] | bytes | bytearray | memoryview
Integers = npt.ArrayLike

# What a scan of records yields, 64 bytes a transaction: records.TRANSACTION_INFO, and baash_transaction_info in csrc/baash.h.
# ``records`` stands above this room; a test holds the three together.
TRANSACTION_INFO = np.dtype(
    [
        ("start", "<u8"),
        ("sequence", "<u8"),
        ("expected_version", "<u8"),
        ("issuer", "u1", 16),
        ("total_bytes", "<u4"),
        ("payload_bytes", "<u4"),
        ("payload_start", "<u4"),
        ("entity_bytes", "<u2"),
        ("flags", "<u2"),
        ("reference_count", "<u2"),
        ("payload_type", "<u2"),
        ("operation", "u1"),
        ("pad", "u1", 3),
    ]
)

# What the rules over entities need of a transaction that is no NOTE: baash_act in csrc/baash.h.
ACT = np.dtype(
    [("key", "<u8", 2), ("expected_version", "<u8"), ("number", "<u4"), ("operation", "u1"), ("pad", "u1", 3)]
)


def as_bytes(buffer: Bytes) -> U1:
    """The bytes of a buffer or of an array of any type, flat, not copied. ValueError when they are not in one piece."""
    if not isinstance(buffer, np.ndarray):
        return np.frombuffer(buffer, dtype=np.uint8)
    if not buffer.flags.c_contiguous:
        raise ValueError("bytes must lie in one piece (C-contiguous)")
    return buffer.reshape(-1).view(np.uint8)


def as_rows(array: npt.NDArray[Any], width: int, *, copy: bool = True) -> U1:
    """(n, width) u1: hashes, keys, or the bytes of fixed-size rows. ``copy``: strided ones are copied, else refused."""
    if array.dtype != np.uint8:
        array = array.reshape(-1)
        if not array.flags.c_contiguous:
            if not copy:
                raise ValueError("rows must lie in one piece (C-contiguous)")
            array = np.ascontiguousarray(array)
        array = array.view(np.uint8).reshape(len(array), array.dtype.itemsize)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"rows of {width} bytes are needed, not an array of shape {array.shape}")
    if not copy and not array.flags.c_contiguous:
        raise ValueError("rows must lie in one piece (C-contiguous)")
    return np.ascontiguousarray(array)


def as_u8(values: Integers) -> U8:
    """One-dimensional u8. Negative numbers become huge ones, which every check of bounds refuses."""
    array = np.asarray(values)
    if array.dtype == np.int64:
        array = array.view(np.uint64)
    elif array.dtype != np.uint64:
        if array.dtype.kind not in "iub" and array.size:
            raise ValueError(f"integers are needed, not {array.dtype}")
        array = array.astype(np.uint64)
    if array.ndim != 1:
        raise ValueError(f"a one-dimensional array is needed, not shape {array.shape}")
    return np.require(array, requirements=["C", "A"])


def as_column(values: Integers, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
    """``count`` integers of ``dtype``; a single number stands for as many. ValueError when one does not fit."""
    array = np.asarray(values)
    if array.dtype != dtype:
        wanted = np.dtype(dtype)
        if array.size and (array.dtype.kind not in "iub" or array.min() < 0 or array.max() > np.iinfo(wanted).max):
            raise ValueError(f"integers that fit {wanted} are needed")
        array = array.astype(wanted)
    return np.require(np.broadcast_to(array, (count,)), requirements=["C", "A"])


def as_offsets(values: Integers) -> U8:
    """n + 1 offsets."""
    array = as_u8(values)
    if not len(array):
        raise ValueError("offsets need at least one entry: the end")
    return array


def as_info_rows(info: npt.NDArray[Any]) -> U1:
    """(n, 64) u1, aligned: an array of ``records.TRANSACTION_INFO``."""
    if info.dtype != TRANSACTION_INFO:
        raise ValueError("an array of records.TRANSACTION_INFO is needed")
    array = as_rows(info, TRANSACTION_INFO.itemsize)
    return array if array.ctypes.data % 8 == 0 else array.copy()


def room_for_hashes(count: int, out: U1 | None = None) -> U1:
    """Room for ``count`` hashes."""
    if out is None:
        return np.empty((count, 32), dtype=np.uint8)
    if out.shape != (count, 32) or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous u1 of shape ({count}, 32)")
    return out
