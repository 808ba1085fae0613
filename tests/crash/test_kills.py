"""Writers killed (SIGKILL) before, in the middle of and after every change they make; then the ledger is judged and continued.

What the killed writer and its successor wrote together is replayed, too: a successor that builds on what it sees and not on
what is stored would be found there.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import campaign
import pytest
from disturb import changes, continued, disturbed, marks
from judge import judge
from recording import Product, Writers, operations

KILLS = ("kill-before", "kill-middle", "kill-after")


@pytest.mark.parametrize("clusters", [1, 3])
def test_a_writer_killed_at_any_change(clusters: int, room: Path, writers: Writers) -> None:
    name = f"kills, {clusters} clusters" if clusters > 1 else "kills"
    total, _ = changes(room, writers, clusters)
    problems = []
    for number, (kill, at) in enumerate(campaign.chosen(name, [*product(KILLS, range(1, total + 1))], 12, 0.08)):
        asked, outcome = disturbed(f"{kill} {at}", room, writers, clusters)
        assert outcome.ended in (0, -9) and not outcome.traceback, outcome
        campaign.count(name, killed=outcome.ended == -9)
        found = continued(asked, room, writers, name, power=number % 5 == 0)
        problems += [f"{kill} {at}: {wrong}" for wrong in found]
        campaign.count(name, wrong=len(found))
    assert problems == []


@pytest.mark.mpi
def test_ranks_killed_at_any_change(room: Path, recorder: Path, mpirun: None) -> None:
    """One rank dies, or all of the run at once."""
    name, problems = "kills under mpirun", []
    kills = [*product(("kill-after", "kill-middle", "kill-all-after", "kill-all-before"), range(1, 130))]
    for number, (kill, at) in enumerate(campaign.chosen(name, kills, 3, 0.1)):
        run = Product(room / str(number), recorder)
        load = ("--workload", "ycsb-load", "--transactions", 60, "--record-bytes", 600)
        run.run(*load, fault=f"{kill} {at}")
        said = marks(operations(run.log))
        _, wrong = judge(run.ledger, said)
        if not wrong:
            again = run.run(*load, "--take-over")
            _, wrong = judge(run.ledger, said | marks(operations(run.log)))
            if again.exit_code:
                wrong = wrong or f"the next run did not go on: {again}"
        problems += [f"{kill} {at}: {wrong}"] if wrong else []
        campaign.count(name, acknowledged_before=len(said), wrong=bool(wrong))
    assert problems == []


def test_a_cut_at_what_is_seen_and_not_stored_is_found(room: Path, writers: Writers) -> None:
    """The campaign notices when a successor takes over a record whose flush failed."""
    _, flushes = changes(room, writers)
    found: list[str] = []
    for at in range(5, flushes - 1):  # those of the segment
        asked, _ = disturbed(f"fail-sync {at}", room, writers, weak="cut-as-seen")
        found += continued(asked, room, writers, "flush failed, cut as seen", power=True)
    assert any("are not there" in wrong for wrong in found), found
