"""The blocks of one round, held against themselves: headers, chain, places, records, roots.

Everything is computed over the whole round at once; only a round in which something is wrong is gone through block by
block, to name what. What the coordinators and validators said of the blocks is ``audit/claims.py``'s matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from baash import kernels
from baash.batch import EMPTY, Batch, scan
from baash.ledger.round import Round
from baash.records import BLOCK_ENTRY, BLOCK_HEADER, BLOCK_ROW, FORMAT_VERSION, Reason, Tag

NOT_LINKED = "its parent is not the block before it: one of the two has changed, or a block is missing"


@dataclass(frozen=True)
class Fault:
    """Something wrong with a block (its place in the round), or with one of its transactions."""

    block: int
    transaction: int | None
    what: str


@dataclass(frozen=True)
class RoundBlocks:
    """``bounds`` u8 (n + 1): the place in ``batch`` of each block's first transaction. Empty batch: some are not whole."""

    rows: np.ndarray  # BLOCK_ROW
    hashes: np.ndarray  # of the headers, (n, 32)
    batch: Batch
    bounds: np.ndarray
    faults: list[Fault]
    whole: bool


def read(round: Round) -> RoundBlocks:
    """Read and check a round's blocks, but for the parent of the first (``follows``). Raises LedgerError."""
    rows = round.headers()
    hashes = kernels.hash_rows(rows, BLOCK_HEADER.itemsize)
    faults = [*headers(round, rows), *chain(rows, hashes), *places(round, rows)]
    records = round.records(rows)
    bounds = np.concatenate((np.zeros(1, np.uint64), np.cumsum(rows["count"], dtype=np.uint64)))
    batch, reason, _ = scan(records)
    whole = reason is Reason.NONE and len(batch) == int(bounds[-1]) and _on_boundaries(rows, batch.info, bounds)
    if whole:
        wrong = np.flatnonzero((_contents(rows, batch.ids, bounds) != rows["content"]).any(axis=1))
        faults += [Fault(int(i), None, "the records are not those of the content digest") for i in wrong]
        whole = not len(wrong)
    else:
        faults += _one_by_one(rows, records)
    return RoundBlocks(rows, hashes, batch if whole else EMPTY, bounds, faults, whole)


def check(
    round: Round, rows: np.ndarray, part: slice, records: np.ndarray, info: np.ndarray, bounds: np.ndarray
) -> str:
    """What is wrong with the blocks ``part`` of a round, or "": whether they are those that its commit record covers.

    ``rows``: BLOCK_ROW, of all its blocks; ``records`` (u1), ``info`` (TRANSACTION_INFO), ``bounds``: of those in ``part``.
    """
    if not len(rows):
        return ""
    hashes = kernels.hash_rows(rows, BLOCK_HEADER.itemsize)
    faults = [*chain(rows, hashes), *places(round, rows)]
    if faults:
        return faults[0].what
    if hashes[-1].tobytes() != round.record["head"].tobytes():
        return "the block headers are not those of the commit record"
    return check_records(rows[part], records, info, bounds)


def check_records(rows: np.ndarray, records: np.ndarray, info: np.ndarray, bounds: np.ndarray) -> str:
    """What is wrong with the records of the blocks ``rows``, or "": whether they are those of the headers."""
    if not _on_boundaries(rows, info, bounds):
        return "a record does not end where its block does"
    if (_contents(rows, kernels.transaction_ids(records, info), bounds) != rows["content"]).any():
        return "the records are not those of the content digest"
    return ""


def follows(found: RoundBlocks, head: bytes) -> Iterator[Fault]:
    """The fault, if the round's first block does not follow the block with the hash ``head``."""
    if len(found.rows) and found.rows["parent"][0].tobytes() != head:
        yield Fault(0, None, NOT_LINKED)


def headers(round: Round, rows: np.ndarray) -> Iterator[Fault]:
    """What is wrong with the form of each header, or with what its place in the ledger says of it."""
    heights = np.uint64(round.first_block) + np.arange(len(rows), dtype=np.uint64)
    for good, what in (
        (
            (rows["zero"] == 0) & (rows["tag"] == Tag.BLOCK_HEADER) & (rows["version"] == FORMAT_VERSION),
            "no block header",
        ),
        (rows["flags"] == 0, "unknown flags in the block header"),
        (rows["height"] == heights, "the block header has another height"),
        (rows["view"] == round.view.view, "the block header is of another view"),
        (rows["count"] > 0, "the block header says that it has no transactions"),
    ):
        for i in np.flatnonzero(~good):
            yield Fault(int(i), None, what)


