"""What a ledger knows of some entities now: version, whether it exists, and the transaction that wrote it last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baash.ledger.index.lookup import Lookup
from baash.ledger.reader import Ledger
from baash.ledger.transactions import Progress
from baash.records import Operation, entity_hash


@dataclass(frozen=True)
class Newest:
    """The newest version of an entity."""

    version: int
    exists: bool  # False: retired
    transaction: bytes  # id
    payload: bytes
    issuer: bytes
    block_time_ns: int


def newest(
    ledger: Ledger, names: Sequence[bytes], progress: Progress | None = None, lookup: Lookup | None = None
) -> dict[bytes, Newest]:
    """The newest version of each of ``names`` that the ledger ever knew, by look-ups (in ``lookup``, if there is one already)."""
    if not names:
        return {}
    lookup = lookup or Lookup(ledger, progress)
    found: dict[bytes, Newest] = {}
    for name in names:
        hash_ = entity_hash(name)
        version = len(lookup.writes(hash_))
        written = lookup.last_write(hash_, lookup.transaction_total) if version else None
        if written is not None:
            exists = written.operation is not Operation.RETIRE
            found[name] = Newest(version, exists, written.id, written.payload, written.issuer, written.time_ns)
    return found


def names_below(
    ledger: Ledger, folders: Sequence[bytes], progress: Progress | None = None, lookup: Lookup | None = None
) -> list[bytes]:
    """Names of the entities below ``folders`` (names as of files, which begin with ``/``) that the ledger ever created, each once, in
    order of their creation; by look-ups (in ``lookup``, if there is one already)."""
    if not folders:
        return []
    lookup = lookup or Lookup(ledger, progress)
    numbers = np.unique(np.concatenate([lookup.below(folder.rstrip(b"/")) for folder in folders]))
    return list(dict.fromkeys(one.entity for one in lookup.read(numbers)))
