"""A writer that pauses before any of its changes, and comes back when somebody else has taken over: at most one goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import campaign
import pytest
from disturb import changes, empty, marks
from judge import contents, goes_on, judge
from recording import Run, Writers, operations

from baash.errors import LedgerError, LedgerFenced

REFUSALS = (0, LedgerFenced.exit_code, LedgerError.exit_code)  # the last: a ledger is there where one was to be made


@pytest.fixture(scope="module")
def paused(recorder: Path) -> Iterator[Writers]:
    found = Writers(recorder)
    yield found
    found.close()


@pytest.mark.parametrize("fresh", [True, False], ids=["a new ledger", "an old ledger"])
def test_a_writer_that_comes_back_after_a_take_over(fresh: bool, room: Path, writers: Writers, paused: Writers) -> None:
    total, _ = changes(room, writers)
    name, problems = f"take-overs of {'a new' if fresh else 'an old'} ledger", []
    for at in campaign.chosen(name, range(1, total - 2), 8, 0.04):
        empty(room)
        root, log, other = room / "root", room / "log", room / "other"
        root.mkdir()
        first = Run(str(root), str(root / "ledger"), str(root / "keys"), str(log))
        if not fresh:
            assert writers.run(replace(first, log=str(other), source="zero", steps=1)).exit_code == 0
        os.mkfifo(f"{log}.held")
        paused.begin(replace(first, fault=f"hold {at}"))
        held = os.open(f"{log}.held", os.O_WRONLY)
        second = writers.run(replace(first, log=str(other), source="two", take_over=True))
        os.close(held)
        came_back = paused.end()
        said = marks(operations(log)) | marks(operations(other))
        _, wrong = judge(root / "ledger", said)
        for outcome in (second, came_back):
            if outcome.ended or outcome.traceback or outcome.exit_code not in REFUSALS:
                wrong = wrong or f"{outcome}"
        if not (second.exit_code == 0 or came_back.exit_code == 0):
            wrong = wrong or f"neither went on: {second} {came_back}"
        wrong = wrong or goes_on(writers, root, root / "ledger", contents(root / "ledger"))
        problems += [f"paused at {at}: {wrong}"] if wrong else []
        campaign.count(name, fenced=came_back.exit_code == LedgerFenced.exit_code, wrong=bool(wrong))
    assert problems == []
