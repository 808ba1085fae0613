"""How long others are waited for before they are suspected. Pure: time is told.

Theory. What is slow and what is dead look alike, so a bound is a guess: several times what such a wait usually takes, between a
floor, below which nobody is blamed on a busy machine, and a ceiling, which is the bound that is promised. Time counts only while it
is looked at, two seconds a look at most: a node that was stopped itself, or whose clock jumps, blames nobody for it.
A wrong guess costs a view change, never safety. ``docs/limits.md`` has the numbers in one table.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from baash.protocol.events import Effect, Report, Suspect
from baash.protocol.view import View

LOOK_NS = 2_000_000_000
S = 1_000_000_000


@dataclass(frozen=True)
class Bound:
    """``times`` the usual, but not below ``floor_ns`` and not above ``ceiling_ns``."""

    times: int
    floor_ns: int
    ceiling_ns: int


ANSWERS = Bound(8, 10 * S, 60 * S)  # the leader, of answers to a proposal, once it has written itself
RECORD = Bound(16, 20 * S, 120 * S)  # the others, of what becomes of a proposal they answered: twice as much,
PROPOSAL = Bound(
    16, 20 * S, 120 * S
)  # or of a proposal, once they brought something: whom it waits for it blames first
ROUNDS = {"answers": ANSWERS, "record": RECORD, "proposal": PROPOSAL}
COMMIT = Bound(
    16, 120 * S, 300 * S
)  # a validator, of what its coordinator owes it after its vote: a whole round and more


class Wait:
    """One kind of wait, again and again."""

    def __init__(self, bound: Bound) -> None:
        self.waited_ns = self.usual_ns = 0
        self._bound = bound
        self._what: Hashable | None = None
        self._looked_ns = 0
        self._told = False

    @property
    def bound_ns(self) -> int:
        return min(self._bound.ceiling_ns, max(self._bound.floor_ns, self._bound.times * self.usual_ns))

    def look(self, what: Hashable | None, now_ns: int) -> bool:
        """Whether ``what`` (None: nothing) is waited for beyond the bound; said once. Another ``what`` begins anew."""
        passed = min(max(0, now_ns - self._looked_ns), LOOK_NS)
        self._looked_ns = now_ns
        if what != self._what:
            if self._what is not None:
                took = min(self.waited_ns, self._bound.ceiling_ns)
                self.usual_ns = took if not self.usual_ns else (7 * self.usual_ns + took) // 8
            self._what, self.waited_ns, self._told = what, 0, False
        elif what is not None:
            self.waited_ns += passed
        if what is None or self._told or self.waited_ns <= self.bound_ns:
            return False
        self._told = True
        return True


@dataclass(frozen=True)
class Late:
    """A wait beyond its bound."""

    kind: str
    waited_ns: int


class Waits:
    """Waits of several kinds, of which there is one at a time."""

    def __init__(self, bounds: Mapping[str, Bound]) -> None:
        self.by_kind = {kind: Wait(bound) for kind, bound in bounds.items()}

    def look(self, owed: tuple[str, Hashable] | None, now_ns: int) -> Late | None:
        """``owed``: the kind of wait, and which one; None: nothing is waited for."""
        late = None
        for kind, wait in self.by_kind.items():
            if wait.look(owed[1] if owed is not None and owed[0] == kind else None, now_ns):
                late = Late(kind, wait.waited_ns)
        return late


def suspect(view: View, nodes: frozenset[int], what: str, *, lying: bool = False) -> list[Effect]:
    """The suspicion that ``nodes`` did ``what``, in words that name them."""
    text = f"{' and '.join(name(view, n) for n in sorted(nodes))} {what}"
    return [Report("suspected", text), Suspect(nodes, text, lying)]


def name(view: View, number: int) -> str:
    """A node as people find it: its office, number, rank and host."""
    node = view.nodes[number]
    office = f"the coordinator of cluster {node.cluster}" if node.role == "coordinator" else f"the {node.role} node"
    return f"{office} (node {number}, rank {node.rank} on {node.host})"
