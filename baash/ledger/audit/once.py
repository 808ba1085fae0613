"""Whether each (issuer, sequence) was decided once: the second pass, over the few pairs whose prints came twice.

A pair that came twice is a failure when it is the same transaction, or when one cluster of one view decided both:
its validators should have refused. Otherwise two clusters could not know of each other, and it is the issuer's
misconduct, which is reported and no failure.

``decided`` reads one round and can be divided like any examination; ``judge`` takes all that was found, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged, StorageError
from baash.ledger.audit.pieces import Memory, bounds_of, good_pieces
from baash.ledger.audit.report import Report
from baash.ledger.round import Round
from baash.records import UNDECIDED_REASONS

DECIDED = np.dtype(
    [
        ("round", "<u8"),
        ("height", "<u8"),
        ("index", "<i8"),  # of the transaction in its block; -1: a rejection
        ("sequence", "<u8"),
        ("issuer", "u1", 16),
        ("id", "u1", 32),
        ("view", "<u4"),
        ("cluster", "<u4"),
    ]
)
"""A decision whose pair is suspect. A rejection has the height of its round's first block."""


def decided(round: Round, suspects: np.ndarray, seeds: np.ndarray, memory: Memory) -> np.ndarray:
    """DECIDED: what ``round`` decided of the ``suspects`` (u8, prints), in order; nothing, if it cannot be read."""
    try:
        return _decided(round, suspects, seeds, memory)
    except (LedgerDamaged, StorageError):  # told when it was examined
        return np.zeros(0, dtype=DECIDED)


def _decided(round: Round, suspects: np.ndarray, seeds: np.ndarray, memory: Memory) -> np.ndarray:
    rows, found = round.headers(), []
    for piece in good_pieces(round, rows, bounds := bounds_of(round, rows), memory, []):
        info = piece.info
        places = np.flatnonzero(np.isin(kernels.pair_prints(info["issuer"], info["sequence"], seeds), suspects))
        if len(places):
            blocks = np.searchsorted(bounds, np.uint64(piece.start) + places.astype(np.uint64), side="right") - 1
            some = _of(round, info[places], piece.ids[places], rows["cluster"][blocks])
            some["height"] = round.first_block + blocks
            some["index"] = piece.start + places - bounds[blocks].astype(np.int64)
            found.append(some)
    rejected = round.rejections()
    rejected = rejected[~np.isin(rejected["reason"], UNDECIDED_REASONS)]
    prints = kernels.pair_prints(np.ascontiguousarray(rejected["issuer"]), rejected["sequence"], seeds)
    rejected = rejected[np.isin(prints, suspects)]
    if len(rejected):
        found.append(_of(round, rejected, rejected["id"], rejected["cluster"]))
    return np.concatenate(found) if found else np.zeros(0, dtype=DECIDED)


def _of(round: Round, pairs: np.ndarray, ids: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    out = np.zeros(len(pairs), dtype=DECIDED)
    out["round"], out["height"], out["index"], out["view"] = round.index, round.first_block, -1, round.view.view
    out["issuer"], out["sequence"], out["id"], out["cluster"] = pairs["issuer"], pairs["sequence"], ids, clusters
    return out


def judge(found: Iterable[np.ndarray], file_of: Callable[[int], str], report: Report) -> None:
    """Report what was decided twice. ``found``: DECIDED, by round; ``file_of``: the name of a round's segment."""
    seen: dict[tuple[bytes, int], list[tuple[bytes, int, int, int]]] = {}
    misconduct = 0
    for row in (row for rows in found for row in rows):
        issuer, sequence, id_ = row["issuer"].tobytes(), int(row["sequence"]), row["id"].tobytes()
        view, cluster, height = int(row["view"]), int(row["cluster"]), int(row["height"])
        before = seen.setdefault((issuer, sequence), [])
        same_id = [b for b in before if b[0] == id_]
        same_cluster = [b for b in before if b[1:3] == (view, cluster)]
        if same_id or same_cluster:
            what = "the same transaction is" if same_id else "two transactions of one issuer and number are"
            where = (same_id or same_cluster)[0][3]
            text = (
                f"{what} decided twice (number {sequence} of issuer {issuer.hex()}, first by block or round at {where})"
            )
            index = int(row["index"])
            report.problem(file_of(int(row["round"])), height, text, index if index >= 0 else None)
        elif before:
            misconduct += 1
        before.append((id_, view, cluster, height))
    if misconduct:
        report.note(
            f"{misconduct} times an issuer used a sequence number for two transactions: the issuer's misconduct"
        )
