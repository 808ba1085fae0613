"""Where a round goes and what its commit record says: computed alike by every coordinator, written by each for itself.

Theory. A round is a list of certificates (in the order of clusters, then windows) and rejections. From these and the
``Log`` before it follow heights, parents, the log root, the offsets of everything and the 256 bytes of the commit record; nothing
is negotiated. Each cluster's part begins on an alignment unit of its own, so two writers never share a page. A
round that does not fit into the open segment opens the next, which is large enough for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from baash import kernels
from baash.protocol.certificate import Certificate
from baash.protocol.view import View
from baash.records import (
    BLOCK_HEADER,
    BLOCK_ROW,
    COMMIT_LOCATOR,
    COMMIT_RECORD,
    COMMIT_SIGNATURE,
    REJECTION,
    ROUND_BODY,
    ROUND_CLUSTER,
    ROUND_WINDOW,
    ZERO_HASH,
    Outcome,
    Tag,
    align,
    slot_bytes,
    tagged,
)

SEGMENT_RECORDS_FIRST = 1 << 20
SEGMENT_RECORDS_MAX = 256 << 20


@dataclass(frozen=True)
class Capacity:
    """Room in a segment; bytes for the two heaps, rows for the rest."""

    blocks: int
    records_bytes: int
    certificates_bytes: int
    rejections: int
    slots: int


@dataclass(frozen=True)
class Cursor:
    """How far the open segment is filled. ``segment`` -1: none is open."""

    segment: int = -1
    blocks: int = 0
    records_bytes: int = 0
    certificates_bytes: int = 0
    rejections: int = 0
    slots: int = 0
    capacity: Capacity = Capacity(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Log:
    """The ledger as the next round finds it. ``frontier`` ((64, 32) u1) is never changed in place."""

    round: int
    block_total: int
    transaction_total: int
    rejection_total: int
    head: bytes
    commit: bytes  # hash of the newest commit record, zeros: none
    frontier: np.ndarray
    cursor: Cursor
    clusters: tuple[tuple[int, bytes], ...]  # windows decided in this view, hash of the last, by cluster


@dataclass(frozen=True)
class Part:
    """What one cluster brings to a round."""

    cluster: int
    certificates: tuple[Certificate, ...]
    encoded: tuple[np.ndarray, ...]  # the same, as bytes
    rejections: np.ndarray  # REJECTION


@dataclass(frozen=True)
class Plan:
    """All that follows from a round's parts. Offsets are in the segment ``after.cursor.segment``."""

    parts: tuple[Part, ...]
    opens_segment: bool
    rows: np.ndarray  # BLOCK_ROW
    hashes: np.ndarray  # of the block headers, (n, 32)
    body: np.ndarray  # u1: round body, then the certificates' offsets
    body_hash: bytes
    rejections: np.ndarray
    record: bytes  # the 256 hashed bytes of the commit record
    locator: np.ndarray
    records_offsets: tuple[tuple[int, ...], ...]  # by part, by window: where its blocks begin
    certificate_offsets: tuple[tuple[int, ...], ...]
    first_transactions: tuple[tuple[int, ...], ...]
    after: Log

    @property
    def commit(self) -> bytes:
        return self.after.commit

    def part_of(self, cluster: int) -> tuple[Part | None, int, int]:
        """What a cluster brought, and which of ``rows`` are its blocks: [first, after)."""
        first = 0
        for part in self.parts:
            blocks = sum(c.prefix for c in part.certificates)
            if part.cluster >= cluster:
                return (part, first, first + blocks) if part.cluster == cluster else (None, first, first)
            first += blocks
        return None, first, first


def empty_log(clusters: int, commit: bytes = ZERO_HASH) -> Log:
    """The log of a ledger without blocks."""
    frontier = np.zeros((64, 32), dtype=np.uint8)
    return Log(0, 0, 0, 0, ZERO_HASH, commit, frontier, Cursor(), ((0, ZERO_HASH),) * clusters)


def _hash_row(row: np.ndarray | np.void, name: str, value: bytes) -> None:
    row[name] = np.frombuffer(value, dtype=np.uint8)


