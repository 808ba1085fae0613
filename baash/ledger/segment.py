"""A segment: one HDF5 file with five contiguous data sets whose places in the file never change.

Theory. A data set that is contiguous, allocated early and never filled has its offset in the file from its creation
on, so after that nobody needs HDF5 to write it: a plain write at that offset changes no metadata, and a torn write can
spoil only bytes that no commit record covers. Creation properties are therefore part of the format: superblock 0
(with newer bounds the file of a killed writer would not open), no chunks, no filters, no attribute added later.

Makes a file and gives it its name when it is whole. Where its parts lie is read by ``layout.py``, without HDF5.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from baash.ledger.durable import refusals, rename_exclusively, reserve
from baash.ledger.layout import FORMAT, ROWS, DataSet
from baash.protocol.plan import Capacity
from baash.protocol.view import View
from baash.records import FORMAT_VERSION, slot_bytes

SMALL_BYTES = 64 << 20
SMALL_ALIGN, LARGE_ALIGN = 4096, 1 << 20
PACKED_ALIGN = 64  # of a packed copy below PACKED_SMALL_BYTES: nobody writes it any more
PACKED_SMALL_BYTES = 16 << 20
ALIGNED_FROM_BYTES = 512  # HDF5's own small objects stay packed; a commit-record slot is never smaller


def create(path: Path, capacity: Capacity, view: View, segment: int) -> bool:
    """Make a segment, whole and flushed, under a name that must be free.

    False: the file system cannot reserve space, so a full disk will show only when rounds are written. Raises
    StorageError (no space left…) and LedgerError (the name is taken); nothing is left behind then.
    """
    rows = rows_of(capacity, view)
    total = sum(size_of(rows).values())
    unit = max(view.parameters.align, SMALL_ALIGN if total < SMALL_BYTES else LARGE_ALIGN)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with refusals("create", path):
            reserved = _reserve(temporary, write_empty(temporary, rows, view, segment, unit))
        rename_exclusively(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return reserved


def rows_of(capacity: Capacity, view: View) -> dict[str, int]:
    """Rows of each data set of a segment with this capacity."""
    return {
        "block_headers": capacity.blocks,
        "records": capacity.records_bytes,
        "certificates": capacity.certificates_bytes,
        "rejections": capacity.rejections,
        "commit_records": capacity.slots * slot_bytes(len(view.coordinators)),
    }


def size_of(rows: Mapping[str, int]) -> dict[str, int]:
    """Bytes of each data set; none is empty."""
    return {name: max(1, count) * ROWS[name].itemsize for name, count in rows.items()}


def packed_unit(rows: Mapping[str, int]) -> int:
    """At which multiples the data sets of a packed copy begin: pages, if that is little of it."""
    return PACKED_ALIGN if sum(size_of(rows).values()) < PACKED_SMALL_BYTES else SMALL_ALIGN


def write_empty(path: Path, rows: Mapping[str, int], view: View, segment: int, unit: int) -> list[DataSet]:
    """Write a segment in which nothing is written yet, under a name for the time being, and do not flush it. OSError."""
    attributes: dict[str, int | str] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ledger": view.ledger.hex(),
        "view": view.view,
        "segment": segment,
        "align": view.parameters.align,
        "coordinators": len(view.coordinators),
    }
    path.unlink(missing_ok=True)
    try:
        return _create(path, rows, attributes, unit)
    except RuntimeError as error:  # how h5py tells what the file system refused when HDF5 closes the file
        code = re.search(r"errno = (\d+)", str(error))
        raise OSError(int(code[1]) if code else errno.EIO, _short(error)) from error


def _create(path: Path, rows: Mapping[str, int], attributes: Mapping[str, int | str], unit: int) -> list[DataSet]:
    with h5py.File(
        path,
        "x",
        libver=("earliest", "v108"),
        alignment_threshold=min(ALIGNED_FROM_BYTES, unit),
        alignment_interval=unit,
    ) as file:
        for name, value in attributes.items():
            # Text of fixed size: of variable size, HDF5 would put it into a heap of its own.
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        return [_create_data_set(file, name, max(1, count)) for name, count in rows.items()]


def _create_data_set(file: h5py.File, name: str, count: int) -> DataSet:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    row = ROWS[name]
    space = h5py.h5s.create_simple((count,))
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(row, logical=True), space, properties)
    return DataSet(int(made.get_offset()), count * row.itemsize, row.itemsize)


def _reserve(path: Path, data: list[DataSet]) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        reserved = all(reserve(descriptor, d.offset, d.size) for d in data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return reserved


def _short(error: Exception) -> str:
    return str(error).split("\n")[0][:200]
