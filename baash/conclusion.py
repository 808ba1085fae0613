"""The end of one rank's run: add up, sign the head, pack and index the ledger, say how it went, and let the others go.

One rank speaks, the leading coordinator's, or the lowest living one if that is dead; the others hand in what they counted
and stay until it is done. Nothing here decides whether the run was good: that is the ``failure`` it is given, or none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baash import kernels, report
from baash.errors import BaashError, Interrupted
from baash.keys import PrivateKey
from baash.ledger.copies import compact
from baash.ledger.folder import Folder, WriterLock
from baash.ledger.index import building
from baash.ledger.proofs import checkpoint
from baash.options import RunOptions
from baash.protocol.membership import State
from baash.protocol.plan import Log
from baash.protocol.view import View
from baash.service import Progress, Service, Tally
from baash.store import Store
from baash.succession import Succession
from baash.text import json_text

GATHER_S = 2.0  # the other ranks' counts may take so long at the end
CLOSE_S = 2.0  # so long may it take to tell them to go


@dataclass(frozen=True)
class Ended:
    """A rank whose loop has ended, or never began."""

    options: RunOptions
    life: Succession
    first: View  # the run's
    transport: Any
    world: Any  # baash.mpi.world.World, or None in a world of one process
    progress: Progress
    secrets: Mapping[bytes, PrivateKey]  # of the nodes here, by public key
    lock: WriterLock | None
    start: Log | None
    store: Store | None
    notes: Sequence[str]  # of how the ledger was opened
    failure: BaashError | None
    elapsed_s: float
    startup_s: float

    @property
    def view(self) -> View:
        """The last one."""
        return self.life.view

    @property
    def service(self) -> Service | None:
        """Of the last view this rank was in; None: its loop never began."""
        seats = self.life.seats
        return seats[-1].service if seats else None

    @property
    def dead(self) -> frozenset[int]:
        return self.life.post.dead

    @property
    def leader_rank(self) -> int:
        return self.view.coordinators[0].rank

    @property
    def speaks(self) -> bool:
        """Whether this rank tells how it went: it leads, or the leader cannot and it is the lowest that lives, or it found that nobody can."""
        silent = self.leader_rank in self.dead or (
            self.failure is not None and self.life.membership.state is State.OVER
        )
        return self.leader_rank == self.transport.rank or (silent and self.is_lowest)

    @property
    def is_lowest(self) -> bool:
        """Of the ranks that live."""
        living = set(range(self.transport.size)) - self.dead
        return not living or int(self.transport.rank) == min(living)


def end(rank: Ended) -> None:
    """All that is left to do. Raises the failure where another rank tells of it."""
    if rank.store is not None:
        rank.store.close(orderly=rank.failure is None and not rank.dead)
    if rank.failure is None and not rank.life.well:
        return  # the job cannot go on, and who found that says so
    here = rank.service is None or rank.service.view is rank.view
    if rank.leader_rank == rank.transport.rank and here:
        _conclude(rank)
    elif rank.speaks:
        _speak_for_the_dead(rank)
    elif rank.failure is not None:
        raise rank.failure
    else:
        _hand_in(rank)
        if not _wait_for_farewell(rank) and rank.is_lowest:
            _speak_for_the_dead(rank)


# -- who speaks ---------------------------------------------------------------------------------------------------------


def _conclude(rank: Ended) -> None:
    failure, service = rank.failure, rank.service
    if failure is not None:
        rank.life.fail()
        rank.transport.drain(CLOSE_S)
    tally, counts = _add_up(rank)
    fields = _report(rank, tally, counts)
    try:
        if rank.first.view != rank.view.view:
            report.over_views(fields, rank.options.ledger, rank.first, rank.transport.size)
        if service is not None:
            _write_checkpoint(rank, service)
    except BaashError as error:
        failure = failure or error
    if failure is None:
        fields["packing"] = _pack(rank, fields["notes"])
        fields["indexing"] = _index(rank, fields["notes"])
    _say_farewell(rank)
    try:
        if rank.options.report is not None:
            report.write(rank.options.report, fields)
    except BaashError as error:
        failure = failure or error
    interrupted = Interrupted.exit_code if service is not None and service.interrupted else 0
    code = failure.exit_code if failure else interrupted
    rank.progress("status", {"exit_code": code, "error": str(failure) if failure else "", "report": fields})


def _speak_for_the_dead(rank: Ended) -> None:
    """The leading rank cannot say how it went; the others only leave."""
    fields = _report(rank, rank.life.tally, {})
    try:
        report.fill_from_ledger(fields, rank.options.ledger, rank.first)
        if rank.options.report is not None:
            report.write(rank.options.report, fields)
    except BaashError as error:
        fields["notes"].append(str(error))
    if rank.failure is not None and rank.life.leads:
        rank.life.fail()
        rank.transport.drain(CLOSE_S)
    code, said = (rank.failure.exit_code, str(rank.failure)) if rank.failure else (0, "")
    rank.progress("status", {"exit_code": code, "error": said, "report": fields})


def _report(rank: Ended, tally: Tally, counts: dict[str, Any]) -> dict[str, Any]:
    return report.build(
        rank.options,
        rank.view,
        rank.service,
        tally,
        counts,
        lost=sorted({n for seat in rank.life.seats for n in seat.service.lost_nodes}),
        failure=rank.failure,
        elapsed_s=rank.elapsed_s,
        startup_s=rank.startup_s,
        ranks=rank.transport.size,
        ulfm=rank.transport.ulfm,
        start=rank.start,
        mpi={} if rank.world is None else rank.world.versions(),
        writer=rank.store.name if rank.store else rank.options.writer,
        notes=[*rank.notes, *(rank.store.notes if rank.store else [])],
    )


# -- between the ranks --------------------------------------------------------------------------------------------------


def _counts(rank: Ended) -> dict[str, Any]:
    """What the intake of the last view counted: each begins with the first input, so those of earlier views count nothing more."""
    service = rank.service
    return report.intake_fields(service) if service is not None and service.view is rank.view else {}


def _hand_in(rank: Ended) -> None:
    """Our counts to the rank that speaks."""
    fields = {**rank.life.tally.as_fields(), "counts": _counts(rank)}
    data = np.frombuffer(json_text(fields).encode(), dtype=np.uint8)
    rank.transport.send(rank.leader_rank, rank.life.post.mail_tag, data)


def _add_up(rank: Ended) -> tuple[Tally, dict[str, Any]]:
    """What the loops of all ranks counted, and their intakes."""
    tally, counts = rank.life.tally, _counts(rank)
    for fields in _gather(rank):
        report.add_counts(counts, fields.pop("counts"))
        tally.add(fields)
    return tally, counts


def _gather(rank: Ended) -> list[dict[str, Any]]:
    """The counts of all living ranks; whoever takes too long is left out."""
    transport, post = rank.transport, rank.life.post
    deadline = time.monotonic() + GATHER_S
    while time.monotonic() < deadline:
        post.pump()
        if {source for source, _ in post.mail} | post.dead | {transport.rank} >= set(range(transport.size)):
            break
        transport.wait(0.05, False)
    return [fields for fields in (_fields(data) for _, data in post.mail) if fields is not None]


def _fields(data: np.ndarray) -> dict[str, Any] | None:
    """What a rank handed in; None: something else."""
    try:
        fields = json.loads(data.tobytes())
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and "counts" in fields else None


def _say_farewell(rank: Ended) -> None:
    for other in range(rank.transport.size):
        if other != rank.transport.rank:
            rank.transport.send(other, rank.life.post.mail_tag, np.zeros(1, dtype=np.uint8))
    rank.transport.drain(CLOSE_S)


def _wait_for_farewell(rank: Ended) -> bool:
    """Stay until the leading rank has packed the ledger: who leaves earlier gives MPI up on it after some seconds. False: it
    died before it could say how the run went."""
    post, leader = rank.life.post, rank.leader_rank
    while not (told := any(source == leader for source, _ in post.mail)) and leader not in post.dead:
        rank.transport.wait(0.05, False)
        post.pump()
    return told


# -- in the ledger's folder ---------------------------------------------------------------------------------------------


def _write_checkpoint(rank: Ended, service: Service) -> None:
    """The newest acknowledged state, signed by the leading coordinator: what hides a lost tail contradicts it."""
    log, view = report.log_of(service), rank.view
    folder = Folder(rank.options.ledger)
    if log is None or not log.block_total or folder.newest_claim() != view.view:
        return  # nothing to say, or somebody newer says it
    leader = view.coordinators[0]
    note = checkpoint.Checkpoint(view.ledger, log.block_total, kernels.log_root(log.frontier, log.block_total))
    name = checkpoint.node_name(view.ledger, view.view, leader.node)
    checkpoint.publish(folder, note, rank.secrets[leader.key], name)


def _pack(rank: Ended, notes: list[str]) -> dict[str, Any] | None:
    """Give back the room that finished segments do not need. If it fails the ledger is as well as before."""
    began = time.monotonic()
    try:
        done = compact.at_the_end(
            Folder(rank.options.ledger),
            rank.view.view,
            locked=rank.lock is not None and rank.lock.held,
            progress=lambda done, total: rank.progress("packing", {"done": done, "total": total}),
        )
    except BaashError as error:
        notes.append(f"the ledger was not packed, try again with baash compact: {error}")
        return None
    return {"segments": done.packed, "saved_bytes": done.saved, "elapsed_s": round(time.monotonic() - began, 6)}


def _index(rank: Ended, notes: list[str]) -> dict[str, Any] | None:
    """Cover what is committed by index files. If it fails, whoever asks reads the ledger instead."""
    began = time.monotonic()
    try:
        done = building.build(
            rank.options.ledger,
            lambda done, total: rank.progress("indexing", {"done": done, "total": total}),
        )
    except BaashError as error:
        notes.append(f"no index files were made, try again with baash compact: {error}")
        return None
    return {
        "transactions": done.transactions,
        "index_bytes": done.index_bytes,
        "elapsed_s": round(time.monotonic() - began, 6),
    }
