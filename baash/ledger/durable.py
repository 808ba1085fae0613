"""Bytes that stay: exclusive creation, whole writes, flushes, renames that never overwrite, and refusals as sentences.

Theory. A name in a folder is durable only after the folder itself was flushed, and bytes only after their file was.
Whatever must appear at once is written beside its place (``.tmp``), flushed, and then given its name by a rename that
fails if the name is taken: two parties can never overwrite each other.

Knows nothing of ledgers. Every ``OSError`` leaves as a ``StorageError`` of one sentence.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from baash.errors import LedgerDamaged, LedgerError, StorageError

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_ADVICE = {
    errno.ENOSPC: "no space is left there; free some and try again",
    errno.EDQUOT: "the quota there is used up; free some and try again",
    errno.EFBIG: "the file would exceed the largest size allowed; raise the limit (ulimit -f) or use smaller segments",
    errno.EROFS: "the file system is mounted read-only; use another folder",
    errno.EACCES: "permission is denied; ask the owner, or use another folder",
    errno.EPERM: "permission is denied; ask the owner, or use another folder",
    errno.EIO: "the device reported an input/output error; look at its health before trying again",
    errno.ENOENT: "it does not exist; check the path",
    errno.ENOTDIR: "a part of the path is not a folder; check the path",
    errno.EISDIR: "it is a folder; check the path",
    errno.ESTALE: "the file is gone from its server (stale handle); open the ledger again",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def refusal(action: str, path: str | Path, error: OSError) -> StorageError:
    """The sentence for what the file system refused, for example ``cannot write /l/view-000001: no space is left…``."""
    why = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return StorageError(f"cannot {action} {path}: {why}")


@contextmanager
def refusals(action: str, path: str | Path) -> Iterator[None]:
    """Turn each ``OSError`` inside into a StorageError."""
    try:
        yield
    except OSError as error:
        raise refusal(action, path, error) from error


class FileDamaged(LedgerDamaged):
    """Something is wrong with the file ``name`` of a ledger."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}; restore it from a copy")
        self.name, self.what = path.name, what


def open_regular(path: Path) -> int:
    """A descriptor for reading. FileDamaged if it is no regular file: a pipe would never answer, and what a link leads to
    may be changed without a trace in the folder. Raises OSError."""
    check_regular(path, os.lstat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        check_regular(path, os.fstat(descriptor).st_mode)
    except FileDamaged:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(path: Path, mode: int) -> None:
    """FileDamaged unless ``mode`` (of lstat) is that of a regular file."""
    if stat.S_ISLNK(mode):
        raise FileDamaged(path, "it is a symbolic link, not a regular file")
    if not stat.S_ISREG(mode):
        raise FileDamaged(path, "it is not a regular file")


def read_regular(path: Path, limit: int) -> bytes:
    """All of a file. FileDamaged if it is no regular file or larger than ``limit``. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FileDamaged(path, f"it is larger than {limit} bytes")
    return data


def pwrite_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data``; a short write is continued. Raises OSError."""
    view = memoryview(data).cast("B")
    while view.nbytes:
        written = os.pwrite(descriptor, view, offset)
        if written == 0:
            raise OSError(errno.EIO, "a write wrote nothing")
        view, offset = view[written:], offset + written


def pread_into(descriptor: int, out: np.ndarray, offset: int) -> int:
    """Fill ``out`` (contiguous) from ``offset``; how many bytes there were before the end. Raises OSError."""
    view = memoryview(out).cast("B")
    done = 0
    while done < view.nbytes:
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if got == 0:
            break
        done += got
    return done


def write_exclusively(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Create ``path`` (FileExistsError if it is there), write, flush it and its folder. Raises OSError.

    What could not be written whole is taken away again.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        pwrite_all(descriptor, data, 0)
        os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries; file systems that have nothing to flush there say EINVAL. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing, each with its name flushed. Raises OSError.

    A folder that is there gets its name flushed too: whoever made it may have died before that.
    """
    found = path.is_dir()
    if not found:
        make_folder(path.parent)
        path.mkdir(mode, exist_ok=True)
    try:
        sync_folder(path.parent)
    except OSError as error:
        if not found or error.errno not in (errno.EACCES, errno.EROFS):  # not ours to flush
            raise


def flush_and_forget(descriptor: int) -> None:
    """Flush a file and drop what the kernel remembers of it, so that it is read again as it is stored. Raises OSError.

    After a flush that failed, Linux calls what it could not write clean and goes on showing it; the next flush says
    nothing of it.
    """
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def rename_exclusively(source: Path, target: Path) -> None:
    """Give ``source`` the name ``target``, which must be free (else LedgerError), and flush the folder.

    renameat2 where the file system has it, else link and unlink; both are atomic and never overwrite.
    """
    with refusals("publish", target):
        try:
            _rename_noreplace(source, target)
        except FileExistsError:
            raise LedgerError(f"{target} exists already, and published files are never replaced") from None
        sync_folder(target.parent)


def replace(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` at once, in place of what was there; for derived files only."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with refusals("write", path):
        with suppress(FileNotFoundError):
            temporary.unlink()
        write_exclusively(temporary, data)
        os.replace(temporary, path)
        sync_folder(path.parent)


def reserve(descriptor: int, offset: int, size: int) -> bool:
    """Reserve storage for a range with fallocate(2); False where the file system cannot. Raises OSError (ENOSPC…).

    Not ``os.posix_fallocate``: where the file system cannot, that one writes zeros over the whole range.
    """
    if not hasattr(_libc, "fallocate"):
        return False
    while _libc.fallocate(descriptor, 0, ctypes.c_longlong(offset), ctypes.c_longlong(size)) != 0:
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


def _rename_noreplace(source: Path, target: Path) -> None:
    if hasattr(_libc, "renameat2"):
        old, new = os.fsencode(source), os.fsencode(target)
        if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code), str(target))
    os.link(source, target)
    source.unlink()
