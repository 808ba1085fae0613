"""The one loop: a world's events to the core, the core's effects to the world.

It knows which node lives on which rank, and nothing of what messages mean. Everything here happens in one thread; writes
happen in the store's. The order is: what arrived, who died, what is durable, what is new from the sources, the clock.

What it needs of a world is ``Transport`` below; ``mpi/transport.py`` and ``local.py`` provide it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from baash import errors
from baash.intake import Counts, Intake, Known, Offer, Reads
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import (
    BatchOffered,
    DrainRequested,
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
from baash.protocol.messages import HEAD
from baash.protocol.validator import Validator
from baash.protocol.view import View
from baash.store import Done, Storing
from baash.trace.recorder import Recorder

Actor = Coordinator | Validator
TICK_NS = 20_000_000
PROGRESS_NS = 200_000_000


class Transport(Protocol):
    """What the loop needs of a world; see ``docs/architecture.md``."""

    rank: int
    size: int

    def send(self, rank: int, tag: int, data: np.ndarray) -> None: ...
    def poll(self) -> list[tuple[int, int, np.ndarray]]: ...
    def failed(self) -> list[int]: ...
    def wait(self, timeout_s: float, busy: bool) -> None: ...


@dataclass
class Tally:
    """What this rank saw decided; added up over ranks at the end (``as_fields``, ``add``)."""

    committed: int = 0
    committed_bytes: int = 0
    blocks: int = 0
    rounds: int = 0
    duplicates: int = 0
    messages: int = 0
    message_bytes: int = 0
    retries: int = 0
    appeals: int = 0
    votes: int = 0
    lost_windows: int = 0
    rejected: Counter[int] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    votes_by_node: Counter[int] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)  # bucket → transactions; see ``bucket_ms``

    def as_fields(self) -> dict[str, Any]:
        return {k: {str(a): b for a, b in v.items()} if isinstance(v, Counter) else v for k, v in vars(self).items()}

    def add(self, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                key: Callable[[str], Any] = str if name == "reports" else int
                for item, count in value.items():
                    mine[key(item)] += count
            else:
                setattr(self, name, mine + value)


def buckets(latencies_ns: np.ndarray) -> Counter[int]:
    """Latencies by logarithmic bucket, 4 % wide, so that ranks can add them up."""
    if not len(latencies_ns):
        return Counter()
    numbers = np.floor(np.log(np.maximum(latencies_ns, 1000)) / np.log(1.04)).astype(np.int64)
    values, counts = np.unique(numbers, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def percentile_ms(latency: Counter[int], share: float) -> float | None:
    """The latency in ms that ``share`` of the transactions did not exceed; None without any."""
    total = sum(latency.values())
    below = 0
    for bucket in sorted(latency):
        below += latency[bucket]
        if below >= share * total:
            return float(1.04 ** (bucket + 0.5) / 1e6)
    return None


def steady_clock() -> Callable[[], int]:
    """Nanoseconds since 1970 as of now, going on steadily: a step of the system's clock moves no deadline."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: offset + time.monotonic_ns()


Progress = Callable[[str, dict[str, Any]], None]  # (event, fields)
ReadShared = Callable[[ReadLedger], LedgerRead]
AnswerReads = Callable[[Coordinator, Reads], tuple[int, int, int]]  # (found, of these in memory, bytes)


