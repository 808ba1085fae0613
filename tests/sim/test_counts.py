"""What windows and rounds cost, as docs/protocol.md derives it, against every message of a made-up run without faults."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from baash.protocol.messages import Kind, open_message
from baash.records import WINDOW
from baash.sim.scale import shape_of
from baash.sim.simulation import Simulation, play

F = 1
SUB_CLUSTER = 3 * F + 1


class Heard:
    """Messages by kind, and what they are about, each once: windows, parts of rounds, rounds."""

    def __init__(self) -> None:
        self.messages: Counter[Kind] = Counter()
        self.record_bytes: Counter[Kind] = Counter()
        self.windows: set[tuple[int, int]] = set()
        self.rounds: set[int] = set()
        self.parts = self.window_bytes = 0

    def __call__(self, data: Any) -> None:
        message = open_message(data)
        self.messages[message.kind] += 1
        if message.kind is Kind.WINDOW:
            row = message.sections[0].view(WINDOW)[0]
            if (message.sender, int(row["number"])) not in self.windows:
                self.windows.add((message.sender, int(row["number"])))
                self.window_bytes += int(row["records_bytes"])
            self.record_bytes[message.kind] += message.sections[6].nbytes
        elif message.kind is Kind.COMMITTED:
            self.rounds.add(message.a)
            self.record_bytes[message.kind] += message.sections[5].nbytes
        elif message.kind is Kind.OFFER and message.a == 0:
            self.parts += 1


@pytest.mark.parametrize(("nodes", "clusters"), [(5, 1), (16, 1), (20, 2), (40, 4), (100, 5)])
def test_messages_and_hashes_are_those_of_the_page(nodes: int, clusters: int) -> None:
    """``nodes`` does not count the storage validator, which nobody asks here."""
    heard = Heard()

    def watch(sim: Simulation) -> None:
        sim._again = False  # one job
        sim.world.heard = heard

    outcome = play(shape_of(nodes, clusters, seed=1), change=watch)
    assert not outcome.violations and outcome.committed == outcome.offered
    windows, rounds = len(heard.windows), outcome.rounds
    others, validators = clusters - 1, nodes - clusters
    assert heard.rounds == set(range(rounds)) and windows >= clusters
    assert dict(heard.messages) == {
        kind: count
        for kind, count in {
            Kind.WINDOW: SUB_CLUSTER * windows,
            Kind.VOTE: SUB_CLUSTER * windows,
            Kind.OFFER: heard.parts + others,  # and that there is nothing more
            Kind.PROPOSE: others * rounds,
            Kind.READY: others * rounds,
            Kind.RECORDED: others * rounds,
            Kind.COMMITTED: validators * rounds,
            Kind.CLOSE: nodes,
            Kind.OVER: nodes - 1,  # one rank a node
        }.items()
        if count
    }
    assert heard.parts <= others * rounds
    # every byte is hashed by its sub-cluster, and by those of its cluster's nodes that did not judge it
    assert heard.window_bytes == outcome.record_bytes
    assert heard.record_bytes[Kind.WINDOW] == SUB_CLUSTER * outcome.record_bytes
    rest = validators // clusters - SUB_CLUSTER
    assert heard.record_bytes[Kind.COMMITTED] == rest * outcome.record_bytes
