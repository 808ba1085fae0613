"""What a ledger is, and where its bytes go: for ``baash info``.

Every byte of every file is counted under one name: what of the segments holds payloads, names, headers, block rows,
certificates, rejections and commit records, what HDF5 takes, what is a gap or was never used; then the other files. A
file's *length* is what a copy of it takes unless holes are kept, what is *allocated* is what it takes here.

Works on a damaged ledger as far as it can be read, and says where it could not. Checks nothing: that is the audit's.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from baash.batch import scan
from baash.errors import BaashError, LedgerDamaged, StorageError
from baash.ledger.durable import refusals
from baash.ledger.folder import Folder
from baash.ledger.proofs import checkpoint
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.records import BLOCK_ROW, REJECTION, align

Progress = Callable[[int, int], None]  # blocks, in all
PROBLEMS_KEPT = 20


@dataclass
class Contents:
    """Numbers of a ledger. ``bytes``: by what they are for; their sum is the length of all its files."""

    id: bytes | None = None
    views: int = 0
    segments: int = 0
    rounds: int = 0
    blocks: int = 0
    transactions: int = 0
    rejections: int = 0
    newest_view: dict[str, Any] | None = None
    writer: str | None = None  # who holds the writer's lock
    checkpoint_blocks: int | None = None
    bytes: dict[str, int] = field(default_factory=dict)
    length: int = 0
    allocated: int = 0
    problems: list[str] = field(default_factory=list)


PARTS = (
    "payloads",
    "entity_names",
    "record_headers",  # with references, signatures and padding
    "block_rows",
    "certificates",
    "round_bodies",
    "rejections",
    "commit_records",
    "hdf5_metadata",
    "gaps_and_unused",
    "view_records",
    "index_files",
    "other_files",
)


def contents(folder: Folder, progress: Progress | None = None) -> Contents:
    """Look at all of a ledger. StorageError if its folder cannot be listed."""
    out = Contents(bytes=dict.fromkeys(PARTS, 0), writer=folder.lock_holder())
    try:
        note = checkpoint.read(folder)
        out.checkpoint_blocks = checkpoint.decode(note)[0].size if note is not None else None
    except (LedgerDamaged, StorageError) as error:
        out.problems.append(f"checkpoint: {error}")
    try:
        with Ledger(folder.path, report=lambda where, height, what: out.problems.append(f"{where}: {what}")) as ledger:
            _count(ledger, out, progress)
    except BaashError as error:
        out.problems.append(str(error))
    _files(folder, out)
    del out.problems[PROBLEMS_KEPT:]
    return out


def _count(ledger: Ledger, out: Contents, progress: Progress | None) -> None:
    view = ledger.view
    if view is not None:
        out.id, out.views = view.ledger, len(ledger.epochs)
        out.newest_view = {
            "view": view.view,
            "published_ns": view.time_ns,
            "age_s": round(max(0.0, time.time() - view.time_ns / 1e9), 1),
            "started_by": dict(view.started_by),
        }
    out.segments, out.rounds = len(ledger.segments), len(ledger.rounds)
    out.blocks, out.transactions, out.rejections = ledger.block_total, ledger.transaction_total, ledger.rejection_total
    for place in ledger.segments:
        out.bytes["hdf5_metadata"] += place.file[2] - sum(d.size for d in place.data.values())
    for index in range(len(ledger.rounds)):
        found = ledger.rounds[index]
        try:
            _round(found, out.bytes)
        except (LedgerDamaged, StorageError) as error:
            out.problems.append(f"round {index}: {error}")
        if progress is not None:
            progress(int(found.record["block_total"]), ledger.block_total)


def _round(round: Round, parts: dict[str, int]) -> None:
    parts["commit_records"] += round.raw.nbytes
    rows = round.headers()
    parts["block_rows"] += len(rows) * BLOCK_ROW.itemsize
    parts["rejections"] += int(round.locator["rejection_count"]) * REJECTION.itemsize
    body = round.body()
    parts["round_bodies"] += len(body.hashed) + body.certificate_offsets.nbytes
    parts["certificates"] += sum(align(int(n), 8) for n in body.windows["certificate_bytes"])
    info = scan(round.records(rows))[0].info
    payloads, names = (int(info[n].sum(dtype=np.uint64)) for n in ("payload_bytes", "entity_bytes"))
    parts["payloads"] += payloads
    parts["entity_names"] += names
    parts["record_headers"] += int(rows["bytes"].sum(dtype=np.uint64)) - payloads - names


def _files(folder: Folder, out: Contents) -> None:
    """The lengths of all files; what of the segments is under no other name is a gap or unused."""
    segments = {folder.segment_path(v, s).name for v, s in folder.segment_names()}
    views = {folder.view_path(n).name for n in folder.views()}
    in_segments = sum(out.bytes.values())
    held = 0
    for path, status in _regular(folder.path):
        out.length += status.st_size
        out.allocated += status.st_blocks * 512
        if path.name in segments and path.parent == folder.path:
            held += status.st_size
        elif path.name in views:
            out.bytes["view_records"] += status.st_size
        else:
            kind = "index_files" if path.name.startswith(("index-", "state-")) else "other_files"
            out.bytes[kind] += status.st_size
    out.bytes["gaps_and_unused"] = max(0, held - in_segments)


def _regular(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    with refusals("list", folder):
        for path in sorted(folder.rglob("*")):
            try:
                status = path.lstat()
            except FileNotFoundError:  # gone since
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((path, status))
    return found
