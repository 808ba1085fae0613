"""Protocol 3: a validator. It recomputes everything, signs how much of it is valid, and applies what was committed.

Theory. A validator's state is that of the newest commit record it applied. A window names the record it builds on; one
that is ahead of the validator gets the answer "behind", which is not a no. A verdict is kept until its window is
committed, so a new attempt costs a signature. Before it applies anything a node checks the commit record's signatures
and chain, and for windows it did not judge, the certificate and every hash: what a lying coordinator invents moves nobody.

The storage validator is this too, but for one thing: its state comes from the shared ledger alone (``LedgerRead``).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from baash import batch as batches
from baash import kernels, keys
from baash.errors import PeerError
from baash.protocol import certificate as certificates
from baash.protocol import quorum
from baash.protocol.events import (
    Effect,
    Event,
    Fail,
    LedgerRead,
    MessageReceived,
    NodesLost,
    ReadLedger,
    Report,
    Send,
    Stop,
)
from baash.protocol.messages import Kind, Message, encode, open_message, rows
from baash.protocol.view import View
from baash.protocol.windows import U8, Received, State, Verdict, entities_digest, entries_of, judge, received
from baash.records import (
    COMMIT_LOCATOR,
    COMMIT_RECORD,
    COMMIT_SIGNATURE,
    ROUND_BODY,
    ROUND_WINDOW,
    ZERO_HASH,
    Answer,
    Reason,
    align,
)

T = TypeVar("T")
WINDOWS_KEPT = 64  # that are not committed; more of one cluster are never in flight, whatever a coordinator sends
COMMITS_KEPT = 1024  # a window built on an older record than these gets the answer "behind"


@dataclass
class Chain:
    """Windows of this cluster that are decided, and the headers of those in flight that are known here."""

    number: int = 0
    last: bytes = ZERO_HASH
    hashes: dict[int, bytes] = field(default_factory=dict)
    entities: dict[int, np.ndarray] = field(default_factory=dict)

    def lists(self, number: int, row: np.ndarray, entities: np.ndarray) -> bool:
        """Whether window ``number``, in flight, writes these entities, as its header says; hashed once for each window."""
        if number in self.entities:
            return np.array_equal(self.entities[number], entities)
        for decided in [n for n in self.entities if n < self.number]:
            del self.entities[decided]
        true = entities_digest(entities) == row["entities"].tobytes()
        if true:
            self.entities[number] = entities
        return true


class Validator:
    """One node that validates, votes and holds the state of its cluster."""

    def __init__(
        self, view: View, node: int, key: keys.PrivateKey, state: State, commit: bytes, *, storage: bool = False
    ) -> None:
        self.view, self.node, self._key, self.state = view, node, key, state
        self.commit, self.round = commit, 0
        self.storage = storage
        self.cluster = view.nodes[node].cluster
        self._chain = Chain()
        self._verdicts: dict[bytes, tuple[Received, Verdict]] = {}
        self._known_commits = deque([commit], maxlen=COMMITS_KEPT)
        self._unjudged: dict[bytes, Received] = {}
        self._appeals: dict[int, tuple[int, Received]] = {}
        self._tokens = 0

    @property
    def held(self) -> int:
        """Windows that are kept until they are committed, or until there are too many."""
        return len(self._verdicts) + len(self._unjudged) + len(self._appeals)

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        match event:
            case MessageReceived(data):
                try:
                    return self._message(open_message(data))
                except PeerError as error:
                    return [Report("bad_message", f"node {self.node} dropped a message: {error}")]
            case LedgerRead():
                return self._ledger_read(event)
            case NodesLost(nodes):
                for coordinator in self.view.coordinators:
                    if coordinator.node in nodes:
                        return [Fail("NotYet", lost_coordinator(coordinator.cluster))]
        return []

    # -- votes ----------------------------------------------------------------------------------------------------

    def _message(self, message: Message) -> list[Effect]:
        if message.view != self.view.view:
            return [Report("stale_message", f"node {self.node} dropped a message of view {message.view}")]
        match message.kind:
            case Kind.WINDOW:
                window = received(message)
                self._check_leads(message.sender, int(window.row["cluster"]))
                if self.storage:
                    self._tokens += 1
                    self._appeals[self._tokens] = (message.sender, window)
                    return [ReadLedger(self._tokens, int(window.row["cluster"]))]
                return self._vote(message.sender, window)
            case Kind.COMMITTED:
                return self._committed(message)
            case Kind.CLOSE:
                check_closes(self.view, message)
                return [Stop()]
        raise PeerError(f"a validator does not take {message.kind.name}")

    def _check_leads(self, sender: int, cluster: int) -> None:
        if cluster >= len(self.view.coordinators) or self.view.coordinators[cluster].node != sender:
            raise PeerError(f"a window of cluster {cluster} from node {sender}, which does not lead it")

    def _vote(self, sender: int, window: Received) -> list[Effect]:
        if self.node not in window.members.tolist():
            raise PeerError("a window whose sub-cluster this node is not in")
        attempt = certificates.attempt_hash(window.hash, window.decider, window.attempt, window.members)
        answer, prefix, reason, bad = self._answer(window)
        if answer is None:
            return []
        vote = quorum.cast(self.node, self._key, attempt, answer, prefix, reason, bad)
        data = encode(Kind.VOTE, self.view.view, self.node, window.number, 0, [vote.tobytes()])
        return [Send((sender,), data)]

    def _answer(self, window: Received) -> tuple[Answer | None, int, int, int]:
        """(answer, prefix, reason, index); None: an attempt without content on a window that is not held here."""
        kept = self._verdicts.get(window.hash)
        if kept is None:
            if not window.has_content:
                return None, 0, 0, 0
            if window.row["base"].tobytes() not in self._known_commits:
                return Answer.BEHIND, 0, Reason.BEHIND, 0
            try:
                verdict = self._judge(window)
            except Exception:  # checkpoint 3: whatever validation raises becomes a signed "cannot"
                _keep(self._unjudged, window.hash, window)  # it may be committed without us
                return Answer.CANNOT, 0, Reason.INTERNAL, 0
            _keep(self._verdicts, window.hash, (window, verdict))
        else:
            verdict = kept[1]
        return Answer.PREFIX, verdict.prefix, verdict.reason, verdict.bad_index

    def _judge(self, window: Received) -> Verdict:
        """The verdict on a window: its place in the chain first, then its content."""
        chain, number = self._chain, window.number
        mismatch = Verdict(0, Reason.WINDOW_MISMATCH, 0, batches.EMPTY, None)
        if (
            int(window.row["view"]) != self.view.view
            or window.row["ledger"].tobytes() != self.view.ledger
            or number < chain.number
        ):
            return mismatch
        before: dict[int, np.ndarray] = {}
        previous = chain.last
        expected = chain.number
        for row, entities in zip(window.before, window.before_entities, strict=True):
            earlier = int(row["number"])
            digest = hashlib.sha256(row.tobytes()).digest()
            if earlier < chain.number:  # decided meanwhile
                continue
            if (
                earlier != expected
                or row["previous"].tobytes() != previous
                or chain.hashes.get(earlier, digest) != digest
                or not chain.lists(earlier, row, entities)
            ):
                return mismatch
            chain.hashes[earlier], before[earlier] = digest, entities
            previous, expected = digest, earlier + 1
        if expected != number or window.row["previous"].tobytes() != previous:
            return mismatch
        if chain.hashes.setdefault(number, window.hash) != window.hash:
            return mismatch
        return judge(self.view, window, self.state, list(before.values()))

    # -- commits --------------------------------------------------------------------------------------------------

    def _committed(self, message: Message) -> list[Effect]:
        """Check a round and apply this cluster's windows of it."""
        slot, body, first_transactions, lacking, encoded, records = message.sections
        record = check_slot(self.view, slot, self.commit, self.round)
        windows = open_body(body, record)
        mine = windows[windows["cluster"] == self.cluster]
        firsts = rows(first_transactions, U8)
        proofs = [c for c, _ in split_certificates(encoded)]
        if not len(firsts) == len(mine) == len(proofs):
            raise PeerError("COMMITTED message with the wrong number of windows")
        lacked = _lacked(rows(lacking, U8), proofs, records)
        for row, first, proof in zip(mine, firsts.tolist(), proofs, strict=True):
            self._apply(row, int(first), proof, lacked.get(int(row["number"])))
        self.commit = hashlib.sha256(slot[: COMMIT_RECORD.itemsize].tobytes()).digest()
        self.round += 1
        self._known_commits.append(self.commit)
        return []

    def _apply(self, row: np.ndarray, first: int, proof: certificates.Certificate, records: np.ndarray | None) -> None:
        """Apply one committed window. What this node did not find valid itself must be proved to it."""
        number, prefix, digest = int(row["number"]), int(row["prefix"]), row["window"].tobytes()
        if number != self._chain.number:
            raise PeerError(f"window {number} committed, {self._chain.number} expected")
        kept = self._verdicts.pop(digest, None)
        if kept is not None and prefix and not len(kept[1].batch):
            # refused as a whole here, carried by the others: what came may be another content than the header's
            self._unjudged[digest], kept = kept[0], None
        if kept is None or kept[1].prefix < prefix:
            self._examine(proof, digest, prefix)
        delta = None
        if kept is not None:
            window, verdict = kept
            count = int(window.entries["count"][:prefix].sum(dtype=np.uint64))
            batch, delta = verdict.batch.cut(0, count), verdict.delta if count == len(verdict.batch) else None
        elif records is not None:
            batch = _open_blocks(proof.entries[:prefix], records)
        elif digest in self._unjudged:
            batch = _open_held(self._unjudged[digest], prefix)
        else:
            raise PeerError(f"window {number} committed, but its blocks are not here")
        if len(batch):
            if delta is None:
                _, delta = self.state.check(batch)
            self.state.apply(batch, delta, first)
        self._chain.number, self._chain.last = number + 1, digest
        self._chain.hashes.pop(number, None)
        self._unjudged.pop(digest, None)

    def _examine(self, proof: certificates.Certificate, digest: bytes, prefix: int) -> None:
        if proof.window_hash != digest or proof.prefix != prefix:
            raise PeerError("a certificate of another window than the committed one")
        wrong = certificates.examine(proof, self.view)
        if wrong:
            raise PeerError(f"a committed window's certificate: {wrong}")

    # -- the storage validator --------------------------------------------------------------------------------------

    def _ledger_read(self, event: LedgerRead) -> list[Effect]:
        """The shared ledger has been read up to its newest round: decide on that ground what was asked."""
        appeal = self._appeals.pop(event.token, None)
        if appeal is None:
            return []
        self.state, self._chain = event.state, Chain(event.windows, event.last_window)
        self._known_commits = deque(event.commits, maxlen=COMMITS_KEPT)
        self._verdicts.clear()  # on a state that is gone
        self._unjudged.clear()
        try:
            return self._vote(*appeal)
        except PeerError as error:
            return [Report("bad_message", f"the storage validator dropped an appeal: {error}")]


