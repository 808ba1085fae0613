"""The verdict on a window a second time, step by step over whole arrays: what ``protocol/windows.py`` must say to the index.

Every step of the form is written out with the simplest kernels (one scan, one hash a record, one tree a call); the rules and
replays over a state are those of ``kernels.check_transactions``, which has tests of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from baash import batch as batches
from baash import kernels
from baash.batch import Batch
from baash.protocol.view import View
from baash.protocol.windows import Delta, Received, State, Verdict, signature_holds
from baash.records import BLOCK_ENTRY, Operation, Reason


def plain_batch(records: np.ndarray) -> tuple[Batch, Reason, int]:
    info, reason, at = kernels.scan(records)
    raw = records.tobytes()
    spans = [raw[int(i["start"]) : int(i["start"]) + int(i["total_bytes"])] for i in info]
    ids = [hashlib.sha256(span).digest() for span in spans]
    names = [
        hashlib.sha256(b"\0\2" + s[64 : 64 + int(i["entity_bytes"])]).digest() for s, i in zip(spans, info, strict=True)
    ]
    rows = (np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32) for hashes in (ids, names))
    return Batch(records, info, *rows), Reason(reason), at


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1."""
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root_of(leaves[:left]) + root_of(leaves[left:])).digest()


def plain_entries(batch: Batch, counts: list[int]) -> np.ndarray:
    entries = np.zeros(len(counts), dtype=BLOCK_ENTRY)
    first = 0
    for entry, count in zip(entries, counts, strict=True):
        leaves = [i.tobytes() for i in batch.ids[first : first + count]]
        entry["root"] = np.frombuffer(root_of(leaves), dtype=np.uint8)
        entry["count"], entry["bytes"] = count, int(batch.info["total_bytes"][first : first + count].sum())
        first += count
    return entries


def content_root(entries: np.ndarray, cluster: int) -> bytes:
    head = bytes((0, 3, 1, 0)) + cluster.to_bytes(4, "little")
    contents = [head + e.tobytes()[32:] + e.tobytes()[:32] for e in entries]
    return root_of([hashlib.sha256(c).digest() for c in contents])


def list_digest(entities: np.ndarray) -> bytes:
    return hashlib.sha256(bytes((0, 7, 1, 0)) + len(entities).to_bytes(4, "little") + entities.tobytes()).digest()


def plain_judge(view: View, window: Received, state: State, locked: Sequence[np.ndarray]) -> Verdict:
    batch, reason, at = plain_batch(window.records)
    row, cluster = window.row, int(window.row["cluster"])
    counts = window.entries["count"].tolist()
    if reason is not Reason.NONE:
        return Verdict(0, reason, at, batches.EMPTY, None)
    mismatch = Verdict(0, Reason.WINDOW_MISMATCH, 0, batches.EMPTY, None)
    if (
        not len(batch)
        or len(batch) != int(row["transaction_count"])
        or sum(counts) != len(batch)
        or any(count == 0 or count > view.parameters.block_size for count in counts)
        or len(window.entries) != int(row["block_count"])
        or window.records.nbytes != int(row["records_bytes"])
    ):
        return mismatch
    entries = plain_entries(batch, counts)
    written = batch.written()
    if (
        entries.tobytes() != window.entries.tobytes()
        or content_root(entries, cluster) != row["content_root"].tobytes()
        or len(written) != int(row["entity_count"])
        or not np.array_equal(written, window.entities)
        or list_digest(written) != row["entities"].tobytes()
    ):
        return mismatch
    reasons, *changes = kernels.check_transactions(state.table, state.replay, batch.info, batch.entities)
    taken = {int(e) for entities in locked for e in entities}
    for i, (found, short) in enumerate(zip(reasons.tolist(), batch.short_hashes.tolist(), strict=True)):
        if found == 0 and short in taken and batch.info["operation"][i] != Operation.NOTE:
            found = Reason.ENTITY_LOCKED
        if view.cluster_of_shard[short & 4095] != cluster:
            found = Reason.WRONG_CLUSTER
        if found == 0 and batch.info["flags"][i] & 1 and not signature_holds(batch, i):
            found = Reason.BAD_SIGNATURE
        if found:
            prefix = sum(end <= i for end in np.cumsum(counts))
            return Verdict(prefix, Reason(found), i, batch, None)
    return Verdict(len(entries), Reason.NONE, 0, batch, Delta(*changes))
