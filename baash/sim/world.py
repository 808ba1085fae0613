"""Time and chance: what happens when, in one thread, all of it drawn from one seed.

A heap of (time, order, action): of two actions at one time the one that was planned first comes first, so that a seed
tells the same story everywhere. Nothing here knows what a message or a disk is.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

START_NS = 1_700_000_000_000_000_000
US, MS, S = 1_000, 1_000_000, 1_000_000_000

Action = Callable[[], None]


class World:
    """``counts``: faults injected, by kind. ``told``: the newest lines of the story, if somebody listens. Listening changes nothing."""

    def __init__(self, seed: int, *, listen: int = 0) -> None:
        self.now = START_NS
        self.draw = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.told: deque[str] | None = deque(maxlen=listen) if listen else None
        self.when: dict[str, Action] = {}  # when the story says this for the first time, do that
        self.heard: Callable[[Any], None] | None = None  # who looks at every message that is sent
        self.actions = 0
        self._heap: list[tuple[int, int, Action]] = []
        self._order = 0

    @property
    def elapsed_ns(self) -> int:
        return self.now - START_NS

    def after(self, delay_ns: int, action: Action) -> None:
        """Do ``action`` in ``delay_ns``."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + max(0, delay_ns), self._order, action))

    def step(self) -> bool:
        """Do what comes next; False when nothing ever will."""
        if not self._heap:
            return False
        self.now, _, action = heapq.heappop(self._heap)
        self.actions += 1
        action()
        return True

    def between(self, low: int, high: int) -> int:
        """A whole number, small ones as likely as large ones: uniform in its logarithm."""
        if low >= high:
            return low
        return min(high, int(low * (high / low) ** self.draw.random())) if low > 0 else self.draw.randint(low, high)

    def chance(self, share: float) -> bool:
        return share > 0 and self.draw.random() < share

    @property
    def listened(self) -> bool:
        return self.told is not None

    def tell(self, text: str) -> None:
        """A line of the story."""
        if self.told is None:
            return
        self.told.append(f"{self.elapsed_ns / 1e9:10.6f}  {text}")
        for part, action in list(self.when.items()):
            if part in text:
                del self.when[part]
                self.after(0, action)

    def fault(self, kind: str, text: str = "") -> None:
        """A fault has been injected."""
        self.counts[kind] += 1
        if text:
            self.tell(f"! {text}")
