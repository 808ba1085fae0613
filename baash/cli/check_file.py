"""``baash check-file``: files as they are now against what a ledger says of them."""

from __future__ import annotations

import datetime
import glob
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from baash.cli.screen import Console, bar, say_notes
from baash.text import counted, json_text, printable, readable

if TYPE_CHECKING:
    from baash.ledger.newest import Newest
    from baash.sources.files import FileDescription


def check_file(
    files: Annotated[list[Path], typer.Argument(help="Files, folders or glob patterns.", show_default=False)],
    ledger: Annotated[Path, typer.Option(help="Folder of the ledger.")],
    threads: Annotated[int, typer.Option(help="Hash with so many threads.", min=1, max=1024)] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what is not unchanged.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Say of each file: unchanged, changed (of an HDF5 file, which data sets), unknown, or missing; who recorded it and when.

    In a folder, files that the ledger knows there and that are gone are missing. Exits with 1 unless all are unchanged.

    Example: baash check-file results/ --ledger ./ledger
    """
    from baash.errors import InputError
    from baash.ledger import h5digest
    from baash.ledger.index.lookup import Lookup
    from baash.ledger.newest import names_below, newest
    from baash.ledger.reader import Ledger
    from baash.sources import describe as files_of

    gone = [path for path in files if not os.path.lexists(path) and not glob.has_magic(str(path))]
    there = [path for path in files if path not in gone]
    left_out = files_of.LeftOut(ledger)
    with Ledger(ledger) as reader:
        say_notes(reader.notes)
        with bar("hashing", "bytes", enabled=not as_json) as advance:
            found = files_of.describe(
                there, hdf5=h5digest.describe, progress=advance, threads=threads, left_out=left_out
            )
        with bar("reading the ledger", "transactions", enabled=not as_json) as advance:
            asked = [os.fsencode(os.path.abspath(path)) for path in gone]
            folders = [os.fsencode(os.path.abspath(path)) for path in there if path.is_dir()]
            lookup = Lookup(reader, advance)
            below = names_below(reader, [*folders, *asked], lookup=lookup)
            known = newest(reader, list(dict.fromkeys([*(d.entity for d in found), *asked, *below])), lookup=lookup)
    for path, name in zip(gone, asked, strict=True):
        if not any(n == name or n.startswith(name + b"/") for n in known):
            raise InputError(
                f"{os.path.abspath(path)} does not exist, and the ledger does not know it: check the name."
            )
    answers = [_answer(one.entity, known.get(one.entity), one) for one in found]
    seen = {one.entity for one in found}
    answers += [
        _answer(name, known[name], None)
        for name in dict.fromkeys([*asked, *below])
        if name in known and name not in seen and known[name].exists and _is_file(known[name].payload)
    ]
    counts = {
        a: sum(x["answer"] == a for x in answers) for a in ("unchanged", "changed", "missing", "unknown", "retired")
    }
    if as_json:
        fields = {"schema_version": 1, "ledger": readable(ledger), "counts": counts, "files": answers}
        fields["skipped"] = [readable(path) for path in left_out.paths]
        print(json_text(fields, indent=2))
    else:
        _print(answers, counts, quiet)
        if left_out.paths:
            print(f"{counted(len(left_out.paths), 'entry', 'entries')} skipped: not regular files")
    sys.exit(0 if counts["unchanged"] == len(answers) else 1)


def _answer(entity: bytes, before: Newest | None, now: FileDescription | None) -> dict[str, Any]:
    """What is said of one file; ``now`` None: it is not there."""
    from baash.sources.files import compare, read_payload

    file = readable(entity)
    if before is None or not before.exists:
        return {"file": file, "answer": "unknown" if before is None else "retired", "changes": []}
    payload = read_payload(before.payload)
    changes = compare(payload, now.payload) if now is not None else None
    said = payload.get("recorded", {})
    recorded_at = datetime.datetime.fromtimestamp(before.block_time_ns // 10**9, datetime.timezone.utc)
    return {
        "file": file,
        "answer": "missing" if changes is None else "changed" if changes.changed else "unchanged",
        "changes": changes.sentences() if changes is not None else [],
        "recorded_by": "@".join(s for s in (said.get("user"), said.get("host")) if s) or None,
        "recorded_at": recorded_at.isoformat(timespec="seconds"),
        "job": said.get("job"),
        "note": said.get("note"),
        "version": before.version,
        "transaction": before.transaction.hex(),
    }


def _is_file(payload: bytes) -> bool:
    """Whether it is the record of a file: other entities may have names that look like one."""
    from baash.errors import InputError
    from baash.sources.files import read_payload

    try:
        return bool(read_payload(payload))
    except InputError:
        return False


def _print(answers: list[dict[str, Any]], counts: dict[str, int], quiet: bool) -> None:
    console = Console()
    colour = {"unchanged": "green", "changed": "red", "missing": "red", "unknown": "yellow", "retired": "yellow"}
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
