"""Windows: what is validated together. Formed by a coordinator, taken apart and recomputed by a validator.

Theory. A window's header commits to its blocks (content root), to the entities it writes (a sorted list of short
hashes) and to the window before it in its cluster. Windows in flight at the same time write different entities, so the
verdict on one never depends on what becomes of another; the lists are what lets a validator check that without the
other windows' bytes. ``judge`` takes nobody's word: every hash, root and list is computed from the records by one call of
``kernels.check_window``, and then every rule is held against the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baash import batch as batches
from baash import kernels, keys
from baash.batch import Batch
from baash.errors import PeerError
from baash.protocol.messages import Kind, Message, layout, rows
from baash.protocol.view import View
from baash.records import (
    BLOCK_ENTRY,
    FORMAT_VERSION,
    WINDOW,
    Decider,
    Operation,
    Reason,
    Tag,
    key_issuer,
    tagged,
)

U8 = np.dtype("<u8")
U4 = np.dtype("<u4")


@dataclass(frozen=True)
class Window:
    """A window as its coordinator formed it."""

    row: np.ndarray  # WINDOW, scalar
    hash: bytes
    batch: Batch
    entries: np.ndarray  # BLOCK_ENTRY
    entities: np.ndarray  # u8, ascending: short hashes of what it writes

    @property
    def number(self) -> int:
        return int(self.row["number"])


@dataclass(frozen=True)
class Delta:
    """What applying a batch does to a state; ``last`` counts from the batch's first transaction."""

    keys: np.ndarray
    versions: np.ndarray
    exists: np.ndarray
    last: np.ndarray


@dataclass(frozen=True)
class State:
    """What a node knows of its cluster's entities and issuers, as of the newest commit record it applied."""

    table: kernels.EntityTable
    replay: kernels.ReplayTable

    def check(self, batch: Batch) -> tuple[np.ndarray, Delta]:
        """Reasons (u2, n) and the delta of the valid transactions; changes nothing."""
        found = kernels.check_transactions(self.table, self.replay, batch.info, batch.entities)
        return found[0], Delta(*found[1:])

    def apply(self, batch: Batch, delta: Delta, first_transaction: int) -> None:
        last = delta.last + np.uint64(first_transaction)
        self.table.upsert(delta.keys, delta.versions, delta.exists, last)
        self.replay.mark(batch.info["issuer"], batch.info["sequence"])

    def copy(self) -> State:
        return State(self.table.copy(), self.replay.copy())


def block_offsets(count: int, block_size: int) -> np.ndarray:
    """Where each block of ``block_size`` transactions begins, and the end."""
    return np.append(np.arange(0, count, block_size, dtype=np.int64), count)


def entries_of(batch: Batch, offsets: np.ndarray) -> np.ndarray:
    """Root, count and bytes of each block (BLOCK_ENTRY) of a batch cut at ``offsets``."""
    entries = np.zeros(len(offsets) - 1, dtype=BLOCK_ENTRY)
    if len(entries):
        entries["root"] = kernels.merkle_roots(batch.ids, offsets)
        entries["count"] = np.diff(offsets)
        entries["bytes"] = np.add.reduceat(batch.info["total_bytes"].astype(np.uint64), offsets[:-1])
    return entries


def entities_digest(entities: np.ndarray) -> bytes:
    head = bytes((0, Tag.ENTITY_LIST, 1, 0)) + len(entities).to_bytes(4, "little")
    return hashlib.sha256(head + entities.tobytes()).digest()


def form(view: View, cluster: int, number: int, previous: bytes, base: bytes, batch: Batch, time_ns: int) -> Window:
    """The window of ``batch``, cut at the view's block size."""
    entries = entries_of(batch, block_offsets(len(batch), view.parameters.block_size))
    entities = batch.written()
    row = tagged(np.zeros((), dtype=WINDOW), Tag.WINDOW)
    row["cluster"], row["view"], row["number"], row["time_ns"] = cluster, view.view, number, time_ns
    row["block_count"], row["transaction_count"] = len(entries), len(batch)
    row["records_bytes"], row["entity_count"] = batch.records.nbytes, len(entities)
    root = kernels.merkle_roots(kernels.content_digests(entries, cluster), np.array([0, len(entries)]))[0]
    for name, value in (
        ("ledger", view.ledger),
        ("previous", previous),
        ("base", base),
        ("content_root", root),
        ("entities", entities_digest(entities)),
    ):
        row[name] = np.frombuffer(value, dtype=np.uint8)
    return Window(row, hashlib.sha256(row.tobytes()).digest(), batch, entries, entities)


def message(
    view: View,
    sender: int,
    window: Window,
    decider: Decider,
    attempt: int,
    members: Sequence[int],
    before: Sequence[Window],
    *,
    content: bool = True,
) -> np.ndarray:
    """The WINDOW message. Without ``content``: for members that hold the window already."""
    parts = [
        window.row.tobytes(),
        np.array(members, dtype=U4).tobytes(),
        window.entries.tobytes() if content else b"",
        window.entities.tobytes() if content else b"",
        b"".join(w.row.tobytes() for w in before),
        b"".join(w.entities.tobytes() for w in before),
        window.batch.records if content else b"",
    ]
    data, places = layout(Kind.WINDOW, view.view, sender, attempt, decider, [len(p) for p in parts])
    for place, part in zip(places, parts, strict=True):
        place[:] = np.frombuffer(part, dtype=np.uint8) if isinstance(part, bytes) else part
    return data