def _capacity(
    blocks: int, records: int, certificates: int, rejections: int, before: Capacity, first_bytes: int
) -> Capacity:
    """Room for a new segment: twice the one before up to 256 MiB, and always enough for the round that opens it.

    The heaps of headers and certificates get the share that this round needs of them, and a quarter more.
    """
    least = max(first_bytes, records + records // 4)
    room = max(least, min(SEGMENT_RECORDS_MAX, 2 * before.records_bytes))
    scale = 1.25 * room / max(records, first_bytes // 16)
    return Capacity(
        blocks=max(64, 2 * blocks, int(blocks * scale)),
        records_bytes=align(room, 4096),
        certificates_bytes=align(max(1 << 16, 2 * certificates, int(certificates * scale)), 4096),
        rejections=max(1024, 2 * rejections),
        slots=min(256, room >> 12) if room < 16 * SEGMENT_RECORDS_FIRST else 4096,
    )


def plan(view: View, log: Log, parts: Sequence[Part], time_ns: int, first_bytes: int = SEGMENT_RECORDS_FIRST) -> Plan:
    """The round that ``parts`` (ascending by cluster) make on top of ``log``.

    ``first_bytes``: room for records in the first segment of a view; the same for all who compute a round.
    """
    unit = view.parameters.align
    windows = [(part, c) for part in parts for c in part.certificates]
    blocks = sum(c.prefix for _, c in windows)
    rejections = np.concatenate([p.rejections for p in parts]) if parts else np.zeros(0, dtype=REJECTION)
    body_bytes = (
        ROUND_BODY.itemsize
        + len(windows) * (ROUND_WINDOW.itemsize + 8)
        + len(view.coordinators) * ROUND_CLUSTER.itemsize
    )

    def place(cursor: Cursor) -> tuple[Cursor, list[list[int]], list[list[int]], int]:
        """Offsets of every window's blocks and certificate, and of the body, from ``cursor`` on."""
        records, certificates = cursor.records_bytes, cursor.certificates_bytes
        at_records: list[list[int]] = []
        at_certificates: list[list[int]] = []
        for part in parts:
            records, certificates = align(records, unit), align(certificates, unit)
            at_records.append([])
            at_certificates.append([])
            for certificate, encoded in zip(part.certificates, part.encoded, strict=True):
                at_records[-1].append(records)
                at_certificates[-1].append(certificates)
                records += int(certificate.entries["bytes"][: certificate.prefix].sum(dtype=np.uint64))
                certificates += align(encoded.nbytes, 8)
        certificates = align(certificates, unit)
        after = replace(
            cursor,
            blocks=cursor.blocks + blocks,
            records_bytes=records,
            certificates_bytes=certificates + body_bytes,
            rejections=cursor.rejections + len(rejections),
            slots=cursor.slots + 1,
        )
        return after, at_records, at_certificates, certificates

    cursor = log.cursor
    after, at_records, at_certificates, body_offset = place(cursor)
    opens = cursor.segment < 0 or not _fits(after)
    if opens:
        cursor = Cursor(segment=log.cursor.segment + 1)
        need, *_ = place(cursor)
        capacity = _capacity(
            blocks, need.records_bytes, need.certificates_bytes, len(rejections), log.cursor.capacity, first_bytes
        )
        cursor = replace(cursor, capacity=capacity)
        after, at_records, at_certificates, body_offset = place(cursor)
        assert _fits(after), "a new segment must hold the round that opens it"

    rows, first_transactions, transactions = _rows(log, parts, at_records)
    hashes = kernels.chain_blocks(rows, log.block_total, log.head)
    frontier = log.frontier.copy()
    total, root = kernels.log_append(frontier, log.block_total, hashes)
    head = hashes[-1].tobytes() if len(hashes) else log.head

    clusters = list(log.clusters)
    for part in parts:
        if part.certificates:
            last = part.certificates[-1]
            clusters[part.cluster] = (int(last.window["number"]) + 1, last.window_hash)
    body = _body(parts, clusters)
    body_hash = hashlib.sha256(body).digest()
    offsets = np.array([o for part in at_certificates for o in part], dtype="<u8").tobytes()

    record = tagged(np.zeros((), dtype=COMMIT_RECORD), Tag.COMMIT_RECORD)
    record["view"], record["round"], record["time_ns"] = view.view, log.round, time_ns
    record["block_total"], record["transaction_total"] = total, log.transaction_total + transactions
    record["rejection_total"] = log.rejection_total + len(rejections)
    record["window_count"], record["coordinator_count"] = len(windows), len(view.coordinators)
    for name, value in (
        ("ledger", view.ledger),
        ("previous", log.commit),
        ("head", head),
        ("log_root", root),
        ("body", body_hash),
        ("rejections", rejections_digest(rejections)),
    ):
        _hash_row(record, name, value)
    locator = np.zeros((), dtype=COMMIT_LOCATOR)
    locator["first_block"], locator["block_count"] = cursor.blocks, blocks
    locator["first_rejection"], locator["rejection_count"] = cursor.rejections, len(rejections)
    locator["body_offset"], locator["body_bytes"] = body_offset, len(body)
    locator["records_end"], locator["certificates_end"] = after.records_bytes, after.certificates_bytes
    return Plan(
        parts=tuple(parts),
        opens_segment=opens,
        rows=rows,
        hashes=hashes,
        body=np.frombuffer(body + offsets, dtype=np.uint8),
        body_hash=body_hash,
        rejections=rejections,
        record=record.tobytes(),
        locator=locator,
        records_offsets=tuple(map(tuple, at_records)),
        certificate_offsets=tuple(map(tuple, at_certificates)),
        first_transactions=tuple(map(tuple, first_transactions)),
        after=Log(
            log.round + 1,
            total,
            log.transaction_total + transactions,
            log.rejection_total + len(rejections),
            head,
            hashlib.sha256(record.tobytes()).digest(),
            frontier,
            after,
            tuple(clusters),
        ),
    )


def _fits(cursor: Cursor) -> bool:
    room = cursor.capacity
    return (
        cursor.blocks <= room.blocks
        and cursor.records_bytes <= room.records_bytes
        and cursor.certificates_bytes <= room.certificates_bytes
        and cursor.rejections <= room.rejections
        and cursor.slots <= room.slots
    )


def _rows(log: Log, parts: Sequence[Part], at_records: list[list[int]]) -> tuple[np.ndarray, list[list[int]], int]:
    """Block rows but for height and parent, the first transaction of each window, and the number of transactions."""
    pieces: list[np.ndarray] = []
    first_transactions: list[list[int]] = []
    transaction = log.transaction_total
    for part, offsets in zip(parts, at_records, strict=True):
        first_transactions.append([])
        for certificate, offset in zip(part.certificates, offsets, strict=True):
            first_transactions[-1].append(transaction)
            entries = certificate.entries[: certificate.prefix]
            pieces.append(window_rows(certificate.window, entries, offset, transaction))
            transaction += int(entries["count"].sum(dtype=np.uint64))
    rows = np.concatenate(pieces) if pieces else np.zeros(0, dtype=BLOCK_ROW)
    return rows, first_transactions, transaction - log.transaction_total


def window_rows(window: np.ndarray | np.void, entries: np.ndarray, offset: int, transaction: int) -> np.ndarray:
    """BLOCK_ROW, but for height and parent, of a window's committed blocks (BLOCK_ENTRY).

    ``offset``: where its records lie; ``transaction``: the number of its first transaction in the ledger.
    """
    rows = tagged(np.zeros(len(entries), dtype=BLOCK_ROW), Tag.BLOCK_HEADER)
    rows["cluster"], rows["view"] = window["cluster"], window["view"]
    rows["index"] = np.arange(len(entries))
    rows["window"], rows["time_ns"] = window["number"], window["time_ns"]
    rows["count"], rows["bytes"] = entries["count"], entries["bytes"]
    rows["content"] = kernels.content_digests(entries, int(window["cluster"]))
    sizes = entries["bytes"].astype(np.uint64)
    counts = entries["count"].astype(np.uint64)
    rows["records_offset"] = offset + np.cumsum(sizes) - sizes
    rows["first_transaction"] = transaction + np.cumsum(counts) - counts
    return rows


def _body(parts: Sequence[Part], clusters: Sequence[tuple[int, bytes]]) -> bytes:
    windows = [(p.cluster, c, e) for p in parts for c, e in zip(p.certificates, p.encoded, strict=True)]
    head = tagged(np.zeros((), dtype=ROUND_BODY), Tag.ROUND_BODY)
    head["window_count"], head["cluster_count"] = len(windows), len(clusters)
    rows = np.zeros(len(windows), dtype=ROUND_WINDOW)
    for row, (cluster, certificate, encoded) in zip(rows, windows, strict=True):
        count = len(certificate.entries)
        row["cluster"], row["number"] = cluster, certificate.window["number"]
        row["outcome"] = Outcome.DECIDED if certificate.prefix == count else Outcome.LOST_FROM
        row["prefix"], row["block_count"], row["certificate_bytes"] = certificate.prefix, count, encoded.nbytes
        _hash_row(row, "window", certificate.window_hash)
    chains = np.zeros(len(clusters), dtype=ROUND_CLUSTER)
    for chain, (cluster, (number, window)) in zip(chains, enumerate(clusters), strict=True):
        chain["cluster"], chain["number"] = cluster, number
        _hash_row(chain, "window", window)
    return head.tobytes() + rows.tobytes() + chains.tobytes()


def rejections_digest(rows: np.ndarray) -> bytes:
    """The digest of a round's rejections (REJECTION rows)."""
    head = bytes((0, Tag.REJECTIONS, 1, 0)) + len(rows).to_bytes(4, "little")
    return hashlib.sha256(head + rows.tobytes()).digest()


def encode_slot(plan: Plan, signatures: Sequence[tuple[int, bytes]]) -> bytes:
    """The commit-record slot: record, locator, signatures ascending by node, zeros, checksum."""
    rows = np.zeros(len(signatures), dtype=COMMIT_SIGNATURE)
    for row, (node, signature) in zip(rows, sorted(signatures), strict=True):
        row["node"] = node
        _hash_row(row, "signature", signature)
    raw = plan.record + plan.locator.tobytes() + rows.tobytes()
    raw += bytes(slot_bytes(len(signatures)) - 32 - len(raw))
    return raw + hashlib.sha256(raw).digest()


assert BLOCK_HEADER.itemsize == 112 and COMMIT_RECORD.itemsize == 256
