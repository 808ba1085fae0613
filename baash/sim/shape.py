"""What a world is like: sizes, rules, rates of faults. Each seed draws its own mix (swarm testing).

Theory. A world in which everything goes wrong at once tests little: most stories end early and alike. So each kind of
fault is left out of about half of the worlds (Groce et al., "Swarm Testing", ISSTA 2012), and rates are drawn over
orders of magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from baash.protocol.flights import Limits
from baash.protocol.view import Parameters, clusters_for
from baash.sim.frauds import FRAUDS, NEED_OTHERS, OF_THE_LEADER, OF_THE_OTHERS, UNREPAIRED
from baash.sim.liars import DECEITS
from baash.sim.material import Mix
from baash.sim.network import Weather
from baash.sim.world import MS, US, S

FAULTS = (
    "kill validator",
    "kill coordinator",
    "kill storage",
    "kill several",
    "kill steward",
    "kill job",
    "stop",
    "power",
    "partition",
    "suspicion",
    "disk full",
    "disk error",
    "disk slow",
    "clock",
    "take over",
)
ENDS = {"kill job": -0.3, "take over": -0.3, "power": -0.2, "kill several": -0.3}  # jobs: not many a second
PATIENCE_S = 30  # of the operator, with a job that does not move


@dataclass(frozen=True)
class Shape:
    """One world. ``rates``: faults a second of simulated time, by kind."""

    seed: int
    nodes: int
    clusters: int
    ranks: int
    parameters: Parameters
    limits: Limits
    weather: Weather
    mix: Mix
    sources: int = 1  # what is offered is parted into
    at_once: int = 20  # transactions that the source hands over together
    pace_ns: tuple[int, int] = (20 * US, 500 * US)  # a turn of a rank's loop
    tick_ns: int = 100 * MS
    pause_ns: tuple[int, int] = (100 * US, 2 * MS)  # a step of a store
    rates: Mapping[str, float] = field(default_factory=dict)
    quiet_ns: int = 4 * S  # no faults from then on
    liars: int = 0  # validators that lie, in each cluster
    deceits: tuple[str, ...] = ()
    lying_coordinators: int = 0
    frauds: tuple[str, ...] = ()
    key_everywhere: bool = True  # else the ledger's key is with rank 0, and dies with it
    late: int = 0  # ranks that come when the job is under way

    @property
    def per_rank(self) -> list[int]:
        return [self.nodes // self.ranks + (r < self.nodes % self.ranks) for r in range(self.ranks)]


def drawn(seed: int, given: Mapping[str, Any] | None = None) -> Shape:
    """The world of a seed. ``given`` settles some of it: nodes, clusters, faults, transactions, quorum, fault kinds.

    Raises UsageError, with the arithmetic, if that cannot be formed.
    """
    draw, given = Random(f"shape {seed}"), given or {}
    nodes = given.get("nodes")
    room = 1 << 30 if nodes is None else nodes // (given.get("clusters") or 1)
    possible = [f for f in (0, 1, 1, 1, 1, 2) if 3 * f + 2 <= room] or [0]
    faults = given.get("faults", draw.choice(possible))
    need = 3 * faults + 2
    clusters = given.get("clusters") or (
        draw.choice((1, 1, 2, 2, 3)) if nodes is None else draw.randint(1, max(1, min(8, nodes // need)))
    )
    if nodes is None:
        nodes = clusters * (need + draw.choice((0, 1, 2, 3, need, need)))
    clusters_for(nodes, Parameters(faults=faults), clusters)
    ranks = draw.choice((nodes, nodes, nodes, max(1, nodes // 2), draw.randint(1, nodes)))
    parameters = Parameters(
        faults=faults,
        replacements=draw.choice((0, 1, 2, 2, 3)),
        quorum=given.get("quorum") or draw.choice(("majority", "majority", "byzantine")),
        block_size=draw.choice((1, 2, 4, 4, 10, 64)),
        align=draw.choice((8, 64, 512, 4096)),
        replay_width=draw.choice((1024, 4096, 65536)),
    )
    limits = Limits(
        window_bytes=draw.choice((512, 2048, 8192, 1 << 16)),
        window_transactions=draw.choice((3, 10, 30, 100)),
        windows_in_flight=draw.choice((1, 2, 4, 8)),
        waiting_per_node=draw.choice((1, 2, 2, 4)),
        queue_bytes=draw.choice((4096, 16384, 1 << 20)),
        queue_transactions=draw.choice((20, 60, 1000)),
        vote_timeout_ns=draw.choice((200 * MS, 1 * S, 5 * S)),
        segment_bytes=draw.choice((1 << 14, 1 << 15, 1 << 17)),
    )
    mix = _mix(draw, given)
    kinds = given.get("kinds", FAULTS)
    calm = (draw.random() < 0.05 and "kinds" not in given) or not kinds
    share = 1.0 if "kinds" in given else 0.4
    rates = {k: 10 ** draw.uniform(-1.0, ENDS.get(k, 0.3)) for k in kinds if draw.random() < share and not calm}
    shape = Shape(
        seed,
        nodes,
        clusters,
        ranks,
        parameters,
        limits,
        Weather() if calm else _weather(draw, given),
        mix,
        sources=Random(f"sources {seed}").choice((1, 1, 2, 4)),
        at_once=draw.choice((1, 5, 20, 100)),
        pace_ns=draw.choice(((20 * US, 100 * US), (20 * US, 2 * MS), (1 * MS, 30 * MS))),
        tick_ns=draw.choice((50, 100, 200)) * MS,
        pause_ns=draw.choice(((20 * US, 200 * US), (100 * US, 5 * MS), (1 * MS, 40 * MS))),
        rates=rates,
        quiet_ns=draw.choice((1, 2, 4, 8)) * S,
        key_everywhere=draw.random() < 0.7,
        late=0 if calm else draw.choice((0, 0, 0, 1, 2)),
    )
    return _with_liars(draw, shape, given)


def _mix(draw: Random, given: Mapping[str, Any]) -> Mix:
    return Mix(
        transactions=given.get("transactions") or draw.choice((20, 60, 100, 160)),
        signed=draw.choice((0, 0, 0.05, 0.3)),
        forged=draw.choice((0, 0.02)),
        invalid=draw.choice((0, 0.05, 0.2)),
        twice=draw.choice((0, 0.03, 0.2)),
        conflicting=draw.choice((0, 0.02, 0.1)),
        hot=draw.choice((0, 0.1, 0.5, 0.75)),
        notes=draw.choice((0, 0.2)),
        payload_bytes=draw.choice((0, 40, 400)),
        issuers=draw.choice((1, 2, 4)),
    )


def _weather(draw: Random, given: Mapping[str, Any]) -> Weather:
    weather = Weather(
        delay_ns=draw.choice(((5 * US, 50 * US), (20 * US, 500 * US), (1 * MS, 20 * MS))),
        slow=draw.choice((0, 0, 0.01, 0.1)),
        slow_ns=draw.choice((100 * MS, 2 * S)),
        notice_ns=draw.choice(((10 * US, 1 * MS), (1 * MS, 50 * MS), (500 * MS, 5 * S))),
    )
    if given.get("harsh", draw.random() < 0.15):
        weather = replace(
            weather,
            loss=draw.choice((0, 0.01, 0.1)),
            duplicates=draw.choice((0, 0.05, 0.3)),
            reordering=draw.choice((0, 0.05, 0.5)),
        )
    return weather


def _with_liars(draw: Random, shape: Shape, given: Mapping[str, Any]) -> Shape:
    f = shape.parameters.faults
    liars = given.get("liars", f if draw.random() < 0.5 else 0)
    deceits = given.get("deceits") or tuple(d for d in sorted(DECEITS) if draw.random() < 0.4) or ("against",)
    lying = given.get("lying_coordinators", 1 if draw.random() < 0.25 else 0)
    company = NEED_OTHERS | OF_THE_LEADER | OF_THE_OTHERS
    possible = sorted(set(FRAUDS) - UNREPAIRED - (company if shape.clusters == 1 else set()))
    frauds = given.get("frauds") or (draw.choice(possible),)
    return replace(
        shape,
        liars=liars,
        deceits=deceits if liars else (),
        lying_coordinators=lying,
        frauds=frauds if lying else (),
    )
