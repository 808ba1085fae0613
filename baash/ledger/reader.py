"""Reading a ledger: the rounds that count, and the way to each of their blocks. Safe beside a writer, and on a laptop.

Opening walks the commit records (``counting.py``); everything else is read when asked for, a round at a time at
most. Checks places, not signatures, hashes or rules: that is for ``audit.py``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from baash.errors import LedgerDamaged, LedgerError
from baash.ledger.counting import Counter, Report
from baash.ledger.durable import refusals, sync_folder
from baash.ledger.folder import Epoch, Folder
from baash.ledger.layout import Layout
from baash.ledger.round import Round, SegmentFile
from baash.protocol.view import View
from baash.records import BLOCK_ROW, ZERO_HASH

OPEN_FILES = 16


@dataclass(frozen=True)
class Block:
    """A block: its row (BLOCK_ROW; the first 112 bytes are the header), its records (u1), the round it lies in."""

    height: int
    row: np.void
    records: np.ndarray
    round: Round


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

    Raises LedgerError (no ledger there), StorageError, LedgerDamaged; the last only if ``report`` is None.
    """

    def __init__(self, path: str | Path, report: Report | None = None) -> None:
        self.folder = check_folder(path)
        self.path = self.folder.path
        self.rounds = Rounds(self)
        self._report = report
        self._counter = Counter(self.folder, report)
        self._recent: deque[SegmentFile] = deque()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for part in self._counter.parts:
            part.file.close()

    @property
    def epochs(self) -> list[Epoch]:
        """The views of the history, oldest first."""
        return self._counter.epochs

    @property
    def view(self) -> View | None:
        """The newest view; None: nothing was ever published."""
        return self.epochs[-1].view if self.epochs else None

    @property
    def id(self) -> bytes:
        """The ledger's id; LedgerError if no view was published yet."""
        if self.view is None:
            raise LedgerError(f"{self.path} has no published view yet: nothing was committed, and it has no id")
        return self.view.ledger

    @property
    def segments(self) -> list[Layout]:
        """The segments in which rounds of the history may lie, in order."""
        return [part.file.layout for part in self._counter.parts]

    @property
    def tail(self) -> str | None:
        """A commit record that was cut off while it was written, if there is one: a sentence."""
        return self._counter.tail

    @property
    def behind_cuts(self) -> list[str]:
        """What lies behind the cuts of views and does not count, a sentence each."""
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
        if published and (not self.epochs or published[-1] != self.epochs[-1].view.view):
            self.close()
            self._counter = Counter(self.folder, self._report)
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
        if not 0 <= height < self.block_total:
            newest = f"the newest is {self.block_total - 1}" if self.block_total else "it has none at all"
            raise LedgerError(f"{self.path} has no block {height}: {newest}")
        found = self.rounds[int(np.searchsorted(self._counter.totals["block_total"], height, side="right"))]
        if height < found.first_block:
            raise LedgerDamaged(f"{self.path}: the commit record of block {height} is damaged; baash verify says more")
        return found

    def round_of_transaction(self, number: int) -> Round:
        """The round that committed the ledger's ``number``-th transaction."""
        if not 0 <= number < self.transaction_total:
            raise LedgerError(f"{self.path} has no transaction {number}: it has {self.transaction_total}")
        return self.rounds[int(np.searchsorted(self._counter.totals["transaction_total"], number, side="right"))]

    def block(self, height: int) -> Block:
        """One block, by two small reads."""
        round = self.round_of(height)
        at = (int(round.locator["first_block"]) + height - round.first_block) * BLOCK_ROW.itemsize
        rows = round.file.read("block_headers", at, BLOCK_ROW.itemsize).view(BLOCK_ROW)
        return Block(height, rows[0], round.records(rows), round)

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[Block]:
        """The blocks [first, last), in order; one round at a time is in memory."""
        stop = self.block_total if last is None else min(last, self.block_total)
        while first < stop:
            round = self.round_of(first)
            skip = first - round.first_block
            rows = round.headers()[skip : skip + stop - first]
            records = round.records(rows)
            ends = np.cumsum(rows["bytes"], dtype=np.uint64).tolist()
            for i, row in enumerate(rows):
                yield Block(first + i, row, records[ends[i] - int(row["bytes"]) : ends[i]], round)
            first += len(rows)

    def _total(self, name: str) -> int:
        totals = self._counter.totals[name]
        return int(totals[-1]) if len(totals) else 0

    def _round(self, index: int) -> Round:
        counter = self._counter
        part = counter.parts[bisect_right(counter.parts, index, key=lambda p: p.first) - 1]
        place = index - part.first
        slot = part.slots[place]
        whole = (place == 0 and (index == 0 or slot == 0)) or (place > 0 and part.slots[place - 1] == slot - 1)
        before = int(counter.totals["transaction_total"][index - 1]) if index else 0
        self._keep_open(part.file)
        raw = counter.slot(part, slot)[0]
        return Round(part.file, part.epoch.view, part.segment, slot, index, raw, before, whole)

    def _keep_open(self, file: SegmentFile) -> None:
        """Bound the number of open files."""
        if file not in self._recent:
            self._recent.append(file)
            if len(self._recent) > OPEN_FILES:
                self._recent.popleft().close()


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
