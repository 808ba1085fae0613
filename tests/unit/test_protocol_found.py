"""What simulation found, each as the smallest story that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ledgers import batch_of, key_of, record
from worlds import MS, World, encode

from baash.ledger.folder import Folder
from baash.ledger.writer import OffsetWriter
from baash.protocol.events import MessageReceived, Persist, PersistFailed, Write
from baash.protocol.flights import Limits
from baash.protocol.messages import Kind, open_message
from baash.protocol.messages import encode as encode_message
from baash.protocol.plan import Capacity
from baash.protocol.validator import WINDOWS_KEPT, Validator
from baash.records import WINDOW, Operation, Reason
from baash.store import Done, Work, finish

SMALL = Limits(window_transactions=2)


def test_a_number_that_comes_twice_in_a_batch_is_taken_in_once() -> None:
    """The two would go into two windows in flight at once, and both be committed."""
    world = World(limits=SMALL)
    notes = [record(Operation.NOTE, f"e{i}", i) for i in range(6)]
    other = record(Operation.NOTE, "another", 2)
    world.offer(batch_of([*notes, *notes, other]))
    world.end()
    world.run()
    assert world.failed is None
    assert world.committed_ids() == [i.tobytes() for i in batch_of(notes).ids]
    assert world.duplicates == 6 and world.reasons() == [Reason.ISSUER_CONFLICT]


def test_a_batch_of_forgeries_alone_leaves_nothing_behind() -> None:
    world = World(limits=SMALL)
    good = record(Operation.NOTE, "e", 1, key=key_of("k"))
    world.offer(batch_of([good[:-1] + bytes([good[-1] ^ 1])]))
    assert world.coordinators[0].queues.spread(()) == 0
    world.run(ticks=2)
    assert world.coordinators[0].queues.spread(()) == 0
    world.end()
    world.run()
    assert world.failed is None and world.reasons() == [Reason.BAD_SIGNATURE]


def test_a_false_list_of_a_window_in_flight_is_not_believed() -> None:
    """A coordinator says that the windows before this one write other entities than they do."""
    world = World(limits=SMALL)

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if message.kind is not Kind.WINDOW or not message.sections[5].nbytes:
            return data
        sections = [s.copy() for s in message.sections]
        sections[5].view("<u8")[:] = 1
        return encode_message(message.kind, message.view, message.sender, message.a, message.b, sections)

    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(8)]))
    world.end()
    world.run()
    assert any("WINDOW_MISMATCH" in r.text for r in world.reports)


def test_a_flood_of_windows_does_not_fill_a_node() -> None:
    """A coordinator sends hundreds of windows of one number; a node keeps some, judges none of the others valid, and goes on."""
    world = World(limits=SMALL)

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if message.kind is Kind.WINDOW and message.sections[6].nbytes and not flooded:
            flooded.append(to)
            for i in range(300):
                sections = [s.copy() for s in message.sections]
                sections[0].view(WINDOW)[0]["time_ns"] = i + 10
                more = encode_message(message.kind, message.view, message.sender, message.a, message.b, sections)
                world.queue.append((to, MessageReceived(more)))
        return data

    flooded: list[int] = []
    world.tamper = tamper
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(40)]))
    world.end()
    world.run()
    node = world.nodes[flooded[0]]
    assert isinstance(node, Validator) and node.held <= 3 * WINDOWS_KEPT
    assert len(world.committed_ids()) == 40 and world.failed is None


class Slow(World):
    """A world in which the second coordinator's first write takes long, and the leader's fails."""

    def __init__(self) -> None:
        super().__init__(nodes=12, clusters=2)
        self.held: list[tuple[int, Persist]] = []
        self.asked: list[tuple[int, Persist]] = []

    def _persist(self, node: int, persist: Persist) -> None:
        leader = self.coordinators[0].node
        first = sum(n == node and not p.creates for n, p in self.asked) == 0 and not persist.creates
        self.asked.append((node, persist))
        if node != leader and first:
            self.held.append((node, persist))
        elif node == leader and first:
            self.queue.append((node, PersistFailed(persist.token, "no space left")))
        else:
            super()._persist(node, persist)


def test_the_next_proposal_waits_for_who_may_still_write() -> None:
    """In another proposal the same place may be another's: a late write would go over what is acknowledged."""
    world = Slow()
    proposals: list[int] = []

    def listen(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        if open_message(data).kind is Kind.PROPOSE:
            proposals.append(to)
        return data

    world.tamper = listen
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(300)]))
    world.end()
    world.run(ticks=10)
    assert len(world.held) == 1 and len(proposals) == 1 and not world.committed
    (node, persist), world.held = world.held[0], []
    World._persist(world, node, persist)
    world.now += 600 * MS
    world.run()
    assert len(proposals) > 1 and len(world.committed_ids()) == 300 and world.failed is None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    yield Folder.create(tmp_path / "ledger")


def test_a_segment_that_was_made_anew_is_opened_anew(folder: Folder) -> None:
    """The leader replaces the segment of a round that failed; who had it open must not write into the old one."""
    view = World(nodes=12, clusters=2).view
    leader, other = (Work(folder, view.view, OffsetWriter(folder, view)) for _ in range(2))
    room = Capacity(64, 1 << 14, 1 << 14, 64, 8)

    def write(work: Work, data: bytes, **more: object) -> Done:
        raw = np.frombuffer(data, dtype=np.uint8)
        return finish(work.steps(0, Persist(1, 0, (Write(0, "records", 0, raw),) if data else (), (), **more)))  # type: ignore[arg-type]

    for turn in (b"first", b"again"):
        assert not write(leader, b"", creates=room).reason
        assert not write(other, turn).reason
    assert folder.segment_path(view.view, 0).read_bytes().count(b"again") == 1


def test_a_coordinator_knows_which_transaction_wrote_an_entity_last_when_some_before_it_were_rejected() -> None:
    """Reads are answered by that number; it counts what is committed, not what was offered."""
    world = World()
    world.offer(encode([Operation.UPDATE, Operation.CREATE, Operation.UPDATE, Operation.CREATE], ["x", "a", "y", "b"]))
    world.end()
    world.run()
    assert world.reasons() == [Reason.ENTITY_UNKNOWN] * 2 and len(world.committed_ids()) == 2
    tables = [n.state.table for n in world.nodes.values() if len(n.state.table)]
    assert len(tables) > 4
    for table in tables:
        assert sorted(table.items()[3].tolist()) == [0, 1]
