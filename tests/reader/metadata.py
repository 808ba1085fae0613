"""What HDF5 puts round the data sets of a segment, held byte by byte against the one form it may have; imports nothing of baash.

From ``docs/ledger-format.md`` section 7 and the HDF5 file format specification (version 1 structures of sections II and
III). Part of the second reader: ``check`` raises ValueError at the first thing that is not so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

NOWHERE = 2**64 - 1
TREE_BYTES, LEAF_BYTES = 24 + 8 * 33 + 8 * 32, 8 + 40 * 8
MEMBERS = {  # names and types, without gaps
    "block_headers": "zero:1 tag:1 version:1 flags:1 cluster:4 height:8 view:4 index:4 window:8 time_ns:8 count:4 bytes:4 "
    "content:h32 parent:h32 records_offset:8 first_transaction:8",
    "rejections": "issuer:h16 sequence:8 id:h32 reason:2 reserved:2 cluster:4",
}


class Place(NamedTuple):
    """Of a data set, in bytes of the file."""

    offset: int
    rows: int
    row_bytes: int


class File:
    """Bytes, and which of them something is known of."""

    def __init__(self, raw: bytes, data: dict[str, Place]) -> None:
        self.raw = raw
        self.known = [(p.offset, p.offset + p.rows * p.row_bytes) for p in data.values()]

    def take(self, at: int, size: int) -> bytes:
        if at + size > len(self.raw) or len(self.known) > 500:
            raise ValueError("a structure behind the end of the file")
        self.known.append((at, at + size))
        return self.raw[at : at + size]

    def expect(self, at: int, wanted: bytes, what: str) -> None:
        if self.take(at, len(wanted)) != wanted:
            raise ValueError(what)

    def nothing_else(self) -> None:
        end = 0
        for start, after in [*sorted(self.known), (len(self.raw), len(self.raw))]:
            if start < end or self.raw.count(0, end, start) != start - end:
                raise ValueError(f"something in front of byte {start}")
            end = after


def check(raw: bytes, attributes: dict[str, int | str], data: dict[str, Place]) -> None:
    file = File(raw, data)
    root, tree, heap = (struct.unpack_from("<Q", raw, at)[0] for at in (64, 80, 88))
    file.expect(
        0,
        b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
        + struct.pack("<4Q", 0, NOWHERE, len(raw), NOWHERE) + struct.pack("<QQIIQQ", 0, root, 1, 0, tree, heap),
        "superblock",
    )  # fmt: skip
    wanted = [(0x000C, 0, attribute(*each)) for each in attributes.items()]
    wanted.append((0x0011, 0, struct.pack("<QQ", tree, heap)))
    if sorted(messages(file, root)) != sorted(wanted):
        raise ValueError("messages of the root group")
    names = sorted(data)
    (leaf,) = struct.unpack_from("<Q", raw, tree + 32)
    entries = [struct.unpack_from("<QQ", raw, leaf + 8 + 40 * i) for i in range(len(names))]
    node = b"TREE" + struct.pack("<BBHQQQQQ", 0, 0, 1, NOWHERE, NOWHERE, 0, leaf, entries[-1][0])
    file.expect(tree, node.ljust(TREE_BYTES, b"\0"), "tree node")
    symbols = b"".join(struct.pack("<QQ24x", *entry) for entry in entries)
    file.expect(leaf, (b"SNOD\1\0" + struct.pack("<H", len(names)) + symbols).ljust(LEAF_BYTES, b"\0"), "leaf")
    heap_of_names(file, heap, {entry[0]: name for name, entry in zip(names, entries, strict=True)})
    for name, (_, header) in zip(names, entries, strict=True):
        of_data_set(file, header, name, data[name])
    file.nothing_else()


def heap_of_names(file: File, heap: int, names: dict[int, str]) -> None:
    """The empty name at 0, the others one behind the other; one free block, or no room for any."""
    size, free, segment = struct.unpack_from("<QQQ", file.raw, heap + 8)
    file.expect(heap, b"HEAP\0\0\0\0" + struct.pack("<QQQ", size, free, segment), "heap")
    held = bytes(8)
    for offset, name in sorted(names.items()):
        if offset != len(held):
            raise ValueError("place of a name")
        held += padded(name.encode() + b"\0")
    if free != 1:
        if free != len(held) or size < free + 16:
            raise ValueError("free block of the heap")
        held += struct.pack("<QQ", 1, size - free)
    elif size != len(held):
        raise ValueError("size of the heap")
    file.expect(segment, held.ljust(size, b"\0"), "names")


def of_data_set(file: File, header: int, name: str, place: Place) -> None:
    kind = compound(MEMBERS[name], place.row_bytes) if name in MEMBERS else unsigned(1)
    wanted = [
        (0x0001, 0, struct.pack("<BBB5xQQ", 1, 1, 1, place.rows, place.rows)),
        (0x0003, 1, padded(kind)),
        (0x0005, 1, bytes([2, 1, 1, 1, 0, 0, 0, 0])),
        (0x0008, 1, padded(struct.pack("<BBQQ", 3, 1, place.offset, place.rows * place.row_bytes))),
    ]
    if sorted(messages(file, header)) != wanted:
        raise ValueError(f"messages of {name}")


def messages(file: File, header: int) -> list[tuple[int, int, bytes]]:
    """(type, flags, data) of an object header of version 1 and what continues it; empty ones are left out."""
    version, zero, count, references, size, padding = struct.unpack("<BBHIII", file.take(header, 16))
    if (version, zero, references, padding) != (1, 0, 1, 0):
        raise ValueError("object header")
    found, all_of_them, rest = [], 0, [(header + 16, size)]
    while rest:
        for kind, flags, data in split(file.take(*rest.pop(0))):
            all_of_them += 1
            if kind == 0x0010:
                if flags or len(data) != 16:
                    raise ValueError("continuation")
                rest.append(struct.unpack("<QQ", data))
            elif kind != 0:
                found.append((kind, flags, data))
            elif flags or any(data):
                raise ValueError("empty message")
    if all_of_them != count:
        raise ValueError("number of messages")
    return found


def split(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(raw):
        kind, size, flags, reserved, reserved2 = struct.unpack_from("<HHBHB", raw, at)
        data = raw[at + 8 : at + 8 + size]
        if reserved or reserved2 or len(data) != size or size % 8:
            raise ValueError("message")
        yield kind, flags, data
        at += 8 + size


def padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 8)


def unsigned(size: int, signed: int = 0) -> bytes:
    return struct.pack("<BBBBIHH", 0x10, signed << 3, 0, 0, size, 0, 8 * size)


def compound(members: str, size: int) -> bytes:
    fields = [member.split(":") for member in members.split()]
    out, at = struct.pack("<BHBI", 0x26, len(fields), 0, size), 0
    for name, kind in fields:
        length = int(kind.removeprefix("h"))
        array = struct.pack("<BBHIB3xII", 0x2A, 0, 0, length, 1, length, 0) + unsigned(1)
        out += padded(name.encode() + b"\0") + struct.pack("<I", at) + (array if kind[0] == "h" else unsigned(length))
        at += length
    if at != size:
        raise ValueError("size of a row")
    return out


def attribute(name: str, value: int | str) -> bytes:
    if isinstance(value, str):
        kind, data = struct.pack("<BBHI", 0x13, 1, 0, len(value)), value.encode()
    else:
        kind, data = unsigned(8, signed=1), struct.pack("<q", value)
    sizes = struct.pack("<BBHHH", 1, 0, len(name) + 1, len(kind), 8)
    return sizes + padded(name.encode() + b"\0") + padded(kind) + bytes([1, 0, 0, 0, 0, 0, 0, 0]) + padded(data)
