"""The pieces of a round in two files of the same segment: which of the two has each of them as it was committed.

Theory. All of a round hangs on its commit record, which every coordinator signed: it names the hash of the body, the digest
of the rejections, and the head. The body names each window by hash, and a certificate proves itself by that hash and its
votes. The head is the hash of the last block's header, each header holds its parent's hash and its content's digest, and the
digest is that of the records. So every piece can be taken from either file, whatever else is wrong there, and two files that
are damaged in different places give one that is whole. What nobody signed (places) follows from what was, or is tried.

A *patch* is what to write into the first file, the *base*. Says what is lost where neither file has it. Writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from baash import kernels
from baash.batch import scan
from baash.errors import LedgerDamaged, StorageError
from baash.ledger import blocks
from baash.ledger.round import Body, Round, SegmentFile
from baash.protocol import certificate as certificates
from baash.protocol.plan import rejections_digest
from baash.protocol.view import View
from baash.records import BLOCK_ENTRY, BLOCK_HEADER, BLOCK_ROW, REJECTION, Reason, align


@dataclass(frozen=True)
class Patch:
    """Bytes that belong at ``offset`` of a data set, and are not there in the base."""

    data_set: str
    offset: int
    data: bytes


@dataclass
class Mended:
    """What a round needs. ``lost``: pieces that neither file has."""

    patches: list[Patch] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Before:
    """The ledger in front of a round. ``head`` None: not known, since the round before is lost."""

    blocks: int
    transactions: int
    head: bytes | None
    follows: bool


def mend(view: View, raw: np.ndarray, slot: int, files: list[SegmentFile], before: Before) -> Mended:
    """What to write into ``files[0]`` for the round whose slot is ``raw`` (valid). ``files``: the base, then the other, if any."""
    rounds = [Round(f, view, f.layout.segment, slot, 0, raw, before.transactions, before.follows) for f in files]
    out = Mended()
    _mend_blocks(rounds, before, out)
    _mend_body(rounds, out)
    _mend_rejections(rounds, out)
    out.patches = [p for p in out.patches if not _has(files[0], p)]
    return out


def _has(file: SegmentFile, patch: Patch) -> bool:
    found = _try(file.read, patch.data_set, patch.offset, len(patch.data))
    return found is not None and found.tobytes() == patch.data


def _try(read: Callable[..., np.ndarray], *where: Any) -> np.ndarray | None:
    try:
        return read(*where)
    except (LedgerDamaged, StorageError):
        return None


# --- body and certificates


def _mend_body(rounds: list[Round], out: Mended) -> None:
    bodies = []
    for round in rounds:
        try:
            body = round.body()
        except (LedgerDamaged, StorageError):
            continue
        if hashlib.sha256(body.hashed).digest() == round.record["body"].tobytes():
            bodies.append(body)
    if not bodies:
        out.lost.append("the round body, and so its certificates")
        return
    body, locator = bodies[0], rounds[0].locator
    at, size = int(locator["body_offset"]), int(locator["body_bytes"])
    out.patches.append(Patch("certificates", at, body.hashed))
    offsets = np.array(body.certificate_offsets)
    places = [np.frombuffer(o.tobytes(), "<u8") for o in _offsets(rounds, body)]
    for i, row in enumerate(body.windows):
        found = _certificate(rounds, body, i, sorted({int(p[i]) for p in places}))
        if found is None:
            out.lost.append(f"the certificate of window {int(row['number'])} of cluster {int(row['cluster'])}")
            continue
        offsets[i], raw = found
        out.patches.append(Patch("certificates", int(offsets[i]), raw))
    out.patches.append(Patch("certificates", at + size, offsets.tobytes()))


def _offsets(rounds: list[Round], body: Body) -> Iterator[np.ndarray]:
    """What each file says of the certificates' places, which no hash covers; and where they lie if there are no gaps."""
    at = int(rounds[0].locator["body_offset"]) + int(rounds[0].locator["body_bytes"])
    for round in rounds:
        found = _try(round.file.read, "certificates", at, 8 * len(body.windows))
        if found is not None:
            yield found.view("<u8")
    sizes = np.array([align(int(n), 8) for n in body.windows["certificate_bytes"]], dtype=np.uint64)
    for start in (0, align(int(rounds[0].locator["body_offset"]) - int(sizes.sum()), 8)):
        yield (np.uint64(max(start, 0)) + np.cumsum(sizes) - sizes).astype("<u8")


def _certificate(rounds: list[Round], body: Body, window: int, places: list[int]) -> tuple[int, bytes] | None:
    row = body.windows[window]
    offsets = body.certificate_offsets.copy()
    for round in rounds:
        for place in places:
            offsets[window] = place
            here = replace(body, certificate_offsets=offsets)
            raw = _try(round.certificate, here, window)
            if raw is not None and _proves(raw, row, round.view):
                return place, raw.tobytes()
    return None


def _proves(raw: np.ndarray, row: np.void, view: View) -> bool:
    """Whether these bytes are a certificate of the body's row, its votes signed and sufficient, and nothing besides."""
    try:
        made = certificates.decode(raw)
        if made.window_hash != row["window"].tobytes() or made.prefix != int(row["prefix"]):
            return False
        enclosed = made.enclosed if made.enclosed.nbytes else None
        again = certificates.encode(
            made.window, made.decider, int(made.head["attempt"]), made.members.tolist(), made.entries, made.votes,
            made.prefix, enclosed,
        )  # fmt: skip
        return again.tobytes() == raw.tobytes() and certificates.examine(made, view) is None
    except (ValueError, LedgerDamaged):
        return False


