"""What ranks say to each other at the end: one thing each, of some size, whatever a liar sends."""

from __future__ import annotations

import numpy as np
from worlds import World as Protocol

from baash.protocol.validator import Validator
from baash.service import MAIL_BYTES, Service
from baash.sim.network import Network, Weather
from baash.sim.world import World


def test_a_flood_of_mail_is_not_kept() -> None:
    world, made = World(1), Protocol()
    network = Network(world, 6, Weather())
    node = made.view.validators(0)[0]
    validator = made.nodes[node.node]
    assert isinstance(validator, Validator)
    service = Service(network.transports[node.rank], made.view, {node.node: validator}, store=None, intake=None, clock=lambda: world.now)  # fmt: skip
    sources = [r for r in range(6) if r != node.rank]
    liar, others = sources[0], sources[1:]
    for i in range(200):
        network.send(liar, node.rank, service.mail_tag, np.full(1 << 10, i, dtype=np.uint8))
    network.send(others[0], node.rank, service.mail_tag, np.zeros(MAIL_BYTES + 8, dtype=np.uint8))
    for source in others:
        network.send(source, node.rank, service.mail_tag, np.full(8, source, dtype=np.uint8))
    while world.step():
        service.step()
    kept = dict(service.mail)
    assert len(service.mail) == len(kept) == 5 and sorted(kept) == sorted(sources)
    assert kept[liar][0] == 0 and all(kept[s].tobytes() == bytes([s]) * 8 for s in others)
    assert service.tally.reports["bad_message"] == 200
