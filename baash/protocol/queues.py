"""Protocol 1: the transaction manager. What may go into the next window, and what waits for what.

Theory. A write locks its entity from the moment its window is formed until the round that commits it. A transaction
about a locked entity waits in ``pending``; when locks fall, all that waited go together, in order, before anything
newer, so a hot entity costs latency and not throughput. Each (issuer, sequence) is taken in once: a replay with the
same id gets the first answer, one with another id is the issuer's misconduct. Limits stop intake; they never stop what is
put back.

Fairness: everything goes in the order in which it was taken in, whoever sent it. What waited for a lock, and what a lost window
gives back, returns to its old place and not to the front: so no flood on one entity can hold up what came before it.
Nobody whose transaction could go is overtaken (``docs/protocol.md``, Fairness).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from itertools import pairwise

import numpy as np

from baash import batch as batches
from baash.batch import Batch
from baash.kernels import EntityTable, ReplayTable
from baash.protocol.events import BatchOffered
from baash.protocol.windows import signature_holds
from baash.records import REJECTION, Operation, Reason


@dataclass(frozen=True)
class Lot:
    """A batch and when each of its transactions arrived (i8, ns)."""

    batch: Batch
    arrived_ns: np.ndarray

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def nbytes(self) -> int:
        return int(self.batch.records.nbytes)

    def select(self, chosen: np.ndarray) -> Lot:
        return Lot(self.batch.select(chosen), self.arrived_ns[chosen])

    def cut(self, first: int, last: int) -> Lot:
        return Lot(self.batch.cut(first, last), self.arrived_ns[first:last])

    @property
    def first_ns(self) -> int:
        return int(self.arrived_ns[0])

    def runs(self) -> list[Lot]:
        """What was taken in together, one lot each."""
        ends = [0, *(np.flatnonzero(np.diff(self.arrived_ns)) + 1).tolist(), len(self)]
        return [self.cut(a, b) for a, b in pairwise(ends) if b > a]

    @cached_property
    def oldest(self) -> dict[bytes, int]:
        """The smallest number of each issuer."""
        return _by_issuer(self.batch, np.minimum)


def join(lots: list[Lot]) -> Lot:
    if len(lots) == 1:
        return lots[0]
    arrived = np.concatenate([x.arrived_ns for x in lots]) if lots else np.zeros(0, dtype=np.int64)
    return Lot(batches.join([x.batch for x in lots]), arrived)


def _by_arrival(*queues: Iterable[Lot]) -> Iterable[Lot]:
    """Queues that are in order of arrival as one; among those that came together an earlier queue's go first."""
    return merge(*queues, key=lambda lot: lot.first_ns)


