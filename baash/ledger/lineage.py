"""What an entity was made from: references followed upwards, as far as the ledger knows.

A reference names a transaction. If that one wrote its entity, what it refers to comes next; if it only used or noted
it, then also what its entity's last write before it refers to. References are claims of issuers, nothing more; they may
dangle, and nothing stops them from going round in circles, so every transaction is expanded once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from baash.ledger.index.lookup import Lookup
from baash.ledger.transactions import Transaction
from baash.records import entity_hash

DEPTH = 3  # steps that are followed unless more are asked for
DEPTH_MAX = 100
ORIGINS_MAX = 2000


@dataclass
class Origin:
    """One thing that something was made from. ``transaction`` None: the reference dangles."""

    id: bytes
    transaction: Transaction | None
    made_from: list[Origin] = field(default_factory=list)
    note: str = ""  # why it is not followed further


def lineage(lookup: Lookup, newest: Transaction, depth: int = DEPTH) -> tuple[list[Origin], int]:
    """What the entity of ``newest`` (its last write) was made from, ``depth`` steps up; and of how many origins what they
    were made from in turn is left out."""
    walk = _Walk(lookup, depth)
    walk.shown.add(newest.entity)
    return walk.origins(newest, 1), walk.left_out


class _Walk:
    def __init__(self, lookup: Lookup, depth: int) -> None:
        self._lookup = lookup
        self._depth = min(depth, DEPTH_MAX)
        self.left_out = 0
        self._expanded: set[int] = set()
        self._count = 0
        self.shown: set[bytes] = set()

    def origins(self, of: Transaction, depth: int) -> list[Origin]:
        """The origins of one transaction; those of earlier versions of its own entity are taken in among them."""
        self._expanded.add(of.number)
        found: dict[bytes, Origin] = {}
        for id_ in self._references(of):
            transaction = self._lookup.find(id_)
            if transaction is None:
                found.setdefault(id_, Origin(id_, None, note="not in this ledger"))
            elif transaction.entity == of.entity:
                if transaction.number not in self._expanded:
                    for origin in self.origins(transaction, depth):
                        found.setdefault(_key(origin), origin)
            elif transaction.entity not in found:
                found[transaction.entity] = self._origin(transaction, depth)
        return list(found.values())

    def _references(self, of: Transaction) -> Iterator[bytes]:
        yield from of.references
        if not of.writes:
            write = self._lookup.last_write(entity_hash(of.entity), of.number)
            if write is not None:
                yield from write.references

    def _origin(self, transaction: Transaction, depth: int) -> Origin:
        origin = Origin(transaction.id, transaction)
        self._count += 1
        if transaction.entity in self.shown or transaction.number in self._expanded:
            origin.note = "shown above"
        elif (depth >= self._depth or self._count >= ORIGINS_MAX) and any(True for _ in self._references(transaction)):
            few = self._count < ORIGINS_MAX
            origin.note = (
                f"not followed beyond {self._depth} steps" if few else f"not followed: {ORIGINS_MAX} are shown"
            )
            self.left_out += 1
        else:
            self.shown.add(transaction.entity)
            origin.made_from = self.origins(transaction, depth + 1)
        return origin


def _key(origin: Origin) -> bytes:
    return origin.transaction.entity if origin.transaction else origin.id
