"""Planted bugs: each changes one thing in the product, as a slip of the pen might, and must be found by simulation.

A bug is a function that plants it with pytest's ``monkeypatch``. ``given`` narrows the worlds to those in which it can matter,
as the campaign's mix would do by itself, only slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from baash import hosted, session, store
from baash.kernels import ReplayTable
from baash.ledger.folder import Epoch, Folder
from baash.ledger.writer import OffsetWriter
from baash.protocol import certificate as certificates
from baash.protocol import evidence, quorum, view, windows
from baash.protocol.coordinator import Coordinator
from baash.protocol.flights import Flights
from baash.protocol.known import Known
from baash.protocol.membership import Membership, State
from baash.protocol.queues import Queues
from baash.protocol.rounds import Rounds
from baash.protocol.spoken import Spoken
from baash.protocol.validator import Chain
from baash.protocol.view import View
from baash.protocol.vouching import Vouching
from baash.service import Service
from baash.sim import job as jobs
from baash.sim.disk import SimWriter
from baash.store import Done, Work
from baash.succession import Succession

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Bug:
    """``what`` it is, how to ``plant`` it, which worlds are played."""

    what: str
    plant: Callable[[Patch], None]
    found: int = 1  # the seed that found it last
    given: dict[str, Any] = field(default_factory=dict)


def _quorum_off_by_one(patch: Patch) -> None:
    sound = view.Parameters.quorum_of
    patch.setattr(view.Parameters, "quorum_of", lambda self, members: sound(self, members) - 1)


def _votes_unsigned(patch: Patch) -> None:
    """Whatever says it is a vote of a member is one."""
    patch.setattr(quorum, "genuine", lambda vote, voter, attempt: vote["attempt"].tobytes() == attempt)


def _transactions_unsigned(patch: Patch) -> None:
    for module in ("baash.protocol.windows", "baash.protocol.queues"):
        patch.setattr(f"{module}.signature_holds", lambda batch, index: True)


def _ack_before_flush(patch: Patch) -> None:
    """The commit record is said to be durable when it is written."""

    def flush(self: SimWriter, segment: int) -> None:
        return

    patch.setattr(SimWriter, "flush", flush)


def _reply_before_record(patch: Patch) -> None:
    """Receipts leave with the commit record's write instead of after it."""
    sound = Rounds._record

    def record(self: Rounds) -> list[Any]:
        out = []
        for effect in sound(self):
            then = getattr(effect, "then", ())
            out += [*then, store.Persist(effect.token, effect.segment, effect.writes, (), None, effect.commits)]
        return out

    patch.setattr(Rounds, "_record", record)


def _sequence_reused(patch: Patch) -> None:
    """An issuer's number counts as new whenever it comes."""

    def check(self: ReplayTable, issuers: Any, sequences: Any) -> Any:
        return np.zeros(len(sequences), dtype=np.uint16)

    patch.setattr(ReplayTable, "check", check)


def _again_in_one_batch(patch: Patch) -> None:
    """A number that comes twice in one batch is taken in twice (found by simulation)."""
    patch.setattr("baash.protocol.queues._again", lambda info, fresh: np.zeros(len(info), dtype=bool))


def _no_claim_check(patch: Patch) -> None:
    patch.setattr(Work, "_look_for_claims", lambda self, node, persist: Done(node, persist))


def _cut_before_claim(patch: Patch) -> None:
    """The successor reads where its predecessor stands, and claims after that."""

    def begin(folder: Folder, *args: Any) -> Generator[None, None, Any]:
        found = session.cut(folder, args[-2])
        yield
        steps, sent = sound(folder, *args), None
        while True:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(session, "cut", lambda *_: found)
                try:
                    wanted = steps.send(sent)
                except StopIteration as end:
                    return end.value
            sent = (yield wanted) if wanted is not None else None

    sound = session.begin_view
    patch.setattr(jobs, "begin_view", begin)


