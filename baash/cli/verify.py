"""``baash verify``: the audit, for people and for machines, alone or over ranks. What is checked is ``ledger/audit``'s matter.

Started by mpirun, every rank runs this same command; rank 0 alone speaks. With ``-n`` it is the parent that starts mpirun.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import baash
from baash.cli.output import ledger_id_of, read_input
from baash.cli.screen import bar
from baash.errors import Interrupted, LedgerDamaged, StorageError, UsageError
from baash.text import counted, json_text, printable

if TYPE_CHECKING:
    from baash.ledger.audit import Report
    from baash.ledger.proofs.tree import LogTree
    from baash.ledger.reader import Ledger

SCHEMA_VERSION = 1
RANKS_MAX = 4096
RANGES_SHOWN = 20
# A rank is this command, but of the very package this is, whatever lies in the current folder.
_RANK = "import sys; sys.path.insert(0, sys.argv.pop(1)); from baash.cli import main; main()"

_Kept = dict[Path, "Callable[[Ledger, LogTree], list[str]]"]  # a checkpoint kept elsewhere → what contradicts it


def verify(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ledger_id: Annotated[
        str | None, typer.Option("--ledger-id", metavar="HEX", help="The ledger's id, as you know it from elsewhere.")
    ] = None,
    ranks: Annotated[
        int | None,
        typer.Option("-n", "--ranks", min=1, max=RANKS_MAX, help="Divide the work over so many MPI ranks."),
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

    Ends with 0 if all is well, 1 if anything is not as it was committed. Under mpirun the ranks share the work.

    Example: baash verify ./ledger-demo
    """
    from baash.ledger.audit import audit
    from baash.mpi import ending

    known = ledger_id_of(ledger_id)
    kept = _kept(since_checkpoint or [], policy)
    if ending.launched_ranks() > 1 or ending.has_parent():
        _as_rank(ledger, known, kept, as_json, debug)
    if ranks is not None:
        _as_parent(ledger, _again(ledger_id, since_checkpoint, policy, as_json, debug), as_json, ranks, debug)
    began = time.monotonic()
    with bar("verifying", "blocks", enabled=not as_json) as progress:
        report = audit(ledger, known, progress)
    _compare(ledger, kept, report)
    print(shown(report, time.monotonic() - began, as_json))
    if not report.ok:
        raise typer.Exit(1)


def _as_rank(ledger: Path, known: bytes | None, kept: _Kept, as_json: bool, debug: bool) -> NoReturn:
    """One rank of an audit under a launcher."""
    from baash.mpi import ending
    from baash.mpi.audit import verify_all
    from baash.mpi.report import emit

    began, parent = time.monotonic(), ending.has_parent()

    def answer(report: Report) -> int:
        _compare(ledger, kept, report)
        text, code = shown(report, time.monotonic() - began, as_json), int(not report.ok)
        if parent:
            ending.tell_parent(code, text=text)
        else:
            print(text, flush=True)
        return code

    def complain(text: str) -> None:
        if not parent:
            print(f"baash: {printable(text)}", file=sys.stderr, flush=True)

    def tell(done: int, total: int) -> None:
        emit("progress", done=done, total=total)

    verify_all(ledger, known, answer, complain, _seldom(tell) if parent else None, debug)


