"""Who validates a window: idle validators of a cluster, drawn by seed, on distinct ranks where there are enough.

A node is idle when it owes fewer than ``waiting_per_node`` votes; it owes one for each time it was asked, until it answers,
late or not. So a node that hangs is soon left alone, and drawn last until it is heard again. If it stays silent for long
and the others can still reach a quorum it is given up: what is sent to it would only pile up. Those that hang, the dead and those
given up are listed only when too few are left to fill a sub-cluster: they count in the quorum's arithmetic and do not vote.
Silence counts while it is looked at (``patience.LOOK_NS``): a coordinator that was stopped itself gives nobody up.
"""

from __future__ import annotations

from collections.abc import Collection

from baash.protocol.draw import Draw
from baash.protocol.patience import LOOK_NS
from baash.protocol.view import View

GIVE_UP_NS = 5_000_000_000


class SubClusters:
    """The validators of one cluster: which are alive, how much each has to do."""

    def __init__(self, view: View, cluster: int, waiting_per_node: int) -> None:
        self.validators = {n.node: n for n in view.validators(cluster)}
        self.dead: set[int] = set()
        self._owed = dict.fromkeys(self.validators, 0)
        self._since: dict[int, int] = {}  # node → when the oldest vote it owes was asked for
        self._silent: set[int] = set()
        self._quorum = view.parameters.quorum_of(view.parameters.sub_cluster)
        self._most = waiting_per_node
        self._draw = Draw(view.seed, view.view, cluster)
        self._looked_ns = self._last_ns = 0  # time that was looked at, and when it was looked at last

    @property
    def living(self) -> int:
        return sum(n not in self.dead for n in self.validators)

    def asked(self, node: int) -> None:
        """``node`` (the storage validator too) has a window more to answer."""
        if node in self._owed:
            self._owed[node] += 1
            self._since.setdefault(node, self._looked_ns)

    def heard(self, node: int) -> None:
        """A vote of ``node`` has come, late or not."""
        if node in self._owed:
            self._owed[node] = max(0, self._owed[node] - 1)
            self._silent.discard(node)
            self._since.pop(node, None)
            if self._owed[node]:
                self._since[node] = self._looked_ns

    def overdue(self, nodes: Collection[int]) -> None:
        """These did not answer in time."""
        self._silent.update(n for n in nodes if n in self._owed)

    def give_up(self, now_ns: int) -> list[int]:
        """Nodes that have been silent for too long and can be done without; from now on they count as dead."""
        given_up = []
        self._looked_ns += min(now_ns - self._last_ns, LOOK_NS) if self._last_ns else 0
        self._last_ns = now_ns
        for node, since in list(self._since.items()):
            if node not in self.dead and self._looked_ns - since > GIVE_UP_NS and self.living > self._quorum:
                self.dead.add(node)
                given_up.append(node)
        return given_up

    def hangs(self, node: int) -> bool:
        """Whether ``node`` is so far behind with its votes that nothing more is sent to it."""
        return node in self._silent and self._owed[node] >= self._most

    def draw(self, count: int, exclude: Collection[int] = (), *, idle_only: bool = True) -> list[int]:
        """``count`` members; none while somebody who is merely busy has to be waited for."""
        living = [n for n in self.validators if n not in exclude and n not in self.dead]
        well = [n for n in living if n not in self._silent]
        idle = [n for n in well if self._owed[n] < self._most or not idle_only]
        chosen = self._spread(self._draw.sample(idle, len(idle)), count)
        if len(chosen) < count and len(idle) == len(well):
            chosen += self._spread([n for n in living if n in self._silent], count - len(chosen))
        if len(chosen) < count and len(living) < count and not exclude:
            chosen = living + self._draw.sample([n for n in self.validators if n in self.dead], count - len(living))
        return chosen if len(chosen) == count else []

    def _spread(self, pool: list[int], count: int) -> list[int]:
        """Up to ``count`` of ``pool``, on distinct ranks first."""
        chosen: list[int] = []
        ranks: set[int] = set()
        for distinct in (True, False):
            for node in pool:
                rank = self.validators[node].rank
                if len(chosen) < count and node not in chosen and not (distinct and rank in ranks):
                    chosen.append(node)
                    ranks.add(rank)
        return chosen
