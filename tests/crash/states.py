"""From a log to the states in which a folder may be found after a crash.

Theory. *The process dies*: every operation so far is visible, in order. *The power fails*: what was flushed is there; of the
rest any part may be. A file's data, sizes and reservations are flushed by a flush of that file; the names in a folder
(creation, rename, link, removal) only by a flush of the folder; the flush of one says nothing of the other. Of what was not
flushed each operation is there or not, whatever came before or after it; a write may also be torn into its sectors of 512
bytes, each there or not. A rename is whole or not at all. Bytes that were never written are zeros. A flush of a file that failed flushes nothing, and no later one makes up
for it: what was written before stays uncertain, until the file is forgotten by the kernel and read again (``LOST``, ``SEEN``
in the log) or the bytes are written again. A folder's failed flush is made up for by the next.

This is weaker than what journalling file systems do (they keep names in order), and so it covers them. What is not
modelled: file systems that lose what they said was flushed, or that change sectors nobody wrote.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path, PurePosixPath

from recording import Kind, Operation

SECTOR = 512
DATA = {Kind.WRITE, Kind.TRUNCATE, Kind.ALLOCATE}
NAMES = {Kind.CREATE, Kind.RENAME, Kind.LINK, Kind.UNLINK, Kind.MKDIR}
CHANGES = DATA | NAMES

Tears = dict[int, tuple[bool, ...]]  # index of a write → which of its sectors are there


@dataclass(frozen=True)
class Image:
    """A folder's content: folders, and files by path."""

    folders: frozenset[str]
    files: dict[str, bytes]

    @property
    def digest(self) -> bytes:
        names = sorted(self.files)
        parts = [hashlib.sha256(self.files[n]).digest() for n in names]
        return hashlib.sha256(repr((sorted(self.folders), names, parts)).encode()).digest()

    def write(self, root: Path) -> None:
        """Make it a folder, which must not be there."""
        root.mkdir()
        for name in sorted(self.folders):
            (root / name).mkdir()
        for name, data in self.files.items():
            descriptor = os.open(
                root / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if name.endswith(".key") else 0o644
            )
            end = len(data.rstrip(b"\0"))
            os.pwrite(descriptor, data[:end], 0)
            os.ftruncate(descriptor, len(data))
            os.close(descriptor)


def image(operations: Sequence[Operation], objects: dict[int, int], kept: set[int], torn: Tears | None = None) -> Image:
    """What is there if of all operations only ``kept`` (and ``torn``) are. ``objects``: see ``Log``."""
    folders: set[str] = set()
    names: dict[str, int] = {}
    contents: dict[int, bytearray] = {}
    torn = torn or {}
    for o in operations:
        if o.index not in kept and o.index not in torn:
            continue
        if o.kind in DATA:
            _apply(contents.setdefault(objects[o.index], bytearray()), o, torn.get(o.index))
        elif o.kind is Kind.CREATE:
            names[o.path] = objects[o.index]
        elif o.kind is Kind.MKDIR:
            folders.add(o.path)
        elif o.kind is Kind.UNLINK:
            names.pop(o.path, None)
        elif o.kind is Kind.RENAME:
            names.pop(o.path, None)
            names[o.other] = objects[o.index]
        elif o.kind is Kind.LINK:
            names[o.other] = objects[o.index]
    there = {f for f in folders if all(str(p) in folders for p in PurePosixPath(f).parents if str(p) != ".")}
    found = {n: bytes(contents.get(i, b"")) for n, i in names.items() if _parent(n) in there | {""}}
    return Image(frozenset(there), found)


def _apply(content: bytearray, o: Operation, sectors: tuple[bool, ...] | None) -> None:
    if o.kind is Kind.TRUNCATE:
        del content[o.size :]
        content.extend(bytes(o.size - len(content)))
    elif o.kind is Kind.ALLOCATE:
        content.extend(bytes(max(0, o.offset + o.size - len(content))))
    elif sectors is None:
        _put(content, o.offset, o.data)
    else:
        for there, (start, stop) in zip(sectors, sectors_of(o), strict=True):
            if there:
                _put(content, start, o.data[start - o.offset : stop - o.offset])


def _put(content: bytearray, at: int, data: bytes) -> None:
    content.extend(bytes(max(0, at + len(data) - len(content))))
    content[at : at + len(data)] = data


