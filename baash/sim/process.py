"""One rank of a job: its nodes, its loop, its store and its clock, all turned by the world's time.

The loop is ``service.py``'s, a step at a time; the store's steps are ``store.py``'s, with pauses between them in which the
process may be stopped or die. What ``rank.py`` does when a loop ends is done here alike: the leader tells the others
before it goes, any other failing rank ends as a killed one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from enum import Enum
from typing import Any

from baash.errors import BaashError
from baash.hosted import Hosted
from baash.intake import Intake
from baash.protocol.events import Persist, Reply
from baash.protocol.messages import Kind, encode
from baash.protocol.view import View
from baash.service import Service
from baash.sim import telling
from baash.sim.disk import SimWriter
from baash.sim.network import Network
from baash.sim.world import MS, World
from baash.store import Done, Work
from baash.trace.recorder import Recorder


class Life(Enum):
    """What a process is doing."""

    STARTING = "starting"
    UP = "up"
    STOPPED = "stopped"  # as by SIGSTOP: it may wake
    LEFT = "left"  # its loop ended well
    FAILED = "failed"  # its loop ended with an error
    DEAD = "dead"


ENDED = (Life.LEFT, Life.FAILED, Life.DEAD)


class SimStore:
    """What ``service.py`` asks of a store (``Storing``), driven by the world's time. One write after the other."""

    def __init__(self, process: Process, work: Work, pause_ns: tuple[int, int]) -> None:
        self.work = work
        self._process, self._pause_ns = process, pause_ns
        self._waiting: deque[tuple[int, Persist]] = deque()
        self._steps: Generator[None, None, Done] | None = None
        self._done: list[Done] = []
        self._pending = 0
        self._halted = False

    @property
    def pending(self) -> int:
        return self._pending

    def submit(self, node: int, persist: Persist) -> None:
        self._pending += 1
        self._waiting.append((node, persist))
        if self._steps is None:
            self._begin()

    def finished(self) -> list[Done]:
        done, self._done = self._done, []
        self._pending -= len(done)
        return done

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


class Process:
    """A rank. ``start`` makes its nodes and lets its loop turn."""

    def __init__(self, world: World, network: Network, rank: int, view: View, pace_ns: int, tick_ns: int) -> None:
        self.world, self.rank, self.view = world, rank, view
        self.life = Life.STARTING
        self.error: BaashError | None = None
        self.service: Service | None = None
        self.hosted: Hosted | None = None
        self.recorder: Recorder | None = None
        self.store: SimStore | None = None
        self.writer: SimWriter | None = None
        self.slow_disk = 0.0
        self.offset_ns = 0  # of its clock
        self.reports: Counter[str] = Counter()
        self.said: dict[str, str] = {}  # one text of each kind of report
        self.changed: Callable[[], None] = lambda: None  # this process has ended
        self.transport = network.transports[rank]
        self.transport.wake = self.wake
        self._network = network
        self._pace_ns, self._tick_ns = pace_ns, tick_ns
        self._due: int | None = None
        self._turn = 0

    @property
    def name(self) -> str:
        return f"rank {self.rank} of view {self.view.view}"

    def clock(self) -> int:
        return self.world.now + self.offset_ns

    def start(
        self,
        make: Callable[[Process], Hosted],
        work: Callable[[SimWriter], Work],
        writer: Callable[[], SimWriter],
        intake: Callable[[Hosted], Intake | None],
        learned: Callable[[Process, int, Reply], None],
        pause_ns: tuple[int, int],
    ) -> None:
        """Read the ledger, make the nodes, begin. What the ledger refuses ends the process."""
        if self.life is not Life.STARTING:
            return
        try:
            self.hosted = hosted = make(self)
        except BaashError as error:
            self._fail(error)
            return
        if hosted.coordinators:
            self.writer = writer()
            self.store = SimStore(self, work(self.writer), pause_ns)

        def learn(cluster: int, reply: Reply) -> None:
            hosted.learned(cluster, reply)
            learned(self, cluster, reply)

        self.service = Service(
            self.transport,
            self.view,
            hosted.nodes,
            store=self.store,
            intake=intake(hosted),
            read_shared=hosted.read_shared,
            known=hosted.known,
            learned=learn,
            progress=self._progress,
            clock=self.clock,
            recorder=self.recorder,
        )
        self.life = Life.UP
        self.wake()

    def _progress(self, event: str, fields: Mapping[str, Any]) -> None:
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
        service = self.service
        assert service is not None
        try:
            moved = service.step()
        except BaashError as error:
            self._fail(error)
            return
        if not service.running:
            self._end(Life.LEFT)
        elif moved:
            self.wake()
        elif self.hosted is not None and self.hosted.coordinators:
            self.wake(self._tick_ns)

    # -- how it goes on or ends -------------------------------------------------------------------------------------

    def stop(self) -> None:
        if self.life is Life.UP:
            self.life = Life.STOPPED
            self.world.fault("process stopped", f"{self.name} is stopped")

    def resume(self) -> None:
        if self.life is Life.STOPPED:
            self.life, self._due = Life.UP, None
            self.world.tell(f"{self.name} wakes")
            if self.store is not None:
                self.store.resume()
            self.wake()

    def kill(self) -> None:
        """Dead at once; the others hear of it."""
        if self.life not in ENDED:
            self._end(Life.DEAD)

    def _fail(self, error: BaashError) -> None:
        self.error = error
        self.world.tell(f"{self.name} ends: {type(error).__name__}: {str(error).split(';')[0]}")
        leader = self.view.coordinators[0]
        if leader.rank != self.rank:
            self._end(Life.DEAD)  # as rank.py: it ends as a killed one, so that the others hear of it
            return
        data = encode(Kind.CLOSE, self.view.view, leader.node)
        for node in self.view.nodes:
            if node.rank != self.rank:
                self.transport.send(node.rank, node.node, data)
        self._end(Life.FAILED)

    def _end(self, life: Life) -> None:
        self.life = life
        if self.service is not None:
            self.reports = self.service.tally.reports
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
        self.changed()
