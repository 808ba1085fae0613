"""The protocol in a made-up world: what each fault costs, and that nothing is lost or decided twice."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import World, encode

from baash.protocol import quorum, validator
from baash.protocol.events import MessageReceived, Persist, PersistFailed
from baash.protocol.flights import Limits
from baash.protocol.messages import Kind, open_message
from baash.protocol.messages import encode as encode_message
from baash.records import VOTE, Answer, Operation, Reason

SMALL = Limits(window_transactions=100)


def load(world: World) -> set[bytes]:
    creates = encode(Operation.CREATE, [f"e{i}" for i in range(1000)], payload=b"x" * 100)
    updates = encode(Operation.UPDATE, [*(f"e{i % 7}" for i in range(500)), "nobody"], first=1000)
    world.offer(creates)
    world.offer(updates)
    world.end()
    return {i.tobytes() for b in (creates, updates) for i in b.ids[:1000] if i.tobytes() != updates.ids[-1].tobytes()}


def check_all_committed(world: World, wanted: set[bytes]) -> None:
    assert world.failed is None
    committed = world.committed_ids()
    assert len(committed) == len(set(committed))
    assert set(committed) == wanted
    assert world.reasons() == [Reason.ENTITY_UNKNOWN]
    assert world.stopped | world.dead == set(world.nodes)


def validators(world: World) -> list[int]:
    return [n.node for n in world.view.validators(0)]


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"clusters": 2, "nodes": 12},
        {"nodes": 5, "ranks": 1},
        {"clusters": 3, "nodes": 18, "ranks": 4, "quorum": "byzantine"},
        {"block_size": 1},
        {"block_size": 250, "faults": 2, "nodes": 9},
        {"faults": 0, "nodes": 2},
    ],
)
def test_good_rounds(shape: dict[str, int]) -> None:
    world = World(**shape)  # type: ignore[arg-type]
    wanted = load(world)
    world.run()
    check_all_committed(world, wanted)
    assert all(c.flights.retries == 0 for c in world.coordinators)


@pytest.mark.parametrize(("dead", "appeals"), [(1, False), (2, False), (3, True), (5, True)])
def test_dead_validators(dead: int, appeals: bool) -> None:
    world = World(limits=SMALL)
    wanted = load(world)
    world.kill(*validators(world)[:dead])
    world.run(ticks=300)
    check_all_committed(world, wanted)
    assert (world.coordinators[0].flights.appeals > 0) == appeals


def test_nobody_left_is_said_and_nothing_is_invented() -> None:
    world = World(limits=SMALL)
    load(world)
    assert world.view.storage is not None
    world.kill(*validators(world), world.view.storage.node)
    world.run(ticks=300)
    assert world.failed is not None and world.failed.error == "QuorumLost"
    assert world.committed_ids() == []


def test_a_silent_validator_costs_no_more_than_retries() -> None:
    world = World(limits=SMALL)
    silent = validators(world)[0]
    world.tamper = lambda sender, to, data: None if sender == silent else data
    wanted = load(world)
    world.run(ticks=300)
    check_all_committed(world, wanted)


@pytest.mark.parametrize("storage", ["slow", "dies", "is dead"])
def test_slow_members_still_settle_a_window(storage: str) -> None:
    """All votes come late, after the appeal: members that are alive are waited for, and their votes count."""
    world = World(limits=SMALL)
    wanted = load(world)
    assert world.view.storage is not None
    last, flights, held = world.view.storage.node, world.coordinators[0].flights, []

    def slow(sender: int, to: int, data: np.ndarray) -> np.ndarray | None:
        if to == last:
            return None  # an appeal that is never heard
        if open_message(data).kind is Kind.VOTE:
            held.append((to, MessageReceived(data)))
            return None
        return data

    world.tamper = slow
    if storage == "is dead":
        world.kill(last)
    world.run(ticks=40)
    assert world.failed is None and world.committed_ids() == []
    assert (flights.appeals > 0) == (storage != "is dead")
    if storage == "dies":
        world.kill(last)
        world.run(ticks=20)
        assert world.failed is None
    world.tamper = lambda sender, to, data: data
    world.queue.extend(held)
    world.run(ticks=300)
    check_all_committed(world, wanted)
    assert not any(report.kind == "bad_message" for report in world.reports)


def lying(world: World, liars: set[int], answer: Answer, reason: Reason):  # type: ignore[no-untyped-def]
    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if sender not in liars or message.kind is not Kind.VOTE:
            return data
        attempt = message.sections[0].view(VOTE)[0]["attempt"].tobytes()
        vote = quorum.cast(sender, world.keys[world.view.nodes[sender].key], attempt, answer, 0, reason, 0)
        return encode_message(Kind.VOTE, message.view, sender, message.a, 0, [vote.tobytes()])

    return tamper


@pytest.mark.parametrize("answer", [Answer.PREFIX, Answer.CANNOT, Answer.BEHIND])
def test_a_liar_is_outvoted(answer: Answer) -> None:
    world = World(limits=SMALL)
    world.tamper = lying(world, {validators(world)[0]}, answer, Reason.ENTITY_EXISTS)
    wanted = load(world)
    world.run(ticks=300)
    check_all_committed(world, wanted)
    outvoted = [report.text for report in world.reports if report.kind == "outvoted"]
    assert bool(outvoted) == (answer is Answer.PREFIX)
    assert all(f"node {validators(world)[0]} gave 0 blocks" in text for text in outvoted)


def test_a_liar_and_a_death_reject_nothing() -> None:
    world = World(limits=SMALL)
    liar, dead = validators(world)[:2]
    world.tamper = lying(world, {liar}, Answer.PREFIX, Reason.ENTITY_EXISTS)
    wanted = load(world)
    world.kill(dead)
    world.run(ticks=300)
    check_all_committed(world, wanted)


def test_a_validator_that_raises_answers_cannot_and_keeps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(limits=SMALL)
    victim = validators(world)[0]
    sound = validator.judge
    raised = []

    def judge(*args: object) -> object:
        if current[-1] == victim and len(raised) < 3:
            raised.append(1)
            raise RuntimeError("a bug in validation")
        return sound(*args)  # type: ignore[arg-type]

    current: list[int] = [-1]
    step = world.step

    def watched(node: int, event: object) -> None:
        current.append(node)
        step(node, event)  # type: ignore[arg-type]

    monkeypatch.setattr(validator, "judge", judge)
    monkeypatch.setattr(world, "step", watched)
    wanted = load(world)
    world.run(ticks=300)
    check_all_committed(world, wanted)
    assert len(raised) == 3
    node, coordinator = world.nodes[victim], world.coordinators[0]
    assert isinstance(node, validator.Validator)
    assert node.commit == coordinator.rounds.log.commit  # it applied what it could not judge
    assert len(node.state.table) == len(coordinator.state.table)
    assert not any(r.kind == "bad_message" for r in world.reports)


def test_a_forged_vote_is_not_counted() -> None:
    world = World(limits=SMALL)
    victim = validators(world)[0]

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        if sender == victim and open_message(data).kind is Kind.VOTE:
            data = data.copy()
            data[-1] ^= 1
        return data

    world.tamper = tamper
    wanted = load(world)
    world.run()
    check_all_committed(world, wanted)
    assert world.coordinators[0].flights.votes_by_node.get(victim) is None
    assert any(r.kind == "bad_message" for r in world.reports)


def test_full_disk_fails_rounds_whole_and_loses_nothing() -> None:
    world = World(clusters=2, nodes=12)
    calls: list[Persist] = []

    def disk(persist: Persist) -> str | None:
        calls.append(persist)
        return "no space left" if len(calls) in (2, 3, 4) and not persist.commits else None

    world.disk = disk
    wanted = load(world)
    world.run()
    check_all_committed(world, wanted)
    assert any(r.kind == "round_failed" for r in world.reports)


@pytest.mark.parametrize("slow", [0, 1])
def test_nobody_writes_for_a_second_try_while_somebody_writes_for_the_first(slow: int) -> None:
    world = World(clusters=3, nodes=18)
    held: list[tuple[int, Persist]] = []
    failed: list[int] = []
    begun: list[int] = []  # nodes that were given something to write after the round had failed
    perform, nodes = world._persist, [c.node for c in world.coordinators]
    rounds = world.coordinators[0].rounds

    def persist(node: int, persist: Persist) -> None:
        mine = bool(persist.writes) and rounds._current is not None and len(rounds._current.plan.parts) == 3
        if failed:
            begun.append(node)
        if mine and not held and node == nodes[slow]:
            held.append((node, persist))
        elif mine and not failed and node == nodes[2]:
            failed.append(node)
            world.queue.append((node, PersistFailed(persist.token, "no space left")))
        else:
            perform(node, persist)

    world._persist = persist  # type: ignore[method-assign]
    wanted = load(world)
    world.run(ticks=8)
    assert held and failed and not begun
    perform(*held[0])
    world.run()
    check_all_committed(world, wanted)


def test_a_disk_that_stays_full_ends_the_run() -> None:
    world = World(clusters=2, nodes=12)
    world.disk = lambda persist: "no space left" if persist.token > 2 else None
    load(world)
    world.run(ticks=100)
    assert world.failed is not None and world.failed.error == "StorageError"


def test_a_failed_commit_record_ends_the_view_at_once() -> None:
    world = World()
    world.disk = lambda persist: "I/O error" if persist.commits else None
    load(world)
    world.run()
    assert world.failed is not None and "nobody knows" in world.failed.text
    assert world.committed_ids() == []


def test_replays_and_conflicts() -> None:
    world = World(limits=SMALL)
    first = encode(Operation.CREATE, [f"e{i}" for i in range(300)])
    world.offer(first)
    world.offer(first)  # the same again, while it is in flight
    world.offer(encode(Operation.CREATE, ["other"], first=7))  # another record under a number that is taken
    world.end()
    world.run()
    assert len(world.committed_ids()) == 300
    assert world.duplicates == 300
    assert world.reasons() == [Reason.ISSUER_CONFLICT]


def test_a_hot_entity_keeps_its_order() -> None:
    world = World(limits=SMALL)
    world.offer(encode(Operation.CREATE, ["hot"]))
    for i in range(10):
        world.offer(
            encode(
                [Operation.UPDATE] * 60, ["hot"] * 60, first=1 + 60 * i, expected=list(range(1 + 60 * i, 61 + 60 * i))
            )
        )
    world.end()
    world.run()
    sequences = [int(s) for b, _ in world.committed for s in b.info["sequence"]]
    assert sequences == list(range(601)) and world.reasons() == []