def _keep(windows: dict[bytes, T], key: bytes, value: T) -> None:
    windows[key] = value
    if len(windows) > WINDOWS_KEPT:
        del windows[next(iter(windows))]  # the oldest


def check_closes(view: View, message: Message) -> None:
    """Only the leading coordinator closes a view."""
    if message.sender != view.coordinators[0].node:
        raise PeerError(f"CLOSE from node {message.sender}, which does not lead")


def lost_coordinator(cluster: int | None) -> str:
    return (
        f"the coordinator of cluster {cluster} died; a view change inside the job is not there yet (docs/limits.md): "
        "everything acknowledged is in the ledger, run again to continue it"
    )


def check_slot(view: View, slot: np.ndarray, previous: bytes, number: int) -> np.ndarray:
    """The commit record (COMMIT_RECORD, scalar) of a slot that follows ``previous`` and every coordinator signed."""
    need = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize + len(view.coordinators) * COMMIT_SIGNATURE.itemsize
    if slot.nbytes < need:
        raise PeerError("commit record cut short")
    signed = slot[: COMMIT_RECORD.itemsize].tobytes()
    record: np.ndarray = np.frombuffer(signed, dtype=COMMIT_RECORD)[0]
    if (
        int(record["view"]) != view.view
        or record["ledger"].tobytes() != view.ledger
        or int(record["round"]) != number
        or record["previous"].tobytes() != previous
    ):
        raise PeerError(f"a commit record that does not follow round {number - 1}")
    signatures = slot[need - len(view.coordinators) * COMMIT_SIGNATURE.itemsize : need].view(COMMIT_SIGNATURE)
    by_node = {int(s["node"]): s["signature"].tobytes() for s in signatures}
    for coordinator in view.coordinators:
        signature = by_node.get(coordinator.node, b"")
        if not keys.verify(coordinator.key, keys.Context.COMMIT, signed, signature):
            raise PeerError(f"a commit record that node {coordinator.node} did not sign")
    return record


