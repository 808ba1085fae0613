"""Examined rounds as arrays, and back: what the ranks of a divided audit send each other, packed (``packing.py``).

What receives it trusts the sender, who is a rank of the same job; it does not trust the ledger, and neither does the sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson

from baash import kernels
from baash.ledger.audit.evidence import Claimed
from baash.ledger.audit.examined import LINKED_WINDOW, Examined
from baash.ledger.audit.kept import Kept
from baash.ledger.audit.report import Counted
from baash.ledger.audit.share import BROKEN, Result
from baash.records import ROUND_CLUSTER


def pack_kept(kept: Kept) -> list[np.ndarray]:
    return [kept.acts, kept.pairs, kept.ids8, kept.references]


def unpack_kept(arrays: Sequence[np.ndarray]) -> Kept:
    return Kept(arrays[0].view(kernels.ACT), *(a.view("<u8") for a in arrays[1:4]))


_SCALARS = ("index", "failed", "whole", "replayable", "told", "sound", "said", "said_count", "conflicts", "evidence")


def pack_examined(examined: Examined) -> list[np.ndarray]:
    """All but what is kept of its transactions."""
    fields: dict[str, Any] = {name: getattr(examined, name) for name in _SCALARS}
    fields |= {"counted": asdict(examined.counted), "first_parent": examined.first_parent.hex()}
    e = examined
    return [_text(fields), e.hashes, e.parents, e.counts, e.bad, e.windows, e.clusters]


def unpack_examined(arrays: Sequence[np.ndarray]) -> Examined:
    fields = orjson.loads(arrays[0].tobytes())
    found = Examined(**{name: fields[name] for name in _SCALARS})
    found.counted, found.first_parent = Counted(**fields["counted"]), bytes.fromhex(fields["first_parent"])
    found.said = [(block, transaction, what) for block, transaction, what in found.said]
    found.evidence = [Claimed(**claim) for claim in fields["evidence"]]
    found.hashes, found.parents = arrays[1].reshape(-1, 32), arrays[2].reshape(-1, 32)
    found.counts, found.bad = arrays[3].view("<u8"), arrays[4].view("<u8")
    found.windows, found.clusters = arrays[5].view(LINKED_WINDOW), arrays[6].view(ROUND_CLUSTER)
    return found


def pack_result(result: Result) -> list[np.ndarray]:
    numbers = np.array([result.broken_count, result.dangling, result.example], dtype="<u8")
    return [numbers, result.broken, result.suspects]


def unpack_result(arrays: Sequence[np.ndarray]) -> Result:
    broken_count, dangling, example = arrays[0].view("<u8").tolist()
    return Result(arrays[1].view(BROKEN), broken_count, arrays[2].view("<u8"), dangling, example)


def _text(fields: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), dtype=np.uint8)
