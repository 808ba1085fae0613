"""The network of one job: messages between ranks, as MPI could deliver them, or worse.

MPI delivers reliably and in order between two living ranks, however late; so messages are delayed, held back by a partition that
heals, and lost only with their sender. ``Weather.harsh`` goes beyond: loss, duplicates, another order. News of a death
comes late, early, or of ranks that live (a partition at whose sides each takes the other for dead).

A buffer must not change while it is under way: its checksum is taken when it is sent and looked at when it arrives.
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from baash.protocol.messages import HEAD, Kind
from baash.sim import telling
from baash.sim.world import MS, US, World

KINDS = {kind.value: kind.name for kind in Kind}


@dataclass(frozen=True)
class Weather:
    """What a network is like; drawn by seed."""

    delay_ns: tuple[int, int] = (20 * US, 200 * US)
    slow: float = 0.0  # share of messages that take up to ``slow_ns``
    slow_ns: int = 200 * MS
    notice_ns: tuple[int, int] = (1 * MS, 100 * MS)  # until a death is noticed
    loss: float = 0.0
    duplicates: float = 0.0
    reordering: float = 0.0

    @property
    def harsh(self) -> bool:
        return bool(self.loss or self.duplicates or self.reordering)


@dataclass(eq=False)
class Flying:
    """A message under way."""

    source: int
    target: int
    tag: int
    data: np.ndarray
    checksum: int
    lost: bool = False


class SimTransport:
    """The ``Transport`` of ``docs/architecture.md``, at one rank."""

    ulfm = True

    def __init__(self, network: Network, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.inbox: list[tuple[int, int, np.ndarray]] = []
        self.dead: list[int] = []
        self.wake: Callable[[], None] = lambda: None
        self._network = network

    def send(self, rank: int, tag: int, data: np.ndarray | bytes) -> None:
        raw = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
        self._network.send(self.rank, rank, tag, raw)

    def poll(self) -> list[tuple[int, int, np.ndarray]]:
        arrived, self.inbox = self.inbox, []
        return arrived

    def failed(self) -> list[int]:
        dead, self.dead = self.dead, []
        return dead

    def wait(self, timeout_s: float, busy: bool) -> None:
        raise AssertionError("in a made-up world nobody waits")


class Network:
    """All that is said between the ranks of one job."""

    def __init__(self, world: World, size: int, weather: Weather) -> None:
        self.weather = weather
        self.transports = [SimTransport(self, rank, size) for rank in range(size)]
        self.messages: Counter[str] = Counter()
        self.message_bytes = 0
        self.corrupted: list[str] = []
        self.spoken: Callable[[int, np.ndarray], None] = lambda rank, data: None  # who looks at what leaves a rank
        self._world = world
        self._flying: dict[tuple[int, int], deque[Flying]] = {}
        self._last: dict[tuple[int, int], int] = {}  # when the newest message of a pair arrives
        self._held: dict[tuple[int, int], list[Flying]] = {}
        self._side: dict[int, int] = {}  # rank → side of a partition; empty: none
        self._gone: set[int] = set()

    # -- messages ---------------------------------------------------------------------------------------------------

    def send(self, source: int, target: int, tag: int, data: np.ndarray) -> None:
        world, weather = self._world, self.weather
        if source in self._gone or target in self._gone:
            return
        kind = _kind(data)
        self.spoken(source, data)
        self.messages[kind] += 1
        self.message_bytes += data.nbytes
        if world.heard is not None:
            world.heard(data)
        copies = 1
        if weather.harsh:
            if world.chance(weather.loss):
                world.fault("message lost", f"a {kind} from rank {source} to rank {target} is lost")
                return
            if world.chance(weather.duplicates):
                world.fault("message twice")
                copies = 2
        for _ in range(copies):
            self._fly(Flying(source, target, tag, data, zlib.crc32(np.ascontiguousarray(data).data)))

    def _fly(self, message: Flying) -> None:
        world, weather, pair = self._world, self.weather, (message.source, message.target)
        delay = world.between(*weather.delay_ns)
        if world.chance(weather.slow):
            delay = world.between(weather.delay_ns[1], weather.slow_ns)
            world.fault("message late")
        due = world.now + delay
        if not world.chance(weather.reordering):
            due = self._last[pair] = max(due, self._last.get(pair, 0))
        else:
            world.fault("message overtaken")
        self._flying.setdefault(pair, deque()).append(message)
        world.after(due - world.now, lambda: self._arrive(message))

    def _arrive(self, message: Flying) -> None:
        pair = (message.source, message.target)
        flying = self._flying.get(pair)
        if flying is not None and message in flying:
            flying.remove(message)
            if not flying:
                del self._flying[pair]
        if message.lost or message.target in self._gone:
            return
        if pair in self._held or self._apart(*pair):
            self._held.setdefault(pair, []).append(message)
            return
        if zlib.crc32(np.ascontiguousarray(message.data).data) != message.checksum:
            self.corrupted.append(f"a {_kind(message.data)} from rank {message.source} changed while it was under way")
        transport = self.transports[message.target]
        transport.inbox.append((message.source, message.tag, message.data))
        if self._world.listened:
            self._world.tell(telling.message(message.data, message.tag, message.target))
        transport.wake()

    # -- faults -----------------------------------------------------------------------------------------------------

    def _apart(self, a: int, b: int) -> bool:
        return self._side.get(a, 0) != self._side.get(b, 0)

    def part(self, side: set[int]) -> None:
        """Ranks in ``side`` and the others do not hear each other until ``heal``."""
        self._side = dict.fromkeys(side, 1)

    def heal(self) -> None:
        """What was held back arrives, in order."""
        self._side = {}
        held, self._held = self._held, {}
        for pair in sorted(held):
            for message in held[pair]:
                self._fly(message)

    def leave(self, rank: int) -> None:
        """A rank has ended well: what it said arrives, nothing more is sent to it."""
        self._gone.add(rank)

    def crash(self, rank: int) -> None:
        """A rank is dead: of what it was sending, to each receiver only the first few arrive; the others hear of it."""
        world = self._world
        self._gone.add(rank)
        for (source, _), flying in self._flying.items():
            if source == rank:
                keep = world.draw.randrange(len(flying) + 1)
                for message in list(flying)[keep:]:
                    message.lost = True
        for other in self.transports:
            if other.rank != rank and other.rank not in self._gone:
                self.notice(other, rank)

    def notice(self, at: SimTransport, rank: int) -> None:
        """Tell one rank, some time from now, that another is dead."""

        def tell() -> None:
            at.dead.append(rank)
            at.wake()

        self._world.after(self._world.between(*self.weather.notice_ns), tell)

    @property
    def waiting(self) -> int:
        return sum(map(len, self._flying.values())) + sum(map(len, self._held.values()))


def _kind(data: np.ndarray) -> str:
    return KINDS.get(int(data[4]) | int(data[5]) << 8, "noise") if data.nbytes >= HEAD.itemsize else "noise"
