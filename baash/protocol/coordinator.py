"""Protocol 2: a coordinator. It forms windows from what is queued and brings the settled ones to the rounds.

It puts the pieces together: ``queues.py`` (what may go), ``flights.py`` (what is being validated), ``rounds.py`` (what is being
committed), and its own copy of the cluster's state, on which it checks everything before it troubles a validator.

  offered → queued → in flight → settled → in a round → committed: told to the nodes, then unlocked
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from baash import keys
from baash.batch import Batch
from baash.errors import PeerError
from baash.protocol import evidence, headers, quorum, windows
from baash.protocol.certificate import Certificate
from baash.protocol.committed import pad8
from baash.protocol.events import (
    BatchOffered,
    DrainRequested,
    Duplicates,
    Effect,
    Event,
    InputEnded,
    MessageReceived,
    NodesLost,
    Persisted,
    PersistFailed,
    Reply,
    Report,
    Send,
    Stop,
    Suspect,
    TickElapsed,
)
from baash.protocol.evidence import Contradiction, Witness
from baash.protocol.flights import Flights, Limits
from baash.protocol.messages import Kind, Message, encode, open_message, rows
from baash.protocol.patience import name
from baash.protocol.plan import Log, Part, Plan
from baash.protocol.queues import Lot, Queues
from baash.protocol.replica import REPLICA_BYTES, Replica
from baash.protocol.rounds import Rounds
from baash.protocol.validator import check_closes, lost_coordinator
from baash.protocol.view import View
from baash.protocol.windows import Delta, State
from baash.records import UNDECIDED_REASONS, VOTE, Reason

USUAL = Limits()


class Coordinator:
    """One cluster's coordinator."""

    def __init__(
        self,
        view: View,
        cluster: int,
        key: keys.PrivateKey,
        state: State,
        log: Log,
        limits: Limits = USUAL,
        *,
        replica_bytes: int = REPLICA_BYTES,
    ) -> None:
        self.view, self.cluster, self.state, self.limits = view, cluster, state, limits
        self.node = view.coordinators[cluster].node
        self.replica = Replica(replica_bytes)
        self.queues = Queues(cluster, state.replay)
        self.witness = Witness(view)
        self.evidence: list[Contradiction] = []  # that went, or goes, into the ledger
        self.flights = Flights(view, cluster, limits, self.queues, self.witness)
        self.rounds = Rounds(
            view, cluster, key, log, self._announce, self._blocks_of, limits.segment_bytes, self.witness
        )
        self._next, self._previous = log.clusters[cluster]
        self._ended = False
        self._duplicates_told = 0

    # -- what the service asks --------------------------------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether a source may hand over more: room in the queues, and no issuer too far ahead of itself."""
        (queued, queued_bytes), (waiting, waiting_bytes) = self.queues.queued, self.queues.waiting
        return (
            not self._ended
            and queued + waiting + self.queues.refused < self.limits.queue_transactions
            and queued_bytes + waiting_bytes < self.limits.queue_bytes
            and self.queues.spread(f.lot for f in self.flights.by_number.values())
            <= self.view.parameters.replay_width // 2
        )

    @property
    def busy(self) -> bool:
        return bool(self.flights.by_number or self.queues.queue or self.queues.pending or self.rounds.busy)

    # -- events -----------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        out: list[Effect] = []
        match event:
            case BatchOffered():
                self.queues.offer(event, now_ns, [f.window.batch for f in self.flights.by_number.values()])
            case InputEnded() | DrainRequested():
                self._ended = True
            case MessageReceived(data):
                try:
                    out += self._message(open_message(data), now_ns)
                except PeerError as error:
                    out.append(Report("bad_message", f"node {self.node} dropped a message: {error}"))
            case Persisted(token):
                out += self.rounds.persisted(token)
            case PersistFailed():
                out += self.rounds.persist_failed(event, now_ns)
            case NodesLost(nodes):
                for other in self.view.coordinators:
                    if other.node in nodes and other.node != self.node:
                        return [Suspect(frozenset((other.node,)), lost_coordinator(other.cluster))]
                out += self.flights.lost(nodes, now_ns)
            case TickElapsed():
                out += self.flights.overdue(now_ns) + self.rounds.tick(now_ns)
        out += self._advance(now_ns)
        return out

    def _message(self, message: Message, now_ns: int) -> list[Effect]:
        if message.view != self.view.view:
            return [Report("stale_message", f"node {self.node} dropped a message of view {message.view}")]
        if message.kind is Kind.VOTE:
            self._check_listener(message)
            return self.flights.vote(message, now_ns)
        if message.kind is Kind.CLOSE:
            check_closes(self.view, message)
            return [Stop()]
        return self.rounds.message(message, now_ns)

    def _check_listener(self, message: Message) -> None:
        """A vote that belongs to another coordinator is kept as what its node signed."""
        nodes = self.view.nodes
        if message.sender < len(nodes) and nodes[message.sender].cluster not in (None, self.cluster):
            found = rows(message.sections[0], VOTE)
            if len(found) == 1 and quorum.genuine(found[0], nodes[message.sender], found[0]["attempt"].tobytes()):
                self.witness.stray(found[0])
            raise PeerError(f"a vote by node {message.sender}, of another cluster")

    # -- forward ----------------------------------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> list[Effect]:
        out: list[Effect] = self._note_evidence(now_ns)
        for done, _ in self.rounds.commits:
            self._apply(done)
        self.rounds.commits.clear()
        out += self._form_windows(now_ns)
        out += self._offer(now_ns)
        if self._ended and not self.busy and not self.queues.has_rejections:
            out += self.rounds.drained()
        out += self.rounds.advance(now_ns)
        if self.queues.duplicates > self._duplicates_told:
            out.append(Duplicates(self.queues.duplicates - self._duplicates_told))
            self._duplicates_told = self.queues.duplicates
        return out

    def _note_evidence(self, now_ns: int) -> list[Effect]:
        """What somebody signed against himself goes into the ledger, as any other transaction: of each node once a view."""
        out: list[Effect] = []
        for found in self.witness.found:
            note = evidence.note(self.view, self.cluster, len(self.evidence), found, now_ns)
            ours = found.view == self.view.view
            who = name(self.view, found.node) if ours else f"node {found.node} of view {found.view}"
            out.append(Report("contradicted", f"{who} {evidence.describe(found)}"))
            if note is not None and not self.rounds.has_drained:
                self.evidence.append(found)
                known = np.zeros(1, dtype=np.uint16)
                self.queues.offer(BatchOffered(note, known), now_ns, [])
        self.witness.found.clear()
        return out

    def _form_windows(self, now_ns: int) -> list[Effect]:
        out: list[Effect] = []
        while self.queues.queue and self.flights.has_room:
            transactions, nbytes = self.queues.queued
            full = nbytes >= self.limits.window_bytes or transactions >= self.limits.window_transactions
            if self.flights.unsettled and not full and not self._ended:
                break  # something is under way: what comes meanwhile goes together
            members = self.flights.members()
            if not members:
                break  # everyone is busy: a vote will free somebody
            lot, delta = self._checked(self.queues.take(self.limits.window_transactions, self.limits.window_bytes))
            if len(lot):
                base = self.rounds.log.commit
                window = windows.form(self.view, self.cluster, self._next, self._previous, base, lot.batch, now_ns)
                self._next, self._previous = self._next + 1, window.hash
                out += self.flights.launch(window, lot, delta, members, now_ns)
                self.queues.lock(lot.batch)
        return out

    def _checked(self, lot: Lot) -> tuple[Lot, Delta]:
        """The transactions of ``lot`` that are valid on our own state; the others are rejected or answered."""
        reasons, delta = self.state.check(lot.batch)
        if reasons.any():
            bad = np.flatnonzero(reasons)
            replayed = bad[reasons[bad] == Reason.REPLAYED]
            if len(replayed):
                first: dict[bytes, int] = {}
                for index, tx in enumerate(lot.batch.ids):
                    first.setdefault(tx.tobytes(), index)
                same = [i for i in replayed.tolist() if first[lot.batch.ids[i].tobytes()] < i]
                self.queues.duplicates += len(same)
                reasons[replayed] = Reason.ISSUER_CONFLICT
                bad = np.setdiff1d(bad, np.array(same, dtype=bad.dtype))
            if len(bad):
                self.queues.reject(lot.batch, bad, reasons[bad])
            lot = lot.select(reasons == 0)
            left = np.cumsum(reasons == 0, dtype=np.uint64) - np.uint64(1)  # where what is left lies now
            delta = replace(delta, last=left[delta.last.astype(np.int64)])
        return lot, delta

    def _offer(self, now_ns: int) -> list[Effect]:
        """Bring what is settled, in the order of the chain, to the next round."""
        if self.rounds.offered is not None:
            return []
        settled = self.flights.settled()
        if not settled and not self.queues.has_rejections:
            return []
        certificate_list = tuple(f.certificate for f in settled if f.certificate is not None)
        encoded = tuple(f.encoded for f in settled if f.encoded is not None)
        part = Part(self.cluster, certificate_list, encoded, self.queues.take_rejections())
        return self.rounds.submit(part, now_ns)

    # -- commits ----------------------------------------------------------------------------------------------------

    def _mine(self, done: Plan) -> tuple[Part | None, tuple[int, ...]]:
        for part, firsts in zip(done.parts, done.first_transactions, strict=True):
            if part.cluster == self.cluster:
                return part, firsts
        return None, ()

    def _blocks_of(self, certificate: Certificate) -> np.ndarray:
        return self.flights.by_number[int(certificate.window["number"])].window.batch.records

    def _announce(self, done: Plan, slot: bytes) -> tuple[Effect, ...]:
        """What is said once a round is committed: to our nodes, then to the issuers."""
        part, firsts = self._mine(done)
        around = headers.surroundings(done, self.cluster)
        by_number = self.flights.by_number
        flights = [by_number[int(c.window["number"])] for c in part.certificates] if part else []
        lacks: dict[tuple[int, ...], list[int]] = {}
        for node in self.flights.living_validators():
            missing = tuple(f.window.number for f in flights if node not in f.holders)
            lacks.setdefault(missing, []).append(node)
        effects: list[Effect] = []
        for missing, nodes in lacks.items():
            sent = [by_number[n] for n in missing]
            records = [f.committed_records for f in sent]
            sections: list[np.ndarray | bytes] = [
                slot,
                done.body[: int(done.locator["body_bytes"])],  # where certificates lie is for readers of the ledger
                np.array(firsts, dtype="<u8").tobytes(),
                np.array(missing, dtype="<u8").tobytes(),
                pad8([f.encoded for f in flights if f.encoded is not None]),
                np.concatenate(records) if records else b"",
                around,
            ]
            data = encode(Kind.COMMITTED, self.view.view, self.node, done.after.round - 1, 0, sections)
            effects.append(Send(tuple(nodes), data))
        committed: list[tuple[Batch, int]] = []
        arrived = []
        for flight, first in zip(flights, firsts, strict=True):
            count = flight.committed
            if count:
                committed.append((flight.window.batch.cut(0, count), first))
                arrived.append(flight.lot.arrived_ns[:count])
        blocks = sum(c.prefix for c in part.certificates) if part else 0
        rejections = part.rejections if part else done.rejections[:0]
        when = np.concatenate(arrived) if arrived else np.zeros(0, dtype=np.int64)
        effects.append(Reply(tuple(committed), rejections, when, done.after.block_total, blocks))
        return tuple(effects)

    def _apply(self, done: Plan) -> None:
        """A round is committed: bring our state there, let go of the locks."""
        part, firsts = self._mine(done)
        if part is None:
            return
        _, at, _ = done.part_of(self.cluster)
        for certificate, first in zip(part.certificates, firsts, strict=True):
            flight = self.flights.by_number.pop(int(certificate.window["number"]))
            count = flight.committed
            if count:
                batch, delta = flight.lot.batch, flight.delta
                if count < len(batch):
                    batch = batch.cut(0, count)
                    _, delta = self.state.check(batch)
                self.state.apply(batch, delta, first)
            self.replica.add(done.rows[at : at + certificate.prefix], flight.window.batch.cut(0, count))
            at += certificate.prefix
            self.queues.unlock(flight.lot.batch, flight.put_back)
        rows = part.rejections[~np.isin(part.rejections["reason"], UNDECIDED_REASONS)]
        if len(rows):
            self.state.replay.mark(np.ascontiguousarray(rows["issuer"]), np.ascontiguousarray(rows["sequence"]))
        self.queues.rejections_committed()
