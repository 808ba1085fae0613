"""What is offered: made-up transactions of several issuers, some signed, some invalid, some twice, some in conflict.

Of each it is known beforehand what must become of it: ``SURE`` ones are valid whatever else happens and must be committed,
``FORGED`` ones never; of the rest the ledger decides, and ``checkers.py`` computes a second time whether it was right.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from random import Random

import numpy as np

from baash.keys import Context, PrivateKey
from baash.records import ANY_VERSION, Operation, key_issuer, source_issuer
from baash.sources.chunk import Chunk

NAME = "made-up"
ISSUER = slice(16, 32)  # of a record


class Fate(Enum):
    """What must become of a transaction."""

    SURE = "committed"
    FORGED = "never committed"
    OPEN = "decided"


@dataclass(frozen=True)
class Offered:
    """One transaction."""

    record: bytes
    id: bytes
    fate: Fate


@dataclass(frozen=True)
class Mix:
    """Shares of what is offered."""

    transactions: int = 100
    signed: float = 0.1
    forged: float = 0.02
    invalid: float = 0.05
    twice: float = 0.03
    conflicting: float = 0.02
    hot: float = 0.3  # about one of a few entities
    notes: float = 0.2
    payload_bytes: int = 64
    issuers: int = 3


@lru_cache(maxsize=65536)
def key_of(*path: object) -> PrivateKey:
    """The same key for the same path, in every world."""
    return PrivateKey.from_seed(hashlib.sha256(repr(path).encode()).digest())


def record(
    operation: Operation,
    entity: str,
    sequence: int,
    issuer: bytes,
    payload: bytes = b"",
    expected: int = ANY_VERSION,
    key: PrivateKey | None = None,
) -> bytes:
    """One transaction, byte by byte (``docs/ledger-format.md`` section 3); signed if there is a ``key``."""
    name = entity.encode()
    body = name + bytes(-len(name) % 8) + payload + bytes(-len(payload) % 8)
    total = 64 + len(body) + (96 if key else 0)
    head = struct.pack(
        "<BBBBHHII16sQQQHHHBB", 0, 1, 1, operation, 1 if key else 0, len(name), total, len(payload),
        key_issuer(key.public) if key else issuer, sequence, 0, expected, 0, 0, 0, 0, 2,
    )  # fmt: skip
    whole = head + body
    if key is None:
        return whole
    whole += key.public
    return whole + key.sign(Context.TRANSACTION, whole)


def make(draw: Random, mix: Mix) -> list[Offered]:
    """``mix.transactions`` transactions in the order of the input."""
    made: list[Offered] = []
    sequence = newest = 0
    hot = [f"hot{i}" for i in range(4)]
    issuers = [source_issuer(f"{NAME}-{i}") for i in range(mix.issuers)]
    for number in range(mix.transactions):
        if made and draw.random() < mix.twice:
            made.append(draw.choice(made))
            continue
        sequence += 1
        issuer, payload = draw.choice(issuers), draw.randbytes(draw.randrange(mix.payload_bytes + 1))
        key = key_of("issuer", draw.randrange(2)) if draw.random() < mix.signed else None
        forged = key is not None and draw.random() < mix.forged / max(mix.signed, 1e-9)
        fate, operation, entity, expected = Fate.OPEN, Operation.CREATE, f"e{number}", ANY_VERSION
        what = draw.random()
        if what < mix.hot:
            entity = draw.choice(hot)
            operation = draw.choice(
                (Operation.CREATE, Operation.UPDATE, Operation.UPDATE, Operation.UPDATE, Operation.USE)
            )
            if operation is Operation.UPDATE and draw.random() < 0.2:
                expected = draw.randrange(4)
            if draw.random() < 0.03:
                operation = Operation.RETIRE
        elif what < mix.hot + mix.notes:
            operation, fate = Operation.NOTE, Fate.SURE
            entity = draw.choice([*hot, entity])
        elif what < mix.hot + mix.notes + mix.invalid:
            operation, entity = Operation.UPDATE, f"nobody{number}"
        else:
            fate = Fate.SURE
        if draw.random() < mix.conflicting and made:
            sequence -= 1  # perhaps of the same issuer: then one of the two is misconduct
            fate = Fate.OPEN
            doubtful = made[newest].id  # and all its copies
            made = [Offered(o.record, o.id, Fate.OPEN) if o.id == doubtful and o.fate is Fate.SURE else o for o in made]
        raw = record(operation, entity, sequence, issuer, payload, expected, key)
        if forged:
            raw, fate = raw[:-1] + bytes([raw[-1] ^ 1]), Fate.FORGED
        newest = len(made)
        made.append(Offered(raw, hashlib.sha256(raw).digest(), fate))
    return made


class Material:
    """A source (``sources/chunk.py``) of what was made: some at a time, the same in every run."""

    def __init__(self, offered: list[Offered], at_once: int, name: str = NAME) -> None:
        self.name = name
        self.total: int | None = len(offered)
        self._offered, self._at_once = offered, at_once
        heads = np.frombuffer(b"".join(o.record[16:40] for o in offered), dtype=np.uint8).reshape(-1, 24)
        self.pairs = heads[:, :16].copy(), heads[:, 16:].copy().view("<u8")[:, 0]  # issuers (n, 16), their numbers (n)

    def chunks(self, size: int) -> Iterator[Chunk]:
        step = min(size, self._at_once)
        for first in range(0, len(self._offered), step):
            part = self._offered[first : first + step]
            raw = b"".join(one.record for one in part)
            yield Chunk(np.frombuffer(raw, dtype=np.uint8).copy(), len(part))


def parted(offered: list[Offered], at_once: int, sources: int) -> list[Material]:
    """So many sources at most; all of an issuer comes from one of them, in its order."""
    issuers = list(dict.fromkeys(one.record[ISSUER] for one in offered))
    parts: list[list[Offered]] = [[] for _ in range(min(sources, max(1, len(issuers))))]
    for one in offered:
        parts[issuers.index(one.record[ISSUER]) % len(parts)].append(one)
    return [Material(part, at_once, f"{NAME}-{i}") for i, part in enumerate(parts)]
