"""Finding transactions in a ledger by going through it: in bulk by kernels, a Python object only for what was found.

``scan_rounds`` streams rounds; ``Index`` is one pass that hashes everything and keeps 16 bytes a transaction and 16 a
write, sorted, so that ids and the writes of an entity are found without further passes. Both are what an index file will
replace; their callers will not notice. Whatever is given out has been held against the commit record that covers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger import blocks
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.records import TRANSACTION, Flag, Operation, Reason

Progress = Callable[[int, int], None]  # transactions done, in all

WRITES = (Operation.CREATE, Operation.UPDATE, Operation.RETIRE)


@dataclass(frozen=True)
class Transaction:
    """One committed transaction. ``raw`` is its record, ``number`` counts from 0 in the ledger."""

    raw: bytes
    number: int
    height: int
    index: int  # in its block
    time_ns: int  # of the block's window

    @cached_property
    def _head(self) -> np.void:
        head: np.void = np.frombuffer(self.raw, dtype=TRANSACTION, count=1)[0]
        return head

    @cached_property
    def id(self) -> bytes:
        return hashlib.sha256(self.raw).digest()

    @property
    def operation(self) -> Operation:
        return Operation(int(self._head["operation"]))

    @property
    def entity(self) -> bytes:
        return self.raw[TRANSACTION.itemsize : TRANSACTION.itemsize + int(self._head["entity_bytes"])]

    @property
    def issuer(self) -> bytes:
        return bytes(self._head["issuer"].tobytes())

    @property
    def sequence(self) -> int:
        return int(self._head["sequence"])

    @property
    def issued_ns(self) -> int:
        """When, as the issuer says; 0: not said."""
        return int(self._head["time_ns"])

    @property
    def expected_version(self) -> int:
        return int(self._head["expected_version"])

    @property
    def signed(self) -> bool:
        return bool(int(self._head["flags"]) & Flag.SIGNED)

    @property
    def references(self) -> list[bytes]:
        start = TRANSACTION.itemsize + -(-int(self._head["entity_bytes"]) // 8) * 8
        return [self.raw[start + 32 * i : start + 32 * i + 32] for i in range(int(self._head["reference_count"]))]

    @property
    def payload_type(self) -> int:
        return int(self._head["payload_type"])

    @property
    def payload(self) -> bytes:
        start = TRANSACTION.itemsize + -(-int(self._head["entity_bytes"]) // 8) * 8 + 32 * len(self.references)
        return self.raw[start : start + int(self._head["payload_bytes"])]

    @property
    def writes(self) -> bool:
        return self.operation in WRITES


@dataclass(frozen=True)
class Scanned:
    """Some blocks of a round, their records and what a scan found in them (TRANSACTION_INFO)."""

    height: int  # of the first
    first: int  # number of their first transaction
    rows: np.ndarray  # BLOCK_ROW
    records: np.ndarray
    info: np.ndarray
    bounds: np.ndarray  # u8 (blocks + 1): the first transaction of each block, counted from ``first``

    def transaction(self, i: int) -> Transaction:
        """The ``i``-th transaction."""
        start, size = int(self.info["start"][i]), int(self.info["total_bytes"][i])
        block = int(np.searchsorted(self.bounds, i, side="right")) - 1
        raw = self.records[start : start + size].tobytes()
        index = i - int(self.bounds[block])
        return Transaction(raw, self.first + i, self.height + block, index, int(self.rows["time_ns"][block]))


def scan_rounds(ledger: Ledger, progress: Progress | None = None) -> Iterator[Scanned]:
    """Every round's transactions. LedgerDamaged where the bytes are not records."""
    for round in ledger.rounds:
        scanned = _scan(ledger, round, round.headers(), 0)
        yield scanned
        if progress is not None:
            progress(scanned.first + len(scanned.info), ledger.transaction_total)


def transaction(ledger: Ledger, number: int) -> Transaction:
    """The ``number``-th transaction of the ledger; reads its block alone."""
    round = ledger.round_of_transaction(number)
    rows = round.headers()
    block = int(np.searchsorted(rows["first_transaction"], number, side="right")) - 1
    found = _scan(ledger, round, rows, max(0, block), 1)
    if not 0 <= number - found.first < len(found.info):
        raise LedgerDamaged(
            f"{ledger.path}: the header of block {found.height} is damaged; baash verify lists all damage"
        )
    return found.transaction(number - found.first)


