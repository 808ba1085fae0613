"""One committed round as it lies in its segment: its commit record, and on request its headers, body, certificates,
rejections and records.

Reads by ``pread`` into fresh arrays, never by mapping: a file that shrinks or a disk that fails must become an error,
not a signal. Places are checked against the data sets before anything is read, hashes are not: that is for the audit
and for ``restore``.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger.durable import flush_and_forget, open_regular, pread_into, refusal, refusals
from baash.ledger.layout import Layout, reopen
from baash.protocol.view import View
from baash.records import (
    BLOCK_ROW,
    COMMIT_LOCATOR,
    COMMIT_RECORD,
    COMMIT_SIGNATURE,
    FORMAT_VERSION,
    REJECTION,
    ROUND_BODY,
    ROUND_CLUSTER,
    ROUND_WINDOW,
    TRANSACTION,
    Tag,
)

RECORD_BYTES_TYPICAL = 512  # what is read of a record at first
_TOTAL_BYTES = slice(8, 12)  # of a record


class SegmentFile:
    """A segment open for reading; opens its file when first needed, again after ``close``. Whose last holder forgets it is
    closed too: a ledger that cannot be opened gives back what it had opened by then.

    ``layout`` is that of the file that is open: a packed copy may have taken its place in the meantime.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._records = layout.data["records"]
        self._descriptor = -1
        self._opening = Lock()

    @property
    def name(self) -> str:
        return self.layout.path.name

    def read(self, data_set: str, offset: int, size: int) -> np.ndarray:
        """``size`` bytes (u1) of a data set. LedgerDamaged if it does not have them, StorageError."""
        self.opened()
        out = np.empty(self.check(data_set, offset, size), dtype=np.uint8)
        self.read_into(out, data_set, offset)
        return out

    def read_into(self, out: np.ndarray, data_set: str, offset: int) -> None:
        with refusals("read", self.layout.path):
            descriptor = self._open()
            got = pread_into(descriptor, out, self.layout.data[data_set].offset + offset)
        if got != out.nbytes:
            raise LedgerDamaged(f"{self.layout.path} has been cut short; restore it from a copy")

    def opened(self) -> Layout:
        """Open the file, if it is not; the layout holds until ``close``."""
        with refusals("read", self.layout.path):
            self._open()
        return self.layout

    def descriptor(self) -> int:
        """Of the open file; it is this object's to close."""
        with refusals("read", self.layout.path):
            return self._open()

    def check(self, data_set: str, offset: int, size: int) -> int:
        """``size``, if the data set has that many bytes at ``offset``."""
        place = self.layout.data[data_set]
        if offset < 0 or size < 0 or offset + size > place.size:
            raise LedgerDamaged(f"{self.name}: {size} bytes at {offset} lie outside of {data_set} ({place.size} bytes)")
        return size

    def headers(self, first: int, count: int) -> np.ndarray:
        """BLOCK_ROW: rows of ``block_headers``."""
        size = BLOCK_ROW.itemsize
        rows: np.ndarray = self.read("block_headers", first * size, count * size).view(BLOCK_ROW)
        return rows

    def record(self, offset: int) -> bytes:
        """The record that begins at a byte of ``records``. LedgerDamaged if there cannot be one."""
        try:
            raw = os.pread(self._open(), RECORD_BYTES_TYPICAL, self._records.offset + offset)
            size = int.from_bytes(raw[_TOTAL_BYTES], "little")
            if size > len(raw) and offset + size <= self._records.size:
                more = self._records.offset + offset + len(raw)
                raw += os.pread(self._descriptor, size - len(raw), more)
        except OSError as error:
            raise refusal("read", self.layout.path, error) from error
        if not TRANSACTION.itemsize <= size <= len(raw) or offset + size > self._records.size:
            path = self.layout.path
            raise LedgerDamaged(f"{path}: there is no record at {offset} of its records; baash verify says more")
        return raw[:size]

    def gather(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(u1, ends u8): the records that begin at these bytes (u8) of ``records``, one behind the other."""
        with refusals("read", self.layout.path):
            file = self._open()
            place = self._records
            try:
                return kernels.index_records(file, place.offset + place.size, offsets + np.uint64(place.offset))
            except ValueError as error:
                raise LedgerDamaged(f"{self.layout.path}: {error}; baash verify says more") from None

    def blocks(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """u1: the records of the blocks ``rows``, one block behind the other, whatever gaps lie between them; into
        ``out``, if there is one, of just that size."""
        sizes = rows["bytes"].astype(np.int64)
        offsets = rows["records_offset"].astype(np.uint64)
        total = self.check("records", 0, int(sizes.sum()))
        out = np.empty(total, dtype=np.uint8) if out is None else out
        if not len(rows):
            return out
        breaks = np.flatnonzero(offsets[1:] != offsets[:-1] + sizes[:-1].astype(np.uint64)) + 1
        starts = np.concatenate(([0], breaks))
        ends = np.concatenate((np.cumsum(sizes), [0]))
        for first, after in zip(starts.tolist(), [*breaks.tolist(), len(rows)], strict=True):
            at, end = int(ends[first - 1]) if first else 0, int(ends[after - 1])
            self.check("records", int(offsets[first]), end - at)
            self.read_into(out[at:end], "records", int(offsets[first]))
        return out

    def flush(self) -> None:
        """Put the file's bytes, whoever wrote them, on stable storage; what is read from now on is what lies there."""
        with refusals("flush", self.layout.path):
            descriptor = open_regular(self.layout.path)
            try:
                flush_and_forget(descriptor)
            finally:
                os.close(descriptor)

    def close(self) -> None:
        with self._opening:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)

    def _open(self) -> int:
        with self._opening:
            if self._descriptor < 0:
                self._descriptor, self.layout = reopen(self.layout)
                self._records = self.layout.data["records"]
            return self._descriptor