class Queues:
    """The transaction manager of one cluster: what is queued, what waits, what is locked, what was taken in."""

    def __init__(self, cluster: int, decided: ReplayTable) -> None:
        self.cluster = cluster
        self.queue: deque[Lot] = deque()
        self.pending: deque[Lot] = deque()
        self.duplicates = 0
        self._seen = decided.copy()
        self._locks = EntityTable()
        self._newest: dict[bytes, int] = {}  # the highest number taken in, by issuer
        self._rejected: list[np.ndarray] = []
        self._in_round = np.zeros(0, dtype=REJECTION)  # rejections that a round under way brings

    # -- intake ---------------------------------------------------------------------------------------------------

    def offer(self, event: BatchOffered, now_ns: int, in_flight: Iterable[Batch]) -> None:
        """Take in what is new; answer what is not."""
        batch, known = event.batch, event.known
        seen = self._seen.check(batch.info["issuer"], batch.info["sequence"])
        fresh = (known == 0) & (seen == 0)
        again = _again(batch.info, fresh)
        self.duplicates += int(np.count_nonzero(known))
        self._take_in(batch.select(fresh & ~again), now_ns)
        doubtful = np.flatnonzero(((known == 0) & (seen != 0)) | again)
        if len(doubtful):  # what came first is taken in: a second one in the same batch finds it there
            self._answer_replays(batch, doubtful, seen, in_flight)

    def _take_in(self, batch: Batch, now_ns: int) -> None:
        if not len(batch):
            return
        self._seen.mark(batch.info["issuer"], batch.info["sequence"])
        for issuer, newest in _by_issuer(batch, np.maximum).items():
            self._newest[issuer] = max(newest, self._newest.get(issuer, 0))
        forged = [i for i in batches.signed(batch).tolist() if not signature_holds(batch, i)]
        if forged:
            self.reject(batch, np.array(forged), Reason.BAD_SIGNATURE)
            keep = np.ones(len(batch), dtype=bool)
            keep[forged] = False
            batch = batch.select(keep)
        if len(batch):
            self._admit(Lot(batch, np.full(len(batch), now_ns, dtype=np.int64)))

    def _answer_replays(self, batch: Batch, doubtful: np.ndarray, seen: np.ndarray, in_flight: Iterable[Batch]) -> None:
        """The pair was taken in before, the ledger does not know the id: undecided yet, too old, or misconduct."""
        undecided = {
            i.tobytes()
            for b in (*in_flight, *(x.batch for x in self.queue), *(x.batch for x in self.pending))
            for i in b.ids
        }
        undecided |= {i.tobytes() for rows in (*self._rejected, self._in_round) for i in rows["id"]}
        for index in doubtful.tolist():  # rare by design: a source offers each number once
            if batch.ids[index].tobytes() in undecided:
                self.duplicates += 1
            elif seen[index] == Reason.TOO_OLD:
                self.reject(batch, np.array([index]), Reason.TOO_OLD)
            else:
                self.reject(batch, np.array([index]), Reason.ISSUER_CONFLICT)

    def _admit(self, lot: Lot) -> None:
        """What is newer than all that is here."""
        free, held = self._parted([lot])
        self.queue += free
        self.pending += held

    def _parted(self, lots: Iterable[Lot]) -> tuple[list[Lot], list[Lot]]:
        """(what could go, what is about a locked entity), each in the same order."""
        free: list[Lot] = []
        held: list[Lot] = []
        for lot in lots:
            waits = self._is_locked(lot.batch)
            if not waits.any():
                free.append(lot)
                continue
            held.append(lot.select(waits))
            if not waits.all():
                free.append(lot.select(~waits))
        return free, held

    def _is_locked(self, batch: Batch) -> np.ndarray:
        if not len(self._locks):
            return np.zeros(len(batch), dtype=bool)
        _, locked, _ = self._locks.lookup(_keys(batch.entities))
        waits: np.ndarray = locked & (batch.info["operation"] != Operation.NOTE)
        return waits

    # -- windows --------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> tuple[int, int]:
        """(transactions, bytes) ready for the next window."""
        return sum(len(x) for x in self.queue), sum(x.nbytes for x in self.queue)

    @property
    def waiting(self) -> tuple[int, int]:
        """(transactions, bytes) behind locks."""
        return sum(len(x) for x in self.pending), sum(x.nbytes for x in self.pending)

    @property
    def refused(self) -> int:
        """Rejections that no committed round holds yet."""
        return sum(map(len, self._rejected)) + len(self._in_round)

    def take(self, transactions: int, nbytes: int) -> Lot:
        """The next window's transactions, in order, up to the limits but at least one."""
        taken: list[Lot] = []
        while self.queue and transactions > 0 and (nbytes > 0 or not taken):
            lot = self.queue.popleft()
            fit = int(np.searchsorted(np.cumsum(lot.batch.info["total_bytes"], dtype=np.int64), nbytes, side="right"))
            count = min(len(lot), transactions, max(fit, 0 if taken else 1))
            if count < len(lot):
                self.queue.appendleft(lot.cut(count, len(lot)))
                lot = lot.cut(0, count)
            if not count:
                break
            taken.append(lot)
            transactions -= count
            nbytes -= lot.nbytes
        return join(taken)

    def lock(self, batch: Batch) -> None:
        """The entities a window writes are active until ``unlock``."""
        entities = _keys(batch.entities[batch.writes])
        ones = np.ones(len(entities), dtype=np.uint64)
        self._locks.upsert(entities, ones, ones.astype(bool), ones)
        free, held = self._parted(self.queue)  # what was cut off the window's tail may be about the same entities
        if held:
            self.queue, self.pending = deque(free), deque(_by_arrival(self.pending, held))

    def unlock(self, batch: Batch, put_back: Lot | None) -> None:
        """A window is committed: what it gives back and what waited for it return to their places."""
        self._locks.remove(_keys(batch.entities[batch.writes]))
        back = put_back.runs() if put_back is not None else []
        free, held = self._parted(_by_arrival(back, self.pending))
        self.pending = deque(held)
        if free:
            self.queue = deque(_by_arrival(free, self.queue))

    # -- rejections -----------------------------------------------------------------------------------------------

    def reject(self, batch: Batch, chosen: np.ndarray, reasons: np.ndarray | Reason) -> None:
        """Refuse the transactions at the indices ``chosen``; they go into the next round's rejections."""
        rows = np.zeros(len(chosen), dtype=REJECTION)
        rows["issuer"], rows["sequence"] = batch.info["issuer"][chosen], batch.info["sequence"][chosen]
        rows["id"], rows["reason"], rows["cluster"] = batch.ids[chosen], reasons, self.cluster
        self._rejected.append(rows)

    def take_rejections(self) -> np.ndarray:
        rows = np.concatenate(self._rejected) if self._rejected else np.zeros(0, dtype=REJECTION)
        self._rejected.clear()
        self._in_round = rows
        return rows

    def rejections_committed(self) -> None:
        """The round that brought what ``take_rejections`` gave is committed: from now on the ledger knows them."""
        self._in_round = self._in_round[:0]

    @property
    def has_rejections(self) -> bool:
        return bool(self._rejected)

    def spread(self, in_flight: Iterable[Lot]) -> int:
        """How far an issuer's newest number is ahead of its oldest undecided one, at most: what replays are told by."""
        lots = (*in_flight, *self.queue, *self.pending)
        return max((self._newest[i] - first for lot in lots for i, first in lot.oldest.items()), default=0)


