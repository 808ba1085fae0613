"""The keys of a YCSB table in key order, so that a scan can be turned into the names it reads.

Keys are ordered as strings, as in an ordered store. Only workload E needs this.
"""

from __future__ import annotations

import numpy as np

from baash.sources.zipfian import fnvhash64

_DIGITS = "S19"  # a key hash in decimal, at most 2^63 - 1


class KeysInOrder:
    """All keys inserted so far, ascending by key."""

    def __init__(self, count: int) -> None:
        """The keys with the numbers below ``count``."""
        self._keys = np.zeros(0, dtype=_DIGITS)
        self._numbers = np.zeros(0, dtype=np.int64)
        self._add(np.arange(count, dtype=np.int64))

    def _add(self, numbers: np.ndarray) -> None:
        keys = fnvhash64(numbers).astype(_DIGITS)
        order = np.argsort(keys, kind="stable")
        places = np.searchsorted(self._keys, keys[order], side="right")
        self._keys = np.insert(self._keys, places, keys[order])
        self._numbers = np.insert(self._numbers, places, numbers[order])

    def scan(
        self, starts: np.ndarray, lengths: np.ndarray, newest: np.ndarray, inserted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scans from key ``starts``, ``lengths`` keys each, each seeing the keys up to ``newest`` (all i8, n).

        ``inserted``: the key numbers that come into being meanwhile; from then on they belong to the table. Returns
        the key numbers read, scan by scan, and how many each scan reads (fewer than asked at the table's end).
        """
        old_newest = int(inserted[0]) - 1 if len(inserted) else int(np.iinfo(np.int64).max)
        if len(inserted):
            self._add(inserted)
        if not len(starts):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        first = np.searchsorted(self._keys, fnvhash64(starts).astype(_DIGITS))
        # Within [first, last) lie ``lengths`` keys that were there before, so enough that this scan sees.
        old = self._numbers <= old_newest
        before = np.concatenate([[0], np.cumsum(old)])
        ends = np.append(np.flatnonzero(old) + 1, [len(old)])
        last = ends[np.minimum(before[first] + lengths - 1, len(ends) - 1)]
        widths = last - first
        scan_of = np.repeat(np.arange(len(starts)), widths)
        offsets = np.cumsum(widths) - widths
        number = self._numbers[np.arange(len(scan_of)) - offsets[scan_of] + first[scan_of]]
        seen = number <= newest[scan_of]
        nth = np.cumsum(seen) - 1  # among all seen; below, among those of the same scan
        nth -= (np.cumsum(seen) - seen)[offsets][scan_of]
        kept = seen & (nth < lengths[scan_of])
        return number[kept], np.bincount(scan_of[kept], minlength=len(starts))
