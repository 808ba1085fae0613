"""The audit of a segment's metadata: every byte outside of the data sets is what it has to be.

Theory. Nothing hashes HDF5's metadata, and readers look at little of it (``layout.py``); but a file that no HDF5
library opens has not been kept as it was. All of it follows from the view and the sizes of the data sets, apart from where
HDF5 put its structures. So each structure is followed from the superblock on and compared byte by byte with
the one form that it may have (``docs/ledger-format.md`` section 7); whatever lies neither in one nor in a data set is zero.

The HDF5 library itself is never asked: over hostile files it ends the process.
"""

from __future__ import annotations

import os
import struct
from itertools import pairwise

import numpy as np

from baash.errors import LedgerDamaged
from baash.ledger.durable import pread_into, refusals
from baash.ledger.layout import FORMAT, ROWS, DataSet, Layout, reopen
from baash.records import FORMAT_VERSION

UNDEFINED = b"\xff" * 8
LEAF_K, INTERNAL_K = 4, 16  # what superblock 0 states, and what the sizes of the group's nodes follow from
NODE_BYTES = 24 + 8 * (2 * INTERNAL_K + 1) + 8 * 2 * INTERNAL_K
LEAF_BYTES = 8 + 40 * 2 * LEAF_K
HEAP_START = 8  # offset 0 is the empty name
_GAP_CHUNK = 1 << 20
_NIL, _SPACE, _TYPE, _FILL, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 0, 1, 3, 5, 8, 12, 16, 17


def check_metadata(place: Layout) -> str | None:
    """What is wrong with a segment's metadata, or None. ``place`` is what ``layout.py`` read from it."""
    with refusals("read", place.path):
        descriptor, place = reopen(place)
        try:
            _Metadata(place, descriptor).check()
        except (ValueError, struct.error, LedgerDamaged) as error:
            return f"the file's HDF5 metadata has changed: {error}"
        finally:
            os.close(descriptor)
    return None


