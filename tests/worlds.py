"""A made-up world for the protocol: one thread, messages in order, a store that is a dict. Faults are switched on by tests."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

import numpy as np

from baash import batch as batches
from baash import kernels
from baash.batch import Batch
from baash.keys import PrivateKey
from baash.protocol import view as views
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import (
    BatchOffered,
    Duplicates,
    Effect,
    Event,
    Fail,
    InputEnded,
    LedgerRead,
    MessageReceived,
    NodesLost,
    Persist,
    Persisted,
    PersistFailed,
    ReadLedger,
    Reply,
    Report,
    Send,
    Stop,
    Suspect,
    TickElapsed,
)
from baash.protocol.flights import Limits
from baash.protocol.plan import Log, empty_log
from baash.protocol.validator import Validator
from baash.protocol.windows import State
from baash.records import ANY_VERSION, ZERO_HASH, Operation, source_issuer

LEDGER = PrivateKey.from_seed(b"L" * 32)
MS = 1_000_000
USUAL = Limits()


def encode(
    operations: list[Operation] | Operation,
    entities: list[str],
    first: int = 0,
    source: str = "test",
    payload: bytes = b"",
    expected: list[int] | None = None,
) -> Batch:
    """A batch of unsigned transactions with sequence numbers from ``first`` on."""
    n = len(entities)
    ops = [operations] * n if isinstance(operations, Operation) else operations
    names = [e.encode() for e in entities]
    offsets = np.append(0, np.cumsum([len(e) for e in names])).astype(np.int64)
    payloads = np.frombuffer(payload * n, dtype=np.uint8)
    records, _ = kernels.encode(
        np.array(ops, dtype=np.uint8),
        np.arange(first, first + n, dtype=np.uint64),
        np.zeros(n, dtype=np.uint64),
        np.full(n, ANY_VERSION, dtype=np.uint64) if expected is None else np.array(expected, dtype=np.uint64),
        source_issuer(source),
        (np.frombuffer(b"".join(names), dtype=np.uint8), offsets),
        (payloads, np.arange(n + 1, dtype=np.int64) * len(payload)),
        0,
        None,
    )
    return batches.scan(records)[0]


class World:
    """A view of ``nodes`` nodes on ``ranks`` ranks, run to rest."""

    def __init__(
        self,
        nodes: int = 6,
        clusters: int = 1,
        ranks: int | None = None,
        limits: Limits = USUAL,
        seed: int = 1,
        **parameters: int | str,
    ) -> None:
        ranks = ranks or nodes
        self.keys: dict[bytes, PrivateKey] = {}
        hosts = []
        for rank in range(ranks):
            own = [self._key(rank, i) for i in range(nodes // ranks + (rank < nodes % ranks))]
            hosts.append(views.Host(rank, f"h{rank}", tuple(k.public for k in own), self._key(rank, 999).public))
        self.view = views.form(
            view=1,
            ledger=LEDGER.public,
            predecessor=None,
            hosts=hosts,
            clusters=clusters,
            parameters=views.Parameters(**parameters),
            seed=seed,
            time_ns=1,
            started_by={},
        )
        self.log: Log = empty_log(clusters)
        self.nodes: dict[int, Coordinator | Validator] = {}
        for node in self.view.nodes:
            state = State(kernels.EntityTable(), kernels.ReplayTable())
            key = self.keys[node.key]
            if node.role == "coordinator":
                assert node.cluster is not None
                self.nodes[node.node] = Coordinator(self.view, node.cluster, key, state, self.log, limits)
            else:
                self.nodes[node.node] = Validator(
                    self.view, node.node, key, state, self.log, storage=node.role == "storage"
                )
        found = (self.nodes[c.node] for c in self.view.coordinators)
        self.coordinators = [c for c in found if isinstance(c, Coordinator)]
        self.queue: deque[tuple[int, Event]] = deque()
        self.files: dict[tuple[int, str], bytearray] = {}
        self.committed: list[tuple[Batch, int]] = []
        self.rejections: list[np.ndarray] = []
        self.commits: list[bytes] = []
        self.reports: list[Report] = []
        self.duplicates = 0
        self.failed: Fail | None = None
        self.suspicions: list[Suspect] = []
        self.stopped: set[int] = set()
        self.dead: set[int] = set()
        self.now = 1
        self.tamper: Callable[[int, int, np.ndarray], np.ndarray | None] = lambda sender, to, data: data
        self.disk: Callable[[Persist], str | None] = lambda persist: None

    def _key(self, rank: int, index: int) -> PrivateKey:
        key = PrivateKey.from_seed(bytes([rank % 256, index % 256, rank >> 8, index >> 8]) * 8)
        self.keys[key.public] = key
        return key

    # -- driving ----------------------------------------------------------------------------------------------------

    def offer(self, batch: Batch, known: np.ndarray | None = None) -> None:
        which = self.view.clusters_of(batch.short_hashes)
        known = np.zeros(len(batch), dtype=np.uint16) if known is None else known
        for coordinator in self.view.coordinators:
            mine = which == coordinator.cluster
            if mine.any():
                self.queue.append((coordinator.node, BatchOffered(batch.select(mine), known[mine])))

    def end(self) -> None:
        for coordinator in self.view.coordinators:
            self.queue.append((coordinator.node, InputEnded()))

    def kill(self, *nodes: int) -> None:
        self.dead |= set(nodes)
        for node in self.nodes:
            if node not in self.dead:
                self.queue.append((node, NodesLost(frozenset(nodes))))

    def run(self, ticks: int = 50) -> None:
        """Until nothing moves, then time passes, ``ticks`` times."""
        for _ in range(ticks):
            while self.queue:
                node, event = self.queue.popleft()
                self.step(node, event)
            if len(self.stopped | self.dead) == len(self.nodes) or self.failed or self.suspicions:
                return
            self.now += 600 * MS
            for node in self.nodes:
                self.queue.append((node, TickElapsed()))

    def step(self, node: int, event: Event) -> None:
        if node in self.dead or node in self.stopped:
            return
        self.perform(node, self.nodes[node].handle(event, self.now))

    def perform(self, node: int, effects: list[Effect] | tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Send(to, data):
                    for receiver in to:
                        sent = self.tamper(node, receiver, data)
                        if sent is not None:
                            self.queue.append((receiver, MessageReceived(sent)))
                case Persist():
                    self._persist(node, effect)
                case Reply():
                    self.committed += effect.committed
                    self.rejections.append(effect.rejections)
                case Duplicates(count):
                    self.duplicates += count
                case ReadLedger():
                    self.queue.append((node, self._read(effect)))
                case Report():
                    self.reports.append(effect)
                case Fail():
                    self.failed = effect
                case Suspect():
                    self.suspicions.append(effect)
                case Stop():
                    self.stopped.add(node)

    def _persist(self, node: int, persist: Persist) -> None:
        error = self.disk(persist)
        if error:
            self.queue.append((node, PersistFailed(persist.token, error)))
            return
        for write in persist.writes:
            data = self.files.setdefault((write.segment, write.data_set), bytearray())
            end = write.offset + write.data.nbytes
            data.extend(bytes(max(0, end - len(data))))
            data[write.offset : end] = write.data.tobytes()
            if persist.commits:
                self.commits.append(hashlib.sha256(write.data[:256].tobytes()).digest())
        self.perform(node, persist.then)
        self.queue.append((node, Persisted(persist.token)))

    def _read(self, asked: ReadLedger) -> LedgerRead:
        leader = self.coordinators[asked.cluster]
        log = leader.rounds.log
        return LedgerRead(asked.token, leader.state.copy(), *log.clusters[asked.cluster], (ZERO_HASH, *self.commits))

    # -- looking ----------------------------------------------------------------------------------------------------

    def committed_ids(self) -> list[bytes]:
        return [i.tobytes() for b, _ in self.committed for i in b.ids]

    def reasons(self) -> list[int]:
        return [int(r) for rows in self.rejections for r in rows["reason"]]
