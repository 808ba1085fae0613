"""``baash.open``: a ledger as Python programs read it. Everything found here is the matter of others (``reader.py``, ``query.py``,
``lineage.py``, ``arrow.py``, ``proofs``, ``audit``); this is their one face.

Read-only, and safe while a writer appends: what is seen is the ledger as it was when it was opened, until ``refresh`` is called.
Blocks and records are held against the hashes that cover them before they are given out; signatures, votes and rules are
the matter of ``verify``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from baash.errors import LedgerDamaged, LedgerError, UsageError
from baash.ledger import arrow, query
from baash.ledger.ahead import Ahead
from baash.ledger.lineage import DEPTH, DEPTH_MAX, Lineage, origins, results
from baash.ledger.query import EntityHistory, Wanted
from baash.ledger.reader import Block, Ledger
from baash.ledger.transactions import Progress, Scanned, Transaction, blocks_of, scan_blocks
from baash.records import BLOCK_HEADER, ZERO_HASH, Operation
from baash.text import readable

if TYPE_CHECKING:
    import pyarrow

    from baash.ledger.audit import Report
    from baash.ledger.index.lookup import Lookup

POLL_MIN_S, POLL_MAX_S = 0.05, 1.0
ENDS_KEPT = 4096  # pieces that were given while following

Time = int | datetime  # ns since 1970, or a datetime with a zone


class OpenedLedger(Sequence[Block]):
    """The blocks of a ledger, in order, and look-ups in it. Raises LedgerError, LedgerDamaged, StorageError, UsageError.

    Close it, or use it in a ``with``. Not for several threads at once.
    """

    def __init__(self, path: str | Path, progress: Progress | None = None) -> None:
        self._reader = Ledger(path)
        self._progress = progress
        self._ahead = Ahead(self._reader)

    def __enter__(self) -> OpenedLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ledger {self.path}: {len(self):,} blocks, {self.transaction_total:,} transactions>"

    def close(self) -> None:
        self._reader.close()

    @property
    def path(self) -> Path:
        return self._reader.path

    @property
    def id(self) -> bytes:
        """The ledger's id: the public half of its key."""
        return self._reader.id

    @property
    def head(self) -> bytes:
        """Hash of the newest block, zeros: there is none."""
        return self._reader.head

    @property
    def transaction_total(self) -> int:
        return self._reader.transaction_total

    @property
    def notes(self) -> list[str]:
        """What was passed over, if anything: index files that do not fit."""
        return self._reader.notes

    # --- blocks

    def __len__(self) -> int:
        """The number of blocks."""
        return self._reader.block_total

    @overload
    def __getitem__(self, height: int) -> Block: ...
    @overload
    def __getitem__(self, height: slice) -> list[Block]: ...
    def __getitem__(self, height: int | slice) -> Block | list[Block]:
        """The block at a height (from the end, if negative), or those of a slice."""
        if isinstance(height, slice):
            heights = range(len(self))[height]
            if heights.step == 1:
                return list(self._blocks(heights.start, heights.stop))
            return [self[h] for h in heights]
        if not -len(self) <= height < len(self):
            raise IndexError(f"{self.path} has {len(self)} blocks, and none at {height}")
        return self._ahead.block(height % len(self))

    def __iter__(self) -> Iterator[Block]:
        """All blocks, in order; a piece of the ledger at a time is in memory."""
        return self._blocks(0, len(self))

    def block(self, which: int | str) -> Block:
        """A block by its height, or by its hash: 8 or more hex digits."""
        if isinstance(which, str):
            return query.block(self.lookup, which, 1)[0]
        self._reader.check_height(which)
        return self._ahead.block(which)

    def _blocks(self, first: int, after: int) -> Iterator[Block]:
        for scanned in scan_blocks(self._reader, first, after):
            yield from blocks_of(self._reader, scanned)

    def transactions(self, first: int = 0, last: int | None = None) -> Iterator[Transaction]:
        """The transactions of the blocks [first, last), in order. For many, ``to_numpy`` and ``to_arrow`` are faster."""
        for scanned in scan_blocks(self._reader, first, last):
            for i in range(len(scanned.info)):
                yield scanned.transaction(i)

    def transactions_numbered(self, first: int, after: int) -> list[Transaction]:
        """The transactions [first, after) of the ledger."""
        return self.lookup.read(np.arange(max(0, first), min(after, self.transaction_total)))

    # --- look-ups

    def transaction(self, which: int | str | bytes) -> Transaction:
        """A transaction by its id (32 bytes, or 8 or more hex digits), or by its number in the ledger."""
        if isinstance(which, bytes):
            found = self.lookup.find(which)
            if found is None:
                raise LedgerError(f"no committed transaction of {self.path} has the id {which.hex()}")
            return query.told([found])[0]
        if isinstance(which, str):
            return query.by_id(self.lookup, which)
        if not 0 <= which < self.transaction_total:
            raise LedgerError(f"{self.path} has no transaction {which}: it has {self.transaction_total}")
        return query.told([self.lookup.transaction(which)])[0]

    def __contains__(self, id_: object) -> bool:
        """Whether a transaction with this id (32 bytes, or 64 hex digits) is committed; or a block is one of this ledger's."""
        if isinstance(id_, Block):
            return 0 <= id_.height < len(self) and self._reader.block(id_.height).hash == id_.hash
        if isinstance(id_, str) and len(id_) == 64:
            id_ = bytes.fromhex(query.hash_digits(id_, "a transaction id"))
        if not isinstance(id_, bytes) or len(id_) != 32:
            raise UsageError("a ledger is asked for an id: 32 bytes or 64 hex digits")
        return self.lookup.find(id_) is not None

    def history(self, entity: str | bytes, *, limit: int = 0, at: Time | None = None) -> EntityHistory:
        """What happened to an entity: all of it, the newest ``limit`` transactions, or as it stood before the time ``at``.

        A name that no transaction bears may be what follows a ``/`` at the end of one. LedgerError if it is not known.
        """
        return query.entity(self.lookup, entity, limit=limit, until_ns=None if at is None else time_ns(at))

    def newest(self, entity: str | bytes) -> Transaction | None:
        """The transaction that made the newest version of an entity; None if it was retired."""
        found = query.entity(self.lookup, entity, limit=1)
        return found.made_by if found.exists else None

    def version(self, entity: str | bytes, number: int) -> Transaction:
        """The transaction that made an entity's version ``number``; the first is 1."""
        return query.version(self.lookup, entity, number)

    def find(
        self,
        *,
        entity: str | bytes | None = None,
        issuer: str | bytes | None = None,
        operation: str | Operation | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int = 0,
    ) -> list[Transaction]:
        """The transactions for which all that is given holds, in order; the newest ``limit`` of them (0: all).

        ``issuer``: 16 bytes, or as ``baash query`` takes it. Times are those of blocks: at or after ``since``, before ``until``.
        """
        if isinstance(issuer, bytes) and len(issuer) != 16:
            raise UsageError(f"an issuer has 16 bytes, not {len(issuer)}")
        wanted = Wanted(
            None if entity is None else query.resolve(self.lookup, entity),
            query.issuer_id(issuer) if isinstance(issuer, str) else issuer,
            query.operation_named(operation) if isinstance(operation, str) else _operation(operation),
            None if since is None else time_ns(since),
            None if until is None else time_ns(until),
        )
        return query.find(self.lookup, wanted, limit=limit).transactions

    def lineage(
        self, entity: str | bytes, *, up: bool = True, depth: int = DEPTH, version: int | None = None
    ) -> Lineage:
        """What an entity's newest version (or ``version``) was made from; with ``up=False``, what was made from it."""
        if not 1 <= depth <= DEPTH_MAX:
            raise UsageError(f"{depth} is not a number of steps: 1 to {DEPTH_MAX} can be followed")
        if version is not None:
            write: Transaction | None = query.version(self.lookup, entity, version)
        else:
            write = query.entity(self.lookup, entity, limit=1).made_by
        if write is None:
            raise LedgerError(f"{self.path} never created {readable(entity)}, so nothing led to it or came of it")
        return origins(self.lookup, write, depth=depth) if up else results(self.lookup, write, depth=depth)

    # --- in bulk

    def to_numpy(self, first: int = 0, last: int | None = None) -> Iterator[Scanned]:
        """The blocks [first, last) in pieces: ``rows`` (BLOCK_ROW), ``records`` (u1: all records, one behind the other), ``info``
        (TRANSACTION_INFO: where each begins and what its header says). Nothing is copied for each record."""
        return scan_blocks(self._reader, first, last)

    def to_batches(
        self, first: int = 0, last: int | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pyarrow.RecordBatch]:
        """The transactions of the blocks [first, last) as Arrow record batches, a piece of the ledger at a time."""
        names = arrow.chosen(columns)
        return (arrow.batch(some, names) for some in scan_blocks(self._reader, first, last) if len(some.info))

    def to_arrow(self, first: int = 0, last: int | None = None, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """The same as one table. Columns: ``baash.ledger.arrow.COLUMNS``."""
        names = arrow.chosen(columns)
        return arrow.library().Table.from_batches(self.to_batches(first, last, names), schema=arrow.schema(names))

    # --- beside a writer

    def refresh(self) -> int:
        """Take in what was committed since; how many blocks more there are (fewer, if a new view cut some off)."""
        before = len(self)
        self._reader.refresh()
        if "lookup" in self.__dict__:
            self.lookup.refresh()
        return len(self) - before

    def follow(self, first: int | None = None) -> Iterator[Block]:
        """Blocks from height ``first`` on (None: those that come from now on), each as soon as it is committed; never ends.

        Where a new view cut off what was given already (nothing of that was acknowledged), the blocks that took its place are given:
        heights begin again behind the last common block. LedgerDamaged if that is too far back to be known.
        """
        for scanned in self._coming(first):
            yield from blocks_of(self._reader, scanned)

    def follow_transactions(self) -> Iterator[Transaction]:
        """The transactions of the blocks that are committed from now on; never ends."""
        for scanned in self._coming(None):
            yield from map(scanned.transaction, range(len(scanned.info)))

    def _coming(self, first: int | None) -> Iterator[Scanned]:
        height = len(self) if first is None else first
        given = deque([self._end_of(height)], maxlen=ENDS_KEPT)
        pause, openings = POLL_MIN_S, self._reader.openings
        while True:
            for scanned in scan_blocks(self._reader, height):
                height, pause = scanned.height + len(scanned.rows), POLL_MIN_S
                given.append((height, sha256(scanned.rows[-1].tobytes()[: BLOCK_HEADER.itemsize]).digest()))
                yield scanned
            grew = self.refresh() > 0
            if openings != self._reader.openings:
                height, openings = self._common(given), self._reader.openings
            elif not grew:
                time.sleep(pause)  # a shared file system tells nobody of what other hosts write
                pause = min(2 * pause, POLL_MAX_S)

    def _end_of(self, height: int) -> tuple[int, bytes]:
        """(height, hash of the block before it)."""
        return height, self[height - 1].hash if 0 < height <= len(self) else ZERO_HASH

    def _common(self, given: deque[tuple[int, bytes]]) -> int:
        """The last of the heights up to which what was given is still there; the others are forgotten."""
        while given:
            height, before = given[-1]
            if height <= len(self) and self._end_of(height)[1] == before:
                return height
            given.pop()
        raise LedgerDamaged(f"{self.path} has another history than it had: open it again, and run baash verify")

    # --- trust

    def prove(self, which: int | str | bytes) -> bytes:
        """A file that proves a transaction to anybody, without the ledger (``docs/proofs.md``). Raises LedgerError."""
        from baash.ledger.proofs.making import prove

        return prove(self._reader, self.transaction(which), roots=self.lookup.subtree_root)

    def checkpoint(self) -> bytes | None:
        """The signed checkpoint in the ledger's folder: its head, to be kept elsewhere. None: there is none."""
        from baash.ledger.proofs import checkpoint

        return checkpoint.read(self._reader.folder)

    def verify(self) -> Report:
        """The audit of all of it, as ``baash verify``."""
        from baash.ledger.audit import audit

        return audit(self.path)

    @cached_property
    def lookup(self) -> Lookup:
        """Where things are; made when first needed."""
        from baash.ledger.index.lookup import Lookup

        return Lookup(self._reader, self._progress)


def _operation(number: Operation | None) -> Operation | None:
    try:
        return None if number is None else Operation(number)
    except ValueError:
        raise UsageError(f"{number} is not an operation: {', '.join(o.name for o in Operation)}") from None


def time_ns(when: Time) -> int:
    """Nanoseconds since 1970. UsageError for a datetime without a zone, or a time before 1970."""
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise UsageError(f"{when} has no zone: give one, for example .replace(tzinfo=timezone.utc)")
        ns = int(when.timestamp()) * 1_000_000_000 + when.microsecond * 1000
    else:
        ns = when
    if not 0 <= ns < 1 << 64:
        raise UsageError(f"{when} is not a time from 1970 on")
    return ns
