"""What a ledger must be after a crash, whatever happened.

It opens; the audit finds nothing wrong; all that had been acknowledged is in it; each round is whole or not there; no
round is there that was never made; and without any repair the next writer goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from reader import agreement, second_reader
from recording import Run, Writers

from baash import kernels
from baash.errors import BaashError
from baash.ledger.audit import audit
from baash.ledger.reader import Ledger
from baash.ledger.transactions import scan_rounds


@dataclass
class Found:
    """What is in a ledger: its commit records' hashes, its transactions' ids."""

    commits: list[bytes] = field(default_factory=list)
    ids: set[bytes] = field(default_factory=set)


def is_ledger(path: Path) -> bool:
    """Whether there is anything that a reader would call a ledger."""
    return path.is_dir() and any(n.name.startswith(("claim-", "view-")) for n in path.iterdir() if n.suffix != ".tmp")


def contents(path: Path) -> Found:
    found = Found()
    if not is_ledger(path):
        return found
    with Ledger(path) as ledger:
        found.commits = [r.hash for r in ledger.rounds]
        for scanned in scan_rounds(ledger):
            found.ids |= {i.tobytes() for i in kernels.transaction_ids(scanned.records, scanned.info)}
    return found


def judge(
    path: Path, acknowledged: Set[bytes], made: Set[bytes] | None = None, second: bool = False
) -> tuple[Found, str]:
    """(what is in the ledger, what is wrong with it or ""). ``made``: hashes of all rounds that were ever proposed."""
    try:
        found = contents(path)
        if is_ledger(path):
            report = audit(path)
            if not report.ok or report.problems:
                return found, f"the audit finds: {report.problems[:3]}"
            if second and (different := agreement.compare(path, report, second_reader.audit(path))):
                return found, different
    except BaashError as error:
        return Found(), f"it cannot be read: {error}"
    missing = set(acknowledged) - found.ids
    if missing:
        return found, f"{len(missing)} of {len(acknowledged)} acknowledged transactions are not there"
    if made is not None and not set(found.commits) <= made:
        return found, "a round is there that was never made"
    return found, ""


def goes_on(writers: Writers, root: Path, ledger: Path, before: Found, clusters: int = 1) -> str:
    """Let another writer continue the ledger; what is wrong then, or ""."""
    asked = Run(str(root), str(ledger), str(root / "keys"), source="next", steps=1, together=1, clusters=clusters)
    outcome = writers.run(asked)
    if (outcome.ended, outcome.exit_code, outcome.acknowledged) != (0, 0, 1):
        return f"the next writer did not go on: {outcome}"
    after, wrong = judge(ledger, before.ids)
    if wrong:
        return f"after the next writer: {wrong}"
    if after.commits[: len(before.commits)] != before.commits:
        return "the next writer changed the history"
    return ""


def remove(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