def _prefix_ignored(patch: Patch) -> None:
    """A window that is lost from some block on is committed whole."""
    sound = Flights._settle

    def settle(self: Flights, flight: Any, ask: Any, prefix: int, now_ns: int) -> Any:
        return sound(self, flight, ask, len(flight.window.entries) if prefix else prefix, now_ns)

    patch.setattr(Flights, "_settle", settle)


def _no_entity_lock(patch: Patch) -> None:
    """Neither the coordinator nor the validators look at what windows in flight write."""
    patch.setattr(Queues, "lock", lambda self, batch: None)
    patch.setattr(windows, "_conflicts", lambda batch, short, locked: np.zeros(len(batch), dtype=np.uint16))


def _window_chain_unchecked(patch: Patch) -> None:
    """Coordinators take windows of another cluster in any order."""
    sound = Rounds._examine

    def examine(self: Rounds, part: Any) -> Any:
        wrong = sound(self, part)
        return None if wrong and wrong.startswith("window ") else wrong

    patch.setattr(Rounds, "_examine", examine)


def _certificates_unchecked(patch: Patch) -> None:
    patch.setattr(certificates, "examine", lambda certificate, view, enclosed=False: None)


def _stale_view(patch: Patch) -> None:
    """A reader takes what a view wrote behind its successor's cut."""
    patch.setattr(Epoch, "last_round", property(lambda self: None))


def _lists_unchecked(patch: Patch) -> None:
    """The lists of entities of windows in flight are believed (found by simulation)."""
    patch.setattr(Chain, "lists", lambda self, number, row, entities: True)


def _old_answers(patch: Patch) -> None:
    """A proposal that failed is followed by the next at once (found by simulation)."""
    sound = Rounds.advance

    def advance(self: Rounds, now_ns: int) -> Any:
        if self._current is None:
            self._owing.clear()
        return sound(self, now_ns)

    patch.setattr(Rounds, "advance", advance)
    propose = Rounds._propose

    def _propose(self: Rounds, message: Any) -> Any:
        self._writing = None
        return propose(self, message)

    patch.setattr(Rounds, "_propose", _propose)


def _old_file(patch: Patch) -> None:
    """A segment that was made anew is not opened anew (found by simulation)."""

    sound = OffsetWriter._open_again

    def open_again(self: OffsetWriter, segment: int) -> bool:
        return segment not in self._open and sound(self, segment)

    patch.setattr(OffsetWriter, "_open_again", open_again)
    patch.setattr(OffsetWriter, "release", lambda self: None)


def _unlocked_too_early(patch: Patch) -> None:
    """What a lost window gives back is forgotten."""
    sound = Queues.unlock
    patch.setattr(Queues, "unlock", lambda self, batch, put_back: sound(self, batch, None))


def _waited_first(patch: Patch) -> None:
    """What waited for a lock goes to the front of the queue, and so does a flood on one entity, again and again."""
    sound = Queues.unlock

    def unlock(self: Queues, batch: Any, put_back: Any) -> None:
        newer, self.queue = self.queue, deque()
        sound(self, batch, put_back)
        self.queue += newer

    patch.setattr(Queues, "unlock", unlock)


def _waits_on(patch: Patch) -> None:
    """What waited for a lock stays where it is when others are about the same entity in the next window too."""
    sound = Queues.unlock

    def unlock(self: Queues, batch: Any, put_back: Any) -> None:
        kept = self.pending.popleft() if len(self.pending) > 1 else None
        sound(self, batch, put_back)
        if kept is not None:
            self.pending.appendleft(kept)

    patch.setattr(Queues, "unlock", unlock)


def _state_not_applied(patch: Patch) -> None:
    """A coordinator does not bring its own state up to what it committed."""
    sound = Coordinator._apply

    def apply(self: Coordinator, done: Any) -> None:
        before = self.state.copy()
        sound(self, done)
        self.state = before

    patch.setattr(Coordinator, "_apply", apply)


