"""A verified copy of a ledger, made while somebody writes it: ``baash copy``.

Theory. What was acknowledged before the copy began is durable, so it is found by counting the source's commit records
after that. What is found beyond it may be cut off again by a successor; so the record counted last is flushed, and when
the copy is whole the source is asked again whether it still has that record: if not, the copy is made anew. (A successor
that has claimed, but publishes only after that, can still cut off what nobody was told of: then the copy holds a round too
many, and ``--update`` calls it a fork.)

The copy grows in a folder of its own, ``….copy.tmp``, its segments packed. There it is audited, and only then it is given
its name by one rename: what bears the name is whole, and well. *Bringing up to date* builds the new state beside the old one
in the same way (what has not changed is linked), and then moves it in, in the order in which a writer makes things: a view's
segments up to its cut before its successor's record, that record before its segments, the checkpoint last. Whenever that
stops, what is there is a shorter copy of the same ledger, and the next try goes on.

A damaged ledger is refused: a copy that looks like a good one must be one. Repairs nothing (``repair.py``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baash.errors import LedgerDamaged, LedgerError
from baash.ledger.audit import audit
from baash.ledger.copies.pack import remove_unfinished, write_packed
from baash.ledger.counting import Counter, Part
from baash.ledger.durable import (
    read_regular,
    refusals,
    rename_exclusively,
    sync_folder,
    write_exclusively,
)
from baash.ledger.folder import CHECKPOINT_NAME, Epoch, Folder
from baash.ledger.proofs.checkpoint import decode, read
from baash.ledger.reader import Ledger, check_folder

Progress = Callable[[int, int], None]  # bytes copied, in all; then blocks audited, in all
STAGING = "copy.tmp"
TRIES = 3
CLAIM_BYTES_MAX = 1 << 20
PROBLEMS_SHOWN = 3


@dataclass
class Copied:
    """What was copied; ``written`` are bytes and files that were not there before."""

    blocks: int = 0
    transactions: int = 0
    rounds: int = 0
    files: int = 0
    bytes: int = 0
    blocks_before: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Snapshot:
    """The source as far as it is copied. ``commit``: the slot of the last of its ``rounds``, None without any."""

    folder: Folder
    note: bytes | None
    epochs: list[Epoch]
    parts: list[Part]
    rounds: int
    commit: bytes | None
    blocks: int
    transactions: int

    def close(self) -> None:
        for part in self.parts:
            part.file.close()


def copy(
    source: Path,
    target: Path,
    info: Mapping[str, Any],
    *,
    update: bool = False,
    copying: Progress | None = None,
    auditing: Progress | None = None,
) -> Copied:
    """Copy the ledger ``source`` to ``target``, which must be free; ``update``: or an earlier copy, which is brought up to date.

    Raises LedgerError (the target is something else, or not a part of this ledger), LedgerDamaged (of either),
    LedgerBusy, StorageError; then there is no ``target``, or it is as it was.
    """
    origin = check_folder(source)
    there = os.path.lexists(target)
    if there and not update:
        raise LedgerError(
            f"{target} exists already; choose another name, or pass --update to bring an earlier copy up to date"
        )
    _refuse_inside(source, target)
    for _ in range(TRIES):
        found = _look(origin)
        try:
            work = _bring_up_to_date if there else _make
            done = work(found, target, info, copying, auditing)
        finally:
            found.close()
        if done is not None:
            return done
    raise LedgerError(f"{source} went back {TRIES} times while it was copied: new views follow one another; try again")


def _refuse_inside(source: Path, target: Path) -> None:
    inner, outer = target.resolve(), source.resolve()
    if outer == inner or outer in inner.parents or inner in outer.parents:
        raise LedgerError(f"{target} lies inside {source}, or the other way round; choose a folder elsewhere")


def _look(folder: Folder) -> _Snapshot:
    """Count the source. The checkpoint is read first: what it vouches for was acknowledged, so it is found afterwards."""
    note = read(folder)
    counter = Counter(folder, None)
    if not counter.epochs:
        raise LedgerError(f"{folder.path} has no published view yet: there is nothing to copy")
    last = max((i for i, part in enumerate(counter.parts) if part.slots), default=-1)
    commit = None
    if last >= 0:
        part = counter.parts[last]
        part.file.flush()
        record = counter.slot(part, part.slots[-1])[0]
        commit = record.tobytes()
    totals = [
        int(t[-1]) if counter.rounds else 0
        for t in (counter.totals["block_total"], counter.totals["transaction_total"])
    ]
    if note is not None and decode(note)[0].size > totals[0]:
        raise LedgerDamaged(
            f"{folder.path} is damaged and was not copied: its checkpoint vouches for more than the {totals[0]} blocks that "
            "are found; see baash verify"
        )
    return _Snapshot(folder, note, counter.epochs, counter.parts[: last + 1], counter.rounds, commit, *totals)


def _still_there(found: _Snapshot) -> bool:
    """Whether the source still has what was copied, or a successor has cut some of it off."""
    counter = Counter(found.folder, None)
    try:
        if found.commit is None:
            return True
        if counter.rounds < found.rounds:
            return False
        for part in reversed(counter.parts):
            if part.first < found.rounds and part.slots:
                last = counter.slot(part, part.slots[found.rounds - 1 - part.first])[0]
                return bool(last.tobytes() == found.commit)
        return False
    finally:
        for part in counter.parts:
            part.file.close()


def _make(
    found: _Snapshot, target: Path, info: Mapping[str, Any], copying: Progress | None, auditing: Progress | None
) -> Copied | None:
    """A new copy; None: the source went back meanwhile."""
    staging = target.with_name(f"{target.name}.{STAGING}")
    with refusals("create the copy", staging):
        staging.mkdir(parents=True, exist_ok=True)
    with Folder(staging).lock(info=info):
        try:
            _clear(staging)
            done = _fill(found, staging, {}, copying)
            _audit(found, staging, auditing)
            if not _still_there(found):
                return None
            with refusals("publish", target):
                if os.path.lexists(target):
                    raise LedgerError(f"{target} has appeared meanwhile; choose another name")
                os.rename(staging, target)  # never over a folder that holds anything
                sync_folder(target.parent)
            return done
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _bring_up_to_date(
    found: _Snapshot, target: Path, info: Mapping[str, Any], copying: Progress | None, auditing: Progress | None
) -> Copied | None:
    folder = check_folder(target)
    staging = target / STAGING
    with folder.lock(info=info) as lock:
        if lock.held:
            remove_unfinished(folder)
        shutil.rmtree(staging, ignore_errors=True)
        before, kept = _compare(found, target)
        try:
            with refusals("create the copy", staging):
                staging.mkdir()
            done = _fill(found, staging, kept, copying)
            _audit(found, staging, auditing)
            if not _still_there(found):
                return None
            _move_in(found, staging, folder, kept)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    done.blocks_before = before
    return done


def _compare(found: _Snapshot, target: Path) -> tuple[int, dict[str, Path]]:
    """Blocks of the copy, and its files that stay as they are, by name. LedgerError if it is not a part of the source."""
    kept: dict[str, Path] = {}
    with Ledger(target) as copy_:
        theirs = {e.view.view: e for e in found.epochs}
        if copy_.view is not None and copy_.id != found.epochs[-1].view.ledger:
            raise LedgerError(f"{target} is another ledger ({copy_.id.hex()}); choose another folder")
        for epoch in copy_.epochs:
            ours = theirs.get(epoch.view.view)
            if ours is None or ours.text != epoch.text:
                raise LedgerError(
                    f"{target} has a view {epoch.view.view} that {found.folder.path} does not have: a fork"
                )
            kept[copy_.folder.view_path(epoch.view.view).name] = copy_.folder.view_path(epoch.view.view)
        if len(copy_.rounds) > found.rounds:
            raise LedgerError(f"{target} holds more than {found.folder.path}; copy the other way round")
        if len(copy_.rounds) and not _has(found, len(copy_.rounds) - 1, copy_.rounds[-1].raw.tobytes()):
            raise LedgerError(
                f"{target} holds rounds that {found.folder.path} does not: the two are forks of one ledger"
            )
        counts = {r.file.name: r.slot + 1 for r in copy_.rounds}
        for part in found.parts:
            if counts.get(part.file.name) == len(part.slots):
                kept[part.file.name] = target / part.file.name
        return copy_.block_total, kept


def _has(found: _Snapshot, index: int, raw: bytes) -> bool:
    part = next(p for p in reversed(found.parts) if p.first <= index and p.slots)
    size = part.file.layout.slot_bytes
    slot = part.slots[index - part.first]
    return part.file.read("commit_records", slot * size, size)[:256].tobytes() == raw[:256]


def _fill(found: _Snapshot, staging: Path, kept: Mapping[str, Path], progress: Progress | None) -> Copied:
    """Everything into the staging folder; what an earlier copy has already is linked."""
    done = Copied(found.blocks, found.transactions, found.rounds)
    folder = Folder(staging)
    total = sum(part.file.layout.file[2] for part in found.parts)
    seen = 0
    with refusals("write", staging):
        for epoch in found.epochs:
            number = epoch.view.view
            with suppress(FileNotFoundError):
                claim = read_regular(found.folder.path / f"claim-{number:06d}", CLAIM_BYTES_MAX)
                write_exclusively(staging / f"claim-{number:06d}", claim)
            write_exclusively(folder.view_path(number), epoch.text)
        for part in found.parts:
            path = folder.path / part.file.name
            if part.file.name in kept:
                _link(kept[part.file.name], path)
            else:
                write_packed(part.file, len(part.slots), part.epoch.view, path)
                done.files, done.bytes = done.files + 1, done.bytes + path.stat().st_size
            part.file.close()
            seen += part.file.layout.file[2]
            if progress is not None:
                progress(seen, total)
        if found.note is not None:
            write_exclusively(staging / CHECKPOINT_NAME, found.note)
        else:
            done.notes.append("the source has no checkpoint, so neither has the copy: keep its head elsewhere")
        sync_folder(staging)
    return done


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copyfile(source, target)


def _audit(found: _Snapshot, staging: Path, progress: Progress | None) -> None:
    report = audit(staging, found.epochs[-1].view.ledger, progress)
    if not report.ok:
        first = "; ".join(str(p) for p in report.problems[:PROBLEMS_SHOWN])
        raise LedgerDamaged(
            f"{found.folder.path} is damaged and was not copied: {first}; baash verify lists all, and baash repair mends it "
            "from a good copy"
        )


def _move_in(found: _Snapshot, staging: Path, folder: Folder, kept: Mapping[str, Path]) -> None:
    """Each step leaves a shorter copy of the same ledger (see the file's head)."""
    parts = {e.view.view: [p.file.name for p in found.parts if p.epoch.view.view == e.view.view] for e in found.epochs}
    for epoch in found.epochs:
        name = folder.view_path(epoch.view.view).name
        claim = f"claim-{epoch.view.view:06d}"
        if name not in kept:
            if (staging / claim).exists() and not (folder.path / claim).exists():
                rename_exclusively(staging / claim, folder.path / claim)
            rename_exclusively(staging / name, folder.path / name)
        with refusals("publish", folder.path):
            for segment in parts[epoch.view.view]:
                if segment not in kept:
                    os.replace(staging / segment, folder.path / segment)
                    sync_folder(folder.path)
    _move_checkpoint(staging, folder)


def _move_checkpoint(staging: Path, folder: Folder) -> None:
    new, old = read(Folder(staging)), read(folder)
    if new is None or (old is not None and decode(old)[0].size > decode(new)[0].size):
        return
    with refusals("publish", folder.path):
        os.replace(staging / CHECKPOINT_NAME, folder.path / CHECKPOINT_NAME)
        sync_folder(folder.path)


def _clear(staging: Path) -> None:
    """What an interrupted copy left."""
    with refusals("clear", staging):
        for path in staging.iterdir():
            if path.name != "baash.lock":
                path.unlink()