def _seldom(tell: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Five times a second, and at the end."""
    last = [float("-inf")]

    def progress(done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now > last[0] + 0.2:
            last[0] = now
            tell(done, total)

    return progress


def _again(
    ledger_id: str | None, since_checkpoint: list[Path] | None, policy: Path | None, as_json: bool, debug: bool
) -> list[str]:
    """The options, for each rank."""
    said = ["--json"] if as_json else []
    said += ["--ledger-id", ledger_id] if ledger_id else []
    said += [word for path in since_checkpoint or [] for word in ("--since-checkpoint", str(path))]
    said += ["--policy", str(policy)] if policy else []
    return [*said, *(["--debug"] if debug else [])]


def _as_parent(ledger: Path, said: list[str], as_json: bool, ranks: int, debug: bool) -> NoReturn:
    """Start the ranks, draw their progress, say what rank 0 says; ends the process."""
    from baash.cli.launch import launch

    arguments = [str(Path(baash.__file__).parents[1]), "verify", *said]
    with bar("verifying", "blocks", enabled=not as_json) as progress:

        def heard(event: dict[str, Any]) -> None:
            if event["event"] == "progress":
                progress(int(event["done"]), int(event["total"]))

        result = launch(ranks, [*arguments, "--", str(ledger)], debug=debug, on_progress=heard, program=("-c", _RANK))
    status = result.status or {}
    if "text" in status:
        print(status["text"], flush=True)
    elif status.get("error"):
        print(f"baash: {printable(status['error'])}", file=sys.stderr)
    elif result.exit_code == Interrupted.exit_code:
        print("baash: interrupted; nothing is said of the ledger", file=sys.stderr)
    else:
        last = result.stderr_tail.strip().splitlines()[-5:]
        print("baash: the audit ended without a report; its last words:\n  " + "\n  ".join(last), file=sys.stderr)
    sys.exit(result.exit_code or int("text" not in status))


def shown(report: Report, elapsed_s: float, as_json: bool) -> str:
    """A report as it is printed."""
    return _json(report, elapsed_s) if as_json else "\n".join(_lines(report, elapsed_s))


def _counts(report: Report) -> dict[str, int]:
    names = ("blocks", "transactions", "rejections", "rounds", "certificates", "signatures", "views")
    return {name: getattr(report, name) for name in names}


def _json(report: Report, elapsed_s: float) -> str:
    proved = report.proved
    result = {
        "schema_version": SCHEMA_VERSION,
        "ok": report.ok,
        "walked": report.walked,
        "ledger_id": report.ledger_id.hex() if report.ledger_id else None,
        **_counts(report),
        "records_bytes": report.records_bytes,
        "head": report.head.hex(),
        "problems": [asdict(p) for p in report.problems],
        "problem_count": report.problem_count,
        "notes": report.notes,
        "note_count": report.note_count,
        "proved": {f.name: getattr(proved, f.name) for f in fields(proved)},
        "elapsed_s": round(elapsed_s, 6),
    }
    return json_text(result)


def _lines(report: Report, elapsed_s: float) -> list[str]:
    unknown = "(no view was published)" if report.walked else "(its view records do not say)"
    lines = [f"ledger {report.ledger_id.hex() if report.ledger_id else unknown}"]
    if report.walked:
        lines.append(", ".join(counted(count, name[:-1]) for name, count in _counts(report).items()))
    else:
        lines.append("nothing was counted: its view records do not lead from the newest to the first")
    if report.blocks:
        lines.append(f"head: block {report.blocks - 1:,}, {report.head.hex()}")
    lines += [f"note: {printable(note)}" for note in report.notes]
    if report.note_count > len(report.notes):
        lines.append(f"note: and {report.note_count - len(report.notes):,} more notes")
    lines += [f"PROBLEM: {printable(problem)}" for problem in report.problems]
    if report.problem_count > len(report.problems):
        lines.append(f"PROBLEM: and {report.problem_count - len(report.problems):,} more")
    if not report.ok and report.walked:
        lines += _still_good(report)
    rate = f"{report.records_bytes / 1e6:,.1f} MB of records in {elapsed_s:.1f} s"
    return [
        *lines,
        f"all is as it was committed ({rate})" if report.ok else f"problems: {report.problem_count:,} ({rate})",
    ]


def _still_good(report: Report) -> list[str]:
    """What is proved in spite of the problems."""
    proved = report.proved
    what = f"{proved.blocks:,} of {counted(proved.block_total, 'block')}"
    of = f"{proved.transactions:,} of {counted(proved.transaction_total, 'transaction')}"
    lines = [f"provably as committed: {what}, {of}"]
    ranges = [f"{a:,} to {b:,}" if a < b else f"{a:,}" for a, b in proved.ranges[:RANGES_SHOWN]]
    if ranges:
        more = f", and {proved.range_count - len(ranges):,} more ranges" if proved.range_count > len(ranges) else ""
        lines.append(f"  blocks {', '.join(ranges)}{more}")
    if proved.rules_until < proved.block_total:
        where = f"the {counted(proved.rules_until, 'block')} before block {proved.rules_until:,}"
        lines.append(f"  versions and rules could be replayed for {where if proved.rules_until else 'no block'} only")
    return lines


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
        with Ledger(path, scan=True) as ledger:  # no index file: nobody vouches for those
            tree = LogTree(ledger)
            for name, contradictions in kept.items():
                for what in contradictions(ledger, tree):
                    report.problem(str(name), None, what)
    except (LedgerDamaged, StorageError) as error:
        report.problem(None, None, f"the ledger cannot be compared with checkpoints: {error}")
