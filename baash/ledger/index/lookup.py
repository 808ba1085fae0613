"""Finding things in a ledger: by id, entity, issuer, operation, reference, time, name; a few reads for each, in a ledger of any size.

What index files cover is looked up in them, page by page; the rounds behind them are read once and kept in memory, in the same
tables, and ``refresh`` adds what a writer has committed since. Numbers are those of transactions in the ledger, from 0.

What is guaranteed: a transaction that comes back by its id has this id, recomputed from its record; what comes back by entity, issuer,
name or reference agrees in the first 16 bytes of the hash, which is how the ledger itself tells entities and ids apart. A
page or a record that is not as it was written is an error, never "not found". An index that somebody made up, with seals that hold, can
hide transactions: who doubts them deletes them and has them made anew (``docs/python.md``).
"""

from __future__ import annotations

import hashlib

import numpy as np

from baash import kernels
from baash.ledger.index.collect import Collector
from baash.ledger.index.merge import in_memory_merged
from baash.ledger.index.records import Fetched, Records
from baash.ledger.index.tables import Run, key_of, keys_of
from baash.ledger.reader import Ledger
from baash.ledger.transactions import WRITES, Progress, Transaction
from baash.records import BLOCK_HEADER, Operation, entity_hash

GATHERED = 1 << 20  # transactions that are collected before they are sorted
GROWTH = 4  # a piece in memory is merged into the one before unless that one is so many times as large
FEW = 16  # records that are read one by one; more of them in bulk
_WRITE = np.isin(np.arange(256), WRITES)  # by operation
_NONE = np.zeros(0, dtype=np.uint64)


