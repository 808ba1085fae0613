"""Reading a ledger: the rounds that count, and the way to each of their blocks. Safe beside a writer, and on a laptop.

Opening walks the commit records (``counting.py``), but for those that index files answer for: of these it knows which segment
holds which rounds, blocks and transactions, and everything else is arithmetic and reads when asked for. Checks places, not
signatures, hashes or rules: that is for ``audit.py``, which uses no index.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from baash.errors import LedgerDamaged, LedgerError
from baash.ledger.counting import TOTALS, Counter, Part, Report, Start
from baash.ledger.durable import refusals, sync_folder
from baash.ledger.folder import Epoch, Folder
from baash.ledger.index.chain import Chain, open_chain, segment_layout
from baash.ledger.layout import Layout
from baash.ledger.proofs import checkpoint
from baash.ledger.round import Round, SegmentFile
from baash.ledger.slots import records_of, sound
from baash.protocol.view import View
from baash.records import BLOCK_HEADER, BLOCK_ROW, COMMIT_RECORD, ZERO_HASH

OPEN_FILES = 16
VIEWS_KEPT = 8
BLOCKS_AT_ONCE, BYTES_AT_ONCE = 4096, 16 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """A block: its row (BLOCK_ROW; the first 112 bytes are the header), its records (u1)."""

    height: int
    row: np.void
    records: np.ndarray
    ledger: Ledger = field(repr=False)

    @cached_property
    def round(self) -> Round:
        """The round it lies in."""
        return self.ledger.round_of(self.height)

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.row.tobytes()[: BLOCK_HEADER.itemsize]).digest()

    @property
    def time_ns(self) -> int:
        """Of its window, since 1970."""
        return int(self.row["time_ns"])

    def __len__(self) -> int:
        """The number of its transactions."""
        return int(self.row["count"])


def check_folder(path: str | Path) -> Folder:
    """The folder of a ledger that exists. LedgerError if there is none."""
    folder = Folder(path)
    if not folder.path.is_dir():
        why = "that is not a folder" if folder.path.exists() else "no such folder"
        raise LedgerError(f"there is no ledger at {path}: {why}; check the path")
    if folder.newest_claim() < 0:
        raise LedgerError(f"{path} is not a ledger: it has neither views nor claims; check the path")
    return folder


class Ledger:
    """The ledger in the folder ``path``, read-only. Close it, or use ``with``.

    ``scan``: use no index files, as is always so with a ``report``. ``notes`` says which of them were passed over, and why.
    Raises LedgerError (no ledger there), StorageError, LedgerDamaged; the last only if ``report`` is None.
    """

    def __init__(self, path: str | Path, report: Report | None = None, *, scan: bool = False) -> None:
        self.folder = check_folder(path)
        self.path = self.folder.path
        self.rounds = Rounds(self)
        self._report = report
        self._scan = scan or report is not None
        self.closed = False
        self.openings = 0  # how often its history was read anew
        self._recent: deque[SegmentFile] = deque()
        self.chain = Chain()
        stated = _stated(self.folder)  # first: beside a writer it may grow
        self._open()
        if report is None and stated is not None and (self.view is None or stated.ledger == self.id):
            self._hold_against(stated)

    def _hold_against(self, stated: checkpoint.Checkpoint) -> None:
        if stated.size > self.block_total:
            self.close()
            raise LedgerDamaged(
                f"{self.path} has {self.block_total} blocks, and its checkpoint is of {stated.size}: the newest were removed; "
                "restore them from a copy"
            )

    def _open(self) -> None:
        self.closed = False
        self.openings += 1
        self._files: dict[tuple[int, int], SegmentFile] = {}
        self._views: dict[int, View] = {}
        self.chain = Chain() if self._scan else open_chain(self.folder)
        try:
            self._counter = Counter(self.folder, self._report, _start(self.chain))
        except BaseException:
            self.chain.close()
            raise
        self._files |= {(part.epoch.view.view, part.segment): part.file for part in self._counter.parts}

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        for file in [*self._files.values(), *(part.file for part in self._counter.parts)]:
            file.close()
        self._recent.clear()
        self.chain.close()

    @property
    def notes(self) -> list[str]:
        """Index files that were passed over, a sentence each."""
        return self.chain.notes

    @property
    def epochs(self) -> list[Epoch]:
        """The views of the history, oldest first. Reads those again that index files answer for."""
        found = self._counter.epochs
        return self.folder.history() if self.chain.runs and found[0].view.predecessor is not None else found

    @property
    def view(self) -> View | None:
        """The newest view; None: nothing was ever published."""
        return self._counter.epochs[-1].view if self._counter.epochs else None

    @property
    def id(self) -> bytes:
        """The ledger's id; LedgerError if no view was published yet."""
        if self.view is None:
            raise LedgerError(f"{self.path} has no published view yet: nothing was committed, and it has no id")
        return self.view.ledger

    @property
    def segments(self) -> list[Layout]:
        """The segments in which rounds of the history may lie, in order."""
        known = [(int(row["view"]), int(row["segment"])) for row in self.chain.segments]
        counted = [(part.epoch.view.view, part.segment) for part in self._counter.parts]
        return [self.segment_file(*place).layout for place in dict.fromkeys([*known, *counted])]

    @property
    def tail(self) -> str | None:
        """A commit record that was cut off while it was written, if there is one: a sentence."""
        return self._counter.tail

    @property
    def behind_cuts(self) -> list[str]:
        """What lies behind the cuts of views and does not count, a sentence each; of those alone that no index answers for."""
        return self._counter.behind_cuts

    @property
    def block_total(self) -> int:
        return self._total("block_total")

    @property
    def transaction_total(self) -> int:
        return self._total("transaction_total")

    @property
    def rejection_total(self) -> int:
        return self._total("rejection_total")

    @property
    def head(self) -> bytes:
        """Hash of the newest block, zeros: none."""
        return self.rounds[-1].record["head"].tobytes() if len(self.rounds) else ZERO_HASH

    def refresh(self) -> int:
        """Look for new rounds; how many more there are (fewer, if a new view cut some off)."""
        before = len(self.rounds)
        published = self.folder.views()
        if published and (self.view is None or published[-1] != self.view.view):
            self.close()
            self._open()
        else:
            self._counter.count_on()
        return len(self.rounds) - before

    def flush(self) -> None:
        """Make durable what was read: a successor does this with the record at which it cuts its predecessor."""
        for part in self._counter.parts[-1:]:
            part.file.flush()
        with refusals("flush", self.path):
            sync_folder(self.path)

    def round_of(self, height: int) -> Round:
        """The round that committed the block at ``height``. LedgerError if there is no such block."""
        self.check_height(height)
        found = self.rounds[self._round_holding("block", height, self.chain.blocks)]
        if height < found.first_block:
            raise LedgerDamaged(f"{self.path}: the commit record of block {height} is damaged; baash verify says more")
        return found

    def check_height(self, height: int) -> None:
        """LedgerError if there is no such block."""
        if not 0 <= height < self.block_total:
            newest = f"the newest is {self.block_total - 1}" if self.block_total else "it has none at all"
            raise LedgerError(f"{self.path} has no block {height}: {newest}")

    def round_of_transaction(self, number: int) -> Round:
        """The round that committed the ledger's ``number``-th transaction."""
        if not 0 <= number < self.transaction_total:
            raise LedgerError(f"{self.path} has no transaction {number}: it has {self.transaction_total}")
        return self.rounds[self._round_holding("transaction", number, self.chain.transactions)]

    def block(self, height: int) -> Block:
        """One block, by two small reads."""
        file, row, _ = self.place(height)
        rows = file.headers(row, 1)
        if int(rows["height"][0]) != height:
            raise LedgerDamaged(
                f"{file.layout.path} has another block where block {height} must be; baash verify says more"
            )
        return Block(height, rows[0], file.blocks(rows), self)

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[Block]:
        """The blocks [first, last), in order; a bounded number of them is in memory."""
        stop = self.block_total if last is None else min(last, self.block_total)
        while first < stop:
            file, row, count = self.place(first)
            rows = file.headers(row, min(count, stop - first, BLOCKS_AT_ONCE))
            ends = np.cumsum(rows["bytes"], dtype=np.uint64)
            rows = rows[: max(1, int(np.searchsorted(ends, BYTES_AT_ONCE, side="right")))]
            records, after = file.blocks(rows), ends.tolist()
            for i, one in enumerate(rows):
                yield Block(first + i, one, records[after[i] - int(one["bytes"]) : after[i]], self)
            first += len(rows)

    def headers(self, first: int, after: int) -> np.ndarray:
        """BLOCK_ROW: the rows of the blocks [first, after)."""
        parts = [np.zeros(0, dtype=BLOCK_ROW)]
        return np.concatenate([*parts, *(rows for _, rows in self.stretches(first, after))])

    def stretches(self, first: int, after: int, most: int = 1 << 62) -> Iterator[tuple[SegmentFile, np.ndarray]]:
        """(segment, BLOCK_ROW) of the blocks [first, after): as many as lie in one segment, ``most`` at once."""
        while first < after:
            file, row, count = self.place(first)
            rows = file.headers(row, min(count, after - first, most))
            yield file, rows
            first += len(rows)

    def segment_file(self, view: int, segment: int) -> SegmentFile:
        """A segment of the history, to read from; opened when needed."""
        file = self._files.get((view, segment))
        if file is None:
            file = self._files[view, segment] = SegmentFile(segment_layout(self.folder, view, segment))
            if file.layout.ledger != self.id:
                raise LedgerDamaged(f"{file.layout.path} is of another ledger; restore it from a copy")
        self._keep_open(file)
        return file

    def place(self, height: int) -> tuple[SegmentFile, int, int]:
        """Where the row of a block lies: segment, number of the row, and how many blocks lie there from it on, one row behind the
        other."""
        if 0 <= height < self.chain.blocks:
            found = self.chain.segments[self.chain.segment_of("first_block", height)]
            skip = height - int(found["first_block"])
            file = self.segment_file(int(found["view"]), int(found["segment"]))
            return file, int(found["first_row"]) + skip, int(found["blocks"]) - skip
        round, counter = self.round_of(height), self._counter
        part = self._part(round.index)
        last = part.first + len(part.slots) - 1 - counter.first
        row = int(round.locator["first_block"]) + height - round.first_block
        return round.file, row, int(counter.totals["block_total"][last]) - height

    def _part(self, index: int) -> Part:
        """The segment that holds a round which no index file answers for."""
        return self._counter.parts[bisect_right(self._counter.parts, index, key=lambda p: p.first) - 1]

    def _round_holding(self, what: str, number: int, known: int) -> int:
        """The index of the round in which the ledger's block or transaction ``number`` lies."""
        counter, total = self._counter, f"{what}_total"
        if number >= known:
            return counter.first + int(np.searchsorted(counter.totals[total], number, side="right"))
        found = self.chain.segments[self.chain.segment_of(f"first_{what}", number)]
        file = self.segment_file(int(found["view"]), int(found["segment"]))
        first = low = int(found["first_slot"])
        high = first + int(found["rounds"]) - 1
        while low < high:  # the first slot with a total above ``number``
            middle = (low + high) // 2
            start = middle * file.layout.slot_bytes
            record = file.read("commit_records", start, COMMIT_RECORD.itemsize).view(COMMIT_RECORD)[0]
            low, high = (low, middle) if int(record[total]) > number else (middle + 1, high)
        return int(found["first_round"]) + low - first

    def _total(self, name: str) -> int:
        totals = self._counter.totals[name]
        return int(totals[-1]) if len(totals) else self._counter.before[name]

    def _round(self, index: int) -> Round:
        counter = self._counter
        if index < counter.first:
            return self._known_round(index)
        part = self._part(index)
        place = index - part.first
        slot = part.slots[place]
        begins = index == 0 or slot == part.first_slot
        whole = (place == 0 and begins) or (place > 0 and part.slots[place - 1] == slot - 1)
        at = index - counter.first
        before = int(counter.totals["transaction_total"][at - 1]) if at else counter.before["transaction_total"]
        self._keep_open(part.file)
        raw = counter.slot(part, slot)[0]
        return Round(part.file, part.epoch.view, part.segment, slot, index, raw, before, whole)

    def _known_round(self, index: int) -> Round:
        """A round that index files answer for."""
        found = self.chain.segments[self.chain.segment_of("first_round", index)]
        skip = index - int(found["first_round"])
        slot = int(found["first_slot"]) + skip
        file = self.segment_file(int(found["view"]), int(found["segment"]))
        size, lead = file.layout.slot_bytes, min(skip, 1)
        slots = file.read("commit_records", (slot - lead) * size, (lead + 1) * size).reshape(-1, size)
        records = records_of(slots)
        if not sound(slots).all() or int(records["round"][-1]) != int(found["view_round"]) + skip:
            raise LedgerDamaged(
                f"{file.layout.path}, slot {slot}: the commit record is damaged; baash verify lists all damage"
            )
        before = int(records["transaction_total"][0]) if lead else int(found["first_transaction"])
        return Round(file, self._view(int(found["view"])), int(found["segment"]), slot, index, slots[-1], before, True)

    def _view(self, number: int) -> View:
        for epoch in self._counter.epochs:
            if epoch.view.view == number:
                return epoch.view
        if number not in self._views:
            if len(self._views) >= VIEWS_KEPT:
                self._views.pop(next(iter(self._views)))
            self._views[number] = self.folder.read_view(number)[0]
        return self._views[number]

    def _keep_open(self, file: SegmentFile) -> None:
        """Bound the number of open files."""
        if file not in self._recent:
            self._recent.append(file)
            if len(self._recent) > OPEN_FILES:
                self._recent.popleft().close()