def open_body(body: np.ndarray, record: np.ndarray) -> np.ndarray:
    """The window rows (ROUND_WINDOW) of the round body that ``record`` names."""
    count = int(record["window_count"])
    size = body.nbytes - 8 * count
    if size < ROUND_BODY.itemsize or hashlib.sha256(body[:size].tobytes()).digest() != record["body"].tobytes():
        raise PeerError("a round body that is not the commit record's")
    windows: np.ndarray = body[ROUND_BODY.itemsize : ROUND_BODY.itemsize + count * ROUND_WINDOW.itemsize].view(
        ROUND_WINDOW
    )
    return windows


def split_certificates(encoded: np.ndarray) -> list[tuple[certificates.Certificate, np.ndarray]]:
    """Certificates that lie one behind the other, each padded to 8, with their bytes. Raises PeerError."""
    found = []
    at = 0
    while at < encoded.nbytes:
        try:
            certificate = certificates.decode(encoded[at:])
        except ValueError as error:
            raise PeerError(str(error)) from error
        size = int(certificate.head["total_bytes"])
        found.append((certificate, encoded[at : at + size]))
        at += align(size, 8)
    return found


def _lacked(
    numbers: np.ndarray, proofs: Sequence[certificates.Certificate], records: np.ndarray
) -> dict[int, np.ndarray]:
    """The blocks that a COMMITTED message brings because this node does not hold them, by window."""
    by_number = {int(p.window["number"]): p for p in proofs}
    found = {}
    at = 0
    for number in numbers.tolist():
        proof = by_number.get(number)
        size = int(proof.entries["bytes"][: proof.prefix].sum(dtype=np.uint64)) if proof is not None else 0
        if proof is None or at + size > records.nbytes:
            raise PeerError("COMMITTED message with fewer blocks than it says")
        found[number] = records[at : at + size]
        at += size
    return found


