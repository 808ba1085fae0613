"""Everything that can be asked of a ledger, asked of one; each answer as a short text that can be compared.

An answer must be the right one, or an error that says that the ledger is damaged or cannot be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from baash.errors import LedgerDamaged, StorageError
from baash.ledger.audit import audit
from baash.ledger.index.tables import IndexDamaged
from baash.ledger.lineage import Lineage
from baash.ledger.newest import newest
from baash.ledger.opened import OpenedLedger
from baash.ledger.reader import Block, Ledger
from baash.ledger.restore import restore
from baash.ledger.transactions import Transaction

DAMAGE = "damage: "
BUG = "bug: "
Ask = Callable[[OpenedLedger], object]


def questions(path: Path) -> dict[str, Ask]:
    """By name: totals, blocks, transactions, histories, lineages, conditions; of some of each, drawn from the ledger itself."""
    asked: dict[str, Ask] = {
        "totals": lambda l: (len(l), l.transaction_total, l.head, l.id),
        "restore": lambda l: _state(l.path),
        "all blocks": lambda l: [_block(b) for b in l],
        "in bulk": lambda l: [_shown(t) for t in l.transactions()],
        "operations": lambda l: [_shown(t) for t in l.find(operation="UPDATE")],
    }
    with OpenedLedger(path) as ledger:
        total = len(ledger)
        for found in [ledger[height] for height in {0, total // 2, total - 1}]:
            one = list(ledger.transactions(found.height, found.height + 1))[-1]
            asked |= {
                f"block {found.height}": lambda l, h=found.height: _block(l[h]),
                f"block hash {found.height}": lambda l, h=found.hash: _block(l.block(h.hex()[:12])),
                f"entity {one.entity!r}": lambda l, e=one.entity: _history(l, e),
                f"up {one.entity!r}": lambda l, e=one.entity: _lineage(l.lineage(e, depth=9)),
                f"down {one.entity!r}": lambda l, e=one.entity: _lineage(l.lineage(e, up=False, depth=9)),
                f"newest {one.entity!r}": lambda l, e=one.entity: newest(Ledger(l.path), [e]),
                f"transaction {one.number}": lambda l, i=one.id: _shown(l.transaction(i)),
                f"number {one.number}": lambda l, n=one.number: _shown(l.transaction(n)),
                f"issuer {one.issuer.hex()}": lambda l, i=one.issuer: [_shown(t) for t in l.find(issuer=i)],
                f"since {found.time_ns}": lambda l, t=found.time_ns: [_shown(x) for x in l.find(since=t)],
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
        with OpenedLedger(path) as ledger:
            return hashlib.sha256(repr(ask(ledger)).encode()).hexdigest()
    except (LedgerDamaged, StorageError, IndexDamaged) as error:
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


def _block(block: Block) -> object:
    return (block.height, block.hash, block.row.tobytes(), block.records.tobytes())


def _shown(one: Transaction) -> object:
    return (one.raw, one.id, one.number, one.height, one.index, one.time_ns)


def _history(ledger: OpenedLedger, entity: bytes) -> object:
    found = ledger.history(entity)
    changes = [(_shown(c.transaction), c.version, c.references) for c in found.changes]
    return (found.exists, found.version, found.total, changes)


def _lineage(found: Lineage) -> object:
    return [(v.id, v.entity, v.number, v.step, v.cut, [n.id for n in v.next]) for v in found.versions]


def _state(path: Path) -> object:
    with Ledger(path, scan=True) as ledger:
        state = restore(ledger)
    return (state.block_total, state.transaction_total, state.head, state.commit, state.frontier.tobytes())
