"""Many seeds, one after the other or in several processes, and what became of them all together.

A seed that broke a promise is played once more with its story told; equal seeds tell equal stories.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from baash.sim.shape import drawn
from baash.sim.simulation import Outcome, play

STORY = 60  # lines that are told of a seed that failed
KEPT = 20  # failures that are told in full

Given = Mapping[str, Any]


@dataclass
class Failure:
    """A seed that broke a promise."""

    seed: int
    violations: list[str]
    replay: str
    story: list[str]


@dataclass
class Result:
    """All seeds together."""

    seeds: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)

    def add(self, one: Outcome) -> None:
        self.seeds += 1
        self.faults += one.faults
        self.reports += one.reports
        self.messages += one.messages
        for name in (
            "message_bytes",
            "simulated_ns",
            "jobs",
            "views",
            "kept",
            "offered",
            "committed",
            "rejected",
            "blocks",
            "rounds",
            "evidence",
        ):
            self.totals[name] += getattr(one, name)

    def as_fields(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds,
            "violations": self.failed,
            "failures": [vars(f) for f in self.failures],
            "faults": dict(sorted(self.faults.items())),
            "faults_injected": sum(self.faults.values()),
            "remarks": dict(sorted(self.reports.items())),
            "messages": sum(self.messages.values()),
            "messages_by_kind": dict(sorted(self.messages.items())),
            "message_bytes": self.totals["message_bytes"],
            "simulated_s": round(self.totals["simulated_ns"] / 1e9, 3),
            **{
                name: self.totals[name]
                for name in (
                    "jobs",
                    "views",
                    "kept",
                    "offered",
                    "committed",
                    "rejected",
                    "blocks",
                    "rounds",
                    "evidence",
                )
            },
        }


def run(
    first: int,
    seeds: int,
    given: Given,
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    trace: Path | None = None,
) -> Result:
    """Play the seeds ``first`` to ``first + seeds - 1``. ``trace``: a folder for what the first one's nodes do, and its ledger."""
    result = Result()
    played = [play(drawn(first, given), trace=trace)] if trace is not None else []
    for one in chain(played, _outcomes(range(first + len(played), first + seeds), given, processes)):
        result.add(one)
        if one.violations:
            result.failed += 1
            if len(result.failures) < KEPT:
                told = play(drawn(one.seed, given), listen=STORY)
                result.failures.append(Failure(one.seed, one.violations[:5], replay(one.seed, given), told.told))
        progress(result.seeds, seeds)
    return result


def _outcomes(seeds: range, given: Given, processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from (_one(seed, given) for seed in seeds)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_one, seeds, [given] * len(seeds), chunksize=max(1, min(50, len(seeds) // processes)))


def _one(seed: int, given: Given) -> Outcome:
    return play(drawn(seed, given))


def replay(seed: int, given: Given) -> str:
    """The command that tells a seed's story again."""
    options = []
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            options.append(flag if value else "--no-" + name)
        elif isinstance(value, (list, tuple)):
            options += [f"{flag} '{item}'" for item in value]
        else:
            options.append(f"{flag} {value}")
    return " ".join(["baash simulate --seeds 1 --seed", str(seed), *options, "--story 200"])
