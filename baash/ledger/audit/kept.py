"""What an audit keeps of a round's transactions: 48 bytes each, for the rules that span the ledger (``share.py``).

``acts`` (kernels.ACT): what the rules over entities need; of NOTE nothing. ``pairs``: prints of what was decided, rejections
too. ``ids8`` and ``references``: the first 8 bytes of ids committed and referred to. Equal prints are no proof of equal
things: who finds some looks again (``once.py``).

Here too are looked at, while the records lie in memory, the shards and signatures of single transactions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from baash import kernels, keys
from baash.ledger.audit.pieces import Memory, Piece, one_by_one
from baash.ledger.blocks import Fault
from baash.ledger.round import Round
from baash.protocol.view import View
from baash.records import TRANSACTION, UNDECIDED_REASONS, Flag, Operation, key_issuer

Look = Callable[[Piece], None]  # at each piece that has NOTEs, and at others
Tell = Callable[[int, str], None]  # a transaction's number in the round, and what is wrong with it
NOTHING = np.zeros(0, dtype=np.uint64)


@dataclass
class Kept:
    """Of one round. ``references`` u8: ascending, each once."""

    acts: np.ndarray
    pairs: np.ndarray
    ids8: np.ndarray
    references: np.ndarray


def nothing() -> Kept:
    return Kept(np.zeros(0, dtype=kernels.ACT), NOTHING, NOTHING, NOTHING)


class Keeper:
    """Collects what is kept of a round with room for ``capacity`` transactions."""

    def __init__(self, view: View, capacity: int, seeds: np.ndarray, tell: Tell, look: Look) -> None:
        self._view, self._seeds, self._tell, self._more = view, seeds, tell, look
        self._owners = np.ascontiguousarray(view.cluster_of_shard, dtype=np.uint32)
        self._acts = np.empty(capacity, dtype=kernels.ACT)
        self._pairs, self._ids8 = np.empty(capacity, dtype=np.uint64), np.empty(capacity, dtype=np.uint64)
        self._used = self._acting = 0
        self._skipped = False  # bad blocks: then acts are not those of all transactions
        self._references: list[np.ndarray] = []
        self._rejected = NOTHING
        self.signatures = 0

    def take_round(self, round: Round, rows: np.ndarray, bounds: np.ndarray, memory: Memory) -> list[Fault]:
        """Keep the round's good blocks, in order; what is wrong with the others. ``bounds``: as ``bounds_of``."""
        walk, faults = memory.walk, list[Fault]()
        walk.begin()
        while True:
            place = round.file.place("records")
            stop = walk.take(self._acts, self._pairs, self._ids8, place, rows, bounds, self._owners, self._seeds)
            self._used, self._acting = walk.filled
            if stop is kernels.Stop.DONE:
                return faults
            first, after = walk.first, walk.after
            if stop is kernels.Stop.LOOK:
                records, info, entities = walk.piece()
                piece = Piece(first, after, int(bounds[first]), records, info, entities[:0], entities)
                self._look(piece, int(rows["cluster"][first]), walk)
                walk.skip()
                continue
            self._skipped = True
            for piece in one_by_one(round, rows, bounds, first, after, memory, faults):
                self._take(piece, int(rows["cluster"][first]))
            walk.skip(self._used - walk.filled[0], self._acting - walk.filled[1])

    def _take(self, piece: Piece, cluster: int) -> None:
        """Keep a piece, whose blocks say that they are of ``cluster``."""
        begin, acting = self._used, self._acting
        self._used = end = begin + len(piece.info)
        met = kernels.take_acts(
            self._acts[acting : acting + len(piece.info)],
            self._pairs[begin:end],
            self._ids8[begin:end],
            piece.info,
            piece.ids,
            piece.entities,
            piece.start,
            self._owners,
            cluster,
            self._seeds,
        )
        self._acting += met.acts
        self._look(piece, cluster, met)

    def _look(self, piece: Piece, cluster: int, met: kernels.Taken | kernels.Walk) -> None:
        """At what only some transactions have."""
        if met.strangers:
            self._check_shards(piece, cluster)
        if met.signed:
            self._check_signed(piece)
        if met.refers:
            self._references.append(_references(piece))
        self._more(piece)

    def reject(self, rows: np.ndarray) -> None:
        """Keep the rejections (REJECTION) that decided something."""
        if not len(rows):
            return
        decided = rows[~np.isin(rows["reason"], UNDECIDED_REASONS)]
        self._rejected = kernels.pair_prints(np.ascontiguousarray(decided["issuer"]), decided["sequence"], self._seeds)

    def written(self, start: int, end: int) -> np.ndarray:
        """u8: the short hashes of the entities that transactions [start, end) of the round write, ascending, each once."""
        acts, first, after = self._acts[: self._acting], start, end
        if self._acting != self._used or self._skipped:
            first, after = np.searchsorted(acts["number"], np.array([start, end], dtype=np.uint32)).tolist()
        part = acts[first:after]
        found: np.ndarray = part["key"][:, 0].copy()
        uses = part["operation"] == Operation.USE
        if uses.any():
            found = found[~uses]
        found.sort()
        again = found[1:] == found[:-1]
        return found[np.append(True, ~again)] if again.any() else found

    def kept(self) -> Kept:
        pairs = self._pairs[: self._used]
        pairs = np.concatenate((pairs, self._rejected)) if len(self._rejected) else pairs
        references = np.unique(np.concatenate(self._references)) if self._references else NOTHING
        return Kept(self._acts[: self._acting], pairs, self._ids8[: self._used], references)

    def _check_shards(self, piece: Piece, cluster: int) -> None:
        owners = self._view.clusters_of(np.ascontiguousarray(piece.entities[:, :8]).view("<u8")[:, 0])
        for i in np.flatnonzero(owners != cluster):
            self._tell(piece.start + int(i), f"the entity is of cluster {int(owners[i])}")

    def _check_signed(self, piece: Piece) -> None:
        info = piece.info
        for i in np.flatnonzero(info["flags"] & Flag.SIGNED):
            start, size = int(info["start"][i]), int(info["total_bytes"][i])
            whole = piece.records[start : start + size].tobytes()
            self.signatures += 1
            if key_issuer(whole[-96:-64]) != info["issuer"][i].tobytes():
                self._tell(piece.start + int(i), "the issuer is not that of the public key")
            elif not keys.verify(whole[-96:-64], keys.Context.TRANSACTION, whole[:-64], whole[-64:]):
                self._tell(piece.start + int(i), "the issuer's signature does not verify")


def _references(piece: Piece) -> np.ndarray:
    """u8: the first 8 bytes of the ids that a piece refers to."""
    info = piece.info[piece.info["reference_count"] > 0]
    names = info["entity_bytes"].astype(np.uint64) + np.uint64(7) & ~np.uint64(7)
    starts = info["start"] + np.uint64(TRANSACTION.itemsize) + names
    hashes = kernels.gather(piece.records, starts, info["reference_count"].astype(np.uint64) * np.uint64(32))
    return np.unique(hashes.reshape(-1, 32)[:, :8].copy().view("<u8")[:, 0])
