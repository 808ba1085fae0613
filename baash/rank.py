"""What one rank does in a run: meet the others, make its nodes, turn the loop.

The leading coordinator's rank is the one that speaks for the run. How it ends is in ``conclusion.py``.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from baash import conclusion
from baash.errors import BaashError, StorageError
from baash.hosted import Hosted
from baash.intake import TURNS, Intake
from baash.keys import PrivateKey
from baash.ledger import writer as writers
from baash.ledger.fetch import Fetcher
from baash.ledger.folder import Folder, WriterLock
from baash.local import LocalTransport
from baash.options import RunOptions
from baash.protocol import view as views
from baash.protocol import view_record
from baash.protocol.plan import Log
from baash.protocol.view import Host, View
from baash.service import Actor, Progress, Service
from baash.session import Opened, open_view
from baash.sources import Source
from baash.store import Store
from baash.trace.recorder import Recorder

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
        recorder = self._recorder()
        try:
            hosted = Hosted(
                self.options.ledger,
                self.view,
                self.transport.rank,
                recorder.keys(self._secrets) if recorder else self._secrets,
                self.options.limits(),
                replica_bytes=self.options.replica_bytes,
            )
            if recorder:
                recorder.begin(self.view, self.options.limits(), self.options.replica_bytes)
            self.nodes = nodes = hosted.nodes
            self.start = hosted.start
            mine = hosted.coordinators
            if mine:
                folder = Folder(self.options.ledger)
                self.lock = self.opened.lock if self.opened else folder.join_lock()
                kind = cast(writers.Kind, self.options.writer)
                writer = writers.open_writer(kind, folder, self.view, communicator)
                store = Store(folder, self.view.view, writer, self._together if communicator else nullcontext)
            turns = TURNS if self.options.take_turns else 1
            intake = Intake(self.view, [c.cluster for c in mine], self.sources(), turns) if mine else None
            fetcher = Fetcher(self.options.ledger)
            service = Service(
                self.transport,
                self.view,
                nodes,
                store=store,
                intake=intake,
                read_shared=hosted.read_shared,
                answer_reads=lambda c, asked: fetcher.answer(c.state.table, c.replica, asked.entities),
                known=hosted.known,
                learned=hosted.learned,
                drain_requested=self._drain,
                progress=self.progress if self.leads else lambda event, fields: None,
                recorder=recorder,
            )
            begun = time.monotonic()
            service.run()
        except BaashError as error:
            failure = error
        finally:
            if recorder:
                recorder.close(str(failure or sys.exc_info()[1] or ""))
        self._end(service, store, failure, time.monotonic() - begun, begun - started)

    def _recorder(self) -> Recorder | None:
        options = self.options
        if options.trace is None:
            return None
        note = partial(self._note, "trace")
        rank, most = self.transport.rank, options.trace_bytes
        return Recorder(options.trace, rank, options.ledger, note, most_bytes=most, own_thread=True)

    def _note(self, kind: str, text: str) -> None:
        self.progress("note", {"note": kind, "text": text})

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
