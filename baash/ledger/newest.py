"""What a ledger knows of some entities now: version, whether it exists, and the transaction that wrote it last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baash import batch as batches
from baash import kernels
from baash.ledger.fetch import Fetcher
from baash.ledger.reader import Ledger
from baash.ledger.restore import restore
from baash.ledger.transactions import Progress, scan_rounds
from baash.records import TRANSACTION, Operation, entity_hash


@dataclass(frozen=True)
class Newest:
    """The newest version of an entity."""

    version: int
    exists: bool  # False: retired
    transaction: bytes  # id
    payload: bytes
    issuer: bytes
    block_time_ns: int


def newest(ledger: Ledger, names: Sequence[bytes], progress: Progress | None = None) -> dict[bytes, Newest]:
    """The newest version of each of ``names`` that the ledger ever knew; reads the ledger once (docs/limits.md)."""
    if not names:
        return {}
    table = restore(ledger, progress=progress).entities
    hashes = np.frombuffer(b"".join(map(entity_hash, names)), dtype=np.uint8).reshape(-1, 32)
    versions, exists, last = table.lookup(np.ascontiguousarray(hashes[:, :16]))
    known = np.flatnonzero(versions)
    found: dict[bytes, Newest] = {}
    fetcher = Fetcher(ledger.path)
    try:
        by_number = {int(last[i]): i for i in known.tolist()}
        for row, records in fetcher.blocks(np.unique(last[known])):
            batch, _, _ = batches.scan(records)
            for at in range(len(batch)):
                index = by_number.get(int(row["first_transaction"]) + at)
                if index is not None:
                    info = batch.info[at]
                    start = int(info["start"]) + int(info["payload_start"])
                    found[names[index]] = Newest(
                        int(versions[index]),
                        bool(exists[index]),
                        batch.ids[at].tobytes(),
                        records[start : start + int(info["payload_bytes"])].tobytes(),
                        info["issuer"].tobytes(),
                        int(row["time_ns"]),
                    )
    finally:
        fetcher.close()
    return found


def names_below(ledger: Ledger, folders: Sequence[bytes], progress: Progress | None = None) -> list[bytes]:
    """Names of the entities below ``folders`` (names as of files) that the ledger ever created, each once, in order of their
    creation; goes through the ledger once."""
    found: dict[bytes, None] = {}
    heads = [folder.rstrip(b"/") + b"/" for folder in folders]
    for scanned in scan_rounds(ledger, progress) if heads else ():
        created = scanned.info[scanned.info["operation"] == Operation.CREATE]
        for head in heads:
            long = created[created["entity_bytes"] > len(head)]
            if not len(long):
                continue
            starts = long["start"] + np.uint64(TRANSACTION.itemsize)
            begins = kernels.gather(scanned.records, starts, np.full(len(long), len(head), dtype=np.uint64))
            fits = (begins.reshape(-1, len(head)) == np.frombuffer(head, dtype=np.uint8)).all(axis=1)
            for one in long[fits]:
                start = int(one["start"]) + TRANSACTION.itemsize
                found[scanned.records[start : start + int(one["entity_bytes"])].tobytes()] = None
    return list(found)