def sectors_of(o: Operation) -> list[tuple[int, int]]:
    """The parts of a write that lie in one sector each: (start, stop) in the file."""
    edges = [o.offset, *range(o.offset // SECTOR * SECTOR + SECTOR, o.offset + o.size, SECTOR), o.offset + o.size]
    return list(pairwise(edges))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


@dataclass
class Log:
    """A log, with what each operation is about.

    ``objects``: by operation, a number for the file it is about that no other file ever has. ``flushed``: by operation, the
    index of the flush that made it certain, or none. ``lost``: by operation, the index at which it was seen to be gone.
    """

    operations: list[Operation]
    objects: dict[int, int] = field(default_factory=dict)
    flushed: dict[int, int] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inodes: dict[int, int] = {}
        names: dict[str, int] = {}
        waiting: dict[int | str, list[int]] = {}  # by object, or by path of a folder
        doomed: dict[int, list[int]] = {}  # by object
        for o in self.operations:
            if o.kind is Kind.CREATE:
                inodes[o.inode] = names[o.path] = o.index
            if o.kind in DATA:
                self.objects[o.index] = inodes[o.inode]
                waiting.setdefault(inodes[o.inode], []).append(o.index)
            elif o.kind in NAMES:
                assert not o.other or _parent(o.other) == _parent(o.path), "a rename from folder to folder"
                waiting.setdefault(_parent(o.path), []).append(o.index)
                if o.kind in (Kind.RENAME, Kind.LINK):
                    names[o.other] = names[o.path]
                self.objects[o.index] = names.get(o.other or o.path, -1)
                if o.kind in (Kind.RENAME, Kind.UNLINK):
                    names.pop(o.path, None)
            elif o.kind is Kind.SYNC:
                where: int | str = o.path if o.offset else inodes[o.inode]
                if not o.result:
                    self.flushed.update(dict.fromkeys(waiting.pop(where, []), o.index))
                elif isinstance(where, int):
                    doomed.setdefault(where, []).extend(waiting.pop(where, []))
            elif o.kind in (Kind.LOST, Kind.SEEN):
                to = self.lost if o.kind is Kind.LOST else self.flushed
                to.update(dict.fromkeys(doomed.pop(inodes[o.inode], []), o.index))

    def prefixes(self) -> Iterator[tuple[int, Image]]:
        """The process dies: (operations so far, what is there), after each change."""
        kept: set[int] = set()
        for o in self.operations:
            if o.kind is Kind.LOST:
                kept -= {i for i, at in self.lost.items() if at == o.index}
            if o.kind in CHANGES:
                kept.add(o.index)
                yield o.index + 1, image(self.operations[: o.index + 1], self.objects, kept)

    def power_failures(self, complete: int, samples: int, seed: int, start: int = 0) -> Iterator[tuple[int, Image]]:
        """The power fails: (operations so far, what is there).

        Looked at, from operation ``start`` on, before each flush and at the end: what may be there in between may be there then, too. All subsets of what is
        uncertain if there are at most ``complete``, else ``samples`` of them, all and none; and ``samples`` with torn writes.
        """
        draw = random.Random(seed)
        flushes = [o.index for o in self.operations[start:] if o.kind is Kind.SYNC]
        for at in draw.sample([*flushes, len(self.operations)], len(flushes) + 1):
            before = self.operations[:at]
            changes = [o.index for o in before if o.kind in CHANGES and self.lost.get(o.index, at) >= at]
            certain = {i for i in changes if self.flushed.get(i, at) < at}
            uncertain = [i for i in changes if i not in certain]
            for kept in _subsets(uncertain, complete, samples, draw):
                yield at, image(before, self.objects, certain | kept)
            writes = [i for i in uncertain if self.operations[i].kind is Kind.WRITE]
            for _ in range(samples if writes else 0):
                torn = {}
                for i in draw.sample(writes, draw.randint(1, min(3, len(writes)))):
                    torn[i] = tuple(draw.random() < 0.5 for _ in sectors_of(self.operations[i]))
                share = draw.choice((0.5, 0.8, 1.0))
                kept = {i for i in uncertain if i not in torn and draw.random() < share}
                yield at, image(before, self.objects, certain | kept, torn)


def _subsets(of: Sequence[int], complete: int, samples: int, draw: random.Random) -> Iterator[set[int]]:
    if 2 ** len(of) <= complete:
        for chosen in product((False, True), repeat=len(of)):
            yield {i for i, there in zip(of, chosen, strict=True) if there}
        return
    yield set()
    yield set(of)
    for _ in range(samples):
        share = draw.choice((0.2, 0.5, 0.8))
        yield {i for i in of if draw.random() < share}
