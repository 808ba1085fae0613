"""Validators that lie: real nodes, real keys, real bytes, sent to whom they like.

Each deceit takes the vote that an honest node would send and gives what the liar sends instead. What is to become of it is
the protocol's matter: a forged or foreign vote is dropped and counted (``bad_message``), a false one outvoted and named
(``outvoted``), two answers to one question are kept as evidence (``contradicted``), noise is dropped at the door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from baash.keys import PrivateKey
from baash.protocol import quorum
from baash.protocol.events import Effect, Event, Send
from baash.protocol.messages import HEAD, Kind, encode, open_message
from baash.protocol.validator import Validator
from baash.records import VOTE, Answer, Reason

if TYPE_CHECKING:
    from baash.sim.job import Job
    from baash.sim.simulation import Simulation

OVERSIZED = 1 << 18
FLOOD = 30


class LyingValidator(Validator):
    """A validator that knows the rules and breaks them."""

    def __init__(self, sim: Simulation, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.sim = sim
        self.spoken: list[Send] = []  # what it said before

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        out: list[Effect] = []
        for effect in super().handle(event, now_ns):
            if isinstance(effect, Send) and _kind(effect.data) == Kind.VOTE:
                deceit = self.sim.world.draw.choice(self.sim.shape.deceits)
                self.sim.world.fault(f"lie: {deceit}")
                out += DECEITS[deceit](self, effect)
                self.spoken = [*self.spoken[-20:], effect]
            else:
                out.append(effect)
        return out

    @property
    def key(self) -> PrivateKey:
        return self._key

    def vote_of(self, send: Send) -> np.ndarray:
        vote: np.ndarray = open_message(send.data).sections[0].view(VOTE)[0]
        return vote

    def recast(self, send: Send, answer: Answer, prefix: int, reason: int, index: int = 0) -> Send:
        """The same vote with another content, genuinely signed."""
        attempt = self.vote_of(send)["attempt"].tobytes()
        vote = quorum.cast(self.node, self.key, attempt, answer, prefix, reason, index)
        head = open_message(send.data)
        return Send(send.to, encode(Kind.VOTE, head.view, self.node, head.a, 0, [vote.tobytes()]))


Deceit = Callable[[LyingValidator, Send], list[Effect]]


def _kind(data: np.ndarray) -> int:
    return int(data[: HEAD.itemsize].view(HEAD)[0]["kind"]) if data.nbytes >= HEAD.itemsize else 0


def _against(liar: LyingValidator, send: Send) -> list[Effect]:
    """Against what is good: the first transaction is said to be invalid."""
    return [liar.recast(send, Answer.PREFIX, 0, Reason.ENTITY_EXISTS)]


def _for(liar: LyingValidator, send: Send) -> list[Effect]:
    """For whatever there is, and more than there is."""
    return [liar.recast(send, Answer.PREFIX, 1 << 20, 0)]


def _two_faced(liar: LyingValidator, send: Send) -> list[Effect]:
    """Another answer each time it is asked."""
    draw = liar.sim.world.draw
    return [
        liar.recast(send, draw.choice(list(Answer)), draw.randrange(4), draw.choice((0, 20, 40, 41)), draw.randrange(9))
    ]


def _contradicts(liar: LyingValidator, send: Send) -> list[Effect]:
    """Two answers to one question; the second may come first, or late."""
    prefix = int(liar.vote_of(send)["prefix"])
    other = liar.recast(send, Answer.PREFIX, prefix + 1 if liar.sim.world.chance(0.5) else 0, Reason.ENTITY_EXISTS)
    return [send, other] if liar.sim.world.chance(0.7) else [other, send]


def _other_listeners(liar: LyingValidator, send: Send) -> list[Effect]:
    """One answer to its own coordinator, another to all others."""
    other = liar.recast(send, Answer.PREFIX, int(liar.vote_of(send)["prefix"]) + 1, 0)
    listeners = tuple(c.node for c in liar.view.coordinators if c.node not in send.to)
    return [Send(listeners, other.data), send] if listeners else [send]


def _silent(liar: LyingValidator, send: Send) -> list[Effect]:
    return []


def _late(liar: LyingValidator, send: Send) -> list[Effect]:
    """The vote before this one; this one next time."""
    return [liar.spoken[-1]] if liar.spoken else []


def _again(liar: LyingValidator, send: Send) -> list[Effect]:
    """The vote, and all old ones once more."""
    return [send, *liar.spoken]


def _as_another(liar: LyingValidator, send: Send) -> list[Effect]:
    """A vote in the name of each other node, signed with its own key."""
    head = open_message(send.data)
    out: list[Effect] = [send]
    for node in liar.view.validators(liar.cluster or 0):
        if node.node != liar.node:
            vote = quorum.cast(node.node, liar.key, liar.vote_of(send)["attempt"].tobytes(), Answer.PREFIX, 0, 20)
            out.append(Send(send.to, encode(Kind.VOTE, head.view, node.node, head.a, 0, [vote.tobytes()])))
            out.append(Send(send.to, encode(Kind.VOTE, head.view, liar.node, head.a, 0, [vote.tobytes()])))
    return out


def _forged(liar: LyingValidator, send: Send) -> list[Effect]:
    """A signature that is none."""
    data = send.data.copy()
    data[-1 - liar.sim.world.draw.randrange(64)] ^= 1 << liar.sim.world.draw.randrange(8)
    return [Send(send.to, data)]


def _forged_again(liar: LyingValidator, send: Send) -> list[Effect]:
    """Its vote, and another with a signature that is none."""
    draw = liar.sim.world.draw
    other = liar.recast(send, Answer.PREFIX, draw.randrange(4), 0).data
    other[-1 - draw.randrange(64)] ^= 1
    return [send, Send(send.to, other)]


def _noise(liar: LyingValidator, send: Send) -> list[Effect]:
    """Random bytes, and its vote with something in it changed, to anybody."""
    draw = liar.sim.world.draw
    everybody = [n.node for n in liar.view.nodes]
    out: list[Effect] = [send]
    for _ in range(draw.randrange(1, 6)):
        raw = bytearray(send.data.tobytes() if draw.random() < 0.7 else draw.randbytes(draw.randrange(400)))
        if draw.random() < 0.3:
            head = encode(draw.choice([k for k in Kind if k is not Kind.CLOSE]), liar.view.view, liar.node)
            raw = bytearray(head.tobytes() + draw.randbytes(8 * draw.randrange(30)))
        for _ in range(draw.randrange(1, 4)):
            if raw:
                raw[draw.randrange(len(raw))] = draw.randrange(256)
        if draw.random() < 0.3:
            del raw[draw.randrange(len(raw) + 1) :]
        noise = np.frombuffer(bytes(raw), dtype=np.uint8).copy()
        out.append(Send((draw.choice(everybody),), noise))
    return out


def _oversized(liar: LyingValidator, send: Send) -> list[Effect]:
    """A message far larger than any vote."""
    head = open_message(send.data)
    return [send, Send(send.to, encode(Kind.VOTE, head.view, liar.node, head.a, 0, [bytes(OVERSIZED)]))]


def _flood(liar: LyingValidator, send: Send) -> list[Effect]:
    """The same vote many times, true and false."""
    return [send, *[liar.recast(send, Answer.PREFIX, i, 0) for i in range(3)], *[send] * FLOOD]


def _claims_to_commit(liar: LyingValidator, send: Send) -> list[Effect]:
    """What only coordinators say: a round committed, a view closed, to the nodes of its cluster."""
    nodes = tuple(n.node for n in liar.view.nodes if n.node != liar.node)
    draw = liar.sim.world.draw
    junk = [draw.randbytes(8 * draw.randrange(60)) for _ in range(9)]
    kind = draw.choice((Kind.CLOSE, Kind.ABORT, Kind.RECORDED, Kind.COMMITTED, Kind.PROPOSE, Kind.OFFER, Kind.READY))
    sections: dict[Kind, int] = {Kind.CLOSE: 0, Kind.ABORT: 1, Kind.RECORDED: 1, Kind.OFFER: 2, Kind.READY: 2}
    data = encode(kind, liar.view.view, liar.node, draw.randrange(3), 1, junk[: sections.get(kind, 6)])
    return [send, Send(nodes, data)]


DECEITS: dict[str, Deceit] = {
    "against": _against,
    "for": _for,
    "two-faced": _two_faced,
    "contradicts": _contradicts,
    "other listeners": _other_listeners,
    "silent": _silent,
    "late": _late,
    "again": _again,
    "as another": _as_another,
    "forged": _forged,
    "forged again": _forged_again,
    "noise": _noise,
    "oversized": _oversized,
    "flood": _flood,
    "as coordinator": _claims_to_commit,
}


def validator(sim: Simulation, job: Job) -> Callable[..., Validator]:
    """What makes the validators of a job: up to ``shape.liars`` in each cluster lie, until the world is quiet."""
    if not sim.shape.liars or sim.quiet_ns is not None:
        return Validator

    def make(view: Any, node: int, *args: Any, **more: Any) -> Validator:
        mates = (
            [n.node for n in view.validators(view.nodes[node].cluster)] if view.nodes[node].cluster is not None else []
        )
        if node not in mates[: sim.shape.liars] or sim.quiet_ns is not None:
            return Validator(view, node, *args, **more)
        job.liars.add((view.view, node))
        job.excuse("lying validators")
        return LyingValidator(sim, view, node, *args, **more)

    return make
