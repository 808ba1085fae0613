"""Which commit-record slots count: the one place that tells a torn write from damage.

Theory (``docs/ledger-format.md`` section 7). A slot is written once, by one writer, after everything it covers is
durable, and the next only after it was flushed. A write cut off by a failing power leaves whole 512-byte sectors as they were:
zeros; one cut off because its process died leaves what lies behind some byte as it was. So the first slot that does not count is an
unfinished write if all of it, or one sector, is zeros, or if its checksum breaks off into zeros, and no later slot holds a
record; in every other case something that was committed has changed since.

Pure: arrays in, a verdict out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from baash import kernels
from baash.records import CHECKSUM_BYTES, COMMIT_RECORD, FORMAT_VERSION, SECTOR_BYTES, Tag

ZEROS_LEAST = 8  # where a checksum breaks off


class Verdict(Enum):
    """Why counting stopped."""

    ALL = "all count"
    EMPTY = "empty"
    TORN = "torn"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Counted:
    """The first ``count`` slots count; ``why`` says what is wrong with the one behind them."""

    count: int
    verdict: Verdict
    why: str
    hashes: np.ndarray  # (count, 32): of the records that count


@dataclass(frozen=True)
class Expected:
    """What the next record must carry."""

    ledger: bytes
    view: int
    round: int
    previous: bytes | None  # None: unknown, since the record before is damaged


def records_of(slots: np.ndarray) -> np.ndarray:
    """COMMIT_RECORD (n): the records at the start of ``slots`` ((n, slot_bytes) u1)."""
    records: np.ndarray = np.ascontiguousarray(slots[:, : COMMIT_RECORD.itemsize]).view(COMMIT_RECORD)[:, 0]
    return records


def sound(slots: np.ndarray) -> np.ndarray:
    """bool (n): whose checksum holds."""
    size = slots.shape[1] - CHECKSUM_BYTES
    fits: np.ndarray = (kernels.hash_rows(slots, size) == slots[:, size:]).all(axis=1)
    return fits


def breaks_off(slot: np.ndarray) -> bool:
    """Whether the checksum is right up to some byte and zeros behind it, at least 8: so many no single flipped byte makes."""
    stored = slot[len(slot) - CHECKSUM_BYTES :].tobytes()
    begun = stored.rstrip(b"\0")
    return len(stored) - len(begun) >= ZEROS_LEAST and kernels.hash_rows(slot[None], len(slot) - CHECKSUM_BYTES)[
        0
    ].tobytes().startswith(begun)


def count(slots: np.ndarray, expected: Expected) -> Counted:
    """How many of ``slots`` ((n, slot_bytes) u1), from the first, count."""
    records, whole = records_of(slots), sound(slots)
    hashes = kernels.hash_rows(slots, COMMIT_RECORD.itemsize)
    numbered = records["round"] == expected.round + np.arange(len(slots), dtype=np.uint64)
    linked = np.ones(len(slots), dtype=bool)
    linked[1:] = (records["previous"][1:] == hashes[:-1]).all(axis=1)
    if len(slots) and expected.previous is not None:
        linked[0] = records["previous"][0].tobytes() == expected.previous
    ours = (
        (records["zero"] == 0)
        & (records["tag"] == Tag.COMMIT_RECORD)
        & (records["version"] == FORMAT_VERSION)
        & (records["view"] == expected.view)
        & (records["ledger"] == np.frombuffer(expected.ledger, dtype=np.uint8)).all(axis=1)
    )
    good = whole & numbered & linked & ours
    if good.all():
        return Counted(len(slots), Verdict.ALL, "", hashes)
    at = int(np.argmin(good))
    kept = hashes[:at]
    sectors = slots[at].reshape(-1, SECTOR_BYTES).any(axis=1)
    if not sectors.any():
        return Counted(at, Verdict.EMPTY, "", kept)
    if not sectors.all() or breaks_off(slots[at]):
        return Counted(at, Verdict.TORN, "a commit record was cut off while it was written", kept)
    if not whole[at]:
        why = "the checksum of the commit record does not hold"
    elif not ours[at]:
        why = "the commit record is of another ledger or view"
    elif not numbered[at]:
        why = f"the commit record is of round {int(records['round'][at])}, not {expected.round + at}"
    else:
        why = "the commit record does not follow the one before it"
    return Counted(at, Verdict.DAMAGED, why, kept)
