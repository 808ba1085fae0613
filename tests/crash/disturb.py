"""One disturbed life of a writer on a new ledger, and whether what it left can be judged and continued."""

from __future__ import annotations

from pathlib import Path

import campaign
from judge import contents, goes_on, judge, remove
from recording import Kind, Operation, Outcome, Run, Writers, acknowledged, operations
from replay import Recording, failures
from states import Log


def empty(room: Path) -> None:
    for left in room.iterdir():
        remove(left) if left.is_dir() else left.unlink()


def disturbed(fault: str, room: Path, writers: Writers, clusters: int = 1, weak: str = "") -> tuple[Run, Outcome]:
    """A writer on a new ledger in ``room/root``; ``fault`` as in ``recorder.c``."""
    empty(room)
    root = room / "root"
    root.mkdir()
    paths = str(root), str(root / "ledger"), str(root / "keys"), str(room / "log")
    asked = Run(*paths, fault, clusters=clusters, weak=weak)
    return asked, writers.run(asked)


def changes(room: Path, writers: Writers, clusters: int = 1) -> tuple[int, int]:
    """How many changes and flushes of files such a writer makes, undisturbed; about, since rounds are cut by time."""
    _, outcome = disturbed("", room, writers, clusters)
    assert (outcome.ended, outcome.exit_code) == (0, 0), outcome
    return outcome.changes, outcome.syncs


def marks(log: list[Operation]) -> set[bytes]:
    """All that has been acknowledged."""
    return {i for o in log if o.kind is Kind.MARK for i in acknowledged(o)}


def continued(asked: Run, room: Path, writers: Writers, name: str, power: bool) -> list[str]:
    """What is wrong with the ledger now, when the next writers continue it, and (``power``) if the power fails meanwhile."""
    ledger = Path(asked.ledger)
    log = operations(room / "log")
    _, wrong = judge(ledger, marks(log))
    if wrong:
        return [wrong]
    after = Run(
        asked.root, asked.ledger, asked.keys, asked.log, "", "after", 1, 2, clusters=asked.clusters, weak=asked.weak
    )
    outcome = writers.run(after)
    if (outcome.ended, outcome.exit_code, outcome.acknowledged) != (0, 0, 2):
        return [f"the next writer did not go on: {outcome}"]
    recording = Recording(Log(operations(room / "log")), asked.clusters)
    _, wrong = judge(ledger, marks(recording.log.operations))
    wrong = wrong or goes_on(writers, Path(asked.root), ledger, contents(ledger), asked.clusters)
    if wrong:
        return [f"after the next writer: {wrong}"]
    if not power:
        return []
    sizes = (32, 6) if campaign.FULL else (4, 2)
    return failures(recording, room, writers, f"{name}, then power", max(0, len(log) - 3), *sizes)
