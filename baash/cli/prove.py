"""``baash prove``: a file that proves a transaction, or one checkpoint from another, to somebody who has no ledger."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from baash.cli.output import STDOUT, read_input, write_output
from baash.cli.screen import bar, say_notes
from baash.errors import UsageError
from baash.text import counted, json_text, printable, readable

SCHEMA_VERSION = 1


def prove(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    tx: Annotated[str, typer.Argument(help="Transaction id: 8 or more hex digits.", show_default=False)] = "",
    output: Annotated[
        Path | None, typer.Option(help="File to write; - is standard output. Unless given, named after the id.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The checkpoint to use, for example one with cosignatures.")
    ] = None,
    consistency: Annotated[
        Path | None, typer.Option(metavar="OLD", help="Prove instead that the log extends this older checkpoint.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="NEW", help="With --consistency: the newer checkpoint; else the newest.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write a proof that anyone can check without the ledger (baash check-proof).

    Example: baash prove ./ledger-demo 3f9a01c2 --output result.tlog-proof
    """
    from baash.ledger.proofs import form, making
    from baash.ledger.proofs.checkpoint import NOTE_MAX
    from baash.ledger.proofs.checkpoint import decode as decode_checkpoint
    from baash.ledger.reader import Ledger

    if bool(tx) == (consistency is not None):
        raise UsageError("say what to prove: a transaction id, or --consistency with an older checkpoint")
    if (to is not None and consistency is None) or (checkpoint is not None and consistency is not None):
        raise UsageError("--to goes with --consistency, --checkpoint with a transaction id")
    if as_json and output == STDOUT:
        raise UsageError("--json and --output - would both write to standard output: give one of them")

    def note(path: Path | None) -> bytes | None:
        return form.note_of(read_input(path, form.PROOF_MAX), str(path))[0] if path is not None else None

    old, new, used = note(consistency), note(to), note(checkpoint)
    if used is not None and len(used) > NOTE_MAX:
        raise UsageError(f"{checkpoint} is larger than a checkpoint may be")
    from baash.ledger.index.lookup import Lookup
    from baash.ledger.query import by_id

    with Ledger(ledger) as opened:
        say_notes(opened.notes)
        if old is None:
            with bar("reading", "transactions", enabled=not as_json) as progress:
                lookup = Lookup(opened, progress)
            found = by_id(lookup, tx)
        with bar("reading the log", "blocks", enabled=not as_json) as progress:
            if old is None:
                data = making.prove(opened, found, used, progress, lookup.subtree_root)
            else:
                data = making.prove_consistency(opened, old, new, progress)
    proof = form.decode(data, str(ledger))
    fields: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "bytes": len(data)}
    if isinstance(proof, form.TransactionProof):
        id_ = hashlib.sha256(proof.record).hexdigest()
        size = decode_checkpoint(proof.note)[0].size
        path = output or Path(f"{id_[:16]}.tlog-proof")
        fields |= {"kind": "transaction", "transaction": id_, "height": proof.height, "size": size}
        said = f"transaction {id_[:16]}… in block {proof.height:,} of {size:,}"
    else:
        point = decode_checkpoint(proof.new)[0]
        path = output or Path(f"{point.ledger.hex()[:16]}-{proof.old_size}-{point.size}.tlog-consistency")
        fields |= {"kind": "consistency", "old_size": proof.old_size, "size": point.size}
        said = f"the first {proof.old_size:,} of {counted(point.size, 'block')}"
    write_output(path, data, force=force)
    if as_json:
        print(json_text({**fields, "file": readable(path)}))
    elif path != STDOUT:
        print(f"{printable(path)}: {said}, {len(data):,} bytes; baash check-proof checks it")
