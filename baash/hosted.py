"""The nodes that one rank hosts, made from the ledger; and what the loop asks of the ledger on their behalf.

Under MPI and in the simulator alike. Starts nothing and sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baash import kernels
from baash.keys import PrivateKey
from baash.ledger.reader import Ledger
from baash.ledger.restore import Restored, restore
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import LedgerRead, ReadLedger, Reply
from baash.protocol.flights import Limits
from baash.protocol.headers import tip_of
from baash.protocol.plan import Log, empty_log
from baash.protocol.replica import REPLICA_BYTES
from baash.protocol.validator import COMMITS_KEPT, Validator
from baash.protocol.view import View
from baash.protocol.windows import State
from baash.records import ZERO_HASH
from baash.service import Actor
from baash.session import continue_state, read_state

ReadState = Callable[[Path, View, int | None], tuple[Restored, Log]]


class Hosted:
    """``nodes`` by number; ``secrets`` by public key. ``read``: how the ledger is read, once for each cluster.

    ``coordinator``, ``validator``: what makes a node; the simulator has some that lie. ``before``: this rank's nodes of an earlier view
    of the job; what they know is kept where it is of the same history and the same shards.
    """

    def __init__(
        self,
        path: Path,
        view: View,
        rank: int,
        secrets: Mapping[bytes, PrivateKey],
        limits: Limits,
        read: ReadState = read_state,
        coordinator: Callable[..., Coordinator] = Coordinator,
        validator: Callable[..., Validator] = Validator,
        replica_bytes: int = REPLICA_BYTES,
        before: Hosted | None = None,
    ) -> None:
        self.ids: dict[int, kernels.EntityTable] = {}  # by cluster led here; see ``Restored.ids``
        self.start: Log | None = None
        self.view = view
        self._path, self._limits = path, limits
        self._read, self._secrets = read, secrets
        self._coordinator, self._validator = coordinator, validator
        self._replica_bytes, self._before = replica_bytes, before
        self.kept: set[int] = set()  # clusters whose state was not read anew
        self.nodes = self._make_nodes(rank)
        self._before = None

    @property
    def coordinators(self) -> list[Coordinator]:
        return [n for n in self.nodes.values() if isinstance(n, Coordinator)]

    def _make_nodes(self, rank: int) -> dict[int, Actor]:
        nodes: dict[int, Actor] = {}
        read: dict[int, tuple[Restored, Log]] = {}
        for node in self.view.nodes:
            secret = self._secrets.get(node.key)
            if secret is None or node.rank != rank:
                continue
            if node.cluster is None:
                empty = State(kernels.EntityTable(), kernels.ReplayTable(self.view.parameters.replay_width))
                nodes[node.node] = self._validator(
                    self.view, node.node, secret, empty, empty_log(len(self.view.coordinators)), storage=True
                )
                continue
            if node.cluster not in read:
                read[node.cluster] = self._continued(node.cluster, rank) or self._read(
                    self._path, self.view, node.cluster
                )
            restored, log = read[node.cluster]
            state = State(restored.entities, restored.replay).copy()
            if node.role == "coordinator":
                nodes[node.node] = self._coordinator(
                    self.view, node.cluster, secret, state, log, self._limits, replica_bytes=self._replica_bytes
                )
                self.ids[node.cluster] = restored.ids
                self.start = log
            else:
                nodes[node.node] = self._validator(
                    self.view, node.node, secret, state, log, replica_bytes=self._replica_bytes
                )
        return nodes

    def _continued(self, cluster: int, rank: int) -> tuple[Restored, Log] | None:
        """The state of a cluster from this rank's nodes of the view before, as far as they knew it, and the ledger's newest rounds.

        What a coordinator answers replays by (``ids``) only coordinators keep.
        """
        before, leads = self._before, self.view.coordinators[cluster].rank == rank
        if before is None or before.view.shards != self.view.shards or (leads and cluster not in before.ids):
            return None
        if before.view.parameters.replay_width != self.view.parameters.replay_width:
            return None
        nodes = [n for n in before.nodes.values() if before.view.nodes[n.node].cluster == cluster]
        newest = max(nodes, key=_rounds_of, default=None)
        if newest is None:
            return None
        state = newest.state.copy()
        ids = before.ids[cluster].copy() if leads else kernels.EntityTable()
        kept = Restored(state.table, state.replay, ids)
        if isinstance(newest, Coordinator):
            kept.commit, tip = newest.rounds.log.commit, tip_of(newest.rounds.log)
        else:
            kept.commit, tip = newest.commit, newest.tip
        kept.block_total, kept.head, kept.frontier = tip.block_total, tip.head, tip.frontier.copy()
        found = continue_state(self._path, self.view, cluster, kept, before.view.view)
        if found is not None:
            self.kept.add(cluster)
        return found

    def known(self, cluster: int, ids: np.ndarray) -> np.ndarray:
        """What the ledger says of ids: 0 nothing, 1 committed, 0x100 + reason rejected."""
        what, found, value = self.ids[cluster].lookup(np.ascontiguousarray(ids[:, :16]))
        known = np.where(what == 2, np.uint64(0x100) + value, what)
        return np.where(found, known, np.uint64(0)).astype(np.uint16)

    def learned(self, cluster: int, reply: Reply) -> None:
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

    def read_shared(self, asked: ReadLedger) -> LedgerRead:
        """The storage validator's look at the shared ledger: all of it, as anyone would read it."""
        shards = self.view.cluster_of_shard == np.uint32(asked.cluster)
        with Ledger(self._path, scan=True) as ledger:
            restored = restore(ledger, shards, self.view.parameters.replay_width)
            windows, last = 0, ZERO_HASH
            if len(ledger.rounds) and ledger.rounds[-1].view.view == self.view.view:
                row = ledger.rounds[-1].body().clusters[asked.cluster]
                windows, last = int(row["number"]), row["window"].tobytes()
            rounds: Sequence[Any] = ledger.rounds[-COMMITS_KEPT:]
            commits = (ZERO_HASH, *(r.hash for r in rounds))
        return LedgerRead(asked.token, State(restored.entities, restored.replay), windows, last, commits)


def _rounds_of(node: Actor) -> int:
    """How far a node has come in its view."""
    return node.rounds.log.round if isinstance(node, Coordinator) else node.round


def reached(hosted: Hosted) -> tuple[int, int]:
    """(view, rounds) that the nodes of a rank have seen committed; the storage validator applies none."""
    return hosted.view.view, max((_rounds_of(n) for n in hosted.nodes.values()), default=0)
