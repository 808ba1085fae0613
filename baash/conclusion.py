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
from baash.protocol.messages import Kind, encode
from baash.protocol.plan import Log
from baash.protocol.view import View
from baash.service import Progress, Service
from baash.store import Store
from baash.text import json_text

GATHER_S = 2.0  # the other ranks' counts may take so long at the end
CLOSE_S = 2.0  # so long may it take to tell them to go


@dataclass(frozen=True)
class Ended:
    """A rank whose loop has ended, or never began: ``service`` None."""

    options: RunOptions
    view: View
    transport: Any
    world: Any  # baash.mpi.world.World, or None in a world of one process
    progress: Progress
    secrets: Mapping[bytes, PrivateKey]  # of the nodes here, by public key
    lock: WriterLock | None
    start: Log | None
    service: Service | None
    store: Store | None
    notes: Sequence[str]  # of how the ledger was opened
    failure: BaashError | None
    elapsed_s: float
    startup_s: float

    @property
    def leader_rank(self) -> int:
        return self.view.coordinators[0].rank


def end(rank: Ended) -> None:
    """All that is left to do. Raises the failure where another rank tells of it."""
    leads = rank.leader_rank == rank.transport.rank
    if rank.failure is not None and not leads:
        _speak_for_the_dead(rank, rank.failure)
        return
    if rank.store is not None:
        rank.store.close(orderly=rank.failure is None and not (rank.service and rank.service.lost_nodes))
    if leads:
        _conclude(rank)
    elif rank.service is not None:
        _hand_in(rank, rank.service)
        _wait_for_farewell(rank, rank.service)


# -- who speaks ---------------------------------------------------------------------------------------------------------


def _conclude(rank: Ended) -> None:
    failure, service = rank.failure, rank.service
    if failure is not None:
        _close_all(rank)
    counts = _add_up(rank, service) if service is not None else {}
    fields = _report(rank, counts)
    try:
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


def _speak_for_the_dead(rank: Ended, failure: BaashError) -> None:
    """The leading rank cannot say how it went: the lowest living one does, the others only leave."""
    dead = {n.rank for n in rank.view.nodes if rank.service and n.node in rank.service.lost_nodes}
    if rank.leader_rank not in dead:
        raise failure
    if rank.transport.rank != min(set(range(rank.transport.size)) - dead):
        return
    fields = _report(rank, {})
    try:
        report.fill_from_ledger(fields, rank.options.ledger, rank.view)
        if rank.options.report is not None:
            report.write(rank.options.report, fields)
    except BaashError as error:
        fields["notes"].append(str(error))
    rank.progress("status", {"exit_code": failure.exit_code, "error": str(failure), "report": fields})


def _report(rank: Ended, counts: dict[str, Any]) -> dict[str, Any]:
    return report.build(
        rank.options,
        rank.view,
        rank.service,
        counts,
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


def _hand_in(rank: Ended, service: Service) -> None:
    """Our counts to the rank that speaks."""
    fields = {**service.final_tally.as_fields(), "counts": report.intake_fields(service)}
    data = np.frombuffer(json_text(fields).encode(), dtype=np.uint8)
    rank.transport.send(rank.leader_rank, service.mail_tag, data)


def _add_up(rank: Ended, service: Service) -> dict[str, Any]:
    """The intake's counts of all ranks; what their loops counted goes into the service's tally."""
    counts = report.intake_fields(service)
    for fields in _gather(rank, service):
        report.add_counts(counts, fields.pop("counts"))
        service.final_tally.add(fields)
    return counts


def _gather(rank: Ended, service: Service) -> list[dict[str, Any]]:
    """The counts of all living ranks; whoever takes too long is left out."""
    transport = rank.transport
    dead = {n.rank for n in rank.view.nodes if n.node in service.lost_nodes}
    deadline = time.monotonic() + GATHER_S
    while time.monotonic() < deadline:
        if {source for source, _ in service.mail} | dead | {transport.rank} >= set(range(transport.size)):
            break
        for source, tag, data in transport.poll():
            if tag == service.mail_tag:
                service.keep_mail(source, data)
        dead |= set(transport.failed())
        transport.wait(0.05, False)
    return [json.loads(data.tobytes()) for _, data in service.mail]


def _close_all(rank: Ended) -> None:
    """This run has failed here: everyone else may go."""
    data = encode(Kind.CLOSE, rank.view.view, rank.view.coordinators[0].node)
    for node in rank.view.nodes:
        if node.rank != rank.transport.rank:
            rank.transport.send(node.rank, node.node, data)
    rank.transport.drain(CLOSE_S)


def _say_farewell(rank: Ended) -> None:
    for other in range(rank.transport.size):
        if other != rank.transport.rank:
            rank.transport.send(other, len(rank.view.nodes), np.zeros(1, dtype=np.uint8))
    rank.transport.drain(CLOSE_S)


def _wait_for_farewell(rank: Ended, service: Service) -> None:
    """Stay until the leading rank has packed the ledger: who leaves earlier gives MPI up on it after some seconds."""
    transport, leader = rank.transport, rank.leader_rank
    farewell = any(source == leader for source, _ in service.mail)
    while not farewell and leader not in transport.failed():
        farewell = any(source == leader and tag == service.mail_tag for source, tag, _ in transport.poll())
        transport.wait(0.05, False)


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
