"""What nodes hold in memory after real runs over several ranks and clusters is what the ledger holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from baash.ledger.reader import Ledger

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize(("replica_bytes", "block_size"), [(64 << 20, 4), (64 << 20, 250), (30_000, 4), (0, 4)])
def test_replicas_are_the_chain(run_ranks: Any, tmp_path: Path, replica_bytes: int, block_size: int) -> None:
    ledger = tmp_path / "ledger"
    ran = run_ranks(6, "replicas.py", ledger, replica_bytes, block_size, "ycsb-load", 6000)
    assert ran.exit_code == 0, ran.stderr
    with Ledger(ledger) as found:
        total, clusters = found.block_total, Counter(int(row["cluster"]) for r in found.rounds for row in r.headers())
        assert found.transaction_total == 6000 and len(clusters) == 2
    notes = ran.notes("held")
    assert len(notes) == 6 and all(note["block_total"] == total for note in notes)
    held = {n: blocks for note in notes for n, blocks in note["blocks"].items()}
    cluster_of = {n: cluster for note in notes for n, cluster in note["clusters"].items()}
    assert sum(cluster is not None for cluster in cluster_of.values()) == 12
    for note in notes:
        assert all(size <= replica_bytes for size in note["bytes"].values())
    for node, blocks in held.items():
        cluster = cluster_of[node]
        if cluster is None or not replica_bytes:
            assert blocks == 0
        elif replica_bytes == 64 << 20:
            assert blocks == clusters[cluster]
        else:
            assert 5 < blocks < clusters[cluster]
    newest = [after for note in notes for after in note["newest"].values()]
    assert not replica_bytes or max(newest) == total


def test_reads_of_a_run_are_answered_from_memory_and_from_the_ledger(run_ranks: Any, tmp_path: Path) -> None:
    """The second run knows the records of the first from the ledger alone, those it writes itself from memory too."""
    for replica_bytes in (0, 20_000, 64 << 20):
        ledger = tmp_path / str(replica_bytes)
        run_ranks(6, "replicas.py", ledger, replica_bytes, 4, "ycsb-load", 1000)
        ran = run_ranks(6, "replicas.py", ledger, replica_bytes, 4, "ycsb-a", 40_000)
        status = next(e for e in ran.events if e["event"] == "status")
        assert status["exit_code"] == 0, status
        reads = status["report"]["reads"]
        assert 0 < reads["from_replica"] + reads["from_ledger"] == reads["found"] <= reads["asked"]
        assert reads["from_ledger"] > 0
        assert (reads["from_replica"] > 0) == (replica_bytes > 0)
        print(replica_bytes, reads)
