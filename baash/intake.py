"""Intake: from sources to batches for the clusters led in this rank, and reads answered from the ledger.

Every rank that leads a cluster reads the whole input and keeps what its clusters decide, so a record's place in the
input needs no messages (``docs/decisions``). Nothing is held back here but one chunk; the protocol says when it wants more.

Fairness: the sources of a run take turns. Next is always the one that has given the fewest bytes (a newcomer begins level with
the one that has given least), so the counts of two that both have more to give are never further apart than one chunk, however long
either is. What a source gives stays in its order; between sources there is none. The same in every rank and every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace

import numpy as np

from baash import kernels
from baash.batch import Batch
from baash.errors import InputError
from baash.protocol.view import View
from baash.records import TRANSACTION, Reason, Tag
from baash.sources import Chunk, Source

CHUNK_TRANSACTIONS = 4096
SKIPPED_BYTES = TRANSACTION.itemsize  # what something malformed counts: the shortest record's head
TURNS = 16  # sources that are open at once, the next begins when one of them has ended

Known = Callable[
    [int, np.ndarray], np.ndarray
]  # cluster, ids (n, 32) → u2: 0 new, 1 committed, 0x100 + reason rejected


@dataclass
class Counts:
    """What went through an intake."""

    offered: int = 0
    reads: int = 0
    reads_found: int = 0
    reads_near: int = 0  # of those found, from the memory of this rank
    read_bytes: int = 0
    skipped: int = 0
    skips: list[str] = field(default_factory=list)  # the first few, in words


@dataclass(frozen=True)
class Offer:
    """A batch for one cluster."""

    cluster: int
    batch: Batch


@dataclass(frozen=True)
class Reads:
    """Entities asked for: their hashes (n, 32), all of one cluster."""

    cluster: int
    entities: np.ndarray


def in_turn(sources: Sequence[Source], size: int, turns: int) -> Iterator[tuple[Source, Chunk]]:
    """The chunks of all sources, ``turns`` of them at once; with 1: one source behind the other."""
    coming = iter(enumerate(sources))
    given: list[tuple[int, int, Source, Iterator[Chunk]]] = []  # a heap: bytes, place, …
    while True:
        while len(given) < turns and (one := next(coming, None)) is not None:
            heappush(given, (given[0][0] if given else 0, one[0], one[1], one[1].chunks(size)))
        if not given:
            return
        before, place, source, chunks = given[0]
        chunk = next(chunks, None)
        if chunk is None:
            heappop(given)
        else:
            heapreplace(given, (before + _weight(chunk), place, source, chunks))
            yield source, chunk


def _weight(chunk: Chunk) -> int:
    """Bytes of a chunk; never 0, or a source of nothing but malformed lines would always be next."""
    names = 0 if chunk.reads is None else int(chunk.reads[0].nbytes)
    return max(1, int(chunk.records.nbytes) + names + SKIPPED_BYTES * len(chunk.skipped))


class Intake:
    """The sources of a run for ``clusters``: ``turns`` of them in turn, the others when one of these has ended."""

    def __init__(self, view: View, clusters: Sequence[int], sources: Sequence[Source], turns: int = TURNS) -> None:
        self.counts = Counts()
        self.total = _total(sources)
        self.ended = not sources or not clusters
        self._view, self._clusters = view, list(clusters)
        self._alone = len(view.coordinators) == 1
        self._chunks = in_turn(sources, CHUNK_TRANSACTIONS, turns)

    def next(self) -> tuple[list[Offer], list[Reads]]:
        """The next chunk, by cluster; sets ``ended`` when there is none. Raises InputError."""
        try:
            source, chunk = next(self._chunks)
        except StopIteration:
            self.ended = True
            return [], []
        self.counts.skipped += len(chunk.skipped)
        self.counts.skips += chunk.skipped[: max(0, 10 - len(self.counts.skips))]
        offers = self._offers(source, chunk) if chunk.count else []
        reads = self._reads(*chunk.reads) if chunk.reads is not None else []
        return offers, reads

    def _offers(self, source: Source, chunk: Chunk) -> list[Offer]:
        info, reason, at = kernels.scan(chunk.records, None)
        if reason != Reason.NONE:
            raise InputError(f"{source.name} made a malformed record ({Reason(reason).name}) at number {at} of a chunk")
        entities = kernels.entity_hashes(chunk.records, info)
        if self._alone:
            return [self._offer(self._clusters[0], Batch(chunk.records, info, _ids(chunk.records, info), entities))]
        short = np.ascontiguousarray(entities[:, :8]).view("<u8")[:, 0]
        owner = self._view.clusters_of(short)
        offers = []
        for cluster in self._clusters:
            mine = np.flatnonzero(owner == cluster)
            if len(mine):
                kept = info[mine].copy()
                records = kernels.gather(chunk.records, kept["start"], kept["total_bytes"])
                kept["start"] = np.cumsum(kept["total_bytes"], dtype=np.uint64) - kept["total_bytes"]
                offers.append(self._offer(cluster, Batch(records, kept, _ids(records, kept), entities[mine])))
        return offers

    def _offer(self, cluster: int, batch: Batch) -> Offer:
        self.counts.offered += len(batch)
        return Offer(cluster, batch)

    def _reads(self, names: np.ndarray, offsets: np.ndarray) -> list[Reads]:
        entities = entity_hashes_of(names, offsets)
        owner = self._view.clusters_of(np.ascontiguousarray(entities[:, :8]).view("<u8")[:, 0])
        found = []
        for cluster in self._clusters:
            mine = entities[owner == cluster]
            if len(mine):
                self.counts.reads += len(mine)
                found.append(Reads(cluster, mine))
        return found


def entity_hashes_of(names: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Entity hashes (n, 32) of names that lie one behind the other: each gets the two bytes every hash begins with."""
    lengths = np.diff(offsets).astype(np.int64)
    starts = offsets[:-1].astype(np.int64) + 2 * np.arange(len(lengths))
    tagged = np.zeros(names.nbytes + 2 * len(lengths), dtype=np.uint8)
    body = np.ones(tagged.nbytes, dtype=bool)
    body[starts] = body[starts + 1] = False
    tagged[body] = names
    tagged[starts + 1] = Tag.ENTITY
    return kernels.sha256_spans(tagged, starts, lengths + 2)


def _ids(records: np.ndarray, info: np.ndarray) -> np.ndarray:
    return kernels.transaction_ids(records, info)


def _total(sources: Sequence[Source]) -> int | None:
    totals = [s.total for s in sources]
    return None if any(t is None for t in totals) else sum(t for t in totals if t is not None)
