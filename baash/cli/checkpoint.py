"""``baash checkpoint``: the signed head of a ledger, to be kept elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baash.cli.output import STDOUT, write_output
from baash.cli.screen import bar
from baash.errors import UsageError
from baash.text import counted, json_text, printable, readable

SCHEMA_VERSION = 1


def checkpoint(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    output: Annotated[Path, typer.Option(help="File to write; - is standard output.")] = STDOUT,
    size: Annotated[
        int | None, typer.Option(help="Of the first so many blocks; needs the ledger key.", min=0, max=(1 << 63) - 1)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Give the newest checkpoint out: signed now if the ledger key is here, else the one that the last run left.

    Whoever keeps it can show later that nothing before it was rewritten (baash verify --since-checkpoint).

    Example: baash checkpoint ./ledger-demo --output demo.checkpoint
    """
    from baash.ledger.proofs import making
    from baash.ledger.proofs.checkpoint import decode, log_key
    from baash.ledger.reader import Ledger

    if as_json and output != STDOUT:
        raise UsageError("--json prints the checkpoint in the object: leave --output away")
    with Ledger(ledger) as opened, bar("reading the log", "blocks", enabled=not as_json) as progress:
        note = making.given_out(opened, size, progress)
        total = opened.block_total
    point, lines = decode(note)
    if as_json:
        fields = {"ledger_id": point.ledger.hex(), "size": point.size, "root": point.root.hex(), "blocks": total}
        fields |= {
            "log_key": log_key(point.ledger).text,
            "signers": [readable(name) for name, _ in lines],
            "note": note.decode(),
        }
        print(json_text({"schema_version": SCHEMA_VERSION, **fields}))
        return
    write_output(output, note, force=force)
    if output != STDOUT:
        behind = f"; {counted(total - point.size, 'block')} came later" if size is None and total > point.size else ""
        print(f"{printable(output)}: the first {counted(point.size, 'block')}{behind}")
