"""A rank's life over the views of a job: its nodes of each view, one after the other, and what lies between them.

``protocol/membership.py`` decides; here what it wants is done: nodes are stopped and made, a view is formed, ranks are told. Under
MPI (``rank.py``) and in the simulator (``sim/process.py``) alike, each of which brings a clock, a way to wait and to form a view.

``Post`` stands between the transport and the nodes of one view: what is for a view that this rank has not entered yet waits; what is
of one that it has left is dropped, unheard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from baash import errors
from baash.errors import LedgerError, LedgerFenced, PeerError, QuorumLost, StorageError
from baash.hosted import Hosted, reached
from baash.keys import PrivateKey
from baash.ledger.folder import Folder
from baash.protocol import changes
from baash.protocol.changes import Bounds, Happened, Published, VouchersWanted, Wanted
from baash.protocol.membership import Membership, State
from baash.protocol.messages import HEAD
from baash.protocol.view import Host, Parameters, View, clusters_for, vouched
from baash.service import TICK_NS, Progress, Service, Tally, Transport
from baash.session import Steps, check_rivals

MAIL_BYTES = 4 << 20  # of a rank's words at the end; its counts have some ten bytes a node
STORAGE_NS, PAUSE_NS = 10_000_000_000, 500_000_000  # how long storage may refuse a new view, and the pause between
LATER_MAX = 4096  # messages that wait for a view that is not entered yet
FRUITLESS_MAX = 3  # views in a row that decide nothing for want of votes


class Post:
    """One rank's transport, seen from its nodes of the view it is in. ``mail_tag``: what ranks say at the end; one more: of views."""

    def __init__(self, transport: Transport, hosts: Sequence[Host]) -> None:
        self.rank, self.size = transport.rank, transport.size
        self.mail: list[tuple[int, np.ndarray]] = []
        self.letters: deque[tuple[int, np.ndarray]] = deque()
        self.mail_tag = sum(len(h.keys) for h in hosts) + 1  # no view of this job has so many nodes
        self.deaths: deque[int] = deque()
        self.stale = 0
        self._transport = transport
        self._view: View | None = None
        self._box: list[tuple[int, int, np.ndarray]] = []
        self._later: deque[tuple[int, int, np.ndarray]] = deque(maxlen=LATER_MAX)
        self._newest = -1
        self._dead: set[int] = set()
        self._news: list[int] = []

    def turn_to(self, view: View | None) -> None:
        """From now on for the nodes of ``view``; None: for nobody."""
        self._view, self._box, self._news = view, [], []
        if view is not None:
            self._newest = view.view
            waiting, self._later = self._later, deque(maxlen=LATER_MAX)
            self._sort(waiting)
            self._news = sorted(self._dead)

    def pump(self) -> bool:
        """Take in what has arrived."""
        arrived = self._transport.poll()
        self._sort(arrived)
        dead = self._transport.failed()
        if dead:
            while last := self._transport.poll():  # what the dead have said counts before their death does
                self._sort(last)
            self._dead.update(dead)
            self._news += dead
            self.deaths += dead
        return bool(arrived or dead)

    @property
    def dead(self) -> frozenset[int]:
        """All ranks that are known to be dead."""
        return frozenset(self._dead)

    def alive(self, rank: int) -> None:
        """It spoke to us: it is not dead, whoever said so."""
        self._dead.discard(rank)

    def _sort(self, arrived: Sequence[tuple[int, int, np.ndarray]] | deque[tuple[int, int, np.ndarray]]) -> None:
        for source, tag, data in arrived:
            if tag == self.mail_tag:
                self._keep_mail(source, data)
            elif tag == self.mail_tag + 1:
                self.letters.append((source, data))
            else:
                number = int(data[: HEAD.itemsize].view(HEAD)["view"][0]) if data.nbytes >= HEAD.itemsize else 0
                if number > self._newest:
                    self._later.append((source, tag, data))
                elif self._view is not None:
                    self._box.append((source, tag, data))
                else:
                    self.stale += 1

    def _keep_mail(self, source: int, data: np.ndarray) -> None:
        """What a rank has to say at the end: one thing, of some size."""
        if data.nbytes <= MAIL_BYTES and all(source != s for s, _ in self.mail):
            self.mail.append((source, data))
        else:
            self.stale += 1

    def send(self, rank: int, tag: int, data: np.ndarray) -> None:
        self._transport.send(rank, tag, data)

    def tell(self, rank: int, data: np.ndarray) -> None:
        self._transport.send(rank, self.mail_tag + 1, data)

    def poll(self) -> list[tuple[int, int, np.ndarray]]:
        box, self._box = self._box, []
        return box

    def failed(self) -> list[int]:
        news, self._news = self._news, []
        return news

    def wait(self, timeout_s: float, busy: bool) -> None:
        self._transport.wait(timeout_s, busy)


