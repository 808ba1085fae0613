"""Nodes that lie as somebody with authority, and what they must not be able to do."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import MS, World, encode

from baash.protocol.flights import Flights, Limits
from baash.protocol.messages import Kind, open_message
from baash.protocol.messages import encode as encode_message
from baash.protocol.validator import Validator
from baash.records import Operation, Reason

SMALL = Limits(window_transactions=100)


def test_only_the_leader_closes_a_view() -> None:
    world = World(limits=SMALL)
    batch = encode(Operation.CREATE, [f"e{i}" for i in range(500)])
    world.offer(batch)
    world.end()
    liar = world.view.validators(0)[0].node
    close = encode_message(Kind.CLOSE, 1, liar)
    world.tamper = lambda sender, to, data: close if sender == liar else data
    world.run(ticks=200)
    assert world.failed is None and len(world.committed_ids()) == 500
    assert any("does not lead" in r.text for r in world.reports)


def forge(flights: Flights) -> None:
    """This coordinator settles its windows without asking anybody's opinion."""
    ask = flights._ask

    def settle(flight, decider, attempt, members, now_ns):  # type: ignore[no-untyped-def]
        effects = ask(flight, decider, attempt, members, now_ns)
        flights._settle(flight, flight.asks[-1], len(flight.window.entries), now_ns)
        return effects

    flights._ask = settle  # type: ignore[method-assign]


def test_a_forged_certificate_is_not_taken_into_a_round() -> None:
    world = World(nodes=12, clusters=2, limits=SMALL)
    forge(world.coordinators[1].flights)
    batch = encode(Operation.CREATE, [f"e{i}" for i in range(500)])
    theirs = {i.tobytes() for i in batch.ids[world.view.clusters_of(batch.short_hashes) == 1]}
    world.offer(batch)
    world.end()
    world.run(ticks=200)
    suspicion = world.suspicions[0]
    assert suspicion.nodes == {world.coordinators[1].node} and "cannot be committed" in suspicion.text
    assert not theirs & set(world.committed_ids())


def test_what_a_lone_coordinator_invents_moves_no_node() -> None:
    world = World(limits=SMALL)
    forge(world.coordinators[0].flights)
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()
    world.tamper = lambda s, t, d: None if open_message(d).kind is Kind.WINDOW else d
    world.run(ticks=50)
    nodes = [n for n in world.nodes.values() if isinstance(n, Validator) and not n.storage]
    assert all(len(n.state.table) == 0 and n.round == 0 for n in nodes)
    assert sum("votes, but" in r.text for r in world.reports) >= len(nodes)


def test_a_conflicting_number_does_not_kill_the_honest_original() -> None:
    world = World(limits=SMALL)
    original = encode(Operation.CREATE, [f"e{i}" for i in range(2000)], first=100)
    world.offer(original)
    world.offer(encode(Operation.CREATE, [f"z{i}" for i in range(2000)], first=100, payload=b"other"))
    world.end()
    world.run(ticks=300)
    assert set(world.committed_ids()) == {i.tobytes() for i in original.ids}
    assert world.reasons() == [Reason.ISSUER_CONFLICT] * 2000


def test_a_rejected_transaction_offered_again_is_a_duplicate_not_misconduct() -> None:
    world = World(limits=SMALL)
    bad = encode(Operation.UPDATE, [f"nobody{i}" for i in range(50)])
    world.offer(bad)
    world.offer(bad)
    world.end()
    world.run()
    assert world.reasons() == [Reason.ENTITY_UNKNOWN] * 50 and world.duplicates == 50


@pytest.mark.parametrize(("nodes", "stopped"), [(6, 1), (8, 2), (6, 2), (6, 3)])
def test_stopped_validators_are_left_alone_and_given_up(nodes: int, stopped: int) -> None:
    """Hung nodes never die: windows go on without them, soon no window is sent to them, and deadlines do not grow."""
    world = World(nodes=nodes, limits=SMALL)
    hung = {n.node for n in world.view.validators(0)[:stopped]}
    asked: list[int] = []

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray | None:
        if to in hung:
            asked.append(open_message(data).kind)
            return None
        return data

    world.tamper = tamper
    coordinator = world.coordinators[0]
    for part in range(40):
        world.offer(encode(Operation.CREATE, [f"e{part}-{i}" for i in range(100)], first=100 * part))
        world.run(ticks=3 if nodes - 1 - stopped >= 3 else 30)
        assert coordinator.flights._timeout_ns() <= SMALL.vote_timeout_ns
    assert len(world.committed_ids()) == 4000
    enough = nodes - 1 - stopped >= 3  # the others can reach a quorum without them
    if enough:
        assert sum(kind == Kind.WINDOW for kind in asked) <= 6 * stopped
        assert sum(r.kind == "given_up" for r in world.reports) == stopped
    else:
        assert coordinator.flights.appeals > 0
    before = len(asked)
    world.offer(encode(Operation.CREATE, [f"late{i}" for i in range(100)], first=9000))
    world.end()
    world.run(ticks=20)
    assert len(world.committed_ids()) == 4100
    assert not enough or all(kind == Kind.CLOSE for kind in asked[before:])
    assert world.now > 10_000 * MS


def test_another_content_under_a_true_header_is_never_applied() -> None:
    """A node is sent other records than the rest; the window is carried without it, and it must not take what it holds."""
    world = World(limits=SMALL)
    victim = world.view.validators(0)[0].node

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if to != victim or message.kind is not Kind.WINDOW or not message.sections[6].nbytes:
            return data
        other = data.copy()
        open_message(other).sections[6][64] ^= 1  # the name of the first entity
        return other

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()
    world.run(ticks=50)
    assert len(world.committed_ids()) == 300
    keys = {n: {k.tobytes() for k in world.nodes[n].state.table.items()[0]} for n in world.nodes}
    assert len(keys[world.coordinators[0].node]) == 300
    assert keys[victim] <= keys[world.coordinators[0].node]
    assert any(f"node {victim}" in r.text and "not what their certificate says" in r.text for r in world.reports)
