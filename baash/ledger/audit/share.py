"""What spans the ledger, and can be divided: the rules by entity, pairs and ids by their prints. Pure: arrays in and out.

Theory. Versions need the order of the chain, but only among transactions of one entity; whether a pair (issuer, sequence) or
an id came ever before needs no order at all. So of n shares each takes the entities, and the prints, that fall to it,
round by round in order, and all shares together know what one alone would. An audit on one machine has one share.

Whether a pair ever came before would need all of them in a table. Instead 8 bytes of each are kept and sorted at the end: what is
there once is proved unique, and the few that are there twice are looked up exactly in a second pass (``once.py``). So an
audit takes 16 bytes a transaction, and the entity table.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.ledger.audit.kept import NOTHING, Kept
from baash.ledger.audit.report import PROBLEMS_KEPT

BROKEN = np.dtype([("round", "<u8"), ("number", "<u4"), ("reason", "<u2"), ("pad", "<u2")])
"""A transaction that breaks a rule: its round, its number in it, the Reason."""


class Growing:
    """u8 numbers, appended; the memory doubles."""

    def __init__(self, expected: int) -> None:
        self._room = np.empty(max(expected, 1024), dtype=np.uint64)
        self._used = 0

    def append(self, more: np.ndarray) -> None:
        if self._used + len(more) > len(self._room):
            room = np.empty(max(2 * len(self._room), self._used + len(more)), dtype=np.uint64)
            room[: self._used] = self._room[: self._used]
            self._room = room
        self._room[self._used : self._used + len(more)] = more
        self._used += len(more)

    def ascending(self) -> np.ndarray:
        """All of them, sorted in place."""
        found = self._room[: self._used]
        found.sort()
        return found


@dataclass(frozen=True)
class Result:
    """What a share found: ``broken`` BROKEN, the first of ``broken_count``, in order; ``suspects`` u8: prints of pairs that came
    more than once; ``dangling`` references that name no committed transaction, and the smallest of them."""

    broken: np.ndarray
    broken_count: int
    suspects: np.ndarray
    dangling: int
    example: int


class Share:
    """One share of what is kept of all rounds, in order."""

    def __init__(self, expected: int = 0) -> None:
        """``expected``: how many transactions will come, more or less; memory that was never touched costs nothing."""
        self._known = True
        self._expected, self._seen = expected, 0
        self._entities = kernels.EntityTable(min(expected, 1 << 16))
        self._pairs, self._ids8 = Growing(expected), Growing(expected)
        self._references = NOTHING
        self._waiting: list[np.ndarray] = []
        self._broken: list[np.ndarray] = []
        self._broken_kept = self._broken_count = 0

    def take(self, round: int, kept: Kept, known: bool) -> None:
        """This share of a round. ``known`` False: rules cannot be replayed any more, there or behind."""
        self._pairs.append(kept.pairs)
        self._ids8.append(kept.ids8)
        if len(kept.references):
            self._waiting.append(kept.references)
            if len(self._waiting) > 256:
                self._merge_references()
        self._known = self._known and known
        if self._known and len(kept.acts):
            self._seen += len(kept.acts)
            self._entities.aim(len(self._entities) * self._expected // self._seen)
            self._follow(round, kept.acts)

    def finish(self) -> Result:
        """Sort, and see what came twice or dangles."""
        with ThreadPoolExecutor(2) as pool:  # numpy sorts without the GIL
            pairs, ids8 = pool.map(Growing.ascending, (self._pairs, self._ids8))
        twice = pairs[1:] == pairs[:-1]
        suspects = np.unique(pairs[1:][twice]) if twice.any() else NOTHING
        self._merge_references()
        dangling = _missing(self._references, ids8)
        broken = np.concatenate(self._broken) if self._broken else np.zeros(0, dtype=BROKEN)
        return Result(broken, self._broken_count, suspects, len(dangling), int(dangling[0]) if len(dangling) else 0)

    def _follow(self, round: int, acts: np.ndarray) -> None:
        reasons = kernels.follow_rules(self._entities, acts)
        if not reasons.any():
            return
        places = np.flatnonzero(reasons)
        self._broken_count += len(places)
        places = places[: PROBLEMS_KEPT - self._broken_kept]
        rows = np.zeros(len(places), dtype=BROKEN)
        rows["round"], rows["number"], rows["reason"] = round, acts["number"][places], reasons[places]
        self._broken.append(rows)
        self._broken_kept += len(rows)

    def _merge_references(self) -> None:
        if self._waiting:
            self._references = np.unique(np.concatenate([self._references, *self._waiting]))
            self._waiting.clear()


def _missing(wanted: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Those of ``wanted`` that are not among ``there``; both ascend."""
    if not len(there) or not len(wanted):
        return wanted
    places = np.minimum(np.searchsorted(there, wanted), len(there) - 1)
    missing: np.ndarray = wanted[there[places] != wanted]
    return missing


def split(kept: Kept, shares: int) -> list[Kept]:
    """What each of ``shares`` takes of a round. Acts stay in order."""
    if shares == 1:
        return [kept]
    number = np.uint64(shares)
    owners = kept.acts["key"][:, 1] % number
    parts = []
    for share in range(shares):
        mine = np.uint64(share)
        parts.append(
            Kept(
                kept.acts[owners == mine],
                kept.pairs[kept.pairs % number == mine],
                kept.ids8[kept.ids8 % number == mine],
                kept.references[kept.references % number == mine],
            )
        )
    return parts
