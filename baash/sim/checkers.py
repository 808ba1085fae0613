"""What has been promised, looked after while a world runs and at its end.

While it runs: no receipt contradicts another, nothing grows without limit. At the end: the audit finds nothing, nor does a second
computation of everything (``history.py``); what was acknowledged is there; what is surely valid is committed, what is
forged is not; every node holds a state that the history had.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from baash.errors import QuorumLost
from baash.hosted import Hosted
from baash.kernels import EntityTable
from baash.ledger.audit import audit
from baash.ledger.restore import Restored
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import Reply
from baash.protocol.messages import HEAD, Kind
from baash.protocol.validator import WINDOWS_KEPT, Validator
from baash.protocol.view import View
from baash.records import UNDECIDED_REASONS
from baash.sim.history import History
from baash.sim.material import Fate
from baash.sim.process import Life, Process

if TYPE_CHECKING:
    from baash.sim.job import Job
    from baash.sim.simulation import Outcome, Simulation


# Beyond what is promised to go on: the network loses messages or says of the living that they are dead, somebody ended it, or lies.
EXCUSES = {
    "taken for dead",
    "harsh weather",
    "killed",
    "killed by its operator",
    "lying coordinator",
    "lying validators",
    "taken over",
}

# -- while it runs --------------------------------------------------------------------------------------------------


def at_reply(sim: Simulation, job: Job, process: Process, cluster: int, reply: Reply) -> Iterator[str]:
    """Receipts, as an honest coordinator gives them."""
    for batch, first in reply.committed:
        for offset, row in enumerate(batch.ids):
            one, number = row.tobytes(), first + offset
            known = sim.receipts.setdefault(one, number)
            if known != number or one in sim.refused:
                yield f"transaction {one.hex()[:12]} was acknowledged as {known}, and as {number} again"
    for row in reply.rejections:
        one, reason = row["id"].tobytes(), int(row["reason"])
        if reason in UNDECIDED_REASONS:
            continue
        if one in sim.receipts or sim.refused.setdefault(one, reason) != reason:
            yield f"transaction {one.hex()[:12]} was rejected, and decided otherwise before"
    yield from _bounded(job, process)


def _bounded(job: Job, process: Process) -> Iterator[str]:
    """Queues and tables of a process, against their limits."""
    limits = job.shape.limits
    seats = process.seats
    for node in seats[-1].hosted.nodes.values() if seats else ():
        if isinstance(node, Coordinator):
            queues = node.queues
            refused = sum(map(len, queues._rejected)) + len(queues._in_round)
            queued = queues.queued[0] + queues.waiting[0] + refused
            most = limits.queue_transactions + 2 * limits.windows_in_flight * limits.window_transactions
            if queued > most + job.shape.at_once:
                yield f"coordinator {node.node} has {queued} transactions queued or rejected, {most} at most were to be expected"
            if len(node.flights.by_number) > 2 * limits.windows_in_flight:
                yield f"coordinator {node.node} has {len(node.flights.by_number)} windows in flight"


def needless(job: Job) -> str | None:
    """Why a job that is over and not well, or stands still in a quiet world, need not: enough of its ranks were there, and nothing but
    deaths, stops, splits and storage befell them."""
    shape, errors = job.shape, job.errors()
    if job.abandoned or job.excuses & EXCUSES or any(not isinstance(e, QuorumLost) for _, e in errors):
        return None
    killed = {p.rank for p in job.processes if p.life is Life.DEAD and p.error is None}
    nodes = sum(count for rank, count in enumerate(shape.per_rank) if rank not in killed)
    need = shape.parameters.sub_cluster + 1
    if nodes < need or (not shape.key_everywhere and 0 in killed):
        return None
    why = "; ".join(f"rank {p.rank}: {e}" for p, e in errors[:2]) or "nobody says why"
    what = "ended" if job.over else "stands still"
    return f"job {job.number} {what}, and {nodes} nodes of ranks that nobody killed could have gone on: {why}"


def continued(hosted: Hosted, cluster: int, fresh: Restored, pairs: tuple[np.ndarray, np.ndarray]) -> str | None:
    """What is wrong with a state that was taken over from memory: it is the one that the ledger gives. ``pairs``: issuers, numbers."""
    for node in hosted.nodes.values():
        if hosted.view.nodes[node.node].cluster != cluster:
            continue
        alike = _items(node.state.table) == _items(fresh.entities)
        alike &= bool((node.state.replay.check(*pairs) == fresh.replay.check(*pairs)).all())
        if isinstance(node, Coordinator):
            alike &= _items(hosted.ids[cluster]) == _items(fresh.ids) and node.rounds.log.commit == fresh.commit
        if not alike:
            return f"node {node.node} of view {hosted.view.view} took over another state than the ledger gives"
    return None


def _items(table: EntityTable) -> dict[bytes, tuple[int, bool, int]]:
    keys, *rest = table.items()
    return {k.tobytes(): (int(v), bool(e), int(n)) for k, v, e, n in zip(keys, *rest, strict=True)}


def minority(process: Process, ranks: set[int], left: View) -> str | None:
    """What is wrong with who forms a view: fewer than half of those who may live, though others are silent, not dead."""
    assert process.succession is not None
    dead = process.succession.membership.known.dead
    living = {n.rank for n in left.nodes} - dead
    if living and 2 * len(living & ranks) <= len(living):
        return f"{process.name} claims with ranks {sorted(ranks)} of {sorted(living)}, a minority"
    return None


def spoken(process: Process, data: np.ndarray) -> str | None:
    """What is wrong with a message that leaves a rank: its nodes speak in the view that it is in, and in no other."""
    if data.nbytes < HEAD.itemsize or int(data[: HEAD.itemsize].view(HEAD)["kind"][0]) >= Kind.JOIN:
        return None
    number = int(data[: HEAD.itemsize].view(HEAD)["view"][0])
    life = process.succession
    if life is None or (life.seat is not None and life.seat.view.view == number):
        return None
    return f"{process.name} says something in view {number}, which it has left"


# -- at the end -----------------------------------------------------------------------------------------------------


def undecided(sim: Simulation) -> int:
    """How many of what was offered the ledger has no answer to."""
    history = History(sim.folder.path)
    return sum(o.id not in history.numbers and o.id not in history.rejected for o in sim.offered)


def at_end(sim: Simulation) -> list[str]:
    """All that is wrong with what the world left behind."""
    report, history = audit(sim.folder.path), History(sim.folder.path)
    found = [f"audit: {p}" for p in report.problems]
    found += _accusations(sim, history, {(e.view, e.node) for e in report.evidence})
    found += [f"second computation: {w}" for w in history.wrong]
    for one, number in sim.receipts.items():
        if history.numbers.get(one) != number:
            found.append(f"transaction {one.hex()[:12]} was acknowledged as {number}, it is {history.numbers.get(one)}")
    for one, reason in sim.refused.items():
        if history.rejected.get(one) != reason:
            found.append(f"transaction {one.hex()[:12]} was rejected for {reason}, the ledger does not say so")
    lied = {one for job in sim.jobs for one in job.lied}
    for offered in sim.offered:
        wrong = _fate(offered.id, offered.fate, history, lied)
        if wrong:
            found.append(f"transaction {offered.id.hex()[:12]} {wrong}")
    for job in sim.jobs:
        if job.network is not None:
            found += job.network.corrupted
        found += [*job.wrong, *_views(job)]
        for process in job.processes:
            for hosted in (seat.hosted for seat in process.seats):
                found += _states(job, hosted, history)
                for node in hosted.nodes.values():
                    if isinstance(node, Validator) and max(node.held, node.announced) > 3 * WINDOWS_KEPT:
                        found.append(f"node {node.node} of view {hosted.view.view} holds {node.held} windows")
    return found[:20]


def _accusations(sim: Simulation, history: History, listed: set[tuple[int | None, int | None]]) -> Iterator[str]:
    """Whom the ledger proves to be liars; the audit has them all, and no honest node is among them."""
    jobs = {view.view: job for job in sim.jobs for view in job.views}
    proved = {(a.of, a.node) for a in history.evidence if a.holds}
    if proved != listed:
        yield f"the audit names {sorted(listed, key=str)} as liars, the evidence {sorted(proved)}"
    for view, node in sorted(proved):
        if (view, node) not in jobs[view].liars:
            yield f"node {node} of view {view} is honest, and there is evidence that it lied"
    for one in history.evidence:
        if not one.holds and (one.view, one.cluster) not in jobs[one.view].lied:
            yield f"an honest coordinator accuses node {one.node} of view {one.of}, and proves nothing"


def _fate(one: bytes, fate: Fate, history: History, lied: set[tuple[int, int]]) -> str | None:
    if one not in history.numbers and one not in history.rejected:
        return "is not decided"
    if fate is Fate.SURE and one not in history.numbers and history.rejected_by[one] not in lied:
        return f"is valid, and was rejected for {history.rejected[one]}"
    if fate is Fate.FORGED and one in history.numbers:
        return "is forged, and was committed"
    return None


def _views(job: Job) -> Iterator[str]:
    """Views never regress."""
    for process in job.processes:
        if process.entered != sorted(set(process.entered)):
            yield f"rank {process.rank} of job {job.number} was in views {process.entered}, in this order"


def _states(job: Job, hosted: Hosted, history: History) -> Iterator[str]:
    """Each node's table is what the history had when its newest commit record was written."""
    at_round = dict(zip(history.rounds, history.totals, strict=True))
    for node in hosted.nodes.values():
        cluster = hosted.view.nodes[node.node].cluster
        commit = node.commit if isinstance(node, Validator) else node.rounds.log.commit
        if cluster is None or (hosted.view.view, node.node) in job.liars or commit not in at_round:
            continue  # the storage validator's is the ledger's; what is behind a cut never counted
        wanted: dict[bytes, tuple[int, bool]] = {}
        for entity, version, exists in history.writes[: at_round[commit]]:
            owner = hosted.view.cluster_of_shard[int.from_bytes(entity[:8], "little") & 4095]
            if int(owner) == cluster and version:
                wanted[entity[:16]] = version, exists
        keys, versions, exist, _ = node.state.table.items()
        held = {k.tobytes(): (int(v), bool(e)) for k, v, e in zip(keys, versions, exist, strict=True)}
        if held != wanted:
            yield f"node {node.node} of view {hosted.view.view} holds another state than the ledger of its time"


def count(sim: Simulation, out: Outcome) -> None:
    """Blocks, rounds and liars, as the ledger has them, if it can be read."""
    try:
        history = History(sim.folder.path)
    except Exception:
        return
    out.evidence = len({(a.of, a.node) for a in history.evidence if a.holds})
    out.blocks, out.rounds = len(history.blocks), len(history.rounds)
