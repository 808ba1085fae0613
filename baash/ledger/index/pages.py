"""Index files: tables in sealed pages of 4,096 bytes (``docs/index-format.md``), written whole or not at all, read page by page.

Every page carries a seal over its bytes, its number and its file's salt, and no page is used before its seal was checked. A file
is written under a name that ends in ``.tmp``, locked as long as somebody writes it, flushed, and then gets its name.

Does not know whether a file fits a ledger (``chain.py``).
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger.durable import open_regular, pwrite_all, refusals, sync_folder
from baash.ledger.index.tables import BY_NAME, EXTENT, TABLES, IndexDamaged, Rows, Run, Table

PAGE_BYTES, PAGE_DATA = 4096, 4088
MAGIC = b"baash index v1\n\x00"
NAME = re.compile(r"index-([0-9]{8}|[1-9][0-9]{8,18})-([0-9]{8}|[1-9][0-9]{8,18})")
_TEMPORARY = re.compile(r"index-[0-9]+-[0-9]+\.[0-9]+\.tmp")

SECTION = np.dtype([("first_page", "<u8"), ("rows", "<u8")])
HEADER = np.dtype(
    [
        ("magic", "S16"),
        ("salt", "<u8"),
        ("pages", "<u8"),  # in the file, this one included
        ("extent", EXTENT),
        ("sections", SECTION, (len(TABLES),)),  # in the order of TABLES
    ]
)
_PAGES_AT_ONCE = 512


def name_of(first_round: int, after_round: int) -> str:
    """The name of the index file of the ledger's rounds [first, after)."""
    return f"index-{first_round:08d}-{after_round:08d}"


