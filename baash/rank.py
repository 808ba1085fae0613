"""What one rank does in a run: meet the others, make its nodes, turn the loop.

The leading coordinator's rank is the one that speaks for the run. How it ends is in ``conclusion.py``.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from baash import conclusion, kernels
from baash.errors import BaashError, StorageError
from baash.intake import Intake
from baash.keys import PrivateKey
from baash.ledger import writer as writers
from baash.ledger.fetch import Fetcher
from baash.ledger.folder import Folder, WriterLock
from baash.ledger.reader import Ledger
from baash.ledger.restore import Restored, restore
from baash.local import LocalTransport
from baash.options import RunOptions
from baash.protocol import view as views
from baash.protocol import view_record
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import LedgerRead, ReadLedger, Reply
from baash.protocol.plan import Log, empty_log
from baash.protocol.validator import COMMITS_KEPT, Validator
from baash.protocol.view import Host, View
from baash.protocol.windows import State
from baash.records import ZERO_HASH
from baash.service import Actor, Progress, Service
from baash.session import Opened, open_view, read_state
from baash.sources import Source
from baash.store import Store

Sources = Callable[[], list[Source]]

READING_S = 86_400.0  # rank 0 may read inputs and ledger so long before it tells the others of the view


@dataclass
class Meeting:
    """A started world: the transport, who is there, and this rank's keys."""

    transport: Any
    hosts: tuple[Host, ...]
    secrets: tuple[PrivateKey, ...]  # nodes', then one for the storage validator
    world: Any  # baash.mpi.world.World, or None in a world of one process


def meet(options: RunOptions, *, alone: bool) -> Meeting:
    """Start the world and exchange keys. ``alone``: without MPI."""
    size = 1 if alone else _world_size()
    nodes = options.nodes_here(size)
    secrets = tuple(PrivateKey.from_seed(os.urandom(32)) for _ in range(nodes + 1))
    blob = b"".join(k.public for k in secrets)
    if alone:
        public = tuple(k.public for k in secrets)
        return Meeting(LocalTransport(), (Host(0, socket.gethostname(), public[:-1], public[-1]),), secrets, None)
    from baash.mpi import world as mpi

    world = mpi.start_all(nodes, blob)
    hosts = []
    for hello in world.hellos:
        public = tuple(hello.blob[i : i + 32] for i in range(0, len(hello.blob), 32))
        hosts.append(Host(hello.rank, hello.host, public[:-1], public[-1]))
    return Meeting(world.transport, tuple(hosts), secrets, world)


def _world_size() -> int:
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_NTASKS"):
        if name in os.environ:
            return int(os.environ[name])
    return 1


def agree(meeting: Meeting, options: RunOptions, sources: Sources) -> tuple[View, Opened | None]:
    """The view of this run: made by rank 0, learned by the others. Raises what rank 0 failed with, on all."""
    if meeting.transport.rank == 0:
        try:
            sources()  # a malformed input must cost nothing, not even a claim
            options.check_here()
            nodes = sum(len(h.keys) for h in meeting.hosts)
            clusters = views.clusters_for(nodes, options.parameters(), options.clusters)
            opened = open_view(
                options.ledger,
                meeting.hosts,
                clusters,
                options.parameters(),
                options.seed,
                take_over=options.take_over,
                force=options.force,
            )
        except (BaashError, OSError) as cause:
            error = (
                cause if isinstance(cause, BaashError) else StorageError(f"{options.ledger} cannot be used: {cause}")
            )
            if meeting.world is not None:
                meeting.world.broadcast_all(b"E", timeout_s=READING_S)
            raise error from None
        if meeting.world is not None:
            meeting.world.broadcast_all(b"V" + opened.text, timeout_s=READING_S)
        return opened.view, opened
    text = meeting.world.broadcast_all(None, timeout_s=READING_S)
    if text[:1] == b"E":
        raise _SaidByRank0
    return view_record.decode(text[1:])[0], None


class _SaidByRank0(Exception):
    """Rank 0 reports the error; this rank only leaves."""


def run(
    options: RunOptions,
    progress: Progress,
    *,
    alone: bool,
    drain_requested: Callable[[], bool],
    sources: Sources | None = None,
) -> Any:
    """One rank's whole run; returns the transport to close. Errors are reported by the rank that speaks.

    ``sources`` replaces what the options name.
    """
    sources = sources or options.sources
    started = time.monotonic()
    meeting = meet(options, alone=alone)
    try:
        view, opened = agree(meeting, options, sources)
    except _SaidByRank0:
        return meeting.transport
    except BaashError as error:
        progress("status", {"exit_code": error.exit_code, "error": str(error)})
        return meeting.transport
    rank = Rank(options, sources, meeting, view, opened, progress, drain_requested)
    rank.run(started)
    return meeting.transport


