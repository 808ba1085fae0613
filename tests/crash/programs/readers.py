"""Everything that can be asked of a ledger, asked of one; each answer as a short text that can be compared.

An answer must be the right one, or an error that says that the ledger is damaged or cannot be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from baash.errors import LedgerDamaged, StorageError
from baash.ledger import query
from baash.ledger.audit import audit
from baash.ledger.newest import newest
from baash.ledger.reader import Ledger
from baash.ledger.restore import restore

DAMAGE = "damage: "
BUG = "bug: "
Ask = Callable[[Ledger], object]


def questions(ledger: Ledger) -> dict[str, Ask]:
    """By name: an entity's history, a transaction, a block, an issuer's…; of some of each, drawn from the ledger itself."""
    asked: dict[str, Ask] = {
        "totals": lambda l: (l.block_total, l.transaction_total, l.rejection_total, l.head, l.id),
        "restore": lambda l: _state(l),
    }
    total = ledger.block_total
    some = [ledger.block(height) for height in {0, total // 2, total - 1}]
    for found in some:
        one = query.block(ledger, found.height)[1].transactions[-1]
        asked |= {
            f"block {found.height}": lambda l, h=found.height: _block(l, h),
            f"entity {one.entity!r}": lambda l, e=one.entity: query.entity(l, e.decode(), with_lineage=True),
            f"newest {one.entity!r}": lambda l, e=one.entity: newest(l, [e]),
            f"transaction {one.number}": lambda l, i=one.id: query.by_id(l, i.hex()),
            f"issuer {one.issuer.hex()}": lambda l, i=one.issuer: query.by_issuer(l, i.hex()),
        }
    return asked


def answers(path: Path, asked: dict[str, Ask]) -> dict[str, str]:
    """By question: the answer (``brief``), or DAMAGE or BUG and what was raised."""
    found = {name: _answer(path, ask) for name, ask in asked.items()}
    found["audit"] = _audit(path)
    return found


def differing(healthy: dict[str, str], found: dict[str, str]) -> list[str]:
    """Wrong answers and tracebacks among ``found``."""
    return [f"{n}: {found[n]}" for n in found if found[n] != healthy[n] and not found[n].startswith(DAMAGE)]


def _answer(path: Path, ask: Ask) -> str:
    try:
        with Ledger(path) as ledger:
            return hashlib.sha256(repr(ask(ledger)).encode()).hexdigest()
    except (LedgerDamaged, StorageError) as error:
        return f"{DAMAGE}{error}"
    except Exception as error:
        return f"{BUG}{type(error).__name__}: {error}"


def _audit(path: Path) -> str:
    try:
        report = audit(path)
    except (LedgerDamaged, StorageError) as error:
        return f"{DAMAGE}{error}"
    except Exception as error:
        return f"{BUG}{type(error).__name__}: {error}"
    return DAMAGE if report.problems else f"well {report.blocks} {report.head.hex()}"


def _block(ledger: Ledger, height: int) -> object:
    block, found = query.block(ledger, height)
    return (block.height, block.row.tobytes(), block.records.tobytes(), found)


def _state(ledger: Ledger) -> object:
    state = restore(ledger)
    return (state.block_total, state.transaction_total, state.head, state.commit, state.frontier.tobytes())
