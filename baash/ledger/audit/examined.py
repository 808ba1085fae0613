"""What is known of a round by itself: data alone, made by ``examine.py``, read by ``order.py``, sent by ``parts.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from baash.ledger.audit.evidence import Claimed
from baash.ledger.audit.kept import NOTHING, Kept, nothing
from baash.ledger.audit.report import PROBLEMS_KEPT, Counted
from baash.ledger.blocks import Fault
from baash.records import ROUND_CLUSTER

LINKED_WINDOW = np.dtype(
    [
        ("block", "<u4"),
        ("cluster", "<u4"),
        ("number", "<u8"),
        ("told", "u1"),
        ("window", "u1", 32),
        ("previous", "u1", 32),
        ("base", "u1", 32),
    ]
)
"""A row of a round body: its first block in the round, and, where ``told``, what its certificate says it builds on."""

NO_HASHES = np.zeros((0, 32), dtype=np.uint8)


@dataclass
class Examined:
    """What is known of a round by itself.

    ``hashes``: of its block headers; ``counts``: transactions of each block. ``parents``: what each header says, only where one
    does not fit (else empty). ``bad``: blocks that are not what they should be, headers or records, ascending.
    ``whole``: every record is there. ``failed``: why the round could not be examined, and then nothing else counts.
    """

    index: int
    failed: str | None = None
    whole: bool = False
    replayable: bool = False  # whole, and right behind the round before it
    told: bool = False  # its body could be read, so ``windows`` and ``clusters`` are what it says
    sound: bool = False  # every coordinator's signature holds
    said: list[tuple[int, int | None, str]] = field(default_factory=list)  # block in the round, transaction, what
    said_count: int = 0
    conflicts: int = 0  # rejections for an issuer's misconduct
    evidence: list[Claimed] = field(default_factory=list)  # NOTEs that say that somebody lied
    counted: Counted = field(default_factory=Counted)
    hashes: np.ndarray = field(default_factory=lambda: NO_HASHES)
    first_parent: bytes = b""
    parents: np.ndarray = field(default_factory=lambda: NO_HASHES)
    counts: np.ndarray = field(default_factory=lambda: NOTHING)
    bad: np.ndarray = field(default_factory=lambda: NOTHING)
    windows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=LINKED_WINDOW))
    clusters: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=ROUND_CLUSTER))
    kept: Kept = field(default_factory=nothing)

    def say(self, block: int, what: str, transaction: int | None = None) -> None:
        if len(self.said) < PROBLEMS_KEPT:
            self.said.append((block, transaction, what))
        self.said_count += 1

    def faults(self, found: list[Fault]) -> None:
        for fault in found:
            self.say(fault.block, fault.what, fault.transaction)
