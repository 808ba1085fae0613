"""The audit: everything of ``docs/ledger-format.md`` section 10, from the folder and nothing else.

Streams round by round, reports every problem with its place and goes on behind it where that makes sense. What can
no longer be known behind damage (the rules, behind transactions that cannot be read) is said in a note instead of guessed.
Damaged bytes lead to problems, never to a traceback. Hashing is done by kernels over whole rounds; what remains in
Python costs by the round, window and signature.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged, StorageError
from baash.ledger import audit_round, audit_views, blocks
from baash.ledger.audit_report import Problem, Report
from baash.ledger.audit_round import Chains
from baash.ledger.audit_rules import Rules
from baash.ledger.audit_segment import check_metadata
from baash.ledger.durable import FileDamaged
from baash.ledger.folder import CHECKPOINT_NAME, Folder
from baash.ledger.layout import layout
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.records import COMMIT_RECORD, ZERO_HASH, Reason

__all__ = ["Problem", "Progress", "Report", "audit"]

Progress = Callable[[int, int], None]  # blocks done, in all
AHEAD = 2  # rounds that are read and hashed while one is checked

_Read = tuple[Round, blocks.RoundBlocks, audit_round.Claims]


def audit(path: str | Path, ledger_id: bytes | None = None, progress: Progress | None = None) -> Report:
    """Check the ledger in the folder ``path``; ``ledger_id`` if it is known from elsewhere.

    Raises LedgerError only if there is no ledger, or StorageError if its folder cannot be read.
    """
    report = Report()
    try:
        ledger = Ledger(path, report=report.problem)
    except LedgerDamaged as error:
        _look_without_history(Folder(path), error, report)
        return report
    with ledger:
        _Audit(ledger, ledger_id, report, progress).run()
    return report


def _look_without_history(folder: Folder, error: LedgerDamaged, report: Report) -> None:
    """Where the walk over the views fails: each file by itself."""
    report.walked = False
    wrong = [error] if isinstance(error, FileDamaged) else []
    ids = set()
    for number in folder.views():
        try:
            ids.add(folder.read_view(number)[0].ledger)
        except FileDamaged as unread:
            wrong.append(unread)
        except StorageError as unread:
            report.problem(folder.view_path(number).name, None, str(unread))
    wrong += folder.irregular()
    for name, what in {one.name: one.what for one in reversed(wrong)}.items():
        report.problem(name, None, what)
    if not report.problems:
        report.problem(None, None, str(error))
    for view, segment in folder.segment_names():
        path = folder.segment_path(view, segment)
        try:
            damage = check_metadata(layout(path))
        except (LedgerDamaged, StorageError) as unread:
            damage = unread.what if isinstance(unread, FileDamaged) else str(unread)
        if damage and path.name not in {p.segment for p in report.problems}:
            report.problem(path.name, None, damage)
    report.ledger_id = ids.pop() if len(ids) == 1 else None
    report.note(
        "no block was examined, only each view record and the metadata of each segment: which rounds count follows from "
        "the view records, back from the newest, and that chain is broken; restore what is named here, and verify again"
    )


class _Audit:
    """The state between rounds."""

    def __init__(self, ledger: Ledger, ledger_id: bytes | None, report: Report, progress: Progress | None) -> None:
        self.ledger = ledger
        self.report = report
        self._ledger_id = ledger_id
        self._progress = progress
        self._rules = Rules()
        self._chains = Chains()
        self._view = -1
        self._frontier = np.zeros((64, 32), dtype=np.uint8)
        self._log_known = True
        self._totals = (0, 0, 0)  # blocks, transactions, rejections
        self._head: bytes | None = ZERO_HASH
        self._commit = ZERO_HASH
        self._checkpoint: Checkpoint | None = None
        self._ends: audit_round.Ends | None = None
        self._opening = Lock()

    def run(self) -> None:
        ledger, report = self.ledger, self.report
        report.ledger_id = ledger.view.ledger if ledger.view else None
        self._guarded(None, self._check_views)
        self._guarded(None, self._check_segments)
        with ThreadPoolExecutor(AHEAD, thread_name_prefix="baash-audit") as pool:
            total, pending = len(ledger.rounds), deque[Future[_Read]]()
            for index in range(total):
                while len(pending) <= AHEAD and index + len(pending) < total:
                    pending.append(pool.submit(self._read, index + len(pending)))
                self._guarded(index, partial(self._check_round, pending.popleft()))
                if self._progress is not None:
                    self._progress(report.blocks, ledger.block_total)
        self._guarded(None, self._finish)

    def _read(self, index: int) -> _Read:
        """Most of the work (reading, hashing, verifying votes), in a thread of its own; all of it runs without the GIL."""
        with self._opening:
            round = self.ledger.rounds[index]
        return round, blocks.read(round), audit_round.read_claims(round)

    def _guarded(self, index: int | None, step: Callable[[], None]) -> None:
        """Damaged bytes may make anything fail: that is a problem too, and the audit goes on."""
        try:
            step()
        except (LedgerDamaged, StorageError) as error:
            self._failed(index, str(error))
        except Exception as error:
            self._failed(index, f"cannot be examined: {type(error).__name__}: {error}")

    def _failed(self, index: int | None, what: str) -> None:
        if index is None:
            self.report.problem(None, None, what)
            return
        self._lose_track()
        try:
            round = self.ledger.rounds[index]
            self.report.problem(round.file.name, round.first_block, what)
            self._carry_on(round)
        except (LedgerDamaged, StorageError):
            self.report.problem(None, None, f"round {index}: {what}")

    def _check_views(self) -> None:
        audit_views.check_views(self.ledger.folder, self.ledger.epochs, self._ledger_id, self.report)
        self._checkpoint = audit_views.read_checkpoint(self.ledger.folder, self.ledger.epochs, self.report)

    def _check_segments(self) -> None:
        for place in self.ledger.segments:
            wrong = check_metadata(place)
            if wrong:
                self.report.problem(place.path.name, None, wrong)

    def _check_round(self, read: Future[_Read]) -> None:
        round, found, claims = read.result()
        report, name, first = self.report, round.file.name, round.first_block

        def say(block: int, what: str) -> None:
            report.problem(name, first + block, what)

        if not round.follows:
            self._lose_track()
        if round.view.view != self._view:
            self._view = round.view.view
            self._chains = Chains(bases={self._commit}, known=round.number == 0)
        self._chains.bases.add(round.record["previous"].tobytes())  # behind a damaged slot nothing else knows it
        audit_round.check_commit(round, report, say)
        self._ends = audit_round.check_locator(round, claims, found, self._ends, say)
        for fault in (*found.faults, *(blocks.follows(found, self._head) if self._head is not None else ())):
            report.problem(name, first + fault.block, fault.what, fault.transaction)
        self._check_log(round, found, say)
        audit_round.check_body(round, claims, found, self._chains, report, say)
        self._chains.known = True
        rejections = audit_round.check_rejections(round, say)
        conflicts = int((rejections["reason"] == Reason.ISSUER_CONFLICT).sum())
        if conflicts:
            report.note(
                f"{name}, round {round.number}: {conflicts} rejected for an issuer's misconduct (ISSUER_CONFLICT)"
            )
        known = self._rules.known
        self._rules.take(round, found, rejections, report)
        if known and not self._rules.known:
            report.note(f"rules are not replayed from block {first} on, since transactions there cannot be read")
        report.transactions += int(found.bounds[-1])
        report.records_bytes += int(found.rows["bytes"].sum(dtype=np.uint64))
        report.blocks += len(found.rows)
        report.rejections += len(rejections)
        report.rounds += 1
        self._carry_on(round)

    def _check_log(self, round: Round, found: blocks.RoundBlocks, say: audit_round.Say) -> None:
        """Totals, head and log root of the commit record against its blocks."""
        record, count = round.record, len(found.rows)
        added = (count, int(found.bounds[-1]), int(round.locator["rejection_count"]))
        wanted = tuple(int(record[n]) for n in ("block_total", "transaction_total", "rejection_total"))
        if round.follows and wanted != tuple(a + b for a, b in zip(self._totals, added, strict=True)):
            say(0, "the totals of the commit record are not those of the ledger so far")
        head = found.hashes[-1].tobytes() if count else self._head
        if head is not None and record["head"].tobytes() != head:
            say(max(count - 1, 0), "the head in the commit record is not the hash of the newest block")
        if not self._log_known:
            return
        size, frontier = self._totals[0], self._frontier.copy()
        self._compare_checkpoint(size, found)
        _, root = kernels.log_append(self._frontier, size, found.hashes)
        if root == record["log_root"].tobytes():
            return
        say(0, "the log root in the commit record is not that of the blocks")
        # A damaged header has another hash, but the next one (or the head) still says what it was: go on with that.
        self._frontier = frontier
        stated = np.concatenate((found.rows["parent"][1:], record["head"][None, :])) if count else found.hashes
        _, root = kernels.log_append(self._frontier, size, np.ascontiguousarray(stated))
        if root != record["log_root"].tobytes():
            self._log_known = False
            self.report.note(
                f"the log root is not compared from block {round.first_block} on, since hashes there are lost"
            )

    def _compare_checkpoint(self, size: int, found: blocks.RoundBlocks) -> None:
        note = self._checkpoint
        if note is None or not size < note.size <= size + len(found.rows):
            return
        _, root = kernels.log_append(
            self._frontier.copy(), size, np.ascontiguousarray(found.hashes[: note.size - size])
        )
        if root != note.root:
            self.report.problem(CHECKPOINT_NAME, note.size - 1, "the log up to here is not the one of the checkpoint")

    def _carry_on(self, round: Round) -> None:
        """What the next round builds on: the commit record's word, so that one fault is told once."""
        record = round.record
        self._totals = (int(record["block_total"]), int(record["transaction_total"]), int(record["rejection_total"]))
        self._head = record["head"].tobytes()
        self._commit = hashlib.sha256(round.raw[: COMMIT_RECORD.itemsize].tobytes()).digest()
        self._chains.bases.add(self._commit)

    def _lose_track(self) -> None:
        if self._log_known or self._rules.known:
            self.report.note(
                f"behind block {self._totals[0]} a round is lost: rules and log root are not compared from there on"
            )
        self._log_known = self._rules.known = self._chains.known = False
        self._head = None

    def _finish(self) -> None:
        ledger, report, note = self.ledger, self.report, self._checkpoint
        report.head = ledger.head
        if note is not None and note.size > ledger.block_total:
            what = f"the checkpoint vouches for {note.size} blocks, but only {ledger.block_total} are found"
            report.problem(CHECKPOINT_NAME, ledger.block_total, what)
        elif note is not None and note.size == 0 and note.root != kernels.log_root(np.zeros((64, 32), np.uint8), 0):
            report.problem(CHECKPOINT_NAME, None, "the checkpoint's root is not that of an empty log")
        self._rules.check_decided_once(ledger.rounds, report)
        self._rules.note_dangling(report)
        if report.blocks and not (ledger.path / CHECKPOINT_NAME).exists():
            report.note(
                "no checkpoint here: that nothing was cut off at the end cannot be seen from this folder alone; "
                "compare the head with one kept elsewhere"
            )
        audit_views.check_leftovers(ledger.folder, ledger.epochs, report)
        for text in ledger.behind_cuts:
            report.note(f"{text}; what lies there was never acknowledged and does not count")
        if ledger.tail:
            report.note(ledger.tail)
