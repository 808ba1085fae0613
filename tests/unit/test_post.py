"""What ranks say to each other at the end: one thing each, of some size, whatever a liar sends."""

from __future__ import annotations

import numpy as np

from baash.protocol.view import Host
from baash.sim.network import Network, Weather
from baash.sim.world import World
from baash.succession import MAIL_BYTES, Post


def test_a_flood_of_mail_is_not_kept() -> None:
    world = World(1)
    network = Network(world, 6, Weather())
    hosts = [Host(rank, f"host{rank}", (bytes([rank]) * 32,), bytes(32)) for rank in range(6)]
    post = Post(network.transports[0], hosts)
    liar, others = 1, [2, 3, 4, 5]
    for i in range(200):
        network.send(liar, 0, post.mail_tag, np.full(1 << 10, i, dtype=np.uint8))
    network.send(others[0], 0, post.mail_tag, np.zeros(MAIL_BYTES + 8, dtype=np.uint8))
    for source in others:
        network.send(source, 0, post.mail_tag, np.full(8, source, dtype=np.uint8))
    while world.step():
        post.pump()
    kept = dict(post.mail)
    assert len(post.mail) == len(kept) == 5 and sorted(kept) == [liar, *others]
    assert kept[liar][0] == 0 and all(kept[s].tobytes() == bytes([s]) * 8 for s in others)
    assert post.stale == 200
