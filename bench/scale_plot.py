"""Draws what a made-up world costs as it grows: ``make sim-scale-plot`` (extra ``[bench]``: matplotlib).

Reads what ``baash simulate --scale --json`` printed, keeps it as ``docs/scale.json``, and draws ``docs/scale.svg`` from it.
Measures nothing itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = ("#0b5394", "#6aa84f", "#e69138", "#999999")
World = dict[str, Any]


def line(axis: Any, worlds: list[World], field: str, label: str, colour: str) -> None:
    axis.plot([w["nodes"] for w in worlds], [w[field] for w in worlds], "o-", ms=3, lw=1.2, color=colour, label=label)


def each_transaction(axis: Any, worlds: list[World]) -> None:
    line(axis, worlds, "hashed_to_validate_per_committed_byte", "hashed to validate, B a committed B", COLOURS[0])
    line(axis, worlds, "hashed_by_replicas_per_committed_byte", "hashed by the cluster's others", COLOURS[1])
    line(axis, worlds, "messages_per_transaction", "messages a transaction", COLOURS[2])
    axis.plot(
        [w["nodes"] for w in worlds],
        [w["nodes"] / w["clusters"] for w in worlds],
        ":",
        lw=1,
        color=COLOURS[3],
        label="nodes a cluster",
    )
    axis.set(yscale="log", title="a transaction")


def each_round(axis: Any, worlds: list[World]) -> None:
    parts = (
        ("own_cluster", "own cluster's certificates"),
        ("commit_record", "commit record, signatures"),
        ("body", "round body"),
    )
    for (part, label), colour in zip(parts, COLOURS, strict=False):
        sizes = [w["round_bytes_per_node"][part] / 1000 for w in worlds]
        axis.plot([w["nodes"] for w in worlds], sizes, "o-", ms=3, lw=1.2, color=colour, label=label)
    axis.set(yscale="log", title="a round: kB to each node, without blocks")


def each_node(axis: Any, worlds: list[World]) -> None:
    measured = [w for w in worlds if w["memory_bytes_per_node"] and w["nodes"] >= 500]  # below, it is the interpreter
    kilobytes = [{**w, "memory": w["memory_bytes_per_node"] / 1000} for w in measured]
    line(axis, kilobytes, "memory", "memory, kB", COLOURS[0])
    axis.set(title="a node", ylim=(0, None))


def main(file: str) -> None:
    found = json.loads(Path(file).read_text())
    (DOCS / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    plt.switch_backend("svg")
    plt.rcParams.update({"svg.hashsalt": "baash", "svg.fonttype": "none", "font.size": 8})  # equal numbers, equal file
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for axis, panel in zip(axes, (each_transaction, each_round, each_node), strict=True):
        panel(axis, found["worlds"])
        axis.set(xscale="log", xlabel="nodes")
        axis.set_xticks([w["nodes"] for w in found["worlds"]], [f"{w['nodes']:,}" for w in found["worlds"]])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(True, which="major", lw=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(DOCS / "scale.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
