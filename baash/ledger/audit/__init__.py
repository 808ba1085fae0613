"""The audit: everything of ``docs/ledger-format.md`` section 10, from the folder and nothing else.

Reports every problem with its place and goes on behind it where that makes sense. What can no longer be known behind damage (the
rules, behind transactions that cannot be read) is said in a note instead of guessed, and what is provably good in spite of
it is listed. Damaged bytes lead to problems, never to a traceback. ``docs/audit.md`` has the whole of it.

Rounds are examined by themselves (``examine.py``), which is nearly all of the work, in as many threads as there are cores; what
needs their order (``order.py``) or all of them (``share.py``) follows in the caller's. ``baash/mpi/audit.py`` does the same over ranks.
Index files are never asked.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from baash.errors import LedgerDamaged
from baash.ledger.audit import once
from baash.ledger.audit.examine import Examiner
from baash.ledger.audit.examined import Examined
from baash.ledger.audit.pieces import RECORD_BYTES_MIN, Memory
from baash.ledger.audit.report import Problem, Proved, Report
from baash.ledger.audit.share import Share
from baash.ledger.audit.whole import Whole
from baash.ledger.audit.without_history import look_without_history
from baash.ledger.folder import Folder
from baash.ledger.reader import Ledger

__all__ = ["Problem", "Progress", "Proved", "Report", "audit", "draw_seeds"]

Progress = Callable[[int, int], None]  # blocks done, in all


def audit(
    path: str | Path, ledger_id: bytes | None = None, progress: Progress | None = None, threads: int | None = None
) -> Report:
    """Check the ledger in the folder ``path``; ``ledger_id`` if it is known from elsewhere. ``threads``: None: the cores there are.

    Raises LedgerError only if there is no ledger, or StorageError if its folder cannot be read.
    """
    report = Report()
    try:
        ledger = Ledger(path, report=report.problem)
    except LedgerDamaged as error:
        look_without_history(Folder(path), error, report)
        return report
    with ledger:
        _run(ledger, Whole(ledger, ledger_id, report), report, progress, threads or cores())
    return report


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def draw_seeds() -> np.ndarray:
    """u8 (3): drawn anew for each audit, so that nobody can prepare prints that collide."""
    return np.frombuffer(secrets.token_bytes(24), dtype="<u8").copy()


def expected(ledger: Ledger) -> int:
    """How many transactions there can be, whatever the commit records say."""
    most = sum(place.data["records"].size for place in ledger.segments) // RECORD_BYTES_MIN
    return min(ledger.transaction_total, most)


def _run(ledger: Ledger, whole: Whole, report: Report, progress: Progress | None, threads: int) -> None:
    seeds, share = draw_seeds(), Share(expected(ledger))
    examiner = Examiner(ledger, seeds)
    with ThreadPoolExecutor(threads, thread_name_prefix="baash-audit") as pool:
        pending: deque[Future[Examined]] = deque()
        for index in range(whole.rounds):
            while len(pending) <= threads and index + len(pending) < whole.rounds:
                pending.append(pool.submit(examiner.examine, index + len(pending)))
            examined = pending.popleft().result()
            whole.take(examined)
            share.take(index, examined.kept, examined.replayable)
            if progress is not None:
                progress(report.blocks, whole.blocks)

        def decide(suspects: np.ndarray) -> list[np.ndarray]:
            memory = Memory()
            return [once.decided(round, suspects, seeds, memory) for round in ledger.rounds[: whole.rounds]]

        whole.finish([share.finish()], decide)
