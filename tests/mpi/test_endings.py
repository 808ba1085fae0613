"""However a rank ends, the others notice; a start that does not come about ends with a sentence."""

from __future__ import annotations

import pytest
from conftest import Run

pytestmark = pytest.mark.mpi


def test_ranks_that_end_badly_are_noticed(run_ranks: Run) -> None:
    ran = run_ranks(5, "endings.py", "each-its-way")
    seen = {note["rank"]: sorted(note["seen"]) for note in ran.notes("ending")}
    assert seen == {0: [1, 2, 3], 4: [1, 2, 3]}, ran.stdout + ran.stderr
    failures = {event["rank"]: event["exit_code"] for event in ran.events if event["event"] == "failure"}
    assert failures == {1: 9, 2: 3}  # rank 3 had no time for a word
    assert "baash: rank 1: the disk is full: make room\n" in ran.stderr
    assert "left with exit code 3" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_start_that_not_all_reach_ends_with_a_sentence(run_ranks: Run) -> None:
    ran = run_ranks(3, "endings.py", "late")
    assert "not all ranks have met within 2 s" in ran.stderr
    assert {event["exit_code"] for event in ran.events} == {11}
