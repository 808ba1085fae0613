"""One round by itself: all that can be said of it with nothing but its view and the slot before it.

This is where the work is: reading, hashing, signatures. Rounds can be examined in any order, in many threads and ranks; what
has to be seen in order (``order.py``) or by entity (``share.py``) gets a small record of each. The word of the commit
record before is taken for what came before, so that one fault is told once.
"""

from __future__ import annotations

from threading import Lock, local

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged, StorageError
from baash.ledger import blocks
from baash.ledger.audit import claims as claims_of
from baash.ledger.audit import evidence
from baash.ledger.audit.claims import Claims
from baash.ledger.audit.examined import Examined
from baash.ledger.audit.kept import Keeper, Tell
from baash.ledger.audit.pieces import Memory, Piece, bounds_of
from baash.ledger.audit.recount import rules_of
from baash.ledger.audit.report import Counted
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.protocol.view import View
from baash.records import BLOCK_HEADER, REJECTION, ZERO_HASH, Reason


class Examiner:
    """Examines rounds of ``ledger``, in any thread. ``seeds``: of the prints (``kernels.pair_prints``)."""

    def __init__(self, ledger: Ledger, seeds: np.ndarray) -> None:
        self._ledger, self._seeds = ledger, seeds
        self._rules: dict[int, kernels.ViewRules] = {}
        self._views = {epoch.view.view: epoch.view for epoch in ledger.epochs}
        self._opening = Lock()
        self._threads = local()

    def examine(self, index: int) -> Examined:
        """Damaged bytes may make anything fail: that is told too, and the audit goes on."""
        try:
            with self._opening:
                rounds = self._ledger.rounds
                round, before = rounds[index], rounds[index - 1] if index else None
            return self._look_at(round, before)
        except (LedgerDamaged, StorageError) as error:
            return Examined(index, failed=str(error))
        except Exception as error:
            return Examined(index, failed=f"cannot be examined: {type(error).__name__}: {error}")

    def _look_at(self, round: Round, before: Round | None) -> Examined:
        found, memory = Examined(round.index), self._memory()
        rows = memory.headers(round)
        said = _read_claims(round, rows, self._rules_of(round.view), found)
        found.hashes, good = _check_headers(round, rows)
        found.sound = claims_of.check_commit(round, found)
        claims_of.check_locator(round, before, said, rows, found)
        wrong_headers = [] if good else list(blocks.headers(round, rows))
        links = [] if good else list(blocks.chain(rows, found.hashes))
        found.faults([] if good else [*wrong_headers, *links, *blocks.places(round, rows)])
        _check_totals(round, before, rows, found)
        bounds = bounds_of(round, rows)

        def look(piece: Piece) -> None:
            found.evidence.extend(evidence.notes(piece, self._views, bounds))

        keeper = Keeper(round.view, int(bounds[-1]), self._seeds, _tell(found, bounds), look)
        wrong_records = keeper.take_round(round, rows, bounds, memory)
        found.faults(wrong_records)
        unread = {fault.block for fault in wrong_records}
        if said is not None:
            claims_of.check_body(round, said, rows, found)
            claims_of.check_entities(said, len(rows), bounds, unread, keeper, found)
        rejections = _rejections(round, found)
        keeper.reject(rejections)
        found.conflicts = int((rejections["reason"] == Reason.ISSUER_CONFLICT).sum()) if len(rejections) else 0
        found.bad = np.array(sorted(unread | {fault.block for fault in wrong_headers}), dtype=np.uint64)
        found.whole, found.counts = not unread, rows["count"].astype(np.uint64)
        found.replayable = found.whole and round.follows
        if len(rows):
            found.first_parent = rows["parent"][0].tobytes()
            if links or found.hashes[-1].tobytes() != round.record["head"].tobytes():
                found.parents = rows["parent"].copy()
        found.counted.add(
            Counted(
                blocks=len(rows),
                transactions=int(found.counts.sum()),
                rejections=len(rejections),
                rounds=1,
                signatures=keeper.signatures,
                records_bytes=int(rows["bytes"].sum(dtype=np.uint64)),
            )
        )
        found.kept = keeper.kept()
        return found

    def _rules_of(self, view: View) -> kernels.ViewRules:
        found = self._rules.get(view.view)
        if found is None:
            found = rules_of(view)
            self._rules = {view.view: found}  # rounds of one view come one behind the other
        return found

    def _memory(self) -> Memory:
        if not hasattr(self._threads, "memory"):
            self._threads.memory = Memory()
        found: Memory = self._threads.memory
        return found


def _check_headers(round: Round, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Hashes; and whether all is well with headers, chain and places."""
    if not len(rows):
        return np.zeros((0, 32), dtype=np.uint8), True
    if round.first_block < 0:  # a slot that nobody signed like this
        return kernels.hash_rows(rows, BLOCK_HEADER.itemsize), False
    first = round.first_transaction if round.follows else int(rows["first_transaction"][0])
    return kernels.check_headers(rows, round.first_block, round.view.view, first)


def _read_claims(round: Round, rows: np.ndarray, rules: kernels.ViewRules, found: Examined) -> Claims | None:
    """Where they cannot be read, the blocks can still be looked at."""
    try:
        return claims_of.read_claims(round, rows, rules)
    except LedgerDamaged as error:
        found.say(0, str(error))
        return None


def _rejections(round: Round, found: Examined) -> np.ndarray:
    try:
        rows = round.rejections()
    except LedgerDamaged as error:
        found.say(0, str(error))
        return np.zeros(0, dtype=REJECTION)
    claims_of.check_rejections(round, rows, found)
    return rows


def _tell(found: Examined, bounds: np.ndarray) -> Tell:
    def tell(number: int, what: str) -> None:
        block = int(np.searchsorted(bounds, number, side="right")) - 1
        found.say(block, what, number - int(bounds[block]))

    return tell


def _check_totals(round: Round, before: Round | None, rows: np.ndarray, found: Examined) -> None:
    """Parent of the first block, totals and head of the commit record: against the record before, and the round's blocks."""
    record, count = round.record, len(rows)
    names = ("block_total", "transaction_total", "rejection_total")
    head = before.record["head"].tobytes() if before else ZERO_HASH
    if round.follows:
        if count and rows["parent"][0].tobytes() != head:
            found.say(0, blocks.NOT_LINKED)
        added = (count, int(rows["count"].sum(dtype=np.uint64)), int(round.locator["rejection_count"]))
        totals = [int(before.record[name]) if before else 0 for name in names]
        if [int(record[name]) for name in names] != [a + b for a, b in zip(totals, added, strict=True)]:
            found.say(0, "the totals of the commit record are not those of the ledger so far")
    if count:
        head = found.hashes[-1].tobytes()
    if (count or round.follows) and record["head"].tobytes() != head:
        found.say(max(count - 1, 0), "the head in the commit record is not the hash of the newest block")
