"""``baash cosign``: be a witness of somebody's ledger. What a witness signs, and refuses, is ``ledger/proofs/witness.py``'s matter."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from baash.cli.output import read_input, write_output
from baash.cli.screen import bar
from baash.errors import UsageError
from baash.text import counted, json_text, printable, readable

SCHEMA_VERSION = 1


def cosign(
    file: Annotated[
        Path | None,
        typer.Argument(help="A checkpoint or a proof; its newest checkpoint is signed.", show_default=False),
    ] = None,
    key: Annotated[Path, typer.Option(help="File of the witness's private key.", show_default=False)] = Path(),
    ledger: Annotated[
        Path | None, typer.Option(help="Folder of the ledger, or a copy: what the checkpoint must fit.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option(metavar="OLD", help="A consistency proof, or an older checkpoint (with --ledger).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File to write; - is standard output. Unless given, FILE gets the line.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    new_key: Annotated[
        str, typer.Option("--new-key", metavar="NAME", help="Make a key of this name and print its verifier key.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Add a witness's signature to a checkpoint, if it extends the last one this witness signed. Else ends with 1.

    Examples: baash cosign --new-key example.org/w1 --key w1.key; baash cosign demo.checkpoint --key w1.key --ledger ./ledger-demo
    """
    from baash.ledger.proofs import checkpoint, form, witness
    from baash.ledger.proofs.tree import LogTree
    from baash.ledger.reader import Ledger

    if key == Path():
        raise UsageError("--key is needed: the file of the witness's private key")
    if bool(new_key) == (file is not None):
        raise UsageError("say what to do: sign a file, or make a key with --new-key")
    if file is None:
        made = witness.new_key(new_key, key).verifier
        text = json_text({"schema_version": SCHEMA_VERSION, "verifier_key": made.text}) if as_json else made.text
        print(text if as_json else printable(text))
        return
    if as_json and output == Path("-"):
        raise UsageError("--json and --output - would both write to standard output: give one of them")
    data = read_input(file, form.PROOF_MAX)
    older = read_input(since, form.PROOF_MAX) if since is not None else None
    with ExitStack() as held:
        tree, may = None, None
        if ledger is not None:
            progress = held.enter_context(bar("reading the log", "blocks", enabled=not as_json))
            opened = held.enter_context(Ledger(ledger, scan=True))  # no index file: nobody vouches for those
            tree, may = LogTree(opened, progress), checkpoint.signers(e.view for e in opened.epochs)
        shown = witness.evidence(older, str(since), tree)
        done = witness.cosign(key, data, str(file), shown, int(time.time()), may)
    write_output(output or file, done.data, force=force or output is None)
    if as_json:
        fields = {"ledger_id": done.point.ledger.hex(), "size": done.point.size, "file": readable(output or file)}
        fields |= {"size_before": done.before.size if done.before else None, "line": done.line.decode().strip()}
        print(json_text({"schema_version": SCHEMA_VERSION, **fields}))
    elif output != Path("-"):
        before = (
            f"it extends the {done.before.size:,} signed last"
            if done.before
            else "the first of this ledger that this key signs, so nothing before it was compared"
        )
        print(f"{printable(output or file)}: cosigned {counted(done.point.size, 'block')}; {before}")
