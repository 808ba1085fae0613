"""YCSB's core workloads as a source: ``ycsb-load`` (the records) and ``ycsb-a`` … ``ycsb-f`` (operations on them).

An entity is a record of YCSB's table, named ``usertable/user<hash>``. An insert is a CREATE with all ten fields, an
update an UPDATE with one of them, a read-modify-write a read and an update. Reads and scans are no transactions: the
names they ask for travel beside the records (``Chunk.reads``), unless ``record_reads`` turns each into a USE.

Operations are drawn in blocks of fixed size from counter-based streams, and a chunk is a part of one block, so that the
size of the chunks and the length of the run change nothing. Payload bytes are PCG64's, reached by jumping ahead.
A workload without the inserts of ``ycsb-load`` before it finds no entity to update: run that first, with the same
``record_count``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.errors import UsageError
from baash.records import ANY_VERSION, PAYLOAD_BYTES_MAX, Operation, PayloadType, source_issuer
from baash.sources.chunk import Chunk
from baash.sources.keys_in_order import KeysInOrder
from baash.sources.zipfian import Latest, fnvhash64, scrambled, stream_key, uniform

FIELDS = 10
TRANSACTIONS_MAX = RECORDS_MAX = 1 << 40
LATEST_RECORDS_MAX = 1 << 30  # ycsb-d first sums a zeta over the table: half a minute
SCANNED_RECORDS_MAX = 1 << 26  # ycsb-e holds all keys in memory, in order: some gigabytes
SCAN_LENGTH_MAX = 100
_BLOCK = 16384  # operations drawn together; part of what a workload's name means
_CHUNK_BYTES = 32 << 20
_PREFIX = b"usertable/user"
_DIGITS_MAX = 19  # of 2^63 - 1

READ, UPDATE, INSERT, SCAN, MODIFY = range(5)  # the order in which YCSB's CoreWorkload lists them


@dataclass(frozen=True)
class Mix:
    """Shares of read, update, insert, scan, read-modify-write; which keys are asked for."""

    shares: tuple[float, float, float, float, float]
    latest: bool = False


MIXES = {
    "ycsb-load": Mix((0.0, 0.0, 1.0, 0.0, 0.0)),
    "ycsb-a": Mix((0.5, 0.5, 0.0, 0.0, 0.0)),
    "ycsb-b": Mix((0.95, 0.05, 0.0, 0.0, 0.0)),
    "ycsb-c": Mix((1.0, 0.0, 0.0, 0.0, 0.0)),
    "ycsb-d": Mix((0.95, 0.0, 0.05, 0.0, 0.0), latest=True),
    "ycsb-e": Mix((0.0, 0.0, 0.05, 0.95, 0.0)),
    "ycsb-f": Mix((0.5, 0.0, 0.0, 0.0, 0.5)),
}


@dataclass(frozen=True)
class _Block:
    """What a block of operations comes to. ``key`` and ``newest`` are for operations, the rest for what it names."""

    operation: np.ndarray  # u1, a transaction
    key: np.ndarray  # i8, its key number
    field: np.ndarray  # i8, its field, if an update
    read_key: np.ndarray  # i8, a key number that is read without a transaction
    read_before: np.ndarray  # i8, the transaction of this block it comes before


class YcsbSource:
    """One workload. ``transactions`` counts records; where a workload gives none (C), it counts reads."""

    def __init__(
        self,
        workload: str,
        transactions: int,
        record_bytes: int = 1000,
        record_count: int = 1000,
        seed: int = 1,
        record_reads: bool = False,
    ) -> None:
        if workload not in MIXES:
            raise UsageError(f"There is no workload {workload!r}: choose one of {', '.join(MIXES)}.")
        load = workload == "ycsb-load"
        if not 0 <= transactions <= TRANSACTIONS_MAX:
            raise UsageError(f"{transactions} transactions were asked for: give 0 to {TRANSACTIONS_MAX}.")
        if not 0 <= seed < 1 << 64:
            raise UsageError(f"seed is {seed}: give 0 to {(1 << 64) - 1}.")
        if not FIELDS <= record_bytes <= PAYLOAD_BYTES_MAX:
            raise UsageError(f"record_bytes is {record_bytes}: give {FIELDS} to {PAYLOAD_BYTES_MAX}.")
        least, most = 1 if load else 2, RECORDS_MAX
        if MIXES[workload].latest:
            most = LATEST_RECORDS_MAX
        elif MIXES[workload].shares[SCAN]:
            most = SCANNED_RECORDS_MAX
        if not least <= record_count <= most:
            raise UsageError(f"record_count is {record_count}: for {workload} give {least} to {most}.")
        if load and transactions > record_count:
            raise UsageError(
                f"ycsb-load inserts each of its {record_count} records once, but {transactions} transactions were "
                "asked for: raise record_count or ask for fewer."
            )
        self._mix = MIXES[workload]
        self._only_reads = self._mix.shares[READ] == 1.0 and not record_reads
        self.total: int | None = 0 if self._only_reads else transactions
        self._limit = transactions
        self._record_bytes = record_bytes
        self._first_key = 0 if load else record_count
        self._record_reads = record_reads
        self._seed = seed
        self._workload = workload
        field = np.arange(FIELDS + 1, dtype=np.int64) * record_bytes // FIELDS
        self._widths = np.diff(field)
        parts = [workload, f"record_bytes={record_bytes}", f"seed={seed}"]
        if not load:
            parts += [f"records={record_count}", f"reads={'used' if record_reads else 'named'}"]
        self._item_count = record_count + 1
        if self._mix.shares[SCAN]:
            self._item_count += 2 * self._expected_inserts()
            parts.append(f"transactions={transactions}")
        self.name = ":".join(parts)

    def _expected_inserts(self) -> int:
        """Inserts of the whole run: the number of operations follows from that of the transactions."""
        _read, _update, insert, scan, _modify = self._mix.shares
        recorded = insert + (scan * (1 + SCAN_LENGTH_MAX) / 2 if self._record_reads else 0.0)
        return int(self._limit / recorded * insert)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The transactions from the first, at most ``size`` a chunk."""
        if not self._limit:
            return
        issuer = source_issuer(self.name)
        given = written = 0
        for block in self._blocks():
            if self._only_reads:
                count = min(len(block.read_key), self._limit - given)
                for first in range(0, count, size):
                    names = entity_names(block.read_key[first : min(first + size, count)])
                    yield Chunk(np.zeros(0, dtype=np.uint8), 0, names)
            else:
                count = min(len(block.operation), self._limit - given)
                step = min(size, max(1, _CHUNK_BYTES // self._record_bytes))
                for first in range(0, max(count, 1), step):
                    last = min(first + step, count)
                    # What is read behind a block's last transaction goes with it, unless the run ends there.
                    end = last if last < count or given + count == self._limit else count + 1
                    low, high = np.searchsorted(block.read_before, [first, end])
                    reads = entity_names(block.read_key[low:high]) if low < high else None
                    records, writes = self._records(block, first, last, given + first, written, issuer)
                    written += writes
                    yield Chunk(records, last - first, reads)
            given += count
            if given >= self._limit:
                return

    def _records(
        self, block: _Block, first: int, last: int, sequence: int, written: int, issuer: bytes
    ) -> tuple[np.ndarray, int]:
        """Records of the block's transactions [first, last), and how many of them are writes."""
        operation = block.operation[first:last]
        count = len(operation)
        if not count:
            return np.zeros(0, dtype=np.uint8), 0
        write = operation != Operation.USE
        writes = int(write.sum())
        lengths = np.zeros(count, dtype=np.int64)
        if self._mix.shares[INSERT]:
            payload = self._random_bytes(written * self._record_bytes, writes * self._record_bytes)
            lengths[write] = self._record_bytes
        else:
            field = block.field[first:last][write]
            payload = self._updates(written, field)
            lengths[write] = 4 + self._widths[field]
        records, _offsets = kernels.encode(
            operation,
            np.arange(sequence, sequence + count, dtype=np.uint64),
            np.zeros(count, dtype=np.uint64),
            np.full(count, ANY_VERSION, dtype=np.uint64),
            issuer,
            entity_names(block.key[first:last]),
            (payload, _offsets_of(lengths)),
            np.where(write, np.uint16(PayloadType.YCSB), np.uint16(PayloadType.BYTES)),
            None,
        )
        return records, writes

    def _random_bytes(self, first: int, count: int) -> np.ndarray:
        """Bytes [first, first + count) of this workload's endless stream of field values."""
        seed = int.from_bytes(hashlib.sha256(f"{self._workload}/values/{self._seed}".encode()).digest()[:16], "little")
        word, skip = divmod(first, 8)
        words: np.ndarray = np.random.PCG64(seed).advance(word).random_raw((skip + count + 7) // 8)
        return np.ascontiguousarray(words, dtype="<u8").view(np.uint8)[skip : skip + count]

    def _updates(self, written: int, field: np.ndarray) -> np.ndarray:
        """u4 field number, then the field's new bytes; fields differ by a byte where ten do not divide the record."""
        width = int(self._widths.max())
        rows = np.empty((len(field), 4 + width), dtype=np.uint8)
        rows[:, :4] = field.astype("<u4").view(np.uint8).reshape(-1, 4)
        rows[:, 4:] = self._random_bytes(written * width, len(field) * width).reshape(-1, width)
        if width == self._widths.min():
            return rows.reshape(-1)
        values: np.ndarray = rows[np.arange(4 + width) < 4 + self._widths[field][:, None]]
        return values

    def _blocks(self) -> Iterator[_Block]:
        """Blocks of operations without end."""
        bounds = np.cumsum(self._mix.shares)[:-1]
        kinds, keys, fields, scans = (
            stream_key(f"{self._workload}/{purpose}", self._seed) for purpose in ("kind", "key", "field", "scan")
        )
        latest = Latest(self._first_key - 1) if self._mix.latest else None
        ordered = KeysInOrder(self._first_key) if self._mix.shares[SCAN] else None
        newest_before = self._first_key - 1
        start = 0
        while True:
            index = np.arange(start, start + _BLOCK, dtype=np.uint64)
            start += _BLOCK
            kind = np.searchsorted(bounds, uniform(kinds, index), side="right")
            insert = kind == INSERT
            newest = newest_before + np.cumsum(insert)  # at an insert: the key it makes
            newest_before = int(newest[-1])
            key = newest.copy()
            asks = np.flatnonzero(~insert)
            if latest is not None:
                key[asks] = latest.draw(uniform(keys, index[asks]), newest[asks])
            else:
                attempt = keys
                while len(asks):
                    key[asks] = scrambled(uniform(attempt, index[asks]), self._item_count)
                    asks = asks[key[asks] > newest[asks]]
                    attempt = stream_key("again", attempt)
            field = (uniform(fields, index) * FIELDS).astype(np.int64)
            width = np.ones(_BLOCK, dtype=np.int64)  # keys an operation names
            width[kind == MODIFY] = 2
            named = np.repeat(key, width)
            if ordered is not None:
                scan = kind == SCAN
                length = 1 + (uniform(scans, index[scan]) * SCAN_LENGTH_MAX).astype(np.int64)
                scanned, width[scan] = ordered.scan(key[scan], length, newest[scan], newest[insert])
                named = np.repeat(key, width)
                named[np.repeat(scan, width)] = scanned
            yield self._block(kind, width, named, field)

    def _block(self, kind: np.ndarray, width: np.ndarray, named: np.ndarray, field: np.ndarray) -> _Block:
        """Tell transactions from reads among the keys that the operations name."""
        kinds = np.repeat(kind, width)
        last = np.zeros(len(named), dtype=bool)
        last[np.cumsum(width) - 1] = True
        operation = np.full(len(named), Operation.USE, dtype=np.uint8)
        operation[kinds == INSERT] = Operation.CREATE
        operation[(kinds == UPDATE) | ((kinds == MODIFY) & last)] = Operation.UPDATE
        recorded = np.full(len(named), True) if self._record_reads else operation != Operation.USE
        before = np.cumsum(recorded) - recorded
        return _Block(
            operation[recorded], named[recorded], np.repeat(field, width)[recorded], named[~recorded], before[~recorded]
        )


def entity_names(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entity names of key numbers: bytes (u1) and offsets (i8, n + 1)."""
    value = fnvhash64(numbers).astype(np.uint64)
    rows = np.empty((len(value), len(_PREFIX) + _DIGITS_MAX), dtype=np.uint8)
    rows[:, : len(_PREFIX)] = np.frombuffer(_PREFIX, dtype=np.uint8)
    digits = np.zeros(len(value), dtype=np.int64)
    for place in range(1, _DIGITS_MAX + 1):  # from the right
        rest = value // np.uint64(10)
        rows[:, -place] = value - rest * np.uint64(10) + np.uint64(ord("0"))
        digits += (value > 0) | (place == 1)
        value = rest
    column = np.arange(rows.shape[1])
    kept = (column < len(_PREFIX)) | (column >= rows.shape[1] - digits[:, None])
    return rows[kept], _offsets_of(len(_PREFIX) + digits)


def _offsets_of(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
