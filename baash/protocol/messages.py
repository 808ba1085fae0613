"""What nodes say to each other: one fixed head, then sections, each a u8 length and its bytes padded to 8.

The bytes of records, certificates and votes travel as they are stored. ``open_message`` checks lengths only and copies
nothing; what the bytes claim is checked by whoever acts on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from baash.errors import PeerError
from baash.records import align

HEAD = np.dtype(
    [
        ("magic", "u1", 4),
        ("kind", "<u2"),
        ("sections", "<u2"),
        ("view", "<u4"),
        ("sender", "<u4"),
        ("a", "<u8"),
        ("b", "<u8"),
    ]
)
MAGIC = np.frombuffer(b"BSH1", dtype=np.uint8)
SECTIONS_MAX = 4096


class Kind(IntEnum):
    """``a`` and ``b`` of each kind, then its sections."""

    WINDOW = 1  # attempt, decider; window, members, entries, entity list, windows before, their lists, records
    VOTE = 2  # window number, 0; vote
    OFFER = 3  # 0 a part, 1 nothing more will come; rejections, certificates
    PROPOSE = 4  # round, time; clusters, then for each its rejections, certificates
    READY = 5  # round, time of its proposal; signature, and if there is none the reason
    RECORDED = 6  # round, 0; slot: to the other coordinators
    COMMITTED = 7  # round, 0; slot, body, first transactions, numbers the node lacks, certificates, records it lacks,
    # hashes of other clusters' blocks
    ABORT = 8  # round, 0; reason
    CLOSE = 9  # 0, 0

    # between ranks, about views (``membership.py``): the sender is a rank, the view the newest one it knows
    JOIN = 32  # 1 planned, 0; ranks it suspects, ranks it says are lying (u4), why it left
    CALL = 33  # 1 planned, 0; why
    VIEW = 34  # 0, 0; a published record
    VOUCH = 35  # 0, 0; a record's body, of the view that is to be
    VOUCHED = 36  # 0, 0; keys and signatures, in turn
    OVER = 37  # 0 all is decided, 1 this job cannot go on, 0; the record of the view it ended in


SECTIONS: dict[Kind, int | None] = {  # None: any number from 1
    Kind.WINDOW: 7,
    Kind.VOTE: 1,
    Kind.OFFER: 2,
    Kind.PROPOSE: None,
    Kind.READY: 2,
    Kind.RECORDED: 1,
    Kind.COMMITTED: 7,
    Kind.ABORT: 1,
    Kind.CLOSE: 0,
    Kind.JOIN: 3,
    Kind.CALL: 1,
    Kind.VIEW: 1,
    Kind.VOUCH: 1,
    Kind.VOUCHED: 1,
    Kind.OVER: 1,
}


@dataclass(frozen=True)
class Message:
    kind: Kind
    view: int
    sender: int
    a: int
    b: int
    sections: tuple[np.ndarray, ...]


def layout(
    kind: Kind, view: int, sender: int, a: int, b: int, sizes: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """An empty message and its sections to fill in place, for those who make large ones."""
    total = HEAD.itemsize + sum(8 + align(size, 8) for size in sizes)
    data = np.empty(total, dtype=np.uint8)
    head = data[: HEAD.itemsize].view(HEAD)
    head["magic"], head["kind"], head["sections"], head["view"] = MAGIC, kind, len(sizes), view
    head["sender"], head["a"], head["b"] = sender, a, b
    sections = []
    at = HEAD.itemsize
    for size in sizes:
        data[at : at + 8].view("<u8")[0] = size
        sections.append(data[at + 8 : at + 8 + size])
        end = at + 8 + align(size, 8)
        data[at + 8 + size : end] = 0
        at = end
    return data, sections


def encode(
    kind: Kind, view: int, sender: int, a: int = 0, b: int = 0, sections: Sequence[np.ndarray | bytes] = ()
) -> np.ndarray:
    """A message (u1) of ready sections."""
    raw = [_bytes(s) for s in sections]
    data, places = layout(kind, view, sender, a, b, [r.nbytes for r in raw])
    for place, part in zip(places, raw, strict=True):
        place[:] = part
    return data


def open_message(data: np.ndarray) -> Message:
    """The parts of a message. Raises PeerError for bytes that are none."""
    if data.nbytes < HEAD.itemsize or data.nbytes % 8:
        raise PeerError("message cut short")
    head = data[: HEAD.itemsize].view(HEAD)[0]
    if not np.array_equal(head["magic"], MAGIC) or int(head["kind"]) not in Kind.__members__.values():
        raise PeerError("not a message")
    count = int(head["sections"])
    kind = Kind(int(head["kind"]))
    wanted = SECTIONS[kind]
    if not (1 <= count <= SECTIONS_MAX if wanted is None else count == wanted):
        raise PeerError(f"{kind.name} message with {count} sections")
    sections = []
    at = HEAD.itemsize
    for _ in range(count):
        if at + 8 > data.nbytes:
            raise PeerError("message cut short")
        size = int(data[at : at + 8].view("<u8")[0])
        if size > data.nbytes - at - 8:
            raise PeerError("section longer than its message")
        sections.append(data[at + 8 : at + 8 + size])
        at += 8 + align(size, 8)
    if at != data.nbytes:
        raise PeerError("bytes behind the last section")
    return Message(kind, int(head["view"]), int(head["sender"]), int(head["a"]), int(head["b"]), tuple(sections))


def rows(section: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A section as rows of ``dtype``. Raises PeerError if it is no whole number of them."""
    if section.nbytes % dtype.itemsize:
        raise PeerError(f"section of {section.nbytes} bytes is no whole number of rows")
    return section.view(dtype)


def _bytes(part: np.ndarray | bytes) -> np.ndarray:
    if isinstance(part, bytes):
        return np.frombuffer(part, dtype=np.uint8)
    return np.ascontiguousarray(part).reshape(-1).view(np.uint8)
