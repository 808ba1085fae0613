"""YCSB's random draws: key hashes, scrambled Zipfian, latest. To the letter of YCSB's generators, a whole array at a time.

Zipfian numbers follow Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD'94), with theta =
0.99. YCSB's "zipfian" is *scrambled*: a rank is drawn over 10^10 + 1 items with a constant zeta, and the key number is
the rank's FNV hash modulo the number of items. "latest" counts a rank back from the newest key, with a zeta that grows
with the keys.

Where YCSB asks its thread for the next random number, we compute number i of a stream from i: a draw costs the same
wherever one begins. And the same draw must give the same key on every machine, although ``pow`` differs in its last bit
from one CPU to the next: ``power`` therefore is made of IEEE 754 basic operations alone, which do not.
"""

from __future__ import annotations

import hashlib

import numpy as np

THETA = 0.99
ALPHA = 1.0 / (1.0 - THETA)
ZETA_2 = 1.5034777750283594  # 1 + 0.5^theta
SCRAMBLED_ITEMS = 10_000_000_001  # ScrambledZipfianGenerator: ITEM_COUNT + 1
SCRAMBLED_ZETA = 26.46902820178302

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 1099511628211
_LN2_HI = float.fromhex("0x1.62e42fee00000p-1")  # fdlibm's split of ln 2: k * hi is exact for small k
_LN2_LO = float.fromhex("0x1.a39ef35793c76p-33")
_ZETA_PIECE = 1 << 18


def fnvhash64(numbers: np.ndarray) -> np.ndarray:
    """YCSB's ``Utils.fnvhash64`` of key numbers: i8, never negative."""
    value = numbers.astype(np.uint64)
    h = np.full(value.shape, _FNV_OFFSET, dtype=np.uint64)
    for _ in range(8):
        h ^= value & np.uint64(0xFF)
        h *= np.uint64(_FNV_PRIME)
        value >>= np.uint64(8)
    return np.abs(h.view(np.int64))


def stream_key(purpose: str, seed: int) -> int:
    """Where the stream of random numbers for one purpose begins."""
    return int.from_bytes(hashlib.sha256(f"ycsb/{purpose}/{seed}".encode()).digest()[:8], "little")


def uniform(key: int, index: np.ndarray) -> np.ndarray:
    """Numbers ``index`` (u8) of the stream ``key``: f8 in [0, 1), by SplitMix64 (Steele et al., OOPSLA'14)."""
    z = index * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def power(base: np.ndarray, exponent: float) -> np.ndarray:
    """base ** exponent for positive f8, good to about 1e-14, with the same bits on every machine."""
    fraction, binary = np.frexp(base)
    low = fraction < 0.7071067811865476
    fraction = np.where(low, fraction * 2.0, fraction)
    binary = binary - low
    s = (fraction - 1.0) / (fraction + 1.0)  # ln x = 2 atanh s, |s| < 0.172
    square = s * s
    series = np.full_like(s, 1.0 / 23.0)
    for odd in range(21, 0, -2):
        series = series * square + 1.0 / odd
    y = (binary * _LN2_HI + (2.0 * s * series + binary * _LN2_LO)) * exponent
    k = np.rint(y * 1.4426950408889634)
    r = (y - k * _LN2_HI) - k * _LN2_LO
    result = np.full_like(r, 1.0)
    for n in range(14, 0, -1):  # Taylor, |r| < 0.35
        result = result * r / n + 1.0
    scaled: np.ndarray = np.ldexp(result, k.astype(np.int32))
    return scaled


def eta(items: int, zeta: np.ndarray) -> np.ndarray:
    """Gray's eta for a zeta over a number of items that may have grown since ``items``."""
    result: np.ndarray = (1.0 - power(np.array([2.0 / items]), 1.0 - THETA)) / (1.0 - ZETA_2 / zeta)
    return result


def ranks(u: np.ndarray, items: np.ndarray, zeta: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Zipfian ranks (i8, from 0) of uniform numbers; ``items``, ``zeta``, ``eta`` are for each draw or one for all."""
    uz = u * zeta
    rank: np.ndarray = (items * power(eta * u - eta + 1.0, ALPHA)).astype(np.int64)
    rank[uz < ZETA_2] = 1
    rank[uz < 1.0] = 0
    return rank


_SCRAMBLED_ZETA = np.array([SCRAMBLED_ZETA])
_SCRAMBLED_ETA = eta(SCRAMBLED_ITEMS, _SCRAMBLED_ZETA)


def scrambled(u: np.ndarray, item_count: int) -> np.ndarray:
    """Key numbers (i8) below ``item_count``, before those not yet inserted are drawn again."""
    rank = ranks(u, np.array([float(SCRAMBLED_ITEMS)]), _SCRAMBLED_ZETA, _SCRAMBLED_ETA)
    return fnvhash64(rank) % item_count


def zeta_terms(first: int, last: int) -> np.ndarray:
    """i ** -theta for i in (first, last]."""
    return 1.0 / power(np.arange(first + 1, last + 1, dtype=np.float64), THETA)


def zeta(items: int) -> float:
    """The sum of i ** -theta for i = 1 … items, added one by one in that order as YCSB does."""
    total = 0.0
    for first in range(0, items, _ZETA_PIECE):
        terms = zeta_terms(first, min(first + _ZETA_PIECE, items))
        terms[0] += total
        total = float(np.cumsum(terms)[-1])  # cumsum adds in order; sum() does not
    return total


class Latest:
    """SkewedLatestGenerator: the newest keys are the most popular.

    ``items`` is the number of the newest key when the run begins; zeta grows with the keys, and eta keeps the ``items``
    of the beginning, as YCSB's does.
    """

    def __init__(self, items: int) -> None:
        self._items = items
        self._newest = items
        self._zeta = zeta(items)

    def draw(self, u: np.ndarray, newest: np.ndarray) -> np.ndarray:
        """Key numbers (i8) for draws in order; ``newest`` (i8, never falling): the newest key at each of them."""
        if not len(u):
            return np.zeros(0, dtype=np.int64)
        last = int(newest[-1])
        terms = np.concatenate([[self._zeta], zeta_terms(self._newest, last)])
        zetas = np.cumsum(terms)
        at = zetas[newest - self._newest]
        self._newest, self._zeta = last, float(zetas[-1])
        drawn: np.ndarray = newest - ranks(u, newest.astype(np.float64), at, eta(self._items, at))
        return drawn
