"""``baash simulate --check-trace``: the traces of a run, played again, and the first thing that is done otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from baash.cli.screen import bar
from baash.text import counted, json_text, printable, readable

if TYPE_CHECKING:
    from baash.sim.check_trace import Checked, Difference

SCHEMA_VERSION = 1
SHOWN = 12  # effects of an event that are printed


def replay(folder: Path, ledger: Path | None, as_json: bool) -> None:
    """Print what became of it; ends with 1 if a node does something else than it did."""
    from baash.sim.check_trace import check

    began = time.monotonic()
    with bar("playing", "bytes", enabled=not as_json) as progress:
        found = check(folder, ledger, progress)
    elapsed_s = time.monotonic() - began
    differences = sorted((d for one in found for d in one.differences), key=lambda d: (d.time_ns, d.rank, d.event))
    if as_json:
        print(json_text(_fields(folder, found, differences, elapsed_s)))
    else:
        _print(found, differences, elapsed_s)
    if differences:
        raise typer.Exit(1)


def _fields(folder: Path, found: list[Checked], differences: list[Difference], elapsed_s: float) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "trace": readable(folder),
        "same": not differences,
        "whole": all(_whole(one) for one in found),
        **{name: sum(getattr(one, name) for one in found) for name in _SUMS},
        "differences": [vars(d) for d in differences],
        "traces": [
            {**{k: v for k, v in vars(one).items() if k != "differences"}, "differences": len(one.differences)}
            for one in found
        ],
        "elapsed_s": round(elapsed_s, 3),
    }


_SUMS = ("bytes", "nodes", "events", "effects", "signatures", "unplayed")


def _whole(one: Checked) -> bool:
    return one.ended is not None and one.torn_at is None and not one.lost


def _print(found: list[Checked], differences: list[Difference], elapsed_s: float) -> None:
    for one in found:
        if not _whole(one):
            print(printable(f"{one.file}, rank {one.rank}: {_short_of(one)}"))
        elif one.ended:
            print(printable(f"{one.file}, rank {one.rank}, ended with: {one.ended}"))
        if one.liars:
            print(f"{one.file}: not played, for it lies by design: node {', '.join(map(str, one.liars))}")
    sums = {name: sum(getattr(one, name) for one in found) for name in _SUMS}
    print(
        f"{counted(len(found), 'trace')}, {counted(sums['nodes'], 'node')}, {sums['bytes'] / 1e6:,.1f} MB: "
        f"{counted(sums['events'], 'event')} played in {elapsed_s:,.1f} s, {counted(sums['effects'], 'effect')}, "
        f"{counted(sums['signatures'], 'signature')}; {counted(sums['unplayed'], 'event')} not played"
    )
    if not differences:
        print("the same is done: what ran is what this core does")
        return
    for line in told(differences[0]):
        print(printable(line))
    if len(differences) > 1:
        print(
            f"and {counted(len(differences) - 1, 'other node')} that {'does' if len(differences) == 2 else 'do'} something else"
        )


def _short_of(one: Checked) -> str:
    """Why a trace is not whole."""
    for node, why in one.lost.items():
        return f"node {node} could be played in part only: {why}"
    if one.torn_at is not None:
        return f"the file is cut short at byte {one.torn_at:,}; what is before it was played"
    return "it ends before its rank did (killed, or no room for traces); what is there was played"


def told(one: Difference) -> list[str]:
    """The first difference, in lines."""
    lines = [
        f"DIFFERENCE: rank {one.rank}, view {one.view}, node {one.node}, event {one.event:,}, at {one.time_ns:,} ns ({one.file})",
        f"  what happens: {one.happened}",
        *(f"  signatures: the node {what}" for what in one.signing),
    ]
    for name, done in (("then", one.then), ("now", one.now)):
        lines.append(f"  {name}:" + ("" if done else " nothing"))
        first = max(0, one.at - SHOWN // 2)
        for i, text in enumerate(done[first : first + SHOWN], first):
            lines.append(f"  {'>' if i == one.at else ' '} {i}: the node {text}")
    if one.at < len(one.detail) and one.detail[one.at]:
        lines.append(f"  now in full: {one.detail[one.at]}")
    return lines
