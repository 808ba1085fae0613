"""A certificate as a proof carries it: without the list of the window's blocks, which may be thousands.

The list is bound by the content root in the window's header; in its place the proof has the path from the one block that it is
about to that root. All else stays, every size in the heads, too, so the bytes are the certificate's own with a hole. The
same for the votes that did not suffice, which a storage validator's certificate encloses.
"""

from __future__ import annotations

import numpy as np

from baash.protocol import certificate as certificates
from baash.protocol.certificate import Certificate
from baash.records import BLOCK_ENTRY, CERTIFICATE, FORMAT_VERSION, VOTE, WINDOW, Decider, Tag, align, tagged

_FIELDS = ("decider", "total_bytes", "prefix", "attempt", "member_count", "vote_count", "enclosed_bytes")


def cut(raw: np.ndarray) -> bytes:
    """A certificate (u1) without its list of blocks. ValueError: it is none."""
    made = certificates.decode(raw)
    return _written(made, cut(made.enclosed) if made.enclosed.nbytes else b"")


def decode(data: bytes, *, enclosed: bool = False) -> tuple[Certificate, Certificate | None]:
    """(the certificate, the one it encloses), both with empty ``entries``. ValueError: not in its one legal form."""
    raw = np.frombuffer(data, dtype=np.uint8)
    at = CERTIFICATE.itemsize + WINDOW.itemsize
    if raw.nbytes < at:
        raise ValueError("it is cut short")
    head = raw[: CERTIFICATE.itemsize].view(CERTIFICATE)[0]
    window = raw[CERTIFICATE.itemsize : at].view(WINDOW)[0]
    if (int(window["zero"]), int(window["tag"]), int(window["version"])) != (0, Tag.WINDOW, FORMAT_VERSION):
        raise ValueError("it has no window")
    if int(head["decider"]) not in Decider.__members__.values() or int(window["flags"]):
        raise ValueError("unknown decider or flags")
    members, votes = int(head["member_count"]), int(head["vote_count"])
    behind_members = at + align(4 * members, 8)
    behind_votes = behind_members + VOTE.itemsize * votes
    hole, inner_bytes = BLOCK_ENTRY.itemsize * int(window["block_count"]), int(head["enclosed_bytes"])
    if behind_votes > raw.nbytes or behind_votes + hole + inner_bytes != int(head["total_bytes"]):
        raise ValueError("its parts are not its length")
    inner = None
    if inner_bytes and not enclosed:
        inner, _ = decode(data[behind_votes:], enclosed=True)
        if int(inner.head["total_bytes"]) != inner_bytes:
            raise ValueError("the enclosed one has another length")
    made = Certificate(
        head,
        window,
        raw[at:behind_members].view("<u4")[:members],
        np.zeros(0, dtype=BLOCK_ENTRY),
        raw[behind_members:behind_votes].view(VOTE),
        raw[behind_votes:] if inner is not None else raw[:0],
    )
    if _written(made, made.enclosed.tobytes()) != data or bool(inner_bytes) != (inner is not None):
        raise ValueError("it is not in its one legal form")
    return made, inner


def _written(made: Certificate, inner: bytes) -> bytes:
    head = tagged(np.zeros((), dtype=CERTIFICATE), Tag.CERTIFICATE)
    for name in _FIELDS:
        head[name] = made.head[name]
    members = certificates.members_bytes(made.members)
    return head.tobytes() + made.window.tobytes() + members + made.votes.tobytes() + inner
