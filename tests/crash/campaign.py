"""How much is tried, and what came of it: the same tests are small in ``make test`` and complete in ``make campaign``.

``BAASH_CRASH=full``    everything, in an order drawn from the seed, each test as long as its share of CAMPAIGN_SECONDS lasts
``BAASH_TEST_SEED=N``   replays: the same things in the same order
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

FULL = os.environ.get("BAASH_CRASH") == "full"
SEED = int(os.environ.get("BAASH_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
SECONDS = float(os.environ.get("CAMPAIGN_SECONDS", "1800"))

T = TypeVar("T")

table: dict[str, Counter[str]] = {}  # what was tried → how much of it


def count(name: str, **numbers: int) -> None:
    table.setdefault(name, Counter()).update(numbers)


def within(items: Iterable[T], share: float) -> Iterator[T]:
    """All of ``items``; in a campaign as many as there is time for."""
    until = time.monotonic() + share * SECONDS
    for item in items:
        if FULL and time.monotonic() > until:
            return
        yield item


def chosen(name: str, items: Sequence[T], small: int, share: float) -> Iterator[T]:
    """``small`` of ``items``; in a campaign all of them, or as many as there is time for. Counts them under ``name``."""
    order = random.Random(f"{SEED} {name}").sample(items, len(items))
    count(name, possible=len(items), tried=0)
    for item in within(order if FULL else order[:small], share):
        yield item
        count(name, tried=1)


def lines() -> list[str]:
    """The table, for the terminal."""
    found = [f"seed {SEED}: replay with BAASH_TEST_SEED={SEED}" + (" BAASH_CRASH=full" if FULL else "")]
    for name, numbers in table.items():
        found.append(f"  {name:<44} " + ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in numbers.items()))
    return found
