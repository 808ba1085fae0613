"""What one rank does in a run: meet the others, make its nodes of each view, turn the loop.

How it goes from view to view is ``succession.py``'s. The leading coordinator's rank is the one that speaks for the run; how it ends is
in ``conclusion.py``.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from baash import conclusion
from baash.errors import BaashError, LedgerError, NotYet, StorageError
from baash.forming import ThreadForming
from baash.hosted import Hosted
from baash.intake import TURNS, Intake
from baash.keys import PrivateKey
from baash.ledger import keyring
from baash.ledger import writer as writers
from baash.ledger.fetch import Fetcher
from baash.ledger.folder import Folder, WriterLock
from baash.local import LocalTransport
from baash.options import RunOptions
from baash.protocol import view as views
from baash.protocol import view_record
from baash.protocol.changes import Succeed
from baash.protocol.membership import State
from baash.protocol.plan import Log
from baash.protocol.view import Host, Predecessor, View
from baash.service import Progress, Service, steady_clock
from baash.session import Opened, begin_view, open_view, run_of, started_by
from baash.sources import Source
from baash.store import Store
from baash.succession import Post, Seat, Succession, clusters_left
from baash.succession import World as Given
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


def agree(meeting: Meeting, options: RunOptions, sources: Sources) -> tuple[View, Opened | None, bytes]:
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
        return opened.view, opened, opened.text
    text = meeting.world.broadcast_all(None, timeout_s=READING_S)
    if text[:1] == b"E":
        raise _SaidByRank0
    return view_record.decode(text[1:])[0], None, text[1:]


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
        view, opened, text = agree(meeting, options, sources)
    except _SaidByRank0:
        return meeting.transport
    except BaashError as error:
        progress("status", {"exit_code": error.exit_code, "error": str(error)})
        return meeting.transport
    rank = Rank(options, sources, meeting, view, opened, text, progress, drain_requested)
    rank.run(started)
    return meeting.transport


class Rank:
    """The life of one rank, and what outlives its views: the lock, the reads, its place in the ledger at the start."""

    def __init__(
        self,
        options: RunOptions,
        sources: Sources,
        meeting: Meeting,
        view: View,
        opened: Opened | None,
        text: bytes,
        progress: Progress,
        drain: Callable[[], bool],
    ) -> None:
        self.options, self.sources, self.meeting = options, sources, meeting
        self.opened = opened
        self.transport, self.progress = meeting.transport, progress
        self.lock: WriterLock | None = opened.lock if opened else None  # held as long as this rank lives
        self.start: Log | None = None
        self._first = view
        self._folder = Folder(options.ledger)
        self._run, self._clock = run_of(meeting.hosts), steady_clock()
        self._drain = drain
        self._secrets = {k.public: k for k in meeting.secrets}
        self._communicator: Any = None
        self._fetcher = Fetcher(options.ledger)
        self._recorder = self._make_recorder()
        given = Given(self._folder, self._run, self._sit, self._form, self._clock, self._note)
        post = Post(self.transport, meeting.hosts)
        self.life = Succession(post, meeting.hosts, meeting.secrets, view, text, given)

    def run(self, started: float) -> None:
        failure: BaashError | None = None
        begun = time.monotonic()
        try:
            self._communicator = self._split_all()
            self.life.step()  # makes the nodes
            begun = time.monotonic()
            self._turn()
        except BaashError as error:
            failure = error
        finally:
            if self._recorder is not None:
                self._recorder.close(str(failure or sys.exc_info()[1] or ""))
        self._end(failure, time.monotonic() - begun, begun - started)

    def _turn(self) -> None:
        """The loop, over all views."""
        while not self.life.over:
            if not self.life.step():
                busy, writing = self.life.waiting
                self.transport.wait(0.0005 if writing else 0.005, busy and not writing)
            if self.options.writer == "mpio" and self.life.membership.state is State.LEFT:
                raise NotYet(
                    f"{self.life.membership.known.change.why}; with --writer mpio there is no view change inside a run yet "
                    "(docs/limits.md): everything acknowledged is in the ledger, run again to continue it"
                )

    def _note(self, event: str, fields: dict[str, Any]) -> None:
        """What happens to views is told by the rank that leads, or would."""
        if self.life.leads or self.life.membership.known.change.steward == self.transport.rank:
            self.progress(event, fields)

    def _make_recorder(self) -> Recorder | None:
        options = self.options
        if options.trace is None:
            return None

        def note(text: str) -> None:
            self.progress("note", {"note": "trace", "text": text})

        rank, most = self.transport.rank, options.trace_bytes
        return Recorder(options.trace, rank, options.ledger, note, most_bytes=most, own_thread=True)

    # -- a view -----------------------------------------------------------------------------------------------------

    def _sit(self, view: View, before: Hosted | None) -> Seat:
        """This rank's nodes of a view."""
        options, recorder = self.options, self._recorder
        hosted = Hosted(
            options.ledger,
            view,
            self.transport.rank,
            recorder.keys(self._secrets) if recorder else self._secrets,
            options.limits(),
            replica_bytes=options.replica_bytes,
            before=before,
        )
        if recorder:
            recorder.begin(view, options.limits(), options.replica_bytes)
        self.start = self.start or hosted.start
        mine = hosted.coordinators
        store = None
        if mine:
            self.lock = self.lock or self._folder.join_lock()
            kind = cast(writers.Kind, options.writer)
            writer = writers.open_writer(kind, self._folder, view, self._communicator)
            store = Store(self._folder, view.view, writer, self._together if self._communicator else nullcontext)
        leads = view.coordinators[0].rank == self.transport.rank
        turns = TURNS if options.take_turns else 1
        service = Service(
            self.life.post,
            view,
            hosted.nodes,
            store=store,
            intake=Intake(view, [c.cluster for c in mine], self.sources(), turns) if mine else None,
            read_shared=hosted.read_shared,
            answer_reads=lambda c, asked: self._fetcher.answer(c.state.table, c.replica, asked.entities),
            known=hosted.known,
            learned=hosted.learned,
            drain_requested=self._drain,
            progress=self.progress if leads else lambda event, fields: None,
            clock=self._clock,
            recorder=recorder,
        )
        return Seat(view, hosted, service, store)

    def _form(self, wanted: Succeed, left: View) -> ThreadForming:
        """The next view, with as many clusters as the first had, or as there can be."""
        parameters = self.options.parameters()
        nodes = sum(len(h.keys) for h in wanted.hosts)
        steps = begin_view(
            self._folder,
            self._key,
            wanted.hosts,
            clusters_left(nodes, parameters, len(self._first.coordinators)),
            parameters,
            self.options.seed,
            time.time_ns,
            {**started_by(), "run": self._run, **wanted.said},
            left=left.view,
        )
        return ThreadForming(steps)

    def _key(self, predecessor: Predecessor | None) -> PrivateKey | None:
        """The ledger's key, if it is here; else the nodes vouch."""
        try:
            return keyring.load(self._first.ledger)
        except LedgerError:
            return None

    # -- mpio -------------------------------------------------------------------------------------------------------

    def _split_all(self) -> Any:
        """Of the ranks that lead clusters, for the ``mpio`` writer; every rank calls this."""
        if self.options.writer != "mpio" or self.meeting.world is None:
            return None
        return self.meeting.world.split_all(any(c.rank == self.transport.rank for c in self._first.coordinators))

    def _together(self) -> AbstractContextManager[None]:
        """A time limit round what the leading ranks do together inside MPI, where nothing else can end a wait."""
        from baash.mpi import world

        limit: AbstractContextManager[None] = world.time_limit(world.START_S, "a segment could not be opened together")
        return limit

    # -- the end ----------------------------------------------------------------------------------------------------

    def _end(self, failure: BaashError | None, elapsed: float, startup: float) -> None:
        store = next((s.store for s in reversed(self.life.seats) if isinstance(s.store, Store)), None)
        ended = conclusion.Ended(
            options=self.options,
            life=self.life,
            first=self._first,
            transport=self.transport,
            world=self.meeting.world,
            progress=self.progress,
            secrets=self._secrets,
            lock=self.lock,
            start=self.start,
            store=store,
            notes=self.opened.notes if self.opened else [],
            failure=failure,
            elapsed_s=elapsed,
            startup_s=startup,
        )
        conclusion.end(ended)
