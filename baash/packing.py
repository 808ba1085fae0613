"""Arrays as bytes, one behind the other: what the ranks of a divided audit send each other, and what lies in a trace. No pickle.

A packing is a count (u8), the sizes of so many arrays (u8 each), and the arrays, each padded to 8 bytes with zeros. It says nothing of
what the arrays are: who unpacks them knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Packable = np.ndarray | bytes


def pieces(arrays: Sequence[Packable]) -> list[Packable]:
    """The packing of some arrays in pieces that share their bytes; written one after the other they are the packing."""
    sizes = [_size(a) for a in arrays]
    found: list[Packable] = [np.array([len(sizes), *sizes], dtype="<u8").tobytes()]
    for array, size in zip(arrays, sizes, strict=True):
        found.append(array if isinstance(array, bytes) else np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        if size % 8:
            found.append(bytes(-size % 8))
    return found


def pack(arrays: Sequence[Packable]) -> np.ndarray:
    """u1: the packing of some arrays."""
    return np.frombuffer(bytearray().join(pieces(arrays)), dtype=np.uint8)


def unpack(data: np.ndarray) -> list[np.ndarray]:
    """The arrays (u1, views of ``data``). ValueError for bytes that are no packing."""
    if data.nbytes < 8:
        raise ValueError("a packing cut short")
    count = int(data[:8].view("<u8")[0])
    if count > (data.nbytes - 8) // 8:
        raise ValueError("a packing of more arrays than there are bytes")
    sizes = data[8 : 8 * (1 + count)].view("<u8").tolist()
    found, at = [], 8 * (1 + count)
    for size in sizes:
        if size > data.nbytes - at:
            raise ValueError("an array longer than its packing")
        found.append(data[at : at + size])
        at += (size + 7) // 8 * 8
    return found


def _size(array: Packable) -> int:
    return len(array) if isinstance(array, bytes) else array.nbytes
