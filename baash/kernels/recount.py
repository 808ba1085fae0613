"""The certificates of a round, recounted in one call, for who expects that all is well. Used through ``baash.kernels``.

Not here: the signatures of the votes, which are listed; why something does not hold (``protocol/certificate.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, U4, U8, as_bytes, as_rows
from baash.kernels.blocks import ROW_BYTES
from baash.kernels.dispatch import number

BODY_ROW_BYTES, WINDOW_BYTES, VOTE_BYTES = 64, 208, 128  # records.ROUND_WINDOW, WINDOW, VOTE

# A vote whose signature is to be verified: ``at``, its signature's place in the heap; ``digest``, of what it signs.
SIGNED_VOTE = np.dtype([("at", "<u8"), ("node", "<u4"), ("pad", "<u4"), ("digest", "u1", 32)])


class ViewRules:
    """What the certificates of a view are held against.

    ``validator_of`` u4: the cluster whose validator each node is, or 2³²−1; ``quorums``: how many votes carry, at each attempt.
    """

    def __init__(
        self, view: int, ledger: bytes, clusters: int, validator_of: U4, sub_cluster: int, quorums: Sequence[int]
    ) -> None:
        self._core = _core.ViewRules(
            view, as_bytes(ledger), clusters, validator_of, sub_cluster, np.array(quorums, dtype=np.uint32)
        )

    def recount(
        self, body_rows: npt.NDArray[Any], offsets: U8, heap: U1, rows: npt.NDArray[Any]
    ) -> tuple[U1, npt.NDArray[Any]] | None:
        """The windows, (n, 208) u1, and SIGNED_VOTE (m) that are left to verify; None: something does not hold, or the storage
        validator decided.

        ``body_rows``: ROUND_WINDOW (n); ``offsets`` u8 (n): where in ``heap`` u1 each one's certificate begins; ``rows``:
        BLOCK_ROW, of all blocks of the round.
        """
        windows = np.empty((len(body_rows), WINDOW_BYTES), dtype=np.uint8)
        votes = np.empty(len(heap) // VOTE_BYTES, dtype=SIGNED_VOTE)
        hold, count = self._core.recount(
            windows, as_rows(votes, SIGNED_VOTE.itemsize, copy=False), np.empty(len(heap), dtype=np.uint8),
            as_rows(body_rows, BODY_ROW_BYTES), np.ascontiguousarray(offsets), heap, as_rows(rows, ROW_BYTES),
            number(None),
        )  # fmt: skip
        return (windows, votes[:count]) if hold else None