class _Metadata:
    """The walk over the structures; ``_taken`` is what they and the data sets cover."""

    def __init__(self, place: Layout, descriptor: int) -> None:
        self._place = place
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._taken = [(d.offset, d.offset + d.size) for d in place.data.values()]

    def check(self) -> None:
        head = self._take(0, 96)
        root, tree, heap = (int.from_bytes(head[at : at + 8], "little") for at in (64, 80, 88))
        expected = b"\x89HDF\r\n\x1a\n" + bytes((0, 0, 0, 0, 0, 8, 8, 0))
        expected += struct.pack("<HHIQ8sQ8s", LEAF_K, INTERNAL_K, 0, 0, UNDEFINED, self._size, UNDEFINED)
        expected += struct.pack("<QQIIQQ", 0, root, 1, 0, tree, heap)
        _same(head, expected, "the superblock")
        self._root(self._messages(root, "the root group"), tree, heap)
        for name, address in self._group(tree, heap).items():
            self._data_set(name, self._messages(address, name))
        self._rest_is_zero()

    def _take(self, address: int, size: int) -> bytes:
        """Bytes of a structure, which nothing else may claim."""
        if address + size > self._size or len(self._taken) > 1000:
            raise ValueError("it leads nowhere")
        out = np.empty(size, dtype=np.uint8)
        if pread_into(self._descriptor, out, address) != size:
            raise ValueError("the file has been cut short")
        self._taken.append((address, address + size))
        return out.tobytes()

    def _messages(self, address: int, where: str) -> list[tuple[int, int, bytes]]:
        """(type, flags, data) of the messages of an object header, in order; those that are empty are left out."""
        head = self._take(address, 16)
        version, zero, left, references, size, padding = struct.unpack("<BBHIII", head)
        if (version, zero, references, padding) != (1, 0, 1, 0):
            raise ValueError(f"the object header of {where}")
        found = []
        blocks = [(address + 16, size)]
        while blocks:
            raw = self._take(*blocks.pop(0))
            at = 0
            while at < len(raw):
                kind, size, flags, *reserved = struct.unpack_from("<HHB3B", raw, at)
                data = raw[at + 8 : at + 8 + size]
                if size % 8 or len(data) != size or any(reserved):
                    raise ValueError(f"a message of {where}")
                if kind == _NIL:
                    _same(data + bytes([flags]), bytes(size + 1), f"an empty message of {where}")
                elif kind == _CONTINUATION:
                    if flags or size != 16:
                        raise ValueError(f"a continuation of {where}")
                    blocks.append(struct.unpack("<QQ", data))
                else:
                    found.append((kind, flags, data))
                at, left = at + 8 + size, left - 1
        if left:
            raise ValueError(f"the number of messages of {where}")
        return found

    def _root(self, messages: list[tuple[int, int, bytes]], tree: int, heap: int) -> None:
        place = self._place
        attributes: dict[str, int | str] = {
            "format": FORMAT, "format_version": FORMAT_VERSION, "ledger": place.ledger.hex(), "view": place.view,
            "segment": place.segment, "align": place.align, "coordinators": place.coordinators,
        }  # fmt: skip
        wanted = [(_ATTRIBUTE, 0, _attribute(name, value)) for name, value in attributes.items()]
        wanted.append((_SYMBOLS, 0, struct.pack("<QQ", tree, heap)))
        if sorted(messages) != sorted(wanted):
            raise ValueError("the attributes of the root group")

    def _group(self, tree: int, heap: int) -> dict[str, int]:
        """Address of the object header by name of the data set: a node, a leaf and a heap of names."""
        node = self._take(tree, NODE_BYTES)
        (leaf,) = struct.unpack_from("<Q", node, 32)
        names = sorted(ROWS)
        entries = self._take(leaf, LEAF_BYTES)
        places = [struct.unpack_from("<QQ", entries, 8 + 40 * i) for i in range(len(names))]
        expected = b"SNOD" + struct.pack("<BBH", 1, 0, len(names))
        expected += b"".join(struct.pack("<QQ24x", *p) for p in places)
        _same(entries, expected.ljust(LEAF_BYTES, b"\0"), "the list of data sets")
        expected = b"TREE" + struct.pack("<BBH8s8sQQQ", 0, 0, 1, UNDEFINED, UNDEFINED, 0, leaf, places[-1][0])
        _same(node, expected.ljust(NODE_BYTES, b"\0"), "the tree of data sets")

        head = self._take(heap, 32)
        size, free, address = struct.unpack_from("<QQQ", head, 8)
        _same(head[:8], b"HEAP" + bytes(4), "the heap of names")
        text = self._take(address, size)
        used = bytearray(HEAP_START)
        for offset, name in sorted((p[0], n) for p, n in zip(places, names, strict=True)):
            if offset != len(used):
                raise ValueError("the places of names")
            used += _name(name)
        if free == len(used) and size - free >= 16:
            used += struct.pack("<QQ", 1, size - free)
        elif (free, size) != (1, len(used)):  # 1: nothing is free
            raise ValueError("the heap of names")
        _same(text, bytes(used).ljust(size, b"\0"), "the names of data sets")
        return {name: place[1] for name, place in zip(names, places, strict=True)}

    def _data_set(self, name: str, messages: list[tuple[int, int, bytes]]) -> None:
        data: DataSet = self._place.data[name]
        wanted = [
            (_SPACE, 0, struct.pack("<BBB5xQQ", 1, 1, 1, data.rows, data.rows)),
            (_TYPE, 1, _padded(_row_type(ROWS[name]))),
            (_FILL, 1, _padded(bytes((2, 1, 1, 1)) + bytes(4))),  # allocated early, never filled
            (_LAYOUT, 1, _padded(struct.pack("<BBQQ", 3, 1, data.offset, data.size))),
        ]
        if sorted(messages) != wanted:
            raise ValueError(f"the type, space or layout of {name}")

    def _rest_is_zero(self) -> None:
        taken = sorted(self._taken)
        if any(after[0] < before[1] for before, after in pairwise(taken)):
            raise ValueError("two structures overlap")
        for (_, start), (end, _) in pairwise([(0, 0), *taken, (self._size, self._size)]):
            for at in range(start, end, _GAP_CHUNK):
                out = np.empty(min(_GAP_CHUNK, end - at), dtype=np.uint8)
                if pread_into(self._descriptor, out, at) != out.nbytes or out.any():
                    raise ValueError(f"bytes from {at} on, which nothing uses, are not zero")


def _same(found: bytes, expected: bytes, what: str) -> None:
    if found != expected:
        raise ValueError(what)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _name(name: str) -> bytes:
    return _padded(name.encode() + b"\0")


def _attribute(name: str, value: int | str) -> bytes:
    """An attribute message of version 1: an i8, or a string of fixed size padded with zeros; a scalar."""
    if isinstance(value, str):
        kind, data = struct.pack("<BBBBI", 0x13, 1, 0, 0, len(value)), value.encode()
    else:
        kind, data = struct.pack("<BBBBIHH", 0x10, 8, 0, 0, 8, 0, 64), value.to_bytes(8, "little")
    head = struct.pack("<BBHHH", 1, 0, len(name) + 1, len(kind), 8)
    return head + _name(name) + _padded(kind) + bytes((1,)) + bytes(7) + _padded(data)


def _row_type(dtype: np.dtype) -> bytes:
    """A data type message: unsigned integers, arrays of them, compounds of both (version 2, for the arrays in them)."""
    if dtype.fields is not None and dtype.names is not None:
        out = struct.pack("<BHBI", 0x26, len(dtype.names), 0, dtype.itemsize)
        for name in dtype.names:
            field, offset = dtype.fields[name][:2]
            out += _name(name) + struct.pack("<I", offset) + _row_type(field)
        return out
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        out = struct.pack("<BBBBIB3x", 0x2A, 0, 0, 0, dtype.itemsize, len(shape))
        return out + struct.pack(f"<{len(shape)}I{4 * len(shape)}x", *shape) + _row_type(base)
    return struct.pack("<BBBBIHH", 0x10, 0, 0, 0, dtype.itemsize, 0, 8 * dtype.itemsize)
