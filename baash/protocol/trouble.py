"""What keeps the rounds of a coordinator from going on: storage that refuses, others that are waited for, lies. And whom it blames.

Theory. A round that failed is tried again for ten seconds. Then whoever's storage refuses gives up, and the leader goes on without
those whose storage does; the others give the leader ten more to do so. Waits have bounds (``patience.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

from baash.protocol import patience
from baash.protocol.events import Effect, Fail
from baash.protocol.patience import Waits
from baash.protocol.view import View

PATIENCE_NS = 10_000_000_000  # how long storage may refuse before the run ends
OWED = {
    "answers": "did not answer the proposal of",
    "record": "did not say what became of",
    "proposal": "did not propose, with what was brought to it,",
}


class Trouble:
    """Of one coordinator, ``node``."""

    def __init__(self, view: View, node: int) -> None:
        self._view, self._node = view, node
        self._leader = view.coordinators[0].node
        self._since_ns: int | None = None  # the first failure of the round under way
        self._failed_by: set[int] = set()  # whose writes failed since
        self._waits = Waits(patience.ROUNDS)

    def over(self) -> None:
        """A round is committed."""
        self._since_ns = None
        self._failed_by.clear()

    def failed(self, by: int) -> None:
        """The writes of node ``by`` failed."""
        self._failed_by.add(by)

    def written(self, by: int) -> None:
        """Those of node ``by`` succeed again."""
        self._failed_by.discard(by)

    def given_up(self, number: int, reason: str, now_ns: int) -> list[Effect]:
        """Round ``number`` was given up, once more: what is to be said if it is hopeless."""
        if self._since_ns is None:
            self._since_ns = now_ns
        waited_ns = now_ns - self._since_ns
        if waited_ns <= PATIENCE_NS:
            return []
        if self._node in self._failed_by:
            return [Fail("StorageError", f"round {number} could not be written: {reason}")]
        if self._node == self._leader:
            return self.suspect(self._failed_by, f"could not write its part of round {number}: {reason}")
        if waited_ns <= 2 * PATIENCE_NS:
            return []
        return self.suspect({self._leader}, f"gave round {number} up again and again: {reason}")

    def look(self, owed: tuple[str, Hashable] | None, by: Collection[int], number: int, now_ns: int) -> list[Effect]:
        """Time has passed. ``owed``: the kind of wait and which one, or None; ``by``: whom for; in round ``number``."""
        late = self._waits.look(owed, now_ns)
        if late is None:
            return []
        return self.suspect(by, f"{OWED[late.kind]} round {number} for {late.waited_ns / 1e9:.0f} s")

    def suspect(self, nodes: Collection[int], what: str, *, lying: bool = False) -> list[Effect]:
        return patience.suspect(self._view, frozenset(nodes), what, lying=lying)
