"""Views change by events made by hand: who calls, who claims, who is left out, who comes back, and when a rank gives up."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
import pytest

from baash.errors import PeerError
from baash.keys import PrivateKey
from baash.protocol import changes
from baash.protocol import view as views
from baash.protocol.changes import Enter, GiveUp, Happened, Leave, Succeed, Tell, Vouched, Wanted
from baash.protocol.membership import Membership, State
from baash.protocol.messages import Kind, encode, open_message
from baash.protocol.view import Host, Parameters, Predecessor, View
from baash.records import COMMIT_RECORD

LEDGER = PrivateKey.from_seed(b"L" * 32)
NOTHING: Mapping[str, str] = {}
MS, S = 1_000_000, 1_000_000_000


def secret(rank: int, which: int) -> PrivateKey:
    return PrivateKey.from_seed(bytes([rank, which]) * 16)


class Ranks:
    """Ranks 0 to n-1 with one node each, all in one room: what one tells arrives in order, unless somebody holds it."""

    def __init__(self, count: int = 7, absent: tuple[int, ...] = (), clusters: int = 1) -> None:
        self.hosts = [Host(r, f"h{r}", (secret(r, 0).public,), secret(r, 1).public) for r in range(count)]
        self.clusters = clusters
        self.published: dict[int, bytes] = {}
        self.now = S
        self.dead: set[int] = set()
        self.deaf: set[int] = set()  # stopped: what is told to them waits
        self.held: list[tuple[int, Happened]] = []
        self.did: list[tuple[int, Wanted]] = []
        self.queue: deque[tuple[int, Happened]] = deque()
        self.rounds = dict.fromkeys(range(count), 1)
        first = self.form(0, [h for h in self.hosts if h.rank not in absent], None)
        text = self.publish(first)
        self.of = [self._member(r, first, text) for r in range(count)]

    def _member(self, rank: int, view: View, text: bytes) -> Membership:
        return Membership(
            rank,
            self.hosts,
            (secret(rank, 0), secret(rank, 1)),
            view,
            text,
            self.now,
            reached=lambda: (self.of[rank].known.view.view, self.rounds[rank]),
            exists=lambda v, t: self.published.get(v.view) == t,
        )

    def form(
        self, number: int, hosts: list[Host], before: Predecessor | None, said: Mapping[str, str] = NOTHING
    ) -> View:
        return views.form(
            view=number,
            ledger=LEDGER.public,
            predecessor=before,
            hosts=hosts,
            clusters=self.clusters,
            parameters=Parameters(),
            seed=1,
            time_ns=1,
            started_by=dict(said),
        )

    def publish(self, view: View) -> bytes:
        self.published[view.view] = view.encode({"ledger": view.sign(LEDGER)})
        return self.published[view.view]

    # -- driving ----------------------------------------------------------------------------------------------------

    def happen(self, rank: int, event: Happened) -> None:
        self.queue.append((rank, event))
        self.settle()

    def settle(self) -> None:
        while self.queue:
            rank, event = self.queue.popleft()
            if rank in self.deaf:
                self.held.append((rank, event))
            elif rank not in self.dead:
                for effect in self.of[rank].handle(event, self.now):
                    self.did.append((rank, effect))
                    if isinstance(effect, Tell):
                        self.queue.extend((r, changes.MailReceived(rank, effect.data)) for r in effect.ranks)

    def wake(self, rank: int) -> None:
        self.deaf.discard(rank)
        waiting, self.held = self.held, []
        self.queue.extend(waiting)
        self.settle()

    def kill(self, *ranks: int, silently: bool = False) -> None:
        self.dead |= set(ranks)
        if not silently:
            for rank in range(len(self.of)):
                self.queue.append((rank, changes.RanksLost(frozenset(ranks))))
            self.settle()

    def suspect(self, rank: int, *whom: int, lying: bool = False) -> None:
        self.happen(rank, changes.Suspected(frozenset(whom), "it does not go on", lying))

    def pass_time(self, ns: int, step: int = 100 * MS) -> None:
        end = self.now + ns
        while self.now < end:
            self.now += step
            for rank in range(len(self.of)):
                self.queue.append((rank, changes.Ticked()))
            self.settle()

    def succeed(self, steward: int, number: int) -> View:
        """The steward has formed what it wanted to."""
        wanted = next(e for r, e in reversed(self.did) if r == steward and isinstance(e, Succeed))
        view = self.form(number, list(wanted.hosts), Predecessor(number - 1, None), wanted.said)
        self.happen(steward, changes.Published(view, self.publish(view)))
        return view

    # -- looking ----------------------------------------------------------------------------------------------------

    def all(self, kind: type) -> list[tuple[int, Wanted]]:
        return [(r, e) for r, e in self.did if isinstance(e, kind)]

    def stewards(self) -> list[int]:
        return [r for r, _ in self.all(Succeed)]

    def told(self, kind: Kind) -> list[tuple[int, Tell]]:
        return [(r, e) for r, e in self.did if isinstance(e, Tell) and open_message(e.data).kind is kind]

    @property
    def leader(self) -> int:
        return self.of[0].known.view.coordinators[0].rank

    def chosen(self, steward: int) -> list[int]:
        wanted = next(e for r, e in reversed(self.did) if r == steward and isinstance(e, Succeed))
        return [h.rank for h in wanted.hosts]


def test_a_dead_coordinator_is_left_out_and_all_others_go_on() -> None:
    ranks = Ranks()
    leader = ranks.leader
    assert leader not in (0, 5)
    ranks.kill(leader)
    ranks.suspect(5, leader)
    rest = [r for r in range(7) if r != leader]
    assert ranks.stewards() == []  # one rank that leaves alone is a rank lost
    ranks.suspect(3 if leader != 3 else 4, leader)
    assert ranks.stewards() == [0] and ranks.chosen(0) == rest
    view = ranks.succeed(0, 1)
    assert {r for r, _ in ranks.all(Enter)} == set(rest)
    assert all(ranks.of[r].known.view == view and ranks.of[r].state is State.UP for r in rest)
    assert {r for r, _ in ranks.all(Leave)} == set(rest)


def test_nobody_is_called_by_one_who_leaves_alone_and_it_is_taken_in_again() -> None:
    ranks = Ranks()
    alone = 6 if ranks.leader != 6 else 5
    ranks.suspect(alone, ranks.leader)
    ranks.pass_time(1 * S)
    assert {r for r, _ in ranks.all(Leave)} == {alone}
    ranks.pass_time(4 * S)  # the view is old enough: the leader calls
    assert len(ranks.all(Leave)) == 7 and ranks.stewards() == [0]
    assert alone in ranks.chosen(0)


def test_the_steward_dies_while_it_forms_and_the_next_one_takes_over() -> None:
    ranks = Ranks()
    leader = ranks.leader
    ranks.kill(leader)
    for rank in range(7):
        ranks.suspect(rank, leader)
    assert ranks.stewards() == [0]
    ranks.kill(0)
    assert ranks.stewards() == [0, 1 if leader != 1 else 2]
    assert ranks.chosen(ranks.stewards()[1]) == [r for r in range(1, 7) if r != leader]


def test_a_silent_steward_is_waited_for_and_passed_over() -> None:
    ranks = Ranks()
    leader = ranks.leader
    ranks.deaf.add(0)
    ranks.kill(leader)
    for rank in range(1, 7):
        ranks.suspect(rank, leader)
    second = 1 if leader != 1 else 2
    ranks.pass_time(1 * S)
    assert ranks.stewards() == []
    ranks.pass_time(6 * S)
    assert ranks.stewards() == [second] and 0 not in ranks.chosen(second)
    view = ranks.succeed(second, 1)
    ranks.wake(0)  # what was told to the steward then makes it one now
    assert ranks.stewards() == [second, 0]
    ranks.happen(0, changes.NotPublished("view 1 is there already"))  # begin_view looks; and it asks to be in the next
    assert ranks.of[0].known.view == view and ranks.of[0].state is State.LEFT
    ranks.pass_time(5 * S)
    assert len(ranks.stewards()) == 3 and 0 in ranks.chosen(ranks.stewards()[-1])


def test_a_minority_does_not_claim_asks_on_and_gives_up() -> None:
    ranks = Ranks()
    away = [r for r in range(7) if r not in (0, 5, 6)]
    ranks.deaf |= set(away)
    for rank in (0, 5, 6):
        ranks.suspect(rank, *away)
    ranks.pass_time(30 * S)
    assert ranks.stewards() == [] and not ranks.all(GiveUp)
    calls = len(ranks.told(Kind.CALL))
    assert calls > 60
    ranks.pass_time(40 * S)
    said = [e for _, e in ranks.all(GiveUp)]
    assert said and all(isinstance(e, GiveUp) and e.error == "QuorumLost" and "minority" in e.text for e in said)
    assert ranks.stewards() == []


def test_a_minority_that_is_heard_at_last_is_none_any_more() -> None:
    ranks = Ranks()
    away = [r for r in range(7) if r not in (0, 5, 6)]
    ranks.deaf |= set(away)
    for rank in (0, 5, 6):
        ranks.suspect(rank, *away)
    ranks.pass_time(20 * S)
    for rank in away:
        ranks.wake(rank)
    ranks.pass_time(2 * S)
    assert ranks.stewards() == [0] and len(ranks.chosen(0)) > 3


def test_who_is_reported_dead_is_not_counted() -> None:
    """Four of nine die: five are all that there are."""
    ranks = Ranks(9)
    gone = [ranks.leader, *[r for r in range(8, 0, -1) if r != ranks.leader][:3]]
    ranks.kill(*gone)
    living = [r for r in range(9) if r not in gone]
    for rank in living:
        ranks.suspect(rank, gone[0])
    assert ranks.stewards() == [living[0]] and ranks.chosen(living[0]) == living


def test_too_few_nodes_are_too_few_at_once_and_all_are_told() -> None:
    ranks = Ranks(6)
    gone = [ranks.leader, 5 if ranks.leader != 5 else 4]
    ranks.kill(*gone)
    for rank in range(6):
        ranks.suspect(rank, gone[0])
    (_, said), *more = ranks.all(GiveUp)
    assert isinstance(said, GiveUp) and not more
    assert said.error == "QuorumLost" and "4 nodes are left" in said.text and "5 in all" in said.text
    assert ranks.stewards() == []
    assert {ranks.of[r].state for r in range(6) if r not in gone} == {State.OVER}


def test_two_stewards_are_harmless_the_higher_claim_wins() -> None:
    """Some do not hear rank 0, and gather round another; both publish."""
    ranks = Ranks()
    leader = ranks.leader
    ranks.kill(leader)
    for rank in range(7):
        ranks.suspect(rank, leader)
    assert ranks.stewards() == [0]
    everybody = [h for h in ranks.hosts if h.rank != leader]
    late = ranks.form(1, everybody, Predecessor(0, None))
    text = ranks.publish(late)
    newer = ranks.form(2, everybody, Predecessor(0, None))
    other = 1 if leader != 1 else 2
    ranks.happen(other, changes.MailReceived(6, encode(Kind.VIEW, 2, 6, 0, 0, [ranks.publish(newer)])))
    ranks.happen(0, changes.Published(late, text))  # the first one comes to its end only now
    living = [r for r in range(7) if r != leader]
    assert ranks.of[other].known.view == newer  # and never goes back
    ranks.pass_time(10 * S)
    ranks.suspect(0)  # fenced: it leaves, and learns
    ranks.pass_time(10 * S)
    assert {ranks.of[r].known.view.view for r in living} >= {2}
    for rank in living:
        entered = [e.view.view for r, e in ranks.did if r == rank and isinstance(e, Enter)]
        assert entered == sorted(set(entered))


def test_a_view_that_is_not_there_moves_nobody() -> None:
    ranks = Ranks()
    false = ranks.form(7, ranks.hosts, Predecessor(0, None))
    ranks.happen(2, changes.MailReceived(3, encode(Kind.VIEW, 7, 3, 0, 0, [false.encode({})])))
    foreign = ranks.form(8, [Host(0, "x", tuple(secret(99, i).public for i in range(6)), secret(99, 9).public)], None)
    ranks.happen(2, changes.MailReceived(3, encode(Kind.VIEW, 8, 3, 0, 0, [ranks.publish(foreign)])))
    assert ranks.of[2].known.view.view == 0 and not ranks.all(Leave)


@pytest.mark.parametrize("named_by", ["the coordinator", "one validator", "two validators"])
def test_who_lies_is_left_out_by_the_word_of_a_coordinator_or_of_more_than_f(named_by: str) -> None:
    ranks = Ranks(9, clusters=1)
    leader = ranks.leader
    others = [r for r in range(1, 9) if r != leader]
    liar = others[-1]
    witnesses = {"the coordinator": [leader], "one validator": others[:1], "two validators": others[:2]}[named_by]
    for rank in witnesses:
        ranks.suspect(rank, liar, lying=True)
    for rank in others[:4]:
        ranks.suspect(rank)
    ranks.pass_time(3 * S)
    assert ranks.stewards() == [0]
    assert (liar in ranks.chosen(0)) == (named_by == "one validator")
    if named_by == "one validator":
        return
    ranks.succeed(0, 1)
    ranks.pass_time(60 * S)  # and it does not come back
    assert len(ranks.stewards()) == 1


def test_one_coordinator_s_word_leaves_out_no_more_than_f() -> None:
    """Nor anybody who is not of the job, whatever it calls him: the record that names them must stay readable."""
    ranks = Ranks(9, clusters=1)
    leader = ranks.leader
    others = [r for r in range(1, 9) if r != leader]
    accused = np.array([*range(1000, 1600), *others[2:6]], dtype="<u4")
    lie = encode(Kind.JOIN, 0, leader, 0, 0, [b"", accused.tobytes(), b"they all lie"])
    for rank in (0, others[0]):
        ranks.happen(rank, changes.MailReceived(leader, lie))
    ranks.pass_time(3 * S)
    wanted = next(e for _, e in ranks.all(Succeed) if isinstance(e, Succeed))
    assert len(wanted.lying) <= 1 and set(wanted.lying) <= set(range(9)) and len(ranks.chosen(0)) >= 7


def test_a_steward_that_ends_a_job_of_many_is_passed_over() -> None:
    ranks = Ranks(9, clusters=1)
    liar = 0 if ranks.leader else 1
    call = encode(Kind.CALL, 0, liar, 0, 0, [b"come"])
    over = encode(Kind.OVER, 0, liar, 1, 0, [ranks.of[liar].known.text])
    ranks.deaf.add(liar)  # its own word is what the test says
    rest = [r for r in range(9) if r != liar]
    for rank in rest:
        ranks.suspect(rank, ranks.leader)
    for rank in rest:
        ranks.happen(rank, changes.MailReceived(liar, call))
        ranks.happen(rank, changes.MailReceived(liar, over))
    assert not any(ranks.of[r].state is State.OVER for r in rest)
    ranks.pass_time(5 * S)
    assert ranks.stewards() and liar not in ranks.stewards()


def test_who_comes_late_is_taken_in_when_the_view_is_old_enough() -> None:
    ranks = Ranks(7, absent=(6,))
    ranks.pass_time(1500 * MS)
    assert not ranks.all(Leave)
    ranks.pass_time(2 * S)
    assert ranks.stewards() == [0] and ranks.chosen(0) == list(range(7))
    ranks.succeed(0, 1)
    assert ranks.of[6].state is State.UP


def test_calls_for_no_reason_are_rate_bounded() -> None:
    """A liar calls all the time: one change each two seconds, then four, then eight."""
    ranks = Ranks()
    liar = next(r for r in range(7) if r not in (0, ranks.leader))
    number = 0
    for _ in range(600):
        view = ranks.of[0].known.view.view
        call = encode(Kind.CALL, view, liar, 1, 0, [b"nothing"])
        for rank in range(7):
            if rank != liar:
                ranks.queue.append((rank, changes.MailReceived(liar, call)))
        ranks.settle()
        ranks.pass_time(100 * MS)
        if any(m.state is State.FORMING for m in ranks.of):
            number += 1
            ranks.succeed(next(r for r in range(7) if ranks.of[r].state is State.FORMING), number)
    assert 1 <= number <= 6


def test_nodes_vouch_where_nobody_has_the_key() -> None:
    ranks = Ranks()
    leader = ranks.leader
    before = ranks.of[0].known.view
    ranks.kill(leader)
    for rank in range(7):
        ranks.suspect(rank, leader)
    hosts = [h for h in ranks.hosts if h.rank != leader]
    view = ranks.form(1, hosts, Predecessor(0, _slot(0)))
    ranks.happen(0, changes.VouchersWanted(view, before))
    (_, found) = ranks.all(Vouched)[0]
    assert isinstance(found, Vouched) and views.vouched(view, found.signatures, before) == "nodes"


def _slot(round: int) -> bytes:
    record = np.zeros(1, dtype=COMMIT_RECORD)
    record["round"] = round
    return record.tobytes() + bytes(256)


@pytest.mark.parametrize(
    "what",
    [
        "a cut behind what was committed",
        "no cut",
        "keys of others",
        "a number signed before",
        "a rank that is in the view",
    ],
)
def test_nobody_vouches_for(what: str) -> None:
    ranks = Ranks()
    leader = ranks.leader
    before = ranks.of[0].known.view
    asked = next(r for r in range(1, 7) if r != leader)
    hosts = [h for h in ranks.hosts if h.rank != leader]
    good = ranks.form(3, hosts, Predecessor(0, _slot(4)))
    ranks.rounds = dict.fromkeys(range(7), 5)
    if what != "a rank that is in the view":
        ranks.kill(leader)
        for rank in range(7):
            ranks.suspect(rank, leader)
    view = good
    if what == "a cut behind what was committed":
        view = ranks.form(3, hosts, Predecessor(0, _slot(3)))
    elif what == "no cut":
        view = ranks.form(3, hosts, Predecessor(0, None))
    elif what == "keys of others":
        view = ranks.form(3, [*hosts, Host(99, "x", (secret(99, 0).public,), secret(99, 1).public)], good.predecessor)
    elif what == "a number signed before":
        ranks.happen(asked, changes.MailReceived(0, encode(Kind.VOUCH, 3, 0, 0, 0, [good.body])))
        assert ranks.told(Kind.VOUCHED)
        ranks.did.clear()
    ranks.happen(asked, changes.MailReceived(0, encode(Kind.VOUCH, 3, 0, 0, 0, [view.body])))
    assert not ranks.told(Kind.VOUCHED)
    assert before.view == 0


def test_the_end_is_told_to_who_was_left_behind() -> None:
    ranks = Ranks()
    leader = ranks.leader
    behind = next(r for r in range(6, 0, -1) if r != leader)
    ranks.suspect(behind, leader)
    for rank in range(7):
        if rank not in (behind, leader):
            ranks.happen(rank, changes.Closed())
    assert {ranks.of[r].state for r in range(7) if r not in (behind, leader)} == {State.CLOSED}
    ranks.happen(leader, changes.Closed())
    assert {m.state for m in ranks.of} == {State.OVER}


def test_the_leader_dies_behind_its_last_word_and_those_who_heard_it_tell_the_others() -> None:
    ranks = Ranks()
    leader = ranks.leader
    behind = next(r for r in range(6, 0, -1) if r != leader)
    for rank in range(7):
        if rank not in (behind, leader):
            ranks.happen(rank, changes.Closed())
    ranks.kill(leader)
    ranks.suspect(behind, leader)
    ranks.pass_time(1 * S)
    assert {ranks.of[r].state for r in range(7) if r not in (behind, leader)} == {State.OVER}


@pytest.mark.parametrize("cut", [1, 8, 31])
def test_noise_is_refused(cut: int) -> None:
    ranks = Ranks()
    data = encode(Kind.JOIN, 0, 3, 0, 0, [b"", b"", b"why"])
    with pytest.raises(PeerError):
        ranks.of[0].handle(changes.MailReceived(3, data[:-cut]), ranks.now)
    with pytest.raises(PeerError):
        ranks.of[0].handle(changes.MailReceived(4, data), ranks.now)  # in the name of another
    with pytest.raises(PeerError):
        ranks.of[0].handle(changes.MailReceived(3, encode(Kind.VIEW, 9, 3, 0, 0, [b"noise"])), ranks.now)
    assert ranks.of[0].state is State.UP
