"""A view: a fixed membership. Who the nodes are, which cluster each serves, which entities belong to which cluster.

Theory. A cluster needs one coordinator and 3f+1 validators. Nodes are dealt to clusters so that neighbours in a
cluster live on different ranks where there are enough, since what dies together should not vote together; the
storage validator is a node more, in a rank without coordinators if there is one. Everything is drawn from the view's
seed, so all ranks that know the hellos form the same view. The record is signed text (``docs/ledger-format.md``
section 8): it is read by people and is hot nowhere.

This file forms and writes view records, and says who vouches for one. ``view_record.py`` reads them; ``ledger/folder.py`` claims
and publishes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from baash import keys
from baash.errors import UsageError
from baash.protocol.draw import Draw
from baash.records import SHARD_COUNT, Tag

FIRST_LINE = b"baash-view-v1\n"
QUORUMS = ("majority", "byzantine")
NODES_MAX = 1 << 16


@dataclass(frozen=True)
class Parameters:
    """What every node of a view goes by."""

    faults: int = 1
    replacements: int = 2
    quorum: str = "majority"
    block_size: int = 4
    align: int = 4096
    replay_width: int = 65536

    def __post_init__(self) -> None:
        if not 0 <= self.faults <= 64:
            raise UsageError(f"faults must be 0 to 64, not {self.faults}")
        if not 0 <= self.replacements <= 256:
            raise UsageError(f"replacements must be 0 to 256, not {self.replacements}")
        if self.quorum not in QUORUMS:
            raise UsageError(f"quorum must be one of {', '.join(QUORUMS)}, not {self.quorum!r}")
        if not 1 <= self.block_size <= 1 << 20:
            raise UsageError(f"block size must be 1 to {1 << 20}, not {self.block_size}")
        if self.align < 8 or self.align & (self.align - 1) or self.align > 1 << 20:
            raise UsageError(f"align must be a power of two from 8 to {1 << 20}, not {self.align}")
        if self.replay_width < 64 or self.replay_width % 64 or self.replay_width > 1 << 20:
            raise UsageError(f"replay width must be a multiple of 64 up to {1 << 20}, not {self.replay_width}")

    @property
    def sub_cluster(self) -> int:
        """Validators of a window at its first attempt: 3f+1."""
        return 3 * self.faults + 1

    def quorum_of(self, members: int) -> int:
        """How many of ``members`` listed validators carry a prefix."""
        if self.quorum == "majority":
            return members // 2 + 1
        return 2 * self.faults + 1 + max(0, members - self.sub_cluster)


@dataclass(frozen=True)
class Node:
    """One participant as a view record lists it."""

    node: int
    key: bytes
    rank: int
    host: str
    cluster: int | None
    role: str  # coordinator, validator, storage


@dataclass(frozen=True)
class Predecessor:
    """The view before, and the commit record (a whole slot) at which it was cut; None: it committed nothing."""

    view: int
    commit: bytes | None


@dataclass(frozen=True)
class View:
    """A view record. Immutable; what is derived from it is computed once."""

    view: int
    ledger: bytes
    predecessor: Predecessor | None
    nodes: tuple[Node, ...]
    shards: tuple[tuple[int, int, int], ...]
    parameters: Parameters
    seed: int
    time_ns: int
    started_by: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def coordinators(self) -> tuple[Node, ...]:
        """One for each cluster, in order of cluster."""
        found = [n for n in self.nodes if n.role == "coordinator"]
        return tuple(sorted(found, key=lambda n: n.cluster if n.cluster is not None else -1))

    @cached_property
    def storage(self) -> Node | None:
        return next((n for n in self.nodes if n.role == "storage"), None)

    @cached_property
    def rank_of(self) -> dict[int, int]:
        """Node → rank; one for all who ask."""
        return {n.node: n.rank for n in self.nodes}

    @cached_property
    def cluster_of_shard(self) -> np.ndarray:
        """u4, 4,096: the cluster that decides each shard."""
        table = np.zeros(SHARD_COUNT, dtype=np.uint32)
        for first, last, cluster in self.shards:
            table[first : last + 1] = cluster
        return table

    def validators(self, cluster: int) -> tuple[Node, ...]:
        return self._validators[cluster]

    @cached_property
    def _validators(self) -> dict[int, tuple[Node, ...]]:
        found: dict[int, list[Node]] = {c.cluster: [] for c in self.coordinators if c.cluster is not None}
        for node in self.nodes:
            if node.role == "validator" and node.cluster is not None:
                found[node.cluster].append(node)
        return {cluster: tuple(nodes) for cluster, nodes in found.items()}

    def clusters_of(self, short_hashes: np.ndarray) -> np.ndarray:
        """u4, n: the cluster of each entity, by its short hash (u8, n)."""
        return self.cluster_of_shard[(short_hashes & np.uint64(SHARD_COUNT - 1)).astype(np.int64)]

    @cached_property
    def body(self) -> bytes:
        """The signed text: JSON with a final newline and no empty line."""
        before = self.predecessor
        fields = {
            "view": self.view,
            "ledger": self.ledger.hex(),
            "predecessor": before
            and {"view": before.view, "commit": before.commit and base64.b64encode(before.commit).decode()},
            "nodes": [
                {
                    "node": n.node,
                    "key": n.key.hex(),
                    "rank": n.rank,
                    "host": n.host,
                    "cluster": n.cluster,
                    "role": n.role,
                }
                for n in self.nodes
            ],
            "shards": [list(s) for s in self.shards],
            "parameters": dict(vars(self.parameters)),
            "seed": self.seed,
            "time_ns": self.time_ns,
            "started_by": dict(self.started_by),
        }
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2) + b"\n"

    @cached_property
    def signed(self) -> bytes:
        return bytes((0, Tag.VIEW)) + self.body

    @cached_property
    def hash(self) -> bytes:
        return hashlib.sha256(self.signed).digest()

    def encode(self, signatures: Mapping[str, bytes]) -> bytes:
        """The file: ``signatures`` maps ``ledger`` or ``node:K`` to 64 bytes."""
        lines = "".join(f"{signer} {base64.b64encode(s).decode()}\n" for signer, s in signatures.items())
        return FIRST_LINE + self.body + b"\n" + lines.encode()

    def sign(self, key: keys.PrivateKey) -> bytes:
        return key.sign(keys.Context.VIEW, self.signed)


def vouched(view: View, signatures: Mapping[str, bytes], before: View | None) -> str | None:
    """Who vouches for a view: ``ledger``, ``nodes`` (more than half of the view before), or None."""
    signature = signatures.get("ledger")
    if signature is not None and keys.verify(view.ledger, keys.Context.VIEW, view.signed, signature):
        return "ledger"
    if before is None:
        return None
    good = sum(
        keys.verify(node.key, keys.Context.VIEW, view.signed, signatures[f"node:{node.node}"])
        for node in before.nodes
        if f"node:{node.node}" in signatures
    )
    return "nodes" if 2 * good > len(before.nodes) else None


@dataclass(frozen=True)
class Host:
    """One rank's hello: where it lives and the public keys of the nodes it hosts; ``storage`` is a key more, used
    if the storage validator is placed there."""

    rank: int
    host: str
    keys: tuple[bytes, ...]
    storage: bytes


def clusters_for(nodes: int, parameters: Parameters, asked: int | None) -> int:
    """How many clusters ``nodes`` form. Raises UsageError with the arithmetic."""
    need = parameters.sub_cluster + 1
    arithmetic = (
        f"a cluster needs one coordinator and 3f+1 = {parameters.sub_cluster} validators (f = {parameters.faults}), "
        f"that is {need} nodes"
    )
    if nodes < need:
        raise UsageError(
            f"{nodes} nodes cannot form a cluster: {arithmetic}; start more ranks or raise --nodes-per-rank"
        )
    if asked is None:
        return max(1, nodes // (need + parameters.replacements + 9))  # about 16 nodes a cluster for f = 1, c = 2
    if asked < 1 or asked * need > nodes:
        raise UsageError(f"{nodes} nodes cannot form {asked} clusters: {arithmetic}, {asked * need} in all")
    if asked > SHARD_COUNT:
        raise UsageError(f"at most {SHARD_COUNT} clusters, one for each entity shard")
    return asked


def form(
    *,
    view: int,
    ledger: bytes,
    predecessor: Predecessor | None,
    hosts: Sequence[Host],
    clusters: int,
    parameters: Parameters,
    seed: int,
    time_ns: int,
    started_by: Mapping[str, Any],
) -> View:
    """The view that these ranks form."""
    draw = Draw(seed, view)
    by_layer = sorted(
        ((layer, host.rank, key, host) for host in hosts for layer, key in enumerate(host.keys)), key=lambda n: n[:2]
    )
    total = len(by_layer)
    start = draw.below(len(hosts))  # rotates which ranks share a cluster
    order = by_layer[start:] + by_layer[:start]
    dealt: list[list[int]] = [[] for _ in range(clusters)]
    cut = [total * c // clusters for c in range(clusters + 1)]
    for cluster in range(clusters):
        dealt[cluster] = list(range(cut[cluster], cut[cluster + 1]))
    chosen = _coordinators(dealt, order, draw)
    cluster_of = {i: cluster for cluster, members in enumerate(dealt) for i in members}
    nodes = [
        Node(i, key, rank, host.host, cluster_of[i], "coordinator" if i == chosen[cluster_of[i]] else "validator")
        for i, (_, rank, key, host) in enumerate(order)
    ]
    led = {order[i][1] for i in chosen}
    away = [h for h in hosts if h.rank not in led] or [h for h in hosts if h.rank != order[chosen[0]][1]] or list(hosts)
    home = away[draw.below(len(away))]
    nodes.append(Node(total, home.storage, home.rank, home.host, None, "storage"))
    shards = tuple((SHARD_COUNT * c // clusters, SHARD_COUNT * (c + 1) // clusters - 1, c) for c in range(clusters))
    return View(view, ledger, predecessor, tuple(nodes), shards, parameters, seed, time_ns, dict(started_by))


def _coordinators(
    dealt: Iterable[Sequence[int]], order: Sequence[tuple[int, int, bytes, Host]], draw: Draw
) -> list[int]:
    """One node a cluster, by seed; on ranks that lead nothing yet where the cluster has such."""
    chosen: list[int] = []
    led: set[int] = set()
    for members in dealt:
        free = [i for i in members if order[i][1] not in led] or list(members)
        pick = free[draw.below(len(free))]
        chosen.append(pick)
        led.add(order[pick][1])
    return chosen