class Rank:
    """The nodes of one rank and what they share: the store, the intake, what is known of ids."""

    def __init__(
        self,
        options: RunOptions,
        sources: Sources,
        meeting: Meeting,
        view: View,
        opened: Opened | None,
        progress: Progress,
        drain: Callable[[], bool],
    ) -> None:
        self.options, self.sources, self.meeting = options, sources, meeting
        self.view, self.opened = view, opened
        self.transport, self.progress = meeting.transport, progress
        self.leads = view.coordinators[0].rank == self.transport.rank
        self.lock: WriterLock | None = opened.lock if opened else None  # held as long as this rank lives
        self.ids: dict[int, kernels.EntityTable] = {}  # by cluster led here; see ``Restored.ids``
        self.start: Log | None = None
        self.nodes: dict[int, Actor] = {}
        self._drain = drain
        self._secrets = {k.public: k for k in meeting.secrets}

    def run(self, started: float) -> None:
        communicator = self._communicator()
        service: Service | None = None
        store: Store | None = None
        failure: BaashError | None = None
        begun = time.monotonic()
        try:
            self.nodes = nodes = self._make_nodes()
            mine = [n for n in nodes.values() if isinstance(n, Coordinator)]
            if mine:
                folder = Folder(self.options.ledger)
                self.lock = self.opened.lock if self.opened else folder.join_lock()
                kind = cast(writers.Kind, self.options.writer)
                writer = writers.open_writer(kind, folder, self.view, communicator)
                store = Store(folder, self.view.view, writer, self._together if communicator else nullcontext)
            intake = Intake(self.view, [c.cluster for c in mine], self.sources()) if mine else None
            fetcher = Fetcher(self.options.ledger)
            service = Service(
                self.transport,
                self.view,
                nodes,
                store=store,
                intake=intake,
                read_shared=self._read_shared,
                answer_reads=lambda c, asked: fetcher.answer(c.state.table, c.replica, asked.entities),
                known=self._known,
                learned=self._learned,
                drain_requested=self._drain,
                progress=self.progress if self.leads else lambda event, fields: None,
            )
            begun = time.monotonic()
            service.run()
        except BaashError as error:
            failure = error
        self._end(service, store, failure, time.monotonic() - begun, begun - started)

    # -- the start --------------------------------------------------------------------------------------------------

    def _communicator(self) -> Any:
        """Of the ranks that lead clusters, for the ``mpio`` writer; every rank calls this."""
        if self.options.writer != "mpio" or self.meeting.world is None:
            return None
        return self.meeting.world.split_all(any(c.rank == self.transport.rank for c in self.view.coordinators))

    def _together(self) -> AbstractContextManager[None]:
        """A time limit round what the leading ranks do together inside MPI, where nothing else can end a wait."""
        from baash.mpi import world

        limit: AbstractContextManager[None] = world.time_limit(world.START_S, "a segment could not be opened together")
        return limit

    def _make_nodes(self) -> dict[int, Actor]:
        nodes: dict[int, Actor] = {}
        keep = self.options.replica_bytes
        read: dict[int, tuple[Restored, Log]] = {}
        for node in self.view.nodes:
            secret = self._secrets.get(node.key)
            if secret is None or node.rank != self.transport.rank:
                continue
            if node.cluster is None:
                empty = State(kernels.EntityTable(), kernels.ReplayTable(self.view.parameters.replay_width))
                nodes[node.node] = Validator(
                    self.view, node.node, secret, empty, empty_log(len(self.view.coordinators)), storage=True
                )
                continue
            if node.cluster not in read:
                read[node.cluster] = read_state(self.options.ledger, self.view, node.cluster)
            restored, log = read[node.cluster]
            state = State(restored.entities, restored.replay).copy()
            if node.role == "coordinator":
                nodes[node.node] = Coordinator(
                    self.view, node.cluster, secret, state, log, self.options.limits(), replica_bytes=keep
                )
                self.ids[node.cluster] = restored.ids
                self.start = log
            else:
                nodes[node.node] = Validator(self.view, node.node, secret, state, log, replica_bytes=keep)
        return nodes

    # -- what the loop asks -----------------------------------------------------------------------------------------

    def _known(self, cluster: int, ids: np.ndarray) -> np.ndarray:
        """What the ledger says of ids: 0 nothing, 1 committed, 0x100 + reason rejected."""
        what, found, value = self.ids[cluster].lookup(np.ascontiguousarray(ids[:, :16]))
        known = np.where(what == 2, np.uint64(0x100) + value, what)
        return np.where(found, known, np.uint64(0)).astype(np.uint16)

    def _learned(self, cluster: int, reply: Reply) -> None:
        table = self.ids[cluster]
        for batch, first in reply.committed:
            ones = np.ones(len(batch), dtype=np.uint64)
            numbers = np.uint64(first) + np.arange(len(batch), dtype=np.uint64)
            table.upsert(np.ascontiguousarray(batch.ids[:, :16]), ones, ones.astype(bool), numbers)
        rows = reply.rejections
        if len(rows):
            keys = np.ascontiguousarray(rows["id"][:, :16])
            new = ~table.lookup(keys)[1]
            twos = np.full(int(new.sum()), 2, dtype=np.uint64)
            table.upsert(keys[new], twos, twos.astype(bool), rows["reason"][new].astype(np.uint64))

    def _read_shared(self, asked: ReadLedger) -> LedgerRead:
        """The storage validator's look at the shared ledger: all of it, as anyone would read it."""
        shards = self.view.cluster_of_shard == np.uint32(asked.cluster)
        with Ledger(self.options.ledger, scan=True) as ledger:
            restored = restore(ledger, shards, self.view.parameters.replay_width)
            windows, last = 0, ZERO_HASH
            if len(ledger.rounds) and ledger.rounds[-1].view.view == self.view.view:
                row = ledger.rounds[-1].body().clusters[asked.cluster]
                windows, last = int(row["number"]), row["window"].tobytes()
            rounds: Sequence[Any] = ledger.rounds[-COMMITS_KEPT:]
            commits = (ZERO_HASH, *(r.hash for r in rounds))
        return LedgerRead(asked.token, State(restored.entities, restored.replay), windows, last, commits)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _end(
        self, service: Service | None, store: Store | None, failure: BaashError | None, elapsed: float, startup: float
    ) -> None:
        ended = conclusion.Ended(
            options=self.options,
            view=self.view,
            transport=self.transport,
            world=self.meeting.world,
            progress=self.progress,
            secrets=self._secrets,
            lock=self.lock,
            start=self.start,
            service=service,
            store=store,
            notes=self.opened.notes if self.opened else [],
            failure=failure,
            elapsed_s=elapsed,
            startup_s=startup,
        )
        conclusion.end(ended)