def _predecessor_unflushed(patch: Patch) -> None:
    """The successor does not make its predecessor's last commit record durable."""
    patch.setattr(jobs.Disk, "flush_file", lambda self, path: None)


def _anybody_closes(patch: Patch) -> None:
    for module in ("baash.protocol.validator", "baash.protocol.coordinator"):
        patch.setattr(f"{module}.check_closes", lambda view, message: None)


def _evidence_unsigned(patch: Patch) -> None:
    """Two votes that differ are taken for evidence, whoever signed them."""
    sound = evidence.wrong

    def wrong(found: Any, of: Any) -> str | None:
        said = sound(found, of)
        return None if said and "did not sign" in said else said

    patch.setattr("baash.protocol.evidence.wrong", wrong)


def _evidence_names_another(patch: Patch) -> None:
    """The NOTE names the node behind the one that lied."""
    sound = evidence.payload
    patch.setattr(evidence, "payload", lambda found: sound(replace(found, node=found.node + 1)))


def _answers_anew(patch: Patch) -> None:
    """A validator that is asked again says what it thinks now."""
    patch.setattr(Spoken, "given", lambda self, attempt, number: None)


def _old_view_entered(patch: Patch) -> None:
    """A rank goes to whatever view it is told of, if that is not the one it knows."""

    def told_of(self: Membership, view: View, text: bytes, now_ns: int) -> Any:
        if view.view == self.known.view.view or not self._is_ours(view, text) or self.state is State.FORMING:
            return []
        return self._learn(view, text, now_ns)

    patch.setattr(Membership, "_told_of", told_of)


def _minority_claims(patch: Patch) -> None:
    patch.setattr(Known, "is_majority", lambda self, joined, living: True)


def _goes_on_in_the_old_view(patch: Patch) -> None:
    """Who has left a view, and joined a steward, does not stop its nodes there."""
    patch.setattr(Service, "stop", lambda self: None)
    sound = Succession._turn

    def turn(self: Succession) -> bool:
        moved = [seat.service.step() for seat in self.past if seat.service.running and not self.over]
        return sound(self) or any(moved)

    patch.setattr(Succession, "_turn", turn)


def _state_kept_unseen(patch: Patch) -> None:
    """A new view's nodes begin with what was in memory, whichever commit record that is of."""

    def continued(path: Any, view: View, cluster: int, kept: Any, since: int) -> Any:
        restored, log = session.read_state(path, view, cluster)
        restored.entities, restored.replay = kept.entities, kept.replay
        return restored, log

    patch.setattr(hosted, "continue_state", continued)


def _vouched_by_anybody(patch: Patch) -> None:
    """One node's signature is enough for a view."""
    sound = Vouching.take

    def take(self: Vouching, rank: int, section: Any) -> Any:
        found = sound(self, rank, section)
        return found or dict(self._found)

    patch.setattr(Vouching, "take", take)


VIEWS = ("kill coordinator", "kill steward", "kill several", "stop", "partition", "suspicion")

