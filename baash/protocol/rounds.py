"""Protocol 4: rounds. The coordinators commit together what their clusters have decided.

Theory. The coordinator of cluster 0 leads. Each hands it the certificates it has (OFFER); the leader puts those at hand
into a round and shows it to all (PROPOSE). Everyone computes the same plan, checks certificates that are not its own (each is
checked by f+1 others where there are so many), writes its own part, flushes, and signs the commit record (READY). When all
have signed, the leader writes the record, flushes, looks for newer claims, and only then is the round committed (RECORDED).

  offering → proposed → written → ready → recorded → committed

A write that fails before the record makes the round fail whole (ABORT): parts are offered again after a pause, and when
everybody has answered the proposal that failed. For who has not may still be writing, and in the next proposal the same place may be
another's. A failed flush of the record itself ends the view, for nobody knows whether it is durable.

Nobody is waited for without end (``patience.py``): the leader suspects who does not answer a proposal, the others a leader that makes
none, or does not say what became of one. Who is not done itself blames nobody. What no honest coordinator says is
answered by suspicion of the one who said it; word against word, by ``docs/decisions/0022-word-against-word.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from baash import keys
from baash.errors import PeerError
from baash.protocol import round_parts
from baash.protocol.committed import check_slot, pad8
from baash.protocol.events import Effect, Fail, Persist, PersistFailed, Report, Send, Stop, Write
from baash.protocol.evidence import Witness
from baash.protocol.messages import Kind, Message, encode
from baash.protocol.plan import Log, Part, Plan, encode_slot, plan
from baash.protocol.round_parts import BlocksOf
from baash.protocol.trouble import Trouble
from baash.protocol.view import View
from baash.records import slot_bytes

PAUSE_NS = 500_000_000  # before a round that could not be written is tried again

Announce = Callable[[Plan, bytes], tuple[Effect, ...]]  # what a coordinator says once a round is committed


@dataclass
class _Current:
    """The round under way."""

    plan: Plan
    time_ns: int  # of its proposal: by this a proposal and its answers are known
    written: bool = False
    recording: bool = False


class Rounds:
    """One coordinator's share of the rounds of a view. ``commits`` collects (plan, slot) for the coordinator."""

    def __init__(
        self,
        view: View,
        cluster: int,
        key: keys.PrivateKey,
        log: Log,
        announce: Announce,
        blocks_of: BlocksOf,
        segment_bytes: int,
        witness: Witness,
    ) -> None:
        self.view, self.cluster, self.log = view, cluster, log
        self.node = view.coordinators[cluster].node
        self.commits: list[tuple[Plan, bytes]] = []
        self.offered: Part | None = None
        self.closed = False
        self._key, self._announce, self._blocks_of, self._witness = key, announce, blocks_of, witness
        self._segment_bytes = segment_bytes
        self._offers: dict[int, Part] = {}
        self._drained: set[int] = set()
        self._current: _Current | None = None
        self._ready: dict[int, bytes] = {}
        self._proposed_ns = 0  # when our newest proposal was made
        self._heard = (0, -1)  # round and time of the newest one by another
        self._owing: set[int] = set()  # who has not answered the newest proposal
        self._writing: _Current | None = None  # the round, perhaps given up since, that we are writing our part of
        self._token = 0
        self._slot = b""
        self._retry_ns: int | None = None
        self._left_out = 0  # proposals without what we brought before they were made
        self._trouble = Trouble(view, self.node)

    @property
    def leader(self) -> int:
        return self.view.coordinators[0].node

    @property
    def leads(self) -> bool:
        return self.cluster == 0

    @property
    def busy(self) -> bool:
        return self._current is not None or self.offered is not None or bool(self._offers)

    @property
    def has_drained(self) -> bool:
        """Whether this cluster said that it has nothing more to bring."""
        return self.cluster in self._drained

    # -- offering ---------------------------------------------------------------------------------------------------

    def submit(self, part: Part, now_ns: int) -> list[Effect]:
        """Bring a part into the next round. One at a time: ``offered`` is None again when it is committed."""
        assert self.offered is None
        self.offered = part
        if self.leads:
            self._offers[self.cluster] = part
            return self.advance(now_ns)
        return [self._offer_to_leader(part)]

    def drained(self) -> list[Effect]:
        """This cluster has nothing more to bring."""
        if self.cluster in self._drained:
            return []
        self._drained.add(self.cluster)
        return [] if self.leads else [self._to_leader(Kind.OFFER, 1, [b"", b""])]

    def advance(self, now_ns: int) -> list[Effect]:
        """Leader: begin a round when one can be begun; close the view when all is done."""
        if not self.leads or self._current is not None or self.closed:
            return []
        if self._retry_ns is not None and now_ns < self._retry_ns:
            return []
        if self._owing or self._writing is not None:
            return []
        self._retry_ns = None
        if self._offers:
            return self._begin(now_ns)
        if len(self._drained) == len(self.view.coordinators):
            self.closed = True
            everyone = tuple(n.node for n in self.view.nodes if n.node != self.node)
            return [Send(everyone, encode(Kind.CLOSE, self.view.view, self.node)), Stop()]
        return []

    def _begin(self, now_ns: int) -> list[Effect]:
        parts = [self._offers[c] for c in sorted(self._offers)]
        self._offers = {}
        self._ready = {}
        current = _Current(plan(self.view, self.log, parts, now_ns, self._segment_bytes), now_ns)
        self._current, self._proposed_ns = current, now_ns
        others = tuple(c.node for c in self.view.coordinators if c.node != self.node)
        if not others:
            return [self._persist_part(current, creates=True)]
        self._owing = set(others)
        sections = round_parts.proposal(parts)
        propose = Send(others, encode(Kind.PROPOSE, self.view.view, self.node, self.log.round, now_ns, sections))
        if not current.plan.opens_segment:
            return [propose, self._persist_part(current, creates=False)]
        return [
            Persist(0, self._segment(current), (), (propose,), creates=current.plan.after.cursor.capacity),
            self._persist_part(current, creates=False),
        ]

    # -- messages ---------------------------------------------------------------------------------------------------

    def message(self, message: Message, now_ns: int) -> list[Effect]:
        """Raises PeerError for what it is not the sender's office to say; what nobody in that office says is a lie."""
        if message.kind in (Kind.PROPOSE, Kind.RECORDED, Kind.ABORT):
            if message.sender != self.leader:
                raise PeerError(f"{message.kind.name} from node {message.sender}, which does not lead")
        elif message.kind not in (Kind.OFFER, Kind.READY) or not self.leads:
            raise PeerError(f"a coordinator does not take {message.kind.name}")
        self._cluster_of(message.sender)
        if message.kind is Kind.RECORDED:
            self._witness.recorded(message.sections[0])  # whatever becomes of it
        if self._is_old(message):
            raise PeerError(f"{message.kind.name} of round {message.a}, which is over, or was heard before")
        try:
            return self._take(message, now_ns)
        except PeerError as error:
            return self._trouble.suspect({message.sender}, f"said what no honest one says: {error}", lying=True)

    def _is_old(self, message: Message) -> bool:
        """What came late or twice accuses nobody."""
        current = self._current
        match message.kind:
            case Kind.OFFER:
                cluster = self._cluster_of(message.sender)
                return message.a != 1 and current is not None and current.plan.part_of(cluster)[0] is not None
            case Kind.READY:
                return message.a < self.log.round
            case Kind.PROPOSE:
                return message.a < self.log.round or (message.a, message.b) == self._heard
            case Kind.RECORDED:
                return message.a < self.log.round
            case Kind.ABORT:
                return message.a != self.log.round
        return False

    def _take(self, message: Message, now_ns: int) -> list[Effect]:
        match message.kind:
            case Kind.OFFER:
                return self._offer(message, now_ns)
            case Kind.READY:
                return self._on_ready(message, now_ns)
            case Kind.PROPOSE:
                return self._propose(message)
            case Kind.RECORDED:
                return self._on_recorded(message)
        return self._abort(message.sections[0].tobytes().decode(errors="replace"), now_ns)

    def _cluster_of(self, node: int) -> int:
        for cluster, coordinator in enumerate(self.view.coordinators):
            if coordinator.node == node:
                return cluster
        raise PeerError(f"node {node} is no coordinator")

    def _offer(self, message: Message, now_ns: int) -> list[Effect]:
        cluster = self._cluster_of(message.sender)
        if message.a == 1:
            self._drained.add(cluster)
            return self.advance(now_ns)
        if message.a:
            raise PeerError(f"it offers in a way that there is none: {message.a}")
        part = round_parts.opened(cluster, message.sections)
        wrong = self._examine(part)
        if wrong:
            raise PeerError(f"it brings what cannot be committed, and nothing of that was written: {wrong}")
        self._offers[cluster] = part
        return self.advance(now_ns)

    def _propose(self, message: Message) -> list[Effect]:
        if message.a != self.log.round:
            raise PeerError(f"a proposal of round {message.a}, {self.log.round} expected")
        if self._current is not None or self._writing is not None:
            raise PeerError(f"another proposal of round {message.a} before the first was given up and written")
        parts = round_parts.proposed(message.sections)
        self._heard = message.a, message.b
        for i, part in enumerate(parts):
            wrong = self._examine(part)
            if wrong:
                text = f"round {message.a}: node {self.node} refuses what cluster {part.cluster} brings: {wrong}"
                what = f"proposed round {message.a} with what it had to refuse: of cluster {part.cluster}, {wrong}"
                blamed = self._trouble.suspect({self.leader}, what, lying=True)
                return [self._ready_message(message.b, reason=text), *blamed]
            if part.cluster == self.cluster and self.offered is not None:
                parts[i] = self.offered
        without_us = self.offered is not None and all(p.cluster != self.cluster for p in parts)
        self._left_out = self._left_out + 1 if without_us else 0
        if self._left_out > 1:
            raise PeerError(
                f"round {message.a} leaves out what cluster {self.cluster} brought before the one before it"
            )
        self._current = _Current(plan(self.view, self.log, parts, message.b, self._segment_bytes), message.b)
        return [self._persist_part(self._current, creates=False)]

    def _examine(self, part: Part) -> str | None:
        """What is wrong with a part: our own must be what we offered, others' votes are looked at if it is our turn."""
        if part.cluster == self.cluster:
            same = self.offered is not None and round_parts.equal(self.offered, part)
            return None if same else "it is not what was offered"
        behind = (self.cluster - part.cluster) % len(self.view.coordinators)
        turn = self.leads or behind <= self.view.parameters.faults + 1
        wrong = round_parts.examine(part, self.view, self.log, votes=turn)
        if turn and not wrong:
            self._witness.counted(round_parts.votes_of(part))
        return wrong

    def _on_ready(self, message: Message, now_ns: int) -> list[Effect]:
        current, node = self._current, self.view.coordinators[self._cluster_of(message.sender)]
        if message.b == self._proposed_ns:
            if message.a != self.log.round:
                raise PeerError(f"it answers the proposal of round {self.log.round} as one of round {message.a}")
            self._owing.discard(node.node)
        if current is None or (message.a, message.b) != (self.log.round, current.time_ns) or current.recording:
            return []
        signature, reason = (section.tobytes() for section in message.sections)
        if reason:
            return self._fail_round(reason.decode(errors="replace"), now_ns, node.node)
        if not keys.verify(node.key, keys.Context.COMMIT, current.plan.record, signature):
            raise PeerError(f"it signed another commit record than that of round {self.log.round}")
        self._ready[node.node] = signature
        self._trouble.written(node.node)
        return self._record()

    def _on_recorded(self, message: Message) -> list[Effect]:
        current = self._current
        slot = message.sections[0]
        if current is None:
            raise PeerError("a round committed that was never proposed here")
        check_slot(self.view, slot, self.log.commit, self.log.round)
        if slot[: len(current.plan.record)].tobytes() != current.plan.record:
            raise PeerError("another round committed than was proposed")
        effects = list(self._announce(current.plan, slot.tobytes()))
        self._finish(current.plan, slot.tobytes())
        return effects

    # -- writing ----------------------------------------------------------------------------------------------------

    def _segment(self, current: _Current) -> int:
        return current.plan.after.cursor.segment

    def _persist_part(self, current: _Current, *, creates: bool) -> Persist:
        """Our own blocks and certificates; the leader's also holds what a round has one writer for."""
        at = current.plan
        self._token += 1
        self._writing = current
        capacity = at.after.cursor.capacity if creates and at.opens_segment else None
        writes = round_parts.writes(at, self.cluster, self._blocks_of, leads=self.leads)
        return Persist(self._token, self._segment(current), writes, creates=capacity)

    def persisted(self, token: int) -> list[Effect]:
        if token != self._token:
            return []
        current, written, self._writing = self._current, self._writing, None
        if current is not None and current.recording:
            self._finish(current.plan, self._slot)
            return []
        if written is None or written is not current:
            return self._given_up(written)
        current.written = True
        self._trouble.written(self.node)
        signature = self._key.sign(keys.Context.COMMIT, current.plan.record)
        if self.leads:
            self._ready[self.node] = signature
            return self._record()
        return [self._ready_message(current.time_ns, signature)]

    def _given_up(self, written: _Current | None) -> list[Effect]:
        """A part is written, or not, of a round that was given up meanwhile: the leader may use its place again."""
        if written is None or self.leads:
            return []
        return [self._ready_message(written.time_ns, reason="it was given up")]

    def _record(self) -> list[Effect]:
        """All have written and signed: the commit record."""
        current = self._current
        assert current is not None
        if not current.written or len(self._ready) < len(self.view.coordinators):
            return []
        current.recording = True
        self._slot = encode_slot(current.plan, list(self._ready.items()))
        segment, index = self._segment(current), current.plan.after.cursor.slots - 1
        others = tuple(c.node for c in self.view.coordinators if c.node != self.node)
        then: list[Effect] = []
        if others:
            then.append(Send(others, encode(Kind.RECORDED, self.view.view, self.node, self.log.round, 0, [self._slot])))
        then += self._announce(current.plan, self._slot)
        offset = index * slot_bytes(len(self.view.coordinators))
        write = Write(segment, "commit_records", offset, np.frombuffer(self._slot, dtype=np.uint8))
        self._token += 1
        return [Persist(self._token, segment, (write,), tuple(then), commits=True)]

    def _finish(self, done: Plan, slot: bytes) -> None:
        self.log = done.after
        self.commits.append((done, slot))
        if any(p.cluster == self.cluster for p in done.parts):
            self.offered = None
        self._current = None
        self._trouble.over()

    # -- failures ---------------------------------------------------------------------------------------------------

    def persist_failed(self, event: PersistFailed, now_ns: int) -> list[Effect]:
        current = self._current
        if event.fenced:
            return [Fail("LedgerFenced", event.reason)]
        if event.token == 0 and current is not None:  # no segment: the proposal was never sent
            self._owing.clear()
            return self._fail_round(event.reason, now_ns, self.node)
        if event.token != self._token:
            return []
        if current is not None and current.recording:
            text = (
                f"the commit record of round {self.log.round} could not be flushed ({event.reason}): nobody knows "
                "whether it is durable, so this view ends here; run again to continue from what the ledger holds"
            )
            return [Fail("StorageError", text)]
        written, self._writing = self._writing, None
        if written is None or written is not current:
            return self._given_up(written)
        if self.leads:
            return self._fail_round(event.reason, now_ns, self.node)
        self._trouble.failed(self.node)
        return [self._ready_message(current.time_ns, reason=event.reason)]

    def _fail_round(self, reason: str, now_ns: int, by: int) -> list[Effect]:
        self._trouble.failed(by)
        others = tuple(c.node for c in self.view.coordinators if c.node != self.node)
        abort = encode(Kind.ABORT, self.view.view, self.node, self.log.round, 0, [reason.encode()])
        return [*([Send(others, abort)] if others else []), *self._abort(reason, now_ns)]

    def _abort(self, reason: str, now_ns: int) -> list[Effect]:
        """The round fails whole; what it held is offered again after a pause, or the run ends."""
        self._current = None
        self._ready = {}
        hopeless = self._trouble.given_up(self.log.round, reason, now_ns)
        if hopeless:
            return hopeless
        text = f"round {self.log.round} failed, will be tried again: {reason}"
        effects: list[Effect] = [Report("round_failed", text)]
        if self.leads:
            self._retry_ns = now_ns + PAUSE_NS
            if self.offered is not None:
                self._offers[self.cluster] = self.offered
        elif self.offered is not None:
            effects.append(self._offer_to_leader(self.offered))
        return effects

    def tick(self, now_ns: int) -> list[Effect]:
        """Time has passed: has somebody kept the rounds waiting beyond the bound?"""
        return self._trouble.look(self._owed(), self._owing if self.leads else {self.leader}, self.log.round, now_ns)

    def _owed(self) -> tuple[str, Hashable] | None:
        """(kind of wait, which one): what others owe us now; None: nothing, or we are not done ourselves."""
        if self._writing is not None:
            return None
        if self.leads:
            return ("answers", (self.log.round, self._proposed_ns)) if self._owing else None
        if self._current is not None:
            return "record", (self.log.round, self._current.time_ns)
        return ("proposal", self.log.round) if self.offered is not None else None

    def _offer_to_leader(self, part: Part) -> Send:
        self._left_out = 0
        return self._to_leader(Kind.OFFER, 0, [part.rejections.tobytes(), pad8(part.encoded)])

    def _ready_message(self, proposed_ns: int, signature: bytes = b"", reason: str = "") -> Send:
        """Our answer to a proposal: written and signed, or why not."""
        return self._to_leader(Kind.READY, self.log.round, [signature, reason.encode()], proposed_ns)

    def _to_leader(self, kind: Kind, a: int, sections: list[np.ndarray | bytes], b: int = 0) -> Send:
        return Send((self.leader,), encode(kind, self.view.view, self.node, a, b, sections))
