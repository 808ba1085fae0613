"""Nobody is waited for without end, and nobody who is merely slow is blamed: by hand, in a world whose clock is told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from worlds import MS, World, encode

from baash.protocol import patience
from baash.protocol.events import Fail, MessageReceived, Persist, PersistFailed, TickElapsed
from baash.protocol.messages import Kind, open_message
from baash.protocol.patience import Bound, S, Wait
from baash.protocol.sub_clusters import SubClusters
from baash.records import Operation

LIMITS = (Path(__file__).resolve().parents[2] / "docs/limits.md").read_text()


def looked(wait: Wait, what: object, begin_ns: int, until_ns: int, every_ns: int = S) -> list[int]:
    """When ``wait`` told that it was too long."""
    return [now for now in range(begin_ns, until_ns, every_ns) if wait.look(what, now)]


def test_a_wait_ends_at_its_bound_and_is_told_once() -> None:
    wait = Wait(Bound(8, 10 * S, 60 * S))
    assert looked(wait, "answers", 0, 100 * S) == [11 * S]
    assert looked(wait, "others", 100 * S, 200 * S) != [] and wait.bound_ns == 60 * S  # the usual is long now


@pytest.mark.parametrize(("took_s", "bound_s"), [(0, 10), (1, 10), (3, 24), (5, 40), (9, 60)])
def test_the_bound_is_several_times_the_usual(took_s: int, bound_s: int) -> None:
    wait, now = Wait(Bound(8, 10 * S, 60 * S)), 0
    for turn in range(30):
        assert not looked(wait, turn, now, now + took_s * S + 1)
        now += took_s * S
    assert wait.bound_ns == bound_s * S
    began = now
    assert looked(wait, "slow", began, began + 100 * S)[0] - began == (bound_s + 1) * S


def test_time_in_which_nobody_looked_counts_two_seconds() -> None:
    wait = Wait(Bound(8, 10 * S, 60 * S))
    assert not wait.look("answers", 0)
    assert not any(wait.look("answers", now) for now in (1000 * S, 2000 * S, 3000 * S, 500 * S))
    assert looked(wait, None, 500 * S, 900 * S) == []


def test_the_numbers_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| .* \| (\d+) × \| (\d+) s \| (\d+) s \| `(\w+)` \|$", LIMITS, re.M)
    stated = {name: Bound(int(times), int(floor) * S, int(ceiling) * S) for times, floor, ceiling, name in rows}
    assert stated == {k: v for k, v in vars(patience).items() if isinstance(v, Bound)}
    assert patience.LOOK_NS == 2 * S and "two seconds a look at most" in LIMITS


def offered(world: World) -> None:
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()


def withheld(world: World, *kinds: Kind, by: int | None = None, to: int | None = None) -> None:
    """These messages never arrive, nor do later proposals."""

    def tamper(sender: int, receiver: int, data: np.ndarray) -> np.ndarray | None:
        message = open_message(data)
        lost = message.kind in kinds or (message.kind is Kind.PROPOSE and message.a > 0)
        return None if lost and by in (None, sender) and to in (None, receiver) else data

    world.tamper = tamper


def test_the_leader_suspects_who_does_not_answer() -> None:
    world = World(nodes=18, clusters=3)
    silent = world.coordinators[2].node
    withheld(world, Kind.READY, by=silent)
    offered(world)
    world.run(ticks=40)
    suspicion = world.suspicions[0]
    assert suspicion.nodes == {silent} and f"node {silent}, rank" in suspicion.text
    assert 10 * S < world.now < 12 * S
    assert not world.committed_ids()


@pytest.mark.parametrize("kind", [Kind.PROPOSE, Kind.RECORDED])
def test_the_others_suspect_a_leader_that_says_nothing(kind: Kind) -> None:
    world = World(nodes=12, clusters=2)
    leader = world.coordinators[0].node
    withheld(world, kind, by=leader)
    world.nodes[leader].rounds.tick = lambda now_ns: []  # type: ignore[union-attr,method-assign]  # whoever holds up blames nobody
    offered(world)
    world.run(ticks=60)
    assert [s.nodes for s in world.suspicions] == [{leader}]
    assert 20 * S < world.now < 22 * S


def test_a_leader_is_given_time_to_blame_another() -> None:
    """The slow one is the third; the second must not take the leader for it."""
    world = World(nodes=18, clusters=3)
    withheld(world, Kind.READY, by=world.coordinators[2].node)
    offered(world)
    world.perform = quiet(world)  # type: ignore[method-assign]
    world.run(ticks=30)  # 18 s
    assert not world.suspicions and world.reports


def quiet(world: World):  # type: ignore[no-untyped-def]
    """The leader's suspicions are not heard."""
    sound, leader = world.perform, world.coordinators[0].node

    def perform(node: int, effects: list) -> None:  # type: ignore[type-arg]
        sound(node, [e for e in effects if node != leader or type(e).__name__ != "Suspect"])

    return perform


