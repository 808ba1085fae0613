"""Protocol 3: a validator. It recomputes everything, signs how much of it is valid, and applies what was committed.

Theory. A validator's state is that of the newest commit record it applied. A window names the record it builds on; one
that is ahead of the validator gets the answer "behind", which is not a no. A verdict is kept until its window is
committed, so a new attempt costs a signature. Before it applies anything a node checks the commit record's signatures
and chain, for windows it did not judge, the certificate and every hash, and that its cluster's blocks are in the log
(``headers.py``): what a lying coordinator invents moves nobody. What it applied it keeps, up to a bound (``replica.py``).

What it signed it holds to (``spoken.py``). A coordinator that owes it the outcome of what it voted on, and says nothing any more, it suspects.

The storage validator is this too, but for one thing: its state comes from the shared ledger alone (``LedgerRead``).
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from baash import batch as batches
from baash import keys
from baash.errors import PeerError
from baash.protocol import certificate as certificates
from baash.protocol import headers, patience, quorum
from baash.protocol.committed import check_slot, lacked_blocks, open_blocks, open_body, open_held, split_certificates
from baash.protocol.events import (
    Effect,
    Event,
    LedgerRead,
    MessageReceived,
    NodesLost,
    ReadLedger,
    Report,
    Send,
    Stop,
    Suspect,
    TickElapsed,
)
from baash.protocol.messages import Kind, Message, encode, open_message, rows
from baash.protocol.plan import Log, window_rows
from baash.protocol.replica import REPLICA_BYTES, Replica
from baash.protocol.spoken import Spoken
from baash.protocol.view import View
from baash.protocol.windows import U8, Delta, Received, State, Verdict, entities_digest, judge, received
from baash.records import (
    BLOCK_ROW,
    COMMIT_RECORD,
    ZERO_HASH,
    Answer,
    Reason,
)

T = TypeVar("T")
WINDOWS_KEPT = 64  # that are not committed; more of one cluster are never in flight, whatever a coordinator sends
COMMITS_KEPT = 1024  # a window built on an older record than these gets the answer "behind"


@dataclass
class Chain:
    """Windows of this cluster that are decided, and the headers of those in flight that are known here."""

    number: int = 0
    last: bytes = ZERO_HASH
    hashes: dict[int, bytes] = field(default_factory=dict)  # of fewer than WINDOWS_KEPT, as of the lists
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


@dataclass(frozen=True)
class Decided:
    """A committed window, checked but for its place in the log."""

    hash: bytes
    row: np.ndarray | np.void  # WINDOW
    entries: np.ndarray  # BLOCK_ENTRY, of its committed blocks
    batch: batches.Batch  # their transactions
    delta: Delta | None  # what these do to the state, if that is known


class Validator:
    """One node that validates, votes and holds the state of its cluster."""

    def __init__(
        self,
        view: View,
        node: int,
        key: keys.PrivateKey,
        state: State,
        log: Log,
        *,
        storage: bool = False,
        replica_bytes: int = REPLICA_BYTES,
    ) -> None:
        self.view, self.node, self._key, self.state = view, node, key, state
        self.commit, self.round, self.tip = log.commit, 0, headers.tip_of(log)
        self.storage = storage
        self.replica = Replica(0 if storage else replica_bytes)
        self.cluster = view.nodes[node].cluster
        self._chain = Chain()
        self._spoken: dict[int, Spoken] = {}  # by cluster: the storage validator votes in all
        self._wait, self._heard = patience.Wait(patience.COMMIT), 0
        self._verdicts: dict[bytes, tuple[Received, Verdict]] = {}
        self._known_commits = deque([log.commit], maxlen=COMMITS_KEPT)
        self._unjudged: dict[bytes, Received] = {}
        self._appeals: dict[int, tuple[int, Received]] = {}
        self._tokens = 0

    @property
    def held(self) -> int:
        """Windows that are kept until they are committed, or until there are too many."""
        return len(self._verdicts) + len(self._unjudged) + len(self._appeals)

    @property
    def announced(self) -> int:
        """Windows in flight of which something is known here."""
        return max(len(self._chain.hashes), len(self._chain.entities))

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
                        return [Suspect(frozenset((coordinator.node,)), lost_coordinator(coordinator.cluster))]
            case TickElapsed() if self.cluster is not None:
                return self._look_at_the_clock(self.cluster, now_ns)
        return []

    def _look_at_the_clock(self, cluster: int, now_ns: int) -> list[Effect]:
        owed = cluster in self._spoken and len(self._spoken[cluster])
        if not self._wait.look(self._heard if owed else None, now_ns):
            return []
        coordinator = frozenset((self.view.coordinators[cluster].node,))
        what = (
            f"did not say for {self._wait.waited_ns / 1e9:.0f} s what became of windows that node {self.node} voted on"
        )
        return patience.suspect(self.view, coordinator, what)

    # -- votes ----------------------------------------------------------------------------------------------------

    def _message(self, message: Message) -> list[Effect]:
        if message.view != self.view.view:
            return [Report("stale_message", f"node {self.node} dropped a message of view {message.view}")]
        match message.kind:
            case Kind.WINDOW:
                window = received(message)
                self._check_leads(message.sender, int(window.row["cluster"]))
                self._heard += 1
                if self.storage:
                    self._tokens += 1
                    self._appeals[self._tokens] = (message.sender, window)
                    return [ReadLedger(self._tokens, int(window.row["cluster"]))]
                return self._vote(message.sender, window)
            case Kind.COMMITTED if not self.storage:
                return self._committed(message)
            case Kind.CLOSE:
                check_closes(self.view, message)
                return [Stop()]
        raise PeerError(f"a validator does not take {message.kind.name}")

    def _check_leads(self, sender: int, cluster: int) -> None:
        if cluster >= len(self.view.coordinators) or self.view.coordinators[cluster].node != sender:
            raise PeerError(f"a window of cluster {cluster} from node {sender}, which does not lead it")
        if self.cluster not in (None, cluster):
            raise PeerError(f"a window of cluster {cluster} for a node of cluster {self.cluster}")

    def _vote(self, sender: int, window: Received) -> list[Effect]:
        if self.node not in window.members.tolist():
            raise PeerError("a window whose sub-cluster this node is not in")
        if int(window.row["view"]) != self.view.view or window.row["ledger"].tobytes() != self.view.ledger:
            raise PeerError("a window of another view: what this node said of it there it does not say again")
        cluster = int(window.row["cluster"])
        spoken = self._spoken.setdefault(cluster, Spoken(WINDOWS_KEPT * (self.view.parameters.replacements + 2)))
        spoken.decided(self._chain.number)
        attempt = certificates.attempt_hash(window.hash, window.decider, window.attempt, window.members)
        vote = spoken.given(attempt, window.number)
        if vote is None:
            answer, prefix, reason, bad = self._answer(window)
            if answer is None:
                return []
            vote = quorum.cast(self.node, self._key, attempt, answer, prefix, reason, bad)
            spoken.keep(attempt, window.number, vote)
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
            or not chain.number <= number < chain.number + WINDOWS_KEPT
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
        """Check a round, and only then apply this cluster's windows of it."""
        slot, body, first_transactions, lacking, encoded, records, around = message.sections
        record = check_slot(self.view, slot, self.commit, self.round)
        windows = open_body(body, record)
        mine = windows[windows["cluster"] == self.cluster]
        firsts = rows(first_transactions, U8)
        proofs = [c for c, _ in split_certificates(encoded)]
        if not len(firsts) == len(mine) == len(proofs):
            raise PeerError("COMMITTED message with the wrong number of windows")
        lacked = lacked_blocks(rows(lacking, U8), proofs, records)
        decided = [
            self._decided(row, self._chain.number + i, proof, lacked.get(int(row["number"])))
            for i, (row, proof) in enumerate(zip(mine, proofs, strict=True))
        ]
        blocks = [window_rows(d.row, d.entries, 0, first) for d, first in zip(decided, firsts.tolist(), strict=True)]
        made = np.concatenate([np.zeros(0, dtype=BLOCK_ROW), *blocks])
        self.tip = headers.extend(self.tip, record, windows, self.cluster, made, around)
        at = 0
        for one, first in zip(decided, firsts.tolist(), strict=True):
            self._apply(one, first)
            self.replica.add(made[at : at + len(one.entries)], one.batch)
            at += len(one.entries)
        self.commit = hashlib.sha256(slot[: COMMIT_RECORD.itemsize].tobytes()).digest()
        self.round += 1
        self._heard += 1
        self._known_commits.append(self.commit)
        return []

    def _decided(
        self, row: np.ndarray, number: int, proof: certificates.Certificate, records: np.ndarray | None
    ) -> Decided:
        """One committed window, ROUND_WINDOW. What this node did not find valid itself must be proved to it."""
        prefix, digest = int(row["prefix"]), row["window"].tobytes()
        if int(row["number"]) != number:
            raise PeerError(f"window {int(row['number'])} committed, {number} expected")
        kept, held = self._verdicts.get(digest), self._unjudged.get(digest)
        if kept is not None and prefix and not len(kept[1].batch):
            # refused as a whole here, carried by the others: what came may be another content than the header's
            held, kept = kept[0], None
        if kept is None or kept[1].prefix < prefix:
            self._examine(proof, digest, prefix)
        if kept is not None:
            window, verdict = kept
            entries = window.entries[:prefix]
            count = int(entries["count"].sum(dtype=np.uint64))
            delta = verdict.delta if count == len(verdict.batch) else None
            return Decided(digest, window.row, entries, verdict.batch.cut(0, count), delta)
        if records is not None:
            batch = open_blocks(proof.entries[:prefix], records)
        elif held is not None:
            batch = open_held(held, prefix)
        else:
            raise PeerError(f"window {number} committed, but its blocks are not here")
        return Decided(digest, proof.window, proof.entries[:prefix], batch, None)

    def _apply(self, decided: Decided, first: int) -> None:
        if len(decided.batch):
            delta = self.state.check(decided.batch)[1] if decided.delta is None else decided.delta
            self.state.apply(decided.batch, delta, first)
        self._chain.hashes.pop(self._chain.number, None)
        self._chain.number, self._chain.last = self._chain.number + 1, decided.hash
        if self.cluster in self._spoken:
            self._spoken[self.cluster].decided(self._chain.number)
        self._verdicts.pop(decided.hash, None)
        self._unjudged.pop(decided.hash, None)

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
    return f"the coordinator of cluster {cluster} died"
