"""From the numbers of transactions, and places in segments, to records: one by one or in bulk.

Which segment holds a number is a search in a list; where in it the record begins, the tables say. A record that was asked for by its
number is hashed, and the tables must know that id by that number: bytes that have changed since are an error. ``at`` and
``gather`` alone give what lies there; who asked for an id compares it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger.index.tables import PLACE_UNIT, Run, key_of, keys_of
from baash.ledger.reader import Ledger
from baash.ledger.transactions import Transaction, Where, locate


@dataclass(frozen=True)
class Fetched:
    """Records in bulk: that of ``numbers[i]`` (i8; -1: there is none) is ``records[starts[i] : starts[i] + sizes[i]]``."""

    numbers: np.ndarray
    records: np.ndarray  # u1
    starts: np.ndarray  # u8
    sizes: np.ndarray  # u8; 0: none


class Records:
    """The records of ``runs``, which follow one another from the first transaction of ``ledger`` on."""

    def __init__(self, ledger: Ledger, runs: Sequence[Run]) -> None:
        self._ledger, self._runs = ledger, runs
        self._firsts = [run.first for run in runs]
        self.total = runs[-1].after if runs else 0
        known = len(ledger.chain.runs)
        rows = np.concatenate([ledger.chain.segments, *(run.tables["segments"].read() for run in runs[known:])])
        self._starts = rows["first_transaction"].tolist()
        self._segments = list(zip(rows["view"].tolist(), rows["segment"].tolist(), strict=True))

    def at(self, number: int, place: int) -> bytes:
        """The record of a transaction, which begins at ``place``."""
        return self._ledger.segment_file(*self._segment(number)).record(place * PLACE_UNIT)

    def transaction(self, number: int, place: int | None = None) -> Transaction:
        """A transaction; ``place``: where its record begins, if that is known."""
        if not 0 <= number < self.total:
            raise IndexError(f"transaction {number} of {self.total}")
        run = self._run(number)
        one = Transaction(self.at(number, run.place(number) if place is None else place), number, locate=self.locate)
        if not _knows(run, one.id, number):
            raise self.changed(number)
        return one

    def fetch(self, numbers: np.ndarray) -> Fetched:
        """Records by their numbers (integers, any order; -1: none)."""
        wanted = np.asarray(numbers).astype(np.int64)
        places = np.zeros(len(wanted), dtype=np.uint64)
        if len(wanted) and int(wanted.max()) >= self.total:
            raise IndexError(f"transaction {int(wanted.max())} of {self.total}")
        which = np.searchsorted(self._firsts, wanted, side="right") - 1
        for i in np.unique(which[wanted >= 0]).tolist():
            mine = np.flatnonzero(which == i)
            places[mine] = self._runs[i].places(wanted[mine].astype(np.uint64))
        return self.proved(self.gather(wanted, places))

    def proved(self, found: Fetched) -> Fetched:
        """The same. LedgerDamaged if a record is not the one that has its number."""
        there = np.flatnonzero(found.numbers >= 0)
        hashes = kernels.sha256_spans(found.records, found.starts[there], found.sizes[there])
        keys, numbers = keys_of(hashes)[:, 0], found.numbers[there]
        order = np.lexsort((keys, np.searchsorted(self._firsts, numbers, side="right")))  # neighbours share pages
        which = np.searchsorted(self._firsts, numbers[order], side="right") - 1
        for i in np.unique(which).tolist():
            run, mine = self._runs[i], order[which == i]
            _, counts, rows = run.tables["ids"].find_all(keys[mine])
            known = (counts == 1) & (rows["number"].astype(np.int64) + run.first == numbers[mine])
            for k in mine[~known].tolist():
                if not _knows(run, hashes[k].tobytes(), int(numbers[k])):
                    raise self.changed(int(numbers[k]))
        return found

    def gather(self, numbers: np.ndarray, places: np.ndarray) -> Fetched:
        """Records of ``numbers`` (i8; -1: none), which begin at ``places`` (u8)."""
        starts, sizes = np.zeros(len(numbers), dtype=np.uint64), np.zeros(len(numbers), dtype=np.uint64)
        there = np.flatnonzero(numbers >= 0)
        segments = np.searchsorted(self._starts, numbers, side="right") - 1
        there = there[np.lexsort((places[there], segments[there]))]
        parts, at = [np.zeros(0, dtype=np.uint8)], 0
        bounds = np.flatnonzero(np.diff(segments[there], prepend=-1, append=-1))
        for first, after in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            mine = there[first:after]
            file = self._ledger.segment_file(*self._segments[int(segments[mine[0]])])
            records, ends = file.gather(places[mine] * np.uint64(PLACE_UNIT))
            begins = np.concatenate((np.zeros(1, np.uint64), ends[:-1]))
            starts[mine], sizes[mine] = begins + np.uint64(at), ends - begins
            parts.append(records)
            at += len(records)
        return Fetched(numbers, parts[1] if len(parts) == 2 else np.concatenate(parts), starts, sizes)

    def made(self, found: Fetched) -> list[Transaction]:
        """The transactions among what was fetched."""
        data, starts, sizes = found.records.tobytes(), found.starts.tolist(), found.sizes.tolist()
        return [
            Transaction(data[start : start + size], number, locate=self.locate)
            for number, start, size in zip(found.numbers.tolist(), starts, sizes, strict=True)
            if number >= 0
        ]

    def locate(self, number: int) -> Where:
        """Where a transaction lies in the chain of blocks."""
        return locate(self._ledger, self._run(number), number)

    def changed(self, number: int) -> LedgerDamaged:
        """The sentence for a record that is not what the tables say of it."""
        path = self._ledger.folder.segment_path(*self._segment(number))
        return LedgerDamaged(f"{path}: transaction {number} is not what was committed; baash verify lists all damage")

    def _run(self, number: int) -> Run:
        return self._runs[bisect_right(self._firsts, number) - 1]

    def _segment(self, number: int) -> tuple[int, int]:
        return self._segments[bisect_right(self._starts, number) - 1]


def _knows(run: Run, id_: bytes, number: int) -> bool:
    """Whether the tables know a transaction with this id (its first 8 bytes) by this number."""
    key = key_of(id_)[0]
    return any(number == known for known, _ in run.candidates(key, key))
