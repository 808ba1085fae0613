"""One rank of a job: its life over the views, its store and its clock, all turned by the world's time.

The loop is ``succession.py``'s, a step at a time; the store's steps are ``store.py``'s, with pauses between them in which the
process may be stopped or die. What ``rank.py`` does when a loop ends is done here alike: the leader tells the others
before it goes, any other failing rank ends as a killed one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from enum import Enum
from typing import Any

from baash.errors import BaashError
from baash.protocol.changes import Happened, Published, VouchersWanted
from baash.protocol.events import Persist
from baash.session import Steps
from baash.sim import telling
from baash.sim.disk import SimWriter
from baash.sim.network import Network
from baash.sim.world import MS, S, World
from baash.store import Done, Work
from baash.succession import Post, Seat, Succession, advanced
from baash.trace.recorder import Recorder


class Life(Enum):
    """What a process is doing."""

    STARTING = "starting"
    UP = "up"
    STOPPED = "stopped"  # as by SIGSTOP: it may wake
    LEFT = "left"  # its loop ended well
    FAILED = "failed"  # its loop ended with an error
    DEAD = "dead"


IDLE_NS = 1 * S  # between two turns of a rank for which nothing comes, and which has nothing to look after

ENDED = (Life.LEFT, Life.FAILED, Life.DEAD)


class SimStore:
    """What ``service.py`` asks of a store (``Storing``), driven by the world's time. One write after the other."""

    def __init__(self, process: Process, work: Work, pause_ns: tuple[int, int]) -> None:
        self._process, self._pause_ns = process, pause_ns
        self._waiting: deque[tuple[int, Persist]] = deque()
        self._steps: Generator[None, None, Done] | None = None
        self._done: list[Done] = []
        self._pending = 0
        self._halted = self._abandoned = False
        self.work: Work = work

    @property
    def pending(self) -> int:
        return self._pending

    def submit(self, node: int, persist: Persist) -> None:
        assert not self._abandoned, "something is to be written for a view that was left"
        self._pending += 1
        self._waiting.append((node, persist))
        if self._steps is None:
            self._begin()

    def finished(self) -> list[Done]:
        done, self._done = self._done, []
        self._pending -= len(done)
        return done

    def abandon(self) -> None:
        """Its view is left: what is under way goes on, as in a thread, nothing waits any more and nobody is told."""
        self._waiting.clear()
        self._abandoned = True

    def resume(self) -> None:
        """The process goes on after it was stopped."""
        if self._halted:
            self._halted = False
            self._later()

    def _begin(self) -> None:
        if self._waiting:
            node, persist = self._waiting.popleft()
            if self._process.world.listened:
                self._process.world.tell(telling.persist(node, persist))
            self._steps = self.work.steps(node, persist)
            self._later()

    def _later(self) -> None:
        world = self._process.world
        pause = world.between(*self._pause_ns)
        if world.chance(self._process.slow_disk):
            pause = world.between(50 * MS, 2000 * MS)
            world.fault("disk slow")
        world.after(pause, self._step)

    def _step(self) -> None:
        if self._process.life is Life.STOPPED:
            self._halted = True
            return
        if self._process.life is Life.DEAD or self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration as end:
            self._steps = None
            self._done.append(end.value)
            if self._process.world.listened:
                self._process.world.tell(telling.done(end.value.node, end.value.persist, end.value.reason))
            self._process.wake()
            self._begin()
            return
        self._later()


class SimForming:
    """A view that this process forms, driven by the world's time (``succession.Forming``)."""

    def __init__(self, process: Process, steps: Steps) -> None:
        self._process, self._steps = process, steps
        self._found: list[Happened] = []
        self._error: BaashError | None = None
        self._over = self._waiting = self._halted = False
        process.forming = self
        self._later()

    def poll(self) -> list[Happened]:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        found, self._found = self._found, []
        return found

    def vouched(self, signatures: Mapping[str, bytes]) -> None:
        if self._waiting:
            self._waiting = False
            self._later(signatures)

    def cancel(self) -> None:
        self._over = True
        self._steps.close()

    def resume(self) -> None:
        """The process goes on after it was stopped."""
        if self._halted:
            self._halted = False
            self._later()

    def _later(self, signatures: Mapping[str, bytes] | None = None) -> None:
        world = self._process.world
        world.after(world.between(1 * MS, 300 * MS), lambda: self._step(signatures))

    def _step(self, signatures: Mapping[str, bytes] | None) -> None:
        process = self._process
        if process.life is Life.STOPPED:
            self._halted = True
            return
        if self._over or process.life is not Life.UP:
            return
        try:
            event = advanced(self._steps, signatures)
        except BaashError as error:
            self._over, self._error = True, error
        else:
            if event is None:
                self._later()
                return
            self._found.append(event)
            self._waiting = isinstance(event, VouchersWanted)
            self._over = not self._waiting
            if isinstance(event, Published):
                process.world.tell(f"rank {process.rank} published view {event.view.view}")
        process.wake()


