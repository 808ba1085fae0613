"""The disk: real files written by the real writer, which here may be slow, full, broken, torn, or lose what was not flushed.

Theory. What a process has written is seen by all at once, and survives the process. It survives the loss of power only if
that process has flushed it. So the bytes that each write replaces are kept until then, and when power fails any
subset of the 512-byte sectors that were not flushed goes back to what it was. Segments appear whole, claims and views
too: their creation is flushed in itself (``ledger/durable.py``), and only refused here.

Not simulated: a flush that fails and a later one that succeeds without having written (a successor's flush counts for all
bytes it could read), and files that rot.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baash.ledger.durable import pwrite_all, refusal
from baash.ledger.folder import Folder
from baash.ledger.writer import OffsetWriter, check_place, flat
from baash.protocol.plan import Capacity
from baash.protocol.view import View
from baash.records import SECTOR_BYTES
from baash.sim.world import World

NAMES = {errno.ENOSPC: "disk full", errno.EIO: "disk error"}


@dataclass(frozen=True, eq=False)
class Undo:
    """Bytes that a write replaced and no flush has covered since."""

    writer: SimWriter
    offset: int
    old: bytes


@dataclass
class Trouble:
    """What is wrong with storage just now. Shares of calls that fail."""

    code: int = 0
    create: float = 0.0
    write: float = 0.0
    flush: float = 0.0


class Disk:
    """What all processes have written and not flushed, by file."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.trouble = Trouble()
        self._unflushed: dict[Path, list[Undo]] = {}

    def refuse(self, action: str, path: Path) -> OSError | None:
        """The error that a call meets now, or None."""
        trouble = self.trouble
        if not trouble.code or not self.world.chance(getattr(trouble, action)):
            return None
        self.world.fault(f"{NAMES[trouble.code]} at a {action}", f"{path.name}: {action}: {os.strerror(trouble.code)}")
        return OSError(trouble.code, os.strerror(trouble.code))

    def remember(self, path: Path, undo: Undo) -> None:
        self._unflushed.setdefault(path, []).append(undo)

    def flushed(self, path: Path, writer: SimWriter | None = None) -> None:
        """What ``writer`` has written, or anybody, is on stable storage."""
        kept = [u for u in self._unflushed.get(path, ()) if writer is not None and u.writer is not writer]
        if kept:
            self._unflushed[path] = kept
        else:
            self._unflushed.pop(path, None)

    def flush_file(self, path: Path) -> None:
        """A successor's flush."""
        self.flushed(path)

    def lose_power(self, writers: set[SimWriter] | None = None) -> int:
        """Some sectors that ``writers`` (None: anybody) did not flush go back to what they were; how many."""
        lost = 0
        for path, undone in list(self._unflushed.items()):
            mine = [u for u in undone if writers is None or u.writer in writers]
            self._unflushed[path] = [u for u in undone if u not in mine]
            sectors = sorted({s for u in mine for s in _sectors(u)})
            share = self.world.draw.choice((0.1, 0.5, 1.0))
            gone = {s for s in sectors if self.world.chance(share)}
            if gone and path.exists():
                with open(path, "r+b", buffering=0) as file:
                    for undo in reversed(mine):
                        _roll_back(file.fileno(), undo, gone)
                lost += len(gone)
        return lost


def _sectors(undo: Undo) -> range:
    return range(undo.offset // SECTOR_BYTES, -(-(undo.offset + len(undo.old)) // SECTOR_BYTES))


def _roll_back(descriptor: int, undo: Undo, gone: set[int]) -> None:
    for sector in _sectors(undo):
        if sector in gone:
            first = max(undo.offset, sector * SECTOR_BYTES)
            last = min(undo.offset + len(undo.old), (sector + 1) * SECTOR_BYTES)
            os.pwrite(descriptor, undo.old[first - undo.offset : last - undo.offset], first)


class SimWriter(OffsetWriter):
    """The writer by plain writes, on a disk that may refuse."""

    def __init__(self, folder: Folder, view: View, disk: Disk) -> None:
        super().__init__(folder, view)
        self._disk = disk

    def create(self, segment: int, capacity: Capacity) -> None:
        path = self._folder.segment_path(self._view.view, segment)
        refused = self._disk.refuse("create", path)
        if refused:
            raise refusal("create", path, refused)
        super().create(segment, capacity)

    def write(self, segment: int, data_set: str, offset_bytes: int, data: np.ndarray | bytes) -> None:
        descriptor, layout = self._segment(segment)
        raw = flat(data)
        check_place(layout, data_set, offset_bytes, raw.nbytes)
        refused = self._disk.refuse("write", layout.path)
        start = layout.data[data_set].offset + offset_bytes
        if refused:  # some of it, up to the end of a sector, may have been written all the same
            sectors = range(start // SECTOR_BYTES, (start + raw.nbytes) // SECTOR_BYTES + 1)
            raw = raw[: max(0, self._disk.world.draw.choice(sectors) * SECTOR_BYTES - start)]
        self._disk.remember(layout.path, Undo(self, start, os.pread(descriptor, raw.nbytes, start)))
        pwrite_all(descriptor, raw, start)
        if refused:
            raise refusal("write", layout.path, refused)

    def flush(self, segment: int) -> None:
        _, layout = self._segment(segment)
        refused = self._disk.refuse("flush", layout.path)
        if refused:
            raise refusal("flush", layout.path, refused)
        super().flush(segment)
        self._disk.flushed(layout.path, self)
