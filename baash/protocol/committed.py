"""A committed round as nodes are told of it: taken apart, and held against what its signers vouch for.

The commit record must follow the one before it and carry every coordinator's signature; it vouches for the round body, the
body for the windows, a window's certificate for its blocks. Where these lie in the chain is ``headers.py``. Applies nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from baash import batch as batches
from baash import kernels, keys
from baash.errors import PeerError
from baash.protocol import certificate as certificates
from baash.protocol.view import View
from baash.protocol.windows import Received, entries_of
from baash.records import (
    COMMIT_LOCATOR,
    COMMIT_RECORD,
    COMMIT_SIGNATURE,
    ROUND_BODY,
    ROUND_WINDOW,
    Reason,
    align,
)


def check_slot(view: View, slot: np.ndarray, previous: bytes, number: int) -> np.ndarray:
    """The commit record (COMMIT_RECORD, scalar) of a slot that follows ``previous`` and every coordinator signed."""
    need = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize + len(view.coordinators) * COMMIT_SIGNATURE.itemsize
    if slot.nbytes < need:
        raise PeerError("commit record cut short")
    signed = slot[: COMMIT_RECORD.itemsize].tobytes()
    record: np.ndarray = np.frombuffer(signed, dtype=COMMIT_RECORD)[0]
    if (
        int(record["view"]) != view.view
        or record["ledger"].tobytes() != view.ledger
        or int(record["round"]) != number
        or record["previous"].tobytes() != previous
    ):
        raise PeerError(f"a commit record that does not follow round {number - 1}")
    signatures = slot[need - len(view.coordinators) * COMMIT_SIGNATURE.itemsize : need].view(COMMIT_SIGNATURE)
    by_node = {int(s["node"]): s["signature"].tobytes() for s in signatures}
    for coordinator in view.coordinators:
        signature = by_node.get(coordinator.node, b"")
        if not keys.verify(coordinator.key, keys.Context.COMMIT, signed, signature):
            raise PeerError(f"a commit record that node {coordinator.node} did not sign")
    return record


def open_body(body: np.ndarray, record: np.ndarray) -> np.ndarray:
    """The window rows (ROUND_WINDOW) of the round body that ``record`` names."""
    count = int(record["window_count"])
    if body.nbytes < ROUND_BODY.itemsize or hashlib.sha256(body.tobytes()).digest() != record["body"].tobytes():
        raise PeerError("a round body that is not the commit record's")
    windows: np.ndarray = body[ROUND_BODY.itemsize : ROUND_BODY.itemsize + count * ROUND_WINDOW.itemsize].view(
        ROUND_WINDOW
    )
    return windows


def split_certificates(encoded: np.ndarray) -> list[tuple[certificates.Certificate, np.ndarray]]:
    """Certificates that lie one behind the other, each padded to 8, with their bytes. Raises PeerError."""
    found = []
    at = 0
    while at < encoded.nbytes:
        try:
            certificate = certificates.decode(encoded[at:])
        except ValueError as error:
            raise PeerError(str(error)) from error
        size = int(certificate.head["total_bytes"])
        found.append((certificate, encoded[at : at + size]))
        at += align(size, 8)
    return found


def lacked_blocks(
    numbers: np.ndarray, proofs: Sequence[certificates.Certificate], records: np.ndarray
) -> dict[int, np.ndarray]:
    """The blocks that a COMMITTED message brings because this node does not hold them, by window."""
    by_number = {int(p.window["number"]): p for p in proofs}
    found = {}
    at = 0
    for number in numbers.tolist():
        proof = by_number.get(number)
        size = int(proof.entries["bytes"][: proof.prefix].sum(dtype=np.uint64)) if proof is not None else 0
        if proof is None or at + size > records.nbytes:
            raise PeerError("COMMITTED message with fewer blocks than it says")
        found[number] = records[at : at + size]
        at += size
    return found


def pad8(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Byte arrays one behind the other, each padded with zeros to a multiple of 8."""
    out = np.zeros(sum(align(p.nbytes, 8) for p in parts), dtype=np.uint8)
    at = 0
    for part in parts:
        out[at : at + part.nbytes] = part
        at += align(part.nbytes, 8)
    return out


def open_held(window: Received, prefix: int) -> batches.Batch:
    """A committed window that came here but could not be judged: its hash vouches for the header, that for the rest."""
    digests = kernels.content_digests(window.entries, int(window.row["cluster"]))
    root = kernels.merkle_roots(digests, np.array([0, len(digests)]))[0]
    if root.tobytes() != window.row["content_root"].tobytes():
        raise PeerError("a committed window whose blocks are not those of its header")
    entries = window.entries[:prefix]
    return open_blocks(entries, window.records[: int(entries["bytes"].sum(dtype=np.uint64))])


def open_blocks(entries: np.ndarray, records: np.ndarray) -> batches.Batch:
    """The transactions of blocks, if they are what ``entries`` (BLOCK_ENTRY) say. Raises PeerError."""
    batch, reason, _ = batches.scan(records)
    offsets = np.append(np.zeros(1, dtype=np.int64), np.cumsum(entries["count"], dtype=np.int64))
    if reason is not Reason.NONE or int(offsets[-1]) != len(batch):
        raise PeerError("committed blocks that are not what their certificate says")
    if entries_of(batch, offsets).tobytes() != entries.tobytes():
        raise PeerError("committed blocks that are not what their certificate says")
    return batch
