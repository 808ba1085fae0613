"""Messages that no honest peer sends: dropped and counted, never an exception, never a change of what is committed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from replicas import chain_of_world, check_nodes
from worlds import World, encode

from baash.errors import PeerError
from baash.protocol.events import MessageReceived
from baash.protocol.flights import Limits
from baash.protocol.messages import HEAD, Kind, open_message
from baash.protocol.messages import encode as encode_message
from baash.records import Operation

SMALL = Limits(window_transactions=50)


def mutated(data: np.ndarray, draw: random.Random) -> np.ndarray:
    """One of: a bit flipped, a piece cut out, a tail of garbage, a number made huge, another kind."""
    raw = bytearray(data.tobytes())
    match draw.randrange(5):
        case 0:
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        case 1:
            at = draw.randrange(len(raw))
            del raw[at : at + draw.randrange(1, 64)]
        case 2:
            raw += draw.randbytes(draw.randrange(1, 64))
        case 3:
            at = draw.randrange(max(1, len(raw) - 8))
            raw[at : at + 8] = b"\xff" * 8
        case _:
            raw[4] = draw.randrange(12)
    return np.frombuffer(bytes(raw), dtype=np.uint8).copy()


@pytest.mark.parametrize("seed", range(12))
def test_mutated_messages_change_nothing(seed: int) -> None:
    """Beside every true message some broken copies of it: all of the input is committed, once."""
    draw = random.Random(seed)
    world = World(nodes=12, clusters=2, limits=SMALL, seed=seed)

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        for _ in range(draw.randrange(3)):
            broken = mutated(data, draw)
            try:
                message = open_message(broken)
            except PeerError:
                world.queue.append((to, MessageReceived(broken)))
                continue
            if message.kind is not Kind.CLOSE and broken.tobytes() != data.tobytes() and message.sender == sender:
                world.queue.append((to, MessageReceived(broken)))
        return data

    # votes and windows only: who speaks as a coordinator to coordinators is trusted not to break its own words
    honest = tamper
    world.tamper = lambda s, t, d: honest(s, t, d) if open_message(d).kind in (Kind.VOTE, Kind.WINDOW) else d
    batch = encode(Operation.CREATE, [f"e{i}" for i in range(400)], payload=b"p" * 20)
    world.offer(batch)
    world.end()
    world.run(ticks=300)
    assert world.failed is None
    assert sorted(world.committed_ids()) == sorted(i.tobytes() for i in batch.ids)


@pytest.mark.parametrize("seed", range(12))
def test_mutated_commits_enter_no_replica(seed: int) -> None:
    """Before every true COMMITTED message some broken copies of it: each node ends with its part of the chain, no more."""
    draw = random.Random(seed)
    world = World(nodes=18, clusters=3, limits=SMALL, seed=seed)
    broken = 0

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        nonlocal broken
        if open_message(data).kind is Kind.COMMITTED:
            for _ in range(draw.randrange(6)):
                copy = mutated(data, draw)
                if copy[4:6].tobytes() == data[4:6].tobytes():
                    world.queue.append((to, MessageReceived(copy)))
                    broken += 1
        return data

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(900)], payload=b"p" * 20))
    world.end()
    world.run(ticks=300)
    assert world.failed is None and broken > 20
    held = check_nodes(world.nodes, chain_of_world(world))
    for node in world.view.nodes:
        if node.cluster is not None:
            assert held[node.node] == held[world.view.coordinators[node.cluster].node] > 0


@pytest.mark.parametrize("seed", range(8))
def test_noise_raises_nothing(seed: int) -> None:
    """Random bytes, and random sections under a true head, of every kind, to every node."""
    draw = random.Random(seed)
    world = World(nodes=12, clusters=2)
    for _ in range(400):
        kind = draw.choice(list(Kind))
        sender = draw.randrange(14)
        sections = [draw.randbytes(8 * draw.randrange(40)) for _ in range(draw.randrange(9))]
        data = encode_message(kind, draw.choice((1, 2)), sender, draw.randrange(3), draw.randrange(3), sections)
        if draw.random() < 0.3:
            data = np.frombuffer(draw.randbytes(8 * draw.randrange(20)), dtype=np.uint8).copy()
        for node in world.nodes:
            if kind is not Kind.CLOSE:
                world.nodes[node].handle(MessageReceived(data), 1)
    assert world.committed_ids() == []


def test_heads_are_checked() -> None:
    good = encode_message(Kind.VOTE, 1, 2, 3, 4, [b"12345678"])
    assert open_message(good).sections[0].tobytes() == b"12345678"
    for size in range(0, good.nbytes):
        with pytest.raises(PeerError):
            open_message(good[:size].copy())
    assert HEAD.itemsize == 32
