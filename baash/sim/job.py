"""One run on the ledger: claim, cut, publish, then the processes of its view, until all have ended.

A job dies with a coordinator today (``docs/limits.md``), and the next one continues the ledger. A view change inside a job
will be a second ``Fleet`` in the same job: view, network and processes are one thing here for that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from baash.errors import BaashError
from baash.hosted import Hosted
from baash.intake import Intake
from baash.keys import PrivateKey
from baash.ledger.folder import Folder
from baash.ledger.restore import Restored
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import Reply
from baash.protocol.plan import Log
from baash.protocol.replica import REPLICA_BYTES
from baash.protocol.validator import Validator
from baash.protocol.view import Host, View
from baash.session import begin_view, read_state
from baash.sim.disk import Disk, SimWriter
from baash.sim.material import Material, key_of
from baash.sim.network import Network, Weather
from baash.sim.process import ENDED, Life, Process
from baash.sim.shape import Shape
from baash.sim.world import MS, World
from baash.store import Work
from baash.trace.recorder import Recorder

LEDGER_KEY = key_of("ledger")
Learned = Callable[["Job", Process, int, Reply], None]
MakeValidator = Callable[["Job"], Callable[..., Validator]]
MakeCoordinator = Callable[["Job"], Callable[..., Coordinator]]


class Fleet:
    """A view that runs: its network and its processes."""

    def __init__(self, world: World, shape: Shape, view: View, weather: Weather) -> None:
        self.view = view
        self.network = Network(world, shape.ranks, weather)
        self.processes = [
            Process(world, self.network, rank, view, world.between(*shape.pace_ns), shape.tick_ns)
            for rank in range(shape.ranks)
        ]


class Job:
    """``over``: nothing of it will ever move again. ``excuses``: faults it met, which may explain how it ends."""

    def __init__(
        self,
        world: World,
        shape: Shape,
        folder: Folder,
        disk: Disk,
        number: int,
        sources: Sequence[Material],
        learned: Learned,
        validator: MakeValidator = lambda job: Validator,
        coordinator: MakeCoordinator = lambda job: Coordinator,
        trace: Path | None = None,
    ) -> None:
        self.world, self.shape, self.folder, self.disk, self.number = world, shape, folder, disk, number
        self.fleet: Fleet | None = None
        self.abandoned = False
        self.calm = False  # nothing bad happens any more
        self.looked_at = False  # it ended well, and everything was decided
        self.error: BaashError | None = None
        self.excuses: set[str] = set()
        self.secrets: dict[bytes, PrivateKey] = {}
        self.liars: set[int] = set()  # nodes
        self.lied: set[int] = set()  # clusters whose coordinator lies
        self.leaves_out = False  # and does so without a trace
        self.makers = validator(self), coordinator(self)
        self.began_ns = self.moved_ns = world.now
        self._sources, self._learned, self._trace = sources, learned, trace
        self._read: dict[int | None, tuple[Restored, Log]] = {}
        self._steps: Generator[None, None, tuple[View, dict[str, bytes]]] | None = None

    # -- the beginning ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the ledger over, step by step."""
        shape, world = self.shape, self.world
        world.tell(f"job {self.number} begins")
        self._steps = begin_view(
            self.folder,
            lambda predecessor: LEDGER_KEY,
            self._hosts(),
            shape.clusters,
            shape.parameters,
            shape.seed % (1 << 32) + self.number,
            lambda: world.now,
            {"job": str(self.number)},
            self.disk.flush_file,
        )
        world.after(0, self._open_further)

    def _hosts(self) -> list[Host]:
        hosts = []
        for rank, count in enumerate(self.shape.per_rank):
            own = [key_of(self.number, rank, i) for i in range(count)]
            storage = key_of(self.number, rank, "storage")
            self.secrets |= {k.public: k for k in [*own, storage]}
            hosts.append(Host(rank, f"host{rank}", tuple(k.public for k in own), storage.public))
        return hosts

    def _open_further(self) -> None:
        if self.abandoned or self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration as end:
            view, _ = end.value
            self._launch(view)
        except BaashError as error:
            self.error, self.abandoned = error, True
            self.world.tell(f"job {self.number} cannot begin: {error}")
        else:
            self.world.after(self.world.between(1 * MS, 300 * MS), self._open_further)

    def _launch(self, view: View) -> None:
        world = self.world
        world.tell(f"job {self.number} published view {view.view}")
        self.fleet = fleet = Fleet(world, self.shape, view, Weather() if self.calm else self.shape.weather)
        self.moved_ns = world.now
        for process in fleet.processes:
            start = partial(
                process.start,
                self._make,
                lambda writer: Work(self.folder, view.view, writer),
                lambda: SimWriter(self.folder, view, self.disk),
                self._intake,
                partial(self._learned, self),
                self.shape.pause_ns,
            )
            world.after(world.between(1 * MS, 20 * MS), start)

    def _make(self, process: Process) -> Hosted:
        recorder = None
        if self._trace is not None:
            recorder = process.recorder = Recorder(self._trace, process.rank, self.folder.path, self.world.tell)
        hosted = Hosted(
            self.folder.path,
            process.view,
            process.rank,
            recorder.keys(self.secrets) if recorder else self.secrets,
            self.shape.limits,
            self._read_once,
            coordinator=self.makers[1],
            validator=self.makers[0],
        )
        if recorder:
            recorder.begin(process.view, self.shape.limits, REPLICA_BYTES, self.liars & set(hosted.nodes))
        return hosted

    def _read_once(self, path: Path, view: View, cluster: int | None) -> tuple[Restored, Log]:
        """What every rank reads for itself is the same: it is below the cut."""
        if cluster not in self._read:
            self._read[cluster] = read_state(path, view, cluster)
        restored, log = self._read[cluster]
        return _copy_ids(restored), log

    def _intake(self, hosted: Hosted) -> Intake | None:
        led = [c.cluster for c in hosted.coordinators]
        return Intake(hosted.view, led, self._sources) if led else None

    # -- how it is --------------------------------------------------------------------------------------------------

    @property
    def processes(self) -> list[Process]:
        return self.fleet.processes if self.fleet else []

    @property
    def over(self) -> bool:
        return self.abandoned or (self.fleet is not None and all(p.life in ENDED for p in self.processes))

    @property
    def well(self) -> bool:
        """It has ended, and its leader as it should: all that was offered is decided."""
        if self.fleet is None or not self.over:
            return False
        return self.processes[self.fleet.view.coordinators[0].rank].life is Life.LEFT

    def errors(self) -> list[tuple[Process, BaashError]]:
        return [(p, p.error) for p in self.processes if p.error is not None]

    def excuse(self, why: str) -> None:
        self.excuses.add(why)

    def abandon(self) -> None:
        """Whoever was opening it is gone."""
        self.abandoned = True

    def leads(self, process: Process) -> list[int]:
        """Clusters that a process leads."""
        return [c for c, n in enumerate(process.view.coordinators) if n.rank == process.rank]


def _copy_ids(restored: Restored) -> Restored:
    made: dict[str, Any] = {**vars(restored), "ids": restored.ids.copy()}
    return Restored(**made)
