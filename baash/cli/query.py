"""``baash query``: what a ledger says of an entity, a transaction, a block or an issuer. Finding is ``ledger/query.py``'s matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baash.cli.screen import Console, bar, counted
from baash.errors import UsageError
from baash.ledger.lineage import DEPTH, DEPTH_MAX
from baash.records import ANY_VERSION, PayloadType
from baash.text import json_text, printable, readable

if TYPE_CHECKING:
    from rich.tree import Tree

    from baash.ledger.lineage import Origin
    from baash.ledger.query import EntityHistory
    from baash.ledger.reader import Block
    from baash.ledger.transactions import Transaction

SCHEMA_VERSION = 1
PAYLOAD_SHOWN = 240


def query(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    entity: Annotated[str, typer.Option(help="Name of an entity, or what follows a / at the end of it.")] = "",
    tx: Annotated[str, typer.Option(metavar="ID", help="Transaction id: 8 or more hex digits.")] = "",
    block: Annotated[int | None, typer.Option(metavar="HEIGHT", help="Height of a block.", min=0)] = None,
    issuer: Annotated[str, typer.Option(help="Issuer: 32 hex digits, source:NAME or key:HEX.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lineage: Annotated[bool, typer.Option(help="With --entity: show what it was made from.")] = True,
    depth: Annotated[
        int, typer.Option(help="With --entity: steps back in what it was made from.", min=1, max=DEPTH_MAX)
    ] = DEPTH,
    limit: Annotated[int, typer.Option(help="Transactions shown, the newest; 0: all.", min=0)] = 100,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Look things up in a ledger: one of --entity, --tx, --block, --issuer.

    Example: baash query ./ledger-demo --entity results/final.h5
    """
    from baash.ledger import query as queries
    from baash.ledger.reader import Ledger

    if sum((bool(entity), bool(tx), block is not None, bool(issuer))) != 1:
        raise UsageError("say what to look up: exactly one of --entity, --tx, --block and --issuer")
    show: Callable[[], None]
    with Ledger(ledger) as opened, bar("looking", "transactions", enabled=not as_json) as progress:
        if entity:
            history = queries.entity(opened, entity, limit=limit, with_lineage=lineage, depth=depth, progress=progress)
            show = partial(_show_entity, history, as_json, lineage, depth)
        elif tx:
            show = partial(_show, [queries.by_id(opened, tx, progress)], 1, as_json)
        elif block is not None:
            at, inside = queries.block(opened, block, limit)
            show = partial(_show_block, at, inside.transactions, as_json)
        else:
            found = queries.by_issuer(opened, issuer, limit=limit, progress=progress)
            show = partial(_show, found.transactions, found.total, as_json)
    show()


def _show_entity(history: EntityHistory, as_json: bool, lineage: bool, depth: int) -> None:
    if as_json:
        versions = [
            {
                **_fields(v.transaction),
                "version": v.version,
                "references": [{"id": i.hex(), "entity": None if n is None else readable(n)} for i, n in v.references],
            }
            for v in history.versions
        ]
        result: dict[str, Any] = {
            "entity": readable(history.entity),
            "exists": history.exists,
            "version": history.version,
            "total": history.total,
            "transactions": versions,
        }
        if lineage:
            result["made_from"] = [_origin_fields(o) for o in history.made_from]
            result["left_out"] = history.left_out
        return _print_json(result)
    state = f"version {history.version}" if history.exists else f"retired, at version {history.version}"
    print(f"{printable(history.entity)}: {state if history.version else 'never created'}")
    if history.total > len(history.versions):
        print(f"({history.total - len(history.versions):,} earlier transactions not shown; --limit 0 shows all)")
    for v in history.versions:
        one = v.transaction
        print(f"\nversion {v.version}  {_line(one)}")
        _print_details(one, [(i, n) for i, n in v.references])
    if lineage and history.made_from:
        from rich.tree import Tree

        tree = Tree(f"{printable(history.entity)} was made from")
        for origin in history.made_from:
            _grow(tree, origin)
        print()
        Console(width=8192).print(tree)  # a line is as long as its names
        if history.left_out:
            what = counted(history.left_out, "origin")
            print(f"(what {what} of these came from is not shown; --depth {depth + DEPTH} goes further)")


def _grow(tree: Tree, origin: Origin) -> None:
    one = origin.transaction
    label = f"{printable(one.entity)} ({one.operation.name} {one.id.hex()[:16]})" if one else origin.id.hex()[:16]
    branch = tree.add(f"{label}, {origin.note}" if origin.note else label)
    for inner in origin.made_from:
        _grow(branch, inner)


def _show(transactions: list[Transaction], total: int, as_json: bool) -> None:
    if as_json:
        return _print_json({"total": total, "transactions": [_fields(one) for one in transactions]})
    if total != len(transactions):
        print(f"{total:,} transactions, the newest {len(transactions):,} of them here (--limit 0 shows all)")
    elif total == 0:
        print("no transactions")
    for one in transactions:
        print(f"\n{printable(one.entity)}\n  {_line(one)}")
        _print_details(one, [(i, None) for i in one.references])


def _show_block(block: Block, transactions: list[Transaction], as_json: bool) -> None:
    import hashlib

    row, header = block.row, block.row.tobytes()[:112]
    fields = {
        "height": block.height,
        "hash": hashlib.sha256(header).hexdigest(),
        "parent": row["parent"].tobytes().hex(),
        "content": row["content"].tobytes().hex(),
        "view": int(row["view"]),
        "cluster": int(row["cluster"]),
        "window": int(row["window"]),
        "index": int(row["index"]),
        "round": block.round.number,
        "segment": block.round.file.name,
        "time_ns": int(row["time_ns"]),
        "count": int(row["count"]),
        "bytes": int(row["bytes"]),
        "first_transaction": int(row["first_transaction"]),
    }
    if as_json:
        return _print_json({**fields, "transactions": [_fields(one) for one in transactions]})
    for name, value in fields.items():
        print(f"{name:18} {_time(int(row['time_ns'])) if name == 'time_ns' else value}")
    for one in transactions:
        print(f"\n{printable(one.entity)}\n  {_line(one)}")
    if len(transactions) < int(row["count"]):
        print(f"\n({int(row['count']) - len(transactions):,} more; --limit 0 shows all)")


def _fields(one: Transaction) -> dict[str, Any]:
    from baash.ledger.query import payload

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


def _origin_fields(origin: Origin) -> dict[str, Any]:
    one = origin.transaction
    return {
        "id": origin.id.hex(),
        "entity": readable(one.entity) if one else None,
        "operation": one.operation.name if one else None,
        "note": origin.note or None,
        "made_from": [_origin_fields(o) for o in origin.made_from],
    }


def _line(one: Transaction) -> str:
    signed = ", signed" if one.signed else ""
    when = _time(one.issued_ns or one.time_ns)
    return (
        f"{one.operation.name}  {when}  block {one.height}  number {one.sequence} of issuer {one.issuer.hex()}{signed}"
    )


def _print_details(one: Transaction, references: list[tuple[bytes, bytes | None]]) -> None:
    from baash.ledger.query import payload

    print(f"  id        {one.id.hex()}")
    for id_, name in references:
        print(f"  refers to {printable(name) + '  ' if name is not None else ''}{id_.hex()[:16]}…")
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


def _print_json(result: dict[str, Any]) -> None:
    print(json_text({"schema_version": SCHEMA_VERSION, **result}))


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, tz=timezone.utc).isoformat().replace("+00:00", "Z")
