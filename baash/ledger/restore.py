"""From the ledger to what a rank needs to go on: entity versions, decided numbers, ids, the log, where to continue.

Streams all rounds, one scan each, no transaction is looked at in Python. What is taken over is checked on the way as
far as hashes go (records, roots, chain, log): nobody builds on bytes that have rotted. Signatures and votes are the
audit's business. Memory: the tables alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger import blocks
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.protocol.plan import Cursor, Log, rejections_digest
from baash.protocol.view import Predecessor, View
from baash.records import REPLAY_WIDTH, SHARD_COUNT, UNDECIDED_REASONS, ZERO_HASH, Reason

Progress = Callable[[int, int], None]  # transactions done, in all

COMMITTED, REJECTED = 1, 2  # the "version" of an id in ``Restored.ids``


@dataclass
class Restored:
    """The state at the head of a ledger."""

    entities: kernels.EntityTable  # by entity hash[:16]; last: number of the transaction that wrote it last
    replay: kernels.ReplayTable
    ids: kernels.EntityTable  # by id[:16]: version 1 committed, last: its number; version 2 rejected, last: the reason
    frontier: np.ndarray = field(default_factory=lambda: np.zeros((64, 32), dtype=np.uint8))
    block_total: int = 0
    transaction_total: int = 0
    rejection_total: int = 0
    head: bytes = ZERO_HASH
    commit: bytes = ZERO_HASH  # hash of the last commit record that counts
    slot: bytes | None = None  # the slot it is in
    slot_view: int | None = None
    newest_view: int | None = None

    def predecessor(self) -> Predecessor | None:
        """What a successor's view record says of the view before it."""
        if self.newest_view is None:
            return None
        return Predecessor(self.newest_view, self.slot if self.slot_view == self.newest_view else None)

    def log(self, clusters: int) -> Log:
        """The log on which the first round of a new view builds."""
        totals = (self.block_total, self.transaction_total, self.rejection_total)
        return Log(0, *totals, self.head, self.commit, self.frontier.copy(), Cursor(), ((0, ZERO_HASH),) * clusters)


def restore(
    ledger: Ledger,
    shards: np.ndarray | None = None,
    replay_width: int | None = None,
    progress: Progress | None = None,
    rounds: Iterable[Round] | None = None,
    until: int | None = None,
) -> Restored:
    """Read a ledger to its head. LedgerDamaged names the first thing that is not as it was committed.

    ``shards`` (bool, 4,096): take over entities, ids and decided numbers of these alone, as the node of one cluster does;
    otherwise one cluster's high numbers would make another's, which lag behind, too old. ``until``: a view that has begun, of which
    nothing counts yet. ``rounds``: the ledger's first ones, to see it as it was; all of them unless told.
    """
    view = ledger.view
    width = replay_width or (view.parameters.replay_width if view else REPLAY_WIDTH)
    state = Restored(kernels.EntityTable(), kernels.ReplayTable(width), kernels.EntityTable())
    state.newest_view = view.view if view else None
    for round in ledger.rounds if rounds is None else rounds:
        if until is not None and round.view.view >= until:
            break
        _take_round(ledger, round, state, shards)
        if progress is not None:
            progress(state.transaction_total, ledger.transaction_total)
    return state


def catch_up(ledger: Ledger, state: Restored, since: int, until: int, shards: np.ndarray | None = None) -> bool:
    """Bring a node's state to where view ``until`` began. False, and nothing is changed: its newest commit record is not here.

    ``state`` is as of ``state.commit``, which the node applied in view ``since`` or began that view with; entities, replay, ids,
    frontier, head and number of blocks count. Nodes do not learn of rejections while they run: those are taken from the ledger.
    """
    rounds = ledger.rounds
    end = len(rounds)
    while end and rounds[end - 1].view.view >= until:
        end -= 1
    at = end - 1
    while at >= 0 and rounds[at].hash != state.commit and rounds[at].view.view >= since:
        at -= 1
    if (rounds[at].hash if at >= 0 else ZERO_HASH) != state.commit:
        return False
    state.newest_view = ledger.view.view if ledger.view else None
    if at >= 0:
        last = rounds[at]
        state.transaction_total, state.rejection_total = (
            int(last.record[name]) for name in ("transaction_total", "rejection_total")
        )
        state.slot, state.slot_view = last.raw.tobytes(), last.view.view
    first = at
    while first >= 0 and rounds[first].view.view >= since:
        _take_rejections(ledger, rounds[first], state, shards)
        first -= 1
    for round in rounds[at + 1 : end]:
        _take_round(ledger, round, state, shards)
    return True


