"""Ledgers for tests: real views, windows, votes, certificates and rounds, made without ranks and without a protocol running.

``Builder`` plays all nodes at once. It writes through the ledger's own writer, and keeps every write, so that a test can
replay any prefix of them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from baash import batch as batches
from baash import kernels
from baash.batch import Batch
from baash.keys import Context, PrivateKey
from baash.ledger.folder import Folder
from baash.ledger.proofs import checkpoint
from baash.ledger.writer import OffsetWriter, Writer
from baash.protocol import certificate, plan, quorum, windows
from baash.protocol import view as views
from baash.protocol.view import Host, Parameters, Predecessor, View
from baash.records import (
    ANY_VERSION,
    REJECTION,
    ZERO_HASH,
    Answer,
    Decider,
    Operation,
    Reason,
    key_issuer,
    source_issuer,
)

LEDGER_KEY = PrivateKey.from_seed(b"L" * 32)
START_NS = 1_700_000_000_000_000_000


def key_of(*path: object) -> PrivateKey:
    return PrivateKey.from_seed(hashlib.sha256(repr(path).encode()).digest())


def record(
    operation: Operation,
    entity: str | bytes,
    sequence: int,
    *,
    source: str = "test",
    payload: bytes = b"",
    payload_type: int = 0,
    references: Sequence[bytes] = (),
    expected: int = ANY_VERSION,
    time_ns: int = START_NS,
    key: PrivateKey | None = None,
) -> bytes:
    """One transaction, byte by byte from ``docs/ledger-format.md`` section 3; signed if there is a ``key``."""
    name = entity.encode() if isinstance(entity, str) else entity
    parts = [_pad(name), b"".join(references), _pad(payload)]
    total = 64 + sum(map(len, parts)) + (96 if key else 0)
    issuer = key_issuer(key.public) if key else source_issuer(source)
    head = struct.pack(
        "<BBBBHHII16sQQQHHHBB", 0, 1, 1, operation, 1 if key else 0, len(name), total, len(payload),
        issuer, sequence, time_ns, expected, len(references), payload_type, 0, 0, 2,
    )  # fmt: skip
    whole = head + b"".join(parts)
    if key is not None:
        whole += key.public
        whole += key.sign(Context.TRANSACTION, whole)
    return whole


def batch_of(records: Iterable[bytes]) -> Batch:
    batch, reason, at = batches.scan(np.frombuffer(b"".join(records), dtype=np.uint8))
    assert reason is Reason.NONE, (reason, at)
    return batch


def rejection(record_: bytes, reason: Reason, cluster: int = 0) -> np.ndarray:
    row = np.zeros(1, dtype=REJECTION)
    row["issuer"] = np.frombuffer(record_[16:32], dtype=np.uint8)
    row["sequence"] = int.from_bytes(record_[32:40], "little")
    row["id"] = np.frombuffer(hashlib.sha256(record_).digest(), dtype=np.uint8)
    row["reason"], row["cluster"] = reason, cluster
    return row


@dataclass(frozen=True)
class Write:
    """One write, as the writer was asked for it; ``data_set`` empty: a segment was created."""

    view: int
    segment: int
    data_set: str
    offset: int
    data: bytes


class Builder:
    """Makes a ledger in ``path``, one view and one round at a time."""

    def __init__(self, path: Path, *, clusters: int = 2, parameters: Parameters | None = None) -> None:
        self.folder = Folder.create(path)
        self.path = path
        self.clusters = clusters
        self.parameters = parameters or Parameters(align=64)
        self.log = plan.empty_log(clusters)
        self.slot: bytes | None = None  # of the newest round of this view
        self.view: View | None = None
        self.writes: list[Write] = []
        self.skew_ns = 0  # of the clock of whoever makes windows
        self._keys: list[PrivateKey] = []
        self.keys_of_views: dict[int, list[PrivateKey]] = {}  # by node
        self._writer: Writer | None = None

    def begin_view(self, *, clusters: int | None = None, signed_by_nodes: bool = False) -> View:
        """Claim, publish: a new view on what is committed; its predecessor is cut at its newest round."""
        self.clusters = clusters or self.clusters
        before, before_keys = self.view, self._keys
        number = self.folder.claim_next({"user": "test", "host": "here", "pid": 1})
        per_rank, size = 2, -(-self.clusters * (self.parameters.sub_cluster + 1 + self.parameters.replacements) // 2)
        made = [[key_of(number, rank, i) for i in range(per_rank)] for rank in range(size)]
        storage = [key_of(number, rank, "storage") for rank in range(size)]
        hosts = [Host(r, f"host{r}", tuple(k.public for k in made[r]), storage[r].public) for r in range(size)]
        self.view = views.form(
            view=number,
            ledger=LEDGER_KEY.public,
            predecessor=Predecessor(before.view, self.slot) if before else None,
            hosts=hosts,
            clusters=self.clusters,
            parameters=self.parameters,
            seed=7,
            time_ns=START_NS + number,
            started_by={"user": "test", "host": "here", "job": None, "pid": 1, "version": "0"},
        )
        known = {k.public: k for keys in [*made, storage] for k in keys}
        self._keys = self.keys_of_views[number] = [known[n.key] for n in self.view.nodes]
        if signed_by_nodes and before:
            signers = before.nodes[: len(before.nodes) // 2 + 1]
            signatures = {f"node:{n.node}": self.view.sign(before_keys[n.node]) for n in signers}
        else:
            signatures = {"ledger": self.view.sign(LEDGER_KEY)}
        self.folder.publish(self.view, signatures)
        self.slot = None
        old = self.log
        self.log = plan.empty_log(self.clusters, old.commit)
        totals = {"block_total": old.block_total, "transaction_total": old.transaction_total}
        self.log = plan.replace(
            self.log, **totals, rejection_total=old.rejection_total, head=old.head, frontier=old.frontier
        )
        self._writer = OffsetWriter(self.folder, self.view)
        return self.view

    def window(
        self,
        cluster: int,
        batch: Batch,
        previous: bytes,
        number: int,
        *,
        prefix: int | None = None,
        storage: bool = False,
    ) -> tuple[certificate.Certificate, np.ndarray]:
        """A certificate of ``batch``; ``storage``: decided by the storage validator over one vote that did not suffice."""
        assert self.view is not None
        time_ns = START_NS + self.skew_ns + 1_000_000 * self.view.view + 1000 * self.log.round + number
        window = windows.form(self.view, cluster, number, previous, self.log.commit, batch, time_ns)
        prefix = len(window.entries) if prefix is None else prefix
        members = [n.node for n in self.view.validators(cluster)[: self.parameters.sub_cluster]]
        encoded = self._certificate(
            window, Decider.MEMBERS, members, prefix, 1 if storage else self.parameters.quorum_of(len(members))
        )
        if storage:
            assert self.view.storage is not None
            encoded = self._certificate(
                window, Decider.STORAGE_VALIDATOR, [self.view.storage.node], prefix, 1, enclosed=encoded
            )
        return certificate.decode(encoded), encoded

    def _certificate(
        self,
        window: windows.Window,
        decider: Decider,
        members: list[int],
        prefix: int,
        votes: int,
        enclosed: np.ndarray | None = None,
    ) -> np.ndarray:
        attempt = certificate.attempt_hash(window.hash, decider, 0, members)
        enough = 1 if decider is Decider.STORAGE_VALIDATOR else self.parameters.quorum_of(len(members))
        reason = Reason.NONE if prefix == len(window.entries) else Reason.ENTITY_UNKNOWN
        cast = [quorum.cast(n, self._keys[n], attempt, Answer.PREFIX, prefix, reason) for n in sorted(members)[:votes]]
        carried = prefix if votes >= enough else 0
        return certificate.encode(window.row, decider, 0, members, window.entries, np.array(cast), carried, enclosed)

    def commit(
        self,
        batch: Batch | Sequence[Batch],
        *,
        prefixes: dict[int, int] | None = None,
        rejections: dict[int, np.ndarray] | None = None,
        storage: bool = False,
    ) -> plan.Plan:
        """One round: each batch in turn becomes a window of every cluster that it has transactions for.

        ``prefixes``: how many blocks of the last window of a cluster are valid; ``rejections``: rows, by cluster.
        """
        assert self.view is not None
        given = [batch] if isinstance(batch, Batch) else list(batch)
        parts = []
        for cluster in range(self.clusters):
            number, previous = self.log.clusters[cluster]
            made: list[tuple[certificate.Certificate, np.ndarray]] = []
            shares = [b.select(self.view.clusters_of(b.short_hashes) == cluster) for b in given]
            shares = [s for s in shares if len(s)]
            for i, share in enumerate(shares):
                prefix = (prefixes or {}).get(cluster) if i == len(shares) - 1 else None
                made.append(self.window(cluster, share, previous, number, prefix=prefix, storage=storage))
                number, previous = number + 1, made[-1][0].window_hash
            rows = (rejections or {}).get(cluster, np.zeros(0, dtype=REJECTION))
            if made or len(rows):
                parts.append(plan.Part(cluster, tuple(c for c, _ in made), tuple(e for _, e in made), rows))
        planned = plan.plan(self.view, self.log, parts, START_NS + self.log.round)
        self.persist(planned, {(p.cluster, i): s for p in parts for i, s in enumerate(self._shares(given, p.cluster))})
        return planned

    def _shares(self, given: list[Batch], cluster: int) -> list[Batch]:
        assert self.view is not None
        shares = [b.select(self.view.clusters_of(b.short_hashes) == cluster) for b in given]
        return [s for s in shares if len(s)]

    def slot_of(self, planned: plan.Plan) -> bytes:
        assert self.view is not None
        signed = [(c.node, self._keys[c.node].sign(Context.COMMIT, planned.record)) for c in self.view.coordinators]
        return plan.encode_slot(planned, signed)

    def persist(self, planned: plan.Plan, batches_: dict[tuple[int, int], Batch]) -> None:
        """Write a round in the order of a coordinator: data, flush, commit record, flush."""
        segment = planned.after.cursor.segment
        if planned.opens_segment:
            self._create(segment, planned.after.cursor.capacity)
        for p, part in enumerate(planned.parts):
            for i, found in enumerate(part.certificates):
                size = int(found.entries["bytes"][: found.prefix].sum(dtype=np.uint64))
                self._write(segment, "records", planned.records_offsets[p][i], batches_[part.cluster, i].records[:size])
                self._write(segment, "certificates", planned.certificate_offsets[p][i], part.encoded[i])
        place = planned.locator
        self._write(segment, "block_headers", int(place["first_block"]) * 128, planned.rows)
        self._write(segment, "certificates", int(place["body_offset"]), planned.body)
        self._write(segment, "rejections", int(place["first_rejection"]) * 64, planned.rejections)
        assert self._writer is not None
        self._writer.flush(segment)
        self.slot = self.slot_of(planned)
        self._write(segment, "commit_records", (planned.after.cursor.slots - 1) * len(self.slot), self.slot)
        self._writer.flush(segment)
        self.log = planned.after

    def _create(self, segment: int, capacity: plan.Capacity) -> None:
        assert self._writer is not None and self.view is not None
        self._writer.create(segment, capacity)
        self._writer.open_all(segment)
        self.writes.append(Write(self.view.view, segment, "", 0, b""))

    def _write(self, segment: int, data_set: str, offset: int, data: np.ndarray | bytes) -> None:
        assert self._writer is not None and self.view is not None
        self._writer.write(segment, data_set, offset, data)
        raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        if raw:
            self.writes.append(Write(self.view.view, segment, data_set, offset, raw))

    def checkpoint(self, *, by_coordinator: bool = False) -> None:
        assert self.view is not None
        root = kernels.log_root(self.log.frontier, self.log.block_total)
        note = checkpoint.Checkpoint(LEDGER_KEY.public, self.log.block_total, root)
        if by_coordinator:
            node = self.view.coordinators[0].node
            name = checkpoint.node_name(note.ledger, self.view.view, node)
            checkpoint.publish(self.folder, note, self._keys[node], name)
        else:
            checkpoint.publish(self.folder, note, LEDGER_KEY)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


def small(path: Path, *, views_: int = 3) -> Builder:
    """A small ledger with everything in it: three views, signed and unsigned records, references, lost windows, a storage
    validator's certificate, rejections, a misconduct, two windows of a cluster in a round."""
    builder = Builder(path)
    signer = key_of("issuer")
    names = [f"/data/run/{i}.h5" for i in range(12)]
    builder.begin_view()
    made = [record(Operation.CREATE, n, i, payload=b'{"size":%d}' % i, payload_type=1) for i, n in enumerate(names)]
    first = [hashlib.sha256(r).digest() for r in made]
    builder.commit(batch_of(made))
    more = [record(Operation.USE, n, 100 + i, references=first[i : i + 2]) for i, n in enumerate(names)]
    signed = [
        record(Operation.UPDATE, n, i, key=signer, expected=1, references=[first[0]]) for i, n in enumerate(names[:5])
    ]
    bad = record(Operation.UPDATE, "/data/none", 200)
    worse = record(Operation.CREATE, "/elsewhere", 100)  # a number that is taken: the issuer's misconduct
    builder.commit(
        [batch_of(more), batch_of(signed)],
        rejections={
            0: np.concatenate([rejection(bad, Reason.ENTITY_UNKNOWN), rejection(worse, Reason.ISSUER_CONFLICT)])
        },
    )
    if views_ > 1:
        builder.begin_view(signed_by_nodes=True)
        builder.begin_view()  # the one before committed nothing
        notes = [record(Operation.NOTE, f"n{i}", 300 + i, payload=b"x" * (i % 11)) for i in range(30)]
        builder.commit(batch_of(notes), prefixes={0: 2, 1: 1})
    if views_ > 2:
        builder.begin_view(clusters=1)
        builder.commit(batch_of([record(Operation.RETIRE, n, 400 + i) for i, n in enumerate(names[:3])]), storage=True)
        dangling = record(Operation.NOTE, names[0], 500, references=[bytes(range(32))])
        builder.commit(batch_of([dangling, record(Operation.CREATE, names[0], 501)]))
    builder.close()
    return builder


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


__all__ = ["LEDGER_KEY", "ZERO_HASH", "Builder", "Write", "batch_of", "key_of", "record", "rejection", "small"]
