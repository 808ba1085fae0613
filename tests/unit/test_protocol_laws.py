"""The core is a function: no clock, no randomness, no files; equal seeds give equal worlds, byte for byte."""

from __future__ import annotations

import builtins
import hashlib
import os
import random
import time

import numpy as np
import pytest
from worlds import World, encode

from baash.protocol.flights import Limits
from baash.records import Operation


def story(seed: int) -> str:
    """A digest of everything that was said and written in a world with a death, a liar's noise and a hot entity."""
    world = World(nodes=12, clusters=2, seed=seed, limits=Limits(window_transactions=64))
    told = hashlib.sha256()

    def listen(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        told.update(sender.to_bytes(4, "little") + to.to_bytes(4, "little") + data.tobytes())
        return data

    world.tamper = listen
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(500)]))
    world.offer(encode(Operation.UPDATE, [f"e{i % 3}" for i in range(300)], first=500))
    world.kill(world.view.validators(0)[0].node)
    world.end()
    world.run(ticks=100)
    assert world.failed is None and len(world.committed_ids()) == 800
    for name, data in sorted(world.files.items()):
        told.update(repr(name).encode() + data)
    return told.hexdigest()


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the protocol asked the machine for something")


def test_the_core_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in (
        (time, ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep")),
        (os, ("urandom", "getpid", "open", "getenv")),
        (random, ("random", "randrange", "choice", "shuffle")),
        (builtins, ("open",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    told = story(1)
    monkeypatch.undo()
    assert told == story(1)


def test_seeds_matter_and_repeat() -> None:
    assert story(7) == story(7)
    assert len({story(seed) for seed in range(4)}) == 4


@pytest.mark.parametrize("nodes", [5, 6, 9, 13])
def test_window_size_and_membership_do_not_change_what_is_committed(nodes: int) -> None:
    worlds = [
        World(nodes=nodes, seed=seed, limits=Limits(window_transactions=size), block_size=block)
        for seed, size, block in ((1, 10, 4), (2, 1000, 250), (3, 77, 1))
    ]
    for world in worlds:
        world.offer(encode([Operation.CREATE] * 50 + [Operation.NOTE] * 50, [f"e{i % 60}" for i in range(100)]))
        world.end()
        world.run()
        assert world.failed is None
    assert len({tuple(sorted(w.committed_ids())) for w in worlds}) == 1
