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
leader; that or the lowest rank calls for a planned change when its view is old enough. Who waits too long for its steward takes it for silent and
turns to the next.

*Who may call.* One rank that leaves alone is a rank lost, no reason to stop: the steward calls when it has left itself, when a
coordinator's rank leaves (nothing is committed without it), or more than f ranks do. A call by a rank without a coordinator, for no
reason that is seen here too, is heeded once, then after ``age_ns``, which doubles with each: a liar causes no storm.

*Who is left out.* Ranks named as lying by the steward, by a coordinator's rank, or by more than f; the record says whom, for good. Ranks that
were only silent come back.

*Who vouches.* The ledger's key, where the steward's process has it; else nodes of the view before (``vouching.py``).

Decides nothing about transactions, and does not look into the ledger: ``succession.py`` does what is wanted here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Happened,
    Leave,
    MailReceived,
    NotPublished,
    Published,
    RanksLost,
    Succeed,
    Suspected,
    Ticked,
    Vouched,
    VouchersWanted,
    Wanted,
)
from baash.protocol.known import U4, Gathered, Known, left_out_of
from baash.protocol.messages import Kind, Message, open_message, rows
from baash.protocol.view import Host, View
from baash.protocol.vouching import Vouching, opened


class State(Enum):
    UP = "up"
    LEFT = "left"
    FORMING = "forming"
    CLOSED = "closed"
    OVER = "over"


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
        self.known = Known(rank, hosts, view, text, bounds)
        self.state = State.UP
        self.applicants: set[int] = set()
        self.vouching = Vouching(self.known.hosts, secrets)
        self._reached, self._exists = reached, exists
        self._began_ns = now_ns
        if not self.known.is_in:
            self.state = State.LEFT
            self.known.change = Gathered(why="it comes late", since_ns=now_ns, deadline_ns=now_ns)
        self._heard: tuple[View, bytes] | None = None  # a view that somebody else published while we form one
        self._vouch_by_ns = 0
        self._calls: dict[
            int, tuple[int, int]
        ] = {}  # rank → calls for no reason seen here, and when the last one was heeded

    # -- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: Happened, now_ns: int) -> list[Wanted]:
        """What is to be done. Whatever comes when the job is over is not heard."""
        if self.state is State.OVER:
            return []
        match event:
            case Suspected(ranks, why, lying):
                (self.known.lying if lying else self.known.change.silent).update(ranks - {self.known.rank})
                return self._leave(why, now_ns)
            case RanksLost(ranks):
                self.known.dead |= ranks - {self.known.rank}
                if self.state is State.CLOSED and self.known.view.coordinators[0].rank in self.known.dead:
                    return self._depart()
                return self._go_on(now_ns)
            case MailReceived(rank, data):
                return self._mail(rank, open_message(data), now_ns)
            case VouchersWanted():
                return self._want_vouchers(event, now_ns)
            case Published(view, text):
                told = self.known.tell(Kind.VIEW, [text], view=view.view)
                return [told, *self._learn(*max((view, text), self._heard or (view, text), key=_number), now_ns)]
            case NotPublished(why):
                return self._try_again(why, now_ns)
            case Closed():
                self.state = State.CLOSED
                leader = self.known.view.coordinators[0].rank
                if leader in self.known.change.over:
                    self.state = State.OVER
                    return [Depart()]
                return self._depart() if leader in {self.known.rank} | self.known.dead else []
            case Failed():
                self.state = State.OVER
                return [self.known.tell(Kind.OVER, [self.known.text], a=1)]
            case Ticked():
                return self._tick(now_ns)

    def _mail(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        if message.sender != rank or rank not in self.known.hosts:
            raise PeerError(f"{message.kind.name} in the name of rank {message.sender}, from rank {rank}")
        self.known.dead.discard(rank)  # it speaks
        if message.kind is not Kind.OVER and message.kind is not Kind.VIEW:
            if message.view < self.known.view.view:
                return [self.known.tell(Kind.VIEW, [self.known.text], to=(rank,))]
            if message.view > self.known.view.view and message.kind in (Kind.JOIN, Kind.CALL):
                return [self.known.join_message(rank)]  # it knows a view that we do not, and will answer with it
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
                return self._hear_of_the_end(rank, message, now_ns)
        raise PeerError(f"ranks do not say {message.kind.name}")

    # -- leaving ----------------------------------------------------------------------------------------------------

    def _leave(self, why: str, now_ns: int, *, planned: bool = False) -> list[Wanted]:
        """Out of the view; to the steward."""
        if self.state is not State.UP:
            return self._go_on(now_ns)
        self.state = State.LEFT
        self.known.attempt = 0 if self._reached()[1] else self.known.attempt
        change = self.known.change
        change.why, change.planned, change.since_ns = why, planned, now_ns
        return [Leave(why), *self._turn(now_ns)]

    def _turn(self, now_ns: int) -> list[Wanted]:
        """To the lowest rank that is not suspected; that may be this one."""
        change, found = self.known.change, self.known.candidates()
        if not found:  # everybody is silent: ask them all again
            change.silent.clear()
            found = self.known.candidates()
        if self.known.is_in or not self.known.ranks - self.known.dead:
            change.steward = found[0] if found else self.known.rank
        else:  # an applicant asks the leader, and in turn whoever else is there
            leader = self.known.view.coordinators[0].rank
            change.steward = leader if leader in found else found[0] if found else self.known.rank
        if change.steward == self.known.rank:
            change.joined.add(self.known.rank)
            change.deadline_ns = now_ns + self.known.doubled(self.known.bounds.gather_ns)
            return [*self._call(now_ns), *self._go_on(now_ns)]
        change.deadline_ns = now_ns + self.known.doubled(self.known.bounds.patience_ns)
        return [self.known.join_message(change.steward)]

    def _called(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        """A steward gathers."""
        change = self.known.change
        if rank in self.known.lying or self.state in (State.CLOSED, State.FORMING):
            return []
        change.silent.discard(rank)
        if self.state is State.UP:
            if not self._heeds(rank, now_ns):
                return []
            out = self._leave(_text(message.sections[0]), now_ns, planned=bool(message.a))
            return out if change.steward == rank else [*out, *self._turn_to(rank, now_ns)]
        if change.steward is None or rank <= change.steward or not self.known.is_in:
            return self._turn_to(rank, now_ns)
        return []

    def _heeds(self, rank: int, now_ns: int) -> bool:
        """Whether a call is followed: by a coordinator's rank, or for a reason seen here too; else each rank has so many."""
        known = self.known
        if rank in known.leading or known.leading & (known.dead | known.change.silent):
            return True
        times, last_ns = self._calls.get(rank, (0, 0))
        if now_ns - last_ns > known.bounds.forget_ns:
            times = 0
        if times and now_ns - last_ns < known.doubled(known.bounds.age_ns, times - 1):
            return False
        self._calls[rank] = times + 1, now_ns
        return True

    def _turn_to(self, rank: int, now_ns: int) -> list[Wanted]:
        """To a steward that calls; the lowest that does."""
        change = self.known.change
        if change.steward is not None and change.steward < rank and self.known.is_in:
            return []
        if change.steward != rank:
            change.turned_ns = now_ns
        change.steward = rank
        if now_ns - change.turned_ns < self.known.bounds.give_up_ns // 3:  # who calls for ever is silent in the end
            change.deadline_ns = now_ns + self.known.doubled(self.known.bounds.patience_ns)
        return [self.known.join_message(rank)]

    # -- the steward ------------------------------------------------------------------------------------------------

    def _joined(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        """Somebody has left the view, or wants to be in the next."""
        change, faults = self.known.change, self.known.view.parameters.faults
        change.silent.discard(rank)
        accused = [r for r in rows(message.sections[1], U4).tolist() if r in self.known.hosts]
        for one in accused[: max(faults, 1)]:  # one rank's word is not enough to leave more of them out
            change.accused.setdefault(one, set()).add(rank)
        change.joined.add(rank)
        planned = bool(message.a) and rank in self.known.leading
        if self.state is State.UP:
            self.applicants.add(rank)
            members = change.joined & self.known.ranks
            if rank in self.known.leading or len(members) > faults:
                return self._leave(_text(message.sections[2]), now_ns, planned=planned)
            return []
        change.planned |= planned
        return self._go_on(now_ns)

    def _call(self, now_ns: int) -> list[Wanted]:
        self.known.change.call_ns = now_ns + self.known.bounds.retry_ns
        return [
            self.known.tell(
                Kind.CALL, [self.known.change.why.encode(errors="replace")], a=int(self.known.change.planned)
            )
        ]

    def _go_on(self, now_ns: int) -> list[Wanted]:
        """Steward: begin when all are accounted for, or time is up, and there are enough."""
        change = self.known.change
        if self.state is not State.LEFT:
            return []
        if change.steward in self.known.dead:
            return self._turn(now_ns)
        if change.steward != self.known.rank:
            return []
        everybody = self.known.hosts.keys() - self.known.dead
        living = self.known.ranks - self.known.dead or everybody
        left_out = self.known.left_out()
        waited_for = (everybody if change.planned else living) - change.joined - change.silent - left_out
        if waited_for and now_ns < change.deadline_ns:
            return []
        joined = change.joined - self.known.dead - left_out
        nodes = sum(len(self.known.hosts[r].keys) for r in joined)
        if self.known.is_majority(joined & living, living) and nodes > self.known.view.parameters.sub_cluster:
            self.state = State.FORMING
            hosts = tuple(self.known.hosts[r] for r in sorted(joined))
            return [Succeed(hosts, change.why, tuple(sorted(left_out)))]
        if not (self.known.hosts.keys() - self.known.dead - change.joined - left_out):
            self.state = State.OVER
            return [self.known.tell(Kind.OVER, [self.known.text], a=1), self.known.too_small(nodes)]
        return []

    def _try_again(self, why: str, now_ns: int) -> list[Wanted]:
        """What was to be formed was not: gather again, for longer."""
        if self.state is not State.FORMING:
            return []
        self.state, self.vouching.wanted = State.LEFT, None
        if self._heard is not None:
            return self._learn(*self._heard, now_ns)
        self.known.attempt += 1
        self.known.change.why = why
        self.known.change.joined.clear()
        return self._turn(now_ns)

    # -- vouching ---------------------------------------------------------------------------------------------------

    def _want_vouchers(self, event: VouchersWanted, now_ns: int) -> list[Wanted]:
        if self.state is not State.FORMING:
            return [Desist()]
        self._vouch_by_ns = now_ns + self.known.doubled(self.known.bounds.vouch_ns)
        found = self.vouching.want(event, self.known.rank)
        return [Vouched(found)] if found else [self.known.tell(Kind.VOUCH, [event.view.body], view=event.view.view)]

    def _vouch(self, rank: int, message: Message) -> list[Wanted]:
        """For a steward's record, if that does no harm."""
        if self.state is not State.LEFT or rank != self.known.change.steward:
            return []
        signed = self.vouching.sign(message.sections[0].tobytes(), self.known.view, self._reached())
        return [] if signed is None else [self.known.tell(Kind.VOUCHED, [signed], view=message.view, to=(rank,))]

    def _take_vouchers(self, rank: int, message: Message) -> list[Wanted]:
        found = self.vouching.take(rank, message.sections[0]) if self.state is State.FORMING else None
        return [Vouched(found)] if found else []

    # -- the new view -----------------------------------------------------------------------------------------------

    def _is_ours(self, view: View, text: bytes) -> bool:
        return view.ledger == self.known.view.ledger and self.vouching.knows(view) and self._exists(view, text)

    def _told_of(self, view: View, text: bytes, now_ns: int) -> list[Wanted]:
        """Another rank's news of a view. Who is forming one goes on: if its claim is the higher one, that is the end of this view."""
        if view.view <= self.known.view.view or not self._is_ours(view, text):
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
        self.known.planned = self.known.planned + 1 if self.known.change.planned else 0
        self.known.lying |= left_out_of(view) - {self.known.rank}
        self.applicants = (self.applicants | self.known.change.joined) - {n.rank for n in view.nodes} - self.known.lying
        self.known.view, self.known.text, self._heard, self.vouching.wanted = view, text, None, None
        self.known.change = Gathered(why=f"it is not in view {view.view}", since_ns=now_ns)
        self._began_ns = now_ns
        self.known.attempt += 1
        if self.known.is_in:
            self.state = State.UP
            return [*out, Enter(view, text)]
        self.state = State.LEFT
        return [*out, *self._turn(now_ns)]

    # -- time -------------------------------------------------------------------------------------------------------

    def _tick(self, now_ns: int) -> list[Wanted]:
        change, bounds = self.known.change, self.known.bounds
        if self.state is State.UP:
            old = now_ns - self._began_ns >= self.known.doubled(bounds.age_ns, self.known.planned)
            first = self.known.rank in (self.known.view.coordinators[0].rank, self.known.candidates()[0])
            if old and first and self.applicants - self.known.dead - self.known.lying:
                return self._leave("ranks wait to be taken in", now_ns, planned=True)
            return []
        if self.state is State.FORMING:
            if self.vouching.wanted is not None and now_ns > self._vouch_by_ns:
                return [Desist(), *self._try_again("too few nodes vouched for the new view", now_ns)]
            return self._call(now_ns) if now_ns >= change.call_ns else []
        if self.state is not State.LEFT:
            return []
        if now_ns - change.since_ns > bounds.give_up_ns and change.steward is not None:
            return [self.known.without_a_view()]
        if change.steward == self.known.rank:
            again = self._call(now_ns) if now_ns >= change.call_ns else []
            return [*again, *self._go_on(now_ns)]
        if now_ns >= change.deadline_ns:
            if change.steward is not None:
                change.silent.add(change.steward)
            self.known.attempt += 1
            return self._turn(now_ns)
        return self._go_on(now_ns)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _depart(self) -> list[Wanted]:
        self.state = State.OVER
        return [self.known.tell(Kind.OVER, [self.known.text]), Depart()]

    def _hear_of_the_end(self, rank: int, message: Message, now_ns: int) -> list[Wanted]:
        """All is decided, says the leader of our view or of a newer one; or more than f others, to one who is in none."""
        text = message.sections[0].tobytes()
        view = opened(text)
        if view.view < self.known.view.view:
            return []
        if message.a:  # it cannot go on, says the steward or the leader
            return self._hear_that_it_cannot_go_on(rank, now_ns)
        self.known.change.over.add(rank)
        leads = view.coordinators[0].rank == rank
        many = len(self.known.change.over) > self.known.view.parameters.faults and self.state is not State.UP
        known = text == self.known.text or self._is_ours(view, text)
        if not known or not (leads or many or (self.state is State.CLOSED and rank in self.known.ranks)):
            return []
        if self.state is State.UP and view.view == self.known.view.view:
            return []  # what the leader said to the nodes here is on its way
        out: list[Wanted] = [Desist()] if self.state is State.FORMING else []
        self.state = State.OVER
        self.known.view, self.known.text = view, text
        return [*out, Depart()]

    def _hear_that_it_cannot_go_on(self, rank: int, now_ns: int) -> list[Wanted]:
        """Says the leader of the view we are in; or the steward, who is believed if so few live as seen here, and else silent."""
        known = self.known
        if self.state is State.LEFT and rank == known.change.steward:
            left = known.hosts.keys() - known.dead - known.left_out()
            if sum(len(known.hosts[r].keys) for r in left) > known.view.parameters.sub_cluster:
                known.change.silent.add(rank)
                return self._turn(now_ns)
        elif self.state is State.FORMING or rank != known.view.coordinators[0].rank:
            return []
        self.state = State.OVER
        return [Depart(well=False)]

    # -- messages ---------------------------------------------------------------------------------------------------


def _text(section: np.ndarray) -> str:
    return section[:1000].tobytes().decode(errors="replace")


def _number(known: tuple[View, bytes]) -> int:
    return known[0].view
