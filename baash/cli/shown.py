"""How transactions and lineages look: for people and as JSON. Shared by the verbs that look things up; finds nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from baash.ledger.query import payload
from baash.records import ANY_VERSION, PayloadType
from baash.text import json_text, printable, readable

if TYPE_CHECKING:
    from baash.ledger.lineage import Lineage, Version
    from baash.ledger.transactions import Transaction

SCHEMA_VERSION = 1
PAYLOAD_SHOWN = 240
ID_SHOWN = 16  # digits


def fields(one: Transaction) -> dict[str, Any]:
    """All of a transaction, for JSON."""
    return {
        "id": one.id.hex(),
        "number": one.number,
        "height": one.height,
        "index": one.index,
        "operation": one.operation.name,
        "entity": readable(one.entity),
        "issuer": one.issuer.hex(),
        "sequence": one.sequence,
        "signed": one.signed,
        "issued_ns": one.issued_ns or None,
        "block_time_ns": one.time_ns,
        "expected_version": None if one.expected_version == ANY_VERSION else one.expected_version,
        "references": [i.hex() for i in one.references],
        "payload_type": PayloadType(one.payload_type).name if one.payload_type in (0, 1, 2) else one.payload_type,
        "payload_bytes": len(one.payload),
        "payload": payload(one),
    }


def headline(one: Transaction) -> str:
    """Operation, time, place and issuer on one line."""
    signed = ", signed" if one.signed else ""
    when = moment(one.issued_ns or one.time_ns)
    return (
        f"{one.operation.name}  {when}  block {one.height}  number {one.sequence} of issuer {one.issuer.hex()}{signed}"
    )


def print_details(one: Transaction, references: list[tuple[bytes, bytes | None]]) -> None:
    """Id, references (id, name if known) and payload, a line each."""
    print(f"  id        {one.id.hex()}")
    for id_, name in references:
        print(f"  refers to {printable(name) + '  ' if name is not None else ''}{id_.hex()[:ID_SHOWN]}…")
    shown = payload(one)
    if isinstance(shown, dict) and shown.get("kind") == "file":
        print(printable(f"  file      {shown.get('size')} bytes, SHA-256 {shown.get('sha256')}"))
        hdf5 = shown.get("hdf5")
        for item in hdf5.get("datasets") or () if isinstance(hdf5, dict) else ():
            if not isinstance(item, dict):
                continue
            said = " ".join(str(item.get(field)) for field in ("name", "dtype", "shape", "sha256"))
            print(f"  data set  {printable(said)}")
    elif shown is not None:
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        print(f"  payload   {printable(text if len(text) <= PAYLOAD_SHOWN else text[:PAYLOAD_SHOWN] + '…')}")


def print_transaction(one: Transaction) -> None:
    print(f"\n{printable(one.entity)}\n  {headline(one)}")
    print_details(one, [(i, None) for i in one.references])


def print_json(result: dict[str, Any]) -> None:
    print(json_text({"schema_version": SCHEMA_VERSION, **result}))


def moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, tz=timezone.utc).isoformat().replace("+00:00", "Z")


# --- lineages


def walk(lineage: Lineage) -> Iterator[tuple[int, Version, str]]:
    """(depth, version, note) line by line as a tree: each version is followed where it is met first; ``note`` says why not."""
    shown = {lineage.root.id}
    waiting = [(1, version) for version in reversed(lineage.root.next)]
    while waiting:
        depth, version = waiting.pop()
        if version.transaction is None:
            yield depth, version, "not in this ledger"
        elif version.id in shown:
            yield depth, version, "shown above"
        else:
            shown.add(version.id)
            yield depth, version, version.cut
            waiting += [(depth + 1, inner) for inner in reversed(version.next)]


def nested(lineage: Lineage, name: str) -> list[dict[str, Any]]:
    """The same as nested objects; ``name`` is that of the lists: made_from or led_to."""
    top: list[dict[str, Any]] = []
    lists = [top]
    for depth, version, note in walk(lineage):
        one, inner = version.transaction, list[dict[str, Any]]()
        lists[depth - 1].append(
            {
                "id": version.id.hex(),
                "entity": readable(one.entity) if one else None,
                "operation": one.operation.name if one else None,
                "version": version.number or None,
                "note": note or None,
                name: inner,
            }
        )
        lists[depth:] = [inner]
    return top


def label(version: Version, note: str = "") -> str:
    """A version on one line."""
    one = version.transaction
    said = version.id.hex()[:ID_SHOWN]
    if one is not None:
        which = f", version {version.number}" if version.number > 1 else ""
        said = f"{printable(one.entity)} ({one.operation.name} {said}{which})"
    return f"{said}, {note}" if note else said
