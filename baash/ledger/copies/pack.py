"""Packing: a finished segment is replaced by a copy that holds what counts of it and no room for more.

Theory. Places in a segment are relative to its data sets, so a copy with the same bytes in shorter data sets leaves
slots, locators, hashes and proofs as they are. It is made beside the segment, flushed, compared byte by byte, and takes
the name by one rename: a reader finds the one file or the other, and who has the old one open reads on in it.

*The danger.* A writer has the old file open, by its inode. If its segment is replaced under it, it goes on in a file
that has no name any more, and would acknowledge rounds that nobody ever sees. So a segment is replaced only when no
writer can acknowledge a round in it again. A writer makes a round durable, then looks for a newer claim, then acknowledges;
therefore

  behind a cut      its successor's claim is newer: whoever still writes there finds it and stops (``docs/ledger-format.md``
                    section 8, and DESIGN's fencing); what it wrote before was counted when the cut was read;
  in the newest     only if the caller says that it is at rest: the run itself, after its leading coordinator (which
  view              alone acknowledges) has ended in order; or somebody who has *claimed* a number after it and
                    counts afterwards. A lock does not suffice: not every file system has one between nodes.

What counts is up to the last counted round; what lies behind it is left out. A segment that holds nothing that counts is
packed to an empty one, not removed: a gap would have to be told from damage. Damage is never packed: a commit record that
cannot be counted, or a checkpoint that vouches for more than is there, stops it, since repair needs the bytes as they are.

Compresses nothing, checks no hash of a block: that is the audit's.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baash.errors import LedgerDamaged, LedgerError
from baash.ledger import segment as segments
from baash.ledger.counting import Counter, Part
from baash.ledger.durable import pwrite_all, refusals, sync_folder
from baash.ledger.folder import Folder
from baash.ledger.layout import DataSet, Layout, layout
from baash.ledger.proofs.checkpoint import decode, read
from baash.ledger.round import SegmentFile
from baash.ledger.slots import Expected, count, records_of
from baash.protocol.plan import Capacity
from baash.protocol.view import View
from baash.records import COMMIT_LOCATOR, COMMIT_RECORD

Progress = Callable[[int, int], None]  # bytes of the ledger's segments looked at, in all

WORTHWHILE = 64  # less than one part in so many saved: the segment stays as it is
CHUNK_BYTES = 1 << 20  # compared while it is in the cache
METADATA_BYTES = 4096  # at most so much HDF5 needs for itself
_LEFT_BEHIND = re.compile(r"segment-[0-9]+-[0-9]+\.h5\.[0-9]+\.tmp")
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


@dataclass
class Packed:
    """What packing did. Bytes are what the file system has allocated."""

    segments: int = 0  # of the history
    packed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    @property
    def saved(self) -> int:
        return self.bytes_before - self.bytes_after


def pack(folder: Folder, *, newest_at_rest: bool, progress: Progress | None = None) -> Packed:
    """Pack the finished segments of the history; the newest view's only if ``newest_at_rest`` (see the file's head).

    Raises LedgerDamaged, StorageError: then the segments that were not yet replaced are as they were.
    """
    done = Packed()
    counter = Counter(folder, None)
    _check_checkpoint(folder, counter)
    there = _segments(folder, counter)
    total = sum(part.file.layout.file[2] for part, _ in there)
    seen = 0
    for part, slots in there:
        place = part.file.layout
        done.segments += 1
        done.bytes_before += allocated(place.path)
        finished = newest_at_rest or not part.epoch.open
        if finished and worthwhile(place, capacity_of(part.file, slots), part.epoch.view):
            _replace(part, slots)
            done.packed += 1
        done.bytes_after += allocated(place.path)
        part.file.close()
        seen += place.file[2]
        if progress is not None:
            progress(seen, total)
    return done


def worth_packing(folder: Folder) -> bool:
    """Whether the newest view has a segment that packing would make smaller. Raises LedgerDamaged, StorageError."""
    counter = Counter(folder, None)
    return any(
        part.epoch.open and worthwhile(part.file.layout, capacity_of(part.file, slots), part.epoch.view)
        for part, slots in _segments(folder, counter)
    )


def remove_unfinished(folder: Folder) -> int:
    """Take away what interrupted packing and creation left (``….tmp``); by the holder of the writer's lock alone."""
    names = [name for name in os.listdir(folder.path) if _LEFT_BEHIND.fullmatch(name)]
    for name in names:
        with refusals("remove", folder.path / name), suppress(FileNotFoundError):
            (folder.path / name).unlink()
    return len(names)


def allocated(path: Path) -> int:
    """Bytes that the file system has allocated to a file."""
    with refusals("look at", path):
        return path.stat().st_blocks * 512


def capacity_of(file: SegmentFile, slots: int) -> Capacity:
    """Exactly what the first ``slots`` slots of a segment need."""
    if not slots:
        return Capacity(0, 0, 0, 0, slots=1)
    place = file.opened()
    at, size = (slots - 1) * place.slot_bytes, place.slot_bytes
    raw = file.read("commit_records", at, size)[COMMIT_RECORD.itemsize :]
    end = raw[: COMMIT_LOCATOR.itemsize].view(COMMIT_LOCATOR)[0]
    return Capacity(
        blocks=int(end["first_block"]) + int(end["block_count"]),
        # Rounded up, the end may lie behind a data set whose size is no multiple of the alignment.
        records_bytes=min(int(end["records_end"]), place.data["records"].size),
        certificates_bytes=int(end["certificates_end"]),
        rejections=int(end["first_rejection"]) + int(end["rejection_count"]),
        slots=slots,
    )


