"""Questions to a ledger: the history of an entity, a transaction, a block, what an issuer sent, what was done when.

Answers are plain data; how they look is the commands' matter (``cli/query.py``), where things lie that of ``index.Lookup``:
each answer costs what it holds, not what the ledger holds. Only names that no transaction bears, which may be misspelt, are compared
with others by reading some of the ledger.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from baash import kernels
from baash.errors import LedgerError, UsageError
from baash.ledger.reader import Block
from baash.ledger.transactions import Scanned, Transaction, blocks_of, scan_rounds, transactions_of_block
from baash.records import TRANSACTION, Operation, PayloadType, entity_hash, key_issuer, source_issuer
from baash.text import readable

if TYPE_CHECKING:
    from baash.ledger.index.lookup import Lookup

NAMES_COMPARED, ROUNDS_COMPARED = 50_000, 64  # for "did you mean"
HASH_DIGITS_MIN = 8
FOR_EVER_NS = 1 << 64


@dataclass(frozen=True)
class Change:
    """A transaction of an entity, and the entity's version after it."""

    transaction: Transaction
    version: int
    references: list[tuple[bytes, bytes | None]]  # id, name of its entity; None: not in this ledger


@dataclass(frozen=True)
class EntityHistory:
    """``total`` transactions are about the entity; ``changes`` are the newest of them, in order."""

    entity: bytes
    exists: bool
    version: int
    total: int
    changes: list[Change]
    made_by: Transaction | None  # the newest CREATE or UPDATE; None: there is none


@dataclass(frozen=True)
class Found:
    """Transactions that fit; ``total`` of them, the newest here."""

    total: int
    transactions: list[Transaction]


@dataclass(frozen=True)
class Wanted:
    """What transactions are looked for; every condition that is given must hold. Times are those of blocks, ns since 1970."""

    entity: bytes | None = None
    issuer: bytes | None = None
    operation: Operation | None = None
    since_ns: int | None = None  # at or after
    until_ns: int | None = None  # before

    def fits(self, one: Transaction) -> bool:
        """The same by looking at one transaction."""
        return (
            self.entity in (None, one.entity)
            and self.issuer in (None, one.issuer)
            and self.operation in (None, one.operation)
            and (self.since_ns is None or one.time_ns >= self.since_ns)
            and (self.until_ns is None or one.time_ns < self.until_ns)
        )


def entity(lookup: Lookup, name: str | bytes, *, limit: int = 0, until_ns: int | None = None) -> EntityHistory:
    """The history of an entity: its exact name, or what follows a ``/`` at the end of just one. LedgerError if unknown.

    ``limit``: the newest so many (0: all). ``until_ns``: as it stood before that time, by the times of blocks.
    """
    if limit < 0:
        raise UsageError(f"{limit} is not a number of transactions: give 0 for all")
    wanted = resolve(lookup, name)
    hash_ = entity_hash(wanted)
    before = None if until_ns is None else _first_at(lookup, hash_, until_ns)
    total, numbers = lookup.about(hash_, newest=limit, before=before)
    writes = lookup.writes(hash_)
    writes = writes if before is None else writes[writes < np.uint64(before)]
    last = lookup.transaction(int(writes[-1])) if len(writes) else None
    exists = last is not None and last.operation is not Operation.RETIRE
    made_by = last if exists or last is None else lookup.transaction(int(writes[-2]))
    told([one for one in (made_by,) if one is not None])
    versions = np.searchsorted(writes, numbers, side="right").tolist()
    names: dict[bytes, bytes | None] = {}
    changes = []
    for one, version in zip(told(lookup.read(numbers)), versions, strict=True):
        changes.append(Change(one, version, _named(one, lookup, names)))
    return EntityHistory(wanted, exists, len(writes), total, changes, made_by)


def version(lookup: Lookup, name: str | bytes, number: int) -> Transaction:
    """The transaction that made an entity's version ``number`` (the first is 1). LedgerError if there is none."""
    wanted = resolve(lookup, name)
    writes = lookup.writes(entity_hash(wanted))
    if not 1 <= number <= len(writes):
        raise LedgerError(f"{readable(wanted)} has no version {number}: {len(writes)} is its newest")
    return told([lookup.transaction(int(writes[number - 1]))])[0]


def by_id(lookup: Lookup, prefix: str) -> Transaction:
    """The transaction whose id begins with ``prefix``: at least 8 hex digits, and no other may. LedgerError, UsageError."""
    digits = hash_digits(prefix, "a transaction id")
    number = _only(lookup.by_id(digits), digits, f"transactions of {lookup.ledger.path} have ids")
    if number is None:
        raise LedgerError(f"no committed transaction of {lookup.ledger.path} has an id that begins with {digits}")
    return told([lookup.transaction(number)])[0]


