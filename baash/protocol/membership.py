"""Who is in the next view: one rank's part of a change of views inside a job. Events in, effects out; no clock, no file.

Theory. Agreement lies in the ledger's folder: claims are totally ordered (exclusive creation), a view exists when its record
is published by rename, and a writer that sees a newer claim stops. So what is safe never depends on who is suspected, or on any
message here. Messages only gather who lives, and keep two from trying at once; if they fail to, the higher claim wins.

  up → left: joined a steward, or is the steward → forming (steward: claim, cut, form, publish) → up in the new view
   ↘ closed (all is decided) → over

*Leaving.* A rank whose nodes cannot go on, or that is called by another, stops its nodes of this view for ever and says
JOIN to the steward: the lowest rank of the view it does not suspect. *Gathering.* The steward CALLs everybody, and again and again
while it works, so that a slow steward is told from a dead one; it goes on when every rank is accounted for (joined, dead, known to be
silent) or time is up, which doubles with each attempt. *Majority.* It claims only if more than half of the view's ranks
that are not reported dead have joined: silence is not death, and a minority must not fence a majority off. Else it asks on, and gives up
in the end. *Succession.* The record goes to all, those who did not join too: who is not in it is an applicant, and asks the
leader; the leader calls for a planned change when its view is old enough. Who waits too long for its steward takes it for silent and
turns to the next.

*Who may call.* One rank that leaves alone is a rank lost, no reason to stop: the steward calls when it has left itself, when a
coordinator's rank leaves (nothing is committed without it), or more than f ranks do. A call by a rank without a coordinator is heeded by
those who see no reason only when the view is old enough. So a liar causes a change each ``age_ns``, which doubles, and no storm.

*Who is left out.* Ranks named as lying by this rank, by a coordinator's, or by more than f. Ranks that were only silent come back.

*Who vouches.* The ledger's key, where the steward's process has it; else nodes of the view before (``vouching.py``).

Decides nothing about transactions, and does not look into the ledger: ``succession.py`` does what is wanted here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from baash import keys
from baash.errors import PeerError
from baash.protocol.changes import (
    USUAL,
    Bounds,
    Closed,
    Depart,
    Desist,
    Enter,
    Failed,
    GiveUp,
    Happened,
    Leave,
    MailReceived,
    NotPublished,
    Published,
    RanksLost,
    Succeed,
    Suspected,
    Tell,
    Ticked,
    Vouched,
    VouchersWanted,
    Wanted,
)
from baash.protocol.messages import Kind, Message, encode, open_message, rows
from baash.protocol.view import Host, View
from baash.protocol.vouching import Vouching, opened

U4 = np.dtype("<u4")
DOUBLINGS_MAX = 6


class State(Enum):
    UP = "up"
    LEFT = "left"
    FORMING = "forming"
    CLOSED = "closed"
    OVER = "over"


@dataclass
class Gathered:
    """What a rank knows of a change under way; begun anew with each view."""

    joined: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    accused: dict[int, set[int]] = field(default_factory=dict)  # rank → ranks that say it lies
    over: set[int] = field(default_factory=set)  # ranks that say that all is decided
    steward: int | None = None
    why: str = ""
    planned: bool = False
    since_ns: int = 0  # when this rank left
    deadline_ns: int = 0
    call_ns: int = 0  # when to call again


class Membership:
    """``hosts``: all ranks of the job; ``secrets``: of this rank's nodes. ``reached()``: (view, rounds) that this rank's nodes have
    applied; ``exists(view, text)``: whether that record is published and vouched for."""

    def __init__(
        self,
        rank: int,
        hosts: Sequence[Host],
        secrets: Sequence[keys.PrivateKey],
        view: View,
        text: bytes,
        now_ns: int,
        *,
        reached: Callable[[], tuple[int, int]],
        exists: Callable[[View, bytes], bool],
        bounds: Bounds = USUAL,
    ) -> None:
        self.rank, self.view, self.text, self.bounds = rank, view, text, bounds
        self.state = State.UP
        self.dead: set[int] = set()
        self.lying: set[int] = set()  # left out for good
        self.applicants: set[int] = set()
        self.attempt = 0
        self.planned = 0
        self.change = Gathered()
        self._hosts = {h.rank: h for h in hosts}
        self.vouching = Vouching(self._hosts, secrets)
        self._reached, self._exists = reached, exists
        self._began_ns = now_ns
        if not self.is_in:
            self.state, self.change = State.LEFT, Gathered(why="it comes late", since_ns=now_ns, deadline_ns=now_ns)
        self._heard: tuple[View, bytes] | None = None  # a view that somebody else published while we form one
        self._vouch_by_ns = 0

    # -- what is asked of it ----------------------------------------------------------------------------------------

    @property
    def is_in(self) -> bool:
        return self.rank in self._ranks

    @property
    def _ranks(self) -> frozenset[int]:
        return frozenset(n.rank for n in self.view.nodes)

    @property
    def _leading(self) -> set[int]:
        return {n.rank for n in self.view.coordinators}

    @property
    def _others(self) -> tuple[int, ...]:
        return tuple(sorted(self._hosts.keys() - self.dead - {self.rank}))

    def _doubled(self, ns: int, times: int | None = None) -> int:
        return ns << min(self.attempt if times is None else times, DOUBLINGS_MAX)

    # -- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: Happened, now_ns: int) -> list[Wanted]:
        """What is to be done. Whatever comes when the job is over is not heard."""
        if self.state is State.OVER:
            return []
        match event:
            case Suspected(ranks, why, lying):
                (self.lying if lying else self.change.silent).update(ranks - {self.rank})
                return self._leave(why, now_ns)
            case RanksLost(ranks):
                self.dead |= ranks - {self.rank}
                if self.state is State.CLOSED and self.view.coordinators[0].rank in self.dead:
                    return self._depart()
                return self._go_on(now_ns)
            case MailReceived(rank, data):
                return self._mail(rank, open_message(data), now_ns)
            case VouchersWanted():
                return self._want_vouchers(event, now_ns)
            case Published(view, text):
                told = self._tell(Kind.VIEW, [text], view=view.view)
                return [told, *self._learn(*max((view, text), self._heard or (view, text), key=_number), now_ns)]
            case NotPublished(why):
                return self._try_again(why, now_ns)
            case Closed():
                self.state = State.CLOSED
                leader = self.view.coordinators[0].rank
                return self._depart() if leader in {self.rank} | self.dead | self.change.over else []
            case Failed():
                self.state = State.OVER
                return [self._tell(Kind.OVER, [self.text], a=1)]
            case Ticked():
                return self._tick(now_ns)

    def _mail(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        if message.sender != rank or rank not in self._hosts:
            raise PeerError(f"{message.kind.name} in the name of rank {message.sender}, from rank {rank}")
        self.dead.discard(rank)  # it speaks
        if message.kind is not Kind.OVER and message.kind is not Kind.VIEW:
            if message.view < self.view.view:
                return [self._tell(Kind.VIEW, [self.text], to=(rank,))]
            if message.view > self.view.view and message.kind in (Kind.JOIN, Kind.CALL):
                return [self._join_message(rank)]  # it knows a view that we do not, and will answer with it
        match message.kind:
            case Kind.JOIN:
                return self._joined(rank, message, now_ns)
            case Kind.CALL:
                return self._called(rank, message, now_ns)
            case Kind.VIEW:
                return self._told_of(opened(text := message.sections[0].tobytes()), text, now_ns)
            case Kind.VOUCH:
                return self._vouch(rank, message)
            case Kind.VOUCHED:
                return self._take_vouchers(rank, message)
            case Kind.OVER:
                return self._hear_of_the_end(rank, message)
        raise PeerError(f"ranks do not say {message.kind.name}")

    # -- leaving ----------------------------------------------------------------------------------------------------

    def _leave(self, why: str, now_ns: int, *, planned: bool = False) -> list[Wanted]:
        """Out of the view; to the steward."""
        if self.state is not State.UP:
            return self._go_on(now_ns)
        self.state = State.LEFT
        self.attempt = 0 if self._reached()[1] else self.attempt
        change = self.change
        change.why, change.planned, change.since_ns = why, planned, now_ns
        return [Leave(why), *self._turn(now_ns)]

    def _candidates(self) -> list[int]:
        """Ranks that may be the steward, the best first: members, or if none lives whoever is left."""
        members = self._ranks - self.dead or self._hosts.keys() - self.dead
        return sorted(members - self.change.silent - self.lying)

    def _turn(self, now_ns: int) -> list[Wanted]:
        """To the lowest rank that is not suspected; that may be this one."""
        change, found = self.change, self._candidates()
        if not found:  # everybody is silent: ask them all again
            change.silent.clear()
            found = self._candidates()
        if self.is_in or not self._ranks - self.dead:
            change.steward = found[0] if found else self.rank
        else:  # an applicant asks the leader, and in turn whoever else is there
            leader = self.view.coordinators[0].rank
            change.steward = leader if leader in found else found[0] if found else self.rank
        if change.steward == self.rank:
            change.joined.add(self.rank)
            change.deadline_ns = now_ns + self._doubled(self.bounds.gather_ns)
            return [*self._call(now_ns), *self._go_on(now_ns)]
        change.deadline_ns = now_ns + self._doubled(self.bounds.patience_ns)
        return [self._join_message(change.steward)]

    def _called(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        """A steward gathers."""
        change = self.change
        if rank in self.lying or self.state in (State.CLOSED, State.FORMING):
            return []
        change.silent.discard(rank)
        if self.state is State.UP:
            old = now_ns - self._began_ns >= self._doubled(self.bounds.age_ns, self.planned)
            if not (old or rank in self._leading or self._leading & (self.dead | change.silent)):
                return []
            out = self._leave(_text(message.sections[0]), now_ns, planned=bool(message.a))
            return out if change.steward == rank else [*out, *self._turn_to(rank, now_ns)]
        if change.steward is None or rank <= change.steward or not self.is_in:
            return self._turn_to(rank, now_ns)
        return []

    def _turn_to(self, rank: int, now_ns: int) -> list[Wanted]:
        """To a steward that calls; the lowest that does."""
        change = self.change
        if change.steward is not None and change.steward < rank and self.is_in:
            return []
        change.steward, change.deadline_ns = rank, now_ns + self._doubled(self.bounds.patience_ns)
        return [self._join_message(rank)]

    # -- the steward ------------------------------------------------------------------------------------------------

    def _joined(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        """Somebody has left the view, or wants to be in the next."""
        change, faults = self.change, self.view.parameters.faults
        change.silent.discard(rank)
        for accused in rows(message.sections[1], U4).tolist():
            change.accused.setdefault(accused, set()).add(rank)
        change.joined.add(rank)
        if self.state is State.UP:
            self.applicants.add(rank)
            members = change.joined & self._ranks
            if rank in self._leading or len(members) > faults:
                return self._leave(_text(message.sections[2]), now_ns)
            return []
        return self._go_on(now_ns)

    def _call(self, now_ns: int) -> list[Wanted]:
        self.change.call_ns = now_ns + self.bounds.retry_ns
        return [self._tell(Kind.CALL, [self.change.why.encode()], a=int(self.change.planned))]

    def _go_on(self, now_ns: int) -> list[Wanted]:
        """Steward: begin when all are accounted for, or time is up, and there are enough."""
        change = self.change
        if self.state is not State.LEFT:
            return []
        if change.steward in self.dead:
            return self._turn(now_ns)
        if change.steward != self.rank:
            return []
        living = self._ranks - self.dead or self._hosts.keys() - self.dead
        left_out = self._left_out()
        waited_for = living - change.joined - change.silent - left_out
        if waited_for and now_ns < change.deadline_ns:
            return []
        joined = change.joined - self.dead - left_out
        nodes = sum(len(self._hosts[r].keys) for r in joined)
        if 2 * len(joined & living) > len(living) and nodes > self.view.parameters.sub_cluster:
            self.state = State.FORMING
            self.lying |= left_out
            return [Succeed(tuple(self._hosts[r] for r in sorted(joined)), change.why)]
        if not (self._hosts.keys() - self.dead - change.joined - left_out):
            self.state = State.OVER
            return [self._tell(Kind.OVER, [self.text], a=1), self._too_small(nodes)]
        change.silent -= {self.rank}
        return []

    def _left_out(self) -> set[int]:
        """Ranks that lie, by the word of this one, of a coordinator's, or of more than f."""
        change, faults = self.change, self.view.parameters.faults
        named = {r for r, by in change.accused.items() if by & self._leading - {r} or len(by) > faults}
        return (self.lying | named) - {self.rank}

    def _too_small(self, nodes: int) -> GiveUp:
        need = self.view.parameters.sub_cluster + 1
        return GiveUp(
            "QuorumLost",
            f"the job cannot go on after view {self.view.view} ({self.change.why}): {nodes} nodes are left, and a cluster "
            f"needs a coordinator and {need - 1} validators, {need} in all; everything acknowledged is in the ledger, run "
            "again to continue it",
        )

    def _try_again(self, why: str, now_ns: int) -> list[Wanted]:
        """What was to be formed was not: gather again, for longer."""
        if self.state is not State.FORMING:
            return []
        self.state, self.vouching.wanted = State.LEFT, None
        if self._heard is not None:
            return self._learn(*self._heard, now_ns)
        self.attempt += 1
        self.change.why = why
        self.change.joined.clear()
        return self._turn(now_ns)

    # -- vouching ---------------------------------------------------------------------------------------------------

    def _want_vouchers(self, event: VouchersWanted, now_ns: int) -> list[Wanted]:
        if self.state is not State.FORMING:
            return [Desist()]
        self._vouch_by_ns = now_ns + self._doubled(self.bounds.vouch_ns)
        found = self.vouching.want(event, self.rank)
        return [Vouched(found)] if found else [self._tell(Kind.VOUCH, [event.view.body], view=event.view.view)]

    def _vouch(self, rank: int, message: Message) -> list[Wanted]:
        """For a steward's record, if that does no harm."""
        if self.state is not State.LEFT:
            return []
        signed = self.vouching.sign(message.sections[0].tobytes(), self.view, self._reached())
        return [] if signed is None else [self._tell(Kind.VOUCHED, [signed], view=message.view, to=(rank,))]

    def _take_vouchers(self, rank: int, message: Message) -> list[Wanted]:
        found = self.vouching.take(rank, message.sections[0]) if self.state is State.FORMING else None
        return [Vouched(found)] if found else []

    # -- the new view -----------------------------------------------------------------------------------------------

    def _is_ours(self, view: View, text: bytes) -> bool:
        return view.ledger == self.view.ledger and self.vouching.knows(view) and self._exists(view, text)

    def _told_of(self, view: View, text: bytes, now_ns: int) -> list[Wanted]:
        """Another rank's news of a view. Who is forming one goes on: if its claim is the higher one, that is the end of this view."""
        if view.view <= self.view.view or not self._is_ours(view, text):
            return []
        if self.state is State.FORMING:
            self._heard = max((view, text), self._heard or (view, text), key=_number)
            return []
        return self._learn(view, text, now_ns)

    def _learn(self, view: View, text: bytes, now_ns: int) -> list[Wanted]:
        """A newer view is there: enter it, or ask its leader to be in the next."""
        out: list[Wanted] = []
        if self.state is State.UP:
            out.append(Leave(f"view {view.view} is there"))
        self.planned = self.planned + 1 if self.change.planned else 0
        self.applicants = (self.applicants | self.change.joined) - {n.rank for n in view.nodes} - self.lying
        self.view, self.text, self._heard, self.vouching.wanted = view, text, None, None
        self.change = Gathered(why=f"it is not in view {view.view}", since_ns=now_ns)
        self._began_ns = now_ns
        self.attempt += 1
        if self.is_in:
            self.state = State.UP
            return [*out, Enter(view, text)]
        self.state = State.LEFT
        return [*out, *self._turn(now_ns)]

    # -- time -------------------------------------------------------------------------------------------------------

    def _tick(self, now_ns: int) -> list[Wanted]:
        change, bounds = self.change, self.bounds
        if self.state is State.UP:
            old = now_ns - self._began_ns >= self._doubled(bounds.age_ns, self.planned)
            if old and self.applicants - self.dead - self.lying and self.view.coordinators[0].rank == self.rank:
                return self._leave("ranks wait to be taken in", now_ns, planned=True)
            return []
        if self.state is State.FORMING:
            if self.vouching.wanted is not None and now_ns > self._vouch_by_ns:
                return [Desist(), *self._try_again("too few nodes vouched for the new view", now_ns)]
            return self._call(now_ns) if now_ns >= change.call_ns else []
        if self.state is not State.LEFT:
            return []
        if now_ns - change.since_ns > bounds.give_up_ns and change.steward is not None:
            return [self._without_a_view()]
        if change.steward == self.rank:
            again = self._call(now_ns) if now_ns >= change.call_ns else []
            return [*again, *self._go_on(now_ns)]
        if now_ns >= change.deadline_ns:
            if change.steward is not None:
                change.silent.add(change.steward)
            self.attempt += 1
            return self._turn(now_ns)
        return self._go_on(now_ns)

    def _without_a_view(self) -> GiveUp:
        living, answered = self._ranks - self.dead, self.change.joined - self.dead
        return GiveUp(
            "QuorumLost",
            f"rank {self.rank} found no view to go on in within {self.bounds.give_up_ns // 1_000_000_000} s "
            f"({self.change.why}): of {len(living)} ranks that are not reported dead {max(1, len(answered & living))} answered, and a "
            "minority must not go on; everything acknowledged is in the ledger, run again to continue it",
        )

    # -- the end ----------------------------------------------------------------------------------------------------

    def _depart(self) -> list[Wanted]:
        self.state = State.OVER
        return [self._tell(Kind.OVER, [self.text]), Depart()]

    def _hear_of_the_end(self, rank: int, message: Message) -> list[Wanted]:
        """All is decided, says the leader of our view or of a newer one; or more than f others, to one who is in none."""
        text = message.sections[0].tobytes()
        view = opened(text)
        if view.view < self.view.view:
            return []
        if message.a:  # it cannot go on, says the steward or the leader
            heeded = rank == (self.change.steward if self.state is State.LEFT else self.view.coordinators[0].rank)
            self.state = State.OVER if heeded and self.state is not State.FORMING else self.state
            return [Depart(well=False)] if self.state is State.OVER else []
        self.change.over.add(rank)
        leads = view.coordinators[0].rank == rank
        many = len(self.change.over) > self.view.parameters.faults and self.state is not State.UP
        known = text == self.text or self._is_ours(view, text)
        if not known or not (leads or many or (self.state is State.CLOSED and rank in self._ranks)):
            return []
        if self.state is State.UP and view.view == self.view.view:
            return []  # what the leader said to the nodes here is on its way
        out: list[Wanted] = [Desist()] if self.state is State.FORMING else []
        self.state = State.OVER
        return [*out, Depart()]

    # -- messages ---------------------------------------------------------------------------------------------------

    def _tell(
        self,
        kind: Kind,
        sections: Sequence[np.ndarray | bytes],
        *,
        a: int = 0,
        view: int | None = None,
        to: tuple[int, ...] | None = None,
    ) -> Tell:
        number = self.view.view if view is None else view
        return Tell(self._others if to is None else to, encode(kind, number, self.rank, a, 0, sections))

    def _join_message(self, rank: int) -> Tell:
        suspected = np.array(sorted(self.change.silent | self.dead), dtype=U4)
        lying = np.array(sorted(self.lying), dtype=U4)
        return self._tell(Kind.JOIN, [suspected, lying, self.change.why.encode()], to=(rank,))


def _text(section: np.ndarray) -> str:
    return section[:1000].tobytes().decode(errors="replace")


def _number(known: tuple[View, bytes]) -> int:
    return known[0].view
