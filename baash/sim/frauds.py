"""Coordinators that lie: a real one, of which a part has been replaced.

What others can see of it they refuse and name: its validators, the other coordinators, its own nodes before they apply, the
audit. What nobody can see (the order, what it leaves out) is no lie about validity. ``docs/simulation.md`` says what is
promised against each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from baash.batch import Batch
from baash.keys import Context, PrivateKey
from baash.protocol import quorum, windows
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import BatchOffered, Effect, Event, MessageReceived, Persist, Send
from baash.protocol.evidence import VOTES, of_vote
from baash.protocol.flights import Ask, Flight, Flights
from baash.protocol.messages import HEAD, Kind, Message, encode, open_message, rows
from baash.protocol.queues import Lot, Queues
from baash.protocol.view import View
from baash.protocol.windows import Delta
from baash.records import COMMIT_LOCATOR, COMMIT_RECORD, COMMIT_SIGNATURE, VOTE, WINDOW, Answer, Decider, Operation
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

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.heard: dict[tuple[int, bytes], np.ndarray] = {}

    def vote(self, message: Message, now_ns: int) -> list[Effect]:
        if self.fraud == "asks again":
            self._hold_to_it(rows(message.sections[0], VOTE)[0].copy())
        if self.fraud == "buy a decision":
            flight = self.by_number.get(message.a)
            if flight is not None and flight.asks and flight.asks[-1].decider is Decider.MEMBERS:
                self._members.heard(message.sender)
                return []
        return super().vote(message, now_ns)

    def _hold_to_it(self, vote: np.ndarray) -> None:
        """Whether somebody has ever said something else."""
        node, attempt = int(vote["node"]), vote["attempt"].tobytes()
        before = self.heard.setdefault((node, attempt), vote)
        self._witness.compare(VOTES, node, of_vote(before), of_vote(vote))

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

    def __init__(
        self, sim: Simulation, fraud: str, view: View, cluster: int, key: PrivateKey, *args: Any, **more: Any
    ) -> None:
        super().__init__(view, cluster, key, *args, **more)
        self.key = key
        self.sim, self.fraud = sim, fraud
        self.held = False
        self.asked: list[Send] = []
        if fraud == "one entity twice":
            self.queues = LyingQueues(self.cluster, self.state.replay)
        flights = LyingFlights(self.view, self.cluster, self.limits, self.queues, self.witness)
        flights.fraud = fraud
        self.flights = flights

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        if self.fraud == "leave out" and isinstance(event, BatchOffered):
            keep = np.array([self.sim.world.chance(0.7) for _ in range(len(event.batch))], dtype=bool)
            event = BatchOffered(event.batch.select(keep), event.known[keep])
        if self.fraud == "parts left out" and isinstance(event, MessageReceived) and _brings(event.data):
            self.noted()
            return []
        return [lie for effect in super().handle(event, now_ns) for lie in self._said(effect)]

    def _said(self, effect: Effect) -> list[Effect]:
        """What it says instead, at once or when something is written."""
        change = FRAUDS[self.fraud]
        if change is not None and isinstance(effect, Send):
            return change(self, effect)
        if isinstance(effect, Persist):
            return [replace(effect, then=tuple(lie for said in effect.then for lie in self._said(said)))]
        return [effect]

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


def _brings(data: np.ndarray) -> bool:
    """Whether a message brings a part of a round."""
    head = data[: HEAD.itemsize].view(HEAD)[0]
    return int(head["kind"]) == Kind.OFFER and int(head["a"]) == 0


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


def _double_proposals(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """Each proposal, and at once another of the same round."""
    if not _is(send, Kind.PROPOSE):
        return [send]
    liar.noted()
    message, sections = _sections(send.data)
    other = encode(message.kind, message.view, message.sender, message.a, message.b + 1, sections)
    return [send, Send(send.to, other)]


def _two_records(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """A round is said to be committed, and then another of the same number, signed too."""
    if not _is(send, Kind.RECORDED):
        return [send]
    liar.noted()
    message, sections = _sections(send.data)
    slot = sections[0]
    slot[: COMMIT_RECORD.itemsize].view(COMMIT_RECORD)[0]["time_ns"] += np.uint64(1)
    at = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize
    for row in slot[at : at + len(liar.view.coordinators) * COMMIT_SIGNATURE.itemsize].view(COMMIT_SIGNATURE):
        if int(row["node"]) == liar.node:
            signature = liar.key.sign(Context.COMMIT, slot[: COMMIT_RECORD.itemsize].tobytes())
            row["signature"] = np.frombuffer(signature, dtype=np.uint8)
    return [send, Send(send.to, _again(message, sections))]


def _holds_up(*kinds: Kind) -> Fraud:
    """A coordinator that is alive and, from some time on, does not say what the rounds wait for."""

    def hold(liar: LyingCoordinator, send: Send) -> list[Effect]:
        if not _is(send, *kinds):
            return [send]
        liar.held = liar.held or liar.sim.world.chance(0.3)
        if not liar.held:
            return [send]
        liar.noted()
        return []

    return hold


def _asks_again(liar: LyingCoordinator, send: Send) -> list[Effect]:
    """Windows with another content before they are sent as they are, and once more when they are decided: somebody might answer
    otherwise than before, and be taken for a liar."""
    if _is(send, Kind.COMMITTED) and liar.asked:
        liar.noted()
        asked, liar.asked = liar.asked, []
        return [send, *asked]
    if not _is(send, Kind.WINDOW):
        return [send]
    message, sections = _sections(send.data)
    if not sections[6].nbytes:
        return [send]
    liar.asked = [*liar.asked[-20:], send]
    if liar.sim.world.chance(0.7):
        return [send]
    liar.noted()
    sections[6][64] ^= 1
    return [Send(send.to, _again(message, sections)), send]


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
    "double proposals": _double_proposals,
    "two records": _two_records,
    "slow leader": _holds_up(Kind.PROPOSE, Kind.RECORDED, Kind.ABORT),
    "slow coordinator": _holds_up(Kind.READY),
    "parts left out": None,
    "asks again": _asks_again,
    "windows out of order": None,
    "one number twice": None,
}

# Seen by other coordinators alone: where there is none, its nodes refuse to follow and the audit finds it in the ledger.
NEED_OTHERS = {"invent votes", "windows out of order"}
# Of rounds in which several take part: by the leader; by another.
OF_THE_LEADER = {"double proposals", "two records", "slow leader", "parts left out"}
OF_THE_OTHERS = {"slow coordinator"}
# Carried by honest validators today, and named by the audit (``docs/simulation.md``): not in the mix of the seeds.
UNREPAIRED = {"one number twice"}
UNSEEN = {"leave out"}  # a job may end well and leave something undecided


def coordinator(sim: Simulation, job: Job) -> Callable[..., Coordinator]:
    """What makes the coordinators of a job: some lie, until the world is quiet."""
    if not sim.shape.lying_coordinators or sim.quiet_ns is not None:
        return Coordinator
    clusters = sim.world.draw.sample(range(sim.shape.clusters), min(sim.shape.lying_coordinators, sim.shape.clusters))
    fraud = sim.world.draw.choice(sim.shape.frauds)
    if fraud in OF_THE_LEADER:
        clusters = [0]
    elif fraud in OF_THE_OTHERS:
        clusters = [max(1, c) for c in clusters]

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