class Lookup:
    """Look-ups in ``ledger``; reads at once what no index file covers. Raises LedgerError, LedgerDamaged, StorageError."""

    def __init__(self, ledger: Ledger, progress: Progress | None = None) -> None:
        self._ledger = ledger
        self._tail: list[Run] = []
        self._rounds = 0  # looked at: by index files or here
        self._commit = b""  # hash of the last commit record among them
        self._opening = -1
        self.refresh(progress)

    @property
    def ledger(self) -> Ledger:
        """The ledger that is looked into."""
        return self._ledger

    @property
    def notes(self) -> list[str]:
        """Index files that were passed over, a sentence each."""
        return self._ledger.notes

    def refresh(self, progress: Progress | None = None) -> None:
        """Take in what the ledger has found by ``Ledger.refresh``."""
        ledger = self._ledger
        if self._opening != ledger.openings:
            self._opening = ledger.openings
            if not self._still_there():
                self._tail, self._rounds = [], ledger.chain.rounds
        self._read_on(progress)
        self._rounds = len(ledger.rounds)
        self._commit = self._tail[-1].extent["commit"].tobytes() if self._tail else b""
        self._runs = [*ledger.chain.runs, *self._tail]
        self._largest = sorted(self._runs, key=lambda run: run.first - run.after)
        self._by_id = [(run.tables["ids"].find, run) for run in self._largest]
        self._records = Records(ledger, self._runs)

    def _still_there(self) -> bool:
        """Whether what is in memory still follows the index files, in a history that may have changed."""
        if not self._tail or self._tail[0].first_round != self._ledger.chain.rounds:
            return False
        return len(self._ledger.rounds) >= self._rounds and self._ledger.rounds[self._rounds - 1].hash == self._commit

    def _read_on(self, progress: Progress | None) -> None:
        done, total = 0, len(self._ledger.rounds)
        every = self._ledger.transaction_total - (
            self._tail[-1].after if self._tail else self._ledger.chain.transactions
        )
        at = self._rounds
        while at < total:
            taken = Collector(self._ledger, at)
            while at < total and taken.transactions < GATHERED:
                taken.add(self._ledger.rounds[at])
                at += 1
                if progress is not None:
                    progress(done + taken.transactions, every)
            done += taken.transactions
            self._tail.append(taken.run())
            while len(self._tail) > 1 and _size(self._tail[-2]) < GROWTH * _size(self._tail[-1]):
                self._tail[-2:] = [in_memory_merged(self._tail[-2:])]

    # --- by id

    def find(self, id_: bytes) -> Transaction | None:
        """The committed transaction with this id (32 bytes)."""
        key = int.from_bytes(id_[:8], "big")
        for find, run in self._by_id:
            _, count, relative, place = find(key, key)
            if not count:
                continue
            candidates = [(relative + run.first, place)] if count == 1 else run.candidates(key, key)
            for number, place in candidates:
                raw = self._records.at(number, place)
                found = hashlib.sha256(raw).digest()
                if found == id_:
                    return Transaction(raw, number, locate=self._records.locate)
                if found[:8] != id_[:8]:
                    raise self._records.changed(number)
        return None

    def by_id(self, prefix: str) -> list[int]:
        """Numbers, ascending, of the transactions whose id begins with these hex digits (8 to 64)."""
        low, high = _range(prefix)
        found = sorted(candidate for run in self._runs for candidate in run.candidates(low, high))
        if len(prefix) <= 16:
            return [number for number, _ in found]
        begins = prefix.lower()
        return [n for n, place in found if hashlib.sha256(self._records.at(n, place)).hexdigest().startswith(begins)]

    def transactions(self, ids: np.ndarray) -> Fetched:
        """The transactions with these ids, (n, 32) u1, and their records; each id is recomputed."""
        ids = np.ascontiguousarray(ids)
        keys = keys_of(ids)[:, 0]
        numbers = np.full(len(ids), -1, dtype=np.int64)
        places = np.zeros(len(ids), dtype=np.uint64)
        several = np.zeros(len(ids), dtype=bool)  # candidates: those are looked at one by one
        for run in self._largest:
            open_ = np.flatnonzero(numbers < 0)
            order = open_[np.argsort(keys[open_])]  # neighbours share pages
            _, counts, rows = run.tables["ids"].find_all(keys[order])
            hit = order[counts > 0]
            numbers[hit] = rows["number"][counts > 0].astype(np.int64) + run.first
            places[hit] = rows["place"][counts > 0]
            several[order] |= counts > 1
        fetched = self._records.gather(numbers, places)
        there = np.flatnonzero(numbers >= 0)
        hashes = kernels.sha256_spans(fetched.records, fetched.starts[there], fetched.sizes[there])
        wrong = there[(hashes != ids[there]).any(axis=1)]
        if not len(wrong) and not several.any():
            return fetched
        for i in np.union1d(wrong, np.flatnonzero(several)).tolist():
            found = self.find(ids[i].tobytes())
            numbers[i] = found.number if found else -1
        return self.fetch(numbers)

    def fetch(self, numbers: np.ndarray) -> Fetched:
        """The records of transactions by their numbers (integers, any order; -1: none)."""
        return self._records.fetch(numbers)

    def read(self, numbers: np.ndarray) -> list[Transaction]:
        """Transactions by their numbers, in that order."""
        return self._records.made(self._records.fetch(numbers))

    def transaction(self, number: int) -> Transaction:
        """The ``number``-th transaction."""
        return self._records.transaction(number)

    @property
    def transaction_total(self) -> int:
        """Transactions that are looked at: those of the ledger at the last ``refresh``."""
        return self._records.total

    # --- by what they are about

    def about(self, entity: bytes, *, newest: int = 0, before: int | None = None) -> tuple[int, np.ndarray]:
        """(how many transactions about an entity (its hash, 32 bytes) have a number below ``before``, the numbers (u8, ascending)
        of all of them or of the ``newest`` last)."""
        key, total, left = key_of(entity, 2), 0, newest
        parts: list[np.ndarray] = []
        for run in reversed(self._runs):
            if before is not None and run.first >= before:
                continue
            count, rows = run.about(key, left or (1 if newest else 0), before)
            total += count
            if count and (left or not newest):
                parts.append(rows["number"] + np.uint64(run.first))
                left -= len(rows) if newest else 0
        return total, parts[0] if len(parts) == 1 else np.concatenate([_NONE, *reversed(parts)])

    def history(self, entity: bytes, *, newest: int = 0, before: int | None = None) -> tuple[int, list[Transaction]]:
        """The same with the transactions, ascending; it is cheaper than to read them by their numbers."""
        key, total, left = key_of(entity, 2), 0, newest
        numbers: list[int] = []
        places: list[int] = []
        for run in reversed(self._runs):
            if before is not None and run.first >= before:
                continue
            count, some, there = run.spots(key, left or (1 if newest else 0), before)
            total += count
            if count and (left or not newest):
                numbers, places = some + numbers, there + places
                left -= len(some) if newest else 0
        if len(numbers) > FEW:
            found = self._records.proved(self._records.gather(np.array(numbers), np.array(places, dtype=np.uint64)))
            made = self._records.made(found)
        else:
            made = list(map(self._records.transaction, numbers, places))
        for one in made:
            self._check_entity(one, entity)
        return total, made

    def _check_entity(self, one: Transaction, entity: bytes) -> None:
        if entity_hash(one.entity)[:16] != entity[:16]:
            raise self._records.changed(one.number)

    def writes(self, entity: bytes) -> np.ndarray:
        """u8, ascending: the numbers of an entity's CREATEs, UPDATEs and RETIREs; so many are its version."""
        parts = [_NONE]
        for run in self._runs:
            _, rows = run.about(key_of(entity, 2), 0, None)
            chosen = rows["number"][_WRITE[rows["operation"]]]
            parts.append(chosen.astype(np.uint64) + np.uint64(run.first))
        return np.concatenate(parts)

    def last_write(self, entity: bytes, before: int) -> Transaction | None:
        """The newest CREATE, UPDATE or RETIRE of an entity with a number below ``before``."""
        for run in reversed(self._runs):
            many = 16
            while run.first < before:
                count, rows = run.about(key_of(entity, 2), many, before)
                written = np.flatnonzero(_WRITE[rows["operation"]])
                if len(written):
                    row = rows[int(written[-1])]
                    found = self._records.transaction(run.first + int(row["number"]), int(row["place"]))
                    self._check_entity(found, entity)
                    return found
                if count <= many:
                    break
                many *= 16
        return None

    def issued_by(self, issuer: bytes, *, newest: int = 0) -> tuple[int, np.ndarray]:
        """(how many an issuer (16 bytes) sent, their numbers (u8, ascending): of all or of the ``newest`` last)."""
        return self._numbers("issuers", key_of(issuer, 2), newest)

    def of_operation(self, operation: Operation, *, newest: int = 0) -> tuple[int, np.ndarray]:
        """(how many have an operation, their numbers (u8, ascending): of all or of the ``newest`` last)."""
        return self._numbers("operations", (int(operation),), newest)

    def referring_to(self, id_: bytes) -> np.ndarray:
        """u8, ascending: the numbers of the transactions that refer to an id, whether it is in the ledger or not."""
        return self._numbers("references", key_of(id_, 2), 0)[1]

    def named(self, last_component: bytes) -> np.ndarray:
        """u8, ascending: the numbers of the CREATEs of entities whose name is this, or ends in it behind a ``/``."""
        if b"/" in last_component:
            raise ValueError("a last component has no / in it")
        tails = self._numbers("names", key_of(hashlib.sha256(last_component).digest()), 0)[1]
        fits = [one.number for one in self.read(tails) if one.entity.endswith(b"/" + last_component)]
        return np.union1d(np.array(fits, dtype=np.uint64), self._creates(entity_hash(last_component)))

    def below(self, folder: bytes) -> np.ndarray:
        """u8, ascending: the numbers of the CREATEs of entities whose name begins with ``folder`` and a ``/``; names that do not
        begin with ``/`` are not looked at. ``folder`` empty: all that do."""
        head = folder + b"/"
        if folder:
            numbers = self._numbers("folders", key_of(entity_hash(folder)), 0)[1]
        else:
            numbers = self.of_operation(Operation.CREATE)[1]
        fits = [one.number for one in self.read(numbers) if one.entity.startswith(head)]
        return np.array(fits, dtype=np.uint64)

    # --- blocks

    def blocks_between(self, first_ns: int, after_ns: int) -> np.ndarray:
        """u8, ascending: the heights of the blocks with a time in [first, after)."""
        if after_ns <= first_ns:
            return _NONE
        low, high = max(first_ns, 0), min(after_ns - 1, (1 << 64) - 1)
        return np.sort(np.concatenate([_NONE, *(run.between("times", low, high) for run in self._runs)]))

    def heights(self, numbers: np.ndarray) -> np.ndarray:
        """u8: the heights of the blocks that hold these transactions (u8, ascending)."""
        parts = [_NONE]
        for run in self._runs:
            mine = numbers[(numbers >= np.uint64(run.first)) & (numbers < np.uint64(run.after))]
            if len(mine):
                parts.append(run.heights(mine).astype(np.uint64))
        return np.concatenate(parts)

    def blocks_with_hash(self, prefix: str) -> list[int]:
        """Heights, ascending, of the blocks whose hash begins with these hex digits (8 to 64)."""
        low, high = _range(prefix)
        heights = sorted(int(h) for run in self._runs for h in run.between("hashes", low, high))
        if len(prefix) <= 16:
            return heights
        hashes = [self._ledger.headers(h, h + 1)[0].tobytes()[: BLOCK_HEADER.itemsize] for h in heights]
        begins = prefix.lower()
        return [h for h, raw in zip(heights, hashes, strict=True) if hashlib.sha256(raw).hexdigest().startswith(begins)]

    def numbers_in(self, first: int, after: int) -> tuple[int, int]:
        """[first, after) of the numbers of the transactions in the blocks [``first``, ``after``), which must exist."""
        return self._first_number(first), self._first_number(after)

    def _first_number(self, height: int) -> int:
        for run in self._runs:
            if run.first_block <= height < run.after_block:
                return run.first_of_block(height)
        return self.transaction_total

    def subtree_root(self, k: int) -> bytes | None:
        """The root over the hashes of the blocks [256 k, 256 k + 256); None: there are not so many."""
        found = (run.root(k) for run in self._runs)
        return next((root for root in found if root is not None), None)

    # --- the way there

    def _numbers(self, table: str, key: tuple[int, ...], newest: int) -> tuple[int, np.ndarray]:
        total, parts, left = 0, [], newest
        for run in reversed(self._runs):
            count, numbers = run.numbers(table, key, newest=left or (1 if newest else 0))
            total += count
            if not newest or left:
                parts.append(numbers)
                left -= len(numbers) if newest else 0
        return total, np.concatenate([_NONE, *reversed(parts)])

    def _creates(self, entity: bytes) -> np.ndarray:
        parts = [_NONE]
        for run in self._runs:
            _, rows = run.about(key_of(entity, 2), 0, None)
            chosen = rows["number"][rows["operation"] == Operation.CREATE]
            parts.append(chosen.astype(np.uint64) + np.uint64(run.first))
        return np.concatenate(parts)


def _range(prefix: str) -> tuple[int, int]:
    head = prefix[:16]
    return int(head.ljust(16, "0"), 16), int(head.ljust(16, "f"), 16)


def _size(run: Run) -> int:
    return run.after - run.first
