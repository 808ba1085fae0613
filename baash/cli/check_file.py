"""``baash check-file``: files as they are now against what a ledger says of them."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from baash.cli.screen import Console, bar
from baash.text import json_text, printable, readable


def check_file(
    files: Annotated[list[Path], typer.Argument(help="Files, folders or glob patterns.", show_default=False)],
    ledger: Annotated[Path, typer.Option(help="Folder of the ledger.")],
    threads: Annotated[int, typer.Option(help="Hash with so many threads.", min=1, max=1024)] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what is not unchanged.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Say of each file: unchanged, changed (of an HDF5 file, which data sets), or unknown; who recorded it and when.

    Exits with 1 if a file has changed or is unknown.

    Example: baash check-file results/ --ledger ./ledger
    """
    from baash.ledger import h5digest
    from baash.ledger.newest import newest
    from baash.ledger.reader import Ledger
    from baash.sources import describe as files_of
    from baash.sources.files import compare, read_payload

    with Ledger(ledger) as reader:
        with bar("hashing", "bytes", enabled=not as_json) as advance:
            found = files_of.describe(files, hdf5=h5digest.describe, progress=advance, threads=threads)
        with bar("reading the ledger", "transactions", enabled=not as_json) as advance:
            known = newest(reader, list({d.entity: None for d in found}), advance)
    answers: list[dict[str, Any]] = []
    for one in found:
        before = known.get(one.entity)
        if before is None or not before.exists:
            answers.append(
                {"file": readable(one.path), "answer": "unknown" if before is None else "retired", "changes": []}
            )
            continue
        payload = read_payload(before.payload)
        changes = compare(payload, one.payload)
        said = payload.get("recorded", {})
        answers.append(
            {
                "file": readable(one.path),
                "answer": "changed" if changes.changed else "unchanged",
                "changes": changes.sentences(),
                "recorded_by": "@".join(s for s in (said.get("user"), said.get("host")) if s) or None,
                "recorded_at": datetime.datetime.fromtimestamp(
                    before.block_time_ns / 1e9, datetime.timezone.utc
                ).isoformat(timespec="seconds"),
                "job": said.get("job"),
                "note": said.get("note"),
                "version": before.version,
                "transaction": before.transaction.hex(),
            }
        )
    counts = {a: sum(x["answer"] == a for x in answers) for a in ("unchanged", "changed", "unknown", "retired")}
    if as_json:
        fields = {"schema_version": 1, "ledger": readable(ledger), "counts": counts, "files": answers}
        print(json_text(fields, indent=2))
    else:
        _print(answers, counts, quiet)
    sys.exit(0 if counts["unchanged"] == len(answers) else 1)


def _print(answers: list[dict[str, Any]], counts: dict[str, int], quiet: bool) -> None:
    console = Console()
    colour = {"unchanged": "green", "changed": "red", "unknown": "yellow", "retired": "yellow"}
    for one in answers:
        if quiet and one["answer"] == "unchanged":
            continue
        by = ""
        if "recorded_at" in one:
            by = f"  recorded {one['recorded_at']}"
            by += f" by {one['recorded_by']}" if one["recorded_by"] else ""
            by += f", job {one['job']}" if one["job"] else ""
        answer = (f"{one['answer']:<9}", colour[one["answer"]])
        console.print(Text.assemble(answer, f" {printable(one['file'])}", (printable(by), "dim")))
        for change in one["changes"]:
            console.print(f"            {printable(change)}")
    console.print(", ".join(f"{n:,} {a}" for a, n in counts.items() if n) or "no files")
