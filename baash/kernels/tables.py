"""What a node knows of entities and issuers, and the rules over it. Used through ``baash.kernels``.

Hash tables in numpy arrays, searched and filled by C. A table grows by doubling; when C has no room it says how far it came, and
the call goes on from there in a larger array. A table that one thread changes is for that thread alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, U2, U4, U8, Bool, Integers, as_info_rows, as_rows, as_u8

# Where a search begins depends on this, so that nobody outside can choose keys that all begin at one place
# (csrc/state/table.h). Python's own seed for string hashes is as unforeseeable as that needs; no result depends on it.
_SEED = hash(("baash", "tables")) & 0xFFFF_FFFF_FFFF_FFFF


def _power_of_two(at_least: int) -> int:
    return 1 << max(at_least - 1, 1).bit_length()


class EntityTable:
    """Key (16 bytes: the first half of an entity hash) → version, exists, last. 32 bytes an entry, at most 70 % full."""

    def __init__(self, capacity: int = 1024) -> None:
        """Room for ``capacity`` entries before it first grows."""
        self._entries: U8 = np.zeros((_power_of_two(max(capacity, 4) * 10 // 7 + 1), 4), dtype=np.uint64)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return self._entries.nbytes

    def lookup(self, keys: U1) -> tuple[U8, Bool, U8]:
        """(versions, exists, last) of ``keys`` (n, 16) u1; 0, False, 0 for what is not there."""
        wanted = as_rows(keys, 16)
        versions, last = np.empty(len(wanted), dtype=np.uint64), np.empty(len(wanted), dtype=np.uint64)
        exists = np.empty(len(wanted), dtype=np.bool_)
        _core.entity_lookup(versions, exists.view(np.uint8), last, self._entries, wanted, _SEED)
        return versions, exists, last

    def upsert(self, keys: U1, versions: Integers, exists: npt.ArrayLike, last: Integers) -> None:
        """Set entries; of a key that comes twice the later counts.

        ValueError: a version of 2^63 or more, or version 0 with exists False (that is what an absent entry says; ``remove``). Entries
        before the one named are set.
        """
        wanted, numbers, marks = as_rows(keys, 16), as_u8(versions), as_u8(last)
        flags = np.ascontiguousarray(exists, dtype=np.bool_).view(np.uint8)
        done = 0
        while True:
            done, self._used, wrong = _core.entity_upsert(
                done, self._used, self._entries, wanted, numbers, flags, marks, _SEED
            )
            if wrong:
                raise ValueError(f"item {done} has version {numbers[done]}, exists {bool(flags[done])}")
            if done == len(wanted):
                return
            larger = np.zeros((2 * len(self._entries), 4), dtype=np.uint64)
            _core.entity_rehash(larger, self._entries, _SEED)
            self._entries = larger

    def remove(self, keys: U1) -> None:
        """Forget keys; those that are not there are no error."""
        self._used = _core.entity_remove(self._used, self._entries, as_rows(keys, 16), _SEED)

    def copy(self) -> EntityTable:
        """An independent copy."""
        other = EntityTable.__new__(EntityTable)
        other._entries, other._used = self._entries.copy(), self._used
        return other

    def items(self) -> tuple[U1, U8, Bool, U8]:
        """(keys (n, 16), versions, exists, last) of all entries, ascending by key bytes."""
        entries = self._entries[self._entries[:, 2] != 0]
        entries = entries[np.lexsort((entries[:, 1].byteswap(), entries[:, 0].byteswap()))]
        keys = np.ascontiguousarray(entries[:, :2]).view(np.uint8).reshape(-1, 16)
        bit = np.uint64(1 << 63)
        return keys, entries[:, 2] & ~bit, (entries[:, 2] & bit) != 0, entries[:, 3].copy()


class ReplayTable:
    """Which (issuer, sequence) are decided: per issuer the highest number and ``width`` bits below it (RFC 6479).

    A number above the highest moves the range forward, however far. A new issuer has nothing decided: its first number n becomes the
    highest, and n - width + 1 … n - 1 may still come. Memory: width / 8 + 32 bytes an issuer, and 8 to index it.
    """

    def __init__(self, width: int = 65536) -> None:
        if width < 64 or width % 64:
            raise ValueError(f"the width must be a multiple of 64, not {width}")
        self.width = width
        self._allocate(4)
        self._rows = 0

    def _allocate(self, capacity: int) -> None:
        self._issuers: U8 = np.zeros((capacity, 4), dtype=np.uint64)
        self._bitmaps: U8 = np.zeros((capacity, self.width // 64), dtype=np.uint64)
        self._slots: U4 = np.zeros(2 * capacity, dtype=np.uint32)

    def _view(self) -> Any:
        return _core.Replay(self._slots, self._issuers, self._bitmaps, self._rows, self.width, _SEED)

    def _grow(self) -> None:
        issuers, bitmaps = self._issuers, self._bitmaps
        self._allocate(2 * len(issuers))
        self._issuers[: len(issuers)] = issuers
        self._bitmaps[: len(issuers)] = bitmaps
        self._view().index()

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return self._issuers.nbytes + self._bitmaps.nbytes + self._slots.nbytes

    def check(self, issuers: U1, sequences: Integers) -> U2:
        """Reasons u2 (n) for pairs (n, 16), (n): 0, 30 REPLAYED, 31 TOO_OLD; each by itself, against the table alone."""
        numbers = as_u8(sequences)
        reasons = np.empty(len(numbers), dtype=np.uint16)
        self._view().check(reasons, as_rows(issuers, 16), numbers)
        return reasons

    def mark(self, issuers: U1, sequences: Integers) -> None:
        """Decided: these pairs, in order. One that is too old or marked already changes nothing."""
        ids, numbers, done = as_rows(issuers, 16), as_u8(sequences), 0
        while True:
            view = self._view()
            done = view.mark(done, ids, numbers)
            self._rows = view.rows
            if done == len(numbers):
                return
            self._grow()

    def merge(self, other: ReplayTable) -> None:
        """Mark what ``other`` has marked, as far as it is not too old then. ValueError: another width."""
        if other.width != self.width:
            raise ValueError(f"widths differ: {self.width} and {other.width}")
        done = 0
        while True:
            view = self._view()
            done = view.merge(done, other._view())
            self._rows = view.rows
            if done == len(other):
                return
            self._grow()

    def copy(self) -> ReplayTable:
        """An independent copy."""
        other = ReplayTable.__new__(ReplayTable)
        other.width, other._rows = self.width, self._rows
        other._issuers, other._bitmaps, other._slots = self._issuers.copy(), self._bitmaps.copy(), self._slots.copy()
        return other


def check_transactions(
    table: EntityTable, replay: ReplayTable, info: npt.NDArray[Any], entities: U1, first: int = 0
) -> tuple[U2, U1, U8, Bool, U8]:
    """Judge transactions in order (``docs/ledger-format.md`` section 3, Rules): (reasons, keys, versions, exists, last).

    ``info``: TRANSACTION_INFO (n); ``entities``: (n, 32) entity hashes. Each is held against table and replay and the effects of the
    valid ones before it. reasons u2 (n): 0; 30 or 31 (replays come first); 20, 21 or 22.
    The other four are the new state of each of the m entities that valid ones write, once, in the order of first writes:
    keys (m, 16), versions, exists, and last = ``first`` + index of the last write. Nothing is changed; to apply, call
    ``table.upsert(keys, versions, exists, last)`` and ``replay.mark`` with the pairs of the valid ones.
    """
    described, hashed = as_info_rows(info), as_rows(entities, 32)
    count = len(described)
    slots = _power_of_two(2 * count)
    reasons = np.empty(count, dtype=np.uint16)
    keys = np.empty((count, 16), dtype=np.uint8)
    versions, last = np.empty(count, dtype=np.uint64), np.empty(count, dtype=np.uint64)
    exists = np.empty(count, dtype=np.bool_)
    written = _core.state_check(
        reasons,
        keys,
        versions,
        exists.view(np.uint8),
        last,
        np.zeros((3, slots), dtype=np.uint32),
        np.empty((2, count), dtype=np.uint64),
        np.empty(count, dtype=np.uint32),
        table._entries,
        replay._view(),
        described,
        hashed,
        first,
        slots,
    )
    return reasons, keys[:written], versions[:written], exists[:written], last[:written]
