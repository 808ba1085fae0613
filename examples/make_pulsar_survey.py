"""Make pulsar-survey.json: a night of a pulsar survey as a workflow management system would have written it down.

A radio telescope looked at 18 places of the sky. For each, interference is masked, the signal is dispersed back at two
ranges of dispersion measure and searched for periods, and the best candidates are folded. At the end all folded
candidates are ranked together and the best go to the follow-up list.

    python examples/make_pulsar_survey.py > examples/pulsar-survey.json

The numbers are made up, and the same each time.
"""

from __future__ import annotations

import json
import random
from typing import Any

POINTINGS = 18
RANGES = (("low", 0, 120), ("high", 120, 800))
MACHINES = [
    {
        "nodeName": f"beam{number}",
        "system": "linux",
        "architecture": "x86_64",
        "release": "6.1.0",
        "cpu": {"vendor": "AuthenticAMD", "coreCount": 64, "speedInMHz": 2450},
        "memoryInBytes": 270_582_939_648,
    }
    for number in (1, 2, 3)
]


class Survey:
    """Tasks and files as they come up."""

    def __init__(self) -> None:
        self.draw = random.Random(20250314)
        self.tasks: list[dict[str, Any]] = []
        self.executions: list[dict[str, Any]] = []
        self.sizes: dict[str, int] = {}
        self.minute = 0

    def file(self, name: str, size: int) -> str:
        """A file, its size off by up to a tenth."""
        self.sizes.setdefault(name, round(size * self.draw.uniform(0.9, 1.1)))
        return name

    def task(
        self, program: str, key: str, arguments: list[str], inputs: list[str], outputs: list[str], hours: float
    ) -> None:
        """A task that ran on one of the machines."""
        self.tasks.append(
            {"name": program, "id": key, "parents": [], "children": [], "inputFiles": inputs, "outputFiles": outputs}
        )
        self.minute += 1
        self.executions.append(
            {
                "id": key,
                "executedAt": f"2025-03-14T{1 + self.minute // 60:02d}:{self.minute % 60:02d}:00Z",
                "runtimeInSeconds": round(3600 * hours * self.draw.uniform(0.8, 1.3), 3),
                "command": {"program": program, "arguments": arguments},
                "coreCount": 16,
                "avgCPU": round(self.draw.uniform(1100, 1580), 1),
                "readBytes": sum(self.sizes[name] for name in inputs),
                "writtenBytes": sum(self.sizes[name] for name in outputs),
                "machines": [self.draw.choice(MACHINES)["nodeName"]],
            }
        )

    def pointing(self, number: int, zap: str) -> str:
        """The tasks for one place of the sky; returns the folded candidates."""
        field = f"G{40 + number // 2:02d}.{5 * (number % 2)}+{self.draw.randrange(20) / 10:.1f}"
        raw = self.file(f"raw/{field}.fil", 21_474_836_480)
        mask = self.file(f"masks/{field}_rfi.mask", 48_000)
        self.task(
            "mask_interference", f"mask_{number:02d}", ["-time", "2.0", "-zap", zap, raw], [raw, zap], [mask], 0.2
        )
        lists = []
        for name, low, high in RANGES:
            series = self.file(f"series/{field}_{name}.dat", 3_221_225_472)
            found = self.file(f"candidates/{field}_{name}.cand", 350_000)
            self.task(
                "disperse", f"disperse_{name}_{number:02d}",
                ["-dm", f"{low}:{high}", "-mask", mask, raw], [raw, mask], [series], 1.5,
            )  # fmt: skip
            self.task("search_periods", f"search_{name}_{number:02d}", ["-zmax", "200", series], [series], [found], 2.5)
            lists.append(found)
        sifted = self.file(f"candidates/{field}.sifted", 40_000)
        self.task("sift", f"sift_{number:02d}", ["-sigma", "6.0", *lists], lists, [sifted], 0.02)
        folded = self.file(f"folded/{field}.pfd", 9_000_000)
        self.task("fold", f"fold_{number:02d}", ["-n", "64", "-cands", sifted, raw], [raw, sifted], [folded], 0.7)
        return folded

    def link(self) -> None:
        """Fill in parents and children from the files."""
        made_by = {name: task for task in self.tasks for name in task["outputFiles"]}
        for task in self.tasks:
            parents = {made_by[name]["id"]: made_by[name] for name in task["inputFiles"] if name in made_by}
            task["parents"] = sorted(parents)
            for parent in parents.values():
                parent["children"].append(task["id"])


def workflow() -> dict[str, Any]:
    """The whole document, WfFormat 1.5."""
    survey = Survey()
    zap = survey.file("config/interference-2025.zap", 6_200)
    model = survey.file("models/ranker-v3.onnx", 41_000_000)
    folded = [survey.pointing(number, zap) for number in range(POINTINGS)]
    ranking = survey.file("ranking.csv", 90_000)
    follow_up = survey.file("follow-up.json", 3_000)
    plots = survey.file("follow-up.pdf", 2_400_000)
    survey.task("rank", "rank", ["-model", model], [*folded, model], [ranking], 0.1)
    survey.task("choose", "choose", ["-top", "12", ranking], [ranking], [follow_up], 0.01)
    survey.task("plot", "plot", [follow_up], [follow_up, *folded], [plots], 0.05)
    survey.link()
    return {
        "name": "pulsar-survey-2025-03-14",
        "description": "One night of a pulsar survey, made up by examples/make_pulsar_survey.py",
        "createdAt": "2025-03-15T08:00:00Z",
        "schemaVersion": "1.5",
        "runtimeSystem": {"name": "made-up", "version": "1", "url": "https://example.org"},
        "workflow": {
            "specification": {
                "tasks": survey.tasks,
                "files": [{"id": name, "sizeInBytes": size} for name, size in survey.sizes.items()],
            },
            "execution": {
                "makespanInSeconds": 22_710.0,
                "executedAt": "2025-03-14T01:00:00Z",
                "tasks": survey.executions,
                "machines": MACHINES,
            },
        },
    }


if __name__ == "__main__":
    print(json.dumps(workflow(), indent=1))
