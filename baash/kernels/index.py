"""Index files (``docs/index-format.md``): pages sealed, rows found, runs merged, records fetched. Used through ``baash.kernels``.

Files are read by ``pread`` on descriptors that the caller keeps open. ``PageFault(page, errno)`` says that a page cannot be read
(errno 0: the file ends before it; -1: it is not what was sealed).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, U8, Integers, as_u8

PAGE_BYTES, PAGE_DATA = 4096, 4088
PageFault: type[Exception] = _core.PageFault

_TYPICAL_BYTES = 512  # of a record: what is read of one at first
_RANGE, _FULL = 1, 4  # baash_status


class IndexTable:
    """A table in a file open for reading: ``rows`` rows of ``dtype`` from page ``first_page`` on, ascending by the ``key_words`` (0 to
    2) u8 they begin with. ``fences``: the first words of the rows 0, ``fence_rows``, 2 × ``fence_rows``…, which spare reads."""

    def __init__(
        self,
        file: int,
        first_page: int,
        rows: int,
        dtype: np.dtype[Any],
        key_words: int = 1,
        salt: int = 0,
        fences: Integers = (),
        fence_rows: int = 0,
    ) -> None:
        self.rows, self.dtype, self.key_words = rows, dtype, key_words
        known = as_u8(np.asarray(fences, dtype=np.uint64))
        self._core = _core.IndexTable(file, first_page, rows, dtype.itemsize, key_words, salt, known, fence_rows)
        #: find(low, high, low2=0, high2=0): (first row whose key is not below, how many up to ``high``, and the two u4 behind the
        #: key of the first; 0 where there are none).
        self.find = self._core.find
        #: first_u4(number): the first u4 of a row, of a table whose rows have 4 bytes or more.
        self.first_u4 = self._core.first_u4

    def find_all(self, lows: Integers, highs: Integers | None = None) -> tuple[U8, U8, npt.NDArray[Any]]:
        """``find`` for many keys, n × key_words: (firsts u8, counts u8, the first row of each)."""
        low = as_u8(np.asarray(lows).reshape(-1)).reshape(-1, self.key_words)
        high = low if highs is None else as_u8(np.asarray(highs).reshape(-1)).reshape(-1, self.key_words)
        firsts, counts = np.empty(len(low), dtype=np.uint64), np.empty(len(low), dtype=np.uint64)
        rows = np.zeros((len(low), self.dtype.itemsize), dtype=np.uint8)
        if len(low):
            self._core.find_all(firsts, counts, rows, low, high)
        return firsts, counts, rows.reshape(-1).view(self.dtype)

    def read(self, first: int = 0, count: int | None = None) -> npt.NDArray[Any]:
        """``count`` rows (all) from ``first`` on."""
        out = np.empty((self.rows - first if count is None else count, self.dtype.itemsize), dtype=np.uint8)
        if len(out):
            self._core.rows(out, first)
        return out.reshape(-1).view(self.dtype)

    def take(self, numbers: Integers) -> npt.NDArray[Any]:
        """The rows with these numbers; pages are read once where numbers that follow one another share them."""
        wanted = as_u8(numbers)
        out = np.empty((len(wanted), self.dtype.itemsize), dtype=np.uint8)
        if len(wanted):
            self._core.take(out, wanted)
        return out.reshape(-1).view(self.dtype)


def index_seal(pages: U1, salt: int, first: int) -> None:
    """Seal pages, (n, 4096) u1, in place; the first has the number ``first`` in its file."""
    _core.index_seal(pages, salt, first)


def index_merge(
    out: npt.NDArray[Any], a: npt.NDArray[Any], b: npt.NDArray[Any], key_words: int, shift: int
) -> tuple[int, int]:
    """Merge two sorted runs of rows of one dtype into ``out`` until it is full or one run is used up: rows taken of each.

    ``shift`` is added to the u4 behind the key of b's rows; of equal keys a's come first.
    """
    taken: tuple[int, int] = _core.index_merge(_flat(out), _flat(a), _flat(b), key_words, shift)
    return taken


def index_records(file: int, end: int, offsets: Integers) -> tuple[U1, U8]:
    """The records at ``offsets`` of a file, in that order: (bytes, ends u8). None may lie beyond ``end``. ValueError: where there is
    no record; OSError (errno 0: the file ends too early)."""
    places = as_u8(offsets)
    ends = np.zeros(len(places), dtype=np.uint64)
    records = np.empty(len(places) * _TYPICAL_BYTES + 64, dtype=np.uint8)
    done, status = 0, _FULL if len(places) else 0
    while status:
        done, status, error = _core.index_records(records, ends, done, file, end, places, _TYPICAL_BYTES)
        if status == _RANGE:
            raise ValueError(f"there is no record at {int(places[done])}")
        if status == _FULL:
            larger = np.empty(2 * len(records) + (17 << 20), dtype=np.uint8)
            used = int(ends[done - 1]) if done else 0
            larger[:used] = records[:used]
            records = larger
        elif status:
            raise OSError(error, "the record cannot be read")
    return records[: int(ends[-1]) if len(ends) else 0], ends


def _flat(rows: npt.NDArray[Any]) -> U1:
    return rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
