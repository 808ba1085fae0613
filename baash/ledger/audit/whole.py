"""The whole audit, from its parts: what comes before all rounds, the rounds in order, what can be said at the end.

One of these makes the report, wherever the rounds were examined and the shares kept: in threads (``__init__.py``) or in the
ranks of an MPI job. It reads view records, the metadata of segments and commit records, and no blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged, StorageError
from baash.ledger.audit import once, views
from baash.ledger.audit.examined import Examined
from baash.ledger.audit.metadata import check_metadata
from baash.ledger.audit.order import Order
from baash.ledger.audit.pieces import bounds_of
from baash.ledger.audit.report import AFTER, PROBLEMS_KEPT, RULES, Place, Problem, Report
from baash.ledger.audit.share import Result
from baash.ledger.folder import CHECKPOINT_NAME
from baash.ledger.reader import Ledger
from baash.records import Reason

Decide = Callable[[np.ndarray], Iterable[np.ndarray]]  # suspects → once.DECIDED of all rounds, in order


class Whole:
    """The audit of the first ``rounds`` rounds of ``ledger``; what it finds goes to ``report``."""

    def __init__(self, ledger: Ledger, ledger_id: bytes | None, report: Report) -> None:
        self._ledger, self._report = ledger, report
        self.rounds = len(ledger.rounds)
        self.blocks = ledger.block_total
        self._transactions, self._head = ledger.transaction_total, ledger.head
        report.ledger_id = ledger.view.ledger if ledger.view else None
        sound = views.check_views(ledger.folder, ledger.epochs, ledger_id, report)
        self._checkpoint = views.read_checkpoint(ledger.folder, ledger.epochs, report)
        for place in ledger.segments:
            wrong = check_metadata(place)
            if wrong:
                report.problem(place.path.name, None, wrong)
        self._order = Order(report, sound, self._checkpoint)

    def take(self, examined: Examined) -> None:
        """The next round."""
        try:
            round = self._ledger.rounds[examined.index]
        except (LedgerDamaged, StorageError) as error:
            self._order.skip(examined.index, str(error))
        else:
            self._order.take(round, examined)

    def finish(self, results: Sequence[Result], decide: Decide) -> None:
        """All rounds were taken: what the shares found, and what can be said only now."""
        ledger, report, note = self._ledger, self._report, self._checkpoint
        report.turn_to(AFTER)
        report.head = self._head
        report.merge(self._broken(results), sum(r.broken_count for r in results))
        if note is not None and note.size > self.blocks:
            if self._has_grown_to(note.size):
                report.note("the checkpoint was written since the audit began, and is not compared")
            else:
                what = f"the checkpoint vouches for {note.size} blocks, but only {self.blocks} are found"
                report.problem(CHECKPOINT_NAME, self.blocks, what)
        elif note is not None and note.size == 0 and note.root != kernels.log_root(np.zeros((64, 32), np.uint8), 0):
            report.problem(CHECKPOINT_NAME, None, "the checkpoint's root is not that of an empty log")
        suspects = np.unique(np.concatenate([r.suspects for r in results]))
        if len(suspects):
            once.judge(decide(suspects), lambda index: ledger.rounds[index].file.name, report)
        dangling = [r.example for r in results if r.dangling]
        if dangling:
            count, example = sum(r.dangling for r in results), min(dangling).to_bytes(8, "little").hex()
            report.note(f"references that name no committed transaction: {count}, for example {example}…")
        if report.blocks and not (ledger.path / CHECKPOINT_NAME).exists():
            report.note(
                "no checkpoint here: that nothing was cut off at the end cannot be seen from this folder alone; "
                "compare the head with one kept elsewhere"
            )
        views.check_leftovers(ledger.folder, ledger.epochs, report)
        for text in ledger.behind_cuts:
            report.note(f"{text}; what lies there was never acknowledged and does not count")
        if ledger.tail:
            report.note(ledger.tail)
        report.proved = self._order.proofs.result(self.blocks, self._transactions, self._order.rules_until)

    def _has_grown_to(self, blocks: int) -> bool:
        """Whether a writer has committed so many blocks by now."""
        try:
            with Ledger(self._ledger.path, report=lambda *_: None) as now:
                return now.block_total >= blocks
        except (LedgerDamaged, StorageError):
            return False

    def _broken(self, results: Sequence[Result]) -> list[tuple[Place, Problem]]:
        """The transactions that break a rule, each with its block."""
        rows = np.sort(np.concatenate([r.broken for r in results]), order=("round", "number"))[:PROBLEMS_KEPT]
        found: list[tuple[Place, Problem]] = []
        for index in np.unique(rows["round"]).tolist():
            round = self._ledger.rounds[index]
            bounds = bounds_of(round, round.headers())
            for row in rows[rows["round"] == index]:
                number = int(row["number"])
                block = int(np.searchsorted(bounds, number, side="right")) - 1
                what = f"the transaction breaks a rule: {Reason(row['reason']).name}"
                problem = Problem(round.file.name, round.first_block + block, number - int(bounds[block]), what)
                found.append(((index, RULES, number), problem))
        return found
