"""What a rank knows while views change: who there is, who is dead, silent or lying, and how the gathering stands.

Answers questions about it and puts it into messages; decides nothing (``membership.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from baash.protocol.changes import Bounds, GiveUp, Tell
from baash.protocol.messages import Kind, encode
from baash.protocol.view import Host, View

U4 = np.dtype("<u4")
DOUBLINGS_MAX = 4


@dataclass
class Gathered:
    """What a rank knows of a change under way; begun anew with each view."""

    joined: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    accused: dict[int, set[int]] = field(default_factory=dict)  # rank → ranks that say it lies
    over: set[int] = field(default_factory=set)  # ranks that say that all is decided
    steward: int | None = None
    why: str = ""
    planned: bool = False
    since_ns: int = 0  # when this rank left
    deadline_ns: int = 0
    turned_ns: int = 0  # when it turned to this steward
    call_ns: int = 0  # when to call again


class Known:
    """Of one rank. ``hosts``: all ranks of the job; ``view`` the newest it knows, and ``text`` its record's file."""

    def __init__(self, rank: int, hosts: Sequence[Host], view: View, text: bytes, bounds: Bounds) -> None:
        self.rank, self.view, self.text, self.bounds = rank, view, text, bounds
        self.hosts = {h.rank: h for h in hosts}
        self.dead: set[int] = set()  # as the transport says
        self.lying: set[int] = set()  # left out for good
        self.change = Gathered()
        self.attempt = 0
        self.planned = 0  # changes, one after the other, that only took somebody in

    @property
    def is_in(self) -> bool:
        return self.rank in self.ranks

    @property
    def ranks(self) -> frozenset[int]:
        return frozenset(n.rank for n in self.view.nodes)

    @property
    def leading(self) -> set[int]:
        return {n.rank for n in self.view.coordinators}

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(sorted(self.hosts.keys() - self.dead - {self.rank}))

    def doubled(self, ns: int, times: int | None = None) -> int:
        return ns << min(self.attempt if times is None else times, DOUBLINGS_MAX)

    def candidates(self) -> list[int]:
        """Ranks that may be the steward, the best first: members, or if none lives whoever is left."""
        members = self.ranks - self.dead or self.hosts.keys() - self.dead
        return sorted(members - self.change.silent - self.lying)

    def is_majority(self, joined: Collection[int], living: Collection[int]) -> bool:
        """Whether these are more than half of the ranks that are not reported dead: silence is not death."""
        return 2 * len(joined) > len(living)

    def left_out(self) -> set[int]:
        """Ranks that lie, by the word of this one, of a coordinator's, or of more than f."""
        change, faults = self.change, self.view.parameters.faults
        named = {r for r, by in change.accused.items() if by & self.leading - {r} or len(by) > faults}
        return (self.lying | named) - {self.rank}

    def too_small(self, nodes: int) -> GiveUp:
        need = self.view.parameters.sub_cluster + 1
        return GiveUp(
            "QuorumLost",
            f"the job cannot go on after view {self.view.view} ({self.change.why}): {nodes} nodes are left, and a cluster "
            f"needs a coordinator and {need - 1} validators, {need} in all; everything acknowledged is in the ledger, run "
            "again to continue it",
        )

    def without_a_view(self) -> GiveUp:
        living, answered = self.ranks - self.dead, self.change.joined - self.dead
        return GiveUp(
            "QuorumLost",
            f"rank {self.rank} found no view to go on in within {self.bounds.give_up_ns // 1_000_000_000} s "
            f"({self.change.why}): of {len(living)} ranks that are not reported dead {max(1, len(answered & living))} answered, and a "
            "minority must not go on; everything acknowledged is in the ledger, run again to continue it",
        )

    def tell(
        self,
        kind: Kind,
        sections: Sequence[np.ndarray | bytes],
        *,
        a: int = 0,
        view: int | None = None,
        to: tuple[int, ...] | None = None,
    ) -> Tell:
        number = self.view.view if view is None else view
        return Tell(self.others if to is None else to, encode(kind, number, self.rank, a, 0, sections))

    def join_message(self, rank: int) -> Tell:
        suspected = np.array(sorted(self.change.silent | self.dead), dtype=U4)
        lying = np.array(sorted(self.lying), dtype=U4)
        why = self.change.why.encode(errors="replace")
        return self.tell(Kind.JOIN, [suspected, lying, why], a=int(self.change.planned), to=(rank,))


def left_out_of(view: View) -> set[int]:
    """Ranks that are left out of a view, and all after it, because they lie: what ``started_by`` says of that."""
    said = str(view.started_by.get("lying") or "")
    return {int(r) for r in said.split(",") if r.isascii() and r.isdecimal() and len(r) < 8}
