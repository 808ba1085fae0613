"""Stories: worlds made by hand, told line by line, kept as text files that read like the paper's figures (``tests/stories``).

A file is a title, some sentences, the setting (``name value`` pairs), lines ``when …: …`` that say what befalls whom, and behind a
line of dashes what happens then. ``python tests/sim/stories.py`` writes that last part anew; read it before you commit it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from baash.protocol.flights import Limits
from baash.protocol.view import Parameters
from baash.sim.material import Mix
from baash.sim.network import Weather
from baash.sim.shape import Shape
from baash.sim.simulation import Simulation, play
from baash.sim.world import MS, US, S

STORIES = sorted((Path(__file__).resolve().parents[1] / "stories").glob("*.txt"))
DASHES = "-" * 79


def parts(path: Path) -> tuple[str, str]:
    """(what is told beforehand, what happened)."""
    head, _, told = path.read_text().partition(DASHES + "\n")
    return head, told


def shape_of(head: str) -> Shape:
    setting = dict(re.findall(r"^(\w+) (\S+)$", head, re.M))
    number = {name: int(value) for name, value in setting.items() if value.isdigit()}
    nodes = number.get("nodes", 5)
    return Shape(
        seed=number.get("seed", 1),
        nodes=nodes,
        clusters=number.get("clusters", 1),
        ranks=number.get("ranks", nodes),
        parameters=Parameters(
            faults=number.get("faults", 1),
            replacements=number.get("replacements", 2),
            block_size=number.get("block_size", 2),
            align=64,
            replay_width=1024,
        ),
        limits=Limits(vote_timeout_ns=1 * S, segment_bytes=1 << 14, window_transactions=number.get("window", 100)),
        weather=Weather(delay_ns=(50 * US, 200 * US), notice_ns=(5 * MS, 10 * MS)),
        mix=Mix(
            transactions=number.get("transactions", 6),
            signed=0,
            forged=0,
            invalid=float(setting.get("invalid", 0)),
            twice=0,
            conflicting=0,
            hot=float(setting.get("hot", 0)),
            issuers=1,
        ),
        at_once=number.get("at_once", 100),
        pace_ns=(20 * US, 30 * US),
        pause_ns=(100 * US, 300 * US),
        quiet_ns=number.get("quiet", 2) * S,
        deceits=(setting["deceit"].replace("_", " "),) if "deceit" in setting else (),
        liars=number.get("liars", 0),
        key_everywhere="key" not in setting,
        late=number.get("late", 0),
    )


def befall(sim: Simulation, head: str) -> None:
    """``when TEXT: kill node N``, ``stop``, ``wake``; the same of ``rank N``; ``part ranks N N``,
    ``report ranks N N`` (to the others, as dead), ``heal``; ``the disk is full``, ``the
    disk has room``; ``begin another job``. Nodes are those of the first view."""
    sim._again = False
    for when, what in re.findall(r"^when (.*): ([a-z ]+[0-9 ]*)$", head, re.M):
        sim.world.when[when] = _action(sim, what)


def _action(sim: Simulation, what: str) -> Callable[[], None]:
    def act() -> None:
        sim.job.excuse(what)
        sim.world.tell(f"! {what}")
        if what == "begin another job":
            sim.begin().excuse(what)
            return
        if "disk" in what:
            trouble = sim.disk.trouble
            trouble.code, trouble.write = (28, 1.0) if "full" in what else (0, 0.0)
            return
        network = sim.job.network
        if what == "heal" and network is not None:
            network.heal()
            return
        verb, name, numbers = re.fullmatch(r"(\w+) (node|ranks?) ([\d ]+)", what).groups()  # type: ignore[union-attr]
        ranks = [int(n) for n in numbers.split()]
        if verb == "part" and network is not None:
            network.part(set(ranks))
            sim.world.tell("the network is parted")
            return
        if verb == "report" and network is not None:
            for transport in network.transports:
                for rank in set(ranks) - {transport.rank} if transport.rank not in ranks else ():
                    network.notice(transport, rank)
            return
        first = sim.jobs[0]
        if name == "node":
            ranks = [first.views[0].nodes[n].rank for n in ranks]
        for rank in ranks:
            getattr(first.processes[rank], {"kill": "kill", "stop": "stop", "wake": "resume"}[verb])()

    return act


def tell(path: Path) -> str:
    """What happens in the story of ``path``."""
    head, _ = parts(path)
    outcome = play(shape_of(head), listen=100_000, change=lambda sim: befall(sim, head))
    assert not outcome.violations, outcome.violations
    return "\n".join(re.sub(r"/\S*baash-sim-\w+/", "", line) for line in outcome.told) + "\n"


def main() -> None:
    for path in STORIES:
        head, _ = parts(path)
        path.write_text(head + DASHES + "\n" + tell(path))
        print(path.name)


if __name__ == "__main__":
    sys.exit(main())
