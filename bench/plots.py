"""Draws what the hash benches measured into docs/: ``make bench-plots`` (extra ``[bench]``: matplotlib)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

DOCS = Path(__file__).parents[1] / "docs"
COLOURS = {
    "default": "#0b5394",
    "avx512": "#3d85c6",
    "shani": "#6aa84f",
    "avx2": "#f1c232",
    "armv8": "#a64d79",
    "portable": "#999999",
    "openssl": "#cc0000",
    "hashlib": "#e69138",
}


def by_series(benches: list[dict[str, Any]], pattern: str, unit: str) -> dict[str, dict[int, float]]:
    """who → x → millions a second, of the groups that ``pattern`` finds a number in."""
    found: dict[str, dict[int, float]] = {}
    for bench in benches:
        match = re.fullmatch(pattern, bench["group"] or "")
        if match:
            info = bench["extra_info"]
            found.setdefault(info["who"], {})[int(match[1])] = info[f"{unit}_per_s"] / 1e6
    return found


def draw(axis: Any, series: dict[str, dict[int, float]], title: str, x: str, y: str) -> None:
    for who in [name for name in COLOURS if name in series]:
        points = sorted(series[who].items())
        axis.plot(*zip(*points, strict=True), "o-", ms=3, lw=1.2, color=COLOURS[who], label=who)
    axis.set(xscale="log", yscale="log", title=title, xlabel=x, ylabel=y)
    axis.grid(True, which="both", lw=0.3)
    axis.legend(fontsize=7)


def main(file: str) -> None:
    plt.switch_backend("svg")
    plt.rcParams["svg.hashsalt"] = "baash"  # the same numbers give the same file
    result = json.loads(Path(file).read_text())
    benches = result["benchmarks"]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4))
    draw(
        axes[0],
        by_series(benches, r"sha256 (\d+) bytes", "messages"),
        "SHA-256, many messages",
        "bytes a message",
        "million messages/s",
    )
    draw(
        axes[1],
        by_series(benches, r"(\d+) messages of 100 bytes", "messages"),
        "few messages",
        "messages of 100 bytes in a call",
        "million messages/s",
    )
    draw(
        axes[2],
        by_series(benches, r"Merkle roots of (\d+) leaves", "pairs"),
        "Merkle roots",
        "leaves of a tree",
        "million pair hashes/s",
    )
    figure.suptitle(f"one core of {result['machine_info']['cpu']['brand_raw']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(DOCS / "kernels.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
