"""What a file is now: size, time, mode, SHA-256, and of an HDF5 file a digest of each data set.

The result is the payload of ``docs/payloads.md`` ("Files"). Small files are read together and hashed in one kernel call,
large ones piece by piece. Symbolic links are not resolved: a file is described under the name it was given. HDF5 contents
are digested by whoever is handed in as ``hdf5`` (``ledger.h5digest.describe``), because this room does not import h5py.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from baash import kernels
from baash.errors import InputError
from baash.records import PAYLOAD_BYTES_MAX
from baash.sources.drafts import json_payload

SMALL_BYTES = 256 << 10  # files up to this size are hashed together, one kernel lane each
_BATCH_BYTES = 16 << 20
_PIECE_BYTES = 4 << 20

Hdf5Reader = Callable[[str], "dict[str, Any] | None"]
Progress = Callable[[int, int], None]  # bytes hashed so far, bytes in all


@dataclass(frozen=True)
class FileDescription:
    """A file as it is now."""

    path: str  # absolute
    payload: dict[str, Any]

    @property
    def entity(self) -> bytes:
        return os.fsencode(self.path)


@dataclass
class LeftOut:
    """What a walk through folders passes over. ``folder``: one that is not entered (the ledger's own)."""

    folder: str | os.PathLike[str] | None = None
    paths: list[str] = field(default_factory=list)  # pipes, sockets, devices, links to folders or to nothing

    def is_own(self, path: str) -> bool:
        """Whether ``path`` is the folder that is not entered."""
        try:
            return self.folder is not None and os.path.samefile(path, self.folder)
        except OSError:
            return False


def expand(
    paths: Sequence[str | os.PathLike[str]], recursive: bool = True, left_out: LeftOut | None = None
) -> list[str]:
    """Absolute paths of the regular files that files, folders and glob patterns name, each once.

    Of a folder, the regular files in it in order of names, with ``recursive`` those below it too; links to folders are
    not followed. What else is there goes to ``left_out``. InputError for what does not exist.
    """
    left_out = left_out if left_out is not None else LeftOut()
    found: dict[str, None] = {}
    for given in [os.fspath(path) for path in paths]:
        matches = [given]
        if not os.path.lexists(given) and glob.has_magic(given):
            matches = sorted(glob.glob(given, recursive=recursive))
            if not matches:
                raise InputError(f"{given} matches no file: check the pattern.")
        for match in matches:
            path = os.path.abspath(match)
            if os.path.isdir(path):
                if left_out.is_own(path):
                    raise InputError(f"{path} is the ledger itself: its files change with every record; leave it out.")
                found.update((inner, None) for inner in _inside(path, recursive, left_out))
            elif os.path.isfile(path):
                found[path] = None
            elif os.path.lexists(path):
                raise InputError(f"{path} is not a regular file: only those can be recorded.")
            else:
                raise InputError(f"{path} does not exist: check the name.")
    return list(found)


def _inside(folder: str, recursive: bool, left_out: LeftOut) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.")

    for at, folders, files in os.walk(folder, onerror=refuse):
        for name in folders if recursive else ():
            if os.path.islink(path := os.path.join(at, name)):
                left_out.paths.append(path)
        folders[:] = sorted(n for n in folders if not left_out.is_own(os.path.join(at, n))) if recursive else []
        for name in sorted(files):
            path = os.path.join(at, name)
            if os.path.isfile(path):
                yield path
            else:
                left_out.paths.append(path)


def describe(
    paths: Sequence[str | os.PathLike[str]],
    *,
    recursive: bool = True,
    hdf5: Hdf5Reader | None = None,
    progress: Progress | None = None,
    threads: int = 1,
    left_out: LeftOut | None = None,
) -> list[FileDescription]:
    """The files that ``paths`` name (see ``expand``), read and hashed. InputError if one changes meanwhile."""
    names = expand(paths, recursive, left_out)
    states = [_state(name) for name in names]
    total, done, lock = sum(state.st_size for state in states), 0, Lock()

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if progress is not None:
                progress(done, total)

    digests: dict[str, str] = {}
    small = [(name, state.st_size) for name, state in zip(names, states, strict=True) if state.st_size <= SMALL_BYTES]
    for batch in _batches(small):
        digests |= _hash_together(batch, threads)
        advance(sum(size for _, size in batch))
    large = [name for name, state in zip(names, states, strict=True) if state.st_size > SMALL_BYTES]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        digests |= zip(large, pool.map(lambda name: _hash_alone(name, advance), large), strict=True)
    return [_described(name, state, digests[name], hdf5) for name, state in zip(names, states, strict=True)]


def _state(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def _batches(files: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    batch: list[tuple[str, int]] = []
    held = 0
    for name, size in files:
        if held + size > _BATCH_BYTES and batch:
            yield batch
            batch, held = [], 0
        batch.append((name, size))
        held += size
    if batch:
        yield batch


def _hash_together(batch: list[tuple[str, int]], threads: int) -> dict[str, str]:
    contents = []
    for name, size in batch:
        try:
            with open(name, "rb") as file:
                contents.append(file.read(size + 1))
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}.") from None
    data = np.frombuffer(b"".join(contents), dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(content) for content in contents], dtype=np.int64)])
    hashes = kernels.sha256_batch(data, offsets, threads=threads)
    return {name: row.tobytes().hex() for (name, _), row in zip(batch, hashes, strict=True)}


def _hash_alone(name: str, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    try:
        with open(name, "rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                advance(len(piece))
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from None
    return digest.hexdigest()


def _described(path: str, state: os.stat_result, sha256: str, hdf5: Hdf5Reader | None) -> FileDescription:
    payload: dict[str, Any] = {
        "kind": "file",
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "mode": f"{stat.S_IMODE(state.st_mode):04o}",
        "sha256": sha256,
    }
    contents = hdf5(path) if hdf5 is not None else None
    if contents is not None:
        payload["hdf5"] = contents
        if len(json_payload(payload)) > PAYLOAD_BYTES_MAX // 2:
            payload["hdf5"] = {"note": f"left out: too many objects ({len(contents.get('datasets', ()))} data sets)"}
    now = _state(path)
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (state.st_ino, state.st_size, state.st_mtime_ns):
        raise InputError(f"{path} changed while it was read: record it when nothing writes it.")
    return FileDescription(path, payload)
