"""``baash check-proof``: what a proof proves, without the ledger. Checking is ``ledger/proofs/checking.py``'s matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baash.cli.output import ledger_id_of, read_input
from baash.errors import InputError, UsageError
from baash.text import json_text, printable, readable

if TYPE_CHECKING:
    from baash.ledger.proofs.checking import Verdict
    from baash.ledger.proofs.policy import Policy

SCHEMA_VERSION = 1
PAYLOAD_SHOWN = 240


def check_proof(
    file: Annotated[Path, typer.Argument(help="The proof, or a checkpoint.")],
    ledger_id: Annotated[
        str | None, typer.Option("--ledger-id", metavar="HEX", help="The ledger's id, as you know it from elsewhere.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--file", metavar="DATA", help="Also: this file is the one that was recorded.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Whose signatures are asked for (C2SP tlog-policy).")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(metavar="VKEY", help="A witness, by its verifier key; may be given often.")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(help="With --witness: how many of them; all unless told.", min=1, max=1024)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Check what baash prove or baash checkpoint wrote, and say what it proves and what not. Needs no ledger.

    Ends with 0 if it is good, 1 if not, 4 if the file is no proof.

    Example: baash check-proof result.tlog-proof --file result.h5
    """
    from baash.ledger.proofs import checking, form, words

    known = ledger_id_of(ledger_id)
    asked = _policy(policy, witness or [], quorum)
    verdict = checking.check(read_input(file, form.PROOF_MAX), str(file), ledger_id=known, policy=asked)
    proved, not_proved = words.proved(verdict), words.not_proved(verdict)
    other = _other_data(data, verdict) if data is not None and verdict.ok else ""
    if data is not None and verdict.ok and not other:
        proved.append(f"{readable(data)} is, byte by byte, the file that was recorded")
    problems = [*verdict.problems, *([other] if other else [])]
    if as_json:
        fields = {
            **_fields(verdict),
            "proved": proved,
            "not_proved": not_proved,
            "problems": [*map(readable, problems)],
        }
        print(json_text({"schema_version": SCHEMA_VERSION, "file": readable(file), "ok": not problems, **fields}))
    else:
        _print(verdict, proved, not_proved, problems)
    if problems:
        raise typer.Exit(1)


def _policy(path: Path | None, witnesses: list[str], quorum: int | None) -> Policy | None:
    from baash.ledger.proofs import policy

    if path is not None and witnesses:
        raise UsageError("--policy and --witness are two ways to say the same: give one of them")
    if quorum is not None and not witnesses:
        raise UsageError("--quorum goes with --witness")
    if path is not None:
        return policy.read(read_input(path, policy.POLICY_MAX), str(path))
    return policy.of(witnesses, quorum or len(witnesses)) if witnesses else None


def _other_data(path: Path, verdict: Verdict) -> str:
    """Why the file ``path`` is not the one that a good proof says was recorded; empty: it is."""
    from baash.sources.describe import describe
    from baash.sources.files import read_payload

    if verdict.transaction is None:
        raise UsageError("--file goes with the proof of a transaction: this file is of another kind")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the file that was recorded")
    found = describe([path])
    try:
        recorded = read_payload(verdict.transaction.payload)
    except InputError:
        return "the transaction does not record a file, so it says nothing of one"
    same = found[0].payload["sha256"] == recorded["sha256"]
    return "" if same else f"{readable(path)} is not the file that was recorded: its SHA-256 is another"


def _fields(verdict: Verdict) -> dict[str, Any]:
    from baash.ledger.query import payload

    one, transaction = verdict.transaction, None
    if one is not None:
        transaction = {
            "id": one.id.hex(),
            "operation": one.operation.name,
            "entity": readable(one.entity),
            "issuer": one.issuer.hex(),
            "sequence": one.sequence,
            "signed": one.signed,
            "issued_ns": one.issued_ns or None,
            "height": one.height,
            "index": one.index,
            "block_time_ns": one.time_ns,
            "references": [i.hex() for i in one.references],
            "payload_bytes": len(one.payload),
            "payload": payload(one),
        }
    return {
        "kind": verdict.kind,
        "ledger_id": verdict.ledger.hex(),
        "ledger_known": verdict.known,
        "checkpoints": [{"size": point.size, "root": point.root.hex()} for point in verdict.points],
        "signers": verdict.signers,
        "witnesses": {readable(name): when for name, when in verdict.witnesses.items()},
        "transaction": transaction,
    }


def _print(verdict: Verdict, proved: list[str], not_proved: list[str], problems: list[str]) -> None:
    for problem in problems:
        print(f"PROBLEM: {printable(problem)}")
    if not verdict.ok:
        print("this proves nothing: the file was made wrongly or changed since, or it is of something else")
        return
    for said in proved:
        print(f"proved: {printable(said)}")
    if verdict.transaction is not None:
        from baash.ledger.query import payload

        shown = json_text(payload(verdict.transaction))
        print(printable(f"payload: {shown if len(shown) <= PAYLOAD_SHOWN else shown[:PAYLOAD_SHOWN] + '…'}"))
    for said in not_proved:
        print(f"not proved: {printable(said)}")