def transactions_of_block(ledger: Ledger, height: int) -> Scanned:
    """The transactions of one block."""
    round = ledger.round_of(height)
    return _scan(ledger, round, round.headers(), height - round.first_block, 1)


def _scan(ledger: Ledger, round: Round, headers: np.ndarray, at: int, count: int | None = None) -> Scanned:
    """``count`` blocks of a round (all from there on), from its ``at``-th on. LedgerDamaged unless they are as they were committed."""
    part = slice(at, None if count is None else at + count)
    rows, height = headers[part], round.first_block + at
    records = round.records(rows)
    info, reason, _ = kernels.scan(records)
    bounds = np.concatenate((np.zeros(1, np.uint64), np.cumsum(rows["count"], dtype=np.uint64)))
    if reason or len(info) != int(bounds[-1]):
        what = f"{ledger.path}, {round.file.name}, blocks from {height} on: "
        raise LedgerDamaged(f"{what}the records are not whole ({Reason(reason).name}); baash verify lists all damage")
    wrong = blocks.check(round, headers, part, records, info, bounds)
    if wrong:
        raise LedgerDamaged(f"{ledger.path}, {round.file.name}: {wrong}; baash verify lists all damage")
    first = int(rows["first_transaction"][0]) if len(rows) else round.first_transaction
    return Scanned(height, first, rows, records, info, bounds)


class Index:
    """Where each id and each entity's writes are; built by one pass over the ledger."""

    def __init__(self, ledger: Ledger, progress: Progress | None = None) -> None:
        total = ledger.transaction_total
        self._ledger = ledger
        ids, entities = np.empty(total, dtype=np.uint64), np.empty(total, dtype=np.uint64)
        writes = np.zeros(total, dtype=bool)
        at = 0
        for scanned in scan_rounds(ledger, progress):
            part = slice(at, at + len(scanned.info))
            ids[part] = _leading(kernels.transaction_ids(scanned.records, scanned.info))
            entities[part] = _leading(kernels.entity_hashes(scanned.records, scanned.info))
            writes[part] = np.isin(scanned.info["operation"], WRITES)
            at += len(scanned.info)
        self._id_numbers = np.argsort(ids, kind="stable").astype(np.uint64)
        self._ids = ids[self._id_numbers.astype(np.int64)]
        written = np.flatnonzero(writes)
        order = np.argsort(entities[written], kind="stable")
        self._write_numbers = written[order].astype(np.uint64)
        self._writes = entities[written][order]

    def numbers(self, prefix: str) -> list[int]:
        """Numbers of the transactions whose id begins with ``prefix`` (hex)."""
        head = prefix[:16]
        low, high = int(head.ljust(16, "0"), 16), int(head.ljust(16, "f"), 16)
        first = int(np.searchsorted(self._ids, np.uint64(low), side="left"))
        after = int(np.searchsorted(self._ids, np.uint64(high), side="right"))
        found = sorted(int(n) for n in self._id_numbers[first:after])
        if len(prefix) <= 16:
            return found
        return [n for n in found if transaction(self._ledger, n).id.hex().startswith(prefix)]

    def find(self, id_: bytes) -> Transaction | None:
        """The committed transaction with this id."""
        numbers = self.numbers(id_.hex())
        return transaction(self._ledger, numbers[0]) if numbers else None

    def last_write(self, entity: bytes, before: int) -> Transaction | None:
        """The newest CREATE, UPDATE or RETIRE of an entity (its 32-byte hash) with a number below ``before``."""
        key = np.uint64(int.from_bytes(entity[:8], "big"))
        first, after = (int(np.searchsorted(self._writes, key, side=side)) for side in ("left", "right"))
        numbers = self._write_numbers[first:after]
        at = int(np.searchsorted(numbers, np.uint64(before), side="left"))
        return transaction(self._ledger, int(numbers[at - 1])) if at else None


def _leading(hashes: np.ndarray) -> np.ndarray:
    """The first 8 bytes of each hash as a number that sorts like the hash."""
    found: np.ndarray = np.ascontiguousarray(hashes[:, :8]).view(">u8")[:, 0].astype(np.uint64)
    return found