def worthwhile(place: Layout, capacity: Capacity, view: View) -> bool:
    """Whether a packed copy saves enough of the file's length."""
    rows = segments.rows_of(capacity, view)
    most = sum(segments.size_of(rows).values()) + len(rows) * segments.packed_unit(rows) + METADATA_BYTES
    return (place.file[2] - most) * WORTHWHILE >= place.file[2]


def write_packed(file: SegmentFile, slots: int, view: View, target: Path) -> None:
    """Write what the first ``slots`` slots of a segment cover to ``target``: whole, compared, flushed; the folder is not.

    Raises StorageError, LedgerDamaged; then there is no ``target``.
    """
    rows = segments.rows_of(capacity_of(file, slots), view)
    with whole_or_gone(target):
        counted = write_anew(target, rows, slots, file, view)
        _compare(file, SegmentFile(layout(target)), counted, slots)


@contextmanager
def whole_or_gone(target: Path) -> Iterator[None]:
    """What is written inside is taken away again if anything goes wrong. OSErrors leave as StorageErrors."""
    try:
        with refusals("write", target):
            yield
    except BaseException:
        with suppress(OSError):
            target.unlink(missing_ok=True)
        raise


def write_anew(
    target: Path,
    rows: Mapping[str, int],
    slots: int,
    base: SegmentFile,
    view: View,
    patches: Iterable[tuple[str, int, bytes]] = (),
) -> dict[str, int]:
    """A segment with these rows: as far as ``base`` has them its bytes, over them the patches (data set, offset, bytes);
    flushed. Returns the bytes of each data set that count. Raises OSError, LedgerDamaged."""
    old = base.opened()
    segments.write_empty(target, rows, view, old.segment, segments.packed_unit(rows))
    made = layout(target)
    counted = {name: rows[name] * data.row_bytes for name, data in made.data.items()}
    counted["commit_records"] = slots * made.slot_bytes
    descriptor = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, os.stat(old.path).st_mode & 0o777)
        for name, data in made.data.items():
            _copy(base, name, min(counted[name], old.data[name].size), descriptor, data)
        for name, offset, raw in patches:
            pwrite_all(descriptor, raw, made.data[name].offset + offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return counted


def _segments(folder: Folder, counter: Counter) -> list[tuple[Part, int]]:
    """(segment, how many of its slots count), for all segments of the history's views, in order."""
    found = {(p.epoch.view.view, p.segment): p for p in counter.parts}
    out: list[tuple[Part, int]] = []
    for epoch in counter.epochs:
        view = epoch.view
        for number in folder.segments(view.view):
            part = found.get((view.view, number))
            if part is None:  # behind a cut: nothing of it counts
                part = Part(epoch, SegmentFile(layout(folder.segment_path(view.view, number))), number, 0)
            stated = (part.file.layout.ledger, part.file.layout.view, part.file.layout.coordinators)
            if stated == (view.ledger, view.view, len(view.coordinators)):
                out.append((part, len(part.slots)))
    return out


def _check_checkpoint(folder: Folder, counter: Counter) -> None:
    note = read(folder)
    if note is None:
        return
    total = int(counter.totals["block_total"][-1]) if counter.rounds else 0
    if decode(note)[0].size > total:
        raise LedgerDamaged(
            f"{folder.path}: the checkpoint vouches for more blocks than the {total} that are found, so nothing is packed; "
            "see baash verify, and mend it from a copy with baash repair"
        )


def _replace(part: Part, slots: int) -> None:
    path = part.file.layout.path
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    write_packed(part.file, slots, part.epoch.view, temporary)
    try:
        with refusals("replace", path):
            os.replace(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _copy(source: SegmentFile, name: str, size: int, target: int, to: DataSet) -> None:
    """``size`` bytes of a data set: inside the kernel where it can (some file systems then share them), else by hand."""
    done = 0
    descriptor, offset = source.descriptor(), source.layout.data[name].offset
    while done < size:
        try:
            got = os.copy_file_range(descriptor, target, size - done, offset + done, to.offset + done)
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
            break
        if not got:
            break
        done += got
    while done < size:
        chunk = source.read(name, done, min(CHUNK_BYTES, size - done))
        pwrite_all(target, memoryview(chunk), to.offset + done)
        done += chunk.nbytes


def _compare(source: SegmentFile, made: SegmentFile, counted: dict[str, int], slots: int) -> None:
    """LedgerError unless the copy has the same bytes of each data set, and ``slots`` slots that count."""
    one, two = np.empty(CHUNK_BYTES, np.uint8), np.empty(CHUNK_BYTES, np.uint8)
    try:
        for name, size in counted.items():
            for at in range(0, size, CHUNK_BYTES):
                a, b = one[: min(CHUNK_BYTES, size - at)], two[: min(CHUNK_BYTES, size - at)]
                source.read_into(a, name, at)
                made.read_into(b, name, at)
                words = "u8" if a.nbytes % 8 == 0 else "u1"
                if not np.array_equal(a.view(words), b.view(words)):
                    raise LedgerError(f"{made.layout.path} is not what was written to it; look at the storage")
        if not slots:
            return
        raw = made.read("commit_records", 0, counted["commit_records"]).reshape(slots, -1)
        first = records_of(raw[:1])[0]
        expected = Expected(made.layout.ledger, made.layout.view, int(first["round"]), first["previous"].tobytes())
        if count(raw, expected).count != slots:
            raise LedgerDamaged(f"{source.layout.path}: not all of its commit records count; see baash verify")
    finally:
        made.close()
