"""Evidence in the ledger: NOTEs that say that a node contradicted itself, and whether they prove it.

A NOTE is anybody's word, so nothing of it is believed: both statements are checked against the key that the view they name gives to
the node they name, and that view must be vouched for. What does not hold is told too: somebody tried to make a liar of an
honest node. Neither is a failure of the ledger. ``protocol/evidence.py`` says what proves what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from baash.ledger.audit.pieces import Piece
from baash.protocol import evidence
from baash.protocol.view import View
from baash.records import TRANSACTION, Operation

_NAME = np.frombuffer(evidence.ENTITY, dtype=np.uint8)


@dataclass(frozen=True)
class Claimed:
    """Such a NOTE, transaction ``index`` of a block of the round: whom it names, what that node did, and what is ``wrong`` with it
    (empty: it is proof)."""

    block: int
    index: int
    wrong: str
    view: int | None = None
    node: int | None = None
    rank: int | None = None
    host: str | None = None
    what: str = ""


def notes(piece: Piece, views: Mapping[int, View], bounds: np.ndarray) -> list[Claimed]:
    """The NOTEs of a piece that say that they are evidence. ``bounds`` u8: the number in the round of each block's first transaction."""
    info = piece.info
    found = np.flatnonzero((info["operation"] == Operation.NOTE) & (info["entity_bytes"] > len(_NAME)))
    if not len(found):
        return []
    names = info["start"][found].astype(np.int64)[:, None] + (TRANSACTION.itemsize + np.arange(len(_NAME)))
    claims = []
    for at in found[(piece.records[names] == _NAME).all(axis=1)].tolist():
        block = int(np.searchsorted(bounds, piece.start + at, side="right")) - 1
        claims.append(_look_at(piece, at, views, (block, piece.start + at - int(bounds[block]))))
    return claims


def _look_at(piece: Piece, number: int, views: Mapping[int, View], place: tuple[int, int]) -> Claimed:
    info = piece.info[number]
    first = int(info["start"]) + int(info["payload_start"])
    raw = piece.records[first : first + min(int(info["payload_bytes"]), evidence.PAYLOAD_BYTES_MAX + 1)]
    try:
        claim = evidence.read(raw.tobytes())
    except ValueError as error:
        return Claimed(*place, str(error))
    view = views.get(claim.view)
    if view is None:
        return Claimed(*place, "that view is not in the history", claim.view, claim.node)
    wrong = evidence.wrong(claim, view)
    if wrong:
        return Claimed(*place, wrong, claim.view, claim.node)
    node = view.nodes[claim.node]
    return Claimed(*place, "", claim.view, claim.node, node.rank, node.host, evidence.describe(claim))
