"""``baash verify``: the audit, for people and for machines. What is checked is ``ledger/audit.py``'s matter."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baash.cli.output import ledger_id_of, read_input
from baash.cli.screen import bar
from baash.cli.screen import counted as counted_as
from baash.errors import LedgerDamaged, StorageError, UsageError
from baash.text import json_text, printable

if TYPE_CHECKING:
    from baash.ledger.audit import Report
    from baash.ledger.proofs.tree import LogTree
    from baash.ledger.reader import Ledger

SCHEMA_VERSION = 1

_Kept = dict[Path, "Callable[[Ledger, LogTree], list[str]]"]  # a checkpoint kept elsewhere → what contradicts it


def verify(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ledger_id: Annotated[
        str | None, typer.Option("--ledger-id", metavar="HEX", help="The ledger's id, as you know it from elsewhere.")
    ] = None,
    since_checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Also: the ledger extends this checkpoint, kept elsewhere; may be given often."
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --since-checkpoint: whose cosignatures those must have.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Check a whole ledger: every hash, signature, vote and rule. Needs the folder and nothing else.

    Ends with 0 if all is well, 1 if anything is not as it was committed.

    Example: baash verify ./ledger-demo
    """
    from baash.ledger.audit import audit

    known = ledger_id_of(ledger_id)
    kept = _kept(since_checkpoint or [], policy)
    began = time.monotonic()
    with bar("verifying", "blocks", enabled=not as_json) as progress:
        report = audit(ledger, known, progress)
    _compare(ledger, kept, report)
    elapsed_s = time.monotonic() - began
    counted = {
        "blocks": report.blocks,
        "transactions": report.transactions,
        "rejections": report.rejections,
        "rounds": report.rounds,
        "certificates": report.certificates,
        "signatures": report.signatures,
        "views": report.views,
    }
    if as_json:
        result = {
            "schema_version": SCHEMA_VERSION,
            "ok": report.ok,
            "walked": report.walked,
            "ledger_id": report.ledger_id.hex() if report.ledger_id else None,
            **counted,
            "records_bytes": report.records_bytes,
            "head": report.head.hex(),
            "problems": [asdict(p) for p in report.problems],
            "problem_count": report.problem_count,
            "notes": report.notes,
            "note_count": report.note_count,
            "elapsed_s": round(elapsed_s, 6),
        }
        print(json_text(result))
    else:
        unknown = "(no view was published)" if report.walked else "(its view records do not say)"
        print(f"ledger {report.ledger_id.hex() if report.ledger_id else unknown}")
        if report.walked:
            print(", ".join(counted_as(count, name[:-1]) for name, count in counted.items()))
        else:
            print("nothing was counted: its view records do not lead from the newest to the first")
        if report.blocks:
            print(f"head: block {report.blocks - 1:,}, {report.head.hex()}")
        for note in report.notes:
            print(f"note: {printable(note)}")
        if report.note_count > len(report.notes):
            print(f"note: and {report.note_count - len(report.notes):,} more notes")
        for problem in report.problems:
            print(f"PROBLEM: {printable(problem)}")
        if report.problem_count > len(report.problems):
            print(f"PROBLEM: and {report.problem_count - len(report.problems):,} more")
        rate = f"{report.records_bytes / 1e6:,.1f} MB of records in {elapsed_s:.1f} s"
        print(f"all is as it was committed ({rate})" if report.ok else f"problems: {report.problem_count:,} ({rate})")
    if not report.ok:
        raise typer.Exit(1)


def _kept(paths: list[Path], policy: Path | None) -> _Kept:
    """The checkpoints to compare with; they are read before the audit begins."""
    from baash.ledger.proofs import form
    from baash.ledger.proofs import policy as policies
    from baash.ledger.proofs.history import since

    if policy is not None and not paths:
        raise UsageError("--policy goes with --since-checkpoint")
    asked = policies.read(read_input(policy, policies.POLICY_MAX), str(policy)) if policy is not None else None

    def against(note: bytes) -> Callable[[Ledger, LogTree], list[str]]:
        return lambda ledger, tree: since(ledger, note, asked, tree)

    return {path: against(form.note_of(read_input(path, form.PROOF_MAX), str(path))[0]) for path in paths}


def _compare(path: Path, kept: _Kept, report: Report) -> None:
    """Report what contradicts the checkpoints."""
    from baash.ledger.proofs.tree import LogTree
    from baash.ledger.reader import Ledger

    if not kept:
        return
    try:
        with Ledger(path) as ledger:
            tree = LogTree(ledger)
            for name, contradictions in kept.items():
                for what in contradictions(ledger, tree):
                    report.problem(str(name), None, what)
    except (LedgerDamaged, StorageError) as error:
        report.problem(None, None, f"the ledger cannot be compared with checkpoints: {error}")
