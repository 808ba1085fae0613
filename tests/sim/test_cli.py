"""``baash simulate`` as it is called: what it prints, and what it ends with."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from baash.cli import app
from baash.errors import UsageError

RUN = CliRunner()


def test_json_counts_what_was_injected() -> None:
    done = RUN.invoke(app(), ["simulate", "--seeds", "6", "--seed", "10", "--json"])
    assert done.exit_code == 0, done.output
    fields = json.loads(done.output)
    assert (fields["schema_version"], fields["seeds"], fields["violations"]) == (1, 6, 0)
    assert fields["faults_injected"] == sum(fields["faults"].values()) > 0
    assert fields["messages"] == sum(fields["messages_by_kind"].values()) > 0


def test_a_broken_promise_ends_with_1_and_says_how_to_play_it_again() -> None:
    hole = [
        "--frauds",
        "one number twice",
        "--lying-coordinators",
        "1",
        "--clusters",
        "1",
        "--liars",
        "0",
        "--no-harsh",
    ]
    done = RUN.invoke(app(), ["simulate", "--seeds", "4", "--seed", "5000", *hole])
    assert done.exit_code == 1
    assert "VIOLATION" in done.output and "decided twice" in done.output
    again = next(line for line in done.output.splitlines() if "again: baash simulate" in line)
    assert "--frauds 'one number twice'" in again and "--story" in again
    assert "COMMITTED round" in done.output


def test_two_processes_find_the_same() -> None:
    first, second = (
        json.loads(RUN.invoke(app(), ["simulate", "--seeds", "4", "--json", "--processes", n]).output) for n in "12"
    )
    assert {**first, "elapsed_s": 0} == {**second, "elapsed_s": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--kinds", "earthquake"],
        ["--frauds", "none"],
        ["--deceits", "truth"],
        ["--quorum", "all"],
        ["--nodes", "4", "--faults", "1"],
        ["--nodes", "6", "--clusters", "4"],
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_played(arguments: list[str]) -> None:
    done = RUN.invoke(app(), ["simulate", *arguments])
    assert isinstance(done.exception, UsageError), done.output


def test_the_cost_of_a_world() -> None:
    done = RUN.invoke(app(), ["simulate", "--scale", "--nodes", "100", "--json"])
    worlds = json.loads(done.output)["worlds"]
    assert [w["nodes"] for w in worlds] == [16, 100] and not any(w["violations"] for w in worlds)
    assert {w["hashed_to_validate_per_committed_byte"] for w in worlds} == {5.0}  # 3f+2, whatever the size
    told = [w["round_bytes_per_node"] for w in worlds]
    assert all(t["body"] >= 16 + 48 * w["clusters"] + 64 for t, w in zip(told, worlds, strict=True))
    assert [t["commit_record"] for t in told] == [512, 1024], "a slot of 352 + 72 bytes a coordinator, in 512s"
