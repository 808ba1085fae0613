"""Contradictions are caught where they can be seen, kept once, and never made of what an honest node signs."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from worlds import World, encode

from baash import kernels
from baash.errors import PeerError
from baash.keys import Context, PrivateKey
from baash.protocol import evidence, quorum
from baash.protocol.events import Effect, MessageReceived, Report, Send
from baash.protocol.evidence import COMMIT_RECORDS, VOTES, Contradiction, Statement, of_vote, wrong
from baash.protocol.flights import Limits
from baash.protocol.messages import Kind, Message, open_message
from baash.protocol.messages import encode as encode_message
from baash.protocol.spoken import Spoken
from baash.protocol.validator import WINDOWS_KEPT, Validator
from baash.protocol.windows import entities_digest
from baash.records import COMMIT_RECORD, TRANSACTION, VOTE, WINDOW, Answer, Decider, Operation, Reason

SMALL = Limits(window_transactions=20)
Speak = Callable[[World, Message, np.ndarray], list[tuple[int, np.ndarray]]]  # a true vote → (to, vote)s instead


def recast(world: World, vote: np.ndarray, prefix: int, answer: Answer = Answer.PREFIX) -> np.ndarray:
    node = int(vote["node"])
    return quorum.cast(node, world.keys[world.view.nodes[node].key], vote["attempt"].tobytes(), answer, prefix)


def speaking(world: World, liar: int, speak: Speak) -> None:
    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray | None:
        message = open_message(data)
        if sender != liar or message.kind is not Kind.VOTE:
            return data
        for receiver, vote in speak(world, message, message.sections[0].view(VOTE)[0]):
            said = encode_message(Kind.VOTE, message.view, sender, message.a, 0, [vote.tobytes()])
            world.queue.append((receiver, MessageReceived(said)))
        return None

    world.tamper = tamper


def notes(world: World) -> list[tuple[bytes, bytes]]:
    """(entity, payload) of the evidence that was committed."""
    found = []
    for batch, _ in world.committed:
        for row in batch.info:
            start, name = int(row["start"]) + TRANSACTION.itemsize, int(row["entity_bytes"])
            entity = batch.records[start : start + name].tobytes()
            if entity.startswith(evidence.ENTITY):
                at = int(row["start"]) + int(row["payload_start"])
                assert int(row["operation"]) == Operation.NOTE and int(row["payload_type"]) == 1
                found.append((entity, batch.records[at : at + int(row["payload_bytes"])].tobytes()))
    return found


def played(world: World, windows: int = 6) -> None:
    """So many windows, one after the other; all of it is committed."""
    batch = encode(Operation.CREATE, [f"e{i}" for i in range(20 * windows)])
    world.offer(batch)
    world.end()
    world.run(ticks=60)
    assert world.failed is None and {i.tobytes() for i in batch.ids} <= set(world.committed_ids())
    assert not world.suspicions


TWICE: dict[str, Speak] = {
    "the other one behind": lambda w, m, v: [(w.coordinators[0].node, x) for x in (v, recast(w, v, 0))],
    "the other one before": lambda w, m, v: [(w.coordinators[0].node, x) for x in (recast(w, v, 0), v)],
    "a flood": lambda w, m, v: [(w.coordinators[0].node, recast(w, v, i)) for i in range(30)],
    "behind, and not": lambda w, m, v: [(w.coordinators[0].node, x) for x in (recast(w, v, 0, Answer.BEHIND), v)],
}


@pytest.mark.parametrize("how", sorted(TWICE))
def test_two_answers_to_one_question_are_kept_once(how: str) -> None:
    world = World(limits=SMALL)
    liar = world.view.validators(0)[0].node
    speaking(world, liar, TWICE[how])
    played(world)
    ((entity, payload),) = notes(world)
    claim = evidence.read(payload)
    assert entity.startswith(f"baash:evidence:1:{liar}:".encode())
    assert (claim.what, claim.view, claim.node) == (VOTES, 1, liar) and wrong(claim, world.view) is None
    (said,) = (r.text for r in world.reports if r.kind == "contradicted")
    assert f"node {liar}, rank" in said and "answered one attempt with" in said
    assert world.coordinators[0].evidence == [claim]


def test_a_contradiction_that_comes_when_the_window_is_decided_is_seen() -> None:
    """The true vote is late and was not needed; and then comes another."""
    world = World(nodes=5, limits=SMALL)
    liar, coordinator = world.view.validators(0)[0].node, world.coordinators[0]
    held: list[np.ndarray] = []
    speaking(world, liar, lambda w, m, v: held.append(v.copy()) or [])  # type: ignore[func-returns-value]
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(10)]))
    while world.queue and not held:
        world.step(*world.queue.popleft())
    world.disk = lambda persist: "not yet"
    world.run(ticks=1)
    assert not world.committed and coordinator.flights.by_number[0].prefix is not None
    said: list[Effect] = []
    for vote in (held[0], recast(world, held[0], 1)):
        data = encode_message(Kind.VOTE, 1, liar, 0, 0, [vote.tobytes()])
        said += coordinator.handle(MessageReceived(data), world.now)
    assert [e.kind for e in said if isinstance(e, Report)] == ["contradicted"]


def test_one_answer_here_and_another_there_is_seen_by_who_hears_both() -> None:
    world = World(nodes=12, clusters=2, limits=SMALL)
    first, second = world.coordinators
    liar = world.view.validators(1)[0].node
    speaking(world, liar, lambda w, m, v: [(first.node, recast(w, v, 0)), (second.node, v)])
    played(world)
    ((entity, payload),) = notes(world)
    claim = evidence.read(payload)
    assert claim.node == liar and wrong(claim, world.view) is None
    assert first.evidence == [claim] and not second.evidence
    shard = int.from_bytes(kernels.sha256_batch(np.frombuffer(b"\0\2" + entity, np.uint8), np.array([0, len(entity) + 2])).tobytes()[:8], "little")  # fmt: skip
    assert world.view.cluster_of_shard[shard % 4096] == 0, "it lies in a shard of who keeps it"
    assert any("of another cluster" in r.text for r in world.reports)


@pytest.mark.parametrize("how", ["forged", "as another", "the same again", "on another attempt"])
def test_what_proves_nothing_is_not_kept(how: str) -> None:
    world = World(limits=SMALL)
    liar, other = (n.node for n in world.view.validators(0)[:2])
    to = world.coordinators[0].node

    def speak(world: World, message: Message, vote: np.ndarray) -> list[tuple[int, np.ndarray]]:
        more = recast(world, vote, 0)
        if how == "forged":
            more["signature"][0] ^= 1
        elif how == "as another":
            key = world.keys[world.view.nodes[liar].key]
            more = quorum.cast(other, key, vote["attempt"].tobytes(), Answer.PREFIX, 0)
        elif how == "the same again":
            more = vote
        else:
            more = quorum.cast(liar, world.keys[world.view.nodes[liar].key], bytes(32), Answer.PREFIX, 0)
        return [(to, vote), (to, more)]

    speaking(world, liar, speak)
    played(world)
    assert not notes(world) and not any(r.kind == "contradicted" for r in world.reports)


def two_records(world: World, signer: int, rounds: tuple[int, int] = (3, 3), view: int = 1) -> Contradiction:
    key = world.keys[world.view.nodes[signer].key]
    statements = []
    for time_ns, number in enumerate(rounds):
        record = np.zeros((), dtype=COMMIT_RECORD)
        record["tag"], record["version"], record["view"], record["round"] = 0x0C, 1, view, number
        record["time_ns"], record["ledger"] = time_ns, np.frombuffer(world.view.ledger, dtype=np.uint8)
        statements.append(Statement(record.tobytes(), key.sign(Context.COMMIT, record.tobytes())))
    return Contradiction(COMMIT_RECORDS, 1, signer, *statements)


def test_two_commit_records_of_a_round_prove_that_the_leader_lies_and_nobody_else() -> None:
    """Others sign again when a round that failed is tried again."""
    world = World(nodes=12, clusters=2)
    leader, other = (c.node for c in world.coordinators)
    assert wrong(two_records(world, leader), world.view) is None
    assert "only the leading coordinator" in (wrong(two_records(world, other), world.view) or "")
    assert "two rounds" in (wrong(two_records(world, leader, rounds=(3, 4)), world.view) or "")
    assert "another view" in (wrong(two_records(world, leader, view=2), world.view) or "")
    forged = two_records(world, leader)
    forged = replace(forged, second=replace(forged.second, signature=bytes(64)))
    assert "did not sign both" in (wrong(forged, world.view) or "")


def test_a_second_commit_record_is_kept_as_evidence() -> None:
    world = World(nodes=12, clusters=2, limits=SMALL)
    leader, other = world.coordinators
    key = world.keys[world.view.nodes[leader.node].key]

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if message.kind is Kind.RECORDED:
            slot = message.sections[0].copy()
            slot[:256].view(COMMIT_RECORD)[0]["time_ns"] += np.uint64(1)
            at = next(i for i in range(320, 320 + 2 * 72, 72) if slot[i : i + 4].view("<u4")[0] == leader.node)
            signature = key.sign(Context.COMMIT, slot[:256].tobytes())
            slot[at + 8 : at + 72] = np.frombuffer(signature, dtype=np.uint8)
            more = encode_message(Kind.RECORDED, message.view, sender, message.a, 0, [slot])
            world.queue.append((to, MessageReceived(data)))  # the true one first
            return more
        return data

    world.tamper = tamper
    played(world)
    ((_, payload),) = notes(world)
    claim = evidence.read(payload)
    assert (claim.what, claim.node) == (COMMIT_RECORDS, leader.node) and wrong(claim, world.view) is None
    assert other.evidence == [claim] and "signed two commit records of round 0" in evidence.describe(claim)


# -- what honest nodes sign -----------------------------------------------------------------------------------------


def asked(world: World) -> tuple[Validator, MessageReceived, np.ndarray]:
    """A validator, the window it was asked about, its vote."""
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(20)]))
    while world.queue:
        node, event = world.queue.popleft()
        if isinstance(event, MessageReceived) and open_message(event.data).kind is Kind.WINDOW:
            validator = world.nodes[node]
            assert isinstance(validator, Validator)
            return validator, event, vote_of(validator.handle(event, world.now))
        world.step(node, event)
    raise AssertionError("no window was sent")


def vote_of(effects: list[Effect]) -> np.ndarray:
    (send,) = (e for e in effects if isinstance(e, Send))
    found: np.ndarray = open_message(send.data).sections[0].view(VOTE)[0]
    return found


def other_window(event: MessageReceived, change: Callable[[list[np.ndarray]], None], a: int | None = None) -> MessageReceived:  # fmt: skip
    message = open_message(event.data)
    sections = [s.copy() for s in message.sections]
    change(sections)
    return MessageReceived(encode_message(message.kind, message.view, message.sender, message.a if a is None else a, message.b, sections))  # fmt: skip


def broken_content(sections: list[np.ndarray]) -> None:
    sections[6][64] ^= 1


def test_asked_again_a_node_says_the_same_whatever_it_is_shown() -> None:
    world = World(limits=SMALL)
    validator, event, vote = asked(world)
    assert int(vote["prefix"]) == 5
    assert vote_of(validator.handle(event, world.now)).tobytes() == vote.tobytes()
    assert vote_of(validator.handle(other_window(event, broken_content), world.now)).tobytes() == vote.tobytes()

    world = World(limits=SMALL, seed=2)
    validator, event, _ = asked(world)
    fresh = World(limits=SMALL, seed=2).nodes[validator.node]
    assert isinstance(fresh, Validator)
    false = vote_of(fresh.handle(other_window(event, broken_content), world.now))
    assert int(false["prefix"]) == 0
    for i in range(2 * WINDOWS_KEPT):  # until its verdict is forgotten
        junk = other_window(event, lambda s, i=i: s[0].view(WINDOW)[0].__setitem__("time_ns", i + 10))  # type: ignore[misc]
        fresh.handle(junk, world.now)
    assert vote_of(fresh.handle(event, world.now)).tobytes() == false.tobytes()


def test_of_a_window_that_is_decided_nothing_new_is_said() -> None:
    world = World(limits=SMALL)
    validator, event, vote = asked(world)
    world.end()
    data = encode_message(Kind.VOTE, 1, validator.node, 0, 0, [vote.tobytes()])
    world.queue.append((world.coordinators[0].node, MessageReceived(data)))
    world.run(ticks=20)
    assert validator.round == 1 and len(world.committed_ids()) == 20
    effects = validator.handle(event, world.now)
    assert [type(e) for e in effects] == [Report] and "which is decided" in effects[0].text  # type: ignore[union-attr]


def test_a_node_that_was_behind_stays_behind_in_that_attempt() -> None:
    world = World(limits=SMALL)
    validator, event, _ = asked(World(limits=SMALL))
    late = world.nodes[validator.node]
    assert isinstance(late, Validator)

    def elsewhere(sections: list[np.ndarray]) -> None:
        sections[0].view(WINDOW)[0]["base"][:] = 7

    later = other_window(event, elsewhere)
    assert int(vote_of(late.handle(later, 1))["answer"]) == Answer.BEHIND
    late._known_commits.append(bytes([7]) * 32)  # the round comes
    assert int(vote_of(late.handle(later, 1))["answer"]) == Answer.BEHIND
    more = vote_of(late.handle(other_window(later, with_one_more(world)), 1))
    assert int(more["answer"]) == Answer.PREFIX and int(more["prefix"]) == 5


def with_one_more(world: World) -> Callable[[list[np.ndarray]], None]:
    def change(sections: list[np.ndarray]) -> None:
        members = sections[1].view("<u4").tolist()
        rest = [n.node for n in world.view.validators(0) if n.node not in members]
        sections[1] = np.array([*members, rest[0]], dtype="<u4").view(np.uint8)

    return change


def test_a_flood_of_attempts_is_not_remembered_for_ever() -> None:
    world = World(limits=SMALL)
    validator, event, _ = asked(world)
    most = WINDOWS_KEPT * (world.view.parameters.replacements + 2)
    for attempt in range(most + 100):
        effects = validator.handle(other_window(event, lambda s: None, a=attempt + 1), world.now)
    assert [type(e) for e in effects] == [Report] and "more votes than" in effects[0].text  # type: ignore[union-attr]
    assert len(validator._spoken[0]) == most


def test_spoken_forgets_what_is_decided() -> None:
    spoken, vote = Spoken(2), np.zeros((), dtype=VOTE)
    spoken.keep(b"a", 0, vote)
    spoken.keep(b"b", 5, vote)
    with pytest.raises(PeerError):
        spoken.given(b"c", 6)
    spoken.decided(3)
    assert len(spoken) == 1 and spoken.given(b"c", 6) is None and spoken.given(b"b", 5) is vote
    with pytest.raises(PeerError):
        spoken.given(b"a", 0)


def test_a_flood_of_headers_of_windows_in_flight_does_not_fill_a_node() -> None:
    """A chain of windows that was never sent, as long as the message: nothing of it is kept."""
    world = World(limits=SMALL)
    validator, event, _ = asked(world)
    row = open_message(event.data).sections[0].view(WINDOW)[0]

    def flood(sections: list[np.ndarray]) -> None:
        before = np.zeros(5000, dtype=WINDOW)
        before[:] = row
        before["number"], before["entity_count"] = np.arange(5000), 0
        before["entities"] = np.frombuffer(entities_digest(np.zeros(0, dtype="<u8")), dtype=np.uint8)
        previous = row["previous"].tobytes()
        for one in before:
            one["previous"] = np.frombuffer(previous, dtype=np.uint8)
            previous = kernels.sha256_batch(np.frombuffer(one.tobytes(), np.uint8), np.array([0, 208])).tobytes()
        sections[4], sections[5] = before.view(np.uint8), np.zeros(0, dtype=np.uint8)
        sections[0].view(WINDOW)[0]["number"] = 5000

    vote = vote_of(validator.handle(other_window(event, flood), world.now))
    assert int(vote["reason"]) == Reason.WINDOW_MISMATCH
    assert validator.announced <= WINDOWS_KEPT


# -- the payload ----------------------------------------------------------------------------------------------------


def contradiction(world: World, node: int = 0) -> Contradiction:
    key = world.keys[world.view.nodes[node].key]
    first, second = (of_vote(quorum.cast(node, key, b"a" * 32, Answer.PREFIX, p)) for p in (1, 2))
    return Contradiction(VOTES, 1, node, first, second)


def test_a_payload_says_all_of_it() -> None:
    found = contradiction(World())
    assert evidence.read(evidence.payload(found)) == found


@pytest.mark.parametrize("seed", range(20))
def test_broken_payloads_prove_nothing_and_raise_nothing_else(seed: int) -> None:
    world, draw = World(), random.Random(seed)
    raw = evidence.payload(contradiction(world))
    for _ in range(300):
        broken = bytearray(raw)
        for _ in range(draw.randrange(1, 4)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        if draw.random() < 0.2:
            del broken[draw.randrange(len(broken)) :]
        try:
            claim = evidence.read(bytes(broken))
        except ValueError:
            continue
        assert claim == contradiction(world) or wrong(claim, world.view) is not None


def test_whose_votes_and_on_what() -> None:
    world = World()
    found = contradiction(world)
    key: PrivateKey = world.keys[world.view.nodes[0].key]
    elsewhere = of_vote(quorum.cast(0, key, b"b" * 32, Answer.PREFIX, 2))
    wrongs = {
        "two attempts": replace(found, second=elsewhere),
        "are one": replace(found, second=found.first),
        "of another node": replace(found, node=1),
        "has no node": replace(found, node=99),
        "no votes": replace(found, second=Statement(found.first.signed[:-1], found.second.signature)),
        "no commit records": replace(found, what=COMMIT_RECORDS),
        "did not sign": replace(found, second=Statement(found.second.signed, found.first.signature)),
    }
    for said, claim in wrongs.items():
        assert said in (wrong(claim, world.view) or "nothing"), said
    assert Decider.MEMBERS == 0