# --- rejections


def _mend_rejections(rounds: list[Round], out: Mended) -> None:
    locator = rounds[0].locator
    for round in rounds:
        rows = _try(round.rejections)
        if rows is not None and rejections_digest(rows) == round.record["rejections"].tobytes():
            if len(rows):
                out.patches.append(
                    Patch("rejections", int(locator["first_rejection"]) * REJECTION.itemsize, rows.tobytes())
                )
            return
    out.lost.append(f"{int(locator['rejection_count'])} rejections")


# --- blocks


def _mend_blocks(rounds: list[Round], before: Before, out: Mended) -> None:
    base = rounds[0]
    count = int(base.locator["block_count"])
    if not count or _whole(base, before):
        return
    found = [rows for rows in map(_try, (round.headers for round in rounds)) if rows is not None]
    if not found:
        out.lost.append(f"the headers of {count} blocks")
        return
    rows = _headers(base, found, out)
    first = before.transactions if before.follows else int(rows["first_transaction"][0])
    counts = rows["count"].astype(np.uint64)
    rows["first_transaction"] = np.uint64(first) + np.cumsum(counts, dtype=np.uint64) - counts
    edges = (
        np.flatnonzero((rows["window"][1:] != rows["window"][:-1]) | (rows["cluster"][1:] != rows["cluster"][:-1])) + 1
    )
    bounds = [0, *edges.tolist(), count]
    for start, end in pairwise(bounds):
        group = rows[start:end]
        _records(rounds, group, [f[start:end] for f in found], before.blocks + start, out)
    out.patches.append(Patch("block_headers", int(base.locator["first_block"]) * BLOCK_ROW.itemsize, rows.tobytes()))


def _whole(round: Round, before: Before) -> bool:
    """Whether all blocks of a round are as they were committed, places and all: the usual case, in a few calls."""
    try:
        found = blocks.read(round)
    except (LedgerDamaged, StorageError):
        return False
    linked = before.head is None or not any(True for _ in blocks.follows(found, before.head))
    return linked and not found.faults and found.hashes[-1].tobytes() == round.record["head"].tobytes()


def _headers(base: Round, found: list[np.ndarray], out: Mended) -> np.ndarray:
    """BLOCK_ROW: back from the head, each header by the hash that the one behind it holds of it."""
    rows = found[0].copy()
    hashes = [kernels.hash_rows(np.ascontiguousarray(f), BLOCK_HEADER.itemsize) for f in found]
    wanted: bytes | None = base.record["head"].tobytes()
    for i in range(len(rows) - 1, -1, -1):
        good = next((f for f, h in zip(found, hashes, strict=True) if h[i].tobytes() == wanted), None)
        if good is not None:
            rows[i] = good[i]
            wanted = good["parent"][i].tobytes()
            continue
        out.lost.append(f"the header of block {base.first_block + i}")
        # Nothing says what its parent was; go on with the one that says it is of that height, and leave it to the audit.
        height = base.first_block + i - 1
        likely = [h[i - 1].tobytes() for f, h in zip(found, hashes, strict=True) if f["height"][i - 1] == height]
        wanted = likely[0] if i and likely else None
    return rows


def _records(rounds: list[Round], rows: np.ndarray, found: list[np.ndarray], height: int, out: Mended) -> None:
    """The blocks of one window: where they lie, and each block's records from a file that has them. Sets the rows' places."""
    sizes = rows["bytes"].astype(np.int64)
    within = np.cumsum(sizes) - sizes
    starts = sorted({int(o) - int(w) for f in found for o, w in zip(f["records_offset"], within, strict=True)})
    best: tuple[int, list[bytes | None]] | None = None
    for start in starts:
        if start < 0:
            continue
        blocks_ = [_block(rounds, row, start + int(at)) for row, at in zip(rows, within, strict=True)]
        if best is None or sum(b is not None for b in blocks_) > sum(b is not None for b in best[1]):
            best = start, blocks_
        if all(b is not None for b in blocks_):
            break
    if best is None:
        out.lost.append(f"the records of blocks {height} to {height + len(rows) - 1}")
        return
    start, blocks_ = best
    rows["records_offset"] = np.uint64(start) + within.astype(np.uint64)
    for i, data in enumerate(blocks_):
        if data is None:
            out.lost.append(f"the records of block {height + i}")
        else:
            out.patches.append(Patch("records", start + int(within[i]), data))


def _block(rounds: list[Round], row: np.void, offset: int) -> bytes | None:
    for round in rounds:
        raw = _try(round.file.read, "records", offset, int(row["bytes"]))
        if raw is not None and _is_content(raw, row):
            return raw.tobytes()
    return None


def _is_content(raw: np.ndarray, row: np.void) -> bool:
    batch, reason, _ = scan(raw)
    if reason is not Reason.NONE or len(batch) != int(row["count"]) or not len(batch):
        return False
    entry = np.zeros(1, dtype=BLOCK_ENTRY)
    entry["root"] = kernels.merkle_roots(batch.ids, np.array([0, len(batch)], dtype=np.uint64))
    entry["count"], entry["bytes"] = row["count"], row["bytes"]
    return bool(kernels.content_digests(entry, int(row["cluster"]))[0].tobytes() == row["content"].tobytes())
