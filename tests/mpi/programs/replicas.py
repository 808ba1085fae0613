"""Rank program: a whole run with the options of ``baash run``; then each rank holds its nodes' replicas against the ledger."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from baash.mpi.ending import drain_requested, run_rank
from baash.mpi.report import emit
from baash.options import RunOptions


def body() -> Any:
    importlib.import_module("baash.mpi.library")  # before h5py, as ``baash.run`` does
    sys.path[:0] = [str(Path(__file__).parents[2])]
    from replicas import chain_of_ledger, check_nodes

    from baash import rank
    from baash.ledger.reader import Ledger

    folder, replica_bytes, block_size, workload, transactions = sys.argv[1:6]
    options = RunOptions(
        ledger=Path(folder),
        workload=workload,
        transactions=int(transactions),
        record_bytes=200,
        clusters=2,
        nodes_per_rank=2,
        window_mib=1 / 16,
        block_size=int(block_size),
        replica_bytes=int(replica_bytes),
    )
    meeting = rank.meet(options, alone=False)
    view, opened, text = rank.agree(meeting, options, options.sources)
    here = rank.Rank(
        options,
        options.sources,
        meeting,
        view,
        opened,
        text,
        lambda event, fields: emit(event, **fields),
        drain_requested,
    )
    here.run(time.monotonic())
    with Ledger(folder) as ledger:
        held = check_nodes(here.life.seats[-1].hosted.nodes, chain_of_ledger(ledger))
        newest = {n: r.pieces[-1].first + len(r.pieces[-1]) for n, r in _replicas(here).items() if r.pieces}
        emit(
            "note",
            note="held",
            blocks={str(n): held[n] for n in held},
            bytes={str(n): r.bytes for n, r in _replicas(here).items()},
            clusters={str(n): view.nodes[n].cluster for n in held},
            newest={str(n): after for n, after in newest.items()},
            block_total=ledger.block_total,
        )
    return meeting.transport


def _replicas(here: Any) -> dict[int, Any]:
    return {number: node.replica for number, node in here.life.seats[-1].hosted.nodes.items()}


run_rank(body)
