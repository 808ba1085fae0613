"""``baash compact``: give back the room that finished segments do not need. When that is safe: ``ledger/copies/pack.py``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from baash.cli.screen import bar
from baash.text import counted, json_text, printable, readable


def compact(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Replace finished segments by packed copies (the same bytes, hashes and proofs, without the room kept for more), and make
    the index files that look-ups need.

    A run does so at its end; this is for what a run that was killed left behind. Refuses while somebody writes.

    Example: baash compact ./ledger
    """
    from baash.ledger.copies import compact as copies
    from baash.ledger.index import building
    from baash.ledger.reader import check_folder
    from baash.session import started_by

    folder = check_folder(ledger)
    began = time.monotonic()
    with bar("packing", "bytes", enabled=not as_json) as progress:
        done, notes = copies.compact(folder, {**started_by(), "time_ns": time.time_ns()}, progress)
    with bar("indexing", "transactions", enabled=not as_json) as progress:
        built = building.build(folder.path, progress)
    notes += built.notes
    if as_json:
        fields = {
            "schema_version": 1,
            "ledger": readable(ledger),
            "segments": done.segments,
            "packed": done.packed,
            "allocated_bytes_before": done.bytes_before,
            "allocated_bytes_after": done.bytes_after,
            "saved_bytes": done.saved,
            "indexed_transactions": built.transactions,
            "index_bytes": built.index_bytes,
            "notes": notes,
            "elapsed_s": round(time.monotonic() - began, 6),
        }
        print(json_text(fields))
        return
    for note in notes:
        print(f"note: {printable(note)}")
    print(
        f"{done.packed:,} of {counted(done.segments, 'segment')} packed: "
        f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB now, {done.saved / 1e6:,.1f} MB saved"
    )
    print(f"{counted(built.transactions, 'transaction')} indexed; index files have {built.index_bytes / 1e6:,.1f} MB")
