"""What one rank does in a run: meet the others, make its nodes, turn the loop, add up, say how it went.

The leading coordinator's rank is the one that speaks for the run: progress, the final status, the report.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from baash import kernels, report
from baash.errors import BaashError, Interrupted, StorageError
from baash.hosted import Hosted
from baash.intake import Intake
from baash.keys import PrivateKey
from baash.ledger import writer as writers
from baash.ledger.copies import compact
from baash.ledger.fetch import Fetcher
from baash.ledger.folder import Folder, WriterLock
from baash.ledger.index import building
from baash.ledger.proofs import checkpoint
from baash.local import LocalTransport
from baash.options import RunOptions
from baash.protocol import view as views
from baash.protocol import view_record
from baash.protocol.messages import Kind, encode
from baash.protocol.plan import Log
from baash.protocol.view import Host, View
from baash.service import Actor, Progress, Service
from baash.session import Opened, open_view
from baash.sources import Source
from baash.store import Store
from baash.text import json_text

Sources = Callable[[], list[Source]]

READING_S = 86_400.0  # rank 0 may read inputs and ledger so long before it tells the others of the view
GATHER_S = 2.0  # the other ranks' counts may take so long at the end


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
        self.leader_rank = view.coordinators[0].rank
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
        try:
            hosted = Hosted(
                self.options.ledger,
                self.view,
                self.transport.rank,
                self._secrets,
                self.options.limits(),
                replica_bytes=self.options.replica_bytes,
            )
            self.nodes = nodes = hosted.nodes
            self.start = hosted.start
            mine = hosted.coordinators
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
                read_shared=hosted.read_shared,
                answer_reads=lambda c, asked: fetcher.answer(c.state.table, c.replica, asked.entities),
                known=hosted.known,
                learned=hosted.learned,
                drain_requested=self._drain,
                progress=self.progress if self.leads else lambda event, fields: None,
            )
            begun = time.monotonic()
            service.run()
        except BaashError as error:
            failure = error
        elapsed = time.monotonic() - begun
        if failure is not None and not self.leads:
            self._speak_for_the_dead(service, failure, elapsed, begun - started)
            return
        if store is not None:
            store.close(orderly=failure is None and not (service and service.lost_nodes))
        if self.leads:
            self._conclude(service, failure, elapsed, begun - started, store)
        elif service is not None:
            self._hand_in(service)
            self._wait_for_farewell(service)

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

    def _hand_in(self, service: Service) -> None:
        """Our counts to the rank that speaks."""
        fields = {**service.final_tally.as_fields(), "counts": report.intake_fields(service)}
        self.transport.send(
            self.leader_rank, service.mail_tag, np.frombuffer(json_text(fields).encode(), dtype=np.uint8)
        )

    def _wait_for_farewell(self, service: Service) -> None:
        """Stay until the leading rank has packed the ledger: who leaves earlier gives MPI up on it after some seconds."""
        farewell = any(source == self.leader_rank for source, _ in service.mail)
        while not farewell and self.leader_rank not in self.transport.failed():
            farewell = any(s == self.leader_rank and tag == service.mail_tag for s, tag, _ in self.transport.poll())
            self.transport.wait(0.05, False)

    def _say_farewell(self) -> None:
        for rank in range(self.transport.size):
            if rank != self.transport.rank:
                self.transport.send(rank, len(self.view.nodes), np.zeros(1, dtype=np.uint8))
        self.transport.drain(2.0)

    def _conclude(
        self, service: Service | None, failure: BaashError | None, elapsed: float, startup: float, store: Store | None
    ) -> None:
        if failure is not None:
            self._close_all()
        counts = report.intake_fields(service) if service else {}
        if service is not None:
            tally = service.final_tally
            for fields in self._gather(service):
                report.add_counts(counts, fields.pop("counts"))
                tally.add(fields)
        interrupted = bool(service and service.interrupted)
        fields = self._report(service, counts, failure, elapsed, startup, store)
        try:
            if service is not None:
                self._write_checkpoint(service)
        except BaashError as error:
            failure = failure or error
        if failure is None:
            fields["packing"] = self._pack(fields["notes"])
            fields["indexing"] = self._index(fields["notes"])
        self._say_farewell()
        try:
            if self.options.report is not None:
                report.write(self.options.report, fields)
        except BaashError as error:
            failure = failure or error
        code = failure.exit_code if failure else Interrupted.exit_code if interrupted else 0
        self.progress("status", {"exit_code": code, "error": str(failure) if failure else "", "report": fields})

    def _report(
        self,
        service: Service | None,
        counts: dict[str, Any],
        failure: BaashError | None,
        elapsed: float,
        startup: float,
        store: Store | None,
    ) -> dict[str, Any]:
        return report.build(
            self.options,
            self.view,
            service,
            counts,
            failure=failure,
            elapsed_s=elapsed,
            startup_s=startup,
            ranks=self.transport.size,
            ulfm=self.transport.ulfm,
            start=self.start,
            mpi=self._mpi_versions(),
            writer=store.name if store else self.options.writer,
            notes=[*(self.opened.notes if self.opened else []), *(store.notes if store else [])],
        )

    def _speak_for_the_dead(self, service: Service | None, failure: BaashError, elapsed: float, startup: float) -> None:
        """The leading rank cannot say how it went: the lowest living one does, the others only leave."""
        dead = {n.rank for n in self.view.nodes if service and n.node in service.lost_nodes}
        if self.leader_rank not in dead:
            raise failure
        if self.transport.rank != min(set(range(self.transport.size)) - dead):
            return
        fields = self._report(service, {}, failure, elapsed, startup, None)
        try:
            report.fill_from_ledger(fields, self.options.ledger, self.view)
            if self.options.report is not None:
                report.write(self.options.report, fields)
        except BaashError as error:
            fields["notes"].append(str(error))
        self.progress("status", {"exit_code": failure.exit_code, "error": str(failure), "report": fields})

    def _mpi_versions(self) -> dict[str, str]:
        return {} if self.meeting.world is None else self.meeting.world.versions()

    def _close_all(self) -> None:
        """This run has failed here: everyone else may go."""
        data = encode(Kind.CLOSE, self.view.view, self.view.coordinators[0].node)
        for node in self.view.nodes:
            if node.rank != self.transport.rank:
                self.transport.send(node.rank, node.node, data)
        self.transport.drain(2.0)

    def _gather(self, service: Service) -> list[dict[str, Any]]:
        """The counts of all living ranks; whoever takes too long is left out."""
        dead = {n.rank for n in self.view.nodes if n.node in service.lost_nodes}
        deadline = time.monotonic() + GATHER_S
        while time.monotonic() < deadline:
            if {source for source, _ in service.mail} | dead | {self.transport.rank} >= set(range(self.transport.size)):
                break
            service.mail += [(s, d) for s, tag, d in self.transport.poll() if tag == service.mail_tag]
            dead |= set(self.transport.failed())
            self.transport.wait(0.05, False)
        return [json.loads(data.tobytes()) for _, data in service.mail]

    def _pack(self, notes: list[str]) -> dict[str, Any] | None:
        """Give back the room that finished segments do not need. If it fails the ledger is as well as before."""
        began = time.monotonic()
        try:
            done = compact.at_the_end(
                Folder(self.options.ledger),
                self.view.view,
                locked=self.lock is not None and self.lock.held,
                progress=lambda done, total: self.progress("packing", {"done": done, "total": total}),
            )
        except BaashError as error:
            notes.append(f"the ledger was not packed, try again with baash compact: {error}")
            return None
        return {
            "segments": done.packed,
            "saved_bytes": done.saved,
            "elapsed_s": round(time.monotonic() - began, 6),
        }

    def _index(self, notes: list[str]) -> dict[str, Any] | None:
        """Cover what is committed by index files. If it fails, whoever asks reads the ledger instead."""
        began = time.monotonic()
        try:
            done = building.build(
                self.options.ledger,
                lambda done, total: self.progress("indexing", {"done": done, "total": total}),
            )
        except BaashError as error:
            notes.append(f"no index files were made, try again with baash compact: {error}")
            return None
        return {
            "transactions": done.transactions,
            "index_bytes": done.index_bytes,
            "elapsed_s": round(time.monotonic() - began, 6),
        }

    def _write_checkpoint(self, service: Service) -> None:
        """The newest acknowledged state, signed by the leading coordinator: what hides a lost tail contradicts it."""
        log = report.log_of(service)
        folder = Folder(self.options.ledger)
        if log is None or not log.block_total or folder.newest_claim() != self.view.view:
            return  # nothing to say, or somebody newer says it
        leader = self.view.coordinators[0]
        note = checkpoint.Checkpoint(self.view.ledger, log.block_total, kernels.log_root(log.frontier, log.block_total))
        name = checkpoint.node_name(self.view.ledger, self.view.view, leader.node)
        checkpoint.publish(folder, note, self._secrets[leader.key], name)
