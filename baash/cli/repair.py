"""``baash repair``: mend a damaged ledger with what a copy of it has. How: ``ledger/copies/repair.py``."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from baash.cli.screen import bar
from baash.text import counted, json_text, printable, readable

SHOWN = 50  # problems


def repair(
    ledger: Annotated[Path, typer.Argument(help="Folder of the damaged ledger.")],
    other: Annotated[Path, typer.Option("--from", help="A copy of it; it may be damaged too, in other places.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be mended, and change nothing.")] = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend", help="Take later rounds and views of the copy too, which this ledger does not know of."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Mend a ledger from a copy: every piece that is taken proves itself by hash and signature, in whichever has it.

    What is replaced is kept as damaged-NAME. Ends with the audit: 0 if all is well then, 1 if something is lost in both.

    Example: baash repair ./ledger --from /archive/ledger --dry-run
    """
    from baash.ledger.copies import repair as copies
    from baash.session import started_by

    began = time.monotonic()
    with (
        bar("repairing", "segments", enabled=not as_json) as progress,
        bar("verifying", "blocks", enabled=not as_json) as auditing,
    ):
        done = copies.repair(
            ledger,
            other,
            {**started_by(), "time_ns": time.time_ns()},
            dry_run=dry_run,
            extend=extend,
            progress=progress,
            auditing=auditing,
        )
    report = done.report
    if as_json:
        fields = {
            "schema_version": 1,
            "ledger": readable(ledger),
            "from": readable(other),
            "dry_run": dry_run,
            "mended": [asdict(m) for m in done.mended],
            "lost": done.lost,
            "notes": done.notes,
            "ok": report.ok,
            "problems": [asdict(p) for p in report.problems],
            "problem_count": report.problem_count,
            "elapsed_s": round(time.monotonic() - began, 6),
        }
        print(json_text(fields))
    else:
        for note in done.notes:
            print(f"note: {printable(note)}")
        for one in done.mended:
            kept = f" (the damaged one is kept as {one.kept})" if one.kept else ""
            print(f"{'would mend' if dry_run else 'mended'} {printable(one.name)}: {one.why}{kept}")
        for what in done.lost:
            print(f"LOST in both: {printable(what)}")
        if not dry_run:
            for problem in report.problems[:SHOWN]:
                print(f"PROBLEM: {printable(problem)}")
        if report.ok:
            print("all is as it was committed" + ("" if done.mended else ": there was nothing to mend"))
        else:
            wrong = counted(report.problem_count, "problem")
            print(f"{wrong} now, before anything is mended" if dry_run else f"{wrong} left; baash verify lists all")
    if not report.ok and not dry_run:
        raise typer.Exit(1)
