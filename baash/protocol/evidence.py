"""Evidence: two statements that one node signed and no honest node signs both. Who has the view's keys needs nobody's word.

Theory. *Votes*: an honest node signs one answer to an attempt (``spoken.py``), so two different ones prove a lie. *Commit records*: the
leading coordinator gives its signature away with the whole record of a round, of which there is one, so two different ones that
it signed prove a lie. Of another coordinator they prove nothing: it signs again when a round that failed is tried again.

No evidence is: a false vote (a validator may be wrong), a message that is not signed (windows, offers, proposals), silence.

What is proved is kept in the ledger as a NOTE, the payload of which is described in ``docs/payloads.md``. A NOTE proves nothing by
itself; ``wrong`` says what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import orjson

from baash import batch as batches
from baash import kernels, keys
from baash.batch import Batch
from baash.protocol.view import View
from baash.records import (
    ANY_VERSION,
    COMMIT_LOCATOR,
    COMMIT_RECORD,
    COMMIT_SIGNATURE,
    FORMAT_VERSION,
    SHARD_COUNT,
    VOTE,
    VOTE_SIGNED_BYTES,
    Answer,
    Operation,
    PayloadType,
    Tag,
    entity_hash,
    source_issuer,
)

ENTITY = b"baash:evidence:"  # then view, node, and a number that leads to a shard of who keeps it
PAYLOAD_BYTES_MAX = 4096
TRIES = 1 << 17  # names that are looked at for one in a cluster's shards
STRAYS_KEPT = 8  # votes of one node that came where nobody asked for them
RECORDS_KEPT = 4  # commit records that the leader signed, the newest
VOTES, COMMIT_RECORDS = "votes", "commit-records"


@dataclass(frozen=True)
class Statement:
    """Bytes and the signature over them."""

    signed: bytes
    signature: bytes


@dataclass(frozen=True)
class Contradiction:
    """What ``node`` of ``view`` is said to have signed, twice. ``what``: VOTES or COMMIT_RECORDS."""

    what: str
    view: int
    node: int
    first: Statement
    second: Statement


def of_vote(vote: np.ndarray) -> Statement:
    """A VOTE row."""
    raw = vote.tobytes()
    return Statement(raw[:VOTE_SIGNED_BYTES], raw[VOTE_SIGNED_BYTES:])


def of_slot(slot: np.ndarray, view: View) -> Statement | None:
    """The commit record of a slot (u1) with the signature of the leading coordinator, genuine or not."""
    at = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize
    end = at + len(view.coordinators) * COMMIT_SIGNATURE.itemsize
    for row in slot[at:end].view(COMMIT_SIGNATURE) if slot.nbytes >= end else ():
        if int(row["node"]) == view.coordinators[0].node:
            return Statement(slot[: COMMIT_RECORD.itemsize].tobytes(), row["signature"].tobytes())
    return None


def wrong(found: Contradiction, view: View) -> str | None:
    """What keeps ``found`` from being proof under ``view`` (the one it names), or None."""
    first, second = found.first.signed, found.second.signed
    if found.node >= len(view.nodes):
        return f"the view has no node {found.node}"
    if first == second:
        return "the two statements are one"
    context, fault = keys.Context.VOTE, _not_votes(found)
    if found.what == COMMIT_RECORDS:
        context, fault = keys.Context.COMMIT, _not_records(found, view)
    if fault:
        return fault
    for statement in (found.first, found.second):
        if not keys.verify(view.nodes[found.node].key, context, statement.signed, statement.signature):
            return f"node {found.node} did not sign both"
    return None


def _not_votes(found: Contradiction) -> str | None:
    pair = (found.first.signed, found.second.signed)
    if any(len(s) != VOTE_SIGNED_BYTES or s[:3] != bytes((0, Tag.VOTE, FORMAT_VERSION)) for s in pair):
        return "the statements are no votes"
    first, second = (_vote(s) for s in pair)
    if first["attempt"].tobytes() != second["attempt"].tobytes():
        return "the votes are on two attempts"
    return None if int(first["node"]) == int(second["node"]) == found.node else "the votes are of another node"


def _not_records(found: Contradiction, view: View) -> str | None:
    pair = (found.first.signed, found.second.signed)
    size, head = COMMIT_RECORD.itemsize, bytes((0, Tag.COMMIT_RECORD, FORMAT_VERSION))
    if any(len(s) != size or s[:3] != head for s in pair):
        return "the statements are no commit records"
    first, second = (np.frombuffer(s, dtype=COMMIT_RECORD)[0] for s in pair)
    if any(int(r["view"]) != view.view or r["ledger"].tobytes() != view.ledger for r in (first, second)):
        return "the commit records are of another view or ledger"
    if int(first["round"]) != int(second["round"]):
        return "the commit records are of two rounds"
    leader = view.coordinators[0].node
    return None if found.node == leader else f"only the leading coordinator, node {leader}, never signs a round twice"


def _vote(signed: bytes) -> np.void:
    row: np.void = np.frombuffer(signed.ljust(VOTE.itemsize, b"\0"), dtype=VOTE)[0]
    return row


def describe(found: Contradiction) -> str:
    """What a contradiction that is proved says: ``answered one attempt with 3 blocks and with 0 blocks``."""
    if found.what == COMMIT_RECORDS:
        number = int(np.frombuffer(found.first.signed, dtype=COMMIT_RECORD)[0]["round"])
        return f"signed two commit records of round {number}"
    first, second = _answer(found.first.signed), _answer(found.second.signed)
    differ = f"with {first} and with {second}" if first != second else f"with {first}, for two reasons"
    return f"answered one attempt {differ}"


def _answer(signed: bytes) -> str:
    vote = _vote(signed)
    if int(vote["answer"]) == Answer.PREFIX:
        return f"{int(vote['prefix'])} block{'' if int(vote['prefix']) == 1 else 's'}"
    known = {int(Answer.BEHIND): "'I am behind'", int(Answer.CANNOT): "'I cannot'"}
    return known.get(int(vote["answer"]), "no known answer")


# -- as a NOTE --------------------------------------------------------------------------------------------------------


def payload(found: Contradiction) -> bytes:
    said = [{"signed": s.signed.hex(), "signature": s.signature.hex()} for s in (found.first, found.second)]
    fields = {"kind": "evidence", "what": found.what, "view": found.view, "node": found.node, "statements": said}
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def read(raw: bytes) -> Contradiction:
    """What a payload claims; nothing of it is checked but its form. Raises ValueError."""
    if len(raw) > PAYLOAD_BYTES_MAX:
        raise ValueError("the payload is too long for evidence")
    try:
        fields = orjson.loads(raw)
        pair = [Statement(bytes.fromhex(s["signed"]), bytes.fromhex(s["signature"])) for s in fields["statements"]]
        first, second = pair
        what, view, node = fields["what"], fields["view"], fields["node"]
    except (ValueError, TypeError, KeyError):
        raise ValueError("the payload is not that of evidence") from None
    numbers = all(type(n) is int and 0 <= n < 1 << 32 for n in (view, node))
    if fields.get("kind") != "evidence" or what not in (VOTES, COMMIT_RECORDS) or not numbers:
        raise ValueError("the payload is not that of evidence")
    return Contradiction(what, view, node, first, second)


def note(view: View, cluster: int, number: int, found: Contradiction, time_ns: int) -> Batch | None:
    """The NOTE, the ``number``-th, by the coordinator of ``cluster``; None: no name leads to a shard of it."""
    entity = _entity(view, cluster, found)
    if entity is None:
        return None
    content = payload(found)
    records, _ = kernels.encode(
        np.array([Operation.NOTE], dtype=np.uint8),
        np.array([number], dtype=np.uint64),
        np.array([time_ns], dtype=np.uint64),
        np.array([ANY_VERSION], dtype=np.uint64),
        source_issuer(f"baash evidence, view {view.view}, node {view.coordinators[cluster].node}"),
        (np.frombuffer(entity, dtype=np.uint8), np.array([0, len(entity)])),
        (np.frombuffer(content, dtype=np.uint8), np.array([0, len(content)])),
        np.array([PayloadType.JSON], dtype=np.uint16),
    )
    return batches.scan(records)[0]


def _entity(view: View, cluster: int, found: Contradiction) -> bytes | None:
    for number in range(TRIES):
        name = ENTITY + f"{found.view}:{found.node}:{number}".encode()
        if view.cluster_of_shard[int.from_bytes(entity_hash(name)[:8], "little") % SHARD_COUNT] == cluster:
            return name
    return None


# -- as it is found ---------------------------------------------------------------------------------------------------


class Witness:
    """What one coordinator sees signed: ``found`` collects what contradicts itself, of each node once.

    Bounded: a few votes of each node that came unasked, and the newest records that the leader signed.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.found: list[Contradiction] = []
        self._proved: set[int] = set()
        self._strays: dict[int, dict[bytes, Statement]] = {}
        self._records: dict[int, Statement] = {}  # by round, with the leader's signature

    def proved(self, node: int) -> bool:
        return node in self._proved

    def compare(self, what: str, node: int, first: Statement, second: Statement) -> None:
        """Two statements that ``node`` is said to have made."""
        if node in self._proved or first.signed == second.signed:
            return
        found = Contradiction(what, self.view.view, node, first, second)
        if wrong(found, self.view) is None:
            self._proved.add(node)
            self.found.append(found)

    def stray(self, vote: np.ndarray) -> None:
        """A vote that is signed by its node and was sent to one who did not ask."""
        node, attempt, statement = int(vote["node"]), vote["attempt"].tobytes(), of_vote(vote)
        kept = self._strays.setdefault(node, {})
        if attempt in kept:
            self.compare(VOTES, node, kept[attempt], statement)
        elif not self.proved(node):
            kept[attempt] = statement
            if len(kept) > STRAYS_KEPT:
                del kept[next(iter(kept))]  # the oldest

    def counted(self, votes: Iterable[np.void]) -> None:
        """Votes (VOTE) of a certificate, some of which may have been sent here too."""
        for vote in votes if self._strays else ():
            node = int(vote["node"])
            kept = self._strays.get(node, {}).get(vote["attempt"].tobytes())
            if kept is not None:
                self.compare(VOTES, node, kept, of_vote(np.asarray(vote)))

    def recorded(self, slot: np.ndarray) -> None:
        """A commit record as the leader sent it."""
        leader, statement = self.view.coordinators[0], of_slot(slot, self.view)
        if statement is None:
            return
        number = int(np.frombuffer(statement.signed, dtype=COMMIT_RECORD)[0]["round"])
        if number in self._records:
            self.compare(COMMIT_RECORDS, leader.node, self._records[number], statement)
        elif keys.verify(leader.key, keys.Context.COMMIT, statement.signed, statement.signature):
            self._records[number] = statement
            if len(self._records) > RECORDS_KEPT:
                del self._records[min(self._records)]
