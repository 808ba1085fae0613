"""The two writers: the same bytes into the same data sets, one by plain writes, one through parallel HDF5.

``offset``  Segments are made serially and closed; then every rank writes with ``pwrite`` at the data sets' places in
            the file. No call is collective, no handle can be poisoned by a death. Needs nothing but the wheels.
``mpio``    All coordinators have the file open with h5py's ``mpio`` driver and write independently. Opening is
            collective (``open_all``); needs an h5py built with parallel HDF5.

Both flush through a descriptor of their own, since ``H5Fflush`` calls no fsync and is collective under mpio. The handles
of a dead view are dropped and kept referenced for ever: closing one whose communicator holds a dead rank hangs.
Which rank writes what, and when it may be said to be durable, is the caller's business.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Protocol

import h5py
import numpy as np

from baash.errors import LedgerError, UsageError
from baash.ledger import library
from baash.ledger import segment as segments
from baash.ledger.durable import pwrite_all, refusals
from baash.ledger.folder import Folder
from baash.ledger.layout import ROWS, Layout, layout
from baash.protocol.plan import Capacity
from baash.protocol.view import View

Kind = Literal["auto", "offset", "mpio"]
KINDS: tuple[Kind, ...] = ("auto", "offset", "mpio")

_dropped: list[h5py.File] = []  # never closed, and never collected: see above


class Writer(Protocol):
    """What a rank that hosts a coordinator needs. All raise StorageError or LedgerError."""

    name: str
    notes: list[str]  # for people: what the file system could not do

    def create(self, segment: int, capacity: Capacity) -> None:
        """Make a segment; by the leader alone, before anyone opens it."""

    def open_all(self, segment: int) -> None:
        """Open a segment that exists; under mpio every rank of the communicator must call it."""

    def write(self, segment: int, data_set: str, offset_bytes: int, data: np.ndarray | bytes) -> None:
        """Write into a data set, alone; refuses (LedgerError) what would not fit into it."""

    def flush(self, segment: int) -> None:
        """Return when all bytes of the segment that this process has written are on stable storage."""

    def let_go(self, segment: int) -> None:
        """Let go of one segment, if it is open; under mpio nothing is closed. ``open_all`` then opens it anew."""

    def release(self) -> None:
        """Let go of everything; under mpio nothing is closed."""

    def close_all(self) -> None:
        """The orderly end with every rank alive; collective under mpio."""


class OffsetWriter:
    """Writes by ``pwrite``; see the file's head."""

    name = "offset"

    def __init__(self, folder: Folder, view: View) -> None:
        self.notes: list[str] = []
        self._folder = folder
        self._view = view
        self._open: dict[int, tuple[int, Layout]] = {}

    def create(self, segment: int, capacity: Capacity) -> None:
        path = self._folder.segment_path(self._view.view, segment)
        if not segments.create(path, capacity, self._view, segment):
            self.notes.append(f"{path.parent} cannot reserve space: a full disk shows only when a round is written")

    def open_all(self, segment: int) -> None:
        if segment in self._open:
            return
        path = self._folder.segment_path(self._view.view, segment)
        found = layout(path)
        if (found.ledger, found.view, found.segment) != (self._view.ledger, self._view.view, segment):
            raise LedgerError(f"{path} belongs to another ledger or view; it was not made by this run")
        with refusals("open", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._open[segment] = descriptor, found

    def write(self, segment: int, data_set: str, offset_bytes: int, data: np.ndarray | bytes) -> None:
        descriptor, layout = self._segment(segment)
        raw = flat(data)
        check_place(layout, data_set, offset_bytes, raw.nbytes)
        with refusals("write", layout.path):
            pwrite_all(descriptor, raw, layout.data[data_set].offset + offset_bytes)

    def flush(self, segment: int) -> None:
        descriptor, layout = self._segment(segment)
        with refusals("flush", layout.path):
            os.fdatasync(descriptor)

    def let_go(self, segment: int) -> None:
        if segment in self._open:
            os.close(self._open.pop(segment)[0])

    def release(self) -> None:
        for segment in list(self._open):
            self.let_go(segment)

    def close_all(self) -> None:
        self.release()

    def _segment(self, segment: int) -> tuple[int, Layout]:
        try:
            return self._open[segment]
        except KeyError:
            raise LedgerError(f"segment {segment} of view {self._view.view} is not open for writing") from None


class MpioWriter(OffsetWriter):
    """Writes through parallel HDF5; creation and flushing are those of the other writer."""

    name = "mpio"

    def __init__(self, folder: Folder, view: View, comm: Any) -> None:
        super().__init__(folder, view)
        self._comm = comm
        self._files: dict[int, h5py.File] = {}

    def open_all(self, segment: int) -> None:
        if segment in self._files:
            return
        super().open_all(segment)
        path = self._folder.segment_path(self._view.view, segment)
        with refusals("open", path):
            self._files[segment] = h5py.File(path, "r+", driver="mpio", comm=self._comm, libver=("earliest", "v108"))

    def write(self, segment: int, data_set: str, offset_bytes: int, data: np.ndarray | bytes) -> None:
        _, layout = self._segment(segment)
        raw = flat(data)
        check_place(layout, data_set, offset_bytes, raw.nbytes)
        if not raw.nbytes:
            return
        row = layout.data[data_set].row_bytes
        if offset_bytes % row or raw.nbytes % row:
            raise LedgerError(f"{data_set} is written in whole rows of {row} bytes")
        target = self._files[segment][data_set].id
        rows = np.frombuffer(raw, dtype=ROWS[data_set])
        there = target.get_space()
        there.select_hyperslab((offset_bytes // row,), (len(rows),))
        with refusals("write", layout.path):  # file type = memory type: HDF5 converts nothing
            target.write(h5py.h5s.create_simple((len(rows),)), there, rows, mtype=target.get_type())

    def let_go(self, segment: int) -> None:
        if segment in self._files:
            _dropped.append(self._files.pop(segment))
        super().let_go(segment)

    def close_all(self) -> None:
        while self._files:
            self._files.popitem()[1].close()
        super().release()


def open_writer(kind: Kind, folder: Folder, view: View, comm: Any = None) -> Writer:
    """The writer asked for. ``auto`` is ``offset`` until a campaign of faults shows that ``mpio`` survives as much."""
    if kind not in KINDS:
        raise UsageError(f"writer must be one of {', '.join(KINDS)}, not {kind!r}")
    if kind != "mpio":
        return OffsetWriter(folder, view)
    library.require_parallel()
    if comm is None:
        raise UsageError("the mpio writer needs the communicator of the coordinators' ranks")
    return MpioWriter(folder, view, comm)


def flat(data: np.ndarray | bytes) -> memoryview:
    """The bytes of ``data`` without a copy, unless it is not contiguous."""
    if isinstance(data, bytes):
        return memoryview(data)
    return memoryview(np.ascontiguousarray(data).reshape(-1).view(np.uint8))


def check_place(layout: Layout, data_set: str, offset_bytes: int, size: int) -> None:
    """LedgerError unless ``size`` bytes at ``offset_bytes`` lie inside the data set."""
    place = layout.data.get(data_set)
    if place is None:
        raise LedgerError(f"a segment has no data set {data_set!r}")
    if offset_bytes < 0 or offset_bytes + size > place.size:
        raise LedgerError(
            f"{layout.path}: {size} bytes at {offset_bytes} do not fit into {data_set} of {place.size} bytes"
        )
