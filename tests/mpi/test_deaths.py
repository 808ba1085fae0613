"""Ranks are really killed, at a moment drawn from a seed, in each kind of traffic: the others see it and go on."""

from __future__ import annotations

import pytest
from conftest import Ran, Run

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize(
    ("seed", "traffic", "btl"),
    [(11, "idle", None), (12, "small", "tcp,self"), (13, "large", None), (14, "large", "tcp,self")],
)
def test_survivors_go_on_after_a_death(run_ranks: Run, seed: int, traffic: str, btl: str | None) -> None:
    print(f"seed {seed}")
    ran = run_ranks(5, "deaths.py", seed, traffic, "3", btl=btl)
    check(ran, 5, [3])


def test_survivors_go_on_after_two_deaths(run_ranks: Run) -> None:
    print("seed 15")
    ran = run_ranks(6, "deaths.py", 15, "large", "0,4")
    check(ran, 6, [0, 4])


def check(ran: Ran, ranks: int, victims: list[int]) -> None:
    said = ran.stdout + ran.stderr
    living = [rank for rank in range(ranks) if rank not in victims]
    survived = ran.notes("survived")
    assert sorted(note["rank"] for note in survived) == living, said
    assert all(sorted(note["seen"]) == victims for note in survived), said
    assert all(note["drained"] for note in survived), said
    closed = ran.notes("closed")
    assert sorted(note["rank"] for note in closed) == living, said
    assert all(note["seconds"] < 5 and not note["clean"] for note in closed), said
