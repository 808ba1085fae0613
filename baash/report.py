"""The report of a run: what was committed, by whom, how fast, under which versions. JSON with a schema version.

Units are in the names; ``docs/report.md`` explains each field.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import baash
from baash import kernels
from baash.errors import BaashError, StorageError
from baash.ledger.reader import Ledger
from baash.options import RunOptions
from baash.protocol.coordinator import Coordinator
from baash.protocol.plan import Log
from baash.protocol.view import View
from baash.records import Reason
from baash.service import Service, Tally, percentile_ms
from baash.text import json_text, readable

SCHEMA_VERSION = 1


def intake_fields(service: Service) -> dict[str, Any]:
    """What the intake of this rank counted."""
    counts = service.intake_counts
    return {**vars(counts), "skips": list(counts.skips)} if counts is not None else {}


def add_counts(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add up two ranks' intake counts. Every rank that leads reads the whole input, so what was skipped is not added."""
    for name, value in more.items():
        if name in ("skipped", "skips") and name in into:
            continue
        into[name] = into[name] + value if name in into else value


def log_of(service: Service) -> Log | None:
    """The log as the coordinators here know it."""
    return next((n.rounds.log for n in service.nodes.values() if isinstance(n, Coordinator)), None)


def versions() -> dict[str, str | None]:
    """Of everything that may matter for how a ledger was written."""
    import numpy

    from baash.ledger import library

    found: dict[str, str | None] = {
        "baash": baash.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        **library.versions(),
        "mpi4py": None,
        "mpi_library": None,
    }
    return found


def build(
    options: RunOptions,
    view: View,
    service: Service | None,
    tally: Tally,
    counts: Mapping[str, Any],
    *,
    lost: list[int],
    failure: BaashError | None,
    elapsed_s: float,
    startup_s: float,
    ranks: int,
    ulfm: bool,
    mpi: Mapping[str, str],
    start: Log | None,
    writer: str,
    notes: list[str],
) -> dict[str, Any]:
    """The report; ``service`` is None when the run failed before its loop began."""
    log = (log_of(service) if service else None) or start
    committed = tally.committed
    interrupted = bool(service and service.interrupted)
    reason = str(failure) if failure else "interrupted" if interrupted else "finished"
    return {
        "schema_version": SCHEMA_VERSION,
        "ledger": readable(options.ledger),
        "ledger_id": view.ledger.hex(),
        "versions": {**versions(), **mpi},
        "transactions": {
            "offered": int(counts.get("offered", 0)),
            "committed": committed,
            "rejected": {Reason(r).name.lower(): n for r, n in sorted(tally.rejected.items())},
            "duplicates": tally.duplicates,
        },
        "reads": {
            "asked": int(counts.get("reads", 0)),
            "found": int(counts.get("reads_found", 0)),
            "from_replica": int(counts.get("reads_near", 0)),
            "from_ledger": int(counts.get("reads_found", 0)) - int(counts.get("reads_near", 0)),
            "bytes": int(counts.get("read_bytes", 0)),
        },
        "skipped": int(counts.get("skipped", 0)),
        "skipped_examples": list(counts.get("skips", ())),
        "blocks": tally.blocks,
        "rounds": log.round if log else 0,
        "views": view.view + 1,
        "view": view.view,
        "block_total": log.block_total if log else 0,
        "transaction_total": log.transaction_total if log else 0,
        "elapsed_s": round(elapsed_s, 6),
        "startup_s": round(startup_s, 6),
        "transactions_per_second": round(committed / elapsed_s, 1) if elapsed_s > 0 else 0.0,
        "committed_bytes": tally.committed_bytes,
        "ranks": ranks,
        "nodes": len(view.nodes) - (view.storage is not None),
        "clusters": len(view.coordinators),
        "faults_tolerated": view.parameters.faults,
        "replacements": view.parameters.replacements,
        "quorum": view.parameters.quorum,
        "block_size": view.parameters.block_size,
        "seed": view.seed,
        "writer": writer,
        "kernel": kernels.current(),
        "ulfm": ulfm,
        "messages": tally.messages,
        "message_bytes": tally.message_bytes,
        "votes": tally.votes,
        "votes_by_node": {str(n): v for n, v in sorted(tally.votes_by_node.items())},
        "retries": tally.retries,
        "storage_decisions": tally.appeals,
        "lost_windows": tally.lost_windows,
        "lost_nodes": lost,
        "changes": [],
        "remarks": dict(sorted(tally.reports.items())),
        "notes": notes,
        "head": log.head.hex() if log else None,
        "commit_latency_ms": {"p50": percentile_ms(tally.latency, 0.5), "p99": percentile_ms(tally.latency, 0.99)},
        "interrupted": interrupted,
        "packing": None,
        "indexing": None,
        "exit_reason": reason,
        "exit_code": failure.exit_code if failure else 130 if interrupted else 0,
    }