@dataclass(frozen=True)
class Body:
    """A round body; arrays are views of ``hashed``."""

    hashed: bytes
    head: np.void  # ROUND_BODY
    windows: np.ndarray  # ROUND_WINDOW
    clusters: np.ndarray  # ROUND_CLUSTER
    certificate_offsets: np.ndarray  # u8, one a window


@dataclass(frozen=True)
class Round:
    """A round that counts. Numbers are those of the whole ledger."""

    file: SegmentFile
    view: View
    segment: int
    slot: int
    index: int  # its number in the ledger
    raw: np.ndarray  # the slot, u1
    first_transaction: int
    follows: bool  # on the round before; False behind a damaged slot, where ``first_transaction`` is not known

    @cached_property
    def record(self) -> np.void:
        """COMMIT_RECORD."""
        return self._row(0, COMMIT_RECORD)

    @cached_property
    def locator(self) -> np.void:
        """COMMIT_LOCATOR."""
        return self._row(COMMIT_RECORD.itemsize, COMMIT_LOCATOR)

    @cached_property
    def signatures(self) -> np.ndarray:
        """COMMIT_SIGNATURE, one for each coordinator."""
        start = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize
        rows: np.ndarray = self.raw[start : start + self.file.layout.coordinators * COMMIT_SIGNATURE.itemsize].view(
            COMMIT_SIGNATURE
        )
        return rows

    @cached_property
    def hash(self) -> bytes:
        """Of the commit record."""
        return hashlib.sha256(self.raw[: COMMIT_RECORD.itemsize].tobytes()).digest()

    @property
    def first_block(self) -> int:
        return int(self.record["block_total"]) - int(self.locator["block_count"])

    @property
    def number(self) -> int:
        """Its number in its view."""
        return int(self.record["round"])

    def _row(self, start: int, dtype: np.dtype) -> np.void:
        row: np.void = self.raw[start : start + dtype.itemsize].view(dtype)[0]
        return row

    def headers(self) -> np.ndarray:
        """BLOCK_ROW: the rows of its blocks, in order of height."""
        return self._rows("block_headers", "first_block", "block_count", BLOCK_ROW)

    def rejections(self) -> np.ndarray:
        """REJECTION: what it rejected."""
        return self._rows("rejections", "first_rejection", "rejection_count", REJECTION)

    def _rows(self, data_set: str, first: str, count: str, dtype: np.dtype) -> np.ndarray:
        start, rows = int(self.locator[first]), int(self.locator[count])
        found: np.ndarray = self.file.read(data_set, start * dtype.itemsize, rows * dtype.itemsize).view(dtype)
        return found

    def body(self) -> Body:
        """The round body. LedgerDamaged if its parts are not its length."""
        offset, size = int(self.locator["body_offset"]), int(self.locator["body_bytes"])
        if size < ROUND_BODY.itemsize:
            raise LedgerDamaged(f"{self.file.name}: the round body is cut short")
        raw = self.file.read("certificates", offset, size)
        head = raw[: ROUND_BODY.itemsize].view(ROUND_BODY)[0]
        if (int(head["zero"]), int(head["tag"]), int(head["version"])) != (0, Tag.ROUND_BODY, FORMAT_VERSION):
            raise LedgerDamaged(f"{self.file.name}: there is no round body where the commit record says")
        windows, clusters = int(head["window_count"]), int(head["cluster_count"])
        middle = ROUND_BODY.itemsize + windows * ROUND_WINDOW.itemsize
        if middle + clusters * ROUND_CLUSTER.itemsize != size:
            raise LedgerDamaged(f"{self.file.name}: the round body's parts are not its length")
        offsets = self.file.read("certificates", offset + size, 8 * windows).view("<u8")
        return Body(
            raw.tobytes(),
            head,
            raw[ROUND_BODY.itemsize : middle].view(ROUND_WINDOW),
            raw[middle:].view(ROUND_CLUSTER),
            offsets,
        )

    def certificate(self, body: Body, window: int) -> np.ndarray:
        """The bytes (u1) of the certificate of the body's ``window``-th row."""
        return self.file.read(
            "certificates", int(body.certificate_offsets[window]), int(body.windows["certificate_bytes"][window])
        )

    def records(self, rows: np.ndarray) -> np.ndarray:
        """u1: the records of the blocks ``rows``, one block behind the other, whatever gaps lie between them."""
        return self.file.blocks(rows)