def _take_round(ledger: Ledger, round: Round, state: Restored, shards: np.ndarray | None) -> None:
    found = blocks.read(round)
    for fault in (*found.faults, *blocks.follows(found, state.head)):
        raise _damaged(ledger, round, round.first_block + fault.block, fault.what)
    first = state.transaction_total
    _extend_log(ledger, round, state, found)
    _take_transactions(ledger, round, state, found, first, shards)
    _take_rejections(ledger, round, state, shards)
    state.commit, state.slot, state.slot_view = round.hash, round.raw.tobytes(), round.view.view


def blind(info: np.ndarray) -> np.ndarray:
    """A copy of TRANSACTION_INFO whose pairs (issuer, sequence) are all new: for the rules over entities alone."""
    copy: np.ndarray = info.copy()
    copy["issuer"] = 0
    copy["sequence"] = np.arange(len(info), dtype=np.uint64)
    return copy


def _extend_log(ledger: Ledger, round: Round, state: Restored, found: blocks.RoundBlocks) -> None:
    record = round.record
    state.block_total, root = kernels.log_append(state.frontier, state.block_total, found.hashes)
    state.transaction_total += int(found.bounds[-1])
    state.rejection_total += int(round.locator["rejection_count"])
    state.head = found.hashes[-1].tobytes() if len(found.hashes) else state.head
    wanted = (root, state.head, state.block_total, state.transaction_total, state.rejection_total)
    totals = [int(record[name]) for name in ("block_total", "transaction_total", "rejection_total")]
    if wanted != (record["log_root"].tobytes(), record["head"].tobytes(), *totals):
        raise _damaged(ledger, round, round.first_block, "the commit record does not fit the blocks of its round")


def _take_transactions(
    ledger: Ledger, round: Round, state: Restored, found: blocks.RoundBlocks, first: int, shards: np.ndarray | None
) -> None:
    batch = found.batch
    numbers = np.uint64(first) + np.arange(len(batch), dtype=np.uint64)
    info, entities, ids = batch.info, batch.entities, batch.ids
    if shards is not None:
        chosen = shards[(batch.short_hashes & np.uint64(SHARD_COUNT - 1)).astype(np.int64)]
        info, entities, ids, numbers = info[chosen], entities[chosen], ids[chosen], numbers[chosen]
    if not len(info):
        return
    fresh = kernels.ReplayTable(64)
    reasons, keys, versions, exists, last = kernels.check_transactions(state.entities, fresh, blind(info), entities)
    if reasons.any():
        at = int(np.flatnonzero(reasons)[0])
        block = int(np.searchsorted(found.bounds, numbers[at] - np.uint64(first), side="right")) - 1
        raise _damaged(
            ledger, round, round.first_block + block, f"a transaction breaks a rule: {Reason(reasons[at]).name}"
        )
    state.entities.upsert(keys, versions, exists, numbers[last.astype(np.int64)])
    state.replay.mark(np.ascontiguousarray(info["issuer"]), np.ascontiguousarray(info["sequence"]))
    ones = np.ones(len(info), dtype=np.uint64)
    state.ids.upsert(np.ascontiguousarray(ids[:, :16]), ones, ones.astype(bool), numbers)


def _take_rejections(ledger: Ledger, round: Round, state: Restored, shards: np.ndarray | None) -> None:
    rows = round.rejections()
    if rejections_digest(rows) != round.record["rejections"].tobytes():
        raise _damaged(ledger, round, round.first_block, "the rejections are not those of the commit record")
    if shards is not None:
        rows = rows[_deciding(round.view, shards)[np.minimum(rows["cluster"], len(round.view.coordinators) - 1)]]
    if not len(rows):
        return
    deciding = rows[~np.isin(rows["reason"], UNDECIDED_REASONS)]
    state.replay.mark(np.ascontiguousarray(deciding["issuer"]), np.ascontiguousarray(deciding["sequence"]))
    keys = np.ascontiguousarray(rows["id"][:, :16])
    new = state.ids.lookup(keys)[0] != COMMITTED
    twos = np.full(int(new.sum()), REJECTED, dtype=np.uint64)
    state.ids.upsert(keys[new], twos, twos.astype(bool), rows["reason"][new].astype(np.uint64))


def _deciding(view: View, shards: np.ndarray) -> np.ndarray:
    """bool, by cluster of ``view``: whether it decided for any of ``shards``."""
    chosen = np.zeros(len(view.coordinators), dtype=bool)
    chosen[np.unique(view.cluster_of_shard[shards])] = True
    return chosen


def _damaged(ledger: Ledger, round: Round, height: int, what: str) -> LedgerDamaged:
    return LedgerDamaged(f"{ledger.path}, {round.file.name}, block {height}: {what}; baash verify lists all damage")
