"""What an index holds of a run of rounds: tables of rows, sorted by key, in a file or in memory, behind one face.

Theory. A hash is looked for by its first 8 bytes as a big-endian number, so that numbers sort like hexadecimal digits; what the
ledger itself tells apart by 16 bytes (entities, issuers) has a second word. A row says which transaction or block has that key, by
its number from the first of the run: runs are joined by adding to numbers. Columns have a row for each transaction, block or
segment, without a key. Issuers and operations are few beside the transactions: their key is written once, and the numbers lie in
a column of their own.

The same tables stand in index files (``docs/index-format.md``) and, of what no file covers yet, in memory. Knows nothing of files
and folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from baash.errors import LedgerError

_KEY = [("key", "<u8")]
_KEYS = [("key", "<u8"), ("key2", "<u8")]
_NUMBER = [("number", "<u4")]
_GROUP = [("start", "<u4"), ("count", "<u4")]

# One segment, or the part of one that a run of rounds covers. Everything but slot, row and view_round is counted in the ledger.
SEGMENT = np.dtype(
    [
        ("view", "<u4"),
        ("segment", "<u4"),
        ("first_round", "<u8"),
        ("rounds", "<u8"),
        ("first_slot", "<u8"),
        ("view_round", "<u8"),  # number of the first round in its view
        ("first_block", "<u8"),
        ("blocks", "<u8"),
        ("first_row", "<u8"),  # of the first block, in the segment's block_headers
        ("first_transaction", "<u8"),
        ("transactions", "<u8"),
        ("rejection_total", "<u8"),  # in the ledger, after the last round
    ]
)


@dataclass(frozen=True)
class Table:
    """``of``: what its numbers count. ``numbers``: the column in which the numbers of a group lie."""

    name: str
    dtype: np.dtype[Any]
    key_words: int
    of: str = "transactions"
    numbers: str = ""


TABLES = (
    Table("ids", np.dtype([*_KEY, *_NUMBER, ("place", "<u4")]), 1),
    Table("entities", np.dtype([*_KEYS, *_NUMBER, ("place", "<u4"), ("operation", "u1")]), 2),
    Table("references", np.dtype([*_KEYS, *_NUMBER]), 2),
    Table("names", np.dtype([*_KEY, *_NUMBER]), 1),
    Table("folders", np.dtype([*_KEY, *_NUMBER]), 1),
    Table("hashes", np.dtype([*_KEY, *_NUMBER]), 1, "blocks"),
    Table("times", np.dtype([*_KEY, *_NUMBER]), 1, "blocks"),
    Table("issuers", np.dtype([*_KEYS, *_GROUP]), 2, numbers="issuer_numbers"),
    Table("issuer_numbers", np.dtype(_NUMBER), 0),
    Table("operations", np.dtype([*_KEY, *_GROUP]), 1, numbers="operation_numbers"),
    Table("operation_numbers", np.dtype(_NUMBER), 0),
    Table("places", np.dtype([("place", "<u4")]), 0),
    Table("blocks", np.dtype(_KEY), 1, "blocks"),
    Table("segments", SEGMENT, 0),
    Table("roots", np.dtype([("root", "u1", 32)]), 0),
)
BY_NAME = {table.name: table for table in TABLES}
_NO_ENTITIES = np.zeros(0, dtype=BY_NAME["entities"].dtype)
SUBTREE = 256  # blocks below one of ``roots``
PLACE_UNIT = 8  # bytes; records begin at multiples of it

# What a run of rounds is: page 0 of an index file begins with it.
EXTENT = np.dtype(
    [
        ("ledger", "u1", 32),
        ("previous", "u1", 32),  # hash of the commit record before the run
        ("commit", "u1", 32),  # hash of its last commit record
        ("slot_checksum", "u1", 32),  # last 32 bytes of the slot that holds this one
        ("first_round", "<u8"),
        ("rounds", "<u8"),
        ("first_block", "<u8"),
        ("blocks", "<u8"),
        ("first_transaction", "<u8"),
        ("transactions", "<u8"),
        ("rejection_total", "<u8"),  # after the last round, as those below
        ("view", "<u4"),
        ("segment", "<u4"),
        ("slot", "<u8"),
        ("view_round", "<u8"),
    ]
)
RUN_MAX = (1 << 32) - 1  # transactions in one run


class IndexDamaged(LedgerError):
    """An index file is not what was written; without it, the ledger is read instead."""


class Rows(Protocol):
    """A table that can be looked into: ``kernels.IndexTable`` says what the methods do."""

    rows: int

    def find(self, low: int, high: int, low2: int = 0, high2: int = 0, /) -> tuple[int, int, int, int]: ...
    def find_all(self, lows: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
    def read(self, first: int = 0, count: int | None = None, /) -> np.ndarray: ...
    def take(self, numbers: np.ndarray, /) -> np.ndarray: ...
    def first_u4(self, number: int, /) -> int: ...


class MemoryRows:
    """A table in memory. With two words in the key, ``find`` takes one first word."""

    def __init__(self, table: Table, rows: np.ndarray) -> None:
        self.rows, self._rows = len(rows), rows
        self._behind = list((rows.dtype.names or ())[table.key_words :])
        self._key = np.ascontiguousarray(rows["key"]) if table.key_words else None
        self._key2 = np.ascontiguousarray(rows["key2"]) if table.key_words == 2 else None

    def find(self, low: int, high: int, low2: int = 0, high2: int = 0, /) -> tuple[int, int, int, int]:
        assert self._key is not None
        first = int(self._key.searchsorted(np.uint64(low)))
        after = int(self._key.searchsorted(np.uint64(high), side="right"))
        if self._key2 is not None:
            seconds = self._key2[first:after]
            after = first + int(seconds.searchsorted(np.uint64(high2), side="right"))
            first += int(seconds.searchsorted(np.uint64(low2)))
        if first >= after:
            return first, 0, 0, 0
        behind = [int(self._rows[name][first]) for name in self._behind[:2]]
        return first, after - first, behind[0] if behind else 0, behind[1] if len(behind) > 1 else 0

    def find_all(self, lows: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self._key is not None and self._key2 is None
        firsts = self._key.searchsorted(lows)
        counts = self._key.searchsorted(lows, side="right") - firsts
        rows = (
            self._rows[np.minimum(firsts, max(self.rows - 1, 0))]
            if self.rows
            else np.zeros(len(lows), self._rows.dtype)
        )
        return firsts.astype(np.uint64), counts.astype(np.uint64), rows

    def read(self, first: int = 0, count: int | None = None, /) -> np.ndarray:
        return self._rows[first : self.rows if count is None else first + count]

    def first_u4(self, number: int, /) -> int:
        return int(self._rows[number][0])

    def take(self, numbers: np.ndarray, /) -> np.ndarray:
        found: np.ndarray = self._rows[numbers.astype(np.int64)]
        return found


class Run:
    """The tables of a run of rounds. Numbers that go in and come out are those of the ledger."""

    def __init__(
        self,
        extent: np.void,
        tables: Mapping[str, Rows],
        name: str = "memory",
        size: int = 0,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.extent, self.tables, self.name, self.bytes, self.close = extent, tables, name, size, close
        self.first_round, self.after_round = _span(extent, "first_round", "rounds")
        self.first_block, self.after_block = _span(extent, "first_block", "blocks")
        self.first, self.after = _span(extent, "first_transaction", "transactions")
        self._base = {t.name: self.first_block if t.of == "blocks" else self.first for t in TABLES}

    def numbers(self, table: str, key: Sequence[int], *, newest: int = 0) -> tuple[int, np.ndarray]:
        """(how many rows have this key, their numbers u8 ascending: all, or the ``newest`` last)."""
        first, count, start, size = self.tables[table].find(key[0], key[0], key[-1], key[-1])
        if BY_NAME[table].numbers:
            first, count, table = (start, size, BY_NAME[table].numbers) if count else (0, 0, BY_NAME[table].numbers)
        kept = min(count, newest or count)
        if not kept:
            return count, np.zeros(0, dtype=np.uint64)
        rows = self.tables[table].read(first + count - kept, kept)
        return count, rows["number"].astype(np.uint64) + np.uint64(self._base[table])

    def between(self, table: str, low: int, high: int) -> np.ndarray:
        """u8: the numbers of the rows with keys from ``low`` to ``high`` (one word), in order of the keys."""
        first, count, _, _ = self.tables[table].find(low, high)
        numbers: np.ndarray = self.tables[table].read(first, count)["number"].astype(np.uint64)
        return numbers + np.uint64(self._base[table])

    def about(self, key: Sequence[int], newest: int, before: int | None) -> tuple[int, np.ndarray]:
        """(how many rows of ``entities`` with this key have a number below ``before``, the ``newest`` of them or all)."""
        first, count, _, _ = self._about(key, before)
        kept = min(count, newest or count)
        return count, self.tables["entities"].read(first + count - kept, kept) if kept else _NO_ENTITIES

    def spots(self, key: Sequence[int], newest: int, before: int | None) -> tuple[int, list[int], list[int]]:
        """(how many, numbers, places) of the same rows."""
        first, count, number, place = self._about(key, before)
        if count <= 1:
            return count, [number + self.first] * count, [place] * count
        kept = min(count, newest or count)
        rows = self.tables["entities"].read(first + count - kept, kept)
        return count, (rows["number"] + np.uint64(self.first)).tolist(), rows["place"].tolist()

    def _about(self, key: Sequence[int], before: int | None) -> tuple[int, int, int, int]:
        found = self.tables["entities"].find(key[0], key[0], key[1], key[1])
        if found[1] and before is not None and before < self.after:
            return found[0], self._count_below(found[0], found[1], found[2], before - self.first), found[2], found[3]
        return found

    def _count_below(self, first: int, count: int, lowest: int, number: int) -> int:
        low, high, entities = int(lowest < number), count if lowest < number else 0, self.tables["entities"]
        while low < high:
            middle = (low + high) // 2
            if int(entities.read(first + middle, 1)["number"][0]) < number:
                low = middle + 1
            else:
                high = middle
        return low

    def candidates(self, low: int, high: int) -> list[tuple[int, int]]:
        """(number, place) of the transactions whose ids begin with ``low`` to ``high``."""
        ids = self.tables["ids"]
        first, count, number, place = ids.find(low, high)
        if count <= 1:
            return [(number + self.first, place)] * count
        return [(int(row["number"]) + self.first, int(row["place"])) for row in ids.read(first, count)]

    def place(self, number: int) -> int:
        """Where in the ``records`` of its segment a transaction begins, in units of 8 bytes."""
        return self.tables["places"].first_u4(number - self.first)

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """u8: the same for many (u8)."""
        found: np.ndarray = self.tables["places"].take(numbers - np.uint64(self.first))["place"].astype(np.uint64)
        return found

    def height(self, number: int) -> int:
        """The height of the block that holds a transaction."""
        row, count, _, _ = self.tables["blocks"].find(number - self.first, number - self.first)
        return self.first_block + row - (not count)

    def heights(self, numbers: np.ndarray) -> np.ndarray:
        """i8: the heights of the blocks that hold these transactions (u8)."""
        rows, counts, _ = self.tables["blocks"].find_all(numbers - np.uint64(self.first))
        heights: np.ndarray = rows.astype(np.int64) - (counts == 0) + self.first_block
        return heights

    def first_of_block(self, height: int) -> int:
        """The number of the first transaction of a block."""
        return self.first + int(self.tables["blocks"].read(height - self.first_block, 1)["key"][0])

    def root(self, subtree: int) -> bytes | None:
        """The root over the blocks [256 k, 256 k + 256), if the last of them is here."""
        first = self.first_block // SUBTREE
        if not first <= subtree < self.after_block // SUBTREE:
            return None
        root: bytes = self.tables["roots"].read(subtree - first, 1)["root"][0].tobytes()
        return root


def _span(extent: np.void, first: str, count: str) -> tuple[int, int]:
    return int(extent[first]), int(extent[first]) + int(extent[count])


def key_of(hash_: bytes, words: int = 1) -> tuple[int, ...]:
    """The key of a hash: its first 8 or 16 bytes as big-endian words."""
    return tuple(int.from_bytes(hash_[8 * i : 8 * i + 8], "big") for i in range(words))


def keys_of(hashes: np.ndarray, words: int = 1) -> np.ndarray:
    """u8 (n, words): the keys of hashes (n, 16 or more)."""
    return np.ascontiguousarray(hashes[:, : 8 * words]).view(">u8").astype(np.uint64)


def as_rows(name: str, count: int, **columns: Any) -> np.ndarray:
    """Rows of a table from its columns."""
    rows = np.empty(count, dtype=BY_NAME[name].dtype)
    for column, values in columns.items():
        rows[column] = values
    return rows


def chunks(rows: Rows, size: int) -> Iterator[np.ndarray]:
    """All rows, ``size`` at a time."""
    for first in range(0, rows.rows, size):
        yield rows.read(first, min(size, rows.rows - first))


def in_memory(extent: np.void, tables: Mapping[str, np.ndarray]) -> Run:
    """A run in memory; every table, sorted."""
    return Run(extent, {t.name: MemoryRows(t, tables[t.name]) for t in TABLES})


def joined_segments(parts: Sequence[np.ndarray]) -> np.ndarray:
    """SEGMENT rows of runs that follow one another; one segment of which two have a part becomes one row."""
    found = [np.zeros(0, dtype=SEGMENT)]
    for part in parts:
        before = found[-1][-1:]
        if len(before) and len(part) and before[["view", "segment"]] == part[:1][["view", "segment"]]:
            ends = (before["first_slot"] + before["rounds"], before["first_row"] + before["blocks"])
            if ends != (part["first_slot"][0], part["first_row"][0]):
                raise IndexDamaged("two index files do not agree on where the parts of a segment lie")
            whole = part.copy()
            for name in ("first_slot", "first_round", "view_round", "first_block", "first_row", "first_transaction"):
                whole[name][0] = before[name][0]
            for name in ("rounds", "blocks", "transactions"):
                whole[name][0] += before[name][0]
            found[-1], part = found[-1][:-1], whole
        if len(part):
            found.append(part)
    return np.concatenate(found)
