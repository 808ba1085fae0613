"""The story of one seed: an operator who runs jobs on one ledger until everything offered is decided, and what befalls them.

Job after job (``job.py``), as long as something is undecided: the next begins when one is over, when one has not moved for
long, or while another still writes (``take over``). Faults come at random times (``accidents.py``) until the world is
quiet; what is stopped then wakes, what is parted heals, and from then on everything must be decided within a bound.
What has been promised is looked after while it runs and at the end (``checkers.py``).
"""

from __future__ import annotations

import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from baash.ledger.folder import Folder
from baash.protocol.events import Reply
from baash.protocol.view import View
from baash.sim import accidents, checkers, fairness, frauds, liars
from baash.sim.disk import Disk
from baash.sim.job import Job
from baash.sim.material import Offered, make, parted
from baash.sim.network import Weather
from baash.sim.process import ENDED, Life, Process
from baash.sim.shape import PATIENCE_S, Shape
from baash.sim.world import MS, S, World

WATCH_NS = 250 * MS
BOUND_NS = (
    400 * S
)  # in which everything is decided once the world is quiet: patience with a job that hangs, and two more jobs
JOBS_MAX = 60
ACTIONS_MAX = 3_000_000


@dataclass
class Outcome:
    """What became of a seed."""

    seed: int
    violations: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    message_bytes: int = 0
    simulated_ns: int = 0
    jobs: int = 0
    views: int = 0
    kept: int = 0  # states that a view took over from the one before
    offered: int = 0
    record_bytes: int = 0
    committed: int = 0
    rejected: int = 0
    blocks: int = 0
    rounds: int = 0
    evidence: int = 0  # nodes that contradicted themselves, as the ledger proves
    told: list[str] = field(default_factory=list)


