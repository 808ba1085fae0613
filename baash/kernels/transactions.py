"""Records in bulk: their form, their bytes, their hashes (``docs/ledger-format.md`` section 3). Used through ``baash.kernels``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import (
    I8,
    TRANSACTION_INFO,
    U1,
    Bytes,
    Integers,
    as_bytes,
    as_column,
    as_info_rows,
    as_offsets,
    as_rows,
    as_u8,
    room_for_hashes,
)
from baash.kernels.dispatch import number

RECORD_BYTES_MIN = 72  # a header and an entity of one byte
_TYPICAL_BYTES = 512  # of a record: the first guess at how many a buffer holds

# Why columns cannot become a record, by number of records.Reason.
_REFUSED = {
    4: "unknown operation",
    6: "offsets do not ascend or lead outside",
    8: "entity name empty, longer than 4,096 bytes, or outside its buffer",
    9: "CREATE, USE and NOTE must carry the version 'any'",
    10: "the top bit of the issuer says that it is a key, and a key must sign",
    12: "payload of more than 16,777,216 bytes, or more than 4,096 references",
}


def scan(records: Bytes, limit: int | None = None) -> tuple[npt.NDArray[Any], int, int]:
    """Check the form of records that lie one behind the other: (info, reason, at).

    info: TRANSACTION_INFO (n) of the good ones before the first bad one; reason: 0, or ``records.Reason`` of the record at index
    ``at`` (= n). ``limit``: look at so many at most. What is checked in which order: ``csrc/transaction/scan.c``; not checked are an
    issuer's key against its id and the signature. Any bytes are legal input.
    """
    buffer = as_bytes(records)
    info, count, reason = _go_through(buffer, limit, (), _core.transaction_scan)
    return info[0], reason, count


class Room:
    """Memory for what ``read`` finds, to be used again: fresh memory costs as much as hashing. Grows as need be."""

    def __init__(self) -> None:
        self.columns: list[U1] = []


def read(
    records: Bytes, kernel: str | None = None, room: Room | None = None
) -> tuple[npt.NDArray[Any], U1, U1, int, int]:
    """``scan``, ``transaction_ids`` and ``entity_hashes`` in one pass over the bytes: (info, ids, entities, reason, at).

    With ``room`` the three are views of it, good until it is used again.
    """
    buffer, which = as_bytes(records), number(kernel)
    (info, ids, entities), count, reason = _go_through(
        buffer, None, (32, 32), lambda *arguments: _core.transaction_read(*arguments, which), room
    )
    return info, ids, entities, reason, count


def _go_through(
    buffer: U1,
    limit: int | None,
    widths: tuple[int, ...],
    step: Callable[..., tuple[int, int, int, bool]],
    room: Room | None = None,
) -> tuple[list[npt.NDArray[Any]], int, int]:
    """Call ``step`` until all is gone through, in ever larger columns: info, and hashes of ``widths``."""
    most = len(buffer) // RECORD_BYTES_MIN + 1
    most = most if limit is None else min(most, max(limit, 0))
    rows = min(most, len(buffer) // _TYPICAL_BYTES + 16)
    if room is not None and room.columns:
        columns = room.columns
        rows = len(columns[0])
    else:
        columns = [np.empty((rows, width), dtype=np.uint8) for width in (TRANSACTION_INFO.itemsize, *widths)]
    count, position, reason, full = 0, 0, 0, True
    while full:
        count, position, reason, full = step(*columns, count, position, buffer)
        if not full or rows >= most:
            break
        rows = min(most, 2 * rows)
        larger = [np.empty((rows, column.shape[1]), dtype=np.uint8) for column in columns]
        for to, column in zip(larger, columns, strict=True):
            to[:count] = column[:count]
        columns = larger
    if room is not None:
        room.columns = columns
    filled = [column[:count] if 2 * count > rows or room is not None else column[:count].copy() for column in columns]
    return [filled[0].reshape(-1).view(TRANSACTION_INFO), *filled[1:]], count, reason


def encode(
    operations: Integers,
    sequences: Integers,
    times_ns: Integers,
    expected_versions: Integers,
    issuer: Bytes,
    entities: tuple[Bytes, Integers],
    payloads: tuple[Bytes, Integers],
    payload_types: Integers,
    references: tuple[npt.NDArray[Any], Integers] | None = None,
) -> tuple[U1, I8]:
    """Unsigned records: (bytes u1, offsets i8 (n + 1)).

    Columns of n, or one number for all: operations, sequences, times_ns, expected_versions, payload_types. ``issuer``: 16 bytes, top
    bit clear. ``entities``, ``payloads``: bytes and n + 1 offsets; ``references``: hashes (k, 32) and n + 1 offsets in hashes.
    ValueError names the first transaction that cannot be a record, and why.
    """
    entity_offsets, payload_offsets = as_offsets(entities[1]), as_offsets(payloads[1])
    count = len(entity_offsets) - 1
    table: npt.NDArray[Any] = np.zeros((0, 32), dtype=np.uint8)
    reference_offsets: Integers = np.zeros(count + 1, dtype=np.uint64)
    if references is not None:
        table, reference_offsets = references
    columns = _core.Columns(
        as_column(operations, np.uint8, count),
        as_column(sequences, np.uint64, count),
        as_column(times_ns, np.uint64, count),
        as_column(expected_versions, np.uint64, count),
        as_bytes(issuer),
        as_bytes(entities[0]),
        entity_offsets,
        as_bytes(payloads[0]),
        payload_offsets,
        as_column(payload_types, np.uint16, count),
        as_rows(table, 32),
        as_offsets(reference_offsets),
    )
    ends = np.empty(count + 1, dtype=np.uint64)
    reason, at = columns.sizes(ends)
    if reason:
        raise ValueError(f"transaction {at} cannot be encoded: {_REFUSED[reason]}")
    records = np.empty(int(ends[-1]), dtype=np.uint8)
    columns.encode(records, ends)
    return records, ends.view(np.int64)


def gather(source: Bytes, starts: Integers, lengths: Integers) -> U1:
    """The spans ``source[starts[i]:starts[i] + lengths[i]]``, copied one behind the other. ValueError: out of bounds."""
    buffer, begins, sizes = as_bytes(source), as_u8(starts), as_u8(lengths)
    if len(sizes) and int(sizes.max()) > len(buffer):
        raise ValueError(f"span {int(sizes.argmax())} lies outside its buffer")
    out = np.empty(int(sizes.sum()), dtype=np.uint8)
    _core.gather(out, buffer, begins, sizes)
    return out


def transaction_ids(records: Bytes, info: npt.NDArray[Any], kernel: str | None = None) -> U1:
    """(n, 32): SHA-256 of each record that ``info``, TRANSACTION_INFO (n), describes."""
    return _part_hashes(records, info, False, kernel)


def entity_hashes(records: Bytes, info: npt.NDArray[Any], kernel: str | None = None) -> U1:
    """(n, 32): SHA-256(00 02 ‖ name) of each record's entity."""
    return _part_hashes(records, info, True, kernel)


def _part_hashes(records: Bytes, info: npt.NDArray[Any], entities: bool, kernel: str | None) -> U1:
    out = room_for_hashes(len(info))
    _core.transaction_hashes(out, as_bytes(records), as_info_rows(info), entities, number(kernel))
    return out
