"""Rank program: traffic of one kind, some ranks kill themselves at a moment chosen by a seed, the others go on.

Arguments: seed, traffic (idle, small, large), the victims (1,3).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import numpy as np

from baash.mpi.ending import run_rank
from baash.mpi.report import emit
from baash.mpi.transport import MpiTransport
from baash.mpi.world import start_all

SIZES = {"idle": [], "small": [0, 8, 500, 4000, 5000], "large": [8, 70_000, 1 << 20, 20 << 20]}
RUN_S, NOTICE_S = 1.0, 15.0


def body() -> MpiTransport:
    seed, traffic, victims = int(sys.argv[1]), sys.argv[2], [int(word) for word in sys.argv[3].split(",")]
    transport = start_all(1).transport
    rank, size = transport.rank, transport.size
    draw = random.Random(seed * 100 + rank)
    start = time.monotonic()
    death = start + random.Random(seed + victims.index(rank)).uniform(0.05, 0.6) if rank in victims else None
    sent, taken, seen = [0] * size, [0] * size, []
    while time.monotonic() < start + RUN_S or (len(seen) < len(victims) and time.monotonic() < start + NOTICE_S):
        if SIZES[traffic] and transport.pending < 3 * size:
            for other in range(size):
                data = np.full(8 + draw.choice(SIZES[traffic]), (sent[other] + rank) % 251, np.uint8)
                data[:8].view("<u8")[0] = sent[other]
                transport.send(other, sent[other] % 1000, data)
                sent[other] += 1
        if death is not None and time.monotonic() > death:
            os.kill(os.getpid(), signal.SIGKILL)
        for source, tag, data in transport.poll():
            number = int(data[:8].view("<u8")[0])
            assert (number, tag) == (taken[source], taken[source] % 1000), (
                f"from {source}: {number}, not {taken[source]}"
            )
            assert (data[8:] == (number + source) % 251).all()
            taken[source] += 1
        seen += transport.failed()
        transport.wait(0.01, bool(SIZES[traffic]))
    drained = transport.drain(10)
    before = time.monotonic()
    transport.send(victims[0], 1, b"to the dead")
    emit("note", note="survived", rank=rank, seen=seen, drained=drained, dropped=transport.counters.messages_dropped)
    transport.close(10)
    emit("note", note="closed", rank=rank, seconds=time.monotonic() - before, clean=transport.clean)
    return transport


run_rank(body, debug=True)
