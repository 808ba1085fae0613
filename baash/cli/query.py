"""``baash query``: what a ledger says of an entity, a transaction, a block, an issuer or a time. Finding is ``ledger/query.py``'s matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baash.cli.screen import bar, say_notes
from baash.cli.shown import (
    SCHEMA_VERSION,
    fields,
    headline,
    moment,
    nested,
    print_details,
    print_json,
    print_transaction,
)
from baash.errors import UsageError
from baash.ledger.lineage import DEPTH, DEPTH_MAX
from baash.text import json_text, printable, readable

if TYPE_CHECKING:
    from baash.ledger.lineage import Lineage
    from baash.ledger.opened import OpenedLedger
    from baash.ledger.query import EntityHistory, Found, Wanted
    from baash.ledger.reader import Block
    from baash.ledger.transactions import Transaction


def query(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    entity: Annotated[str, typer.Option(help="Name of an entity, or what follows a / at the end of it.")] = "",
    tx: Annotated[str, typer.Option(metavar="ID", help="Transaction id: 8 or more hex digits.")] = "",
    block: Annotated[int | None, typer.Option(metavar="HEIGHT", help="Height of a block.", min=0)] = None,
    block_hash: Annotated[str, typer.Option(metavar="HASH", help="Hash of a block: 8 or more hex digits.")] = "",
    issuer: Annotated[str, typer.Option(help="Issuer: 32 hex digits, source:NAME or key:HEX.")] = "",
    operation: Annotated[str, typer.Option(help="CREATE, UPDATE, USE, RETIRE or NOTE.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="In blocks of this time or later.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="In blocks before this time.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is committed from now on, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; with --follow one a line for each transaction.")
    ] = False,
    lineage: Annotated[bool, typer.Option(help="With --entity: show what it was made from.")] = True,
    depth: Annotated[
        int, typer.Option(help="With --entity: steps back in what it was made from.", min=1, max=DEPTH_MAX)
    ] = DEPTH,
    limit: Annotated[int, typer.Option(help="Transactions shown, the newest; 0: all.", min=0)] = 100,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Look things up in a ledger: --tx, --block or --block-hash; or any of --entity, --issuer, --operation, --since, --until
    together. With --entity alone (and --until: as it stood before then), its whole history and what it was made from.

    Times are those of blocks, for example 2026-03-01T12:00:00Z, 2026-03-01 (UTC), or nanoseconds since 1970.

    Example: baash query ./ledger-demo --entity results/final.h5
    """
    import baash
    from baash.ledger import query as queries

    sorts = [bool(tx), block is not None, bool(block_hash), any((entity, issuer, operation, since, until))]
    if sum(sorts) != 1 and not (follow and not any(sorts)):
        raise UsageError(
            "say what to look up: one of --tx, --block and --block-hash, or any of --entity, --issuer, --operation, "
            "--since and --until"
        )
    if follow and any(sorts[:3]):
        raise UsageError(
            "--follow goes with --entity, --issuer, --operation and times, not with one transaction or block"
        )
    until_ns = time_of(until, "--until")
    with (
        bar("reading", "transactions", enabled=not as_json) as progress,
        baash.open(ledger, progress=progress) as opened,
    ):
        say_notes(opened.notes)
        if tx:
            one = opened.transaction(tx)
            print_found(queries.Found(1, [one]), as_json)
        elif block is not None or block_hash:
            at, inside = queries.block(opened.lookup, block if block is not None else block_hash, limit)
            _print_block(at, inside.transactions, as_json)
        elif entity and not (issuer or operation or since or follow):
            history = queries.entity(opened.lookup, entity, limit=limit, until_ns=until_ns)
            made_from = None
            if lineage and history.made_by is not None:
                number = history.version if history.exists else history.version - 1
                made_from = opened.lineage(history.entity, depth=depth, version=number)
            _print_entity(history, as_json, lineage, made_from)
        else:
            wanted = queries.Wanted(
                queries.resolve(opened.lookup, entity) if entity else None,
                queries.issuer_id(issuer) if issuer else None,
                queries.operation_named(operation) if operation else None,
                time_of(since, "--since"),
                until_ns,
            )
            if follow:
                _follow(opened, wanted, limit, as_json)
            else:
                print_found(queries.find(opened.lookup, wanted, limit=limit), as_json)


