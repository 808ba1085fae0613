"""Whether the second reader and baash's own audit say the same of a ledger; and of each one that the tests leave behind.

Two readers that know nothing of each other, one of them written from ``docs/ledger-format.md`` alone, find the page, the audit or
themselves wrong where they differ. Whole ledgers must have the same blocks, transactions, rejections, certificates and
head; of a damaged one both must say that it is. Each state of a ledger is compared once, whoever copies it, and what is too
large for plain Python is left out and counted. What the damage is called, and index files, are not compared.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from reader import second_reader

from baash.errors import BaashError
from baash.ledger import audit as audits
from baash.ledger import counting

TRANSACTIONS_MOST = 5_000
RECORDS_BYTES_MOST = 3_000_000
FILES_BYTES_MOST = 300_000_000  # apparent: the second reader reads segments whole, holes too


@dataclass
class Seen:
    """What was compared so far."""

    compared: int = 0
    too_large: int = 0
    elapsed_s: float = 0.0
    rooms: set[Path] = field(default_factory=set)  # folders that were looked through
    states: set[bytes] = field(default_factory=set)  # digests of the ledgers that were looked at

    def line(self) -> str:
        return (
            f"second reader: {self.compared:,} ledgers compared, {self.too_large:,} too large ({self.elapsed_s:.0f} s)"
        )


seen = Seen()


def agree(room: Path) -> None:
    """Fail if the two differ on a ledger below ``room``, where nobody writes any more."""
    began = time.monotonic()
    seen.rooms.add(room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "DAMAGE_RETRY_S", 0.0)  # what looks damaged need not be read again later
        differences = [said for path in ledgers_below(room) if (said := _difference(path))]
    seen.elapsed_s += time.monotonic() - began
    assert not differences, "\n".join(["the audit and the second reader disagree:", *differences])


def ledgers_below(root: Path) -> Iterator[Path]:
    """Every folder that a reader would call a ledger."""
    for folder, _, names in os.walk(root):
        if any(_of_a_ledger(name) for name in names):
            yield Path(folder)


def _of_a_ledger(name: str) -> bool:
    return name.startswith(("claim-", "view-")) and not name.endswith(".tmp")


def _difference(path: Path) -> str:
    if sum(p.lstat().st_size for p in path.iterdir()) > FILES_BYTES_MOST:
        seen.too_large += 1
        return ""
    state = _digest(path)
    if state in seen.states:
        return ""
    seen.states.add(state)
    first = _audited(path)
    if first.transactions > TRANSACTIONS_MOST or first.records_bytes > RECORDS_BYTES_MOST:
        seen.too_large += 1
        return ""
    seen.compared += 1
    return compare(path, first, second_reader.audit(path))


def _audited(path: Path) -> audits.Report:
    try:
        return audits.audit(path, threads=1)
    except BaashError as error:
        refused = audits.Report()
        refused.problem(None, None, str(error))
        return refused


def compare(path: Path, first: audits.Report, second: second_reader.Result) -> str:
    """What the two differ in, or ""."""
    if first.ok != second.ok:
        return f"{path}: the audit says {[str(p) for p in first.problems[:3]]}, the second reader {second.problems[:3]}"
    head = second.blocks[-1] if second.blocks else second_reader.ZEROS
    ours = (first.blocks, first.transactions, first.rejections, first.certificates, first.head)
    theirs = (len(second.blocks), len(second.transactions), second.rejections, second.certificates, head)
    return f"{path}: the audit says {ours}, the second reader {theirs}" if first.ok and ours != theirs else ""


def _digest(path: Path) -> bytes:
    """Of all that either reader looks at."""
    state = hashlib.sha256()
    for file in sorted(path.iterdir()):
        mode = file.lstat().st_mode
        data = file.read_bytes() if stat.S_ISREG(mode) and not file.name.startswith(("index-", "state-")) else b""
        state.update(b"%s\0%d\0%d\0" % (os.fsencode(file.name), stat.S_IFMT(mode), len(data)) + data)
    return state.digest()
