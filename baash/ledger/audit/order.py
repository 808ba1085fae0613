"""What has to be seen in the order of the chain: the log tree, the chains of windows, what can be known behind damage.

Reads what ``examine.py`` found of each round, and its commit record; no blocks. Costs 64 hashed bytes a block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from baash import kernels
from baash.ledger.audit.evidence import Claimed
from baash.ledger.audit.examined import Examined
from baash.ledger.audit.proof import Proofs
from baash.ledger.audit.report import Evidence, Report
from baash.ledger.folder import CHECKPOINT_NAME
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.round import Round
from baash.records import COMMIT_RECORD, ZERO_HASH

Say = Callable[[int, str], None]  # a block of the round, and what is wrong


@dataclass
class Chains:
    """The window chains of a view so far, and the commit records that a window may build on."""

    windows: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # cluster: windows decided, hash of the last
    bases: set[bytes] = field(default_factory=set)
    known: bool = True  # False behind damage: then a round's own word is taken to go on


class Order:
    """The walk. ``sound``: the views that are vouched for; ``checkpoint``: what is known of the log from elsewhere."""

    def __init__(self, report: Report, sound: Collection[int], checkpoint: Checkpoint | None) -> None:
        self._report, self._sound, self._checkpoint = report, sound, checkpoint
        self.rules_known = True
        self.rules_until = 0
        self.proofs = Proofs()
        self._chains = Chains()
        self._view = -1
        self._commit = ZERO_HASH
        self._frontier = np.zeros((64, 32), dtype=np.uint8)
        self._size = 0
        self._log_known = True

    def take(self, round: Round, examined: Examined) -> None:
        """The next round. Its problems come first: those found in it alone, then those of the order."""
        report, name, first = self._report, round.file.name, round.first_block
        report.turn_to(round.index)
        self._enter(round)
        if examined.failed is not None:
            self._lose_track()
            report.problem(name, first, examined.failed)
            self.proofs.skip()
        else:
            if not round.follows:
                self._lose_track()
            for block, transaction, what in examined.said:
                report.problem(name, first + block, what, transaction)
            report.problem_count += examined.said_count - len(examined.said)
            self._take_log(round, examined)
            self._check_chains(round, examined, lambda block, what: report.problem(name, first + block, what))
            self._note(round, examined)
            report.add(examined.counted)
        if self.rules_known:
            self.rules_until = int(round.record["block_total"])
        self._size = int(round.record["block_total"])
        self._commit = hashlib.sha256(round.raw[: COMMIT_RECORD.itemsize].tobytes()).digest()
        self._chains.bases.add(self._commit)

    def skip(self, index: int, what: str) -> None:
        """A round whose commit record cannot be read any more."""
        self._report.turn_to(index)
        self._lose_track()
        self._report.problem(None, None, f"round {index}: {what}")
        self.proofs.skip()

    def _enter(self, round: Round) -> None:
        if round.view.view != self._view:
            self._view = round.view.view
            self._chains = Chains(bases={self._commit}, known=round.number == 0)
        self._chains.bases.add(round.record["previous"].tobytes())  # behind a damaged slot nothing else knows it

    def _lose_track(self) -> None:
        if self._log_known or self.rules_known:
            self._report.note(
                f"behind block {self._size} a round is lost: rules and log root are not compared from there on"
            )
        self._log_known = self.rules_known = self._chains.known = False

    def _note(self, round: Round, examined: Examined) -> None:
        for claim in examined.evidence:
            self._claim(round, claim)
        if examined.conflicts:
            self._report.note(
                f"{round.file.name}, round {round.number}: {examined.conflicts} rejected for an issuer's misconduct "
                "(ISSUER_CONFLICT)"
            )
        if self.rules_known and not examined.whole:
            self.rules_known = False
            self._report.note(
                f"rules are not replayed from block {round.first_block} on, since transactions there cannot be read"
            )

    def _claim(self, round: Round, claim: Claimed) -> None:
        """A NOTE that says that it is evidence: of a view that counts?"""
        wrong = claim.wrong
        if not wrong and claim.view not in self._sound:
            wrong = "nobody vouches for that view"
        rank, host = (None, None) if wrong else (claim.rank, claim.host)
        name, height = round.file.name, round.first_block + claim.block
        found = Evidence(name, height, claim.index, claim.view, claim.node, rank, host, wrong or claim.what)
        self._report.claim(found, not wrong)

    # --- the log

    def _take_log(self, round: Round, examined: Examined) -> None:
        record, first = round.record, round.first_block
        lost = np.zeros(len(examined.hashes), dtype=bool)
        log = self._follow_log(round, examined, lost) if self._log_known else None
        sound = examined.sound and self._view in self._sound
        self.proofs.take(first, examined, record["head"].tobytes(), sound, log, lost)

    def _follow_log(self, round: Round, examined: Examined, lost: np.ndarray) -> bool | None:
        """Whether the log root in the record is that of all blocks; None: it is not compared any more."""
        record, hashes, size = round.record, examined.hashes, self._size
        self._compare_checkpoint(size, hashes)
        before = self._frontier.copy()
        for attempt, leaves in enumerate(_leaves(record["head"], hashes, examined.parents)):
            self._frontier = before.copy()
            _, root = kernels.log_append(self._frontier, size, leaves)
            if root == record["log_root"].tobytes():
                lost |= (leaves != hashes).any(axis=1)
                return True
            if not attempt:
                what = "the log root in the commit record is not that of the blocks"
                self._report.problem(round.file.name, round.first_block, what)
        self._log_known = False
        self._report.note(
            f"the log root is not compared from block {round.first_block} on, since hashes there are lost"
        )
        return None

    def _compare_checkpoint(self, size: int, hashes: np.ndarray) -> None:
        note = self._checkpoint
        if note is None or not size < note.size <= size + len(hashes):
            return
        _, root = kernels.log_append(self._frontier.copy(), size, np.ascontiguousarray(hashes[: note.size - size]))
        if root != note.root:
            self._report.problem(CHECKPOINT_NAME, note.size - 1, "the log up to here is not the one of the checkpoint")

    # --- the chains of windows

    def _check_chains(self, round: Round, examined: Examined, say: Say) -> None:
        chains = self._chains
        if not examined.told:
            chains.known = False
            return
        for row in examined.windows:
            cluster, number = int(row["cluster"]), int(row["number"])
            decided, last = chains.windows.get(cluster, (0, ZERO_HASH))
            name = f"window {number} of cluster {cluster}"
            if chains.known and row["told"] and (number != decided or row["previous"].tobytes() != last):
                say(int(row["block"]), f"{name} does not follow window {decided - 1} of its cluster")
            if chains.known and row["told"] and row["base"].tobytes() not in chains.bases:
                say(int(row["block"]), f"{name} builds on a commit record that is not before it in this view")
            chains.windows[cluster] = (number + 1, row["window"].tobytes())
        self._check_clusters(round, examined, say)
        chains.known = True

    def _check_clusters(self, round: Round, examined: Examined, say: Say) -> None:
        """Where each cluster's chain stands once the round is committed."""
        chains, rows = self._chains, examined.clusters
        stated = {int(r["cluster"]): (int(r["number"]), r["window"].tobytes()) for r in rows}
        clusters = list(range(len(round.view.coordinators)))
        if [int(r["cluster"]) for r in rows] != clusters:
            say(0, "the round body does not list every cluster of the view once, in order")
        elif chains.known and stated != {c: chains.windows.get(c, (0, ZERO_HASH)) for c in clusters}:
            say(0, "the round body says of a cluster's chain what its windows do not")
        chains.windows.update(stated)


def _leaves(head: np.ndarray, hashes: np.ndarray, parents: np.ndarray) -> Iterator[np.ndarray]:
    """What the leaves of a round's blocks may be, (n, 32): the hashes of its headers; or, since a damaged header has another
    hash, but the next one (for the last: the commit record) still says what it was, that. Where the next one is damaged
    too, the damage may be just there, in what it says: so its word is taken only if nothing else fits."""
    yield hashes
    if not len(parents):
        return
    stated = np.concatenate((parents[1:], head[None, :]))
    fits = (stated == hashes).all(axis=1)
    next_is_whole = np.append(fits[1:], True)
    yield np.where((fits | ~next_is_whole)[:, None], hashes, stated)
    yield stated
