"""``baash record``: files as entities of a ledger, by one process that hosts a whole small cluster."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baash.cli.screen import bar, say_notes
from baash.options import SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MOST, RunOptions
from baash.protocol.plan import SEGMENT_BYTES
from baash.text import counted, json_text, printable, readable

if TYPE_CHECKING:
    from baash.sources.files import FileSource

SHOWN = 20  # names of a kind


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
    segment_bytes: Annotated[
        int,
        typer.Option(
            help="Records a segment file has room for, in bytes.", min=SEGMENT_BYTES_LEAST, max=SEGMENT_BYTES_MOST
        ),
    ] = SEGMENT_BYTES,
    take_over: Annotated[bool, typer.Option("--take-over", help="Fence off whoever else writes.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Use a file system that is refused otherwise (NFS).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Record files: path, size, SHA-256, for HDF5 files a digest of each data set, and what they were made from.

    Unchanged files cost nothing and change nothing. Of a folder, its regular files and those below; the ledger's own
    folder is left out. One process hosts the five nodes of a cluster: they check each
    other's arithmetic, but they fail together, and the ledger says so.

    Example: baash record results/ --from input.h5 --job 4711 --note "run A" --ledger ./ledger
    """
    from baash.ledger import h5digest
    from baash.ledger.folder import Folder
    from baash.ledger.newest import newest
    from baash.ledger.reader import Ledger
    from baash.sources import describe as files_of
    from baash.sources.files import FileSource, Previous, read_payload

    left_out = files_of.LeftOut(ledger)
    with bar("hashing", "bytes", enabled=not as_json) as advance:
        look = partial(files_of.describe, hdf5=h5digest.describe, progress=advance, threads=threads, left_out=left_out)
        inputs = look(made_from) if made_from else []
        found = look(files)
    previous: dict[str, Previous] = {}
    if Folder(ledger).path.is_dir() and Folder(ledger).newest_claim() >= 0:
        names = list({d.entity: None for d in (*found, *inputs)})
        with Ledger(ledger) as reader, bar("reading the ledger", "transactions", enabled=not as_json) as advance:
            say_notes(reader.notes)
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
            RunOptions(
                ledger,
                ranks=1,
                launcher="none",
                block_size=block_size,
                segment_bytes=segment_bytes,
                take_over=take_over,
                force=force,
            ),
            source,
        )
    skipped = list(dict.fromkeys(left_out.paths))
    given = {"--from": made_from, "--job": job, "--note": note}
    not_kept = [option for option, value in given.items() if value] if source.unchanged else []
    report = result["report"] or {}
    done = report.get("transactions", {"committed": 0, "rejected": {}})
    rejected = sum(done["rejected"].values())
    if as_json:
        fields = {
            "schema_version": 1,
            "ledger": readable(ledger),
            "files": len(found),
            "recorded": done["committed"],
            "new": len(source.new),
            "changed": [readable(path) for path in source.changed],
            "unchanged": len(source.unchanged),
            "skipped": [readable(path) for path in skipped],
            "not_kept": not_kept,
            "rejected": done["rejected"],
            "report": result["report"],
        }
        print(json_text(fields, indent=2))
    elif not result["error"]:
        _print(source, done["committed"], rejected, skipped)
        if report:
            print(f"  by {report['nodes']} nodes in one process: they check each other's arithmetic and fail together")
            print(f"  head   {report['head']}  (block {report['block_total'] - 1:,})")
        if not_kept:
            print(
                f"  {' and '.join(not_kept)} went into new records alone: of a file that has not changed nothing is "
                'recorded.\n  To say more of one, commit a note: {"op": "note", "entity": PATH, "payload": …} as a line of '
                "an --input\n  of baash run (docs/sources.md)"
            )
        if found:
            print(printable(f"  check them later: baash check-file FILE… --ledger {shlex.quote(str(ledger))}"))
    if result["error"]:
        print(f"baash: {printable(result['error'])}", file=sys.stderr)
    sys.exit(result["exit_code"] or (1 if rejected else 0))


def _print(source: FileSource, committed: int, rejected: int, skipped: list[str]) -> None:
    """What became of the files; the changed ones by name, for somebody may not know of them."""
    files = len(source.new) + len(source.changed) + len(source.unchanged)
    if not files:
        print("nothing to record: there is no file")
    else:
        inputs = committed - len(source.new) - len(source.changed)
        done = f"{len(source.new):,} recorded, {len(source.changed):,} changed"
        if rejected or inputs < 0:
            done = f"{committed:,} recorded, {rejected:,} rejected"
        elif inputs:
            done += f", {inputs:,} more for what they were made from"
        print(f"{done}, {len(source.unchanged):,} unchanged; {counted(files, 'file')} looked at")
    for paths, what in ((source.changed, "changed"), (skipped, "skipped, not a regular file:")):
        for path in paths[:SHOWN]:
            print(f"  {what}  {printable(path)}")
        if len(paths) > SHOWN:
            print(f"  {what}  and {len(paths) - SHOWN:,} more")


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
