"""Transactions of small inputs before they are records: a list of drafts, and the source made of one.

A draft may refer to an earlier draft by its place in the list. Its id exists only when that one's bytes do, so drafts are
encoded level by level: first those that refer to nothing, then those that refer to these, and so on; each level is one
call of the kernels. Inputs of millions of transactions (YCSB) do not come this way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baash import kernels
from baash.errors import InputError
from baash.records import (
    ANY_VERSION,
    ENTITY_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    REFERENCES_MAX,
    Operation,
    PayloadType,
    source_issuer,
)
from baash.sources.chunk import Chunk


@dataclass(frozen=True)
class Draft:
    """A transaction to be; ``references`` are ids (32 bytes) or places of earlier drafts of the same list."""

    operation: Operation
    entity: bytes
    payload: bytes = b""
    payload_type: PayloadType = PayloadType.BYTES
    references: tuple[int | bytes, ...] = ()
    time_ns: int = 0
    expected_version: int = ANY_VERSION


def json_payload(value: Any) -> bytes:
    """A JSON payload: UTF-8, compact, keys sorted; the same value gives the same bytes. ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def refer(
    drafts: list[Draft], references: Sequence[int | bytes], entity: bytes, time_ns: int
) -> tuple[int | bytes, ...]:
    """``references``, each once and at most as many as a record may hold.

    Where there are more, NOTEs about ``entity`` are added to ``drafts`` that carry them, and what is returned refers to
    the NOTEs: following references still reaches everything.
    """
    unique = tuple(dict.fromkeys(references))
    while len(unique) > REFERENCES_MAX:
        notes: list[int | bytes] = []
        for first in range(0, len(unique), REFERENCES_MAX):
            part = unique[first : first + REFERENCES_MAX]
            payload = json_payload({"kind": "references", "from": first, "of": len(unique)})
            notes.append(len(drafts))
            drafts.append(Draft(Operation.NOTE, entity, payload, PayloadType.JSON, part, time_ns))
        unique = tuple(notes)
    return unique


@dataclass(frozen=True, eq=False)
class Encoded:
    """``records`` (u1), ``offsets`` (i8, n + 1) and ``ids`` (n, 32) of a list of drafts."""

    records: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray


def encode(drafts: Sequence[Draft], issuer: bytes, sequences: Sequence[int] | None = None) -> Encoded:
    """Drafts as records, in their order; without ``sequences`` a draft's number is its place."""
    count = len(drafts)
    levels = np.zeros(count, dtype=np.int64)
    for place, draft in enumerate(drafts):
        _check(draft)
        for reference in draft.references:
            if isinstance(reference, int):
                assert 0 <= reference < place, f"draft {place} refers to draft {reference}"
                levels[place] = max(levels[place], levels[reference] + 1)
    ids = np.zeros((count, 32), dtype=np.uint8)
    parts: list[np.ndarray] = [np.zeros(0, dtype=np.uint8)] * count
    for level in range(int(levels.max(initial=-1)) + 1):
        places = np.flatnonzero(levels == level)
        numbers = places if sequences is None else np.asarray(sequences, dtype=np.uint64)[places]
        records, offsets = _encode_level([drafts[place] for place in places.tolist()], numbers, issuer, ids)
        ids[places] = kernels.sha256_batch(records, offsets)
        for row, place in enumerate(places.tolist()):
            parts[place] = records[offsets[row] : offsets[row + 1]]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return Encoded(np.concatenate([np.zeros(0, dtype=np.uint8), *parts]), _offsets(lengths), ids)


def _encode_level(
    drafts: list[Draft], numbers: np.ndarray, issuer: bytes, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    hashes = [ids[r].tobytes() if isinstance(r, int) else r for draft in drafts for r in draft.references]
    references = None
    if hashes:
        table = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
        references = (table, _offsets(np.array([len(draft.references) for draft in drafts], dtype=np.int64)))
    records, offsets = kernels.encode(
        np.array([draft.operation for draft in drafts], dtype=np.uint8),
        numbers.astype(np.uint64),
        np.array([draft.time_ns for draft in drafts], dtype=np.uint64),
        np.array([draft.expected_version for draft in drafts], dtype=np.uint64),
        issuer,
        _joined([draft.entity for draft in drafts]),
        _joined([draft.payload for draft in drafts]),
        np.array([draft.payload_type for draft in drafts], dtype=np.uint16),
        references,
    )
    return records, offsets


def _check(draft: Draft) -> None:
    """Hold the limits of a record."""
    name = draft.entity[:80].decode(errors="replace")
    if not 1 <= len(draft.entity) <= ENTITY_BYTES_MAX:
        raise InputError(
            f"The entity name {name!r}… has {len(draft.entity)} bytes: 1 to {ENTITY_BYTES_MAX} are possible."
        )
    if len(draft.payload) > PAYLOAD_BYTES_MAX:
        raise InputError(
            f"What is to be recorded of {name!r} has {len(draft.payload)} bytes: at most {PAYLOAD_BYTES_MAX} are possible."
        )
    if len(draft.references) > REFERENCES_MAX:
        raise InputError(f"{name!r} has {len(draft.references)} references: at most {REFERENCES_MAX} are possible.")


def _joined(parts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return np.frombuffer(b"".join(parts), dtype=np.uint8), _offsets(lengths)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


class DraftSource:
    """A source made of drafts; a transaction's sequence number is its place in the list."""

    def __init__(self, name: str, drafts: Sequence[Draft], skipped: Sequence[str] = ()) -> None:
        self.name = name
        self.total: int | None = len(drafts)
        self.drafts = tuple(drafts)
        self.encoded = encode(self.drafts, source_issuer(name))
        self._skipped = tuple(skipped)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The transactions from the first, at most ``size`` a chunk; what was skipped goes with the first chunk."""
        skipped = self._skipped
        for first in range(0, max(len(self.drafts), 1 if skipped else 0), size):
            last = min(first + size, len(self.drafts))
            low, high = (int(self.encoded.offsets[at]) for at in (first, last))
            yield Chunk(self.encoded.records[low:high], last - first, None, skipped)
            skipped = ()
