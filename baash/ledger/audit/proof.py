"""Which blocks are provably as they were committed, whatever else is wrong. ``docs/audit.md`` defines it.

Theory. A commit record is *sound* when every coordinator of its view signed it and the view is vouched for. It states the hash of
the newest block and the root of the log tree over all blocks so far. A block's hash is *fixed* when a sound record
states it, when the header behind it is fixed and names it as its parent, or when it is a leaf of a tree whose root a sound
record states. A block is proved when its hash is fixed and header and records are what the hash covers.

Parents prove backwards from a sound record to the first header that is damaged; the log tree proves over that gap. So the walk, in
order of height, keeps three lists of ranges: proved, *pending* (linked to each other up to here, waiting for a sound
record), and *hopes* (a link is broken behind them: only a log root can still prove them).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from baash.ledger.audit.examined import Examined
from baash.ledger.audit.report import RANGES_KEPT, Proved


@dataclass(frozen=True)
class Range:
    """Blocks ``first`` to ``last`` and how many transactions they hold."""

    first: int
    last: int
    transactions: int


class Proofs:
    """The walk. Memory: a range for every gap."""

    def __init__(self) -> None:
        self._proved: list[Range] = []
        self._pending: list[Range] = []
        self._hopes: list[Range] = []
        self._newest: bytes | None = None  # hash of the last header that was read
        self._next = 0  # the height behind it

    def take(
        self, first: int, examined: Examined, head: bytes, sound: bool, log: bool | None, lost: np.ndarray
    ) -> None:
        """A round whose first block has the height ``first``; ``head``: what its record states. ``log``: whether the log root of
        its record is that of all blocks so far; None: not known here, nor behind. ``lost`` (bool, n): blocks whose own hash is
        not the leaf with which it is."""
        hashes, count = examined.hashes, len(examined.hashes)
        if log is None:
            self._hopes.clear()
        if count and (first != self._next or examined.first_parent != self._newest):
            self._break()
        good = ~lost
        good[examined.bad.astype(np.int64)] = False
        links = np.ones(count, dtype=bool)
        if len(examined.parents):
            links[1:] = (examined.parents[1:] == hashes[:-1]).all(axis=1)
        for start, after in _runs(links):
            if start:
                self._break()
            _add(self._pending, _ranges(first, start, after, good, examined.counts))
        if count:
            self._newest, self._next = hashes[-1].tobytes(), first + count
        if sound and log:
            _add(self._proved, sorted(self._hopes + self._pending, key=lambda r: r.first))
            self._hopes.clear()
            self._pending.clear()
        elif sound and head == self._newest:
            _add(self._proved, self._pending)
            self._pending.clear()

    def skip(self) -> None:
        """A round that could not be examined: nothing behind it is linked to what is before."""
        self._hopes.clear()
        self._break()
        self._hopes.clear()
        self._newest = None

    def result(self, block_total: int, transaction_total: int, rules_until: int) -> Proved:
        proved: list[Range] = []
        _add(proved, sorted(self._proved, key=lambda r: r.first))
        return Proved(
            sum(r.last - r.first + 1 for r in proved),
            sum(r.transactions for r in proved),
            block_total,
            transaction_total,
            [(r.first, r.last) for r in proved[:RANGES_KEPT]],
            len(proved),
            rules_until,
        )

    def _break(self) -> None:
        _add(self._hopes, self._pending)
        self._pending.clear()


def _runs(links: np.ndarray) -> list[tuple[int, int]]:
    """Blocks of a round that are linked to each other: (first, behind the last)."""
    cuts = [0, *(np.flatnonzero(~links[1:]) + 1).tolist(), len(links)]
    return [(a, b) for a, b in itertools.pairwise(cuts) if a < b]


def _ranges(height: int, start: int, after: int, good: np.ndarray, counts: np.ndarray) -> list[Range]:
    """The good blocks of [start, after) of a round, as ranges of heights."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], good[start:after], [False])).astype(np.int8)))
    return [
        Range(height + start + a, height + start + b - 1, int(counts[start + a : start + b].sum()))
        for a, b in edges.reshape(-1, 2).tolist()
    ]


def _add(to: list[Range], more: list[Range]) -> None:
    """Append ranges, joined to the one before where they touch."""
    for one in more:
        if to and to[-1].last + 1 == one.first:
            one = Range(to[-1].first, one.last, to.pop().transactions + one.transactions)
        to.append(one)
