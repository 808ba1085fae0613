"""One run on the ledger: claim, cut, publish, then its processes, from view to view, until all have ended.

Processes and network belong to the job; views come and go in them (``succession.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from baash.errors import BaashError
from baash.hosted import Hosted
from baash.intake import Intake
from baash.keys import PrivateKey
from baash.ledger.folder import Folder
from baash.ledger.restore import Restored
from baash.protocol.changes import Published, Succeed
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import Reply
from baash.protocol.plan import Log
from baash.protocol.replica import REPLICA_BYTES
from baash.protocol.validator import Validator
from baash.protocol.view import Host, View
from baash.service import Service
from baash.session import Steps, begin_view, read_state, run_of
from baash.sim import checkers
from baash.sim.disk import Disk, SimWriter
from baash.sim.material import Material, key_of
from baash.sim.network import Network, Weather
from baash.sim.process import ENDED, Life, Process, SimForming, SimStore
from baash.sim.shape import Shape
from baash.sim.world import MS, World
from baash.store import Work
from baash.succession import Post, Seat, Succession, advanced, clusters_left
from baash.succession import World as Given
from baash.trace.recorder import Recorder

LEDGER_KEY = key_of("ledger")
NOTHING: Mapping[str, str] = {}
Learned = Callable[["Job", Process, View, int, Reply], None]
MakeValidator = Callable[["Job"], Callable[..., Validator]]
MakeCoordinator = Callable[["Job"], Callable[..., Coordinator]]


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
        self.network: Network | None = None
        self.processes: list[Process] = []
        self.views: list[View] = []  # that were published for it, in order of number
        self.abandoned = False
        self.calm = False  # nothing bad happens any more
        self.looked_at = False  # it ended well, and everything was decided
        self.error: BaashError | None = None
        self.kept = 0  # states that were continued, not read anew
        self.wrong: list[str] = []  # promises that its ranks broke
        self.excuses: set[str] = set()
        self.secrets: dict[bytes, PrivateKey] = {}
        self.liars: set[tuple[int, int]] = set()  # view, node
        self.lied: set[tuple[int, int]] = set()  # view, cluster: its coordinator lies
        self.leaves_out = False  # and does so without a trace
        self.late: dict[int, int] = {}  # ranks that are in no first view, and how long after the others they come
        self.makers = validator(self), coordinator(self)
        self.began_ns = self.moved_ns = world.now
        self._sources, self._learned, self._trace = sources, learned, trace
        self._read: dict[tuple[int, int | None], tuple[Restored, Log]] = {}
        self._steps: Steps | None = None
        self._hosts: list[Host] = []
        self._run = ""

    # -- the beginning ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the ledger over, step by step."""
        world = self.world
        world.tell(f"job {self.number} begins")
        self._hosts = self._make_hosts()
        self._run = run_of(self._hosts)
        self.late = self._drawn_late()
        first = tuple(h for h in self._hosts if h.rank not in self.late)
        self._steps = self._begin(first, None, LEDGER_KEY)
        world.after(0, self._open_further)

    def _begin(
        self, hosts: tuple[Host, ...], left: int | None, key: PrivateKey | None, said: Mapping[str, str] = NOTHING
    ) -> Steps:
        shape = self.shape
        nodes = sum(len(h.keys) for h in hosts)
        return begin_view(
            self.folder,
            lambda predecessor: key,
            hosts,
            clusters_left(nodes, shape.parameters, shape.clusters),
            shape.parameters,
            shape.seed % (1 << 32) + self.number,
            lambda: self.world.now,
            {"job": str(self.number), "run": self._run, **said},
            self.disk.flush_file,
            left,
        )

    def _drawn_late(self) -> dict[int, int]:
        """Who comes late: some, as long as the others can begin."""
        shape, world = self.shape, self.world
        if not shape.late or self.calm:
            return {}
        late = world.draw.sample(range(1, shape.ranks), min(shape.late, shape.ranks - 1))
        need = (shape.parameters.sub_cluster + 1) * shape.clusters
        while late and shape.nodes - sum(shape.per_rank[r] for r in late) < need:
            late.pop()
        for rank in late:
            world.fault("rank comes late", f"rank {rank} of job {self.number} comes late")
        return {rank: world.between(10 * MS, 4000 * MS) for rank in late}

    def _make_hosts(self) -> list[Host]:
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
            found = advanced(self._steps, None)
        except BaashError as error:
            self.error, self.abandoned = error, True
            self.world.tell(f"job {self.number} cannot begin: {error}")
            return
        if isinstance(found, Published):
            self._launch(found.view, found.text)
        else:
            self.world.after(self.world.between(1 * MS, 300 * MS), self._open_further)

    def _launch(self, view: View, text: bytes) -> None:
        world, shape = self.world, self.shape
        world.tell(f"job {self.number} published view {view.view}")
        self.network = network = Network(world, shape.ranks, Weather() if self.calm else shape.weather)
        self.processes = [
            Process(world, network, rank, world.between(*shape.pace_ns), shape.tick_ns) for rank in range(shape.ranks)
        ]
        network.spoken = self._spoken
        self.views.append(view)
        self.moved_ns = world.now
        for process in self.processes:
            wait = world.between(1 * MS, 20 * MS) + self.late.get(process.rank, 0)
            world.after(wait, partial(process.start, partial(self._live, view, text)))

    def _live(self, view: View, text: bytes, process: Process) -> Succession:
        """A rank's life."""
        mine = {key for host in self._hosts if host.rank == process.rank for key in (*host.keys, host.storage)}
        given = Given(
            self.folder,
            self._run,
            partial(self._sit, process),
            partial(self._form, process),
            process.clock,
            process.progress,
        )
        secrets = [self.secrets[key] for key in sorted(mine)]
        return Succession(Post(process.transport, self._hosts), self._hosts, secrets, view, text, given)

    def _spoken(self, rank: int, data: np.ndarray) -> None:
        if not self.liars:  # they say anything
            self.wrong += filter(None, [checkers.spoken(self.processes[rank], data)])

    def _form(self, process: Process, wanted: Succeed, left: View) -> SimForming:
        """The ledger's key may be where rank 0 is, and nowhere else."""
        self.world.tell(f"rank {process.rank} begins a view with ranks {[h.rank for h in wanted.hosts]}")
        self.wrong += filter(None, [checkers.minority(process, {h.rank for h in wanted.hosts}, left)])
        key = LEDGER_KEY if self.shape.key_everywhere or process.rank == 0 else None
        return SimForming(process, self._begin(wanted.hosts, left.view, key, wanted.said))

    def _sit(self, process: Process, view: View, before: Hosted | None) -> Seat:
        """A rank's nodes of a view."""
        if view.view not in {v.view for v in self.views}:
            self.views = sorted([*self.views, view], key=lambda v: v.view)
        process.entered.append(view.view)
        recorder = process.recorder
        if recorder is None and self._trace is not None:
            recorder = process.recorder = Recorder(self._trace, process.rank, self.folder.path, self.world.tell)
        hosted = Hosted(
            self.folder.path,
            view,
            process.rank,
            recorder.keys(self.secrets) if recorder else self.secrets,
            self.shape.limits,
            self._read_once,
            coordinator=self.makers[1],
            validator=self.makers[0],
            before=before,
        )
        if recorder:
            lying = {node for of, node in self.liars if of == view.view}
            recorder.begin(view, self.shape.limits, REPLICA_BYTES, lying & set(hosted.nodes))
        for cluster in sorted(hosted.kept):
            self.kept += 1
            fresh, _ = self._read_once(self.folder.path, view, cluster)
            asked = [checkers.continued(hosted, cluster, fresh, source.pairs) for source in self._sources]
            self.wrong += filter(None, asked)
        store = None
        if hosted.coordinators:
            store = SimStore(
                process, Work(self.folder, view.view, SimWriter(self.folder, view, self.disk)), self.shape.pause_ns
            )

        def learn(cluster: int, reply: Reply) -> None:
            hosted.learned(cluster, reply)
            self._learned(self, process, view, cluster, reply)

        led = [c.cluster for c in hosted.coordinators]
        service = Service(
            process.post,
            view,
            hosted.nodes,
            store=store,
            intake=Intake(view, led, self._sources) if led else None,
            read_shared=hosted.read_shared,
            known=hosted.known,
            learned=learn,
            progress=process.progress,
            clock=process.clock,
            recorder=recorder,
        )
        return Seat(view, hosted, service, store)

    def _read_once(self, path: Path, view: View, cluster: int | None) -> tuple[Restored, Log]:
        """What every rank reads for itself is the same: it is below the cut."""
        if (view.view, cluster) not in self._read:
            self._read[view.view, cluster] = read_state(path, view, cluster)
        restored, log = self._read[view.view, cluster]
        return _copy_ids(restored), log

    # -- how it is --------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View | None:
        """The newest view that anybody is in."""
        return self.views[-1] if self.views else None

    @property
    def over(self) -> bool:
        return self.abandoned or (bool(self.processes) and all(p.life in ENDED for p in self.processes))

    @property
    def well(self) -> bool:
        """It has ended, and somebody knows that all that was offered is decided."""
        return self.over and any(p.life is Life.LEFT for p in self.processes)

    def errors(self) -> list[tuple[Process, BaashError]]:
        return [(p, p.error) for p in self.processes if p.error is not None]

    def excuse(self, why: str) -> None:
        self.excuses.add(why)

    def abandon(self) -> None:
        """Whoever was opening it is gone."""
        self.abandoned = True


def _copy_ids(restored: Restored) -> Restored:
    made: dict[str, Any] = {**vars(restored), "ids": restored.ids.copy()}
    return Restored(**made)