def fill_from_ledger(fields: dict[str, Any], folder: Path, first: View) -> None:
    """Into a report by a rank that did not lead: what this run committed from its ``first`` view on, as the ledger says. Raises
    LedgerError."""
    _committed_since(fields, folder, first)
    fields["transactions"].update(offered=None, duplicates=None)
    fields["notes"].append("the leading rank died: what was committed is read from the ledger, its own counts are lost")


def over_views(fields: dict[str, Any], folder: Path, first: View, ranks: int) -> None:
    """Into the report of a run that went through several views: ranks that died took their counts along, the ledger has them. Raises
    LedgerError."""
    _committed_since(fields, folder, first)
    done = fields["transactions"]
    if not fields["interrupted"]:  # all that was offered is decided, and what earlier views decided is no duplicate
        done["duplicates"] = max(0, done["offered"] - done["committed"] - sum(done["rejected"].values()))
    with Ledger(folder) as ledger:
        fields["changes"] = _changes(ledger, first, ranks)


def _committed_since(fields: dict[str, Any], folder: Path, first: View) -> None:
    with Ledger(folder) as ledger:
        mine = [r for r in ledger.rounds if r.view.view >= first.view]
        before = ledger.rounds[len(ledger.rounds) - len(mine) - 1].record if len(mine) < len(ledger.rounds) else None
        blocks, transactions = ledger.block_total, ledger.transaction_total
        committed = transactions - (int(before["transaction_total"]) if before is not None else 0)
        rejected: Counter[int] = Counter()
        for one in mine:
            rejected.update(one.rejections()["reason"].tolist())
        fields["transactions"].update(
            committed=committed, rejected={Reason(r).name.lower(): n for r, n in sorted(rejected.items())}
        )
        fields.update(
            blocks=blocks - (int(before["block_total"]) if before is not None else 0),
            rounds=len(mine),
            committed_bytes=sum(int(r.headers()["bytes"].sum(dtype=np.uint64)) for r in mine),
            block_total=blocks,
            transaction_total=transactions,
            head=ledger.head.hex() if blocks else None,
            transactions_per_second=round(committed / fields["elapsed_s"], 1) if fields["elapsed_s"] else 0.0,
        )


def _changes(ledger: Ledger, first: View, ranks: int) -> list[dict[str, Any]]:
    """The views behind the first: number, why each began, ranks that are in none of its nodes, and how long nothing was committed."""
    found: list[dict[str, Any]] = []
    last: int | None = None
    at: dict[int, list[int]] = {}
    for one in ledger.rounds:
        at.setdefault(one.view.view, []).append(int(one.record["time_ns"]))
    for epoch in ledger.epochs:
        view = epoch.view
        if view.view < first.view:
            continue
        times = at.get(view.view, [])
        if view.view > first.view:
            pause = round((times[0] - last) / 1e6, 3) if times and last is not None else None
            found.append(
                {
                    "view": view.view,
                    "why": str(view.started_by.get("why") or ""),
                    "left_out": sorted(set(range(ranks)) - {n.rank for n in view.nodes}),
                    "pause_ms": pause,
                }
            )
        last = times[-1] if times else last
    return found


def write(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a report whole or not at all. Raises StorageError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json_text(dict(fields), indent=2) + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"the report {path} cannot be written: {error.strerror}; the ledger is not affected"
        ) from error
