"""Writers killed (SIGKILL) before, in the middle of and after every change they make; then the ledger is judged and continued.

What the killed writer and its successor wrote together is replayed too (sampled): a successor that builds on what it sees,
and not on what is stored, would be found there.
"""

from __future__ import annotations

import random
from itertools import count, product
from pathlib import Path

import campaign
import pytest
from judge import contents, goes_on, judge, remove
from recording import Kind, Outcome, Product, Run, Writers, acknowledged, operations
from test_replays import Recording, failures

from baash.errors import BaashError
from baash.mpi import launcher

KILLS = ("kill-before", "kill-middle", "kill-after")


def run_with(fault: str, room: Path, writers: Writers, clusters: int, steps: int = 3) -> tuple[Run, Outcome]:
    """A writer on a new ledger in ``room/root``, disturbed."""
    for left in room.iterdir():
        remove(left) if left.is_dir() else left.unlink()
    root = room / "root"
    root.mkdir()
    asked = Run(
        str(root), str(root / "ledger"), str(root / "keys"), str(room / "log"), fault, steps=steps, clusters=clusters
    )
    return asked, writers.run(asked)


def continued(asked: Run, room: Path, writers: Writers, name: str) -> list[str]:
    """What is wrong with the ledger now, when the next writer continues it, and if the power fails while it does."""
    root, ledger = Path(asked.root), Path(asked.ledger)
    log = operations(room / "log")
    said = {i for o in log if o.kind is Kind.MARK for i in acknowledged(o)}
    _, wrong = judge(ledger, said)
    if wrong:
        return [wrong]
    after = Run(asked.root, asked.ledger, asked.keys, asked.log, "", "after", 1, 2, clusters=asked.clusters)
    outcome = writers.run(after)
    if (outcome.ended, outcome.exit_code, outcome.acknowledged) != (0, 0, 2):
        return [f"the next writer did not go on: {outcome}"]
    recording = Recording(Log_of(room), asked.clusters)
    found, wrong = judge(ledger, recording.acknowledged(len(recording.log.operations)))
    if wrong:
        return [f"after the next writer: {wrong}"]
    wrong = goes_on(writers, root, ledger, contents(ledger), asked.clusters)
    if wrong:
        return [wrong]
    draw = random.Random(f"{campaign.SEED} {asked.fault}")
    if draw.random() < (0.3 if campaign.FULL else 0.1):
        return failures(recording, room, writers, f"{name}, then power", start=max(0, len(log) - 3), known=False)
    return []
