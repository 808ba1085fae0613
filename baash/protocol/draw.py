"""Draws that are the same everywhere: SplitMix64 (Steele, Lea, Flood 2014) over an explicit seed.

The protocol may not know a global source of randomness; whoever draws holds one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_MASK = (1 << 64) - 1


class Draw:
    """A stream of 64-bit numbers; equal seeds give equal streams on every machine and version."""

    def __init__(self, seed: int, *path: int) -> None:
        self._state = seed & _MASK
        for step in path:  # one stream for each use: Draw(seed, view, cluster)
            self._state = self.next() ^ (step & _MASK)

    def next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, bound: int) -> int:
        """Uniform in [0, bound); the bias for bounds below 2**32 is under 2**-32."""
        return (self.next() * bound) >> 64

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items, in random order."""
        pool = list(items)
        for i in range(count):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]
