"""What a world costs as it grows: messages and hashed bytes a transaction, memory a node, from 16 nodes to 10,000.

Good weather, no faults, as many transactions a cluster in every world. Each size is played in a process of its own, so that
its memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any

from baash.protocol.flights import Limits
from baash.protocol.messages import HEAD, Kind, open_message
from baash.protocol.view import Parameters
from baash.sim.material import Mix
from baash.sim.network import Weather
from baash.sim.shape import Shape
from baash.sim.simulation import Simulation, play
from baash.sim.world import MS, US, S

SIZES = ((16, 1), (100, 5), (500, 10), (2_000, 40), (10_000, 100))  # nodes, clusters
PER_CLUSTER = 64  # transactions
PARTS = ("commit_record", "body", "own_cluster")  # of what a node is told of a round, beside the blocks it lacks


def shape_of(nodes: int, clusters: int, seed: int) -> Shape:
    return Shape(
        seed,
        nodes,
        clusters,
        nodes,
        Parameters(block_size=4, replay_width=16_384),  # twice the numbers of the largest world: none waits for them
        Limits(window_transactions=16, segment_bytes=1 << 20),
        Weather(delay_ns=(20 * US, 200 * US)),
        Mix(
            PER_CLUSTER * clusters,
            signed=0,
            forged=0,
            invalid=0,
            twice=0,
            conflicting=0,
            hot=0,
            notes=0,
            payload_bytes=400,
        ),
        at_once=4096,
        pace_ns=(20 * US, 200 * US),
        tick_ns=100 * MS,
        quiet_ns=1 * S,
    )


def measure(nodes: int, clusters: int, seed: int = 1) -> dict[str, Any]:
    """One world of that size."""
    before = _memory_bytes()
    hashed: Counter[int] = Counter()
    told: Counter[str] = Counter()

    def watch(sim: Simulation) -> None:
        sim._again = False

        def heard(data: Any) -> None:
            hashed.update(_content(data))
            told.update(_round(data))

        sim.world.heard = heard

    outcome = play(shape_of(nodes, clusters, seed), change=watch)
    offered = outcome.record_bytes
    decided = max(1, outcome.committed)
    return {
        "nodes": nodes,
        "clusters": clusters,
        "transactions": outcome.committed,
        "blocks": outcome.blocks,
        "rounds": outcome.rounds,
        "violations": outcome.violations,
        "messages": sum(outcome.messages.values()),
        "messages_by_kind": dict(sorted(outcome.messages.items())),
        "messages_per_transaction": round(sum(outcome.messages.values()) / decided, 3),
        "message_bytes_per_transaction": round(outcome.message_bytes / decided, 1),
        "hashed_to_validate_per_committed_byte": round((offered + hashed[Kind.WINDOW]) / max(1, offered), 3),
        "hashed_by_replicas_per_committed_byte": round(hashed[Kind.COMMITTED] / max(1, offered), 3),
        "round_bytes_per_node": {part: round(told[part] / max(1, outcome.messages["COMMITTED"])) for part in PARTS},
        "memory_bytes_per_node": round(max(0, _memory_bytes() - before) / nodes),
        "peak_memory_bytes": _memory_bytes(),
        "simulated_s": round(outcome.simulated_ns / 1e9, 3),
    }


def _content(data: Any) -> dict[int, int]:
    """Bytes of records in a message, by its kind: who gets them hashes them once."""
    kind = int(data[: HEAD.itemsize].view(HEAD)[0]["kind"])
    place = {Kind.WINDOW: 6, Kind.COMMITTED: 5}.get(Kind(kind))
    return {} if place is None else {kind: int(open_message(data).sections[place].nbytes)}


def _round(data: Any) -> dict[str, int]:
    """Bytes of what a node is told of a round, by ``PARTS``."""
    if int(data[: HEAD.itemsize].view(HEAD)[0]["kind"]) != Kind.COMMITTED:
        return {}
    slot, body, firsts, lacking, certificates, _, around = (int(s.nbytes) for s in open_message(data).sections)
    return dict(zip(PARTS, (slot, body, certificates + firsts + lacking + around), strict=True))


def _memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(seed: int, most: int, progress: Callable[[int, int], None] = lambda done, total: None) -> list[dict[str, Any]]:
    """All sizes up to ``most`` nodes."""
    context, found = multiprocessing.get_context("spawn"), []
    sizes = [s for s in SIZES if s[0] <= most]
    for size in sizes:
        with context.Pool(1) as pool:
            found.append(pool.apply(measure, (*size, seed)))
        progress(len(found), len(sizes))
    return found