def block(lookup: Lookup, which: int | str, limit: int = 0) -> tuple[Block, Found]:
    """A block, by its height or the first 8 or more digits of its hash, and its transactions (the first ``limit``)."""
    if isinstance(which, str):
        digits = hash_digits(which, "a block hash")
        height = _only(lookup.blocks_with_hash(digits), digits, f"blocks of {lookup.ledger.path} have hashes")
        if height is None:
            raise LedgerError(f"no block of {lookup.ledger.path} has a hash that begins with {digits}")
    else:
        height = which
    scanned = transactions_of_block(lookup.ledger, height)
    count = len(scanned.info)
    made = [scanned.transaction(i) for i in range(min(count, limit or count))]
    return next(blocks_of(lookup.ledger, scanned)), Found(count, made)


def find(lookup: Lookup, wanted: Wanted, *, limit: int = 0) -> Found:
    """The transactions that fit, in order of the chain; the newest ``limit`` of them (0: all)."""
    total, numbers = find_numbers(lookup, wanted, limit)
    return Found(total, told(lookup.read(numbers)))


def find_numbers(lookup: Lookup, wanted: Wanted, limit: int = 0) -> tuple[int, np.ndarray]:
    """(how many fit, the numbers (u8, ascending) of the newest ``limit`` of them)."""
    if limit < 0:
        raise UsageError(f"{limit} is not a number of transactions: give 0 for all")
    timed = wanted.since_ns is not None or wanted.until_ns is not None
    conditions = sum(c is not None for c in (wanted.entity, wanted.issuer, wanted.operation)) + timed
    if not conditions:
        raise UsageError("say what to look for: an entity, an issuer, an operation or a time")
    newest = limit if conditions == 1 else 0
    sets: list[tuple[int, np.ndarray]] = []
    if wanted.entity is not None:
        sets.append(lookup.about(entity_hash(wanted.entity), newest=newest))
    if wanted.issuer is not None:
        sets.append(lookup.issued_by(wanted.issuer, newest=newest))
    if wanted.operation is not None:
        sets.append(lookup.of_operation(wanted.operation, newest=newest))
    if timed:
        numbers = _between(lookup, wanted.since_ns, wanted.until_ns)
        sets.append((len(numbers), numbers))
    total, found = sets[0]
    for _, more in sets[1:]:
        found = np.intersect1d(found, more, assume_unique=True)
        total = len(found)
    return total, found[-limit:] if limit else found


def told(found: list[Transaction]) -> list[Transaction]:
    """The same; where they lie is known now, so that they can be shown when the ledger is closed."""
    for one in found:
        _ = one.where
    return found


def issuer_id(who: str) -> bytes:
    """16 bytes. UsageError if ``who`` is no issuer."""
    kind, separator, rest = who.partition(":")
    try:
        if kind == "source" and separator:
            return source_issuer(rest)
        raw = bytes.fromhex(rest if kind == "key" and separator else who)
    except ValueError:
        raw = b""
    if kind == "key" and len(raw) == 32:
        return key_issuer(raw)
    if len(raw) == 16:
        return raw
    raise UsageError(
        f"{who!r} is not an issuer: give 32 hex digits, source:NAME, or key: and a public key of 64 hex digits"
    )


def operation_named(name: str) -> Operation:
    """UsageError if there is no such operation."""
    try:
        return Operation[name.upper()]
    except KeyError:
        raise UsageError(f"{name!r} is not an operation: {', '.join(o.name for o in Operation)}") from None


def hash_digits(prefix: str, what: str) -> str:
    """The digits in lower case. UsageError if ``prefix`` is not the beginning of a hash."""
    digits = prefix.lower().removeprefix("0x")
    if not HASH_DIGITS_MIN <= len(digits) <= 64 or not set(digits) <= set("0123456789abcdef"):
        raise UsageError(f"{prefix!r} is not {what}: give its first {HASH_DIGITS_MIN} to 64 hex digits")
    return digits