class Service:
    """One rank's loop over the nodes it hosts."""

    def __init__(
        self,
        transport: Transport,
        view: View,
        nodes: Mapping[int, Actor],
        *,
        store: Storing | None,
        intake: Intake | None,
        read_shared: ReadShared | None = None,
        answer_reads: AnswerReads | None = None,
        known: Known = lambda cluster, ids: np.zeros(len(ids), dtype=np.uint16),
        learned: Callable[[int, Reply], None] = lambda cluster, reply: None,
        drain_requested: Callable[[], bool] = lambda: False,
        progress: Progress = lambda event, fields: None,
        clock: Callable[[], int] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.tally = Tally()
        self.interrupted = False
        self.lost_nodes: list[int] = []
        self.suspicion: Suspect | None = None  # why the nodes here cannot go on in this view
        self._transport, self.view, self.nodes = transport, view, dict(nodes)
        self._store, self._intake = store, intake
        self._read_shared, self._answer_reads = read_shared, answer_reads
        self._known = known
        self._learned, self._drain_requested = learned, drain_requested
        self._progress, self._clock = progress, clock or steady_clock()
        self._recorder = recorder
        self._rank_of = view.rank_of
        self._coordinators: dict[int, Coordinator] = {
            n.cluster: n for n in self.nodes.values() if isinstance(n, Coordinator)
        }
        self._running = set(self.nodes)
        self._ready: deque[tuple[int, Event | Offer]] = deque()
        self._told_ended = False
        self._next_tick = self._next_progress = 0
        self._said: dict[str, str] = {}  # the last text of each kind of note

    # -- the loop ---------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return bool(self._running)

    @property
    def waiting(self) -> tuple[bool, bool]:
        """(busy, writing): what the loop waits for when a step had nothing to do."""
        writing = self._store is not None and bool(self._store.pending)
        return any(c.busy for c in self._coordinators.values()), writing

    def stop(self) -> None:
        """Nothing more is heard, said or answered by the nodes here, whatever is on its way."""
        self._running.clear()

    def step(self) -> bool:
        """Once round the loop, without waiting; False when there was nothing to do. Raises the BaashError a node fails with."""
        moved = self._receive()
        moved |= self._collect() if self._running else False
        moved |= self._feed()
        moved |= self._deliver()
        self._tick()
        return moved or bool(self._ready)

    def _now(self) -> int:
        return self._clock()

    def _receive(self) -> bool:
        arrived = self._transport.poll()
        self._sort(arrived)
        dead = self._transport.failed()
        if dead:
            while last := self._transport.poll():  # what the dead have said counts before their death does
                self._sort(last)
            lost = frozenset(n for n, rank in self._rank_of.items() if rank in dead)
            self.lost_nodes += sorted(lost)
            for node in self.nodes:
                self._ready.append((node, NodesLost(lost)))
        return bool(arrived or dead)

    def _sort(self, arrived: Sequence[tuple[int, int, np.ndarray]]) -> None:
        for source, tag, data in arrived:
            if tag in self.nodes and self._is_from(source, data):
                self._ready.append((tag, MessageReceived(data)))
            else:
                self.tally.reports["bad_message"] += 1

    def _is_from(self, source: int, data: np.ndarray) -> bool:
        """Whether the sender a message names lives on the rank it came from."""
        if data.nbytes < HEAD.itemsize:
            return False
        return self._rank_of.get(int(data[: HEAD.itemsize].view(HEAD)["sender"][0])) == source

    def _collect(self) -> bool:
        if self._store is None:
            return False
        finished = self._store.finished()
        for done in finished:
            self._persisted(done)
        return bool(finished)

    def _persisted(self, done: Done) -> None:
        if done.reason:
            self._ready.append((done.node, PersistFailed(done.persist.token, done.reason, done.fenced)))
            return
        self._perform(done.node, done.persist.then)
        self._ready.append((done.node, Persisted(done.persist.token)))

    def _feed(self) -> bool:
        """Hand over what is new, as long as every cluster led here has room for it."""
        if not self._coordinators:
            return False
        if not self.interrupted and self._drain_requested():
            self.interrupted = True
            for coordinator in self._coordinators.values():
                self._ready.append((coordinator.node, DrainRequested()))
        intake = self._intake
        if intake is None or intake.ended or self.interrupted:
            if not self._told_ended:
                self._told_ended = True
                for coordinator in self._coordinators.values():
                    self._ready.append((coordinator.node, InputEnded()))
                return True
            return False
        if not all(c.wants_input for c in self._coordinators.values()):
            return False
        offers, reads = intake.next()
        for offer in offers:
            node = self._coordinators[offer.cluster].node
            self._ready.append((node, offer))
        for asked in reads:
            if self._answer_reads is not None:
                found, near, size = self._answer_reads(self._coordinators[asked.cluster], asked)
                intake.counts.reads_found += found
                intake.counts.reads_near += near
                intake.counts.read_bytes += size
        return True

    def _deliver(self) -> bool:
        moved = bool(self._ready)
        for _ in range(len(self._ready)):
            node, event = self._ready.popleft()
            if node not in self._running:
                continue
            if isinstance(event, Offer):  # asked now, not when it was read: what came in between may have decided some
                event = BatchOffered(event.batch, self._known(event.cluster, event.batch.ids))
            actor, now = self.nodes[node], self._now()
            traced = self._recorder
            self._perform(node, traced.handle(actor, node, event, now) if traced else actor.handle(event, now))
        return moved

    def _tick(self) -> None:
        now = self._now()
        if now >= self._next_tick:
            self._next_tick = now + TICK_NS
            for node in self.nodes:
                self._ready.append((node, TickElapsed()))
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_NS
            leader = self._coordinators.get(0)
            if leader is not None:
                log = leader.rounds.log
                offered = self._intake.counts.offered if self._intake else 0
                self._progress(
                    "progress", {"transactions": log.transaction_total, "offered": offered, "round": log.round}
                )

    # -- effects ----------------------------------------------------------------------------------------------------

    def _perform(self, node: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, data):
                    self._send(to, data)
                case Persist():
                    assert self._store is not None, "a node that persists lives where a store is"
                    self._store.submit(node, effect)
                case Reply():
                    self._reply(node, effect)
                case Duplicates(count):
                    self.tally.duplicates += count
                case ReadLedger():
                    assert self._read_shared is not None
                    self._ready.append((node, self._read_shared(effect)))
                case Report(kind, text):
                    self.tally.reports[kind] += 1
                    if text != self._said.get(kind):  # what is tried again and again is said once
                        self._said[kind] = text
                        self._progress("note", {"note": kind, "text": text})
                case Fail(error, text):
                    raise getattr(errors, error)(text)
                case Suspect():
                    self.suspicion = self.suspicion or effect
                    self.stop()
                    return
                case Stop():
                    self._running.discard(node)

    def _send(self, to: tuple[int, ...], data: np.ndarray) -> None:
        for node in to:
            rank = self._rank_of[node]
            if rank == self._transport.rank:
                self._ready.append((node, MessageReceived(data)))
            else:
                self.tally.messages += 1
                self.tally.message_bytes += data.nbytes
                self._transport.send(rank, node, data)

    def _reply(self, node: int, reply: Reply) -> None:
        tally = self.tally
        tally.blocks += reply.blocks
        tally.rounds += 1
        for batch, _ in reply.committed:
            tally.committed += len(batch)
            tally.committed_bytes += int(batch.records.nbytes)
        tally.latency += buckets(self._now() - reply.arrived_ns)
        reasons, counts = np.unique(reply.rejections["reason"], return_counts=True)
        tally.rejected.update(dict(zip(reasons.tolist(), counts.tolist(), strict=True)))
        cluster = self.view.nodes[node].cluster
        assert cluster is not None, "only a coordinator replies"
        self._learned(cluster, reply)

    @cached_property
    def final_tally(self) -> Tally:
        """The tally with what the coordinators here counted; ask for it when the loop has ended."""
        for coordinator in self._coordinators.values():
            flights = coordinator.flights
            self.tally.retries += flights.retries
            self.tally.appeals += flights.appeals
            self.tally.votes += flights.votes
            self.tally.lost_windows += flights.lost_windows
            self.tally.votes_by_node.update(flights.votes_by_node)
        return self.tally

    @property
    def intake_counts(self) -> Counts | None:
        return self._intake.counts if self._intake is not None else None
