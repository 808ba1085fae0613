"""Whether a file system can hold a ledger: what the promises rest on is tried out, not assumed.

Tried in the ledger's folder: a second exclusive creation of one name fails; bytes written through one descriptor are
read through another; flushing works. That all nodes of a cluster see the same is tried by the ranks together (this
file is what one of them can do alone). NFS gives none of this between hosts and is refused unless forced.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from baash.errors import StorageError
from baash.ledger.durable import pwrite_all, refusals, sync_folder

_NFS = ("nfs", "nfs4")


@dataclass(frozen=True)
class FileSystem:
    """What ``/proc/self/mountinfo`` says about a path; ``unknown`` where there is no such file."""

    type: str
    mount_point: str
    source: str


def file_system(path: str | Path) -> FileSystem:
    """The file system that holds ``path`` (or, if it does not exist, the nearest folder above)."""
    real = os.path.realpath(path)
    found = FileSystem("unknown", "/", "")
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return found
    longest = -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or len(tail) < 2:
            continue
        mount = _unescape(fields[4])
        inside = mount == "/" or real == mount or real.startswith(mount + "/")
        if inside and len(mount) >= longest:  # later lines lie over earlier ones
            longest, found = len(mount), FileSystem(tail[0], mount, _unescape(tail[1]))
    return found


def probe(path: str | Path, force: bool = False) -> FileSystem:
    """Try the folder ``path``; StorageError says what it cannot do. ``force`` lets NFS pass."""
    found = file_system(path)
    if found.type in _NFS and not force:
        raise StorageError(
            f"{path} is on NFS ({found.source}), where exclusive creation and flushed bytes are not seen by all hosts "
            "at once; use a parallel or local file system, or force it if a single host does all the writing"
        )
    name = Path(path) / f"probe-{os.getpid()}-{secrets.token_hex(4)}.tmp"
    with refusals("write a probe to", path):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _try(name, descriptor)
            sync_folder(name.parent)
        finally:
            os.close(descriptor)
            name.unlink()
    return found


def _try(name: Path, descriptor: int) -> None:
    try:
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        pass
    else:
        raise StorageError(f"{name.parent}: exclusive creation succeeded twice for one name; use another file system")
    second = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for _ in range(4):
            sent = secrets.token_bytes(8192)
            pwrite_all(descriptor, sent, 4096)
            if os.pread(second, len(sent), 4096) != sent:
                raise StorageError(
                    f"{name.parent}: written bytes are not seen by another reader; use another file system"
                )
        os.fdatasync(descriptor)
    finally:
        os.close(second)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field)
