"""What an entity was made from, and what was made from it: references followed upwards or downwards.

Theory. A reference names a transaction. One that writes its entity (CREATE, UPDATE, RETIRE) makes a *version*; one that only
uses or notes it stands for the version before it, and adds what it refers to itself. So a version W *was made from* a
version V when W, or an earlier version of its own entity that W refers to, refers to V or to a use or note that stands
for V. Downwards is the same relation read backwards: who refers to V or to what stands for it. Uses that nobody refers
to made nothing.

References are claims of issuers, nothing more; they may dangle, and nothing keeps them from going round in circles, so
every version is expanded once. Where things are is ``index.Lookup``'s matter, what is drawn ``cli/lineage.py``'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from baash.ledger.transactions import Transaction
from baash.records import entity_hash

if TYPE_CHECKING:
    from baash.ledger.index.lookup import Lookup

DEPTH = 3  # steps that are followed unless more are asked for
DEPTH_MAX = 1000
VERSIONS_MAX = 2000
STAND_INS_MAX = 10_000  # uses and notes of one version that are looked at


@dataclass
class Version:
    """A version of an entity in a lineage. ``transaction`` made it, or is the use or note of an entity never created; None: the
    reference dangles, and ``id`` is all that is known."""

    id: bytes
    transaction: Transaction | None = None
    number: int = 0  # which version of its entity; 0: none, it was never created
    step: int = 0  # how far from the root
    next: list[Version] = field(default_factory=list)  # upwards: made from these; downwards: these were made from it
    cut: str = ""  # why it is not followed further, if there is more

    @property
    def entity(self) -> bytes | None:
        return self.transaction.entity if self.transaction else None


@dataclass
class Lineage:
    """``root`` and what is reached from it; ``versions`` holds each once, in the order they were met."""

    root: Version
    up: bool
    depth: int
    versions: list[Version]

    @property
    def left_out(self) -> int:
        """Of how many versions what comes next is not here."""
        return sum(bool(v.cut) for v in self.versions)

    def edges(self) -> Iterator[tuple[Version, Version]]:
        """(made, made from): the arrows of W3C PROV's wasDerivedFrom."""
        for version in self.versions:
            for other in version.next:
                yield (version, other) if self.up else (other, version)


def origins(lookup: Lookup, write: Transaction, *, depth: int = DEPTH) -> Lineage:
    """What the version that ``write`` made was made from, ``depth`` steps up."""
    return _Walk(lookup, depth, up=True).from_(write)


def results(lookup: Lookup, write: Transaction, *, depth: int = DEPTH) -> Lineage:
    """What was made from any version of the entity of ``write``, ``depth`` steps down; ``write`` (its newest) stands for it."""
    return _Walk(lookup, depth, up=False).from_(write)


class _Walk:
    """Breadth first, so that every version is met by its shortest way. What waits are pairs: a version, and a transaction
    that made it or stands for it, whose references (upwards) or whose referrers (downwards) come next."""

    def __init__(self, lookup: Lookup, depth: int, *, up: bool) -> None:
        self._lookup = lookup
        self._depth = min(depth, DEPTH_MAX)
        self._up = up
        self._met: dict[bytes, Version] = {}
        self._waiting: deque[tuple[Version, Transaction]] = deque()
        self._seen: set[tuple[bytes, int]] = set()

    def from_(self, write: Transaction) -> Lineage:
        root = self._root = self._version(write, 0)
        self._wait(root, write)
        if not self._up:
            self._stand_ins(root, 0, None)
        while self._waiting:
            version, one = self._waiting.popleft()
            if self._up:
                self._refers_to(version, one)
            else:
                self._referred_by(version, one)
        return Lineage(root, self._up, self._depth, list(self._met.values()))

    def _refers_to(self, version: Version, one: Transaction) -> None:
        for id_ in one.references:
            other = self._lookup.find(id_)
            if other is None:
                self._reach(version, id_, None)
                continue
            made = other if other.writes else self._lookup.last_write(entity_hash(other.entity), other.number)
            if other.entity == version.entity:
                reached: Version | None = version
            else:
                reached = self._reach(version, (made or other).id, made or other)
            if reached is not None:
                if made is not None:
                    self._wait(reached, made)
                self._wait(reached, other)

    def _referred_by(self, version: Version, one: Transaction) -> None:
        for number in self._lookup.referring_to(one.id).tolist():
            other = self._lookup.transaction(number)
            if other.entity == version.entity:
                self._wait(version, other)
                if other.writes:
                    self._stand_ins(version, number, other)
            elif other.writes:
                reached = self._reach(version, other.id, other)
                if reached is not None and self._wait(reached, other):
                    self._stand_ins(reached, number, other)
            elif len(self._lookup.referring_to(other.id)):
                made = self._lookup.last_write(entity_hash(other.entity), number) or other
                reached = self._reach(version, made.id, made)
                if reached is not None:
                    self._wait(reached, other)

    def _stand_ins(self, version: Version, after: int, write: Transaction | None) -> None:
        """Let the uses and notes wait that stand for the version that ``write`` made; None: all that is about the entity."""
        assert version.transaction is not None
        entity = entity_hash(version.transaction.entity)
        before = None
        if write is not None:
            writes = self._lookup.writes(entity)
            at = int(np.searchsorted(writes, np.uint64(after), side="right"))
            before = int(writes[at]) if at < len(writes) else None
        total, numbers = self._lookup.about(entity, before=before, newest=STAND_INS_MAX)
        for one in self._lookup.read(numbers if write is None else numbers[numbers > np.uint64(after)]):
            self._wait(version, one)
        if total > STAND_INS_MAX and len(numbers) == STAND_INS_MAX and (write is None or int(numbers[0]) > after):
            version.cut = f"only the newest {STAND_INS_MAX:,} transactions about it are looked at"

    def _reach(self, version: Version, key: bytes, one: Transaction | None) -> Version | None:
        """The version with that key, met now or before, as one of ``version.next``; None: the walk ends before it."""
        if not self._up and one is not None and one.entity == self._root.entity:
            reached: Version | None = self._root  # it stands for all its versions
        else:
            reached = self._met.get(key)
        if reached is None:
            if version.step >= self._depth or len(self._met) > VERSIONS_MAX:
                few = len(self._met) <= VERSIONS_MAX
                version.cut = (
                    f"not followed beyond {self._depth} steps" if few else f"not followed: {VERSIONS_MAX} are shown"
                )
                return None
            reached = self._version(one, version.step + 1) if one else Version(key, step=version.step + 1)
            self._met[key] = reached
        if reached is not version and reached.id not in {v.id for v in version.next}:
            version.next.append(reached)
        return reached

    def _version(self, made: Transaction, step: int) -> Version:
        number = 0
        if made.writes:
            writes = self._lookup.writes(entity_hash(made.entity))
            number = int(np.searchsorted(writes, np.uint64(made.number), side="right"))
        _ = made.where  # known now, so that it can be shown when the ledger is closed
        found = self._met[made.id] = Version(made.id, made, number, step)
        return found

    def _wait(self, version: Version, one: Transaction) -> bool:
        """Whether ``one`` was not seen for ``version`` before; now it waits."""
        key = (version.id, one.number)
        if key in self._seen:
            return False
        self._seen.add(key)
        self._waiting.append((version, one))
        return True
