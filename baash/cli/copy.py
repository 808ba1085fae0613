"""``baash copy``: a verified copy of a ledger, also while it is being written. How: ``ledger/copies/copy.py``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from baash.cli.screen import bar
from baash.text import counted, json_text, printable, readable


def copy(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    target: Annotated[Path, typer.Argument(help="Folder of the copy; it must not exist.")],
    update: Annotated[
        bool, typer.Option("--update", help="Bring the copy that is there up to date, if it is of this ledger.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Copy a ledger, packed and audited: all that was acknowledged when it began. Whoever writes it goes on.

    Nothing bears the name TARGET before all of it was checked. A damaged ledger is not copied.

    Example: baash copy ./ledger /archive/ledger
    """
    from baash.ledger.copies import copy as copies
    from baash.session import started_by

    began = time.monotonic()
    with (
        bar("copying", "bytes", enabled=not as_json) as copying,
        bar("verifying", "blocks", enabled=not as_json) as auditing,
    ):
        done = copies.copy(
            ledger,
            target,
            {**started_by(), "time_ns": time.time_ns()},
            update=update,
            copying=copying,
            auditing=auditing,
        )
    elapsed_s = time.monotonic() - began
    if as_json:
        fields = {
            "schema_version": 1,
            "ledger": readable(ledger),
            "target": readable(target),
            "blocks": done.blocks,
            "blocks_before": done.blocks_before,
            "transactions": done.transactions,
            "rounds": done.rounds,
            "segments_written": done.files,
            "written_bytes": done.bytes,
            "notes": done.notes,
            "elapsed_s": round(elapsed_s, 6),
        }
        print(json_text(fields))
        return
    for note in done.notes:
        print(f"note: {printable(note)}")
    new = done.blocks - done.blocks_before
    print(
        f"{counted(new, 'block')} copied, {counted(done.blocks, 'block')} and {counted(done.transactions, 'transaction')} "
        f"verified in {printable(str(target))} ({done.bytes / 1e6:,.1f} MB written in {elapsed_s:.1f} s)"
    )
