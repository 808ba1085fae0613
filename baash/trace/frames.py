"""The file of a trace: a head, then frames, one behind the other, each with checksums of its own (``docs/trace.md``).

It is only ever appended to, so whatever ends its writer, what was written before reads well. A frame that the file's end cuts short is
such an end; a frame that is all there and wrong is damage. The checksums find rot, not forgery.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from baash import packing
from baash.errors import InputError

VERSION = 1
HEAD = struct.Struct("<12sI")  # magic, version
MAGIC = b"baash trace\0"
FRAME = struct.Struct(
    "<BBHIqQI"
)  # kind, event, 0, node, time, bytes of the body, its CRC-32; then the CRC-32 of all that
FRAME_BYTES = FRAME.size + 4


class Frame(IntEnum):
    """What a frame holds: the arrays of its body."""

    RANK = 1  # JSON: rank, ledger, baash
    VIEW = 2  # JSON: limits, replica_bytes, liars; the view record
    EVENT = 3  # signatures, what was done in words, digests of the effects, then the event's own
    END = 4  # JSON: why


@dataclass(frozen=True)
class Read:
    """A frame and where it begins in its file."""

    kind: Frame
    event: int
    node: int
    time_ns: int
    arrays: list[np.ndarray]  # u1, of the file's own bytes
    at: int


def head() -> bytes:
    """What a file begins with."""
    return HEAD.pack(MAGIC, VERSION)


def frame(
    kind: Frame, arrays: Sequence[packing.Packable], *, event: int = 0, node: int = 0, time_ns: int = 0
) -> list[packing.Packable]:
    """A frame in pieces that share the bytes of ``arrays``."""
    body = packing.pieces(arrays)
    size = checksum = 0
    for piece in body:
        size += len(piece)
        checksum = zlib.crc32(piece, checksum)
    fields = FRAME.pack(kind, event, 0, node, time_ns, size, checksum)
    return [fields + zlib.crc32(fields).to_bytes(4, "little"), *body]


class File:
    """A trace file, to read. ``frames`` goes through it once; then ``torn_at`` says where it was cut short, if it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn_at: int | None = None
        try:
            size = path.stat().st_size
            self._data = np.memmap(path, np.uint8, "r") if size else np.zeros(0, dtype=np.uint8)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        start = self._data[: HEAD.size].tobytes()
        if not (MAGIC + VERSION.to_bytes(4, "little")).startswith(start) and start[: len(MAGIC)] != MAGIC:
            raise InputError(f"{path} is not a trace: it does not begin as one; see docs/trace.md")
        version = HEAD.unpack(start)[1] if len(start) == HEAD.size else VERSION  # else it is cut short here already
        if version != VERSION:
            raise InputError(f"{path} is a trace of version {version}, and this BAASH reads version {VERSION}")

    @property
    def size(self) -> int:
        return int(self._data.nbytes)

    def frames(self) -> Iterator[Read]:
        """All whole frames, in order. InputError for one that is damaged."""
        at, size = HEAD.size, self.size
        if size < at:
            self.torn_at = 0
        while at < size:
            if at + FRAME_BYTES > size:
                self.torn_at = at
                return
            fields = self._data[at : at + FRAME_BYTES].tobytes()
            kind, event, zero, node, time_ns, length, checksum = FRAME.unpack_from(fields)
            if zlib.crc32(fields[: FRAME.size]) != int.from_bytes(fields[FRAME.size :], "little") or zero:
                raise self.damaged(at, "a frame's head does not fit its checksum")
            body = self._data[at + FRAME_BYTES : at + FRAME_BYTES + length]
            if body.nbytes < length:
                self.torn_at = at
                return
            if zlib.crc32(body) != checksum:
                raise self.damaged(at, "a frame's body does not fit its checksum")
            try:
                yield Read(Frame(kind), event, node, time_ns, packing.unpack(np.asarray(body)), at)
            except ValueError as error:
                raise self.damaged(at, str(error)) from error
            at += FRAME_BYTES + length

    def damaged(self, at: int, what: str) -> InputError:
        return InputError(f"{self.path} is damaged at byte {at}: {what}; restore it from a copy")
