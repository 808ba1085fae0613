"""Where the parts of a segment lie, read from HDF5's metadata without HDF5.

An auditor reads files that somebody else wrote, or that have rotted, and the HDF5 library ends with a segmentation fault
over some flipped bytes of metadata. A segment uses little of HDF5 by law: superblock 0, one group of five contiguous
data sets, seven attributes of fixed size. That much is read here, every length and address checked against the file
(HDF5 File Format Specification Version 3.0, sections II.A, III.A, III.B, III.D, IV.A). Names of fields inside rows
are for people, and are not looked at.

Reads only; makes no segment (``segment.py``) and does not look at what the data sets hold.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from baash.errors import LedgerDamaged
from baash.ledger.durable import open_regular, pread_into, refusals
from baash.records import BLOCK_ROW, FORMAT_VERSION, REJECTION, slot_bytes

FORMAT = "baash segment"
ROWS = {
    "block_headers": BLOCK_ROW,
    "records": np.dtype("u1"),
    "certificates": np.dtype("u1"),
    "rejections": REJECTION,
    "commit_records": np.dtype("u1"),
}
COORDINATORS_MAX = 4096

_READ_MAX, _READS_MAX = 1 << 20, 1000
_DATA_SPACE, _DATA_TYPE, _EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 1, 3, 7, 8, 11, 12, 16, 17
_INTEGER, _STRING, _COMPOUND = 0, 3, 6


@dataclass(frozen=True)
class DataSet:
    """Where a data set lies in its file."""

    offset: int
    size: int  # bytes
    row_bytes: int

    @property
    def rows(self) -> int:
        return self.size // self.row_bytes


@dataclass(frozen=True)
class Layout:
    """What a reader needs to know of a segment before it reads."""

    path: Path
    ledger: bytes
    view: int
    segment: int
    align: int
    coordinators: int
    data: Mapping[str, DataSet]
    file: tuple[int, int, int]  # device, inode, size: whether it is still the file under that name

    @property
    def slot_bytes(self) -> int:
        return slot_bytes(self.coordinators)

    @property
    def slots(self) -> int:
        return self.data["commit_records"].size // self.slot_bytes


def layout(path: Path) -> Layout:
    """Where everything lies in a segment. StorageError if it cannot be read, LedgerDamaged if it is not a segment."""
    with refusals("read", path):
        descriptor = open_regular(path)
        try:
            return _layout(path, descriptor)
        finally:
            os.close(descriptor)


def reopen(known: Layout) -> tuple[int, Layout]:
    """A descriptor for reading the segment ``known``, and where everything lies now: its file may have been replaced by a
    packed copy, in which the same data sets lie elsewhere. LedgerDamaged if it is no longer that segment. Raises OSError."""
    descriptor = open_regular(known.path)
    try:
        if identity(descriptor) == known.file:
            return descriptor, known
        found = _layout(known.path, descriptor)
        if replace(found, data=known.data, file=known.file) != known:
            raise LedgerDamaged(f"{known.path} was replaced by another segment; restore it from a copy")
        return descriptor, found
    except BaseException:
        os.close(descriptor)
        raise


def _layout(path: Path, descriptor: int) -> Layout:
    try:
        return _read(_File(path, descriptor))
    except (ValueError, KeyError, struct.error, IndexError) as error:
        raise LedgerDamaged(f"{path} is not a whole segment ({error}); restore it from a copy") from error


def identity(descriptor: int) -> tuple[int, int, int]:
    """What tells an open file from the one that takes its place. Raises OSError."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size


