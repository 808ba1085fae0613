"""Coordinators that lie: a real one, of which a part has been replaced.

What others can see of it they refuse and name: its validators, the other coordinators, its own nodes before they apply, the
audit. What nobody can see (the order, what it leaves out) is no lie about validity. ``docs/simulation.md`` says what is
promised against each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from baash.batch import Batch
from baash.protocol import quorum, windows
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import BatchOffered, Effect, Event, Send
from baash.protocol.flights import Ask, Flight, Flights
from baash.protocol.messages import HEAD, Kind, Message, encode, open_message
from baash.protocol.queues import Lot, Queues
from baash.protocol.windows import Delta
from baash.records import WINDOW, Answer, Decider, Operation
from baash.sim.material import key_of

if TYPE_CHECKING:
    from baash.sim.job import Job
    from baash.sim.simulation import Simulation


class LyingQueues(Queues):
    """Locks nothing: entities of windows in flight go into others."""

    def lock(self, batch: Batch) -> None:
        return

    def unlock(self, batch: Batch, put_back: Lot | None) -> None:
        if put_back is not None and len(put_back):
            self._admit(put_back)


class LyingFlights(Flights):
    """Invents votes, or pretends that none came; offers what is settled in another order."""

    fraud = ""

    def vote(self, message: Message, now_ns: int) -> list[Effect]:
        if self.fraud == "buy a decision":
            flight = self.by_number.get(message.a)
            if flight is not None and flight.asks and flight.asks[-1].decider is Decider.MEMBERS:
                self._members.heard(message.sender, now_ns)
                return []
        return super().vote(message, now_ns)

    def settled(self) -> list[Flight]:
        found = super().settled()
        return found[::-1] if self.fraud == "windows out of order" else found

    def _ask(self, flight: Flight, decider: Decider, attempt: int, members: list[int], now_ns: int) -> list[Effect]:
        out = super()._ask(flight, decider, attempt, members, now_ns)
        if self.fraud == "invent votes" and flight.prefix is None:
            self._settle(flight, self._invented(flight), len(flight.window.entries), now_ns)
        return out

    def _invented(self, flight: Flight) -> Ask:
        ask = flight.asks[-1]
        own = key_of("invented")
        for member in ask.members:
            ask.votes[member] = quorum.cast(member, own, ask.hash, Answer.PREFIX, len(flight.window.entries))
        return ask


class LyingCoordinator(Coordinator):
    """A coordinator and its fraud."""

    def __init__(self, sim: Simulation, fraud: str, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.sim, self.fraud = sim, fraud
        if fraud == "one entity twice":
            self.queues = LyingQueues(self.cluster, self.state.replay)
        flights = LyingFlights(self.view, self.cluster, self.limits, self.queues)
        flights.fraud = fraud
        self.flights = flights

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        if self.fraud == "leave out" and isinstance(event, BatchOffered):
            keep = np.array([self.sim.world.chance(0.7) for _ in range(len(event.batch))], dtype=bool)
            event = BatchOffered(event.batch.select(keep), event.known[keep])
        out: list[Effect] = []
        for effect in super().handle(event, now_ns):
            change = FRAUDS[self.fraud]
            out += change(self, effect) if change is not None and isinstance(effect, Send) else [effect]
        return out

    def _checked(self, lot: Lot) -> tuple[Lot, Delta]:
        if self.fraud == "invalid transactions":
            return lot, self.state.check(lot.batch)[1]
        if self.fraud == "wrong order":
            lot = lot.select(np.arange(len(lot))[::-1].copy())
        lot, delta = super()._checked(lot)
        if self.fraud == "one number twice":  # what locks nothing goes into the next window too
            again = lot.select(lot.batch.info["operation"] == Operation.NOTE)
            if len(again) and self.flights.has_room:
                self.queues.queue.append(again)
        return lot, delta

    def noted(self) -> None:
        self.sim.world.fault(f"fraud: {self.fraud}")


Fraud = Callable[[LyingCoordinator, Send], list[Effect]]


def _is(send: Send, *kinds: Kind) -> bool:
    return int(send.data[: HEAD.itemsize].view(HEAD)[0]["kind"]) in kinds


def _sections(data: np.ndarray) -> tuple[Message, list[np.ndarray]]:
    message = open_message(data)
    return message, [s.copy() for s in message.sections]


def _again(message: Message, sections: list[np.ndarray]) -> np.ndarray:
    return encode(message.kind, message.view, message.sender, message.a, message.b, sections)


def _double(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """Two windows of one number: every second member gets another one."""
    if not _is(send, Kind.WINDOW) or len(send.to) < 2:
        return [send]
    liar.noted()
    message, sections = _sections(send.data)
    sections[0].view(WINDOW)[0]["time_ns"] += np.uint64(1)
    return [Send(send.to[::2], send.data), Send(send.to[1::2], _again(message, sections))]


def _false_lists(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """The lists of entities of windows in flight are said to be empty of what is in them."""
    if not _is(send, Kind.WINDOW):
        return [send]
    message, sections = _sections(send.data)
    if not sections[5].nbytes:
        return [send]
    liar.noted()
    lists = sections[5].view("<u8")
    lists[:] = np.arange(len(lists), dtype=np.uint64)
    return [Send(send.to, _again(message, sections))]


def _own_list(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """A window whose list of entities is not that of its transactions, with a header that fits it."""
    if not _is(send, Kind.WINDOW):
        return [send]
    message, sections = _sections(send.data)
    if not sections[3].nbytes:
        return [send]
    liar.noted()
    sections[3] = sections[3][8:].copy()
    row = sections[0].view(WINDOW)[0]
    row["entity_count"] -= np.uint32(1)
    row["entities"] = np.frombuffer(windows.entities_digest(sections[3].view("<u8")), dtype=np.uint8)
    return [Send(send.to, _again(message, sections))]


def _withhold(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """Nodes that lack blocks are told of the round and not given them."""
    if not _is(send, Kind.COMMITTED):
        return [send]
    message, sections = _sections(send.data)
    if not sections[3].nbytes:
        return [send]
    liar.noted()
    sections[3], sections[5] = sections[3][:0], sections[5][:0]
    return [Send(send.to, _again(message, sections))]


def _false_rounds(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """To each other coordinator another round; or another signature than it should be."""
    if not _is(send, Kind.PROPOSE, Kind.READY):
        return [send]
    liar.noted()
    message, sections = _sections(send.data)
    if message.kind is Kind.READY:
        if sections[0].nbytes:
            sections[0][0] ^= 1
        return [Send(send.to, _again(message, sections))]
    out: list[Effect] = []
    for i, node in enumerate(send.to):
        data = encode(message.kind, message.view, message.sender, message.a, message.b + i + 1, sections)
        out.append(Send((node,), data))
    return out


FRAUDS: dict[str, Fraud | None] = {
    "wrong order": None,
    "leave out": None,
    "invalid transactions": None,
    "one entity twice": _false_lists,
    "invent votes": None,
    "buy a decision": None,
    "double window": _double,
    "false list": _own_list,
    "withhold blocks": _withhold,
    "false rounds": _false_rounds,
    "windows out of order": None,
    "one number twice": None,
}

# Seen by other coordinators alone: where there is none, its nodes refuse to follow and the audit finds it in the ledger.
NEED_OTHERS = {"invent votes", "windows out of order"}
# Carried by honest validators today, and named by the audit (``docs/simulation.md``): not in the mix of the seeds.
UNREPAIRED = {"one number twice"}
UNSEEN = {"leave out"}  # a job may end well and leave something undecided


def coordinator(sim: Simulation, job: Job) -> Callable[..., Coordinator]:
    """What makes the coordinators of a job: some lie, until the world is quiet."""
    if not sim.shape.lying_coordinators or sim.quiet_ns is not None:
        return Coordinator
    clusters = sim.world.draw.sample(range(sim.shape.clusters), min(sim.shape.lying_coordinators, sim.shape.clusters))
    fraud = sim.world.draw.choice(sim.shape.frauds)

    def make(view: Any, cluster: int, *args: Any, **more: Any) -> Coordinator:
        unseen = fraud in NEED_OTHERS and sim.shape.clusters > len(view.coordinators) == 1
        if cluster not in clusters or unseen or sim.quiet_ns is not None:
            return Coordinator(view, cluster, *args, **more)
        job.liars.add((view.view, view.coordinators[cluster].node))
        job.lied.add((view.view, cluster))
        job.leaves_out = fraud in UNSEEN
        job.excuse("lying coordinator")
        sim.world.fault(f"fraud: {fraud}")
        return LyingCoordinator(sim, fraud, view, cluster, *args, **more)

    return make
