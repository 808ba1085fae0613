"""Rank program: a ring, then all to all, and rank 0's broadcast; every message is checked for order and bytes."""

from __future__ import annotations

import sys
import time

import numpy as np

from baash.mpi.ending import run_rank
from baash.mpi.report import emit
from baash.mpi.transport import MpiTransport
from baash.mpi.world import start_all

KIB, MIB = 1 << 10, 1 << 20
RING = [0, 1, 4095, 4096, 4097, 64 * KIB, 64 * KIB + 1, MIB, 5, 40 * MIB, 0, 3]  # small ones behind a large one
EACH = [0, 1, 17, 4 * KIB, 5 * KIB, 70 * KIB, 300 * KIB, 9, MIB]
PERIOD = 251  # prime, so that swapped blocks show


PATTERN = np.tile(np.arange(PERIOD, dtype=np.uint8), max(RING) // PERIOD + 2)


def message(source: int, number: int, size: int) -> np.ndarray:
    start = (source * 7 + number) % PERIOD
    return PATTERN[start : start + size]


def receive(transport: MpiTransport, expected: dict[int, list[int]]) -> int:
    """Take all that ``expected`` says, by source the sizes in order; the tag is the number of the message."""
    taken = dict.fromkeys(expected, 0)
    deadline = time.monotonic() + 30
    while any(taken[source] < len(sizes) for source, sizes in expected.items()):
        assert time.monotonic() < deadline, f"only {taken} came"
        for source, tag, data in transport.poll():
            number = taken[source]
            assert tag == number, f"from {source} came message {tag} and not {number}"
            assert np.array_equal(data, message(source, number, expected[source][number]))
            taken[source] += 1
        transport.wait(0.01, True)
    return sum(taken.values())


def body() -> MpiTransport:
    world = start_all(3, b"key" * (int(sys.argv[1]) + 1))
    transport = world.transport
    rank, size = transport.rank, transport.size
    assert [hello.rank for hello in world.hellos] == list(range(size))
    assert all(hello.nodes == 3 and hello.blob.startswith(b"key") for hello in world.hellos)
    assert world.broadcast_all(b"view" * 5000 if rank == 0 else None) == b"view" * 5000
    assert world.broadcast_all(b"" if rank == 0 else None) == b""

    right, left = (rank + 1) % size, (rank - 1) % size
    expected = {other: EACH if other != left else RING + EACH for other in range(size)}
    for number, count in enumerate(RING):
        transport.send(right, number, message(rank, number, count))
    for number, count in enumerate(EACH):
        for other in range(size):
            place = number + len(RING) * (other == right)
            transport.send(other, place, message(rank, place, count).tobytes())
    taken = receive(transport, expected)

    assert transport.drain(20)
    assert transport.pending == 0 and transport.failed() == []
    counters = transport.counters
    assert counters.messages_received == taken == counters.messages_sent
    assert counters.bytes_received == sum(RING) + size * sum(EACH) == counters.bytes_sent
    emit("note", note="good", rank=rank, ulfm=transport.ulfm)
    return transport


run_rank(body, debug=True)