class SlowDisk(World):
    """Some nodes' writes are held back."""

    def __init__(self, slow: int) -> None:
        super().__init__(nodes=18, clusters=3)
        self.slow, self.held = self.coordinators[slow].node, list[tuple[int, Persist]]()

    def _persist(self, node: int, persist: Persist) -> None:
        if node == self.slow:
            self.held.append((node, persist))
        else:
            super()._persist(node, persist)

    def release(self) -> None:
        held, self.held, self.slow = self.held, [], -1
        for node, persist in held:
            self._persist(node, persist)


@pytest.mark.parametrize(("slow", "seconds"), [(1, 9), (0, 18)])
def test_a_slow_disk_is_waited_for(slow: int, seconds: int) -> None:
    """Another coordinator's for 9 s; the leader's own for 18 s, in which it blames nobody."""
    world = SlowDisk(slow)
    offered(world)
    world.run(ticks=seconds * 1000 // 600)
    assert world.held and not world.suspicions
    world.release()
    world.run()
    assert not world.suspicions and world.failed is None and len(world.committed_ids()) == 300


def test_slow_again_and_again_is_usual() -> None:
    """Every round takes four seconds: then one that takes twenty is not suspected yet."""
    world = World(nodes=12, clusters=2)
    leader, other = world.coordinators
    held: list[tuple[int, MessageReceived]] = []

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray | None:
        if sender == other.node and open_message(data).kind is Kind.READY:
            held.append((to, MessageReceived(data)))
            return None
        return data

    world.tamper = tamper
    for turn in range(12):
        world.offer(encode(Operation.CREATE, [f"e{turn}-{i}" for i in range(40)], first=100 * turn))
        world.run(ticks=33 if turn == 11 else 7)
        assert not world.suspicions
        world.queue.extend(held)
        held.clear()
    world.end()
    world.run(ticks=5)
    world.queue.extend(held)
    assert leader.rounds.log.round >= 11 and not world.suspicions


def test_whoever_was_stopped_itself_blames_nobody() -> None:
    world = World(nodes=12, clusters=2)
    withheld(world, Kind.READY)
    offered(world)
    world.run(ticks=3)
    world.now += 1000 * S
    for node in world.nodes:
        world.queue.append((node, TickElapsed()))
    world.run(ticks=8)
    assert not world.suspicions


@pytest.mark.parametrize("bad", [1, 2])
def test_one_whose_disk_stays_full_is_left_and_the_others_have_not_failed(bad: int) -> None:
    world = World(nodes=18, clusters=3)
    node, persist = world.coordinators[bad].node, world._persist

    def full(at: int, wanted: Persist) -> None:
        if at == node and wanted.writes:
            world.queue.append((at, PersistFailed(wanted.token, "no space left")))
        else:
            persist(at, wanted)

    world._persist = full  # type: ignore[method-assign]
    world.step = heard_only(world, node)  # type: ignore[method-assign]
    offered(world)
    world.run(ticks=40)
    suspicion = world.suspicions[0]
    assert suspicion.nodes == {node} and "no space left" in suspicion.text and world.failed is None


def heard_only(world: World, node: int):  # type: ignore[no-untyped-def]
    """What ``node`` says of itself at last, that its storage refuses, is not waited for."""
    sound = world.step

    def step(at: int, event: object) -> None:
        failed, before = world.failed, len(world.suspicions)
        sound(at, event)  # type: ignore[arg-type]
        if at == node and isinstance(world.failed, Fail):
            world.failed = failed
            del world.suspicions[before:]

    return step


def test_a_leader_that_gives_up_for_ever_is_suspected() -> None:
    world = World(nodes=12, clusters=2)
    leader, other = (c.node for c in world.coordinators)
    offered(world)
    world.disk = lambda persist: None
    trouble = world.coordinators[1].rounds._trouble
    found = [trouble.given_up(3, "as it says", now) for now in range(0, 25 * S, S)]
    assert not any(found[:21])
    assert all(e.nodes == {leader} for e in found[21][1:])  # type: ignore[union-attr]
    assert other != leader


def test_a_validator_suspects_a_coordinator_that_owes_it_the_outcome() -> None:
    world = World()
    withheld(world, Kind.COMMITTED, Kind.CLOSE)
    offered(world)
    world.run(ticks=195)  # 117 s
    assert not world.suspicions
    world.run(ticks=15)
    coordinator = world.coordinators[0].node
    assert world.suspicions and all(s.nodes == {coordinator} for s in world.suspicions)
    assert "voted on" in world.suspicions[0].text and world.now < 125 * S


def test_a_validator_that_is_owed_nothing_waits_for_ever() -> None:
    world = World()
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.run(ticks=700)
    assert len(world.committed_ids()) == 300 and not world.suspicions
    assert world.now > 400_000 * MS


def test_a_coordinator_that_was_stopped_itself_gives_nobody_up() -> None:
    view = World().view
    found = SubClusters(view, 0, 2)
    node, start = view.validators(0)[0].node, 100 * S
    found.give_up(start)
    found.asked(node)
    assert found.give_up(start + 20 * S) == [], "nobody looked meanwhile"
    found.heard(node)
    found.asked(node)
    for second in range(1, 6):
        assert found.give_up(start + (20 + second) * S) == []
    assert found.give_up(start + 26 * S) == [node]
