"""Which index files of a folder count: they follow one another from round 0, and end in what really lies in the ledger.

Theory. Commit records are a chain of hashes, so whoever knows that a ledger's history holds a record knows all rounds before it. A
file states the hash of the record before its first round and of its last one. It counts if its header is whole, the record before
it is the last one of the file before, and its last slot is, to the checksum, the one that lies in a segment of a view of the
history at or before that view's cut. What does not count is passed over with a note, and those rounds are read instead.

Files say where things lie; what they say of hashes is checked by whoever reads what lies there.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from baash.errors import LedgerDamaged, LedgerError, StorageError
from baash.ledger.durable import refusals
from baash.ledger.folder import Epoch, Folder, commit_record
from baash.ledger.index.pages import NAME, open_file
from baash.ledger.index.tables import SEGMENT, IndexDamaged, Run, joined_segments
from baash.ledger.layout import Layout, layout
from baash.ledger.round import SegmentFile
from baash.records import CHECKSUM_BYTES, COMMIT_RECORD


@dataclass
class Chain:
    """The files that count, and what they say of segments. ``epochs``: the views from that of the last round covered on."""

    runs: list[Run] = field(default_factory=list)
    segments: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=SEGMENT))
    epochs: list[Epoch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)  # names of files that do not count

    def __post_init__(self) -> None:
        self._firsts = {
            name: self.segments[name].tolist() for name in ("first_round", "first_block", "first_transaction")
        }
        self._starts = [run.first for run in self.runs]

    @property
    def last(self) -> np.void | None:
        """The EXTENT of the last file."""
        return self.runs[-1].extent if self.runs else None

    @property
    def rounds(self) -> int:
        return self.runs[-1].after_round if self.runs else 0

    @property
    def blocks(self) -> int:
        return self.runs[-1].after_block if self.runs else 0

    @property
    def transactions(self) -> int:
        return self.runs[-1].after if self.runs else 0

    def segment_of(self, what: str, number: int) -> int:
        """The index in ``segments`` of the one that holds the ``number``-th round, block or transaction: ``what`` is
        ``first_round``, ``first_block`` or ``first_transaction``."""
        return bisect_right(self._firsts[what], number) - 1

    def run_of(self, number: int) -> Run:
        """The run that holds a transaction."""
        return self.runs[bisect_right(self._starts, number) - 1]

    def close(self) -> None:
        for run in self.runs:
            run.close()


def open_chain(folder: Folder) -> Chain:
    """The index files of a ledger that count. Raises StorageError, and LedgerError where views are damaged."""
    for _ in range(3):  # somebody may be merging: what is gone has become part of another file
        try:
            return _open_chain(folder)
        except FileNotFoundError:
            continue
    return Chain(notes=["the index files of this ledger change faster than they can be opened: they are not used"])


def listed(folder: Path) -> dict[int, list[int]]:
    """Of every index file in a folder: first round to the rounds behind the last, the largest first."""
    with refusals("list", folder):
        matches = [NAME.fullmatch(name) for name in os.listdir(folder)]
    found: dict[int, list[int]] = {}
    for match in matches:
        if match and int(match[1]) < int(match[2]):
            found.setdefault(int(match[1]), []).append(int(match[2]))
    return {first: sorted(after, reverse=True) for first, after in found.items()}


def _open_chain(folder: Folder) -> Chain:
    names = listed(folder.path)
    notes: list[str] = []
    stale: list[str] = []
    runs: list[Run] = []
    if not names:
        return Chain()
    try:
        _follow(folder.path, names, runs, notes, stale)
        segments, epochs = np.zeros(0, dtype=SEGMENT), []
        while runs:
            try:
                epochs = _epochs(folder, runs[-1])
                segments = _segments(runs)
                break
            except (IndexDamaged, _Passed, StorageError, LedgerDamaged) as error:
                run = runs.pop()
                run.close()
                stale.append(run.name)
                said = f"{run.name} is about another history ({error})" if isinstance(error, _Passed) else str(error)
                notes.append(f"{said}; those rounds are read instead")
        return Chain(runs, segments, epochs, notes, stale)
    except BaseException:
        for run in runs:
            run.close()
        raise


class _Passed(LedgerError):
    """Why a file that is whole does not count."""


def _follow(folder: Path, names: dict[int, list[int]], runs: list[Run], notes: list[str], stale: list[str]) -> None:
    """Take files as long as each follows the one before, and of several the longest."""
    at = 0
    while at in names:
        taken = None
        for after in names[at]:
            path = folder / f"index-{at:08d}-{after:08d}"
            try:
                run = open_file(path)
            except FileNotFoundError:
                raise
            except (IndexDamaged, OSError) as error:
                what = str(error) if isinstance(error, IndexDamaged) else f"{path} cannot be read ({error.strerror})"
                notes.append(f"{what}; those rounds are read instead")
                stale.append(path.name)
                continue
            wrong = _follows(runs[-1] if runs else None, run)
            if wrong:
                notes.append(f"{path.name} is passed over: {wrong}; those rounds are read instead")
                stale.append(path.name)
                run.close()
                continue
            taken = run
            break
        if taken is None:
            return
        runs.append(taken)
        at = taken.after_round


def _follows(before: Run | None, run: Run) -> str:
    """What is wrong with ``run`` as the next one; empty: nothing."""
    if before is None:
        begins = (run.first_round, run.first_block, run.first)
        return "" if begins == (0, 0, 0) and not run.extent["previous"].any() else "it does not begin with the ledger"
    same = before.extent["ledger"].tobytes() == run.extent["ledger"].tobytes()
    ends = (before.after_block, before.after, before.extent["commit"].tobytes())
    if same and ends == (run.first_block, run.first, run.extent["previous"].tobytes()):
        return ""
    return f"it does not go on where {before.name} ends"


def _epochs(folder: Folder, run: Run) -> list[Epoch]:
    """The views from that of the run's last round on; _Passed if this round is not in the ledger's history."""
    extent = run.extent
    view, segment, slot = int(extent["view"]), int(extent["segment"]), int(extent["slot"])
    epochs = folder.history(since=view)
    if not epochs:
        raise _Passed(f"the history does not hold view {view}")
    if epochs[0].view.ledger != extent["ledger"].tobytes():
        raise _Passed("it is of another ledger")
    last = epochs[0].last_round
    if last is not None and int(extent["view_round"]) > last:
        raise _Passed(f"view {view} was cut at round {last}")
    file = SegmentFile(segment_layout(folder, view, segment))
    try:
        size = file.layout.slot_bytes
        raw = file.read("commit_records", slot * size, size).tobytes()
    finally:
        file.close()
    if not _is_end(run, raw):
        raise _Passed(f"slot {slot} of {file.name} is not the one it ends with")
    if last == int(extent["view_round"]) and raw != epochs[0].cut:
        raise _Passed(f"slot {slot} of {file.name} is not the record at which the view was cut")
    return epochs


def _is_end(run: Run, slot: bytes) -> bool:
    """Whether a slot holds the last commit record of a run, and the run ends where that says."""
    record, extent = commit_record(slot), run.extent
    totals = tuple(int(record[name]) for name in ("block_total", "transaction_total", "rejection_total", "round"))
    ends = (run.after_block, run.after, int(extent["rejection_total"]), int(extent["view_round"]))
    checksum, hash_ = hashlib.sha256(slot[:-CHECKSUM_BYTES]).digest(), hashlib.sha256(slot[: COMMIT_RECORD.itemsize])
    same = (checksum, hash_.digest()) == (extent["slot_checksum"].tobytes(), extent["commit"].tobytes())
    return same and slot[-CHECKSUM_BYTES:] == checksum and totals == ends


def segment_layout(folder: Folder, view: int, segment: int) -> Layout:
    """Where the parts of a segment lie. LedgerDamaged if it is missing, or of another place."""
    path = folder.segment_path(view, segment)
    if not path.exists():
        raise LedgerDamaged(f"{path} is missing; restore it from a copy")
    found = layout(path)
    if (found.view, found.segment) != (view, segment):
        raise LedgerDamaged(f"{path} is the segment of another place; restore it from a copy")
    return found


def _segments(runs: list[Run]) -> np.ndarray:
    """SEGMENT rows of all runs, which leave nothing out."""
    rows = joined_segments([run.tables["segments"].read() for run in runs])
    last = runs[-1]
    for what, after in (("round", last.after_round), ("block", last.after_block), ("transaction", last.after)):
        firsts = np.append(rows[f"first_{what}"], np.uint64(after))
        if int(firsts[0]) or (firsts[:-1] + rows[f"{what}s"] != firsts[1:]).any():
            raise IndexDamaged(f"{last.name} and those before it do not say of every {what} in which segment it is")
    return rows