BUGS: dict[str, Bug] = {
    "quorum off by one": Bug("one vote too few carries a window", _quorum_off_by_one),
    "votes unsigned": Bug("the signature of a vote is not looked at", _votes_unsigned, found=6),
    "transactions unsigned": Bug("the signature of a transaction is not looked at", _transactions_unsigned),
    "acknowledged before the flush": Bug("receipts are given when the record is written", _ack_before_flush, found=14),
    "acknowledged before the record": Bug(
        "receipts are given when the record is on its way", _reply_before_record, found=198
    ),
    "number reused": Bug("an issuer's number is taken in again", _sequence_reused, found=4),
    "number twice in a batch": Bug("an issuer's number is taken in twice in one batch", _again_in_one_batch, found=2),
    "no look for claims": Bug("a writer does not look for newer claims", _no_claim_check, found=39),
    "cut before claim": Bug(
        "a successor reads the cut before it claims",
        _cut_before_claim,
        found=29,
        given={"kinds": ("take over", "kill job"), "liars": 0, "lying_coordinators": 0},
    ),
    "prefix ignored": Bug(
        "a window lost from a block on is committed whole",
        _prefix_ignored,
        found=4,
        given={"frauds": ("invalid transactions",), "lying_coordinators": 1},
    ),
    "no entity lock": Bug("two windows in flight may write one entity", _no_entity_lock, found=8),
    "window chain unchecked": Bug(
        "a coordinator takes another's windows in any order",
        _window_chain_unchecked,
        given={"frauds": ("windows out of order",), "lying_coordinators": 1, "clusters": 2},
    ),
    "certificates unchecked": Bug(
        "nobody recounts a certificate",
        _certificates_unchecked,
        given={"frauds": ("invent votes",), "lying_coordinators": 1, "clusters": 2},
    ),
    "stale view": Bug("what lies behind the cut of a view counts", _stale_view, found=13),
    "entity lists believed": Bug(
        "the lists of windows in flight are believed",
        _lists_unchecked,
        found=8,
        given={"frauds": ("one entity twice",), "lying_coordinators": 1},
    ),
    "next proposal at once": Bug(
        "a failed proposal is not waited for",
        _old_answers,
        found=261,
        given={
            "kinds": ("disk full", "disk error", "disk slow"),
            "clusters": 3,
            "liars": 1,
            "deceits": ("as another", "forged", "late", "noise", "oversized", "silent"),
            "lying_coordinators": 0,
        },
    ),
    "old file": Bug("a segment that was replaced stays open", _old_file, found=28),
    "put back forgotten": Bug(
        "what a lost window gives back is forgotten",
        _unlocked_too_early,
        found=2,
        given={"frauds": ("invalid transactions",), "lying_coordinators": 1},
    ),
    "what waited first": Bug("what waited for a lock overtakes what came before it", _waited_first, found=11),
    "waits on": Bug("what waited for a lock goes on waiting without one", _waits_on, found=8),
    "own state not applied": Bug("a coordinator forgets what it committed", _state_not_applied),
    "predecessor not flushed": Bug(
        "a cut is taken of a record that is not durable",
        _predecessor_unflushed,
        found=89,
        given={"kinds": ("disk error", "power", "kill job"), "liars": 0, "lying_coordinators": 0},
    ),
    "evidence unsigned": Bug(
        "evidence is kept whose signatures are not looked at",
        _evidence_unsigned,
        found=205,
        given={"deceits": ("forged again",), "liars": 1, "faults": 1},
    ),
    "evidence names another": Bug(
        "evidence names the wrong node",
        _evidence_names_another,
        given={"deceits": ("contradicts",), "liars": 1, "faults": 1},
    ),
    "answers anew": Bug(
        "a validator that is asked again says what it thinks now",
        _answers_anew,
        given={"frauds": ("asks again",), "lying_coordinators": 1},
    ),
    "anybody closes": Bug(
        "any node may close a view", _anybody_closes, given={"deceits": ("as coordinator",), "liars": 1, "faults": 1}
    ),
    "old view entered": Bug(
        "a rank goes back to an older view", _old_view_entered, found=2, given={"kinds": (*VIEWS, "old news")}
    ),
    "minority claims": Bug("a steward claims with a minority", _minority_claims, found=123, given={"kinds": VIEWS}),
    "goes on in the old view": Bug(
        "who has joined another view goes on in the old one", _goes_on_in_the_old_view, found=22, given={"kinds": VIEWS}
    ),
    "state kept unseen": Bug(
        "a state in memory is taken over without a look at its commit record",
        _state_kept_unseen,
        found=4,
        given={"kinds": VIEWS},
    ),
    "vouched by one": Bug("one node vouches for a view", _vouched_by_anybody, found=3, given={"kinds": VIEWS}),
}
