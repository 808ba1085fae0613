"""Which rounds of a ledger count: the walk over views, segments and slots (``docs/ledger-format.md`` sections 7, 8).

It tells apart what looks alike: a *torn tail* (a write that was cut off: noted, ignored), *damage* (something
committed has changed) and a *missing segment*. Damage raises LedgerDamaged, or goes to ``report``, and then counting
goes on behind it where it can: that is how an audit finds all of it. A slot that looks damaged is read again first,
since beside a writer it may have been seen half written.

Reads commit records only; keeps three totals a round in memory, of those rounds that it counts itself: it may start behind
rounds that index files answer for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from baash.errors import LedgerDamaged
from baash.ledger.folder import Epoch, Folder
from baash.ledger.layout import layout
from baash.ledger.round import SegmentFile
from baash.ledger.slots import Counted, Expected, Verdict, count, records_of, sound
from baash.records import COMMIT_RECORD, ZERO_HASH

Report = Callable[[str, int, str], None]  # name of a segment or view, height, what

CHUNK_SLOTS = 256
DAMAGE_RETRIES, DAMAGE_RETRY_S = 3, 0.02
TOTALS = ("block_total", "transaction_total", "rejection_total")


@dataclass
class Part:
    """The rounds that count in one segment."""

    epoch: Epoch
    file: SegmentFile
    segment: int
    first: int  # index in the ledger of the first round counted here
    slots: list[int] = field(default_factory=list)  # of its rounds: 0, 1, 2… but for damaged ones
    next_slot: int = 0
    first_slot: int = 0  # above 0: those before are known, and are not counted again


@dataclass(frozen=True)
class Start:
    """The last of the rounds that are known: which one it is, and what the ledger holds up to it."""

    epochs: list[Epoch]  # from its view on
    segment: int
    slot: int
    view_round: int
    commit: bytes
    rounds: int
    totals: dict[str, int]  # by name in TOTALS


class Counter:
    """The state of the walk; ``count_on`` continues it where it stopped."""

    def __init__(self, folder: Folder, report: Report | None, start: Start | None = None) -> None:
        self._folder = folder
        self._report = report
        self.epochs = start.epochs if start else folder.history()
        self.parts: list[Part] = []
        self.first = start.rounds if start else 0  # index in the ledger of the first round counted here
        self.rounds = self.first
        self._totals = {name: np.zeros(0, dtype=np.uint64) for name in TOTALS}
        self._new: list[np.ndarray] = []  # commit records whose totals are not yet among them
        self._last = dict(start.totals) if start else dict.fromkeys(TOTALS, 0)
        self.before = dict(self._last)  # totals before the first round counted here
        self.tail: str | None = None  # a write that was cut off
        self.behind_cuts: list[str] = []
        self._round = start.view_round + 1 if start else 0  # expected next, in the view
        # Hash of the record before; None: that one is damaged.
        self._previous: bytes | None = start.commit if start else ZERO_HASH
        known = self._open(self.epochs[0], start.segment) if start else None
        if start and known:
            known.next_slot = known.first_slot = start.slot + 1
        for epoch in self.epochs:
            self._walk(epoch, known)
            known = None
            if epoch.cut is not None:
                self._previous = hashlib.sha256(epoch.cut[: COMMIT_RECORD.itemsize]).digest()
            if not epoch.open:
                self._round = 0

    @property
    def totals(self) -> dict[str, np.ndarray]:
        """By name of the total: u8, one for each round counted here."""
        if self._new:
            new = np.concatenate(self._new)
            self._totals = {name: np.concatenate((before, new[name])) for name, before in self._totals.items()}
            self._new.clear()
        return self._totals

    def count_on(self) -> None:
        """Count what the newest view has committed since."""
        self.tail = None
        if self.epochs:
            last = self.parts[-1] if self.parts and self.parts[-1].epoch is self.epochs[-1] else None
            self._walk(self.epochs[-1], last)

    def slot(self, part: Part, slot: int, slots: int = 1) -> np.ndarray:
        """``slots`` slots from ``slot`` on: (slots, slot_bytes) u1."""
        size = part.file.layout.slot_bytes
        return part.file.read("commit_records", slot * size, slots * size).reshape(slots, size)

    def _walk(self, epoch: Epoch, part: Part | None) -> None:
        number, last = epoch.view.view, epoch.last_round
        there = self._folder.segments(number)
        if last == -1:
            if there:
                self.behind_cuts.append(f"view {number} has segments, but its successor counts none of its rounds")
            return
        at = part.segment if part else 0
        while at <= max(there, default=-1):
            if at not in there:
                self._damaged(self._name(number, at), "the segment is missing, and later ones are there")
                break
            part = part or self._open(epoch, at)
            if part is None or self._count_part(part, last):
                break
            part.file.close()  # of many segments few are open at once
            at, part = at + 1, None
        if last is not None and self._round <= last:
            which = f"rounds {self._round} to {last} of view {number}, on which its successor builds, are not there"
            self._damaged(self._name(number, min(at, max(there, default=0))), which)
        elif last is not None and part is not None:
            self._at_cut(part, there, last)

    def _name(self, view: int, segment: int) -> str:
        return self._folder.segment_path(view, segment).name

    def _open(self, epoch: Epoch, segment: int) -> Part | None:
        path = self._folder.segment_path(epoch.view.view, segment)
        try:
            found = layout(path)
        except LedgerDamaged as error:
            self._damaged(path.name, str(error))
            return None
        view = epoch.view
        stated = (found.ledger, found.view, found.segment, found.coordinators, found.align)
        if stated != (view.ledger, view.view, segment, len(view.coordinators), view.parameters.align):
            self._damaged(path.name, "the segment is of another ledger, view or place")
            return None
        self.parts.append(Part(epoch, SegmentFile(found), segment, self.rounds))
        return self.parts[-1]

    def _count_part(self, part: Part, last: int | None) -> bool:
        """Count on in a segment; True: the view ends here."""
        place = part.file.opened()
        while part.next_slot < place.slots:
            room = min(CHUNK_SLOTS, place.slots - part.next_slot)
            if last is not None:
                room = min(room, last + 1 - self._round)
                if room <= 0:
                    return True
            expected = Expected(place.ledger, place.view, self._round, self._previous)
            slots, counted = self._count_slots(part, room, expected)
            records = records_of(slots[: counted.count])
            if not self._add(part, records):
                return True
            if counted.count:
                self._previous = counted.hashes[-1].tobytes()
            if counted.verdict is Verdict.DAMAGED:
                self._damaged(part.file.name, f"slot {part.next_slot}: {counted.why}")
                part.next_slot += 1
                self._round, self._previous = self._round + 1, None
                if not self._resumes(part):
                    return True
            elif counted.verdict is Verdict.TORN:
                self.tail = f"{part.file.name}, slot {part.next_slot}: {counted.why}, and is ignored"
                return True
            elif counted.verdict is Verdict.EMPTY:
                return False
        return last is not None and self._round > last

    def _count_slots(self, part: Part, room: int, expected: Expected) -> tuple[np.ndarray, Counted]:
        for attempt in range(DAMAGE_RETRIES + 1):
            slots = self.slot(part, part.next_slot, room)
            counted = count(slots, expected)
            stopped = counted.verdict in (Verdict.EMPTY, Verdict.TORN)
            gone = stopped and self._record_behind(part, part.next_slot + counted.count + 1)
            # A slot of zeros may be the rest of a segment that was full; half a slot ends the view.
            if gone or (counted.verdict is Verdict.TORN and self._segment_behind(part)):
                why = "the commit record is gone, but a later one is there"
                counted = Counted(counted.count, Verdict.DAMAGED, why, counted.hashes)
            if counted.verdict is not Verdict.DAMAGED or attempt == DAMAGE_RETRIES:
                break
            time.sleep(DAMAGE_RETRY_S)
        return slots, counted

    def _record_behind(self, part: Part, slot: int) -> bool:
        """Whether any slot from ``slot`` on holds a record whose checksum holds."""
        while slot < part.file.layout.slots:
            slots = self.slot(part, slot, min(CHUNK_SLOTS, part.file.layout.slots - slot))
            written = slots[slots[:, :3].any(axis=1)]
            if len(written) and bool(sound(written).any()):
                return True
            slot += len(slots)
        return False

    def _segment_behind(self, part: Part) -> bool:
        """Whether a later segment of the view holds a record whose checksum holds."""
        view = part.epoch.view.view
        for number in self._folder.segments(view):
            if number > part.segment:
                try:
                    file = SegmentFile(layout(self._folder.segment_path(view, number)))
                except LedgerDamaged:
                    continue
                try:
                    if self._record_behind(Part(part.epoch, file, number, 0), 0):
                        return True
                finally:
                    file.close()
        return False

    def _resumes(self, part: Part) -> bool:
        """Whether counting can go on behind a damaged slot."""
        place = part.file.layout
        if part.next_slot >= place.slots:
            return True
        expected = Expected(place.ledger, place.view, self._round, None)
        return count(self.slot(part, part.next_slot), expected).count == 1

    def _add(self, part: Part, records: np.ndarray) -> bool:
        """Take records that count, unless their totals shrink: nobody could find their blocks."""
        for name in TOTALS:
            values = np.append(np.uint64(self._last[name]), records[name])
            if bool((values[1:] < values[:-1]).any()):
                self._damaged(
                    part.file.name, f"slot {part.next_slot} or after: {name} is below that of the round before"
                )
                return False
            self._last[name] = int(values[-1])
        if len(records):
            self._new.append(records[list(TOTALS)])
        part.slots.extend(range(part.next_slot, part.next_slot + len(records)))
        part.next_slot += len(records)
        self.rounds += len(records)
        self._round += len(records)
        return True

    def _at_cut(self, part: Part, segments_there: list[int], last: int) -> None:
        """The record at the cut must be the copy in the successor's view record; what follows was never acknowledged."""
        counted = part.slots[-1] == part.next_slot - 1 if part.slots else part.next_slot == part.first_slot > 0
        if counted and self.slot(part, part.next_slot - 1).tobytes() != part.epoch.cut:
            self._damaged(part.file.name, f"slot {part.next_slot - 1} is not the record at which the view was cut")
        if segments_there[-1] > part.segment or self._record_behind(part, part.next_slot):
            self.behind_cuts.append(f"view {part.epoch.view.view} goes on behind round {last}, at which it was cut")

    def _damaged(self, where: str, what: str) -> None:
        if self._report is None:
            raise LedgerDamaged(f"{self._folder.path}, {where}: {what}; baash verify lists all damage")
        self._report(where, self._last["block_total"], what)
