"""The audit of rules that span the ledger: versions, shards, signed transactions, pairs decided once, references.

Theory of the last two. Whether a pair (issuer, sequence) or an id ever came before would need all of them in a table. Instead
8 bytes of each are kept and sorted at the end: what is there once is proved unique, and the few that are there
twice are looked up exactly in a second pass. So an audit takes 16 bytes a transaction, and the entity table.

A pair that came twice is a failure when it is the same transaction, or when one cluster of one view decided both:
its validators should have refused. Otherwise two clusters could not know of each other, and it is the issuer's
misconduct, which is reported and no failure.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import numpy as np

from baash import kernels, keys
from baash.batch import Batch, signed
from baash.ledger import blocks
from baash.ledger.audit.report import Report
from baash.ledger.blocks import RoundBlocks
from baash.ledger.restore import blind
from baash.ledger.round import Round
from baash.records import TRANSACTION, UNDECIDED_REASONS, Reason, key_issuer

_SEEDS = [np.uint64(secrets.randbits(64) | 1) for _ in range(4)]  # chosen anew, so that nobody can prepare collisions


class Growing:
    """u8 numbers, appended; the memory doubles."""

    def __init__(self) -> None:
        self._room = np.empty(1024, dtype=np.uint64)
        self._used = 0

    def append(self, more: np.ndarray) -> None:
        while self._used + len(more) > len(self._room):
            self._room = np.concatenate((self._room, np.empty_like(self._room)))
        self._room[self._used : self._used + len(more)] = more
        self._used += len(more)

    def ascending(self) -> np.ndarray:
        """All of them, sorted in place."""
        found = self._room[: self._used]
        found.sort()
        return found


class Rules:
    """The state that the rules need, carried from round to round."""

    def __init__(self) -> None:
        self.known = True  # False behind damage that hides transactions: the rules cannot be replayed any more
        self._entities = kernels.EntityTable()
        self._nothing = kernels.ReplayTable(64)
        self._pairs = Growing()
        self._ids = Growing()
        self._references = np.zeros(0, dtype=np.uint64)
        self._waiting: list[np.ndarray] = []

    def take(self, round: Round, found: RoundBlocks, rejections: np.ndarray, report: Report) -> None:
        """Judge a round's transactions."""
        batch = found.batch
        self._pairs.append(_fingerprints(rejections[~np.isin(rejections["reason"], UNDECIDED_REASONS)]))
        if not len(batch):
            self.known = self.known and found.whole
            return
        self._pairs.append(_fingerprints(batch.info))
        self._ids.append(_first_8(batch.ids))
        self._take_references(batch)
        self._check_shards(round, found, report)
        self._check_signed(round, found, report)
        if self.known:
            self._check_rules(round, found, report)

    def _check_rules(self, round: Round, found: RoundBlocks, report: Report) -> None:
        info, entities = blind(found.batch.info), found.batch.entities
        reasons, keys_, versions, exists, last = kernels.check_transactions(
            self._entities, self._nothing, info, entities
        )
        for i in np.flatnonzero(reasons):
            _say(round, found, report, int(i), f"the transaction breaks a rule: {Reason(reasons[i]).name}")
        self._entities.upsert(keys_, versions, exists, last)

    def _check_shards(self, round: Round, found: RoundBlocks, report: Report) -> None:
        owners = round.view.clusters_of(found.batch.short_hashes)
        for i in np.flatnonzero(owners != np.repeat(found.rows["cluster"], found.rows["count"])):
            _say(round, found, report, int(i), f"the entity is of cluster {int(owners[i])}")

    def _check_signed(self, round: Round, found: RoundBlocks, report: Report) -> None:
        info, records = found.batch.info, found.batch.records
        for i in signed(found.batch):
            start, size = int(info["start"][i]), int(info["total_bytes"][i])
            whole = records[start : start + size].tobytes()
            report.signatures += 1
            if key_issuer(whole[-96:-64]) != info["issuer"][i].tobytes():
                _say(round, found, report, int(i), "the issuer is not that of the public key")
            elif not keys.verify(whole[-96:-64], keys.Context.TRANSACTION, whole[:-64], whole[-64:]):
                _say(round, found, report, int(i), "the issuer's signature does not verify")

    def _take_references(self, batch: Batch) -> None:
        info = batch.info[batch.info["reference_count"] > 0]
        if not len(info):
            return
        starts = (
            info["start"]
            + np.uint64(TRANSACTION.itemsize)
            + (info["entity_bytes"].astype(np.uint64) + np.uint64(7) & ~np.uint64(7))
        )
        hashes = kernels.gather(batch.records, starts, info["reference_count"].astype(np.uint64) * np.uint64(32))
        self._waiting.append(np.unique(_first_8(hashes.reshape(-1, 32))))
        if len(self._waiting) > 256:
            self._merge_references()

    def _merge_references(self) -> None:
        self._references = np.unique(np.concatenate([self._references, *self._waiting]))
        self._waiting.clear()

    # --- at the end

    def note_dangling(self, report: Report) -> None:
        """Note references that name no committed transaction."""
        self._merge_references()
        ids = self._ids.ascending()
        if not len(self._references):
            return
        places = np.minimum(np.searchsorted(ids, self._references), max(len(ids) - 1, 0))
        dangling = self._references[ids[places] != self._references] if len(ids) else self._references
        if len(dangling):
            example = int(dangling[0]).to_bytes(8, "little").hex()
            report.note(f"references that name no committed transaction: {len(dangling)}, for example {example}…")

    def check_decided_once(self, rounds: Iterable[Round], report: Report) -> None:
        """Look up the pairs that came twice, in a second pass over the rounds."""
        pairs = self._pairs.ascending()
        suspects = np.unique(pairs[1:][pairs[1:] == pairs[:-1]])
        if not len(suspects):
            return
        seen: dict[tuple[bytes, int], list[tuple[bytes, int, int, int]]] = {}
        misconduct = 0
        for round in rounds:
            for issuer, sequence, id_, cluster, height, index in _decided(round, suspects):
                before = seen.setdefault((issuer, sequence), [])
                same_id = [b for b in before if b[0] == id_]
                same_cluster = [b for b in before if b[1:3] == (round.view.view, cluster)]
                if same_id or same_cluster:
                    what = "the same transaction is" if same_id else "two transactions of one issuer and number are"
                    where = (same_id or same_cluster)[0][3]
                    text = f"{what} decided twice (number {sequence} of issuer {issuer.hex()}, first by block or round at {where})"
                    report.problem(round.file.name, height, text, index)
                elif before:
                    misconduct += 1
                before.append((id_, round.view.view, cluster, height))
        if misconduct:
            report.note(
                f"{misconduct} times an issuer used a sequence number for two transactions: the issuer's misconduct"
            )


