"""A batch of transactions: their bytes, what a scan found in them, their ids and entity hashes.

Everything is an array over the whole batch; selecting, joining and cutting make new batches by kernels that copy
whole records. Knows nothing of sources, windows or ledgers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.records import TRANSACTION_INFO, Flag, Operation, Reason


@dataclass(frozen=True)
class Batch:
    """``records`` u1; ``info`` TRANSACTION_INFO (n); ``ids`` and ``entities`` (n, 32) u1."""

    records: np.ndarray
    info: np.ndarray
    ids: np.ndarray
    entities: np.ndarray

    def __len__(self) -> int:
        return len(self.info)

    @property
    def short_hashes(self) -> np.ndarray:
        """u8, n: the first 8 bytes of each entity hash."""
        return np.ascontiguousarray(self.entities[:, :8]).view("<u8")[:, 0]

    @property
    def writes(self) -> np.ndarray:
        """bool, n: CREATE, UPDATE and RETIRE."""
        operation = self.info["operation"]
        writes: np.ndarray = (
            (operation == Operation.CREATE) | (operation == Operation.UPDATE) | (operation == Operation.RETIRE)
        )
        return writes

    def written(self) -> np.ndarray:
        """u8: the short hashes of the entities this batch writes, ascending, each once."""
        return np.unique(self.short_hashes[self.writes])

    def select(self, chosen: np.ndarray) -> Batch:
        """The transactions of a bool mask or of indices, in that order."""
        if chosen.dtype == np.bool_ and chosen.all():
            return self
        info = self.info[chosen].copy()
        if not len(info):
            return EMPTY
        records = kernels.gather(self.records, info["start"], info["total_bytes"])
        ends = np.cumsum(info["total_bytes"], dtype=np.uint64)
        info["start"] = ends - info["total_bytes"]
        return Batch(records, info, self.ids[chosen], self.entities[chosen])

    def cut(self, first: int, last: int) -> Batch:
        """Transactions [first, last), sharing the bytes."""
        info = self.info[first:last].copy()
        if not len(info):
            return EMPTY
        start = int(info["start"][0])
        end = int(info["start"][-1]) + int(info["total_bytes"][-1])
        info["start"] -= np.uint64(start)
        return Batch(self.records[start:end], info, self.ids[first:last], self.entities[first:last])


def scan(records: np.ndarray) -> tuple[Batch, Reason, int]:
    """(batch of the well-formed records from the first, reason and index of the first bad one or NONE, n)."""
    info, ids, entities, reason, at = kernels.read(records)
    return Batch(records, info, ids, entities), Reason(reason), at


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of several, in order."""
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return EMPTY
    info = np.concatenate([b.info for b in batches])
    ends = np.cumsum(info["total_bytes"], dtype=np.uint64)
    info["start"] = ends - info["total_bytes"]
    return Batch(
        np.concatenate([b.records for b in batches]),
        info,
        np.concatenate([b.ids for b in batches]),
        np.concatenate([b.entities for b in batches]),
    )


def signed(batch: Batch) -> np.ndarray:
    """Indices of the transactions that carry a signature."""
    return np.flatnonzero(batch.info["flags"] & Flag.SIGNED)


def _empty() -> Batch:
    hashes = np.zeros((0, 32), dtype=np.uint8)
    return Batch(np.zeros(0, dtype=np.uint8), np.zeros(0, dtype=TRANSACTION_INFO), hashes, hashes)


EMPTY = _empty()