class Leavable(Protocol):
    """A store, as far as leaving a view goes: what is begun may end, nothing is said of it."""

    def abandon(self) -> None: ...


@dataclass
class Seat:
    """A rank's nodes in one view."""

    view: View
    hosted: Hosted
    service: Service
    store: Leavable | None


class Forming(Protocol):
    """A view that is being formed; what the steps raise ``poll`` raises."""

    def poll(self) -> list[Happened]: ...
    def vouched(self, signatures: Mapping[str, bytes]) -> None: ...
    def cancel(self) -> None: ...


def clusters_left(nodes: int, parameters: Parameters, wanted: int) -> int:
    """As many clusters as were wanted, or as ``nodes`` still form."""
    return clusters_for(nodes, parameters, max(1, min(wanted, nodes // (parameters.sub_cluster + 1))))


def advanced(steps: Steps, signatures: Mapping[str, bytes] | None) -> Happened | None:
    """One step of forming a view; None: there are more. Raises what it raises."""
    try:
        wanted = steps.send(signatures)
    except StopIteration as end:
        view, signed = end.value
        return Published(view, view.encode(signed))
    return None if wanted is None else VouchersWanted(*wanted)


@dataclass(frozen=True)
class World:
    """What a rank is given: how to make its nodes of a view, how to form one, the time, and whom to tell."""

    folder: Folder
    run: str
    sit: Callable[[View, Hosted | None], Seat]
    form: Callable[[changes.Succeed, View], Forming]
    clock: Callable[[], int]
    tell: Progress = lambda event, fields: None


class Succession:
    """One rank. ``step`` it until ``over``; raises the BaashError with which the rank ends."""

    def __init__(
        self,
        post: Post,
        hosts: Sequence[Host],
        secrets: Sequence[PrivateKey],
        view: View,
        text: bytes,
        world: World,
        bounds: Bounds = changes.USUAL,
    ) -> None:
        self.post, self._world = post, world
        self.seat: Seat | None = None
        self.past: list[Seat] = []
        self.over = self.well = False
        self.remarks = 0  # of ranks, dropped
        self.membership = Membership(
            post.rank,
            hosts,
            secrets,
            view,
            text,
            world.clock(),
            reached=self._reached,
            exists=self._exists,
            bounds=bounds,
        )
        self._entering: View | None = view if self.membership.known.is_in else None
        self._forming: Forming | None = None
        self._refused_ns = 0  # since when storage refuses what a view needs
        self._again: tuple[int, Happened] | None = None  # what is told when
        self._next_tick = 0
        self._fruitless = 0

    # -- what is asked of it ----------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        return self.membership.known.view

    @property
    def seats(self) -> list[Seat]:
        """Of all views, in order."""
        return self.past if self.seat is None else [*self.past, self.seat]

    @property
    def leads(self) -> bool:
        """Whether this rank speaks for the job: that of the leading coordinator of a view that nobody left."""
        state = self.membership.state
        return state in (State.UP, State.CLOSED) and self.view.coordinators[0].rank == self.post.rank

    def fail(self) -> None:
        """This rank leads, and cannot go on: everybody else may go."""
        self._handle(changes.Failed())

    @property
    def restless(self) -> bool:
        """Whether time alone may have something done here, or soon will."""
        unsettled = self.membership.state in (State.LEFT, State.FORMING) or self._entering is not None
        return unsettled or bool(self.seat and self.seat.hosted.coordinators)

    @property
    def waiting(self) -> tuple[bool, bool]:
        """(busy, writing): what is waited for when a step had nothing to do."""
        return self.seat.service.waiting if self.seat is not None else (False, False)

    @property
    def tally(self) -> Tally:
        """What was counted here, over all views."""
        total = Tally()
        for seat in self.seats:
            total.add(seat.service.final_tally.as_fields())
        return total

    def _reached(self) -> tuple[int, int]:
        seats = self.seats
        return reached(seats[-1].hosted) if seats else (-1, 0)

    def _exists(self, view: View, text: bytes) -> bool:
        """Whether a record is published as it was told, and vouched for."""
        folder, before = self._world.folder, view.predecessor
        try:
            found, signatures, stored = folder.read_view(view.view)
            predecessor = None if before is None else folder.read_view(before.view)[0]
        except LedgerError:
            return False
        return stored == text and vouched(found, signatures, predecessor) is not None

    # -- the loop ---------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Once round, without waiting; False when there was nothing to do."""
        moved = self._enter() or self.post.pump()
        while self.post.letters and not self.over:
            self._read(*self.post.letters.popleft())
        while self.post.deaths:  # behind their letters
            self._handle(changes.RanksLost(frozenset({self.post.deaths.popleft()})))
        moved |= self._turn()
        moved |= self._look_at_what_forms()
        now = self._world.clock()
        if now >= self._next_tick:
            self._next_tick = now + TICK_NS
            self._handle(changes.Ticked())
        return moved or self._entering is not None

    def _read(self, rank: int, data: np.ndarray) -> None:
        self.post.alive(rank)
        try:
            self._handle(changes.MailReceived(rank, data))
        except PeerError as error:
            self.remarks += 1
            self._world.tell(
                "note", {"note": "bad_message", "text": f"rank {self.post.rank} dropped a message: {error}"}
            )

    def _enter(self) -> bool:
        """Make the nodes of a view that was entered."""
        view, self._entering = self._entering, None
        if view is None:
            return False
        self.post.turn_to(view)
        try:
            self.seat = self._world.sit(view, self.past[-1].hosted if self.past else None)
        except LedgerFenced as error:
            self._fenced(error)
        return True

    def _turn(self) -> bool:
        """A step of this rank's nodes."""
        seat = self.seat
        if seat is None or not seat.service.running or self.over:
            return False
        service = seat.service
        try:
            moved = service.step()
        except LedgerFenced as error:
            self._fenced(error)
            return True
        except QuorumLost as error:
            self._undecided(seat, error)
            return True
        if service.suspicion is not None:
            suspected = service.suspicion
            ranks = frozenset(seat.view.rank_of[n] for n in suspected.nodes)
            self._handle(changes.Suspected(ranks, suspected.text, suspected.lying))
        elif not service.running:
            self._handle(changes.Closed())
        return moved

    def _fenced(self, error: LedgerFenced) -> None:
        """A newer view is claimed: by another job, and this one stops; or by a steward of our own."""
        check_rivals(self._world.folder, self.view.view, self._world.run)
        self._handle(changes.Suspected(frozenset(), str(error)))

    def _undecided(self, seat: Seat, error: QuorumLost) -> None:
        """Too few of a cluster answer: perhaps enough of all ranks do."""
        self._fruitless = 0 if reached(seat.hosted)[1] else self._fruitless + 1
        if self._fruitless >= FRUITLESS_MAX:
            raise error
        self._handle(changes.Suspected(frozenset(), str(error)))

    def _look_at_what_forms(self) -> bool:
        if self._again is not None and self._world.clock() >= self._again[0]:
            event, self._again = self._again[1], None
            self._handle(event)
            return True
        if self._forming is None:
            return False
        try:
            found = self._forming.poll()
        except LedgerFenced as error:
            self._forming = None
            check_rivals(self._world.folder, self.view.view, self._world.run)
            self._handle(self._unheard() or changes.NotPublished(str(error)))
            return True
        except StorageError as error:  # as a writer does: tried again for a while
            now = self._world.clock()
            self._refused_ns = self._refused_ns or now
            if now - self._refused_ns > STORAGE_NS:
                raise
            self._forming, self._again = None, (now + PAUSE_NS, changes.NotPublished(str(error)))
            return True
        for event in found:
            if isinstance(event, Published):
                self._forming, self._refused_ns = None, 0
            self._handle(event)
        return bool(found)

    def _unheard(self) -> Published | None:
        """A view of this job that a steward published before it died, and could not tell."""
        folder = self._world.folder
        newest = folder.views()[-1]
        try:
            view, _, text = folder.read_view(newest)
        except LedgerError:
            return None
        ours = newest > self.view.view and self.membership.vouching.knows(view)
        return Published(view, text) if ours and self._exists(view, text) else None

    # -- what is wanted ---------------------------------------------------------------------------------------------

    def _handle(self, event: Happened) -> None:
        for effect in self.membership.handle(event, self._world.clock()):
            self._perform(effect)

    def _perform(self, effect: Wanted) -> None:
        match effect:
            case changes.Leave(why):
                self._leave(why)
            case changes.Tell(ranks, data):
                for rank in ranks:
                    self.post.tell(rank, data)
            case changes.Succeed():
                self._forming = self._world.form(effect, self.view)
            case changes.Vouched(signatures):
                if self._forming is not None:
                    self._forming.vouched(signatures)
            case changes.Desist():
                if self._forming is not None:
                    self._forming.cancel()
                    self._forming = None
            case changes.Enter(view):
                self._leave(f"view {view.view} is there")
                self._entering = view
            case changes.Depart(well):
                if self.seat is not None and well:
                    self.past.append(self.seat)
                    self.seat = None
                self.over, self.well = True, well
            case changes.GiveUp(error, text):
                raise getattr(errors, error)(text)

    def _leave(self, why: str) -> None:
        """This rank's nodes of the view it is in are stopped."""
        self._entering = None
        self.post.turn_to(None)
        seat, self.seat = self.seat, None
        if seat is None:
            return
        seat.service.stop()
        self.past.append(seat)
        if why:
            if seat.store is not None:
                seat.store.abandon()
            self._world.tell(
                "note", {"note": "view_left", "text": f"rank {self.post.rank} leaves view {seat.view.view}: {why}"}
            )
