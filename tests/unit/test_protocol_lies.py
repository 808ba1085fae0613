"""What only a liar says in a round leads to suspicion of him; what is late, said twice, or not his office accuses nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from worlds import World, encode

from baash.kernels import EntityTable, ReplayTable
from baash.protocol.events import MessageReceived, Report
from baash.protocol.messages import HEAD, Kind, Message, open_message
from baash.protocol.messages import encode as encode_message
from baash.protocol.validator import Validator
from baash.protocol.windows import State
from baash.records import REJECTION, VOTE, WINDOW, Operation, Reason

Change = Callable[[World, int, Message], list[np.ndarray]]  # (world, receiver, message) → what arrives instead


def again(message: Message, *, b: int = 0, sections: list[np.ndarray | bytes] | None = None) -> np.ndarray:
    found = list(message.sections) if sections is None else sections
    return encode_message(message.kind, message.view, message.sender, message.a, message.b + b, found)


def lying(world: World, liar: int, kind: Kind, change: Change, times: int = 1 << 30) -> None:
    told: list[int] = []

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray | None:
        message = open_message(data)
        if sender != liar or message.kind is not kind or len(told) >= times:
            return data
        told.append(to)
        world.queue.extend((to, MessageReceived(lie)) for lie in change(world, to, message))
        return None

    world.tamper = tamper


def changed_part(world: World, to: int, message: Message) -> list[np.ndarray]:
    """Somebody's certificates with a bit of a vote's signature flipped."""
    sections = [s.copy() for s in message.sections]
    sections[-1][-1] ^= 1
    return [again(message, sections=sections)]


def own_rejections(world: World, to: int, message: Message) -> list[np.ndarray]:
    """A rejection that its cluster did not bring."""
    clusters = message.sections[0].view("<u4").tolist()
    if 1 not in clusters or to != world.coordinators[1].node:
        return [again(message)]
    sections: list[np.ndarray | bytes] = [s.copy() for s in message.sections]
    row = np.zeros(1, dtype=REJECTION)
    row["cluster"], row["reason"] = 1, Reason.TOO_OLD
    sections[1 + 2 * clusters.index(1)] = row.tobytes()
    return [again(message, sections=sections)]


def without_reason(world: World, to: int, message: Message) -> list[np.ndarray]:
    row = np.zeros(1, dtype=REJECTION)
    row["cluster"] = 1
    return [again(message, sections=[row.tobytes(), *message.sections[1:]])]


LIES: dict[str, tuple[int, Kind, Change, str]] = {  # who, in what, how, and what is said of it
    "another proposal before the first is answered": (
        0, Kind.PROPOSE, lambda w, t, m: [again(m), again(m, b=1)], "another proposal of round 0"),
    "a proposal of a later round": (
        0, Kind.PROPOSE, lambda w, t, m: [encode_message(m.kind, m.view, m.sender, m.a + 1, m.b, m.sections)],
        "a proposal of round 1, 0 expected"),
    "a proposal with another's part changed": (0, Kind.PROPOSE, changed_part, "it had to refuse"),
    "a proposal with rejections that nobody brought": (0, Kind.PROPOSE, own_rejections, "it is not what was offered"),
    "a proposal without sections": (
        0, Kind.PROPOSE, lambda w, t, m: [again(m, sections=list(m.sections[:-1]))], "wrong sections"),
    "a round that nobody signed": (
        0, Kind.RECORDED, lambda w, t, m: [again(m, sections=[np.zeros_like(m.sections[0])])], "does not follow"),
    "a part with a forged vote": (1, Kind.OFFER, changed_part, "is not signed by it"),
    "a part with rejections for no reason": (1, Kind.OFFER, without_reason, "for no reason"),
    "a signature of something else": (
        1, Kind.READY, lambda w, t, m: [again(m, sections=[bytes(64), b""])], "signed another commit record"),
}  # fmt: skip


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_lie_is_suspicion_of_the_liar(lie: str) -> None:
    world = World(nodes=18, clusters=3)
    who, kind, change, said = LIES[lie]
    liar = world.coordinators[who].node
    lying(world, liar, kind, change)
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()
    world.run(ticks=10)
    suspicion = world.suspicions[0]
    assert suspicion.nodes == {liar} and said in suspicion.text, suspicion
    assert f"node {liar}, rank" in suspicion.text and world.failed is None


def test_a_leader_that_leaves_a_cluster_out_is_suspected_by_it() -> None:
    """One round may begin before a part arrives; not two."""
    world = World(nodes=12, clusters=2)
    lying(world, world.coordinators[1].node, Kind.OFFER, lambda w, t, m: [again(m)] if m.a else [])
    for i in range(5):
        world.offer(encode(Operation.CREATE, [f"e{i}-{k}" for k in range(40)], first=100 * i))
        world.run(ticks=1)
    suspicion = world.suspicions[0]
    assert suspicion.nodes == {world.coordinators[0].node} and "leaves out what cluster 1 brought" in suspicion.text
    assert world.coordinators[1].rounds.log.round <= 2


@pytest.mark.parametrize("kind", [Kind.PROPOSE, Kind.RECORDED, Kind.ABORT, Kind.OFFER, Kind.READY])
def test_what_is_said_twice_accuses_nobody(kind: Kind) -> None:
    world = World(nodes=12, clusters=2)

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if message.kind is kind and not (kind is Kind.OFFER and message.a):
            world.queue.append((to, MessageReceived(data)))
        return data

    world.tamper = tamper
    if kind is Kind.ABORT:
        world.disk = lambda persist: "no space left" if persist.token in (2, 3) and not persist.commits else None
    wanted = encode(Operation.CREATE, [f"e{i}" for i in range(300)])
    world.offer(wanted)
    world.end()
    world.run(ticks=20)
    assert not world.suspicions and world.failed is None
    assert len(world.committed_ids()) == 300


@pytest.mark.parametrize("kind", [Kind.PROPOSE, Kind.RECORDED, Kind.ABORT, Kind.OFFER, Kind.READY])
def test_who_has_no_office_accuses_nobody(kind: Kind) -> None:
    """A validator speaks as a coordinator does; and each coordinator as the other."""
    world = World(nodes=12, clusters=2)
    leader, other = (c.node for c in world.coordinators)
    sections: list[np.ndarray | bytes] = [b""] * {Kind.OFFER: 2, Kind.READY: 2}.get(kind, 1)
    speakers = {leader: (other, world.view.validators(0)[0].node), other: (world.view.validators(1)[0].node,)}
    for to, senders in speakers.items():
        for sender in senders:
            if sender != other or kind not in (Kind.OFFER, Kind.READY):
                world.queue.append((to, MessageReceived(encode_message(kind, 1, sender, 0, 1, sections))))
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()
    world.run(ticks=10)
    assert not world.suspicions and world.failed is None and len(world.committed_ids()) == 300
    assert any(r.kind == "bad_message" for r in world.reports)


def test_a_part_that_is_in_a_round_already_is_not_taken_again() -> None:
    """Else the leader would propose it once more when the round is over, and be taken for the liar."""
    world = World(nodes=12, clusters=2)
    other = world.coordinators[1].node
    offers: list[np.ndarray] = []

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if sender == other and message.kind is Kind.OFFER and not message.a:
            offers.append(data)
        if sender == other and message.kind is Kind.READY and offers:
            world.queue.append((to, MessageReceived(offers[-1])))
        return data

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()
    world.run(ticks=20)
    assert offers and not world.suspicions and len(world.committed_ids()) == 300


def test_a_coordinator_has_no_say_in_another_cluster() -> None:
    """Its windows, sent to nodes of another cluster, would take the place of those of their own coordinator."""
    world = World(nodes=12, clusters=2)
    stranger, mine = world.coordinators[1].node, {n.node for n in world.view.validators(0)}

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if sender == stranger and message.kind is Kind.WINDOW and message.sections[6].nbytes:
            sections = [s.copy() for s in message.sections]
            sections[1] = np.array(sorted(mine), dtype="<u4").view(np.uint8)
            lie = encode_message(message.kind, message.view, sender, message.a, message.b, sections)
            world.queue.extendleft((node, MessageReceived(lie)) for node in mine)
        return data

    world.tamper = tamper
    batch = encode(Operation.CREATE, [f"e{i}" for i in range(300)])
    theirs = world.view.clusters_of(batch.short_hashes) == 1
    world.offer(batch.select(theirs))
    world.run(ticks=0)
    while world.queue:
        node, event = world.queue.popleft()
        world.step(node, event)
    world.offer(batch.select(~theirs))
    world.end()
    world.run(ticks=20)
    assert len(world.committed_ids()) == 300
    assert not any(r.kind in ("window_lost", "vote_timeout") for r in world.reports)
    assert sum("for a node of cluster 0" in r.text for r in world.reports) >= len(mine)
    assert WINDOW.itemsize == 208


def test_a_vote_in_another_s_name_crashes_nobody() -> None:
    """Also when it comes late and is not looked at, and when it is compared with the next one."""
    world = World()
    world._persist = lambda node, persist: None  # type: ignore[method-assign]  # decided, and never committed
    late: list[np.ndarray] = []

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray | None:
        message = open_message(data)
        if message.kind is Kind.VOTE and (not late or sender == open_message(late[0]).sender):
            late.append(data)
            return None
        return data

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(4)]))
    world.end()
    world.run(ticks=1)
    message = open_message(late[0])
    for node, bad_index in ((0xFFFFFFFF, 0), (0xFFFFFFFF, 7), (1 << 16, 9)):
        vote = message.sections[0].view(VOTE).copy()
        vote["node"], vote["bad_index"] = node, bad_index
        said = encode_message(Kind.VOTE, message.view, message.sender, message.a, 0, [vote.tobytes()])
        before = len(world.reports)
        world.step(world.coordinators[0].node, MessageReceived(said))
        assert [r.kind for r in world.reports[before:]] == ["bad_message"]


def test_a_window_of_an_older_view_is_answered_by_nobody() -> None:
    """Nodes keep their keys: what one says of it now would contradict what it said then."""
    world, windows = World(), list[tuple[int, np.ndarray]]()

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        if open_message(data).kind is Kind.WINDOW:
            windows.append((to, data))
        return data

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, ["a", "b"]))
    world.end()
    world.run()
    to, data = windows[0]
    newer = replace(world.view, view=world.view.view + 1)
    key = world.keys[newer.nodes[to].key]
    node = Validator(newer, to, key, State(EntityTable(), ReplayTable()), world.log)
    shown = data.copy()
    shown[: HEAD.itemsize].view(HEAD)["view"] = newer.view
    effects = node.handle(MessageReceived(shown), 1)
    assert [type(e) for e in effects] == [Report] and "another view" in effects[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("clusters", [2, 3])
def test_who_answers_for_another_round_is_suspected_and_not_the_leader(clusters: int) -> None:
    world = World(nodes=6 * clusters, clusters=clusters)
    liar = world.coordinators[1].node
    lying(world, liar, Kind.READY, lambda w, to, m: [
        encode_message(m.kind, m.view, m.sender, m.a + 1, m.b, list(m.sections))
    ])  # fmt: skip
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(60)]))
    world.end()
    for _ in range(600):
        world.run(ticks=1)
        if world.suspicions:
            break
    assert [sorted(s.nodes) for s in world.suspicions] == [[liar]] and world.suspicions[0].lying


def test_nothing_is_offered_again_while_it_is_in_a_round() -> None:
    """Whatever number the message bears: it would be proposed once more behind the round that commits it."""
    world = World(nodes=12, clusters=2)
    leader, liar = world.coordinators[0].node, world.coordinators[1].node
    offers: list[Message] = []

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if sender == liar and message.kind is Kind.OFFER and message.a == 0 and message.sections[1].nbytes:
            offers.append(message)
        if to == liar and message.kind is Kind.PROPOSE and offers:
            first = offers[0]
            lie = encode_message(Kind.OFFER, first.view, liar, 2, 0, list(first.sections))
            world.queue.append((leader, MessageReceived(lie)))
        return data

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(60)]))
    world.end()
    world.run()
    assert offers and len(world.committed_ids()) == len(set(world.committed_ids())) == 60
    assert all(leader not in s.nodes for s in world.suspicions)