def _by_issuer(batch: Batch, choose: np.ufunc) -> dict[bytes, int]:
    """The smallest or greatest number of each issuer; one, as a rule."""
    issuer, sequence = np.ascontiguousarray(batch.info["issuer"]), batch.info["sequence"]
    if not len(sequence):
        return {}
    if (issuer == issuer[0]).all():
        return {issuer[0].tobytes(): int(choose.reduce(sequence))}
    names, which = np.unique(issuer.view("V16")[:, 0], return_inverse=True)
    found = sequence[np.unique(which, return_index=True)[1]].copy()
    choose.at(found, which, sequence)
    return {n.tobytes(): int(v) for n, v in zip(names, found, strict=True)}


def _again(info: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """bool (n): which fresh ones have the pair of an earlier one of this batch. A source in order has none."""
    again = np.zeros(len(info), dtype=bool)
    issuer, sequence = info["issuer"], info["sequence"]
    if len(info) < 2 or ((sequence[1:] > sequence[:-1]).all() and (issuer == issuer[0]).all()):
        return again
    chosen = np.flatnonzero(fresh)
    pairs = np.ascontiguousarray(np.concatenate([issuer, sequence[:, None].view(np.uint8)], axis=1)[chosen])
    first = np.unique(pairs.view("V24")[:, 0], return_index=True)[1]
    again[chosen] = True
    again[chosen[first]] = False
    return again


def _keys(entities: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(entities[:, :16])
