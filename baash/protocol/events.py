"""What happens to a node (events, in the past tense) and what it wants done (effects, in the imperative).

The order of effects is in their type: what may be said only after a write is durable lies inside that write, in
``Persist.then``, so it cannot be said too early.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from baash.batch import Batch
from baash.protocol.plan import Capacity
from baash.protocol.windows import State

# -- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MessageReceived:
    """Bytes (u1) from another node."""

    data: np.ndarray


@dataclass(frozen=True)
class BatchOffered:
    """A source hands over transactions of this cluster's shards, in the order of their numbers.

    ``known``: what the ledger says of each id: 0 nothing, 1 committed, else 0x100 + the reason it was rejected for.
    """

    batch: Batch
    known: np.ndarray  # u2


@dataclass(frozen=True)
class InputEnded:
    """No more batches will be offered: what is queued need not wait for company."""


@dataclass(frozen=True)
class DrainRequested:
    """Finish what was taken in and stop."""


@dataclass(frozen=True)
class Persisted:
    token: int


@dataclass(frozen=True)
class PersistFailed:
    """The write did not become durable. ``fenced``: a newer view has been claimed."""

    token: int
    reason: str
    fenced: bool = False


@dataclass(frozen=True)
class NodesLost:
    """These nodes' ranks are dead."""

    nodes: frozenset[int]


@dataclass(frozen=True)
class LedgerRead:
    """What the shared ledger holds for one cluster, as the storage validator asked."""

    token: int
    state: State
    windows: int  # of the cluster, decided in this view
    last_window: bytes
    commits: tuple[bytes, ...]  # hashes of the newest commit records, oldest first


@dataclass(frozen=True)
class TickElapsed:
    """Time has passed; deadlines are looked at."""


Event = (
    MessageReceived
    | BatchOffered
    | InputEnded
    | DrainRequested
    | Persisted
    | PersistFailed
    | NodesLost
    | LedgerRead
    | TickElapsed
)


# -- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Send:
    """The same bytes to several nodes."""

    to: tuple[int, ...]
    data: np.ndarray


@dataclass(frozen=True)
class Write:
    """Bytes to one place of a data set of a segment."""

    segment: int
    data_set: str
    offset: int
    data: np.ndarray


@dataclass(frozen=True)
class Persist:
    """Make ``creates``, then ``writes`` durable; only then do ``then``.

    ``commits``: this write is a commit record: look for newer claims after it and fail as fenced if there is one.
    """

    token: int
    segment: int
    writes: tuple[Write, ...]
    then: tuple[Effect, ...] = ()
    creates: Capacity | None = None
    commits: bool = False


@dataclass(frozen=True)
class Reply:
    """Receipts: these transactions are decided. ``batch`` committed at ``first_transaction`` on; ``rejections`` rows."""

    committed: tuple[tuple[Batch, int], ...]
    rejections: np.ndarray
    arrived_ns: np.ndarray  # i8, one for each committed transaction, in order
    block_total: int
    blocks: int


@dataclass(frozen=True)
class Duplicates:
    """Replays that got their first answer again."""

    count: int


@dataclass(frozen=True)
class ReadLedger:
    """The storage validator wants to see what the shared ledger holds of a cluster now."""

    token: int
    cluster: int


@dataclass(frozen=True)
class Report:
    """Something an operator should know; ``kind`` is counted."""

    kind: str
    text: str
    fields: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fail:
    """This run cannot go on. ``error`` names a class of ``errors.py``."""

    error: str
    text: str


@dataclass(frozen=True)
class Suspect:
    """This view cannot go on with these nodes: they are dead, hang, or lie. Ranks that are ``lying`` are left out for good."""

    nodes: frozenset[int]
    text: str
    lying: bool = False


@dataclass(frozen=True)
class Stop:
    """Everything taken in is decided and the view is closed."""


Effect = Send | Persist | Reply | Duplicates | ReadLedger | Report | Fail | Suspect | Stop
