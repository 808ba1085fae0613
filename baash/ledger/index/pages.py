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

# ``fences``: how many u8 lie in the pages from ``fence_page`` on: the first word of the first row of every ``fence_pages``-th page.
SECTION = np.dtype([(name, "<u8") for name in ("first_page", "rows", "fence_page", "fences", "fence_pages")])
HEADER = np.dtype(
    [
        ("magic", "S16"),
        ("salt", "<u8"),
        ("pages", "<u8"),  # in the file, this one included
        ("extent", EXTENT),
        ("sections", SECTION, (len(TABLES),)),  # in the order of TABLES
    ]
)
FENCES_MAX = 8192  # of a table: what is kept of it in memory while the file is open
_FENCE = Table("fence", np.dtype([("key", "<u8")]), 0)
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
        self._sections = {t.name: np.zeros(1, dtype=SECTION)[0] for t in TABLES}
        self._fences = {t.name: np.zeros(0, dtype=np.uint64) for t in TABLES if t.key_words}
        self._table: Table | None = None
        self._left = np.zeros((0, 1), dtype=np.uint8)
        self._page = 1
        with refusals("write", self.path):
            self._file = _create_locked(self._temporary)

    def add(self, table: str, rows: np.ndarray) -> None:
        if self._table is None or self._table.name != table:
            self._begin(BY_NAME[table])
        assert self._table is not None and rows.dtype == self._table.dtype
        self._sections[table]["rows"] += len(rows)
        width = rows.dtype.itemsize
        flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width)
        flat = np.concatenate((self._left, flat)) if len(self._left) else flat
        whole = len(flat) - len(flat) % (PAGE_DATA // width)
        self._write(flat[:whole])
        self._left = flat[whole:].copy()

    def finish(self) -> int:
        """How many bytes the file has."""
        self._end()
        self._table = None
        for name, keys in self._fences.items():
            if len(keys) > 1:
                self._sections[name]["fence_page"], self._sections[name]["fences"] = self._page, len(keys)
                self._write(keys.view(np.uint8).reshape(-1, 8))
        header = np.zeros(1, dtype=HEADER)
        header["magic"], header["salt"], header["pages"], header["extent"] = MAGIC, self._salt, self._page, self._extent
        for i, table in enumerate(TABLES):
            if self._sections[table.name]["rows"]:
                header["sections"][0, i] = self._sections[table.name]
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
        assert not self._sections[table.name]["rows"], "tables come in their order, each once"
        self._table, self._left = table, np.zeros((0, table.dtype.itemsize), dtype=np.uint8)
        self._sections[table.name]["first_page"], self._sections[table.name]["fence_pages"] = self._page, 1

    def _end(self) -> None:
        if len(self._left):
            self._write(self._left)
        self._left = self._left[:0]

    def _write(self, flat: np.ndarray) -> None:
        """Rows (n, width), the last page perhaps not full."""
        per_page = PAGE_DATA // max(flat.shape[1], 1)
        if self._table is not None and self._table.key_words and len(flat):
            self._fence(self._table.name, np.ascontiguousarray(flat[::per_page, :8]).view("<u8")[:, 0])
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

    def _fence(self, table: str, keys: np.ndarray) -> None:
        """Take the first keys of pages that follow; when there are too many fences, every other one stays."""
        section, fences = self._sections[table], self._fences[table]
        page = self._page - int(section["first_page"])
        fences = np.concatenate((fences, keys[-page % int(section["fence_pages"]) :: int(section["fence_pages"])]))
        while len(fences) > FENCES_MAX:
            fences = fences[::2].copy()
            section["fence_pages"] *= 2
        self._fences[table] = fences


def _create_locked(path: Path) -> int:
    """A new file, locked, so that ``remove_leftovers`` lets it be. Raises OSError."""
    path.unlink(missing_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # no flock there: then nobody removes what others leave behind
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # taken for a leftover before it was locked


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
    """A table in an index file. IndexDamaged where a page is not what was written. Fences are read at the first look-up."""

    def __init__(self, path: Path, file: int, table: Table, section: dict[str, int], salt: int) -> None:
        self._path, self._file, self._section, self._salt, self._of = path, file, section, salt, table
        self.rows = section["rows"]
        self._table = kernels.IndexTable(file, section["first_page"], self.rows, table.dtype, table.key_words, salt)
        self._find = self._fenced_find

    def _fenced_find(self, *keys: int) -> tuple[int, int, int, int]:
        """The first look-up."""
        section, of = self._section, self._of
        if section["fences"]:
            lead = kernels.IndexTable(self._file, section["fence_page"], section["fences"], _FENCE.dtype, 0, self._salt)
            stride = section["fence_pages"] * (PAGE_DATA // of.dtype.itemsize)
            self._table = kernels.IndexTable(
                self._file,
                section["first_page"],
                self.rows,
                of.dtype,
                of.key_words,
                self._salt,
                lead.read()["key"],
                stride,
            )
        self._find = self._table.find
        found: tuple[int, int, int, int] = self._find(*keys)
        return found

    def find(self, low: int, high: int, low2: int = 0, high2: int = 0, /) -> tuple[int, int, int, int]:
        try:
            return self._find(low, high, low2, high2)
        except kernels.PageFault as fault:
            raise damaged(self._path, fault) from None

    def find_all(self, lows: np.ndarray, /) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            if self._find == self._fenced_find:
                self._find(0, 0)
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

    def first_u4(self, number: int, /) -> int:
        try:
            value: int = self._table.first_u4(number)
            return value
        except kernels.PageFault as fault:
            raise damaged(self._path, fault) from None
        except ValueError:
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
    if not _sound(header):
        raise IndexDamaged(f"{path} has a header that contradicts itself; {_ADVICE}")
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    tables: dict[str, Rows] = {}
    names, salt = SECTION.names or (), int(header["salt"])
    for table, section in zip(TABLES, header["sections"], strict=True):
        tables[table.name] = _FileRows(path, file, table, {name: int(section[name]) for name in names}, salt)
    return Run(header["extent"], tables, path.name, size, _Closer(file))


def _sound(header: np.void) -> bool:
    """Whether all tables lie in the file, and those with a row for each transaction or block have so many."""
    pages, extent = int(header["pages"]), header["extent"]
    for table, section in zip(TABLES, header["sections"], strict=True):
        first, rows, fence_page, fences, stride = (int(section[name]) for name in SECTION.names or ())
        each = PAGE_DATA // table.dtype.itemsize
        fits = first + -(-rows // each) <= pages and fence_page + -(-8 * fences // PAGE_DATA) <= pages
        if not fits or (fences and not (stride and (fences - 1) * stride * each < rows and fences <= FENCES_MAX)):
            return False
        if table.name in ("ids", "entities", "places", "hashes", "blocks") and rows != int(extent[table.of]):
            return False
    return all(int(extent[name]) < 1 << 62 for name in ("first_round", "rounds", "first_block", "first_transaction"))


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
