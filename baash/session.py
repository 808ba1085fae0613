"""From a folder to a view that can run, and back: claim, restore, form, publish; at the end, a checkpoint.

Rank 0 does this alone, before anything is voted on; the others learn the view record and read the ledger themselves.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import baash
from baash import keys
from baash.errors import KeyNotFound, LedgerDamaged, LedgerFenced
from baash.ledger import keyring, probe
from baash.ledger.folder import Folder, WriterLock
from baash.ledger.reader import Ledger
from baash.ledger.restore import Restored, catch_up, restore
from baash.protocol import view as views
from baash.protocol import view_record
from baash.protocol.plan import Log
from baash.protocol.view import Host, Parameters, Predecessor, View

Flush = Callable[[Path], None]  # makes durable what anybody has written into a file


@dataclass
class Opened:
    """A view this process published, and what keeps others out while it runs."""

    folder: Folder
    view: View
    text: bytes  # the view record's file, for the other ranks
    lock: WriterLock
    notes: list[str]


def started_by() -> dict[str, Any]:
    """Who runs this, for people: user, host, job, pid, version."""
    job = next((os.environ[n] for n in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID") if n in os.environ), None)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.geteuid())
    return {"user": user, "host": socket.gethostname(), "job": job, "pid": os.getpid(), "version": baash.__version__}


def open_view(
    path: str | Path,
    hosts: Sequence[Host],
    clusters: int,
    parameters: Parameters,
    seed: int,
    *,
    take_over: bool = False,
    force: bool = False,
) -> Opened:
    """Claim the next view of the ledger at ``path`` (made if it is not there) and publish it.

    Raises LedgerBusy, LedgerFenced, LedgerDamaged, KeyNotFound, StorageError. Nothing is left behind but a claim.
    """
    folder = Folder(path)
    fresh = not folder.path.exists() or not (folder.views() or folder.claims())
    if fresh:
        keyring.prepare()  # first: what is refused leaves nothing behind
        folder = Folder.create(path)
    probe.probe(folder.path, force=force)
    _refuse_orphans(folder)
    lock = folder.lock(take_over=take_over, info=started_by())
    notes = [lock.note] if lock.note else []
    try:
        key = _key_of(folder) if folder.views() else None

        def key_for(predecessor: Predecessor | None) -> keys.PrivateKey:
            if key is not None:
                return key
            return keyring.generate() if predecessor is None else _key_of(folder)  # somebody has made the ledger since

        info = {**started_by(), "run": run_of(hosts)}
        steps = begin_view(folder, key_for, hosts, clusters, parameters, seed, time.time_ns, info)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                view, signatures = end.value
                break
        lock.share()
    except BaseException:
        lock.release()
        raise
    return Opened(folder, view, view.encode(signatures), lock, notes)


def run_of(hosts: Sequence[Host]) -> str:
    """What tells this job from all others: a claim and a view record say it as ``run``."""
    return hashlib.sha256(b"".join(k for h in hosts for k in (*h.keys, h.storage))).hexdigest()[:32]


Steps = Generator[tuple[View, View] | None, Mapping[str, bytes] | None, tuple[View, dict[str, bytes]]]


def begin_view(
    folder: Folder,
    key_for: Callable[[Predecessor | None], keys.PrivateKey | None],
    hosts: Sequence[Host],
    clusters: int,
    parameters: Parameters,
    seed: int,
    clock: Callable[[], int],
    info: dict[str, Any],
    flush: Flush | None = None,
    left: int | None = None,
) -> Steps:
    """Claim, cut, form, publish, in this order: what fencing rests on (``ledger/folder.py``).

    Pauses between the steps, where anybody may come between; the simulator sees to it that somebody does. ``key_for``: the
    ledger's key, by the predecessor; None: then (view, the view before it) is given at each pause until the nodes' signatures
    are sent in. ``left``: the view of this job that ended; LedgerFenced if another job has claimed one since, or this one has
    published one, and then nothing is claimed. LedgerFenced too if somebody who claimed later has published already.
    """
    if left is not None:
        check_rivals(folder, left, info["run"])
        newest = folder.views()[-1]
        if newest > left:
            raise LedgerFenced(f"view {newest} of {folder.path} is there already, and this rank has not heard of it")
    number = folder.claim_next({**info, "time_ns": clock()})
    yield None
    predecessor = cut(folder, flush)
    if predecessor is not None and predecessor.view > number:
        raise LedgerFenced(
            f"view {predecessor.view} of {folder.path} was published by somebody else while this run began as view {number}; "
            "see who writes there with: baash info"
        )
    key = key_for(predecessor)
    yield None
    before = None if predecessor is None else folder.read_view(predecessor.view)[0]
    assert key is not None or before is not None, "the first view is made with the ledger's key"
    view = views.form(
        view=number,
        ledger=before.ledger if before is not None else key.public if key is not None else b"",
        predecessor=predecessor,
        hosts=hosts,
        clusters=clusters,
        parameters=parameters,
        seed=seed,
        time_ns=clock(),
        started_by=info,
    )
    signatures: dict[str, bytes] = {} if key is None else {"ledger": view.sign(key)}
    while not signatures and before is not None:
        signatures = dict((yield view, before) or {})
    view_record.decode(view.encode(signatures))  # what nobody could read is not published
    folder.publish(view, signatures)
    return view, signatures


def check_rivals(folder: Folder, left: int, run: str) -> None:
    """LedgerFenced if another job has claimed a view after ``left``: a job that is fenced stops, and never claims."""
    for number in reversed(folder.claims()):
        said = folder.claim_info(number)
        if number > left and said and said.get("run") != run:
            raise LedgerFenced(
                f"view {number} of {folder.path} has been claimed by another job: this one stops, what it had committed before is in "
                "the ledger; see who writes there with: baash info"
            )


def _refuse_orphans(folder: Folder) -> None:
    """A segment is made after its view was published: one without a view record means that a view was removed."""
    found = folder.segment_names()  # first: beside a living writer its view would be there before its segment
    views = set(folder.views())
    for view, segment in found:
        if view not in views:
            path = folder.segment_path(view, segment)
            raise LedgerDamaged(
                f"{path} is there, but the record of view {view} is not: it was removed, and what it committed would be "
                "lost by going on; restore it from a copy, baash verify says more"
            )


def _key_of(folder: Folder) -> keys.PrivateKey:
    with Ledger(folder.path) as ledger:
        try:
            return keyring.load(ledger.id)
        except KeyNotFound as error:
            raise KeyNotFound(f"{folder.path} can be read and verified, but not continued: {error}") from error


def cut(folder: Folder, flush: Flush | None = None) -> Predecessor | None:
    """The highest published view and its last commit record, as it is stored: its writer may not have flushed it yet, or
    have failed to, and then it must not be taken for one that will be there tomorrow."""
    if not folder.views():
        return None
    read = _last_record(folder, flush)
    while read[1] is not None:
        stored = _last_record(folder, flush)
        if stored == read:
            break
        read = stored
    return Predecessor(*read)


def _last_record(folder: Folder, flush: Flush | None) -> tuple[int, bytes | None]:
    """The highest published view and its last slot, if it has one; all of it is durable when this returns."""
    with Ledger(folder.path, scan=True) as ledger:  # where a view is cut rests on the ledger alone
        newest = ledger.epochs[-1].view.view
        if not len(ledger.rounds) or ledger.rounds[-1].view.view != newest:
            return newest, None
        last = ledger.rounds[-1]
        slot = last.raw.tobytes()
        if flush is None:
            ledger.flush()
        else:
            flush(last.file.layout.path)
        return newest, slot


def read_state(path: str | Path, view: View, cluster: int | None) -> tuple[Restored, Log]:
    """What a node of ``cluster`` (None: of none, the whole) starts ``view`` with: the ledger up to the predecessor's cut, also
    when others have begun to commit in ``view`` meanwhile."""
    shards = None if cluster is None else view.cluster_of_shard == np.uint32(cluster)
    with Ledger(path, scan=True) as ledger:
        restored = restore(ledger, shards, view.parameters.replay_width, until=view.view)
    if restored.commit != _cut_hash(view, restored):
        raise LedgerFenced(f"{path} went on while view {view.view} was made: somebody else writes there; run again")
    return restored, restored.log(len(view.coordinators))


def continue_state(
    path: str | Path, view: View, cluster: int, kept: Restored, since: int
) -> tuple[Restored, Log] | None:
    """The same, from what a node of that cluster held in memory in view ``since``; None: that is not of this history."""
    shards = view.cluster_of_shard == np.uint32(cluster)
    with Ledger(path, scan=True) as ledger:
        if not catch_up(ledger, kept, since, view.view, shards) or kept.commit != _cut_hash(view, kept):
            return None
    return kept, kept.log(len(view.coordinators))


def _cut_hash(view: View, restored: Restored) -> bytes:
    before = view.predecessor
    if before is None or before.commit is None:
        return restored.commit
    return hashlib.sha256(before.commit[:256]).digest()
