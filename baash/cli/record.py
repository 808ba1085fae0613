"""``baash record``: files as entities of a ledger, by one process that hosts a whole small cluster."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from baash.cli.screen import Console, bar
from baash.options import RunOptions
from baash.text import json_text, printable, readable


def record(
    files: Annotated[list[Path], typer.Argument(help="Files, folders or glob patterns.", show_default=False)],
    ledger: Annotated[Path, typer.Option(help="Folder of the ledger; made if it is not there.")],
    made_from: Annotated[
        list[str] | None, typer.Option("--from", help="A file these were made from; once for each.", show_default=False)
    ] = None,
    job: Annotated[str, typer.Option(help="Job that made them; default: the Slurm job, if this is one.")] = "",
    note: Annotated[str, typer.Option(help="A remark to keep.")] = "",
    threads: Annotated[int, typer.Option(help="Hash with so many threads.", min=1, max=1024)] = os.cpu_count() or 1,
    block_size: Annotated[int, typer.Option(help="Transactions a block.", min=1)] = 4,
    take_over: Annotated[bool, typer.Option("--take-over", help="Fence off whoever else writes.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Use a file system that is refused otherwise (NFS).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Record files: path, size, SHA-256, for HDF5 files a digest of each data set, and what they were made from.

    Unchanged files cost nothing and change nothing. One process hosts the five nodes of a cluster: they check each
    other's arithmetic, but they fail together, and the ledger says so.

    Example: baash record results/ --from input.h5 --job 4711 --note "run A" --ledger ./ledger
    """
    from baash.ledger import h5digest
    from baash.ledger.folder import Folder
    from baash.ledger.newest import newest
    from baash.ledger.reader import Ledger
    from baash.sources import describe as files_of
    from baash.sources.files import FileSource, Previous, read_payload

    with bar("hashing", "bytes", enabled=not as_json) as advance:
        inputs = (
            files_of.describe(made_from, hdf5=h5digest.describe, progress=advance, threads=threads) if made_from else []
        )
        found = files_of.describe(files, hdf5=h5digest.describe, progress=advance, threads=threads)
    previous: dict[str, Previous] = {}
    if Folder(ledger).path.is_dir() and Folder(ledger).newest_claim() >= 0:
        names = list({d.entity: None for d in (*found, *inputs)})
        with Ledger(ledger) as reader, bar("reading the ledger", "transactions", enabled=not as_json) as advance:
            for name, known in newest(reader, names, advance).items():
                payload = read_payload(known.payload) if known.exists else None
                previous[os.fsdecode(name)] = Previous(payload, known.version, known.transaction)
    source = FileSource(
        found,
        previous,
        inputs,
        job=readable(job or os.environ.get("SLURM_JOB_ID", "")),
        note=readable(note),
        user=readable(_user()),
        host=socket.gethostname(),
    )
    result: dict[str, Any] = {"exit_code": 0, "error": "", "report": None}
    if source.total:
        result = _commit(
            RunOptions(ledger, ranks=1, launcher="none", block_size=block_size, take_over=take_over, force=force),
            source,
        )
    report = result["report"] or {}
    done = report.get("transactions", {"committed": 0, "rejected": {}})
    rejected = sum(done["rejected"].values())
    if as_json:
        fields = {
            "schema_version": 1,
            "ledger": readable(ledger),
            "files": len(found),
            "recorded": done["committed"],
            "unchanged": len(source.unchanged),
            "rejected": done["rejected"],
            "report": result["report"],
        }
        print(json_text(fields, indent=2))
    elif not result["error"]:
        console = Console()
        console.print(
            f"{done['committed']:,} recorded, {len(source.unchanged):,} unchanged, {rejected:,} rejected; {len(found):,} files looked at"
        )
        if report:
            console.print(
                f"  by {report['nodes']} nodes in one process: they check each other's arithmetic and fail together"
            )
            console.print(f"  head   {report['head']}  (block {report['block_total'] - 1:,})")
        console.print(printable(f"  check them later: baash check-file FILE… --ledger {shlex.quote(str(ledger))}"))
    if result["error"]:
        print(f"baash: {printable(result['error'])}", file=sys.stderr)
    sys.exit(result["exit_code"] or (1 if rejected else 0))


def _commit(options: RunOptions, source: Any) -> dict[str, Any]:
    """Run the protocol in this process; Ctrl-C finishes what is under way and stops."""
    from baash import rank

    asked: list[int] = []
    status: dict[str, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def on_event(event: str, fields: dict[str, Any]) -> None:
        if event == "status":
            status.update(fields)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        rank.run(options, on_event, alone=True, drain_requested=lambda: bool(asked), sources=lambda: [source])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return {"report": None, **status}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
