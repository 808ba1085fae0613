"""Countersigning: how nodes of a view vouch for the record of the next, where nobody has the ledger's key.

A rank signs for all its nodes when it has left its view, once a number, if every key in the record is one of this job's, and
if the cut is not behind what its nodes have seen committed: a steward that lies can hide nothing from whom it needs.
More than half of the nodes of the view before must sign (``view.vouched``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from baash import keys
from baash.errors import LedgerDamaged, PeerError
from baash.protocol import view_record
from baash.protocol.changes import VouchersWanted
from baash.protocol.messages import rows
from baash.protocol.view import FIRST_LINE, Host, View
from baash.records import COMMIT_RECORD

SIGNED = np.dtype([("key", "u1", 32), ("signature", "u1", 64)])


def opened(text: bytes) -> View:
    """The view of a record's file. Raises PeerError."""
    try:
        return view_record.decode(text)[0]
    except LedgerDamaged as error:
        raise PeerError(str(error)) from error


class Vouching:
    """One rank's signatures, and those it gathers as a steward. ``hosts``: all ranks of the job."""

    def __init__(self, hosts: Mapping[int, Host], secrets: Sequence[keys.PrivateKey]) -> None:
        self.wanted: VouchersWanted | None = None
        self._keys = {r: {h.storage, *h.keys} for r, h in hosts.items()}
        self._secrets = tuple(secrets)
        self._signed = -1  # the highest number that was signed here
        self._found: dict[str, bytes] = {}

    def knows(self, view: View) -> bool:
        """Whether the nodes of a view are those of this job's ranks."""
        return all(n.key in self._keys.get(n.rank, ()) for n in view.nodes)

    def sign(self, body: bytes, left: View, reached: tuple[int, int]) -> np.ndarray | None:
        """Keys and signatures (SIGNED) on a steward's record; None: it is not to be signed. ``reached``: (view, rounds)."""
        view = opened(FIRST_LINE + body + b"\n")
        before = view.predecessor
        if view.view <= max(self._signed, left.view) or before is None:
            return None
        rounds = 1 + int(np.frombuffer(before.commit, COMMIT_RECORD, 1)["round"][0]) if before.commit else 0
        if view.ledger != left.ledger or not self.knows(view) or (before.view, rounds) < reached:
            return None
        self._signed = view.view
        return self._signatures(view)

    def _signatures(self, view: View) -> np.ndarray:
        made = np.zeros(len(self._secrets), dtype=SIGNED)
        for row, key in zip(made, self._secrets, strict=True):
            row["key"], row["signature"] = np.frombuffer(key.public, "u1"), np.frombuffer(view.sign(key), "u1")
        return made

    def want(self, event: VouchersWanted, rank: int) -> dict[str, bytes] | None:
        """Begin to gather, with our own."""
        self.wanted, self._found = event, {}
        return self.take(rank, self._signatures(event.view).view(np.uint8).reshape(-1))

    def take(self, rank: int, section: np.ndarray) -> dict[str, bytes] | None:
        """Signatures from a rank; all of them once there are enough, by signer as in a record."""
        if self.wanted is None:
            return None
        view, before = self.wanted.view, self.wanted.before
        said = {r["key"].tobytes(): r["signature"].tobytes() for r in rows(section, SIGNED)}
        for node in before.nodes:
            signature = said.get(node.key) if node.key in self._keys[rank] else None
            if signature is not None and keys.verify(node.key, keys.Context.VIEW, view.signed, signature):
                self._found[f"node:{node.node}"] = signature
        if 2 * len(self._found) <= len(before.nodes):
            return None
        self.wanted = None
        return dict(self._found)
