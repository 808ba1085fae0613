"""Runs of real ranks that are traced, and their traces played again in this process, without MPI."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_runs import (
    SEED,
    Baash,
    baash,
    end,
    load,
    raises_in_a_rank,
    rank_without_coordinator,
    ranks_of,
    until_committing,
    verified,
)

from baash.sim.check_trace import Checked, check
from baash.trace.frames import File, Frame
from baash.trace.happened import Happened

__all__ = ["baash"]  # a fixture

pytestmark = pytest.mark.mpi


def same(found: list[Checked]) -> None:
    assert not [d for one in found for d in one.differences]
    assert not any(one.lost or one.unplayed for one in found)


def heard(path: Path) -> set[int]:
    return {f.event for f in File(path).frames() if f.kind is Frame.EVENT}


@pytest.mark.smoke
def test_what_ranks_did_the_core_does_again(baash: Baash, tmp_path: Path) -> None:
    """Two runs on one ledger, their traces in one folder; then on a laptop, where the ledger lies elsewhere."""
    ledger, trace = tmp_path / "ledger", tmp_path / "trace"
    shape = ("--nodes-per-rank", 2, "--clusters", 2, "--window-mib", 0.25, "--trace", trace)
    for transactions in (3000, 5000):
        code, _, err = end(load(baash, ledger, transactions, *shape))
        assert code == 0, err
    found = check(trace)
    same(found)
    assert len(found) == 12 and {v for one in found for v in one.views} == {0, 1}
    assert all(one.ended == "" and one.nodes >= 2 and one.signatures for one in found)
    ledger.rename(tmp_path / "moved")
    code, out, err = end(baash("simulate", "--check-trace", trace, "--ledger", tmp_path / "moved", "--json"))
    fields = json.loads(out)
    assert code == 0 and fields["same"] and fields["whole"], err
    assert fields["events"] == sum(one.events for one in found)
    code, _, err = end(baash("simulate", "--check-trace", trace))
    assert code == 4 and "say where it is with --ledger" in err and "Traceback" not in err, err


def test_a_killed_validators_trace_ends_before_it(baash: Baash, mark: str, tmp_path: Path) -> None:
    ledger, trace = tmp_path / "ledger", tmp_path / "trace"
    run = load(baash, ledger, 60_000, "--window-mib", 1, "--trace", trace)
    until_committing(ledger)
    rank = rank_without_coordinator(ledger, random.Random(SEED))
    os.kill(ranks_of(mark)[rank], signal.SIGKILL)
    code, _, err = end(run)
    assert code == 0, err
    assert verified(baash, ledger)["transactions"] == 60_000
    found = check(trace)
    same(found)
    assert [one.rank for one in found] == list(range(6))
    assert {one.rank for one in found if one.ended is None} == {rank} and found[rank].events
    assert all(Happened.NODES_LOST in heard(trace / one.file) for one in found if one.rank != rank)


def test_a_killed_coordinators_job_can_be_looked_into(baash: Baash, mark: str, tmp_path: Path) -> None:
    ledger, trace = tmp_path / "ledger", tmp_path / "trace"
    run = load(baash, ledger, 60_000, "--window-mib", 1, "--trace", trace)
    until_committing(ledger)
    time.sleep(random.Random(SEED).random() * 0.3)
    nodes = json.loads((ledger / "view-000000").read_text().split("\n", 1)[1].split("\n\n")[0])["nodes"]
    victim = next(n["rank"] for n in nodes if n["role"] == "coordinator")
    os.kill(ranks_of(mark)[victim], signal.SIGKILL)
    end(run)
    found = check(trace)
    same(found)
    assert found[victim].ended is None and all(one.ended is not None for one in found if one.rank != victim)


def test_a_rank_with_another_core_is_found_out(baash: Baash, tmp_path: Path, environment: dict[str, str]) -> None:
    """One rank had a bug that raised; the core that plays its trace has none."""
    ledger, trace = tmp_path / "ledger", tmp_path / "trace"
    raises_in_a_rank(environment, tmp_path)
    code, _, err = end(load(baash, ledger, 40_000, "--window-mib", 1, "--trace", trace))
    assert code == 0, err
    found = check(trace)
    (one,) = [d for traced in found for d in traced.differences]
    assert one.then == ["raises RuntimeError: a bug in a rank"] and one.then != one.now
    assert next(t for t in found if t.rank == one.rank).ended == "a bug in a rank"
    environment.pop("BAASH_TEST_RAISE")
    code, out, _ = end(baash("simulate", "--check-trace", trace))
    assert code == 1 and f"DIFFERENCE: rank {one.rank}, view 0, node {one.node}, event {one.event}," in out, out


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can be mounted by root alone")
def test_a_full_disk_ends_the_trace_and_not_the_run(baash: Baash, tmp_path: Path) -> None:
    small, ledger = tmp_path / "small", tmp_path / "ledger"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(small)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        trace = small / "trace"
        code, _, err = end(load(baash, ledger, 40_000, "--window-mib", 0.25, "--trace", trace))
        assert code == 0 and "the run goes on without it" in err and "Traceback" not in err, err
        assert verified(baash, ledger)["transactions"] == 40_000
        found = check(trace)
        assert not [d for one in found for d in one.differences] and any(one.ended is None for one in found)
        room = os.statvfs(small)
        assert room.f_bavail * room.f_frsize > 0, "the last room was left alone"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_done(baash: Baash, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for trace in (tmp_path / "file", tmp_path / "no" / "such"):
        code, _, err = end(load(baash, tmp_path / "ledger", 100, "--trace", trace))
        assert code == 2 and "--trace" in err and "Traceback" not in err, err
    assert not (tmp_path / "ledger").exists()