def _start(chain: Chain) -> Start | None:
    last = chain.last
    if last is None:
        return None
    totals = (chain.blocks, chain.transactions, int(last["rejection_total"]))
    return Start(
        chain.epochs,
        int(last["segment"]),
        int(last["slot"]),
        int(last["view_round"]),
        last["commit"].tobytes(),
        chain.rounds,
        dict(zip(TOTALS, totals, strict=True)),
    )


def _stated(folder: Folder) -> checkpoint.Checkpoint | None:
    """What the checkpoint in the folder says; None: there is none, or it is none, which an audit reports."""
    try:
        note = checkpoint.read(folder)
        return checkpoint.decode(note)[0] if note is not None else None
    except LedgerDamaged:
        return None


class Rounds(Sequence[Round]):
    """The rounds that count, in order; each is read when asked for, and new ones appear by ``Ledger.refresh``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __len__(self) -> int:
        return self._ledger._counter.rounds

    @overload
    def __getitem__(self, index: int) -> Round: ...
    @overload
    def __getitem__(self, index: slice) -> list[Round]: ...
    def __getitem__(self, index: int | slice) -> Round | list[Round]:
        if isinstance(index, slice):
            return [self._ledger._round(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"round {index} of {len(self)}")
        return self._ledger._round(index % len(self))
