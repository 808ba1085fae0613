"""What a source is and what it hands over. Part of ``docs/architecture.md``; no source lives here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Chunk:
    """``count`` transactions in the order of the input.

    ``records`` (u1): whole records, one behind the other. ``reads``: entity names that the workload asks for, bytes
    (u1) and offsets (i8, n + 1), or None. ``skipped``: what was malformed and left out, one sentence each.
    """

    records: np.ndarray
    count: int
    reads: tuple[np.ndarray, np.ndarray] | None = None
    skipped: tuple[str, ...] = ()


class Source(Protocol):
    """One input as records. Nothing of it depends on the clock, the host or the size of the chunks."""

    @property
    def name(self) -> str:
        """The issuer id is derived from it (``records.source_issuer``)."""

    @property
    def total(self) -> int | None:
        """Transactions it will give, if known."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The transactions from the first, at most ``size`` a chunk; each call begins anew."""
