"""Two neighbouring runs of rounds made one: sorted tables merged, columns put one behind the other.

Streams: what is held at a time are some pieces of ``CHUNK`` rows, whatever the runs hold. Numbers of the second run grow by what
the first has, so a table can be merged without looking at what its rows mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from baash import kernels
from baash.ledger.index.tables import BY_NAME, EXTENT, TABLES, Rows, Run, Table, chunks, in_memory, joined_segments

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


def joined(a: Run, b: Run) -> np.void:
    """The extent of both. ``b`` must follow ``a``."""
    assert a.after_round == b.first_round and a.extent["commit"].tobytes() == b.extent["previous"].tobytes()
    extent = np.zeros(1, dtype=EXTENT)
    extent[0] = b.extent
    for name in ("previous", "first_round", "first_block", "first_transaction"):
        extent[name] = a.extent[name]
    for name in ("rounds", "blocks", "transactions"):
        extent[name] = a.extent[name] + b.extent[name]
    found: np.void = extent[0]
    return found


def merge(a: Run, b: Run, sink: Sink) -> None:
    """All tables of both, in order. Numbers stay below 2^32: the caller sees to it."""
    for table in TABLES:
        if table.numbers:
            for groups in _groups(a, b, table):
                sink.add(table.name, groups)
            shift = int(a.extent[table.of])
            for rows in _merged(_ungrouped(a, table), _ungrouped(b, table), table.key_words, shift):
                sink.add(table.numbers, rows[["number"]].astype(BY_NAME[table.numbers].dtype))
        elif table.name == "segments":
            sink.add(table.name, joined_segments([run.tables[table.name].read() for run in (a, b)]))
        elif table.key_words and table.name != "blocks":
            of_a, of_b = (chunks(run.tables[table.name], CHUNK) for run in (a, b))
            for rows in _merged(of_a, of_b, table.key_words, int(a.extent[table.of])):
                sink.add(table.name, rows)
        elif not any(t.numbers == table.name for t in TABLES):
            _append(a, b, table, sink)


def in_memory_merged(a: Run, b: Run) -> Run:
    """Both, in memory."""
    sink = Collected()
    merge(a, b, sink)
    return sink.run(joined(a, b))


def _append(a: Run, b: Run, table: Table, sink: Sink) -> None:
    for run, shift in ((a, 0), (b, int(a.extent["transactions"]))):
        for rows in chunks(run.tables[table.name], CHUNK):
            if table.name == "blocks" and shift:
                rows = rows.copy()
                rows["key"] += np.uint64(shift)
            sink.add(table.name, rows)


def _merged(a: Iterator[np.ndarray], b: Iterator[np.ndarray], key_words: int, shift: int) -> Iterator[np.ndarray]:
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


def _groups(a: Run, b: Run, table: Table) -> Iterator[np.ndarray]:
    """The groups of both, each key once, with new starts. ``start`` stands where other rows have their number."""
    ungrouped = np.dtype([("number" if n == "start" else n, table.dtype[n]) for n in table.dtype.names or ()])
    of_a, of_b = ((rows.view(ungrouped) for rows in chunks(run.tables[table.name], CHUNK)) for run in (a, b))
    start, last = 0, np.zeros(0, dtype=table.dtype)
    for rows in _merged(of_a, of_b, table.key_words, 0):
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


__all__ = ["CHUNK", "Collected", "Rows", "Sink", "grouped", "in_memory_merged", "joined", "merge"]
