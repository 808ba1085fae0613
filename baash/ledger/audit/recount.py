"""The certificates of a round in one kernel call, and the signatures of their votes: whether all is well.

Where it is not, nothing is said here: ``claims.py`` goes through the round window by window and names what is wrong. So does it where
the storage validator decided. Theory: almost every round is well, and a window costs Python ten times what it costs C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from baash import kernels, keys
from baash.errors import LedgerDamaged
from baash.ledger.round import Body, Round
from baash.protocol.view import View
from baash.records import WINDOW

NO_CLUSTER = 2**32 - 1


@dataclass(frozen=True)
class Recounted:
    """The certificates of a round in which everything holds."""

    windows: np.ndarray  # WINDOW
    votes: int


def rules_of(view: View) -> kernels.ViewRules:
    """What the certificates of a view are held against."""
    validator_of = np.full(len(view.nodes), NO_CLUSTER, dtype=np.uint32)
    for cluster in range(len(view.coordinators)):
        validator_of[[node.node for node in view.validators(cluster)]] = cluster
    rules = view.parameters
    attempts = range(rules.sub_cluster, rules.sub_cluster + rules.replacements + 1)
    quorums = [rules.quorum_of(members) for members in attempts]
    return kernels.ViewRules(view.view, view.ledger, len(view.coordinators), validator_of, rules.sub_cluster, quorums)


def recount(round: Round, body: Body, rows: np.ndarray, rules: kernels.ViewRules) -> Recounted | None:
    """``rows``: BLOCK_ROW, of all blocks of the round. None: something is wrong, or has to be looked at closely."""
    offsets, sizes = body.certificate_offsets, body.windows["certificate_bytes"]
    if not len(offsets):
        return None if len(rows) else Recounted(np.zeros(0, dtype=WINDOW), 0)
    first, end = int(offsets[0]), int(offsets[-1]) + int(sizes[-1])
    gaps = 8 * len(offsets) + round.view.parameters.align * len(round.view.coordinators)
    if not first <= end <= first + int(sizes.sum(dtype=np.uint64)) + gaps:
        return None
    try:
        heap = round.file.read("certificates", first, end - first)
    except LedgerDamaged:
        return None
    found = rules.recount(body.windows, offsets - np.uint64(first), heap, rows)
    if found is None or not _genuine(found[1], heap, round.view):
        return None
    return Recounted(found[0].reshape(-1).view(WINDOW), len(found[1]))


def _genuine(votes: np.ndarray, heap: np.ndarray, view: View) -> bool:
    digests, bytes_of = votes["digest"].tobytes(), memoryview(heap)
    for i, (node, at) in enumerate(zip(votes["node"].tolist(), votes["at"].tolist(), strict=True)):
        digest, signature = digests[32 * i : 32 * i + 32], bytes(bytes_of[at : at + keys.SIGNATURE_BYTES])
        if not keys.verify_digest(view.nodes[node].key, keys.Context.VOTE, digest, signature):
            return False
    return True
