"""The recount: from votes to the number of blocks they carry. Three answers: settled, open, out of reach.

A vote names how many blocks, from the first, are valid; the decided prefix is the largest p that at least ``quorum``
members gave or exceeded. The kernel counts many windows at once (``kernels.tally``); this file says which votes count.
"""

from __future__ import annotations

import numpy as np

from baash import kernels, keys
from baash.protocol.view import Node
from baash.records import VOTE, VOTE_SIGNED_BYTES, Answer, Tag, tagged

OPEN, SETTLED, OUT_OF_REACH = 0, 1, 2


def cast(
    node: int,
    key: keys.PrivateKey,
    attempt: bytes,
    answer: Answer,
    prefix: int = 0,
    reason: int = 0,
    bad_index: int = 0,
) -> np.ndarray:
    """A signed vote: one VOTE row."""
    vote = np.zeros((), dtype=VOTE)
    tagged(vote, Tag.VOTE)
    vote["answer"], vote["node"], vote["prefix"] = answer, node, prefix
    vote["reason"], vote["bad_index"] = reason, bad_index
    vote["attempt"] = np.frombuffer(attempt, dtype=np.uint8)
    signature = key.sign(keys.Context.VOTE, vote.tobytes()[:VOTE_SIGNED_BYTES])
    vote["signature"] = np.frombuffer(signature, dtype=np.uint8)
    return vote


def genuine(vote: np.ndarray, voter: Node, attempt: bytes) -> bool:
    """Whether ``vote`` (one VOTE row) is well formed, by ``voter``, for this attempt, and signed by it."""
    raw = vote.tobytes()
    well_formed = raw[:3] == bytes((0, Tag.VOTE, 1)) and int(vote["answer"]) in Answer.__members__.values()
    return (
        well_formed
        and int(vote["node"]) == voter.node
        and vote["attempt"].tobytes() == attempt
        and keys.verify(voter.key, keys.Context.VOTE, raw[:VOTE_SIGNED_BYTES], raw[VOTE_SIGNED_BYTES:])
    )


def count(prefixes: list[int | None], quorum: int, block_count: int) -> tuple[int, int, list[int]]:
    """(decided prefix, OPEN | SETTLED | OUT_OF_REACH, places of those who gave another prefix) of one window.

    None: has not voted, or has no answer.
    """
    row = np.array([[0 if p is None else p for p in prefixes]], dtype=np.uint32)
    present = np.array([[p is not None for p in prefixes]], dtype=np.uint8)
    decided, status, dissent = kernels.tally(
        row, present, np.array([quorum], dtype=np.uint32), np.array([block_count], dtype=np.uint32)
    )
    return int(decided[0]), int(status[0]), np.flatnonzero(dissent[0]).tolist()
