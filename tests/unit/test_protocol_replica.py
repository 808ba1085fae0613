"""What a node keeps of the chain: what it is bounded by, what it answers, and that it is the chain."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import chain_of_world, check, check_nodes
from worlds import World, encode

from baash import kernels
from baash.batch import Batch
from baash.errors import LedgerDamaged
from baash.protocol import headers
from baash.protocol.flights import Limits
from baash.protocol.messages import Kind, open_message
from baash.protocol.messages import encode as encode_message
from baash.protocol.plan import window_rows
from baash.protocol.replica import PIECE_BYTES, Blocks, Replica
from baash.protocol.validator import Validator
from baash.protocol.windows import block_offsets, entries_of
from baash.records import WINDOW, Operation

SMALL = Limits(window_transactions=60)


def window(count: int, first: int, height: int, payload: int = 20, block_size: int = 4) -> tuple[np.ndarray, Batch]:
    """The rows and the batch of a committed window."""
    batch = encode(Operation.CREATE, [f"e{first + i}" for i in range(count)], first, payload=b"p" * payload)
    rows = window_rows(np.zeros(1, dtype=WINDOW)[0], entries_of(batch, block_offsets(len(batch), block_size)), 0, first)
    kernels.chain_blocks(rows, height, bytes(32))
    return rows, batch


def fill(replica: Replica, sizes: list[int], payload: int = 20) -> tuple[np.ndarray, list[bytes]]:
    """Windows of so many transactions, one behind the other: all rows, and the records of each block."""
    all_rows, records, first, height = [], [], 0, 0
    for size in sizes:
        rows, batch = window(size, first, height, payload)
        replica.add(rows, batch)
        ends = np.cumsum(rows["bytes"]).tolist()
        records += [batch.records[end - int(b) : end].tobytes() for end, b in zip(ends, rows["bytes"], strict=True)]
        all_rows.append(rows)
        first, height = first + size, height + len(rows)
    return np.concatenate(all_rows), records


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=12), st.integers(0, 60_000), st.integers(0, 300), st.data())
def test_it_holds_the_newest_and_answers_for_nothing_else(
    sizes: list[int], bound: int, payload: int, data: st.DataObject
) -> None:
    replica = Replica(bound)
    rows, records = fill(replica, sizes, payload)

    def chain(height: int) -> tuple[np.void, np.ndarray]:
        return rows[height], np.frombuffer(records[height], dtype=np.uint8)

    held = check(replica, chain)
    total = len(rows)
    if held:  # the newest, without gaps
        assert replica.pieces[-1].first + len(replica.pieces[-1]) == total
        assert replica.pieces[0].first == total - held
    first = data.draw(st.integers(0, total))
    after = data.draw(st.integers(first, total))
    found = replica.blocks(first, after)
    if first == after:
        assert found == []
    elif first < total - held or not held:
        assert found is None
    else:
        assert found is not None
        assert [bytes(v) for piece in found for v in piece.views()] == records[first:after]
        assert b"".join(b"".join(_each(piece)) for piece in found) == b"".join(records[first:after])
        assert sum(len(list(_each(piece))) for piece in found) == int(rows["count"][first:after].sum())
    one = replica.block(first)
    assert (one is not None) == (total - held <= first < total)
    if one is not None:
        assert (int(one[0]["height"]), one[1].tobytes()) == (first, records[first])
    numbers = np.unique(
        np.array(data.draw(st.lists(st.integers(0, sum(sizes) - 1), min_size=1, max_size=40)), dtype=np.uint64)
    )
    near, size = replica.holding(numbers)
    blocks = np.searchsorted(rows["first_transaction"], numbers, side="right") - 1
    assert near.tolist() == [int(b) >= total - held and held > 0 for b in blocks]
    assert size == sum(len(records[b]) for b in set(blocks[near].tolist()))


def _each(piece: Blocks) -> list[bytes]:
    ends = piece.starts.tolist()
    return [piece.records[a:b].tobytes() for a, b in pairwise(ends)]


def test_memory_is_what_it_says() -> None:
    """Twenty windows, each in a message of its own: what is counted is what the messages and copies take."""
    replica = Replica(1 << 20)
    messages: list[weakref.ref[np.ndarray]] = []
    height = first = 0
    for _ in range(20):
        rows, batch = window(200, first, height, payload=300)
        message = np.zeros(batch.records.nbytes + 64, dtype=np.uint8)
        message[64:] = batch.records
        replica.add(rows, Batch(message[64:], batch.info, batch.ids, batch.entities))
        messages.append(weakref.ref(message))
        first, height = first + 200, height + len(rows)
        del message
    del batch
    gc.collect()
    living = sum(m().nbytes for m in messages if m() is not None)  # type: ignore[union-attr]
    assert 0 < living <= replica.bytes <= 1 << 20
    assert replica.bytes > 7 << 17  # and it is used
    assert all(piece.records.base is not None for piece in replica.pieces)  # views, no copies


@pytest.mark.parametrize("transactions", [1, 3, 40, 4000])
def test_the_interpreter_sees_no_more_memory_than_is_counted(transactions: int) -> None:
    made = []
    first = height = 0
    for _ in range(max(30, 3000 // transactions)):
        made.append(window(transactions, first, height))
        first, height = first + transactions, height + len(made[-1][0])
    replica = Replica(300_000)
    gc.collect()
    tracemalloc.start()
    for rows, batch in made:
        replica.add(rows, Batch(batch.records.copy(), batch.info, batch.ids, batch.entities))
        del rows, batch
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 200_000 < replica.bytes <= 300_000 and taken <= replica.bytes + 4096


def test_a_small_remainder_does_not_pin_a_large_message() -> None:
    rows, batch = window(8, 0, 0)
    message = np.zeros(8 << 20, dtype=np.uint8)
    message[: batch.records.nbytes] = batch.records
    there = weakref.ref(message)
    replica = Replica(64 << 20)
    replica.add(rows, Batch(message[: batch.records.nbytes], batch.info, batch.ids, batch.entities))
    del message
    gc.collect()
    assert there() is None and len(replica) == 2 and replica.bytes < batch.records.nbytes + 2 * PIECE_BYTES


def test_nothing_is_kept_without_room() -> None:
    replica = Replica(0)
    fill(replica, [10, 10])
    assert len(replica) == 0 and replica.bytes == 0 and replica.blocks(0, 1) is None and replica.blocks(0, 0) == []
    near, size = replica.holding(np.arange(20, dtype=np.uint64))
    assert not near.any() and size == 0


def test_bytes_that_are_no_records_are_named() -> None:
    rows, batch = window(8, 0, 0)
    offsets = np.append(0, np.cumsum(rows["bytes"], dtype=np.int64))
    with pytest.raises(LedgerDamaged, match="blocks 0 to 1: the records are not whole"):
        _ = Blocks(rows, np.zeros_like(batch.records), offsets).starts


# -- in a world of nodes --------------------------------------------------------------------------------------------


def offered(world: World, count: int = 900) -> None:
    world.offer(encode(Operation.CREATE, [f"e{i}" for i in range(count)], payload=b"p" * 30))
    world.offer(encode(Operation.UPDATE, [f"e{i % 50}" for i in range(count)], count, payload=b"q" * 30))
    world.offer(encode(Operation.UPDATE, [f"nobody{i}" for i in range(20)], 2 * count))
    world.end()


@pytest.mark.parametrize(("nodes", "clusters"), [(6, 1), (12, 2), (20, 4), (35, 5)])
def test_every_node_holds_its_cluster_s_part_of_the_chain(nodes: int, clusters: int) -> None:
    world = World(nodes=nodes, clusters=clusters, limits=SMALL, seed=clusters)
    offered(world)
    world.run(ticks=300)
    assert world.failed is None and not any(r.kind == "bad_message" for r in world.reports)
    log = world.coordinators[0].rounds.log
    held = check_nodes(world.nodes, chain_of_world(world))
    for node in world.view.nodes:
        if node.cluster is None:
            assert held[node.node] == 0
            continue
        of_cluster = {n.node for n in world.view.nodes if n.cluster == node.cluster}
        assert {held[n] for n in of_cluster} == {held[node.node]}
        one = world.nodes[node.node]
        if isinstance(one, Validator):  # each has proved to itself what it was told
            assert (one.tip.block_total, one.tip.head) == (log.block_total, log.head)
            assert kernels.log_root(one.tip.frontier, log.block_total) == kernels.log_root(
                log.frontier, log.block_total
            )
    assert sum(held[c.node] for c in world.view.coordinators) == log.block_total


def test_nodes_that_were_left_out_hold_it_too() -> None:
    """A node that is in no sub-cluster gets the blocks with the commit, one that could not judge keeps what it holds."""
    world = World(nodes=9, limits=SMALL)
    raises = world.nodes[world.view.validators(0)[0].node]
    assert isinstance(raises, Validator)
    raises._judge = lambda window: 1 / 0  # type: ignore[assignment,return-value]
    offered(world)
    world.run(ticks=300)
    held = check_nodes(world.nodes, chain_of_world(world))
    assert {held[n.node] for n in world.view.nodes if n.cluster == 0} == {world.coordinators[0].rounds.log.block_total}


def lied_to(change: object, clusters: int = 3) -> tuple[World, int]:
    """A world in which one node of the middle cluster gets COMMITTED messages that ``change(sections)`` has changed."""
    world = World(nodes=6 * clusters, clusters=clusters, limits=SMALL, seed=3)
    cluster = clusters // 2
    victim = world.view.validators(cluster)[0].node

    def tamper(sender: int, to: int, data: np.ndarray) -> np.ndarray:
        message = open_message(data)
        if to != victim or message.kind is not Kind.COMMITTED:
            return data
        sections = [s.copy() for s in message.sections]
        change(sections)  # type: ignore[operator]
        return encode_message(Kind.COMMITTED, message.view, message.sender, message.a, 0, sections)

    world.tamper = tamper
    offered(world)
    world.run(ticks=300)
    return world, victim


def _flip(section: int, at: int) -> object:
    def change(sections: list[np.ndarray]) -> None:
        if sections[section].nbytes:
            sections[section][at % sections[section].nbytes] ^= 1

    return change


def _shorter(sections: list[np.ndarray]) -> None:
    sections[6] = sections[6][:-32] if sections[6].nbytes else np.zeros(32, dtype=np.uint8)


def _others_parent(sections: list[np.ndarray]) -> None:
    if sections[6].nbytes >= 64:
        sections[6][:32] = sections[6][32:64]


def _higher_numbers(sections: list[np.ndarray]) -> None:
    sections[2] = (sections[2].view("<u8") + np.uint64(1 << 40)).view(np.uint8)


def _numbers_with_a_gap(sections: list[np.ndarray]) -> None:
    numbers = sections[2].view("<u8")
    numbers[1:] += np.uint64(1)


CHANGES = {
    "parent": _flip(6, 0),
    "last hash": _flip(6, -1),
    "one hash fewer": _shorter,
    "another parent": _others_parent,
    "impossible transaction numbers": _higher_numbers,
    "records": _flip(5, 70),
    "certificate": _flip(4, 300),
    "body": _flip(1, 40),
    "record": _flip(0, 130),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_coordinator_invents_does_not_enter(change: str) -> None:
    """The blocks of the liar's words are not there, and those of the other nodes are."""
    world, victim = lied_to(CHANGES[change])
    assert world.failed is None
    chain = chain_of_world(world)
    held = check_nodes(world.nodes, chain)
    node = world.nodes[victim]
    assert isinstance(node, Validator)
    table = {k.tobytes() for k in node.state.table.items()[0]}
    if change not in ("records", "certificate"):  # those it did not need, where it had judged the window itself
        assert held[victim] == 0 and not table and node.round < world.coordinators[0].rounds.log.round
        assert any(r.kind == "bad_message" and f"node {victim} " in r.text for r in world.reports)
    assert sum(held[c.node] for c in world.view.coordinators) == world.coordinators[0].rounds.log.block_total


def test_numbers_with_gaps_between_windows_are_refused() -> None:
    world, victim = lied_to(_numbers_with_a_gap, clusters=1)
    check_nodes(world.nodes, chain_of_world(world))
    rounds = world.coordinators[0].rounds.log.round
    node = world.nodes[victim]
    assert isinstance(node, Validator)
    several = any("impossible numbers" in r.text for r in world.reports)
    assert several == (node.round < rounds)


@pytest.mark.parametrize("others", [0, 1, 2, 3, 5, 8, 13, 64, 100])
def test_the_hashes_told_are_few(others: int) -> None:
    """Logarithmic in what the other clusters commit, and none without others."""
    for start in (0, 1, 7, 1000):
        told = len(headers._levels(start, start + others)) + len(
            headers._levels(start + others + 3, start + 2 * others + 3)
        )
        assert told <= 4 * max(others, 1).bit_length() and (told > 0) == (others > 0)