def pad8(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Byte arrays one behind the other, each padded with zeros to a multiple of 8."""
    out = np.zeros(sum(align(p.nbytes, 8) for p in parts), dtype=np.uint8)
    at = 0
    for part in parts:
        out[at : at + part.nbytes] = part
        at += align(part.nbytes, 8)
    return out


def _open_held(window: Received, prefix: int) -> batches.Batch:
    """A committed window that came here but could not be judged: its hash vouches for the header, that for the rest."""
    digests = kernels.content_digests(window.entries, int(window.row["cluster"]))
    root = kernels.merkle_roots(digests, np.array([0, len(digests)]))[0]
    if root.tobytes() != window.row["content_root"].tobytes():
        raise PeerError("a committed window whose blocks are not those of its header")
    entries = window.entries[:prefix]
    return _open_blocks(entries, window.records[: int(entries["bytes"].sum(dtype=np.uint64))])


def _open_blocks(entries: np.ndarray, records: np.ndarray) -> batches.Batch:
    """The transactions of blocks, if they are what ``entries`` (BLOCK_ENTRY) say. Raises PeerError."""
    batch, reason, _ = batches.scan(records)
    offsets = np.append(np.zeros(1, dtype=np.int64), np.cumsum(entries["count"], dtype=np.int64))
    if reason is not Reason.NONE or int(offsets[-1]) != len(batch):
        raise PeerError("committed blocks that are not what their certificate says")
    if entries_of(batch, offsets).tobytes() != entries.tobytes():
        raise PeerError("committed blocks that are not what their certificate says")
    return batch
