"""Transactions as Apache Arrow tables: columns over whole ranges of blocks, no Python object a transaction.

Needs pyarrow (``pip install 'baash[arrow]'``). Names and payloads lie scattered in the records; they are gathered by one kernel
call a column and become Arrow buffers as they are. What the columns mean is said in ``docs/python.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baash import kernels
from baash.errors import LedgerError, UsageError
from baash.ledger.transactions import Scanned
from baash.records import ANY_VERSION, TRANSACTION, Flag, Operation

if TYPE_CHECKING:
    import pyarrow as pa

TIME_AT = 40  # of time_ns in a record
Column = Callable[[Any, Scanned], Any]


def library() -> Any:
    """pyarrow. UsageError if it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise UsageError("Arrow tables need pyarrow: pip install 'baash[arrow]'") from None
    return pyarrow


def chosen(columns: Sequence[str] | None) -> list[str]:
    """The names of the columns asked for, all if None. UsageError names one that does not exist."""
    for name in columns or ():
        if name not in COLUMNS:
            raise UsageError(f"there is no column {name!r}: {', '.join(COLUMNS)}")
    return list(DEFAULT) if columns is None else list(columns)


def schema(columns: Sequence[str]) -> pa.Schema:
    """Of the batches that ``batch`` makes."""
    made: pa.Schema = library().schema([(name, COLUMNS[name][0](library())) for name in columns])
    return made


def batch(scanned: Scanned, columns: Sequence[str]) -> pa.RecordBatch:
    """The transactions of some blocks, in order. LedgerError if a name is not UTF-8 and is asked for as text."""
    pa = library()
    arrays = [COLUMNS[name][1](pa, scanned) for name in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema(columns))


def _by_block(scanned: Scanned, values: np.ndarray) -> np.ndarray:
    """A value of each block, for each of its transactions."""
    return np.repeat(values, np.diff(scanned.bounds).astype(np.int64))


def _hashes(pa: Any, hashes: np.ndarray) -> Any:
    raw = np.ascontiguousarray(hashes)
    return pa.Array.from_buffers(pa.binary(raw.shape[1]), len(raw), [None, pa.py_buffer(raw)])


def _bytes(pa: Any, scanned: Scanned, starts: np.ndarray, sizes: np.ndarray, type_: Any) -> Any:
    sizes = sizes.astype(np.uint64)
    data = kernels.gather(scanned.records, starts.astype(np.uint64), sizes)
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:], dtype=np.int64)
    return pa.Array.from_buffers(type_, len(sizes), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _entities(pa: Any, scanned: Scanned) -> Any:
    starts = scanned.info["start"] + np.uint64(TRANSACTION.itemsize)
    names = _bytes(pa, scanned, starts, scanned.info["entity_bytes"], pa.large_binary())
    try:
        return names.cast(pa.large_string())
    except pa.ArrowInvalid:
        raise LedgerError(
            f"blocks from {scanned.height} on have entities whose names are not UTF-8: ask for the column entity_bytes instead"
        ) from None


def _references(pa: Any, scanned: Scanned) -> Any:
    counts = scanned.info["reference_count"].astype(np.uint64)
    named = scanned.info["entity_bytes"].astype(np.uint64) + np.uint64(7) & ~np.uint64(7)
    starts = scanned.info["start"] + np.uint64(TRANSACTION.itemsize) + named
    data = kernels.gather(scanned.records, starts, counts * np.uint64(32))
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:], dtype=np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), _hashes(pa, data.reshape(-1, 32)))


def _issued(pa: Any, scanned: Scanned) -> Any:
    starts = scanned.info["start"] + np.uint64(TIME_AT)
    times = kernels.gather(scanned.records, starts, np.full(len(starts), 8, dtype=np.uint64)).view("<i8")
    return pa.array(times, type=pa.int64(), mask=times == 0).cast(_time(pa))


def _expected(pa: Any, scanned: Scanned) -> Any:
    versions = scanned.info["expected_version"]
    return pa.array(versions, mask=versions == np.uint64(ANY_VERSION))


def _operations(pa: Any, scanned: Scanned) -> Any:
    names = pa.array([o.name for o in Operation])
    return pa.DictionaryArray.from_arrays(pa.array(scanned.info["operation"].astype(np.int8) - 1), names)


def _time(pa: Any) -> Any:
    return pa.timestamp("ns", "UTC")


def _numbers(scanned: Scanned) -> np.ndarray:
    return np.uint64(scanned.first) + np.arange(len(scanned.info), dtype=np.uint64)


def _heights(scanned: Scanned) -> np.ndarray:
    return np.uint64(scanned.height) + np.arange(len(scanned.rows), dtype=np.uint64)


COLUMNS: dict[str, tuple[Callable[[Any], Any], Column]] = {
    "number": (lambda pa: pa.uint64(), lambda pa, s: pa.array(_numbers(s))),
    "height": (lambda pa: pa.uint64(), lambda pa, s: pa.array(_by_block(s, _heights(s)))),
    "index": (
        lambda pa: pa.uint32(),
        lambda pa, s: pa.array(
            (np.arange(len(s.info), dtype=np.uint64) - _by_block(s, s.bounds[:-1].astype(np.uint64))).astype(np.uint32)
        ),
    ),
    "block_time": (_time, lambda pa, s: pa.array(_by_block(s, s.rows["time_ns"]).astype(np.int64)).cast(_time(pa))),
    "cluster": (lambda pa: pa.uint32(), lambda pa, s: pa.array(_by_block(s, s.rows["cluster"]))),
    "id": (lambda pa: pa.binary(32), lambda pa, s: _hashes(pa, kernels.transaction_ids(s.records, s.info))),
    "operation": (lambda pa: pa.dictionary(pa.int8(), pa.string()), _operations),
    "entity": (lambda pa: pa.large_string(), _entities),
    "entity_bytes": (
        lambda pa: pa.large_binary(),
        lambda pa, s: _bytes(
            pa, s, s.info["start"] + np.uint64(TRANSACTION.itemsize), s.info["entity_bytes"], pa.large_binary()
        ),
    ),
    "issuer": (lambda pa: pa.binary(16), lambda pa, s: _hashes(pa, s.info["issuer"])),
    "sequence": (lambda pa: pa.uint64(), lambda pa, s: pa.array(np.ascontiguousarray(s.info["sequence"]))),
    "issued": (_time, _issued),
    "expected_version": (lambda pa: pa.uint64(), _expected),
    "signed": (lambda pa: pa.bool_(), lambda pa, s: pa.array((s.info["flags"] & Flag.SIGNED) != 0)),
    "references": (lambda pa: pa.large_list(pa.binary(32)), _references),
    "payload_type": (lambda pa: pa.uint16(), lambda pa, s: pa.array(np.ascontiguousarray(s.info["payload_type"]))),
    "payload": (
        lambda pa: pa.large_binary(),
        lambda pa, s: _bytes(
            pa, s, s.info["start"] + s.info["payload_start"], s.info["payload_bytes"], pa.large_binary()
        ),
    ),
}

DEFAULT = tuple(name for name in COLUMNS if name != "entity_bytes")