def chain(rows: np.ndarray, hashes: np.ndarray) -> Iterator[Fault]:
    """The blocks whose parent is not the one before them in the round."""
    linked = np.ones(len(rows), dtype=bool)
    linked[1:] = (words(rows, "parent")[1:] == hashes.view("<u8")[:-1]).all(axis=1)
    for i in np.flatnonzero(~linked):
        yield Fault(int(i), None, NOT_LINKED)


def places(round: Round, rows: np.ndarray) -> Iterator[Fault]:
    """The two unhashed fields of a row: where the blocks of a window lie, and the numbers of first transactions."""
    if not len(rows):
        return
    counts = np.concatenate((np.zeros(1, np.uint64), np.cumsum(rows["count"], dtype=np.uint64)))
    first = np.uint64(round.first_transaction) if round.follows else rows["first_transaction"][0]
    for i in np.flatnonzero(rows["first_transaction"] != first + counts[:-1]):
        yield Fault(int(i), None, "first_transaction is not the number of transactions before the block")
    same = (rows["window"][1:] == rows["window"][:-1]) & (rows["cluster"][1:] == rows["cluster"][:-1])
    behind = rows["records_offset"][1:] == rows["records_offset"][:-1] + rows["bytes"][:-1]
    for i in np.flatnonzero(same & ~behind) + 1:
        yield Fault(int(i), None, "records_offset is not right behind the block before it in the window")


def words(rows: np.ndarray, name: str) -> np.ndarray:
    """(n, 4) u8: a hash of each of ``rows`` (BLOCK_ROW), as numbers that are compared faster than bytes. A view."""
    assert BLOCK_ROW.fields is not None
    at = BLOCK_ROW.fields[name][1] // 8
    found: np.ndarray = rows.view("<u8").reshape(len(rows), BLOCK_ROW.itemsize // 8)[:, at : at + 4]
    return found


def _on_boundaries(rows: np.ndarray, info: np.ndarray, bounds: np.ndarray) -> bool:
    """Whether every block ends where a record does."""
    ends = np.cumsum(info["total_bytes"], dtype=np.uint64)
    if not len(rows):
        return True
    last = bounds[1:].astype(np.int64) - 1
    found: bool = bool((ends[np.maximum(last, 0)] == np.cumsum(rows["bytes"], dtype=np.uint64)).all())
    return found


def _contents(rows: np.ndarray, ids: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(n, 32): content digests computed from the records' ids."""
    entries = np.zeros(len(rows), dtype=BLOCK_ENTRY)
    entries["root"] = kernels.merkle_roots(ids, bounds)
    entries["count"], entries["bytes"] = rows["count"], rows["bytes"]
    if len(rows) and (rows["cluster"] == rows["cluster"][0]).all():
        return kernels.content_digests(entries, int(rows["cluster"][0]))
    digests = np.empty((len(rows), 32), dtype=np.uint8)
    for cluster in np.unique(rows["cluster"]):
        chosen = rows["cluster"] == cluster
        digests[chosen] = kernels.content_digests(np.ascontiguousarray(entries[chosen]), int(cluster))
    return digests


def _one_by_one(rows: np.ndarray, records: np.ndarray) -> Iterator[Fault]:
    ends = np.cumsum(rows["bytes"], dtype=np.uint64).tolist()
    for i, row in enumerate(rows):
        block = records[ends[i] - int(row["bytes"]) : ends[i]]
        batch, reason, at = scan(block)
        if reason is not Reason.NONE:
            yield Fault(i, at, f"not a record: {reason.name}")
        elif len(batch) != int(row["count"]):
            yield Fault(i, None, f"{len(batch)} records lie there, the header says {int(row['count'])}")
        else:
            bounds = np.array([0, len(batch)], dtype=np.uint64)
            if (_contents(rows[i : i + 1], batch.ids, bounds)[0] != row["content"]).any():
                yield Fault(i, None, "the records are not those of the content digest")