class _File:
    """Bounded reads of metadata."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.identity = identity(descriptor)
        self.size = self.identity[2]
        self._descriptor = descriptor
        self._reads = 0

    def read(self, address: int, size: int) -> bytes:
        self._reads += 1
        if size > _READ_MAX or self._reads > _READS_MAX or address + size > self.size:
            raise ValueError("metadata that leads nowhere")
        out = np.empty(size, dtype=np.uint8)
        if pread_into(self._descriptor, out, address) != size:
            raise ValueError("the file has been cut short")
        return out.tobytes()


def _read(file: _File) -> Layout:
    if file.read(0, min(8, file.size)) != b"\x89HDF\r\n\x1a\n":
        raise ValueError("not an HDF5 file")
    head = file.read(0, 96)
    if head[8:16] != bytes((0, 0, 0, 0, 0, 8, 8, 0)) or _u8(head, 24) != 0:
        raise ValueError("not an HDF5 superblock of version 0")
    if _u8(head, 40) > file.size:
        raise ValueError("the file has been cut short")
    root = list(_messages(file, _u8(head, 64)))
    attributes = dict(_attribute(data) for kind, data in root if kind == _ATTRIBUTE)
    if attributes.get("format") != FORMAT or attributes.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"not a segment of format version {FORMAT_VERSION}")
    numbers = {name: int(attributes[name]) for name in ("view", "segment", "align", "coordinators")}
    ledger = bytes.fromhex(str(attributes["ledger"]))
    if not 0 < numbers["coordinators"] <= COORDINATORS_MAX or min(numbers.values()) < 0 or len(ledger) != 32:
        raise ValueError("impossible attributes")
    symbols = dict(root)[_SYMBOLS]
    objects = dict(_group(file, _u8(symbols, 0), _u8(symbols, 8)))
    data = {name: _data_set(file, name, objects[name]) for name in ROWS}
    places = sorted((d.offset, d.offset + d.size) for d in data.values())
    if any(after[0] < before[1] for before, after in pairwise(places)):
        raise ValueError("data sets overlap")
    return Layout(file.path, ledger, **numbers, data=data, file=file.identity)


def _data_set(file: _File, name: str, header: int) -> DataSet:
    messages = dict(_messages(file, header))
    if _FILTERS in messages or _EXTERNAL in messages:
        raise ValueError(f"{name} has filters or lies in other files")
    row = ROWS[name].itemsize
    kind, size = _data_type(messages[_DATA_TYPE])
    if (kind, size) != (_COMPOUND if ROWS[name].names else _INTEGER, row):
        raise ValueError(f"{name} has rows of another type")
    space = messages[_DATA_SPACE]
    if space[0] not in (1, 2) or space[1] != 1:
        raise ValueError(f"{name} has more than one dimension")
    rows = _u8(space, 8 if space[0] == 1 else 4)
    place = messages[_LAYOUT]
    if place[0] != 3 or place[1] != 1:
        raise ValueError(f"{name} is not contiguous")
    offset, stored = _u8(place, 2), _u8(place, 10)
    if stored != rows * row or offset + stored > file.size:
        raise ValueError(f"the file ends before {name} does")
    return DataSet(offset, stored, row)


def _messages(file: _File, address: int) -> Iterator[tuple[int, bytes]]:
    """(type, data) of the messages in an object header of version 1, continuations included."""
    head = file.read(address, 16)
    if head[0] != 1:
        raise ValueError("an object header of another version")
    left = int.from_bytes(head[2:4], "little")
    blocks = [(address + 16, int.from_bytes(head[8:12], "little"))]
    while left and blocks:
        raw = file.read(*blocks.pop(0))
        at = 0
        while left and at + 8 <= len(raw):
            kind, size, flags = struct.unpack_from("<HHB", raw, at)
            data = raw[at + 8 : at + 8 + size]
            if len(data) != size or flags & 2:
                raise ValueError("a header message that is cut short or shared")
            if kind == _CONTINUATION:
                blocks.append((_u8(data, 0), _u8(data, 8)))
            elif kind:
                yield kind, data
            at, left = at + 8 + size, left - 1


def _group(file: _File, tree: int, heap: int) -> Iterator[tuple[str, int]]:
    """(name, address of the object header) of the members of a group: a B-tree of version 1 and a local heap."""
    names = file.read(heap, 32)
    if names[:4] != b"HEAP":
        raise ValueError("a group without names")
    text = file.read(_u8(names, 24), _u8(names, 8))
    nodes = [tree]
    while nodes:
        address = nodes.pop()
        head = file.read(address, 24)
        if head[:4] == b"TREE" and head[4] == 0:
            used = int.from_bytes(head[6:8], "little")
            keys = file.read(address + 24, 16 * used)
            nodes += [_u8(keys, 16 * i + 8) for i in range(used)]
        elif head[:4] == b"SNOD":
            used = int.from_bytes(head[6:8], "little")
            entries = file.read(address + 8, 40 * used)
            for i in range(used):
                name, _, _ = text[_u8(entries, 40 * i) :].partition(b"\0")
                yield name.decode("ascii"), _u8(entries, 40 * i + 8)
        else:
            raise ValueError("a group without members")


def _attribute(data: bytes) -> tuple[str, int | str]:
    """(name, value) of an attribute message of version 1, if it is an integer or a string of fixed size."""
    version, _, name_size, type_size, space_size = struct.unpack_from("<BBHHH", data)
    if version != 1:
        raise ValueError("an attribute of another version")
    at = 8
    name = data[at : at + name_size].rstrip(b"\0").decode("ascii")
    at += _padded(name_size)
    kind, size = _data_type(data[at : at + type_size])
    at += _padded(type_size) + _padded(space_size)
    value = data[at : at + size]
    if len(value) != size or kind not in (_INTEGER, _STRING):
        raise ValueError(f"the attribute {name} has another type")
    return name, int.from_bytes(value, "little") if kind == _INTEGER else value.rstrip(b"\0").decode("ascii")


def _data_type(data: bytes) -> tuple[int, int]:
    """(class, size)."""
    return data[0] & 15, int.from_bytes(data[4:8], "little")


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _u8(data: bytes, at: int) -> int:
    number: int = struct.unpack_from("<Q", data, at)[0]
    return number
