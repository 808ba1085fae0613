"""Neighbouring runs of rounds made one: sorted tables merged, columns put one behind the other.

Streams, through a tree of merges of two: what is held at a time are some pieces of ``CHUNK`` rows for each run, whatever the runs hold.
Numbers grow by what the runs before have, so a table can be merged without looking at what its rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from baash import kernels
from baash.ledger.index.tables import BY_NAME, EXTENT, TABLES, Run, Table, chunks, in_memory, joined_segments

CHUNK = 1 << 16


class Sink(Protocol):
    """Takes the tables in the order of ``TABLES``, each in pieces."""

    def add(self, table: str, rows: np.ndarray) -> None: ...


class Collected:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {t.name: [np.zeros(0, t.dtype)] for t in TABLES}

    def add(self, table: str, rows: np.ndarray) -> None:
        self._parts[table].append(rows)

    def run(self, extent: np.void) -> Run:
        return in_memory(extent, {name: np.concatenate(parts) for name, parts in self._parts.items()})


def joined(runs: Sequence[Run]) -> np.void:
    """The extent of all. Each must follow the one before."""
    for a, b in pairwise(runs):
        assert a.after_round == b.first_round and a.extent["commit"].tobytes() == b.extent["previous"].tobytes()
    extent = np.array(runs[-1].extent, dtype=EXTENT).reshape(1)
    for name in ("previous", "first_round", "first_block", "first_transaction"):
        extent[name] = runs[0].extent[name]
    for name in ("rounds", "blocks", "transactions"):
        extent[name] = sum(int(run.extent[name]) for run in runs)
    found: np.void = extent[0]
    return found


def merge(runs: Sequence[Run], sink: Sink) -> None:
    """All tables of runs that follow one another, in order. Numbers stay below 2^32: the caller sees to it."""
    columns = {t.numbers for t in TABLES}
    for table in TABLES:
        sizes = [int(run.extent[table.of]) for run in runs]
        if table.numbers:
            for groups in _groups(runs, table):
                sink.add(table.name, groups)
            for rows in _merged([_ungrouped(run, table) for run in runs], table.key_words, sizes):
                sink.add(table.numbers, rows[["number"]].astype(BY_NAME[table.numbers].dtype))
        elif table.name == "segments":
            sink.add(table.name, joined_segments([run.tables[table.name].read() for run in runs]))
        elif table.key_words and table.name != "blocks":
            for rows in _merged([chunks(run.tables[table.name], CHUNK) for run in runs], table.key_words, sizes):
                sink.add(table.name, rows)
        elif table.name not in columns:
            _append(runs, table, sink)


def in_memory_merged(runs: Sequence[Run]) -> Run:
    """All of them, in memory."""
    sink = Collected()
    merge(runs, sink)
    return sink.run(joined(runs))


def _append(runs: Sequence[Run], table: Table, sink: Sink) -> None:
    for run in runs:
        for rows in chunks(run.tables[table.name], CHUNK):
            if table.name == "blocks":
                rows = rows.copy()
                rows["key"] += np.uint64(run.first - runs[0].first)
            sink.add(table.name, rows)


def _merged(streams: Sequence[Iterator[np.ndarray]], key_words: int, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Sorted rows of all streams; ``sizes``: by how much each makes the numbers of those behind it grow."""
    if len(streams) == 1:
        return streams[0]
    half = len(streams) // 2
    left, right = (_merged(streams[part], key_words, sizes[part]) for part in (slice(half), slice(half, None)))
    return _pair(left, right, key_words, sum(sizes[:half]))


def _pair(a: Iterator[np.ndarray], b: Iterator[np.ndarray], key_words: int, shift: int) -> Iterator[np.ndarray]:
    rows_a, rows_b = next(a, None), next(b, None)
    while rows_a is not None and rows_b is not None:
        out = np.empty(len(rows_a) + len(rows_b), dtype=rows_a.dtype)
        used_a, used_b = kernels.index_merge(out, rows_a, rows_b, key_words, shift)
        yield out[: used_a + used_b]
        rows_a = rows_a[used_a:] if used_a < len(rows_a) else next(a, None)
        rows_b = rows_b[used_b:] if used_b < len(rows_b) else next(b, None)
    while rows_a is not None:
        yield rows_a
        rows_a = next(a, None)
    while rows_b is not None:
        rows_b = rows_b.copy()
        rows_b["number"] += np.uint32(shift)
        yield rows_b
        rows_b = next(b, None)


def _groups(runs: Sequence[Run], table: Table) -> Iterator[np.ndarray]:
    """The groups of all, each key once, with new starts. ``start`` stands where other rows have their number."""
    ungrouped = np.dtype([("number" if n == "start" else n, table.dtype[n]) for n in table.dtype.names or ()])
    streams = [_viewed(chunks(run.tables[table.name], CHUNK), ungrouped) for run in runs]
    start, last = 0, np.zeros(0, dtype=table.dtype)
    for rows in _merged(streams, table.key_words, [0] * len(runs)):
        found = np.concatenate((last, rows.view(table.dtype)))
        fresh = np.flatnonzero(_begins(found, table.key_words))
        counts = np.add.reduceat(found["count"], fresh, dtype=np.uint64)
        groups = found[fresh]
        groups["count"] = counts
        ends = start + np.cumsum(counts)
        groups["start"] = ends - counts
        last, start = groups[-1:], int(groups["start"][-1])  # what comes may belong to the last one
        yield groups[:-1]
    yield last


def _viewed(parts: Iterator[np.ndarray], dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    return (rows.view(dtype) for rows in parts)


def _ungrouped(run: Run, table: Table) -> Iterator[np.ndarray]:
    """The numbers of a grouped table, each behind its key."""
    words = [("key", "<u8"), ("key2", "<u8")][: table.key_words]
    groups, numbers = run.tables[table.name], run.tables[table.numbers]
    group, at = 0, 0
    for part in chunks(numbers, CHUNK):
        near = groups.read(group, min(len(part) + 1, groups.rows - group))
        which = np.searchsorted(near["start"], np.arange(at, at + len(part), dtype=np.uint64), side="right") - 1
        rows = np.empty(len(part), dtype=[*words, ("number", "<u4")])
        for word, _ in words:
            rows[word] = near[word][which]
        rows["number"] = part["number"]
        yield rows
        group, at = group + int(which[-1]), at + len(part)


def grouped(rows: np.ndarray, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(groups, numbers) of sorted rows of key and number."""
    fresh = np.flatnonzero(_begins(rows, table.key_words))
    groups = np.zeros(len(fresh), dtype=table.dtype)
    for word in ("key", "key2")[: table.key_words]:
        groups[word] = rows[word][fresh]
    groups["start"], groups["count"] = fresh, np.diff(np.append(fresh, len(rows)))
    numbers = np.empty(len(rows), dtype=BY_NAME[table.numbers].dtype)
    numbers["number"] = rows["number"]
    return groups, numbers


def _begins(rows: np.ndarray, key_words: int) -> np.ndarray:
    """bool: where another key begins."""
    begins = np.ones(len(rows), dtype=bool)
    begins[1:] = rows["key"][1:] != rows["key"][:-1]
    if key_words == 2:
        begins[1:] |= rows["key2"][1:] != rows["key2"][:-1]
    return begins