class Process:
    """A rank. ``start`` lets its life begin (``succession.py``), in the first view or as one who comes late."""

    def __init__(self, world: World, network: Network, rank: int, pace_ns: int, tick_ns: int) -> None:
        self.world, self.rank = world, rank
        self.life = Life.STARTING
        self.error: BaashError | None = None
        self.recorder: Recorder | None = None
        self.succession: Succession | None = None
        self.forming: SimForming | None = None
        self.slow_disk = 0.0
        self.offset_ns = 0  # of its clock
        self.reports: Counter[str] = Counter()
        self.said: dict[str, str] = {}  # one text of each kind of report
        self.left: dict[int, int] = {}  # view → when it was left
        self.entered: list[int] = []  # views, in order
        self.transport = network.transports[rank]
        self.transport.wake = self.wake
        self._network = network
        self._pace_ns, self._tick_ns = pace_ns, tick_ns
        self._due: int | None = None
        self._turn = 0

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        view = "no view yet" if self.succession is None else f"view {self.succession.view.view}"
        return f"rank {self.rank} of {view}"

    @property
    def post(self) -> Post:
        assert self.succession is not None, "it lives"
        return self.succession.post

    @property
    def seats(self) -> list[Seat]:
        """Its nodes of all views."""
        return self.succession.seats if self.succession else []

    @property
    def writers(self) -> list[SimWriter]:
        found = (s.store.work.writer for s in self.seats if isinstance(s.store, SimStore))
        return [writer for writer in found if isinstance(writer, SimWriter)]

    def clock(self) -> int:
        return self.world.now + self.offset_ns

    def start(self, make: Callable[[Process], Succession]) -> None:
        if self.life is Life.STARTING:
            self.succession = make(self)
            self.life = Life.UP
            self.wake()

    def progress(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == "note":
            self.said[fields["note"]] = fields["text"]
            self.world.tell(f"rank {self.rank} notes {fields['note']}: {fields['text']}")

    # -- turning the loop -------------------------------------------------------------------------------------------

    def wake(self, delay_ns: int | None = None) -> None:
        """Turn the loop soon; a turn that is due sooner stays."""
        due = self.world.now + (self._pace_ns if delay_ns is None else delay_ns)
        if self.life is not Life.UP or (self._due is not None and self._due <= due):
            return
        self._due, self._turn = due, self._turn + 1
        turn = self._turn
        self.world.after(due - self.world.now, lambda: self._step(turn))

    def _step(self, turn: int) -> None:
        if turn != self._turn or self.life is not Life.UP:
            return
        self._due = None
        life = self.succession
        assert life is not None
        try:
            moved = life.step()
        except BaashError as error:
            self._fail(error)
            return
        if life.over:
            self._end(Life.LEFT if life.well else Life.FAILED)
        elif moved:
            self.wake()
        else:
            self.wake(self._tick_ns if life.restless else IDLE_NS)

    # -- how it goes on or ends -------------------------------------------------------------------------------------

    def stop(self) -> None:
        if self.life is Life.UP:
            self.life = Life.STOPPED
            self.world.fault("process stopped", f"{self.name} is stopped")

    def resume(self) -> None:
        if self.life is Life.STOPPED:
            self.life, self._due = Life.UP, None
            self.world.tell(f"{self.name} wakes")
            for seat in self.seats:
                if isinstance(seat.store, SimStore):
                    seat.store.resume()
            if self.forming is not None:
                self.forming.resume()
            self.wake()

    def kill(self) -> None:
        """Dead at once; the others hear of it."""
        if self.life not in ENDED:
            self._end(Life.DEAD)

    def _fail(self, error: BaashError) -> None:
        """As ``rank.py``: the leader tells all others that it is over; any other ends as a killed one, so that the others hear of it."""
        self.error = error
        self.world.tell(f"{self.name} ends: {type(error).__name__}: {str(error).split(';')[0]}")
        life = self.succession
        if life is None or not life.leads:
            self._end(Life.DEAD)
            return
        life.fail()
        self._end(Life.FAILED)

    def _end(self, life: Life) -> None:
        self.life = life
        for seat in self.seats:
            self.reports += seat.service.tally.reports
        if self.recorder is not None and life is Life.DEAD and self.error is None:
            self.recorder.lose()
        elif self.recorder is not None:
            self.recorder.close(str(self.error or ""))
        if life is Life.DEAD:
            if self.error is None:
                self.world.tell(f"{self.name} is dead")
            self._network.crash(self.rank)
        else:
            self._network.leave(self.rank)
