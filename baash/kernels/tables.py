"""What a node knows of entities and issuers. Used through ``baash.kernels``.

Hash tables in numpy arrays, searched and filled by C. A table grows by doubling; when C has no room it says how far it came, and
the call goes on from there with more. Growing is no pause: the entity table moves a few entries with every item it takes
(csrc/state/entity.c says how), the replay table copies no bitmaps. A table that one thread changes is for that thread alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from baash import _core
from baash.kernels.arrays import U1, U2, U4, U8, Bool, Integers, as_rows, as_u8

# Where a search begins depends on this, so that nobody outside can choose keys that all begin at one place
# (csrc/state/table.h). Python's own seed for string hashes is as unforeseeable as that needs; no result depends on it.
_SEED = hash(("baash", "tables")) & 0xFFFF_FFFF_FFFF_FFFF

LIKELY_BYTES = 256 << 20  # a guess is good for a table of this size, not for a larger one


def power_of_two(at_least: int) -> int:
    return 1 << max(at_least - 1, 1).bit_length()


def _entries(capacity: int) -> U8:
    """Zeros that begin with a cache line, which then holds two entries whole."""
    room = np.zeros(4 * capacity + 8, dtype=np.uint64)
    skip = -room.ctypes.data % 64 // 8
    return room[skip : skip + 4 * capacity].reshape(capacity, 4)


class EntityTable:
    """Key (16 bytes: the first half of an entity hash) → version, exists, last.

    Memory: an entry is 32 bytes and 35 to 70 % of them are used, so 46 to 91 bytes an entity. A table that grows keeps the array
    before, half as large, for the next 9 % of new entities (137 bytes an entity at most). One that was told what is likely to come
    (``aim``) may have up to LIKELY_BYTES.
    """

    def __init__(self, capacity: int = 16) -> None:
        """Room for ``capacity`` entries before it first grows."""
        self._entries: U8 = _entries(power_of_two(max(capacity, 4) * 10 // 7 + 1))
        self._old: U8 | None = None
        self._core = _core.Entities(self._entries, None, 0, 0, _SEED)
        self._likely = 0

    def __len__(self) -> int:
        return int(self._core.used)

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return self._entries.nbytes + (0 if self._old is None else self._old.nbytes)

    def lookup(self, keys: U1) -> tuple[U8, Bool, U8]:
        """(versions, exists, last) of ``keys`` (n, 16) u1; 0, False, 0 for what is not there."""
        wanted = as_rows(keys, 16)
        versions, last = np.empty(len(wanted), dtype=np.uint64), np.empty(len(wanted), dtype=np.uint64)
        exists = np.empty(len(wanted), dtype=np.bool_)
        self._core.lookup(versions, exists.view(np.uint8), last, wanted)
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
            done, wrong = self._core.upsert(done, wanted, numbers, flags, marks)
            self.settle()
            if wrong:
                raise ValueError(f"item {done} has version {numbers[done]}, exists {bool(flags[done])}")
            if done == len(wanted):
                return
            self.grow()

    @property
    def core(self) -> Any:
        """The table as C reads it, for the functions of this room."""
        return self._core

    def aim(self, entities: int) -> None:
        """So many are likely to come: the next growth makes room for them at once, as far as LIKELY_BYTES."""
        self._likely = min(entities, LIKELY_BYTES // 91)

    def grow(self) -> None:
        """Begin to go over to an array twice as large, or more; for the functions of this room, when C says that there is no room."""
        capacity = max(2 * len(self._entries), power_of_two(self._likely * 10 // 7 + 1))
        self._entries, self._old = _entries(capacity), self._entries
        self._core.grow(self._entries)

    def settle(self) -> None:
        """After items were taken: let the array before go when all of it was moved."""
        if not self._core.grows:
            self._old = None

    def remove(self, keys: U1) -> None:
        """Forget keys; those that are not there are no error."""
        self._core.remove(as_rows(keys, 16))

    def copy(self) -> EntityTable:
        """An independent copy."""
        other = EntityTable.__new__(EntityTable)
        other._entries = _entries(len(self._entries))
        other._entries[:] = self._entries
        other._old = None if self._old is None else self._old.copy()
        other._likely = self._likely
        other._core = _core.Entities(other._entries, other._old, self._core.moved, self._core.used, _SEED)
        return other

    def items(self) -> tuple[U1, U8, Bool, U8]:
        """(keys (n, 16), versions, exists, last) of all entries, ascending by key bytes."""
        arrays = [self._entries] if self._old is None else [self._entries, self._old]
        entries = np.concatenate([array[array[:, 2] != 0] for array in arrays])
        entries = entries[np.lexsort((entries[:, 1].byteswap(), entries[:, 0].byteswap()))]
        keys = np.ascontiguousarray(entries[:, :2]).view(np.uint8).reshape(-1, 16)
        bit = np.uint64(1 << 63)
        return keys, entries[:, 2] & ~bit, (entries[:, 2] & bit) != 0, entries[:, 3].copy()


class ReplayTable:
    """Which (issuer, sequence) are decided: per issuer the highest number and ``width`` bits below it (RFC 6479).

    A number above the highest moves the range forward, however far. A new issuer has nothing decided: its first number n becomes the
    highest, and n - width + 1 … n - 1 may still come.

    Memory: width / 8 bytes an issuer for its bits, in pieces of 16 rows or 64 KiB, and 40 to 80 to find it. Growth takes one more piece;
    only what finds an issuer is doubled and copied.
    """

    def __init__(self, width: int = 65536) -> None:
        if width < 64 or width % 64:
            raise ValueError(f"the width must be a multiple of 64, not {width}")
        self.width = width
        self._rows = 0
        self._issuers: U8 = np.zeros((4, 4), dtype=np.uint64)
        self._slots: U4 = np.zeros(8, dtype=np.uint32)
        self._piece_bits = max(4, 20 - width.bit_length())
        self._pieces: list[U8] = []
        self._places: U8 = np.zeros(0, dtype=np.uint64)

    def _add_piece(self) -> None:
        self._pieces.append(np.zeros((1 << self._piece_bits, self.width // 64), dtype=np.uint64))
        self._places = np.append(self._places, np.uint64(self._pieces[-1].ctypes.data))

    def view(self) -> Any:
        """The table as C reads it, for the functions of this room; what C changes in it comes back by ``settle``."""
        return _core.Replay(
            self._slots, self._issuers, self._places, self._pieces, self._piece_bits, self._rows, self.width, _SEED
        )

    def settle(self, view: Any) -> None:
        self._rows = view.rows

    def grow(self) -> None:
        """Room for one more issuer."""
        if self._rows == len(self._pieces) << self._piece_bits:
            self._add_piece()
        if self._rows == len(self._issuers):
            self._issuers = np.concatenate([self._issuers, np.zeros_like(self._issuers)])
            self._slots = np.zeros(2 * len(self._slots), dtype=np.uint32)
            self.view().index()

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return self._issuers.nbytes + self._slots.nbytes + sum(piece.nbytes for piece in self._pieces)

    def check(self, issuers: U1, sequences: Integers) -> U2:
        """Reasons u2 (n) for pairs (n, 16), (n): 0, 30 REPLAYED, 31 TOO_OLD; each by itself, against the table alone."""
        numbers = as_u8(sequences)
        reasons = np.empty(len(numbers), dtype=np.uint16)
        self.view().check(reasons, as_rows(issuers, 16), numbers)
        return reasons

    def mark(self, issuers: U1, sequences: Integers) -> None:
        """Decided: these pairs, in order. One that is too old or marked already changes nothing."""
        ids, numbers, done = as_rows(issuers, 16), as_u8(sequences), 0
        while True:
            view = self.view()
            done = view.mark(done, ids, numbers)
            self.settle(view)
            if done == len(numbers):
                return
            self.grow()

    def merge(self, other: ReplayTable) -> None:
        """Mark what ``other`` has marked, as far as it is not too old then. ValueError: another width."""
        if other.width != self.width:
            raise ValueError(f"widths differ: {self.width} and {other.width}")
        done = 0
        while True:
            view = self.view()
            done = view.merge(done, other.view())
            self.settle(view)
            if done == len(other):
                return
            self.grow()

    def copy(self) -> ReplayTable:
        """An independent copy."""
        other = ReplayTable.__new__(ReplayTable)
        other.width, other._rows, other._piece_bits = self.width, self._rows, self._piece_bits
        other._issuers, other._slots = self._issuers.copy(), self._slots.copy()
        other._pieces = [np.zeros_like(piece) for piece in self._pieces]
        used = self._rows
        for mine, theirs in zip(self._pieces, other._pieces, strict=True):  # rows not in use stay untouched: no memory
            theirs[:used] = mine[:used]
            used = max(0, used - len(mine))
        other._places = np.array([piece.ctypes.data for piece in other._pieces], dtype=np.uint64)
        return other
