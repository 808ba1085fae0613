"""``baash run``: the parent of a run. Starts the ranks, draws progress, tells how it went."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import baash
from baash.cli.screen import Console
from baash.errors import Interrupted, UsageError
from baash.options import RunOptions, command
from baash.text import counted, printable

DOC = """Commit an input or a workload to a ledger over MPI ranks; Ctrl-C once drains, twice ends.

Example: baash run -n 6 --ledger ./ledger --input examples/pulsar-survey.json --workload ycsb-load --transactions 100000
"""
# A rank is ``python -m baash.run``, but of the very package this is, whatever lies in the current folder.
_RANK = "import sys; sys.path.insert(0, sys.argv.pop(1)); from baash.run import main; main()"
LOG_S = 10.0  # on a log file: a line so often


class _Screen:
    """Progress on a terminal, lines elsewhere; everything on standard error."""

    def __init__(self, total: int | None) -> None:
        self._console = Console(stderr=True)
        self._total = total
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = time.monotonic()
        self._next_line = self._started + LOG_S
        self._first: int | None = None  # transactions in the ledger at the first word, and when that was
        self._since = self._started

    def event(self, fields: dict[str, Any]) -> None:
        match fields.get("event"):
            case "progress":
                self._progress(int(fields.get("transactions", 0)))
            case "note" if "text" in fields:
                self._console.print(printable(f"baash: {fields['text']}"), style="dim")

    def _progress(self, transactions: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._since = transactions, now
        done = transactions - self._first
        if self._console.is_terminal:
            if self._bar is None and now - self._started > 1.0:
                self._bar = (
                    Progress(
                        TextColumn("committed"),
                        BarColumn(),
                        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
                        TextColumn("{task.fields[rate]:,.0f}/s"),
                        TimeElapsedColumn(),
                        console=self._console,
                        transient=True,
                    )
                    if self._total
                    else Progress(
                        TextColumn("committed {task.completed:,.0f}  {task.fields[rate]:,.0f}/s"),
                        TimeElapsedColumn(),
                        console=self._console,
                        transient=True,
                    )
                )
                self._bar.start()
                self._task = self._bar.add_task("run", total=self._total, rate=0.0)
            if self._bar is not None and self._task is not None:
                rate = done / max(now - self._since, 1e-9)
                self._bar.update(self._task, completed=done, rate=rate)
        elif now >= self._next_line:
            self._next_line = now + LOG_S
            print(f"baash: {done} transactions committed in {now - self._started:.0f} s", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def execute(options: RunOptions) -> None:
    """Start the ranks and see them through; ends the process with the run's exit code."""
    from baash.cli.launch import launch

    total = _total(options)
    options.check_here()
    ranks = 1 if options.launcher == "none" else options.ranks
    if options.writer == "mpio" and options.launcher == "none":
        raise UsageError("the mpio writer needs MPI: leave out --launcher none, or use --writer offset")
    screen = _Screen(total)
    try:
        result = launch(
            ranks,
            options.arguments(),
            launcher=options.launcher,
            debug=options.debug,
            on_progress=screen.event,
            program=("-c", _RANK, str(Path(baash.__file__).parents[1])),
        )
    finally:
        screen.close()
    status = result.status or {}
    if status.get("report"):
        _summary(status["report"])
        _advise(options, status["report"])
    error = status.get("error")
    if error:
        print(f"baash: {printable(error)}", file=sys.stderr)
    elif result.exit_code == Interrupted.exit_code:
        print("baash: interrupted; what was acknowledged is in the ledger", file=sys.stderr)
    elif result.status is None:
        last = result.stderr_tail.strip().splitlines()[-5:]
        print("baash: the run ended without saying how; its last words:\n  " + "\n  ".join(last), file=sys.stderr)
    sys.exit(result.exit_code)


def _advise(options: RunOptions, report: dict[str, Any]) -> None:
    """What to do about a workload that found no table to work on."""
    if options.workload in (None, "ycsb-load"):
        return
    unknown, reads = report["transactions"]["rejected"].get("entity_unknown", 0), report["reads"]
    missed = unknown + reads["asked"] - reads["found"] if not reads["found"] else unknown
    if missed:
        print(
            f"baash: {counted(missed, 'operation')} of {options.workload} found no record: load the table first with "
            f"--workload ycsb-load --transactions {options.record_count}",
            file=sys.stderr,
        )


def _total(options: RunOptions) -> int | None:
    """How many transactions will come, if the inputs say so; an unreadable input is an error here already."""
    totals = [s.total for s in options.sources()]
    return None if any(t is None for t in totals) else sum(t for t in totals if t is not None)


def _summary(report: dict[str, Any]) -> None:
    """What a person wants to know of a finished run."""
    done = report["transactions"]
    console = Console()

    def line(text: str = "", style: str = "") -> None:
        console.print(printable(text), style=style)

    rejected = sum(done["rejected"].values())
    line()
    line(
        f"{counted(done['committed'], 'transaction')} committed in {counted(report['blocks'], 'block')} "
        f"and {counted(report['rounds'], 'round')}",
        "bold",
    )
    if done["duplicates"]:
        line(f"  in the ledger already, and nothing changed: {done['duplicates']:,}")
    if rejected:
        reasons = ", ".join(f"{n:,} {r}" for r, n in done["rejected"].items())
        line(f"  {rejected:,} rejected: {reasons}")
    if report["skipped"]:
        line(f"  {report['skipped']:,} malformed and skipped, for example: {report['skipped_examples'][0]}")
    if report["reads"]["asked"]:
        line(f"  {report['reads']['asked']:,} reads answered from the ledger, {report['reads']['found']:,} found")
    latency = report["commit_latency_ms"]
    line(
        f"  {report['transactions_per_second']:,.0f} transactions/s, {report['committed_bytes'] / 1e6:,.1f} MB in "
        f"{report['elapsed_s']:.2f} s"
        + (f"; commit latency {latency['p50']:.1f} ms median, {latency['p99']:.1f} ms p99" if latency["p50"] else "")
    )
    size = 3 * report["faults_tolerated"] + 1
    line(
        f"  by {counted(report['votes'], 'signed vote')} of {counted(len(report['votes_by_node']), 'validator')}, {size} a window "
        f"(f = {report['faults_tolerated']}, {report['quorum']}); "
        f"{counted(report['ranks'], 'rank')}, {counted(report['nodes'], 'node')}, {counted(report['clusters'], 'cluster')}"
        + (": one process, so its nodes fail together" if report["ranks"] == 1 else "")
    )
    if report["retries"] or report["lost_nodes"]:
        line(
            f"  {counted(report['retries'], 'window')} tried again, {report['storage_decisions']:,} decided by the storage "
            f"validator; lost nodes: {', '.join(map(str, report['lost_nodes'])) or 'none'}"
        )
    line(
        f"  head   {report['head']}  (block {report['block_total'] - 1:,})"
        if report["block_total"]
        else "  the ledger is empty"
    )
    line(f"  ledger {report['ledger']}  id {report['ledger_id']}")
    if not report["interrupted"] and report["block_total"]:
        name = shlex.quote(report["ledger"])
        line(f"  next   baash verify {name}   baash query {name} --block 0   baash info {name}")
    if report["interrupted"]:
        line("  interrupted: what is reported here is durable; run the same command again to continue")


run = command(execute, DOC)