def time_of(text: str, option: str) -> int | None:
    """Nanoseconds since 1970, None if nothing is said. UsageError."""
    from baash.sources.times import workflow_time

    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) > 8:
        ns = int(text)
        if ns < 1 << 64:
            return ns
    try:
        return workflow_time(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} cannot be used: {error}, or nanoseconds since 1970") from None


def print_found(found: Found, as_json: bool) -> None:
    if as_json:
        return print_json({"total": found.total, "transactions": [fields(one) for one in found.transactions]})
    shown = len(found.transactions)
    if found.total != shown:
        print(f"{found.total:,} transactions, the newest {shown:,} of them here (--limit 0 shows all)")
    elif found.total == 0:
        print("no transactions")
    for one in found.transactions:
        print_transaction(one)


def _follow(opened: OpenedLedger, wanted: Wanted, limit: int, as_json: bool) -> None:
    """What fits, the newest ``limit`` first, then what comes, until Ctrl-C."""
    from baash.ledger import query as queries

    def show(one: Transaction) -> None:
        if as_json:
            print(json_text({"schema_version": SCHEMA_VERSION, **fields(one)}), flush=True)
        else:
            print_transaction(one)
            typer.get_text_stream("stdout").flush()

    anything = wanted == queries.Wanted()
    start = opened.transaction_total
    if not anything:
        for one in queries.find(opened.lookup, wanted, limit=limit).transactions:
            show(one)
    elif limit and start:
        for one in opened.transactions_numbered(max(0, start - limit), start):
            show(one)
    for one in opened.follow_transactions():
        if wanted.until_ns is not None and one.time_ns >= wanted.until_ns:
            return
        if wanted.fits(one):
            show(one)


def _print_entity(history: EntityHistory, as_json: bool, lineage: bool, made_from: Lineage | None) -> None:
    if as_json:
        changes = [
            {
                **fields(c.transaction),
                "version": c.version,
                "references": [{"id": i.hex(), "entity": None if n is None else readable(n)} for i, n in c.references],
            }
            for c in history.changes
        ]
        result: dict[str, Any] = {
            "entity": readable(history.entity),
            "exists": history.exists,
            "version": history.version,
            "total": history.total,
            "transactions": changes,
        }
        if lineage:
            result["made_from"] = nested(made_from, "made_from") if made_from else []
            result["left_out"] = made_from.left_out if made_from else 0
        return print_json(result)
    state = f"version {history.version}" if history.exists else f"retired, at version {history.version}"
    print(f"{printable(history.entity)}: {state if history.version else 'never created'}")
    if history.total > len(history.changes):
        print(f"({history.total - len(history.changes):,} earlier transactions not shown; --limit 0 shows all)")
    for change in history.changes:
        print(f"\nversion {change.version}  {headline(change.transaction)}")
        print_details(change.transaction, change.references)
    if made_from is not None and made_from.root.next:
        from baash.cli.lineage import print_tree

        print()
        print_tree(made_from)


def _print_block(block: Block, transactions: list[Transaction], as_json: bool) -> None:
    row = block.row
    said = {
        "height": block.height,
        "hash": block.hash.hex(),
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
        return print_json({**said, "transactions": [fields(one) for one in transactions]})
    for name, value in said.items():
        print(f"{name:18} {moment(block.time_ns) if name == 'time_ns' else value}")
    for one in transactions:
        print(f"\n{printable(one.entity)}\n  {headline(one)}")
    if len(transactions) < int(row["count"]):
        print(f"\n({int(row['count']) - len(transactions):,} more; --limit 0 shows all)")