def payload(of: Transaction) -> Any:
    """A payload for people and for JSON: JSON parsed, YCSB fields counted, bytes as text or the beginning in hex."""
    raw = of.payload
    if of.payload_type == PayloadType.JSON:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            pass
    if of.payload_type == PayloadType.YCSB:
        if of.operation is Operation.UPDATE and len(raw) >= 4:
            return {"ycsb_field": int.from_bytes(raw[:4], "little"), "bytes": len(raw) - 4}
        return {"ycsb_fields": "all", "bytes": len(raw)}
    if not raw:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and len(text) <= 200:
        return text
    return {"bytes": len(raw), "begins_hex": raw[:32].hex()}


def resolve(lookup: Lookup, name: str | bytes) -> bytes:
    """The name itself if any transaction bears it, else the one entity whose name ends with ``/name``. LedgerError names
    what is close."""
    wanted = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    if lookup.about(entity_hash(wanted), newest=1)[0]:
        return wanted
    shown, path = readable(wanted), lookup.ledger.path
    tail = b"/" + wanted
    last = wanted.rpartition(b"/")[2]
    ending: dict[bytes, None] = {}
    for number in lookup.named(last).tolist() if last else ():
        one = lookup.transaction(number).entity
        if one.endswith(tail):
            ending[one] = None
            if len(ending) > 5:
                break
    if len(ending) == 1:
        return next(iter(ending))
    if ending:
        some = ", ".join(sorted(readable(e) for e in ending)[:5])
        raise LedgerError(f"several entities of {path} end with /{shown} ({some} …): give the whole name")
    if not lookup.transaction_total:
        raise LedgerError(f"{path} has no entity {shown}: nothing is committed there")
    close = _close(shown, _names(islice(scan_rounds(lookup.ledger), ROUNDS_COMPARED)))
    hint = f"; close to it: {', '.join(close)}" if close else "; baash query --block 0 shows how names look"
    raise LedgerError(f"{path} has no entity {shown}{hint}")


def _close(shown: str, names: Iterable[bytes]) -> list[str]:
    known = sorted(readable(n) for n in names)
    close = difflib.get_close_matches(shown, known, n=5, cutoff=0.6)
    last_parts = {n.rpartition("/")[2]: n for n in reversed(known)}
    close += [last_parts[p] for p in difflib.get_close_matches(shown.rpartition("/")[2], last_parts, n=5, cutoff=0.7)]
    return list(dict.fromkeys(close))


def _names(scanned: Iterator[Scanned]) -> set[bytes]:
    names: set[bytes] = set()
    for some in scanned:
        hashes = kernels.entity_hashes(some.records, some.info)
        _, first = np.unique(np.ascontiguousarray(hashes[:, :8]).view("<u8")[:, 0], return_index=True)
        for info in some.info[np.sort(first)[: NAMES_COMPARED - len(names)]]:
            start = int(info["start"]) + TRANSACTION.itemsize
            names.add(some.records[start : start + int(info["entity_bytes"])].tobytes())
        if len(names) >= NAMES_COMPARED:
            break
    return names


def _only(found: list[int], digits: str, what: str) -> int | None:
    if len(found) > 1:
        raise LedgerError(f"{len(found)} {what} that begin with {digits}: give more digits")
    return found[0] if found else None


def _first_at(lookup: Lookup, entity: bytes, until_ns: int) -> int | None:
    """The number of the entity's first transaction in a block of that time or later; None: all are before it. Looked for among
    all of them: the clock of a next run may be behind that of the run before."""
    numbers = lookup.about(entity)[1]
    late = np.isin(lookup.heights(numbers), lookup.blocks_between(until_ns, FOR_EVER_NS))
    return int(numbers[np.argmax(late)]) if late.any() else None


def _between(lookup: Lookup, since_ns: int | None, until_ns: int | None) -> np.ndarray:
    heights = lookup.blocks_between(since_ns or 0, FOR_EVER_NS if until_ns is None else until_ns)
    pieces = [np.zeros(0, dtype=np.uint64)]
    for first, after in _stretches(heights):
        pieces.append(np.arange(*lookup.numbers_in(first, after), dtype=np.uint64))
    return np.concatenate(pieces)


def _stretches(heights: np.ndarray) -> Iterator[tuple[int, int]]:
    """[first, after) of each unbroken stretch of ascending heights."""
    if len(heights):
        breaks = np.flatnonzero(np.diff(heights) != 1) + 1
        for part in np.split(heights, breaks):
            yield int(part[0]), int(part[-1]) + 1


def _named(one: Transaction, lookup: Lookup, names: dict[bytes, bytes | None]) -> list[tuple[bytes, bytes | None]]:
    for id_ in one.references:
        if id_ not in names:
            found = lookup.find(id_)
            names[id_] = found.entity if found else None
    return [(id_, names[id_]) for id_ in one.references]
