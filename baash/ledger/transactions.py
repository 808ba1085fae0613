"""The transactions of a ledger: going through them in bulk by kernels.

To find them by id, entity or anything else: ``index/lookup.py``.
Whatever ``scan_rounds`` and ``scan_blocks`` give has been held against the commit record that covers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged, LedgerError
from baash.ledger import blocks
from baash.ledger.index.tables import Run
from baash.ledger.reader import Block, Ledger
from baash.ledger.round import Round
from baash.records import BLOCK_HEADER, TRANSACTION, Flag, Operation, Reason

Progress = Callable[[int, int], None]  # transactions done, in all

WRITES = (Operation.CREATE, Operation.UPDATE, Operation.RETIRE)
Where = tuple[int, int, int]  # height, index in the block, time_ns of its window


class Transaction:
    """One committed transaction. ``raw`` is its record, ``number`` counts from 0 in the ledger.

    ``height``, ``index`` (in its block) and ``time_ns`` (of the block's window) are looked up by ``locate`` when first asked for, unless
    given: who wants to know them after the ledger is closed asks for ``where`` before.
    """

    def __init__(
        self,
        raw: bytes,
        number: int,
        height: int = 0,
        index: int = 0,
        time_ns: int = 0,
        *,
        locate: Callable[[int], Where] | None = None,
    ) -> None:
        self.raw, self.number = raw, number
        self._locate = locate
        if locate is None:
            self.where = (height, index, time_ns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transaction) and (self.raw, self.number) == (other.raw, other.number)

    def __hash__(self) -> int:
        return hash((self.raw, self.number))

    def __repr__(self) -> str:
        return f"Transaction({self.operation.name} {self.entity!r}, number {self.number}, id {self.id.hex()})"

    @cached_property
    def where(self) -> Where:
        """(height, index, time_ns). LedgerError if the ledger is closed by now."""
        assert self._locate is not None
        return self._locate(self.number)

    @property
    def height(self) -> int:
        return self.where[0]

    @property
    def index(self) -> int:
        return self.where[1]

    @property
    def time_ns(self) -> int:
        return self.where[2]

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
        return self.raw[TRANSACTION.itemsize : TRANSACTION.itemsize + int.from_bytes(self.raw[6:8], "little")]

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


def scan_blocks(ledger: Ledger, first: int = 0, last: int | None = None) -> Iterator[Scanned]:
    """The transactions of the blocks [first, last), a round at most at a time. LedgerDamaged where the bytes are not records."""
    stop = ledger.block_total if last is None else min(last, ledger.block_total)
    first = max(first, 0)
    while first < stop:
        round = ledger.round_of(first)
        scanned = _scan(ledger, round, round.headers(), first - round.first_block, stop - first)
        yield scanned
        first += len(scanned.rows)


def blocks_of(ledger: Ledger, scanned: Scanned) -> Iterator[Block]:
    """The blocks of a piece, in order; their records are views of its."""
    ends = np.cumsum(scanned.rows["bytes"], dtype=np.uint64).tolist()
    for i, row in enumerate(scanned.rows):
        yield Block(scanned.height + i, row, scanned.records[ends[i] - int(row["bytes"]) : ends[i]], ledger)


def locate(ledger: Ledger, run: Run, number: int) -> Where:
    """Where a transaction of ``run`` lies. LedgerDamaged if that block's header is not the one that the tables know."""
    if ledger.closed:
        raise LedgerError(f"{ledger.path} is closed: ask where transaction {number} lies before")
    height = run.height(number)
    row = _known_header(ledger, run, height)[0]
    return height, number - run.first_of_block(height), int(row["time_ns"])


def _known_header(ledger: Ledger, run: Run, height: int) -> np.ndarray:
    """BLOCK_ROW (1): the header of a block, held against the hash that the tables of ``run`` have of it."""
    rows = ledger.headers(height, height + 1)
    row = rows[0]
    key = int.from_bytes(hashlib.sha256(row.tobytes()[: BLOCK_HEADER.itemsize]).digest()[:8], "big")
    if height not in run.between("hashes", key, key).tolist():
        raise LedgerDamaged(
            f"{ledger.path}: the header of block {height} is not what was committed; baash verify lists all damage"
        )
    return rows


def transactions_of_block(ledger: Ledger, height: int) -> Scanned:
    """The transactions of one block: a few reads where index files know it, else with the headers of its round."""
    run = next((run for run in ledger.chain.runs if run.first_block <= height < run.after_block), None)
    if run is None:
        round = ledger.round_of(height)
        return _scan(ledger, round, round.headers(), height - round.first_block, 1)
    rows = _known_header(ledger, run, height)
    file = ledger.place(height)[0]
    records = file.blocks(rows)
    info, bounds = _cut(ledger, file.name, height, rows, records)
    wrong = blocks.check_records(rows, records, info, bounds)
    if wrong:
        raise LedgerDamaged(f"{ledger.path}, {file.name}: {wrong}; baash verify lists all damage")
    return Scanned(height, run.first_of_block(height), rows, records, info, bounds)


def _cut(
    ledger: Ledger, segment: str, height: int, rows: np.ndarray, records: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(info, bounds) of the records of the blocks ``rows``, the first of which is at ``height``."""
    info, reason, _ = kernels.scan(records)
    bounds = np.concatenate((np.zeros(1, np.uint64), np.cumsum(rows["count"], dtype=np.uint64)))
    if reason or len(info) != int(bounds[-1]):
        what = f"{ledger.path}, {segment}, blocks from {height} on: "
        raise LedgerDamaged(f"{what}the records are not whole ({Reason(reason).name}); baash verify lists all damage")
    return info, bounds


def _scan(ledger: Ledger, round: Round, headers: np.ndarray, at: int, count: int | None = None) -> Scanned:
    """``count`` blocks of a round (all from there on), from its ``at``-th on. LedgerDamaged unless they are as they were committed."""
    part = slice(at, None if count is None else at + count)
    rows, height = headers[part], round.first_block + at
    records = round.records(rows)
    info, bounds = _cut(ledger, round.file.name, height, rows, records)
    wrong = blocks.check(round, headers, part, records, info, bounds)
    if wrong:
        raise LedgerDamaged(f"{ledger.path}, {round.file.name}: {wrong}; baash verify lists all damage")
    first = int(rows["first_transaction"][0]) if len(rows) else round.first_transaction
    return Scanned(height, first, rows, records, info, bounds)
