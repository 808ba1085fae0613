"""Two files of each segment, walked together: which slots there are, and what the first ledger's file is short of.

Follows the commit records of the whole history as a reader does (``docs/ledger-format.md`` section 7), but from two files at
once: a slot is good when its checksum holds, it follows the one before and every coordinator signed it, and then it is the same
in both files or the two are forks. The slot at which a view was cut is also in its successor's record. Where neither has a
slot, the round is lost, and the walk goes on behind it. What a round needs is ``pieces.py``'s matter.

Rounds that only the other ledger has belong to this one if a later view is built on them, if something was here where they
lie, or if the caller says so (``belongs``). Writes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from baash.errors import LedgerDamaged, LedgerError, PeerError, StorageError
from baash.ledger.copies.history import Chosen
from baash.ledger.copies.pieces import Before, Patch, mend
from baash.ledger.durable import open_regular
from baash.ledger.folder import Folder, commit_record
from baash.ledger.layout import Layout, identity, layout
from baash.ledger.round import SegmentFile
from baash.ledger.slots import sound
from baash.protocol.committed import check_slot
from baash.protocol.view import View
from baash.records import COMMIT_LOCATOR, COMMIT_RECORD, ZERO_HASH, slot_bytes

Belongs = Callable[[int], bool]  # whether a round whose first block has this height, beyond the end here, is taken


@dataclass
class Merged:
    """A segment. ``files[0]`` is the base, which can be read by its own metadata; ``ours``: it is the first ledger's. ``last``:
    its last slot that counts."""

    view: View
    segment: int
    files: list[SegmentFile]
    ours: bool
    slots: int = 0
    last: np.ndarray | None = None
    patches: list[Patch] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Merge:
    """The state of the walk."""

    def __init__(self, ours: Folder, other: Folder, belongs: Belongs) -> None:
        self._folders = ours, other
        self._belongs = belongs
        self._previous: bytes | None = ZERO_HASH
        self._before = Before(0, 0, ZERO_HASH, True)
        self._number = 0
        self.lost: list[str] = []  # of no segment in particular

    def segments(self, history: list[Chosen]) -> Iterator[Merged]:
        """The segments of the history, in order; each is to be used before the next is asked for."""
        for chosen in history:
            self._number, last = 0, self._last_round(chosen)
            segment = 0
            while (last is None or self._number <= last) and (made := self._segment(chosen, segment, last)):
                yield made
                for file in made.files:
                    file.close()
                segment += 1
            if last is not None and self._number <= last:
                self.lost.append(f"rounds {self._number} to {last} of view {chosen.view.view}")
                self._lose()
            if chosen.cut is not None:
                self._previous = hashlib.sha256(chosen.cut[: COMMIT_RECORD.itemsize]).digest()

    @staticmethod
    def _last_round(chosen: Chosen) -> int | None:
        if chosen.open:
            return None
        return -1 if chosen.cut is None else int(commit_record(chosen.cut)["round"])

    def _segment(self, chosen: Chosen, segment: int, last: int | None) -> Merged | None:
        view = chosen.view
        paths = [folder.segment_path(view.view, segment) for folder in self._folders]
        if not any(os.path.lexists(p) for p in paths):
            later = [n for folder in self._folders for n in folder.segments(view.view) if n > segment]
            if later:
                self.lost.append(f"segment {paths[0].name}, which neither ledger has")
                self._lose()
            return None
        found = [_side(folder, view, segment, None) for folder in self._folders]
        ours = found[0] is not None
        for i in (0, 1):
            twin = found[1 - i]
            if found[i] is None and twin is not None:  # its metadata may be all that is wrong with it
                found[i] = _side(self._folders[i], view, segment, twin.layout)
        files = [f for f in (found if ours else found[::-1]) if f is not None]
        if not files:
            self.lost.append(f"segment {paths[0].name}, which can be read in neither ledger")
            self._lose()
            return None
        made = Merged(view, segment, files, ours)
        unreadable = not ours and os.path.lexists(paths[0])
        self._slots(made, chosen, last, found, unreadable)
        return made if made.slots or made.ours or unreadable else None

    def _slots(
        self, made: Merged, chosen: Chosen, last: int | None, found: list[SegmentFile | None], unreadable: bool
    ) -> None:
        size, view = slot_bytes(len(made.view.coordinators)), made.view
        sides = [_all_slots(f, size) for f in found]
        later = any(n > made.segment for n in self._folders[0].segments(view.view))
        cut = np.frombuffer(chosen.cut, dtype=np.uint8) if chosen.cut else None
        for slot in range(max(len(s) for s in sides)):
            if last is not None and self._number > last:
                return
            rows = [s[slot] if slot < len(s) else None for s in sides]
            raw = self._choose(view, rows, cut if self._number == last else None)
            if raw is None:
                if not any(bool(sound(s[slot + 1 :]).any()) for s in sides if len(s) > slot + 1):
                    return
                made.lost.append(f"the commit record of round {self._number}, in slot {slot}")
                made.slots = slot + 1
                self._number += 1
                self._lose()
                continue
            here = unreadable or later or bool(sides[0][slot:].any())
            record = commit_record(raw.tobytes())
            locator = raw[COMMIT_RECORD.itemsize :][: COMMIT_LOCATOR.itemsize].view(COMMIT_LOCATOR)[0]
            first = int(record["block_total"]) - int(locator["block_count"])
            if last is None and not here and not self._belongs(first):
                return
            self._take(made, slot, raw, replace(self._before, blocks=first))

    def _take(self, made: Merged, slot: int, raw: np.ndarray, before: Before) -> None:
        done = mend(made.view, raw, slot, made.files, before)
        record = commit_record(raw.tobytes())
        made.slots, made.last = slot + 1, raw
        made.patches += done.patches
        made.lost += done.lost
        if _slot_of(made.files[0], slot, raw.nbytes) != raw.tobytes():
            made.patches.append(Patch("commit_records", slot * raw.nbytes, raw.tobytes()))
        self._number += 1
        self._previous = hashlib.sha256(raw[: COMMIT_RECORD.itemsize].tobytes()).digest()
        totals = int(record["block_total"]), int(record["transaction_total"])
        self._before = Before(*totals, record["head"].tobytes(), True)

    def _choose(self, view: View, rows: list[np.ndarray | None], cut: np.ndarray | None) -> np.ndarray | None:
        """The slot of the round that is due, from wherever it is good. LedgerError if both are and differ."""
        good = [r for r in (*rows, cut) if r is not None and self._good(view, r)]
        if any(r[: COMMIT_RECORD.itemsize].tobytes() != good[0][: COMMIT_RECORD.itemsize].tobytes() for r in good[1:]):
            ours, other = self._folders
            raise LedgerError(
                f"round {self._number} of view {view.view} is another one in {ours.path} than in {other.path}, and all "
                "coordinators signed both: the two are forks of one ledger, and nothing is mixed"
            )
        return good[0] if good else None

    def _good(self, view: View, raw: np.ndarray) -> bool:
        if not sound(raw[None, :])[0]:
            return False
        previous = commit_record(raw.tobytes())["previous"].tobytes() if self._previous is None else self._previous
        try:
            check_slot(view, raw, previous, self._number)
        except PeerError:
            return False
        return True

    def _lose(self) -> None:
        self._previous = None
        self._before = replace(self._before, head=None, follows=False)


def _all_slots(file: SegmentFile | None, size: int) -> np.ndarray:
    if file is None:
        return np.zeros((0, size), dtype=np.uint8)
    try:
        count = file.opened().slots
        return file.read("commit_records", 0, count * size).reshape(count, size)
    except (LedgerDamaged, StorageError):
        return np.zeros((0, size), dtype=np.uint8)


def _slot_of(file: SegmentFile, slot: int, size: int) -> bytes:
    try:
        return file.read("commit_records", slot * size, size).tobytes()
    except (LedgerDamaged, StorageError):
        return b""


def _side(folder: Folder, view: View, segment: int, twin: Layout | None) -> SegmentFile | None:
    """The segment's file in a folder, if it can be read: by its own metadata, or by those of its ``twin``, as a guess: what is
    found by it has to prove itself like all else."""
    path = folder.segment_path(view.view, segment)
    if twin is None:
        try:
            found = layout(path)
        except (LedgerDamaged, StorageError):
            return None
        stated = (found.ledger, found.view, found.segment, found.coordinators, found.align)
        wanted = (view.ledger, view.view, segment, len(view.coordinators), view.parameters.align)
        return SegmentFile(found) if stated == wanted else None
    try:
        descriptor = open_regular(path)
    except (LedgerDamaged, OSError):
        return None
    try:
        here = identity(descriptor)
    finally:
        os.close(descriptor)
    return SegmentFile(replace(twin, path=path, file=here))