def _decided(round: Round, suspects: np.ndarray) -> Iterable[tuple[bytes, int, bytes, int, int, int | None]]:
    """(issuer, sequence, id, cluster, height, index) of what a round decided and is suspect."""
    found = blocks.read(round)
    info = found.batch.info
    for i in np.flatnonzero(np.isin(_fingerprints(info), suspects)):
        block = int(np.searchsorted(found.bounds, i, side="right")) - 1
        index = int(i) - int(found.bounds[block])
        cluster, height = int(found.rows["cluster"][block]), round.first_block + block
        yield (
            info["issuer"][i].tobytes(),
            int(info["sequence"][i]),
            found.batch.ids[i].tobytes(),
            cluster,
            height,
            index,
        )
    rows = round.rejections()
    rows = rows[~np.isin(rows["reason"], UNDECIDED_REASONS)]
    for row in rows[np.isin(_fingerprints(rows), suspects)]:
        yield (
            row["issuer"].tobytes(), int(row["sequence"]), row["id"].tobytes(), int(row["cluster"]), round.first_block, None
        )  # fmt: skip


def _fingerprints(rows: np.ndarray) -> np.ndarray:
    """u8 (n): equal for equal (issuer, sequence), else different but for chance (2⁻⁶⁴ a pair)."""
    issuers = np.ascontiguousarray(rows["issuer"]).view("<u8").reshape(-1, 2)
    mixed = issuers[:, 0] * _SEEDS[0] ^ rows["sequence"].astype(np.uint64)
    for seed, word in ((_SEEDS[1], issuers[:, 1]), (_SEEDS[2], np.uint64(0)), (_SEEDS[3], np.uint64(0))):
        mixed = (mixed ^ (mixed >> np.uint64(29))) * seed ^ word
    found: np.ndarray = mixed ^ (mixed >> np.uint64(32))
    return found


def _first_8(hashes: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.ascontiguousarray(hashes[:, :8]).view("<u8")[:, 0]
    return found


def _say(round: Round, found: RoundBlocks, report: Report, transaction: int, what: str) -> None:
    block = int(np.searchsorted(found.bounds, transaction, side="right")) - 1
    report.problem(round.file.name, round.first_block + block, what, transaction - int(found.bounds[block]))
