"""What happens to nodes and what they do about it, as bytes: events as arrays and back, effects as digests and in a few words.

An effect's digest is SHA-256 of its canonical encoding: all its fields in order, by type, bytes and all (``docs/trace.md``). It is made
from the fields of whatever an effect is, so a new kind of effect needs nothing here. Words are for people and are never compared.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from baash import batch as batches
from baash.batch import Batch
from baash.packing import Packable
from baash.protocol import events
from baash.protocol.events import Effect, Event
from baash.protocol.messages import HEAD, Kind
from baash.text import printable

TOLD_MAX = 240  # characters of an effect in words
AGAIN_MAX = 16  # so far back a message may be named again
SIGNED = np.dtype([("context", "S16"), ("digest", "u1", 32), ("signature", "u1", 64)])  # one signature of an event


class Happened(IntEnum):
    """Events by number, and their arrays."""

    MESSAGE = 1  # the bytes
    MESSAGE_AGAIN = 2  # u8: those of the so-and-so-many-th MESSAGE before this one in the file, 1 the last
    BATCH = 3  # records; known, u2
    INPUT_ENDED = 4
    DRAIN = 5
    PERSISTED = 6  # u8 token
    PERSIST_FAILED = 7  # u8 token, fenced; reason, UTF-8
    NODES_LOST = 8  # u8 each, ascending
    LEDGER_READ = 9  # u8 token, windows; last window; hashes of commit records
    TICK = 10


@dataclass(frozen=True)
class LedgerSeen:
    """A ``LedgerRead`` without its state, which is to be read from the ledger up to ``commits[-1]``."""

    token: int
    windows: int
    last_window: bytes
    commits: tuple[bytes, ...]


def numbers(*values: int) -> bytes:
    return np.array(values, dtype="<u8").tobytes()


def packed(event: Event) -> tuple[Happened, list[Packable]]:
    """An event as its number and arrays. Of a ``LedgerRead`` the state is left out: the ledger has it."""
    match event:
        case events.MessageReceived(data):
            return Happened.MESSAGE, [data]
        case events.BatchOffered(batch, known):
            return Happened.BATCH, [batch.records, known.astype("<u2")]
        case events.InputEnded():
            return Happened.INPUT_ENDED, []
        case events.DrainRequested():
            return Happened.DRAIN, []
        case events.Persisted(token):
            return Happened.PERSISTED, [numbers(token)]
        case events.PersistFailed(token, reason, fenced):
            return Happened.PERSIST_FAILED, [numbers(token, fenced), reason.encode("utf-8", "surrogateescape")]
        case events.NodesLost(nodes):
            return Happened.NODES_LOST, [numbers(*sorted(nodes))]
        case events.LedgerRead(token, _, windows, last_window, commits):
            return Happened.LEDGER_READ, [numbers(token, windows), last_window, b"".join(commits)]
        case events.TickElapsed():
            return Happened.TICK, []


def unpacked(number: int, arrays: Sequence[np.ndarray]) -> Event | LedgerSeen:
    """The event of a frame, but for MESSAGE_AGAIN, which the reader looks up. ValueError if it is none."""
    match Happened(number), arrays:
        case Happened.MESSAGE, [data]:
            return events.MessageReceived(data)
        case Happened.BATCH, [records, known]:
            batch, reason, at = batches.scan(records)
            if reason or known.nbytes != 2 * len(batch):
                raise ValueError(f"an offered batch whose transaction {at} is {reason.name}")
            return events.BatchOffered(batch, known.view("<u2"))
        case Happened.INPUT_ENDED, []:
            return events.InputEnded()
        case Happened.DRAIN, []:
            return events.DrainRequested()
        case Happened.PERSISTED, [first]:
            return events.Persisted(*_u8(first, 1))
        case Happened.PERSIST_FAILED, [first, reason]:
            failed, fenced = _u8(first, 2)
            return events.PersistFailed(failed, reason.tobytes().decode("utf-8", "surrogateescape"), bool(fenced))
        case Happened.NODES_LOST, [nodes]:
            return events.NodesLost(frozenset(_u8(nodes, nodes.nbytes // 8)))
        case Happened.LEDGER_READ, [first, last, hashes]:
            token, windows = _u8(first, 2)
            commits = tuple(hashes[i : i + 32].tobytes() for i in range(0, hashes.nbytes, 32))
            if last.nbytes != 32 or not commits or hashes.nbytes % 32:
                raise ValueError("hashes that are none")
            return LedgerSeen(token, windows, last.tobytes(), commits)
        case Happened.TICK, []:
            return events.TickElapsed()
    raise ValueError(f"an event of kind {number} with {len(arrays)} arrays")


def _u8(array: np.ndarray, count: int) -> list[int]:
    found: list[int] = array.view("<u8").tolist()
    if len(found) != count:
        raise ValueError(f"{len(found)} numbers where {count} belong")
    return found


# -- effects --------------------------------------------------------------------------------------------------------


def digest(value: Any) -> bytes:
    """SHA-256 of the canonical encoding of an effect, or of anything that effects are made of."""
    hashed = hashlib.sha256()
    for piece in _joined(value):
        hashed.update(piece)
    return hashed.digest()


def _joined(value: Any) -> list[Packable]:
    """The encoding, its short pieces put together."""
    found: list[Packable] = []
    short: list[bytes] = []
    for piece in _encoded(value, []):
        if isinstance(piece, bytes):
            short.append(piece)
        else:
            found += [b"".join(short), piece]
            short = []
    return [*found, b"".join(short)]


def _encoded(value: Any, out: list[Packable]) -> list[Packable]:
    """``out`` and behind it a byte for the type, a size or count where there is one, and what it consists of."""
    if value is None:
        out.append(b"n")
    elif isinstance(value, (int, np.integer)):  # numbers are numbers, True is 1
        out.append(b"i" + int(value).to_bytes(16, "little", signed=True))
    elif isinstance(value, (bytes, str)):
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        out.append(struct.pack("<cQ", b"b", len(raw)) + raw)
    elif isinstance(value, (np.ndarray, np.void)):
        array = np.ascontiguousarray(value)
        out.append(struct.pack("<cQ", b"b", array.nbytes))
        if array.nbytes:
            out.append(array.reshape(-1).view(np.uint8))
    elif isinstance(value, Batch):  # an id is the SHA-256 of its record, and that is hashed already
        out.append(b"d" + type(value).__name__.encode() + b"\0")
        _encoded(value.ids, out)
    elif is_dataclass(value):
        out.append(b"d" + type(value).__name__.encode() + b"\0")
        for one in fields(value):
            _encoded(getattr(value, one.name), out)
    elif isinstance(value, Mapping):
        _encoded(sorted(value.items()), out)
    elif isinstance(value, (tuple, list, frozenset, set)):
        items = sorted(value) if isinstance(value, (frozenset, set)) else value
        out.append(struct.pack("<cQ", b"t", len(items)))
        for item in items:
            _encoded(item, out)
    else:
        raise TypeError(f"an effect with a {type(value).__name__} in it")
    return out


def words(effect: Effect) -> str:
    """An effect in one short line."""
    text = type(effect).__name__
    match effect:
        case events.Send(to, data):
            text = f"sends {_kind(data)} of {data.nbytes:,} bytes to {_nodes(to)}"
        case events.Persist():
            text = _persist(effect)
        case events.Reply(committed, rejections):
            text = f"answers: {sum(len(b) for b, _ in committed)} committed, {len(rejections)} rejected"
        case events.Duplicates(count):
            text = f"answers {count} once more"
        case events.ReadLedger(_, cluster):
            text = f"asks for what the ledger holds of cluster {cluster}"
        case events.Report(kind, said):
            text = f"reports {kind}: {said}"
        case events.Fail(error, said):
            text = f"fails: {error}: {said}"
        case events.Suspect(nodes, said):
            text = f"suspects {_nodes(sorted(nodes))}: {said}"
        case events.Stop():
            text = "stops"
    return printable(text)[:TOLD_MAX]


def raised(error: BaseException) -> tuple[bytes, str]:
    """Digest and words of an exception instead of effects; its text may differ from run to run and is not compared."""
    return digest(("raises", type(error).__name__)), printable(f"raises {type(error).__name__}: {error}")[:TOLD_MAX]


def _kind(data: np.ndarray) -> str:
    number = int(data[: HEAD.itemsize].view(HEAD)["kind"][0]) if data.nbytes >= HEAD.itemsize else 0
    return Kind(number).name if number in Kind.__members__.values() else "noise"


def _nodes(nodes: Sequence[int]) -> str:
    return f"node{'s' if len(nodes) != 1 else ''} {', '.join(map(str, nodes))}"


def _persist(effect: events.Persist) -> str:
    if effect.commits:
        return f"writes the commit record to segment {effect.segment}"
    sizes = [f"{w.data_set.replace('_', ' ')} ({w.data.nbytes:,} bytes)" for w in effect.writes]
    made = f"makes segment {effect.segment}" if effect.creates is not None else f"for segment {effect.segment}"
    return f"{made}: writes {', '.join(sizes) or 'nothing'}"
