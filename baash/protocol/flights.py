"""Windows in flight: asked of sub-clusters, tallied, tried again, settled. The greater half of protocol 2.

Theory. Votes are prefixes; the recount has three answers. *Settled*: no vote that is missing could change what is decided.
*Open*: wait. Neither, and nobody left who could answer in time: a new attempt with one more node, up to c times, and then
the storage validator, who looks at the shared ledger alone. Silence may be slowness, so every attempt stays open, and the first
that its votes settle decides; the run goes on, for two minutes, while somebody alive still owes a vote. A window lost from block p
on gives back what follows p; a transaction is rejected only on the word of more than f validators, or of the storage validator.

  in flight (attempt 0 … c, appeal) → settled → taken into a round
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from baash.errors import PeerError
from baash.protocol import certificate as certificates
from baash.protocol import quorum, windows
from baash.protocol.certificate import Certificate
from baash.protocol.events import Effect, Fail, Report, Send
from baash.protocol.evidence import VOTES, Witness, of_vote
from baash.protocol.messages import Message, rows
from baash.protocol.plan import SEGMENT_BYTES
from baash.protocol.queues import Lot, Queues
from baash.protocol.sub_clusters import SubClusters
from baash.protocol.view import View
from baash.protocol.windows import Delta, Window
from baash.records import VOTE, Answer, Decider, Reason

PATIENCE_NS = 120_000_000_000  # how long a storage validator that is alive may take
FRUITLESS_MAX = 8  # windows in a row that were lost whole without a transaction at fault


@dataclass(frozen=True)
class Limits:
    """How much is under way at once. Sizes are per cluster."""

    window_bytes: int = 4 << 20
    window_transactions: int = 16_384
    windows_in_flight: int = 4
    waiting_per_node: int = 2  # a node with fewer windows than this is idle
    queue_bytes: int = 16 << 20
    queue_transactions: int = 32_768
    vote_timeout_ns: int = 5_000_000_000
    segment_bytes: int = SEGMENT_BYTES  # the same for all coordinators of a view: they plan alike


@dataclass(frozen=True)
class Ask:
    """One attempt: who was asked, and what they answered so far."""

    decider: Decider
    attempt: int
    members: tuple[int, ...]
    hash: bytes
    insufficient: np.ndarray | None  # of an appeal: certificate of the votes before it
    votes: dict[int, np.ndarray] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)  # whom it was sent to: not the dead, and not those that hang


@dataclass
class Flight:
    """A window on its way."""

    window: Window
    lot: Lot
    delta: Delta
    before: list[Window]
    sent_ns: int
    deadline_ns: int = 0
    asks: list[Ask] = field(default_factory=list)  # all still open; the last is the newest
    holders: set[int] = field(default_factory=set)
    prefix: int | None = None  # decided
    put_back: Lot | None = None
    certificate: Certificate | None = None
    encoded: np.ndarray | None = None

    @property
    def committed(self) -> int:
        """Transactions of the decided blocks."""
        return int(self.window.entries["count"][: self.prefix].sum(dtype=np.uint64))

    @property
    def committed_records(self) -> np.ndarray:
        """The decided blocks (u1)."""
        size = int(self.window.entries["bytes"][: self.prefix].sum(dtype=np.uint64))
        return self.window.batch.records[:size]


class Flights:
    """The windows of one cluster that are not committed, in order of number."""

    def __init__(self, view: View, cluster: int, limits: Limits, queues: Queues, witness: Witness) -> None:
        self.view, self.cluster, self.limits = view, cluster, limits
        self.node = view.coordinators[cluster].node
        self.by_number: dict[int, Flight] = {}
        self.retries = self.appeals = self.votes = self.lost_windows = 0
        self.votes_by_node: dict[int, int] = {}
        self._queues, self._witness = queues, witness
        self._members = SubClusters(view, cluster, limits.waiting_per_node)
        self._usual_ns = 0
        self._fruitless = 0

    @property
    def unsettled(self) -> int:
        """How many windows are waited for."""
        return sum(f.prefix is None for f in self.by_number.values())

    @property
    def has_room(self) -> bool:
        most = self.limits.windows_in_flight
        return self.unsettled < most and len(self.by_number) < 2 * most

    def members(self) -> list[int]:
        """A sub-cluster for a new window; empty while too few are idle."""
        return self._members.draw(self.view.parameters.sub_cluster)

    def living_validators(self) -> list[int]:
        return [n for n in self._members.validators if n not in self._members.dead]

    def launch(self, window: Window, lot: Lot, delta: Delta, members: list[int], now_ns: int) -> list[Effect]:
        """Send a window to its first members."""
        before = [f.window for f in self.by_number.values()]
        flight = Flight(window, lot, delta, before, now_ns)
        self.by_number[window.number] = flight
        out = self._ask(flight, Decider.MEMBERS, 0, members, now_ns)
        if all(m in self._members.dead for m in members):
            out += self._try_again(flight, now_ns)
        return out

    def settled(self) -> list[Flight]:
        """Those that may go into a round: settled, and all before them too."""
        found = []
        for flight in self.by_number.values():
            if flight.prefix is None:
                break
            found.append(flight)
        return found

    def vote(self, message: Message, now_ns: int) -> list[Effect]:
        self._members.heard(message.sender)
        flight = self.by_number.get(message.a)
        if message.sections[0].nbytes != VOTE.itemsize:
            raise PeerError("VOTE message without one vote")
        vote = rows(message.sections[0], VOTE)[0].copy()
        if int(vote["node"]) != message.sender:
            raise PeerError(f"a vote by node {message.sender} in the name of node {int(vote['node'])}")
        if flight is None:
            return []  # late: the window is committed
        ask = next((a for a in flight.asks if a.hash == vote["attempt"].tobytes()), None)
        if ask is None or message.sender not in ask.members:
            raise PeerError(f"a vote by node {message.sender}, which was not asked")
        if message.sender in ask.votes:  # once is enough, unless it says something else now
            self._hold_against(ask.votes[message.sender], vote, ask)
            return []
        if flight.prefix is not None and self._fits(flight, vote):
            ask.votes[message.sender] = vote  # late, and not looked at: whoever compares does that
            return []
        if not quorum.genuine(vote, self.view.nodes[message.sender], ask.hash):
            raise PeerError(f"the vote of node {message.sender} is not signed by it")
        ask.votes[message.sender] = vote
        if flight.prefix is not None:
            return [self._outvoted(flight, vote)] if int(vote["answer"]) == Answer.PREFIX else []
        self.votes += 1
        self.votes_by_node[message.sender] = self.votes_by_node.get(message.sender, 0) + 1
        if int(vote["answer"]) != Answer.PREFIX:
            flight.holders.discard(message.sender)  # it has not judged the window, and will need it again
        return self._tally(flight, ask, now_ns)

    def _hold_against(self, first: np.ndarray, vote: np.ndarray, ask: Ask) -> None:
        """Another vote of somebody who has voted."""
        node = int(first["node"])
        if vote.tobytes() == first.tobytes() or self._witness.proved(node):
            return
        if not quorum.genuine(vote, self.view.nodes[node], ask.hash):
            raise PeerError(f"another vote of node {node}, which is not signed by it")
        self._witness.compare(VOTES, node, of_vote(first), of_vote(vote))

    @staticmethod
    def _fits(flight: Flight, vote: np.ndarray) -> bool:
        return int(vote["answer"]) == Answer.PREFIX and int(vote["prefix"]) == flight.prefix

    @staticmethod
    def _outvoted(flight: Flight, vote: np.ndarray) -> Report:
        number, node, prefix = flight.window.number, int(vote["node"]), int(vote["prefix"])
        return Report("outvoted", f"window {number}: node {node} gave {prefix} blocks, not {flight.prefix}")

    def _tally(self, flight: Flight, ask: Ask, now_ns: int) -> list[Effect]:
        """Settle the window, leave it open, or try again when nobody who could answer the newest attempt is left."""
        blocks = len(flight.window.entries)
        prefixes = [
            int(v["prefix"]) if v is not None and int(v["answer"]) == Answer.PREFIX else None
            for v in (ask.votes.get(m) for m in ask.members)
        ]
        appeal = ask.decider is Decider.STORAGE_VALIDATOR
        need = 1 if appeal else self.view.parameters.quorum_of(len(ask.members))
        decided, status, others = quorum.count(prefixes, need, blocks)
        if status == quorum.SETTLED:
            out = self._settle(flight, ask, decided, now_ns)
            return [*(self._outvoted(flight, ask.votes[ask.members[i]]) for i in others), *out]
        if ask is not flight.asks[-1] or self._owes(ask):
            return []
        return self._try_again(flight, now_ns)

    def _owes(self, ask: Ask) -> bool:
        """Whether a living member has not voted yet."""
        return any(m not in ask.votes and m not in self._members.dead for m in ask.members)

    def _settle(self, flight: Flight, ask: Ask, prefix: int, now_ns: int) -> list[Effect]:
        window = flight.window
        order = sorted(ask.votes)
        votes = np.array([ask.votes[n] for n in order], dtype=VOTE)
        flight.prefix = prefix
        flight.encoded = certificates.encode(
            window.row,
            ask.decider,
            ask.attempt,
            ask.members,
            window.entries,
            votes,
            prefix,
            ask.insufficient,
        )
        flight.certificate = certificates.decode(flight.encoded)
        if len(flight.asks) == 1:  # else it measures our own patience
            took = now_ns - flight.sent_ns
            self._usual_ns = took if not self._usual_ns else (7 * self._usual_ns + took) // 8
        if prefix == len(window.entries):
            self._fruitless = 0
            return []
        return self._split(flight, ask, prefix, votes)

    def _split(self, flight: Flight, ask: Ask, prefix: int, votes: np.ndarray) -> list[Effect]:
        """Lost from block ``prefix`` on: reject the transaction at fault, put the rest back."""
        self.lost_windows += 1
        window = flight.window
        first = int(window.entries["count"][:prefix].sum(dtype=np.uint64))
        last = first + int(window.entries["count"][prefix])
        blamed: dict[tuple[int, int], int] = {}
        for vote in votes:
            if int(vote["answer"]) == Answer.PREFIX and int(vote["prefix"]) == prefix:
                what = (int(vote["bad_index"]), int(vote["reason"]))
                blamed[what] = blamed.get(what, 0) + 1
        (index, reason), support = max(blamed.items(), key=lambda x: x[1], default=((first, int(Reason.INTERNAL)), 0))
        honest = support > self.view.parameters.faults or ask.decider is Decider.STORAGE_VALIDATOR
        back = np.arange(first, len(flight.lot))
        number = window.number
        if honest and reason < Reason.WINDOW_MISMATCH and first <= index < last:
            self._fruitless = 0
            self._queues.reject(flight.lot.batch, np.array([index]), Reason(reason))
            back = back[back != index]
            text = f"window {number} lost from block {prefix} on: transaction {index} is {Reason(reason).name}"
        else:
            self._fruitless = 0 if prefix else self._fruitless + 1
            text = f"window {number} lost from block {prefix} on: {Reason(reason).name}; all of it is put back"
            if self._fruitless > FRUITLESS_MAX:
                return [Fail("QuorumLost", f"{text}; that was {self._fruitless} windows in a row, nothing moves on")]
        flight.put_back = flight.lot.select(back)
        return [Report("window_lost", text)]

    # -- attempts ---------------------------------------------------------------------------------------------------

    def _timeout_ns(self) -> int:
        """Eight times what a window usually takes, within a second and the limit; the limit until that is known."""
        most = self.limits.vote_timeout_ns
        return min(most, max(1_000_000_000, 8 * self._usual_ns)) if self._usual_ns else most

    def overdue(self, now_ns: int) -> list[Effect]:
        out: list[Effect] = []
        for flight in list(self.by_number.values()):
            if flight.prefix is None and now_ns > flight.deadline_ns:
                silent = [m for m in flight.asks[-1].members if m not in flight.asks[-1].votes]
                out.append(
                    Report("vote_timeout", f"window {flight.window.number}: no vote in time from nodes {silent}")
                )
                self._members.overdue(silent)
                out += self._try_again(flight, now_ns)
        for node in self._members.give_up(now_ns):
            out.append(Report("given_up", f"node {node} has not answered for long: this view goes on without it"))
        return out

    def lost(self, nodes: frozenset[int], now_ns: int) -> list[Effect]:
        self._members.dead |= nodes
        out: list[Effect] = []
        for flight in list(self.by_number.values()):
            ask = flight.asks[-1]
            if flight.prefix is None and any(m in nodes and m not in ask.votes for m in ask.members):
                out += self._tally(flight, ask, now_ns)
        return out

    def _try_again(self, flight: Flight, now_ns: int) -> list[Effect]:
        """One more node; after c of them, the storage validator; after that, patience, or the run cannot go on."""
        last, storage = flight.asks[-1], self.view.storage
        fresh = self._members.draw(1, last.members, idle_only=False)
        if last.decider is Decider.MEMBERS and last.attempt < self.view.parameters.replacements and fresh:
            self.retries += 1
            return self._ask(flight, Decider.MEMBERS, last.attempt + 1, [*last.members, fresh[0]], now_ns)
        if last.decider is Decider.MEMBERS and storage is not None and storage.node not in self._members.dead:
            self.retries += 1
            self.appeals += 1
            return self._ask(flight, Decider.STORAGE_VALIDATOR, 0, [storage.node], now_ns)
        if now_ns - flight.sent_ns <= PATIENCE_NS and any(map(self._owes, flight.asks)):
            flight.deadline_ns = now_ns + 2 * self._timeout_ns()  # a storage validator reads the whole ledger
            return [send for ask in flight.asks[-2:] for send in self._tell(flight, ask, now_ns)]
        return [Fail("QuorumLost", self._hopeless(flight))]

    def _hopeless(self, flight: Flight) -> str:
        return (
            f"window {flight.window.number} of cluster {self.cluster} cannot be decided: {self._members.living} of "
            f"{len(self._members.validators)} validators are alive and the storage validator does not answer; "
            "everything acknowledged is in the ledger, run again to continue it"
        )

    def _ask(self, flight: Flight, decider: Decider, attempt: int, members: list[int], now_ns: int) -> list[Effect]:
        """Begin an attempt."""
        window = flight.window
        insufficient = None
        if decider is Decider.STORAGE_VALIDATOR:
            last = flight.asks[-1]
            votes = np.array([last.votes[n] for n in sorted(last.votes)], dtype=VOTE)
            insufficient = certificates.encode(
                window.row, Decider.MEMBERS, last.attempt, last.members, window.entries, votes, 0
            )
        hashed = certificates.attempt_hash(window.hash, decider, attempt, members)
        ask = Ask(decider, attempt, tuple(members), hashed, insufficient)
        flight.asks.append(ask)
        flight.deadline_ns = now_ns + self._timeout_ns()
        return self._tell(flight, ask, now_ns)

    def _tell(self, flight: Flight, ask: Ask, now_ns: int) -> list[Effect]:
        """Send the window to members that were not sent it yet and can take it; with content if they do not hold it."""
        fit = [m for m in ask.members if m not in self._members.dead and not self._members.hangs(m)]
        fresh = [m for m in fit if m not in ask.told]
        ask.told.update(fresh)
        out: list[Effect] = []
        for content in (True, False):
            to = tuple(m for m in fresh if (m in flight.holders) != content)
            if to:
                data = windows.message(
                    self.view,
                    self.node,
                    flight.window,
                    ask.decider,
                    ask.attempt,
                    ask.members,
                    flight.before,
                    content=content,
                )
                out.append(Send(to, data))
        for node in fresh:
            self._members.asked(node)
        flight.holders.update(fresh)
        return out
