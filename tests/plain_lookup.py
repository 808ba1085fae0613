"""Look-ups by going through every transaction, in plain Python: what ``baash.ledger.index.Lookup`` must agree with."""

from __future__ import annotations

import numpy as np

from baash.ledger.reader import Ledger
from baash.ledger.transactions import Transaction, scan_blocks
from baash.records import Operation, entity_hash


class PlainLookup:
    """Keeps every transaction of a small ledger."""

    def __init__(self, ledger: Ledger, progress: object = None) -> None:
        self.ledger = ledger
        self.notes: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        self.all = [s.transaction(i) for s in scan_blocks(self.ledger) for i in range(len(s.info))]

    def transaction(self, number: int) -> Transaction:
        return self.all[number]

    def read(self, numbers: np.ndarray) -> list[Transaction]:
        return [self.all[n] for n in numbers.tolist()]

    def by_id(self, prefix: str) -> list[int]:
        return [t.number for t in self.all if t.id.hex().startswith(prefix)]

    def find(self, id_: bytes) -> Transaction | None:
        return next((t for t in self.all if t.id == id_), None)

    def about(self, entity: bytes, *, newest: int = 0, before: int | None = None) -> tuple[int, np.ndarray]:
        found = [t for t in self.all if entity_hash(t.entity) == entity]
        return self._newest([t for t in found if before is None or t.number < before], newest)

    def writes(self, entity: bytes) -> np.ndarray:
        return self._newest([t for t in self.all if t.writes and entity_hash(t.entity) == entity], 0)[1]

    def last_write(self, entity: bytes, before: int) -> Transaction | None:
        found = [n for n in self.writes(entity).tolist() if n < before]
        return self.all[found[-1]] if found else None

    def issued_by(self, issuer: bytes, *, newest: int = 0) -> tuple[int, np.ndarray]:
        return self._newest([t for t in self.all if t.issuer == issuer], newest)

    def of_operation(self, operation: Operation, *, newest: int = 0) -> tuple[int, np.ndarray]:
        return self._newest([t for t in self.all if t.operation is operation], newest)

    def referring_to(self, id_: bytes) -> np.ndarray:
        return self._newest([t for t in self.all if id_ in t.references], 0)[1]

    def blocks_between(self, first_ns: int, after_ns: int) -> np.ndarray:
        return np.array([b.height for b in self.ledger.blocks() if first_ns <= b.time_ns < after_ns], dtype=np.uint64)

    def heights(self, numbers: np.ndarray) -> np.ndarray:
        return np.array([self.all[n].height for n in numbers.tolist()], dtype=np.uint64)

    def blocks_with_hash(self, prefix: str) -> list[int]:
        return [b.height for b in self.ledger.blocks() if b.hash.hex().startswith(prefix)]

    def named(self, last_component: bytes) -> np.ndarray:
        made = [t for t in self.all if t.operation is Operation.CREATE]
        return self._newest([t for t in made if t.entity.rpartition(b"/")[2] == last_component], 0)[1]

    @staticmethod
    def _newest(found: list[Transaction], newest: int) -> tuple[int, np.ndarray]:
        numbers = np.array([t.number for t in found], dtype=np.uint64)
        return len(numbers), numbers[-newest:] if newest else numbers
