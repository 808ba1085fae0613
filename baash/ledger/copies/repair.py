"""Mending a ledger from a copy: ``baash repair``. What is taken is verified piece by piece, from whichever file has it.

``history.py`` finds the views, ``merge.py`` the slots, ``pieces.py`` the rest. Here it is written: a segment that is short of
anything, or whose metadata have changed, is made anew beside the old one, packed; the old one is kept as ``damaged-NAME``, which
readers ignore, and the new one takes its name by one rename. In the order in which a writer makes things, view by view, so
that a repair that was interrupted can be started again.

A segment of the newest view may be written by somebody who is paused (``pack.py``, the danger): before anything is counted
a number after all views is claimed, which fences that writer off. What neither ledger has stays as it is, and the audit at
the end says what is still wrong. Nothing is invented and nothing is thrown away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baash.errors import LedgerDamaged, LedgerError, StorageError
from baash.ledger import segment as segments
from baash.ledger.audit import Report, audit
from baash.ledger.copies.history import Chosen, history
from baash.ledger.copies.merge import Merge, Merged
from baash.ledger.copies.pack import whole_or_gone, write_anew
from baash.ledger.durable import FileDamaged, read_regular, refusals, replace, sync_folder
from baash.ledger.folder import CHECKPOINT_NAME, Folder
from baash.ledger.proofs.checkpoint import Checkpoint, decode, read
from baash.ledger.reader import check_folder
from baash.protocol.plan import Capacity
from baash.records import COMMIT_LOCATOR, COMMIT_RECORD
from baash.text import counted

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Mend:
    """One file that is, or would be, mended. ``pieces``: taken from elsewhere; ``kept``: the name of the damaged one."""

    name: str
    pieces: int
    why: str
    kept: str | None = None


@dataclass
class Repaired:
    """What was done, or would be. ``lost``: what neither ledger has. ``report``: the audit afterwards (before, if dry)."""

    mended: list[Mend] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)


def repair(
    ledger: Path,
    other: Path,
    info: Mapping[str, Any],
    *,
    dry_run: bool = False,
    extend: bool = False,
    progress: Progress | None = None,
    auditing: Progress | None = None,
) -> Repaired:
    """Mend ``ledger`` with what ``other``, a copy of it, has. ``extend``: take its later rounds and views too.

    Raises LedgerBusy, LedgerError (not the same ledger, a fork), LedgerDamaged (a view record that neither has), StorageError.
    """
    ours, theirs = check_folder(ledger), check_folder(other)
    if ours.path.resolve() == theirs.path.resolve():
        raise LedgerError(f"{ledger} and {other} are the same folder; give a copy to mend it from")
    with ours.lock(info=info) as lock:
        work = _Repair(ours, theirs, info, dry_run, extend)
        work.run(progress, auditing)
        if work.done.mended and not (
            dry_run or work.done.report.ok
        ):  # the views that are back may show what else is short
            again = _Repair(ours, theirs, info, dry_run, extend)
            again.run(progress, auditing)
            again.done.mended[:0] = work.done.mended
            work = again
        if lock.note:
            work.done.notes.append(lock.note)
        return work.done


class _Repair:
    def __init__(self, ours: Folder, other: Folder, info: Mapping[str, Any], dry_run: bool, extend: bool) -> None:
        self._ours, self._other, self._info = ours, other, info
        self._dry, self._extend = dry_run, extend
        self.done = Repaired()

    def run(self, progress: Progress | None, auditing: Progress | None) -> None:
        before = audit(self._ours.path, progress=auditing)
        metadata = {p.segment for p in before.problems if p.segment and p.height is None}
        note = _note(self._ours)

        def belongs(first: int) -> bool:
            return self._extend or (note is not None and first < note.size)

        chain = history(self._ours, self._other, self._extend or self._promised(note, before))
        # What is well needs nothing: it is only held against the other.
        self._dry = self._dry or (before.ok and not self._extend)
        if not self._dry:
            while self._ours.claim_next(self._info) <= chain[-1].view.view:
                pass  # claims that are missing, too
        merge = Merge(self._ours, self._other, belongs)
        total = len(set(self._ours.segment_names()) | set(self._other.segment_names()))
        views = {c.view.view: c for c in chain}
        for seen, made in enumerate(merge.segments(chain), 1):
            self._views(views, made.view.view)
            self._segment(made, made.files[0].name in metadata)
            if progress is not None:
                progress(min(seen, total), total)
        self._views(views, chain[-1].view.view)
        self.done.lost += merge.lost
        self._finish(before, auditing)

    def _promised(self, note: Checkpoint | None, before: Report) -> bool:
        """Whether the checkpoint here vouches for more than is found here: then later views may hold it."""
        return note is not None and note.size > before.blocks and before.walked

    def _views(self, views: dict[int, Chosen], upto: int) -> None:
        """The view records up to number ``upto``; each before its segments, after those of the view before it."""
        for number in sorted(n for n in views if n <= upto):
            path = self._ours.view_path(number)
            text = views.pop(number).text
            with suppress(OSError, FileDamaged):
                if read_regular(path, len(text)) == text:
                    continue
            kept = None
            if not self._dry:
                kept = _keep(path)
                replace(path, text)
            self.done.mended.append(Mend(path.name, 1, "the view record", kept))

    def _segment(self, made: Merged, metadata: bool) -> None:
        name = made.files[0].name
        self.done.lost += [f"{name}: {what}" for what in made.lost]
        path = self._ours.segment_path(made.view.view, made.segment)
        missing = not os.path.lexists(path)
        if made.ours and not made.patches and not metadata:
            return
        if missing and not made.slots:
            return
        why = "it was missing" if missing else "it could not be read" if not made.ours else ""
        why = why or (
            counted(len(made.patches), "piece") + (" and its metadata" if metadata else "")
            if made.patches
            else "its metadata"
        )
        kept = None
        if not self._dry:
            temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            rows = segments.rows_of(_capacity(made), made.view)
            patches = ((p.data_set, p.offset, p.data) for p in made.patches)
            with whole_or_gone(temporary):
                write_anew(temporary, rows, made.slots, made.files[0], made.view, patches)
            with refusals("replace", path):
                kept = _keep(path)
                os.replace(temporary, path)
                sync_folder(path.parent)
        self.done.mended.append(Mend(path.name, len(made.patches), why, kept))

    def _finish(self, before: Report, auditing: Progress | None) -> None:
        if self._dry:
            self.done.report = before
            return
        self.done.report = audit(self._ours.path, progress=auditing)
        if not any(p.segment == CHECKPOINT_NAME for p in self.done.report.problems):
            return
        try:
            note, raw = _note(self._other), read(self._other)
        except (LedgerError, StorageError):
            return
        if note is None or raw is None or note.size > self.done.report.blocks:
            return
        path = self._ours.path / CHECKPOINT_NAME
        kept = _keep(path)
        replace(path, raw)
        self.done.mended.append(Mend(path.name, 1, "the checkpoint", kept))
        self.done.report = audit(self._ours.path, progress=auditing)


def _note(folder: Folder) -> Checkpoint | None:
    """What the checkpoint says. It only tells how far to look: all that is taken proves itself, and the audit checks it."""
    try:
        raw = read(folder)
        return decode(raw)[0] if raw is not None else None
    except (LedgerDamaged, StorageError):
        return None


def _capacity(made: Merged) -> Capacity:
    """What the counted rounds need; of the last slot that is known, whatever is lost behind it."""
    if made.last is None:
        return Capacity(0, 0, 0, 0, slots=max(1, made.slots))
    end = made.last[COMMIT_RECORD.itemsize :][: COMMIT_LOCATOR.itemsize].view(COMMIT_LOCATOR)[0]
    return Capacity(
        int(end["first_block"]) + int(end["block_count"]),
        int(end["records_end"]),
        int(end["certificates_end"]),
        int(end["first_rejection"]) + int(end["rejection_count"]),
        made.slots,
    )


def _keep(path: Path) -> str | None:
    """Give a damaged file a second name, ``damaged-…``, so that nothing is thrown away. Its new name, None: there is none."""
    if not os.path.lexists(path):
        return None
    number = 1
    while os.path.lexists(kept := path.with_name(f"damaged-{path.name}" + (f".{number}" if number > 1 else ""))):
        number += 1
    with refusals("keep", path):
        if path.is_symlink() or not path.is_file():
            os.rename(path, kept)
            return kept.name
        try:
            os.link(path, kept)
        except OSError:  # not every file system has links
            shutil.copyfile(path, kept)
    return kept.name