@dataclass(frozen=True)
class Received:
    """A WINDOW message taken apart; nothing of it is believed yet."""

    row: np.ndarray
    hash: bytes
    decider: Decider
    attempt: int
    members: np.ndarray
    entries: np.ndarray
    entities: np.ndarray
    before: np.ndarray  # WINDOW rows
    before_entities: tuple[np.ndarray, ...]
    records: np.ndarray

    @property
    def number(self) -> int:
        return int(self.row["number"])

    @property
    def has_content(self) -> bool:
        return self.records.nbytes > 0


def received(message: Message) -> Received:
    """Sections by name. Raises PeerError where they do not fit together."""
    if message.sections[0].nbytes != WINDOW.itemsize:
        raise PeerError("WINDOW message with the wrong sections")
    head, members, entries, entities, before, lists, records = message.sections
    row = rows(head, WINDOW)[0]
    if (int(row["zero"]), int(row["tag"]), int(row["version"])) != (0, Tag.WINDOW, FORMAT_VERSION):
        raise PeerError("WINDOW message without a window")
    if message.b not in Decider.__members__.values() or message.a >= 1 << 32:
        raise PeerError("WINDOW message with an unknown decider or attempt")
    earlier = rows(before, WINDOW)
    all_lists = rows(lists, U8)
    ends = np.cumsum(earlier["entity_count"], dtype=np.int64)
    if (int(ends[-1]) if len(ends) else 0) != len(all_lists):
        raise PeerError("WINDOW message whose entity lists are not their length")
    starts = ends - earlier["entity_count"]
    return Received(
        row,
        hashlib.sha256(row.tobytes()).digest(),
        Decider(message.b),
        message.a,
        rows(members, U4),
        rows(entries, BLOCK_ENTRY),
        rows(entities, U8),
        earlier,
        tuple(all_lists[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)),
        records,
    )


@dataclass(frozen=True)
class Verdict:
    """What a validator found: how many blocks are valid, and the first transaction that is not.

    ``batch`` is empty when the window was refused as a whole: then nothing is known of its bytes.
    """

    prefix: int
    reason: Reason
    bad_index: int
    batch: Batch
    delta: Delta | None  # of the whole window, when all of it is valid


def judge(view: View, window: Received, state: State, locked: Sequence[np.ndarray]) -> Verdict:
    """Recompute everything a window claims. ``locked``: sorted short hashes written by windows in flight before it."""
    row, size = window.row, view.parameters.block_size
    found = kernels.check_window(row.tobytes(), window.entries, window.entities, window.records, size)
    if not found.whole:
        return Verdict(0, Reason(found.reason), found.bad_index, batches.EMPTY, None)
    batch, cluster = Batch(window.records, found.info, found.ids, found.entities), int(row["cluster"])
    reasons, delta = state.check(batch)
    short = batch.short_hashes
    reasons = np.where(reasons == 0, _conflicts(batch, short, locked), reasons)
    reasons[view.clusters_of(short) != cluster] = Reason.WRONG_CLUSTER
    for index in batches.signed(batch).tolist():  # per item: a signature costs a hundred times what Python does
        if reasons[index] == 0 and not signature_holds(batch, index):
            reasons[index] = Reason.BAD_SIGNATURE
    bad = np.flatnonzero(reasons)
    if not len(bad):
        return Verdict(found.valid_blocks, Reason.NONE, 0, batch, delta)
    first = int(bad[0])
    ends = np.cumsum(window.entries["count"], dtype=np.int64)
    prefix = int(np.searchsorted(ends, first, side="right"))
    return Verdict(prefix, Reason(int(reasons[first])), first, batch, None)


def _conflicts(batch: Batch, short: np.ndarray, locked: Sequence[np.ndarray]) -> np.ndarray:
    """ENTITY_LOCKED for what touches an entity that a window in flight writes; NOTE touches none."""
    found = np.zeros(len(batch), dtype=bool)
    for entities in locked:
        if len(entities):
            at = np.minimum(np.searchsorted(entities, short), len(entities) - 1)
            found |= entities[at] == short
    found &= batch.info["operation"] != Operation.NOTE
    return np.where(found, np.uint16(Reason.ENTITY_LOCKED), np.uint16(0))


def signature_holds(batch: Batch, index: int) -> bool:
    """Whether a signed transaction carries its issuer's signature (format section 3)."""
    info = batch.info[index]
    start, end = int(info["start"]), int(info["start"]) + int(info["total_bytes"])
    signature_start = end - keys.SIGNATURE_BYTES
    public = batch.records[signature_start - keys.PUBLIC_KEY_BYTES : signature_start].tobytes()
    return key_issuer(public) == info["issuer"].tobytes() and keys.verify(
        public,
        keys.Context.TRANSACTION,
        batch.records[start:signature_start].tobytes(),
        batch.records[signature_start:end].tobytes(),
    )