class Simulation:
    """One seed. ``run`` it once."""

    def __init__(self, shape: Shape, root: Path, *, listen: int = 0, trace: Path | None = None) -> None:
        self.shape, self.trace = shape, trace
        self.world = World(shape.seed, listen=listen)
        self.folder = Folder.create(root / "ledger")
        self.disk = Disk(self.world)
        self.offered: list[Offered] = make(self.world.draw, shape.mix)
        self.sources = parted(self.offered, shape.at_once, shape.sources)
        self.jobs: list[Job] = []
        self.receipts: dict[bytes, int] = {}  # id → its number in the ledger, as an honest coordinator said
        self.refused: dict[bytes, int] = {}  # id → the reason an honest coordinator gave
        self.violations: list[str] = []
        self.done = False
        self.quiet_ns: int | None = None
        self._again = self.world.chance(0.15)  # run once more when all is done: it must change nothing

    # -- the operator -----------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """To the end; what was broken is in the outcome."""
        world = self.world
        self.begin()
        world.after(WATCH_NS, self._watch)
        accidents.arrange(self)
        world.after(self.shape.quiet_ns, self._be_quiet)
        while not self.done and not self.violations:
            if not world.step():
                self.violated("the world stands still, and not everything is decided")
            elif world.actions > ACTIONS_MAX:
                self.violated(f"{ACTIONS_MAX:,} actions, and no end")
        if not self.violations:
            for wrong in checkers.at_end(self):
                self.violated(wrong)
        return self.outcome()

    def begin(self) -> Job:
        """The next job."""
        if len(self.jobs) >= JOBS_MAX:
            self.violated(f"{JOBS_MAX} jobs, and not everything is decided")
        job = Job(
            self.world,
            self.shape,
            self.folder,
            self.disk,
            len(self.jobs),
            self.sources,
            self._learned,
            lambda j: liars.validator(self, j),
            lambda j: fairness.watched(
                frauds.coordinator(self, j), lambda c: (c.view.view, c.node) not in j.liars, self.violated
            ),
            self.trace,
        )
        self.jobs.append(job)
        job.calm = self.quiet_ns is not None
        if job.shape.weather.harsh and self.quiet_ns is None:
            job.excuse("harsh weather")
        if self.disk.trouble.code:
            job.excuse("disk")
        job.open()
        return job

    @property
    def job(self) -> Job:
        return self.jobs[-1]

    def _watch(self) -> None:
        """Every now and then: is this job over, does it move?"""
        job, world = self.job, self.world
        if not self.done:
            world.after(WATCH_NS, self._watch)
        if job.over:
            self._after(job)
        elif world.now - max(job.moved_ns, job.began_ns) > PATIENCE_S * S:
            if not job.excuses:
                self.violated(f"job {job.number} does not move, for no reason")
            if self.quiet_ns is not None and world.now - self.quiet_ns > PATIENCE_S * S:
                self.violations += filter(None, [checkers.needless(job)])
            world.fault("job killed by its operator", f"the operator ends job {job.number}, which does not move")
            self.end(job, "killed by its operator")
        quiet = self.quiet_ns is not None
        if quiet and not self.done and world.now - (self.quiet_ns or 0) > BOUND_NS:
            self.violated(f"the world has been quiet for {BOUND_NS // S} s, and not everything is decided")

    def _after(self, job: Job) -> None:
        """A job is over: is everything decided, or is there to be another?"""
        if job.well:
            missing = 0 if job.leaves_out or job.looked_at else checkers.undecided(self)
            job.looked_at = True
            if missing:
                self.violated(f"job {job.number} ended well, and {missing} transactions are not decided")
            if self.quiet_ns is not None and all(j.over for j in self.jobs):
                if not self._again and not job.leaves_out:
                    self.done = True
                    return
                self._again = False
            elif self.quiet_ns is not None or not self._again:
                return  # wait for the quiet, and for the old jobs to end
        else:
            self._explained(job)
            for wrong in filter(None, [checkers.needless(job)]):
                self.violated(wrong)
        self.begin()

    def _explained(self, job: Job) -> None:
        """A job that failed without having met a fault has broken a promise."""
        if not job.excuses:
            why = "; ".join(f"rank {p.rank}: {e}" for p, e in job.errors()) or str(job.error)
            self.violated(f"job {job.number} failed for no reason: {why}")

    def end(self, job: Job, why: str) -> None:
        """Kill what can be reached of a job. What is stopped may be out of reach, and wake later."""
        job.excuse(why)
        if job.network is None:
            job.abandon()
        for process in job.processes:
            if process.life is Life.STOPPED and self.quiet_ns is None and self.world.chance(0.5):
                self.world.fault("writer left behind", f"{process.name} is out of reach")
                continue
            process.kill()
        if not job.over:  # somebody is left behind
            self.begin()

    def _be_quiet(self) -> None:
        if self.shape.rates:
            self.world.tell("from now on nothing bad happens")
        self.quiet_ns = self.world.now
        self.disk.trouble.code = 0
        for job in self.jobs:
            job.calm = True
            if job.network is not None:
                job.network.heal()
                job.network.weather = Weather()
            for process in job.processes:
                process.slow_disk = 0.0
                process.resume()
            if (job is not self.job or job.lied) and not job.over:  # rivals of the newest, and what a liar may hold up
                patience = PATIENCE_S * S if job.lied else 5 * S
                self.world.after(patience, lambda j=job: self._put_away(j))  # type: ignore[misc]

    def _put_away(self, job: Job) -> None:
        for process in job.processes:
            if process.life not in ENDED:
                process.kill()

    # -- what is learned --------------------------------------------------------------------------------------------

    def violated(self, what: str) -> None:
        self.world.tell(f"VIOLATION: {what}")
        self.violations.append(what)

    def _learned(self, job: Job, process: Process, view: View, cluster: int, reply: Reply) -> None:
        if (view.view, view.coordinators[cluster].node) in job.liars:
            return
        job.moved_ns = self.world.now
        if self.world.listened and (reply.committed or len(reply.rejections)):
            said = sum(len(b) for b, _ in reply.committed), len(reply.rejections)
            self.world.tell(f"the coordinator of cluster {cluster} answers: {said[0]} committed, {said[1]} rejected")
        for wrong in checkers.at_reply(self, job, process, cluster, reply):
            self.violated(wrong)

    def outcome(self) -> Outcome:
        out = Outcome(self.shape.seed, list(self.violations), Counter(self.world.counts))
        out.simulated_ns, out.jobs, out.offered = self.world.elapsed_ns, len(self.jobs), len(self.offered)
        out.record_bytes = sum(len(o.record) for o in self.offered)
        out.views, out.kept = sum(len(j.views) for j in self.jobs), sum(j.kept for j in self.jobs)
        for job in self.jobs:
            if job.network is not None:
                out.messages += job.network.messages
                out.message_bytes += job.network.message_bytes
            for process in job.processes:
                out.reports += process.reports
        out.committed, out.rejected = len(self.receipts), len(self.refused)
        checkers.count(self, out)
        out.told = list(self.world.told or ())
        return out


def play(
    shape: Shape,
    *,
    listen: int = 0,
    change: Callable[[Simulation], None] = lambda sim: None,
    trace: Path | None = None,
) -> Outcome:
    """Run one world in a folder of its own, in memory where there is such a file system.

    ``trace``: a folder for its traces, and for its ledger, which is kept then: ``ledger`` in it.
    """
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="baash-sim-", dir=place) as root:
        simulation = Simulation(shape, trace or Path(root), listen=listen, trace=trace)
        change(simulation)
        try:
            return simulation.run()
        except Exception as error:  # nothing may raise in here: that is a broken promise too
            simulation.violated("".join(traceback.format_exception(error, limit=-3)).strip())
            return simulation.outcome()