class Writer:
    """A sink that writes an index file for ``extent`` into ``folder``; ``finish`` gives it its name, ``abandon`` removes it."""

    def __init__(self, folder: Path, extent: np.void) -> None:
        first = int(extent["first_round"])
        self.path = folder / name_of(first, first + int(extent["rounds"]))
        self._temporary = folder / f"{self.path.name}.{os.getpid()}.tmp"
        self._extent, self._salt = extent, int.from_bytes(extent["commit"].tobytes()[:8], "little")
        self._sections = {t.name: [0, 0] for t in TABLES}  # first page, rows
        self._table: Table | None = None
        self._left = np.zeros((0, 1), dtype=np.uint8)
        self._page = 1
        with refusals("write", self.path):
            self._temporary.unlink(missing_ok=True)
            self._file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with suppress(OSError):  # no flock there: then nobody removes what others leave behind
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def add(self, table: str, rows: np.ndarray) -> None:
        if self._table is None or self._table.name != table:
            self._begin(BY_NAME[table])
        assert self._table is not None and rows.dtype == self._table.dtype
        self._sections[table][1] += len(rows)
        width = rows.dtype.itemsize
        flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width)
        flat = np.concatenate((self._left, flat)) if len(self._left) else flat
        whole = len(flat) - len(flat) % (PAGE_DATA // width)
        self._write(flat[:whole])
        self._left = flat[whole:].copy()

    def finish(self) -> int:
        """How many bytes the file has."""
        self._end()
        header = np.zeros(1, dtype=HEADER)
        header["magic"], header["salt"], header["pages"], header["extent"] = MAGIC, self._salt, self._page, self._extent
        for i, table in enumerate(TABLES):
            first_page, rows = self._sections[table.name]
            header["sections"][0, i] = (first_page if rows else 0, rows)
        page = np.zeros((1, PAGE_BYTES), dtype=np.uint8)
        page[0, : HEADER.itemsize] = header.view(np.uint8)
        kernels.index_seal(page, 0, 0)
        with refusals("write", self.path):
            pwrite_all(self._file, page.data, 0)
            os.fsync(self._file)
            os.replace(self._temporary, self.path)
            sync_folder(self.path.parent)
            os.close(self._file)
        return self._page * PAGE_BYTES

    def abandon(self) -> None:
        with suppress(OSError):
            os.close(self._file)
        with suppress(OSError):
            self._temporary.unlink()

    def _begin(self, table: Table) -> None:
        self._end()
        assert not self._sections[table.name][1], "tables come in their order, each once"
        self._table, self._left = table, np.zeros((0, table.dtype.itemsize), dtype=np.uint8)
        self._sections[table.name][0] = self._page

    def _end(self) -> None:
        if len(self._left):
            self._write(self._left)
        self._left = self._left[:0]

    def _write(self, flat: np.ndarray) -> None:
        """Rows (n, width), the last page perhaps not full."""
        per_page = PAGE_DATA // max(flat.shape[1], 1)
        for first in range(0, len(flat), per_page * _PAGES_AT_ONCE):
            part = flat[first : first + per_page * _PAGES_AT_ONCE]
            pages = np.zeros((-(-len(part) // per_page), PAGE_BYTES), dtype=np.uint8)
            whole = len(part) // per_page
            used = per_page * part.shape[1]
            pages[:whole, :used] = part[: whole * per_page].reshape(whole, used)
            rest = part[whole * per_page :].reshape(-1)
            if len(rest):
                pages[whole, : len(rest)] = rest
            kernels.index_seal(pages, self._salt, self._page)
            with refusals("write", self.path):
                pwrite_all(self._file, pages.data, self._page * PAGE_BYTES)
            self._page += len(pages)


def write(folder: Path, run: Run) -> int:
    """Make the index file of a run; its bytes. Raises StorageError, and leaves nothing behind then."""
    writer = Writer(folder, run.extent)
    try:
        for table in TABLES:
            writer.add(table.name, run.tables[table.name].read())
        return writer.finish()
    except BaseException:
        writer.abandon()
        raise


class _FileRows:
    """A table in an index file. IndexDamaged where a page is not what was written."""

    def __init__(self, path: Path, table: kernels.IndexTable) -> None:
        self._path, self._table, self._find, self.rows = path, table, table.find, table.rows

    def find(self, low: int, high: int, low2: int = 0, high2: int = 0, /) -> tuple[int, int, int, int]:
        try:
            found: tuple[int, int, int, int] = self._find(low, high, low2, high2)
            return found
        except kernels.PageFault as fault:
            raise damaged(self._path, fault) from None

    def find_all(self, lows: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            return self._table.find_all(lows)
        except kernels.PageFault as fault:
            raise damaged(self._path, fault) from None

    def read(self, first: int = 0, count: int | None = None, /) -> np.ndarray:
        try:
            return self._table.read(first, count)
        except kernels.PageFault as fault:
            raise damaged(self._path, fault) from None
        except ValueError:  # places that lie outside: the file was not made by us
            raise self._outside() from None

    def take(self, numbers: np.ndarray, /) -> np.ndarray:
        try:
            return self._table.take(numbers)
        except kernels.PageFault as fault:
            raise damaged(self._path, fault) from None
        except ValueError:
            raise self._outside() from None

    def _outside(self) -> IndexDamaged:
        return IndexDamaged(f"{self._path} refers to rows that it does not have; {_ADVICE}")


_ADVICE = "delete it: it can be made again (baash compact), and without it the ledger is read instead"


def damaged(path: Path, fault: Exception) -> IndexDamaged:
    """The sentence for a page that cannot be used."""
    page, error = fault.args
    why = {0: "it is cut short", -1: "it has changed since it was written"}.get(error) or os.strerror(error)
    return IndexDamaged(f"{path}, page {page}: {why}; {_ADVICE}")


def open_file(path: Path) -> Run:
    """The run in an index file. IndexDamaged: it is none, or not whole, or not named after what it holds. Raises OSError."""
    try:
        file = open_regular(path)
    except LedgerDamaged as error:
        raise IndexDamaged(f"{error}; {_ADVICE}") from None
    try:
        return _open(path, file)
    except BaseException:
        os.close(file)
        raise


def _open(path: Path, file: int) -> Run:
    try:
        header = kernels.IndexTable(file, 0, 1, HEADER, key_words=0).read()[0]
    except kernels.PageFault as fault:
        raise damaged(path, fault) from None
    if header["magic"] != MAGIC.rstrip(b"\0"):
        raise IndexDamaged(f"{path} is not an index file of this version; {_ADVICE}")
    size = os.fstat(file).st_size
    if size != int(header["pages"]) * PAGE_BYTES:
        raise IndexDamaged(f"{path} has {size} bytes and should have {int(header['pages']) * PAGE_BYTES}; {_ADVICE}")
    first, rounds = int(header["extent"]["first_round"]), int(header["extent"]["rounds"])
    if path.name != name_of(first, first + rounds):
        raise IndexDamaged(f"{path} is of the rounds {first} to {first + rounds}, which is not its name; {_ADVICE}")
    tables: dict[str, Rows] = {}
    for table, section in zip(TABLES, header["sections"], strict=True):
        place = (int(section["first_page"]), int(section["rows"]))
        tables[table.name] = _FileRows(
            path, kernels.IndexTable(file, *place, table.dtype, table.key_words, int(header["salt"]))
        )
    return Run(header["extent"], tables, path.name, _Closer(file))


class _Closer:
    """Closes a file once; also when nobody remembers it any more."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __call__(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    __del__ = __call__


def remove_leftovers(folder: Path) -> None:
    """Unlink what builders that are gone left unfinished."""
    with refusals("list", folder):
        names = [name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)]
    for name in names:
        with suppress(OSError):
            file = os.open(folder / name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(folder / name)
            finally:
                os.close(file)
