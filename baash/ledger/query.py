"""Questions to a ledger: the history of an entity, one transaction, one block, what an issuer sent.

Answers are plain data; how they look is the command's matter (``cli/query.py``). Everything is found by look-ups
(``index/lookup.py``); only for "did you mean" names are gone through.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from baash import kernels
from baash.errors import LedgerError, UsageError
from baash.ledger.index.lookup import Lookup
from baash.ledger.lineage import DEPTH, Origin, lineage
from baash.ledger.reader import Block, Ledger
from baash.ledger.transactions import (
    Progress,
    Scanned,
    Transaction,
    scan_rounds,
    transactions_of_block,
)
from baash.records import TRANSACTION, Operation, PayloadType, entity_hash, key_issuer, source_issuer
from baash.text import readable

NAMES_COMPARED = 50_000  # for "did you mean"
ID_DIGITS_MIN = 8


@dataclass(frozen=True)
class Version:
    """A transaction of an entity, and the entity's version after it."""

    transaction: Transaction
    version: int
    references: list[tuple[bytes, bytes | None]]  # id, name of its entity; None: not in this ledger


@dataclass(frozen=True)
class EntityHistory:
    entity: bytes
    exists: bool
    version: int
    total: int  # transactions about it
    versions: list[Version]  # the newest ``limit``, in order
    made_from: list[Origin] = field(default_factory=list)
    left_out: int = 0  # origins of which what they were made from is not among ``made_from``


@dataclass(frozen=True)
class Found:
    """Transactions that fit; ``total`` of them, the newest ``limit`` here."""

    total: int
    transactions: list[Transaction]


def entity(
    ledger: Ledger,
    name: str,
    *,
    limit: int = 0,
    with_lineage: bool = False,
    depth: int = DEPTH,
    progress: Progress | None = None,
) -> EntityHistory:
    """The history of an entity: its exact name, or what follows a ``/`` at the end of just one. LedgerError if unknown.

    ``depth``: how many steps of what it was made from are followed.
    """
    wanted = name.encode("utf-8", "surrogateescape")
    lookup = Lookup(ledger, progress)
    found = _of_entity(lookup, wanted)
    if not found:
        wanted = _resolve(lookup, ledger, wanted)
        found = _of_entity(lookup, wanted)
    version, exists, versions = 0, False, []
    for one in found:
        if one.writes:
            version, exists = version + 1, one.operation is not Operation.RETIRE
        versions.append((one, version))
    shown = versions[-limit:] if limit else versions
    _told([one for one, _ in shown])
    names: dict[bytes, bytes | None] = {}
    told = [Version(one, number, _named(one, lookup, names)) for one, number in shown]
    writes = [one for one in found if one.writes and one.operation is not Operation.RETIRE]
    made_from, left_out = lineage(lookup, writes[-1], depth) if with_lineage and writes else ([], 0)
    return EntityHistory(wanted, exists, version, len(found), told, made_from, left_out)


def by_id(ledger: Ledger, prefix: str, progress: Progress | None = None) -> Transaction:
    """The transaction whose id begins with ``prefix``: at least 8 hex digits, and no other may."""
    digits = prefix.lower().removeprefix("0x")
    if not ID_DIGITS_MIN <= len(digits) <= 64 or not set(digits) <= set("0123456789abcdef"):
        raise UsageError(f"{prefix!r} is not a transaction id: give its first {ID_DIGITS_MIN} to 64 hex digits")
    lookup = Lookup(ledger, progress)
    numbers = lookup.by_id(digits)
    if not numbers:
        raise LedgerError(f"no committed transaction of {ledger.path} has an id that begins with {digits}")
    if len(numbers) > 1:
        raise LedgerError(
            f"{len(numbers)} transactions of {ledger.path} have ids that begin with {digits}: give more digits"
        )
    return _told([lookup.transaction(numbers[0])])[0]


def block(ledger: Ledger, height: int, limit: int = 0) -> tuple[Block, Found]:
    """A block and its transactions (the first ``limit``)."""
    scanned = transactions_of_block(ledger, height)
    count = len(scanned.info)
    made = [scanned.transaction(i) for i in range(min(count, limit or count))]
    return ledger.block(height), Found(count, made)


def by_issuer(ledger: Ledger, who: str, *, limit: int = 0, progress: Progress | None = None) -> Found:
    """What an issuer sent: its id in hex, ``source:NAME``, or ``key:PUBLIC KEY`` in hex."""
    lookup = Lookup(ledger, progress)
    total, numbers = lookup.issued_by(issuer_id(who), newest=limit)
    return Found(total, _told(lookup.read(numbers)))


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


def _of_entity(lookup: Lookup, name: bytes) -> list[Transaction]:
    return lookup.history(entity_hash(name))[1]


def _told(found: list[Transaction]) -> list[Transaction]:
    """The same; where they lie is known now, so they can be shown when the ledger is closed."""
    for one in found:
        _ = one.where
    return found


def _named(one: Transaction, lookup: Lookup, names: dict[bytes, bytes | None]) -> list[tuple[bytes, bytes | None]]:
    for id_ in one.references:
        if id_ not in names:
            found = lookup.find(id_)
            names[id_] = found.entity if found else None
    return [(id_, names.get(id_)) for id_ in one.references]


def _resolve(lookup: Lookup, ledger: Ledger, name: bytes) -> bytes:
    """The one entity whose name ends with ``/name``; else LedgerError with names that are close."""
    made = lookup.read(lookup.named(name.rpartition(b"/")[2]))
    ending = {one.entity for one in made if one.entity.endswith(b"/" + name)}
    if len(ending) == 1:
        return ending.pop()
    shown = readable(name)
    if ending:
        some = ", ".join(sorted(readable(e) for e in ending)[:5])
        raise LedgerError(f"{len(ending)} entities of {ledger.path} end with /{shown} ({some} …): give the whole name")
    names: set[bytes] = set()
    for scanned in scan_rounds(ledger):
        names |= _names(scanned, NAMES_COMPARED - len(names))
        if len(names) >= NAMES_COMPARED:
            break
    known = sorted(readable(n) for n in names)
    close = difflib.get_close_matches(shown, known, n=5, cutoff=0.6)
    last_parts = {n.rpartition("/")[2]: n for n in reversed(known)}
    close += [last_parts[p] for p in difflib.get_close_matches(shown.rpartition("/")[2], last_parts, n=5, cutoff=0.7)]
    hint = (
        f"; close to it: {', '.join(dict.fromkeys(close))}" if close else "; baash query --block 0 shows how names look"
    )
    raise LedgerError(f"{ledger.path} has no entity {shown}{hint}")


def _names(scanned: Scanned, limit: int) -> set[bytes]:
    hashes = kernels.entity_hashes(scanned.records, scanned.info)
    _, first = np.unique(np.ascontiguousarray(hashes[:, :8]).view("<u8")[:, 0], return_index=True)
    return {_name(scanned, scanned.info[i]) for i in np.sort(first)[:limit]}


def _name(scanned: Scanned, info: np.void) -> bytes:
    start = int(info["start"]) + TRANSACTION.itemsize
    name: bytes = scanned.records[start : start + int(info["entity_bytes"])].tobytes()
    return name
