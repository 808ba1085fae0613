"""A verdict in people's words: what is proved, on whose word, and what is not."""

from __future__ import annotations

from datetime import datetime, timezone

from baash.ledger.proofs.checking import Verdict
from baash.ledger.transactions import Transaction
from baash.text import counted, readable


def proved(verdict: Verdict) -> list[str]:
    """What holds, a sentence each; none if anything is wrong."""
    if verdict.problems:
        return []
    ledger, sizes = verdict.ledger.hex(), [point.size for point in verdict.points]
    if verdict.transaction is not None and verdict.header is not None:
        said = _of_transaction(verdict, verdict.transaction, ledger, sizes[0])
    elif verdict.kind == "checkpoint":
        said = [
            f"the first {counted(sizes[0], 'block')} of ledger {ledger} have the root {verdict.points[0].root.hex()}"
        ]
    else:
        said = [
            f"the log of ledger {ledger} with {counted(sizes[1], 'block')} begins with the {sizes[0]:,} of the old checkpoint"
        ]
    several = "checkpoints are" if len(sizes) > 1 else "checkpoint is"
    vouched = "" if verdict.signers == ["the ledger key"] else ", and the ledger key vouches for the nodes"
    said.append(f"the {several} signed by {' and '.join(verdict.signers)}{vouched}")
    said += [f"witness {name} saw this checkpoint at {_time(when)}" for name, when in verdict.witnesses.items()]
    return said


def not_proved(verdict: Verdict) -> list[str]:
    """What nobody should read into it."""
    said = []
    if not verdict.known:
        said.append(
            "that it is the ledger you mean: nobody told its id (--ledger-id), so the file only holds together in itself"
        )
    if not verdict.quorum:
        said.append("that others are shown the same history: no witnesses were asked for (--policy, --witness)")
    if verdict.kind == "transaction":
        said.append("that what was recorded is true, and that nothing about the entity was recorded later")
        said.append("when it was: times are the word of the issuer and of the coordinator")
    return said


def _of_transaction(verdict: Verdict, one: Transaction, ledger: str, size: int) -> list[str]:
    said = [
        f"{one.operation.name} of {readable(one.entity)} is recorded in ledger {ledger}: transaction {one.id.hex()}, "
        f"number {one.index} in block {one.height:,}, of the {counted(size, 'block')} of the checkpoint"
    ]
    if verdict.storage:
        said.append("the storage validator found it valid, since the votes of members did not suffice")
    elif verdict.votes is not None:
        said.append(
            f"{verdict.votes[0]} of the {verdict.votes[1]} nodes that were asked found it valid, enough by the rules"
        )
    sender = "whoever holds the key of issuer" if one.signed else "the unsigned input of issuer"
    issued = f" at {_time(one.issued_ns / 1e9)}, as it says," if one.issued_ns else ","
    said.append(f"{sender} {one.issuer.hex()} sent it{issued} and its block says {_time(one.time_ns / 1e9)}")
    return said


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), tz=timezone.utc).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{int(seconds)} s after 1970"
