"""What befalls a job, at random times: deaths, stops, loss of power, partitions, full disks, clocks that jump, rivals.

Each kind is a function that does it to the newest job and notes the excuse; ``arrange`` lets them come at the rates of
the shape until the world is quiet.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from baash.protocol.membership import State
from baash.protocol.messages import Kind, encode
from baash.sim.process import Life, Process
from baash.sim.world import MS, S

if TYPE_CHECKING:
    from baash.sim.simulation import Simulation


def arrange(sim: Simulation) -> None:
    """Let accidents come, each kind at its rate."""
    for kind, rate in sorted(sim.shape.rates.items()):
        _next(sim, kind, rate)


def _next(sim: Simulation, kind: str, rate: float) -> None:
    wait = int(sim.world.draw.expovariate(rate) * S)

    def happen() -> None:
        if sim.quiet_ns is None and not sim.done:
            ACCIDENTS[kind](sim)
            _next(sim, kind, rate)

    if wait < sim.shape.quiet_ns:
        sim.world.after(wait, happen)


def _up(sim: Simulation) -> list[Process]:
    return [p for p in sim.job.processes if p.life in (Life.UP, Life.STOPPED)]


def _of_role(sim: Simulation, role: str) -> Process | None:
    """A living process with a node of that role; for validators one that leads nothing, if there is one."""
    view = sim.job.view
    if view is None:
        return None
    ranks = {n.rank for n in view.nodes if n.role == role}
    if role == "validator":
        ranks = ranks - {n.rank for n in view.coordinators} or ranks
    living = [p for p in _up(sim) if p.rank in ranks]
    return sim.world.draw.choice(living) if living else None


def _kill(role: str) -> Callable[[Simulation], None]:
    def kill(sim: Simulation) -> None:
        process = _of_role(sim, role)
        if process is not None:
            sim.job.excuse(f"{role} killed")
            sim.world.fault(f"{role} killed")
            process.kill()

    return kill


def _kill_several(sim: Simulation) -> None:
    """Some at once, up to half of those that live."""
    living = _up(sim)
    if len(living) < 2:
        return
    gone = sim.world.draw.sample(living, sim.world.draw.randint(2, max(2, len(living) // 2)))
    sim.job.excuse("several killed")
    sim.world.fault("several killed", f"ranks {sorted(p.rank for p in gone)} die at once")
    for process in gone:
        process.kill()


def _kill_steward(sim: Simulation) -> None:
    """Whoever forms a view just now; else whoever would: the lowest rank."""
    living = _up(sim)
    if not living:
        return
    forming = [p for p in living if p.succession is not None and p.succession.membership.state is State.FORMING]
    process = forming[0] if forming else living[0]
    sim.job.excuse("steward killed")
    sim.world.fault("steward killed", f"{process.name} dies{' while it forms a view' if forming else ''}")
    process.kill()


def _old_news(sim: Simulation) -> None:
    """Somebody is told of a view that is over, as by a message that was very late."""
    job, living = sim.job, _up(sim)
    if job.network is None or len(job.views) < 2 or len(living) < 2:
        return
    source, target = sim.world.draw.sample(living, 2)
    old = sim.world.draw.choice(job.views[:-1])
    text = sim.folder.read_view(old.view)[2]
    sim.world.fault("old news", f"rank {target.rank} is told of view {old.view}")
    data = encode(Kind.VIEW, old.view, source.rank, 0, 0, [text])
    if source.succession is not None:
        source.succession.post.tell(target.rank, data)


def _kill_job(sim: Simulation) -> None:
    sim.world.fault("job killed", f"job {sim.job.number} is killed")
    if sim.world.chance(0.5):
        _power(sim)
    sim.end(sim.job, "killed")


def _stop(sim: Simulation) -> None:
    living = [p for p in _up(sim) if p.life is Life.UP]
    if not living:
        return
    process = sim.world.draw.choice(living)
    sim.job.excuse("stopped")
    process.stop()
    sim.world.after(sim.world.between(1 * MS, 20 * S), process.resume)


def _power(sim: Simulation) -> None:
    """One host, or the whole machine: then also what older jobs have not flushed."""
    living = _up(sim)
    if not living:
        return
    everywhere = sim.world.chance(0.5)
    gone = [sim.world.draw.choice(living)]
    if everywhere:
        gone = [p for job in sim.jobs for p in job.processes if p.life in (Life.UP, Life.STOPPED)]
    sim.job.excuse("power lost")
    sim.world.fault("power lost", f"power fails at {'all' if everywhere else len(gone)} ranks")
    for process in gone:
        process.kill()
    sectors = sim.disk.lose_power(None if everywhere else {w for p in gone for w in p.writers})
    if sectors:
        sim.world.fault("sectors lost", f"{sectors} sectors that were not flushed are lost")


def _partition(sim: Simulation) -> None:
    job = sim.job
    if job.network is None or sim.shape.ranks < 2:
        return
    ranks = list(range(sim.shape.ranks))
    side = set(sim.world.draw.sample(ranks, sim.world.draw.randint(1, len(ranks) - 1)))
    job.excuse("parted")
    sim.world.fault("partition", f"job {job.number} is parted: ranks {sorted(side)} hear the others no more")
    network = job.network
    network.part(side)
    sim.world.after(sim.world.between(10 * MS, 20 * S), network.heal)


def _suspicion(sim: Simulation) -> None:
    """Somebody is taken for dead who is not, by some or by all."""
    living = _up(sim)
    network = sim.job.network
    if network is None or len(living) < 2:
        return
    suspect = sim.world.draw.choice(living)
    believers = [p for p in living if p is not suspect]
    believers = sim.world.draw.sample(believers, sim.world.draw.randint(1, len(believers)))
    sim.job.excuse("taken for dead")
    sim.world.fault("false suspicion", f"{suspect.name} is taken for dead by ranks {[p.rank for p in believers]}")
    for process in believers:
        network.notice(process.transport, suspect.rank)


def _disk(code: int) -> Callable[[Simulation], None]:
    def trouble(sim: Simulation) -> None:
        found, draw = sim.disk.trouble, sim.world.draw
        found.code = code
        found.create, found.write, found.flush = (draw.choice((0, 0.05, 0.5, 1.0)) for _ in range(3))
        sim.job.excuse("disk")
        sim.world.fault("disk trouble", f"storage has trouble: {found}")
        sim.world.after(sim.world.between(50 * MS, 15 * S), lambda: setattr(found, "code", 0))

    return trouble


def _disk_slow(sim: Simulation) -> None:
    for process in _up(sim):
        process.slow_disk = sim.world.draw.choice((0, 0, 0.05, 0.5))
    sim.job.excuse("disk slow")


def _clock(sim: Simulation) -> None:
    living = _up(sim)
    if living:
        process = sim.world.draw.choice(living)
        jump = sim.world.between(1 * MS, 100 * S)
        process.offset_ns += jump
        sim.job.excuse("clock")
        sim.world.fault("clock jumps", f"the clock of {process.name} jumps by {jump / 1e9:.3f} s")


def _take_over(sim: Simulation) -> None:
    """Somebody begins a job while this one still writes."""
    sim.job.excuse("taken over")
    sim.world.fault("taken over", f"job {sim.job.number} is taken over while it runs")
    sim.begin().excuse("began beside another")


ACCIDENTS: dict[str, Callable[[Simulation], None]] = {
    "kill validator": _kill("validator"),
    "kill coordinator": _kill("coordinator"),
    "kill storage": _kill("storage"),
    "kill several": _kill_several,
    "kill steward": _kill_steward,
    "kill job": _kill_job,
    "stop": _stop,
    "power": _power,
    "partition": _partition,
    "suspicion": _suspicion,
    "disk full": _disk(errno.ENOSPC),
    "disk error": _disk(errno.EIO),
    "disk slow": _disk_slow,
    "clock": _clock,
    "old news": _old_news,  # not in the mix: drawn only when it is asked for
    "take over": _take_over,
}
