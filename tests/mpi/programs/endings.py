"""Rank program: rank 1 (some ways: others too) ends as the argument says; the others notice, or are asked to drain."""

from __future__ import annotations

import os
import signal
import sys
import time

from baash.errors import StorageError
from baash.mpi.ending import drain_requested, run_rank
from baash.mpi.report import emit
from baash.mpi.transport import MpiTransport
from baash.mpi.world import start_all


def misbehave(how: str, rank: int) -> None:
    match how, rank:
        case "raise" | "each-its-way", 1:
            raise StorageError("the disk is full: make room")
        case "each-its-way", 2:
            sys.exit(3)
        case "each-its-way", 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        case "stop", 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        case "all-raise", _:
            raise ValueError("bad\nluck")
        case "all-killed", _:
            os.kill(os.getpid(), signal.SIGKILL)


def body() -> MpiTransport:
    how = sys.argv[1]
    if how == "late" and os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "1":
        time.sleep(7)
    transport = start_all(1, timeout_s=2.0 if how == "late" else 30.0).transport
    print("a stray line")
    misbehave(how, transport.rank)
    seen: list[int] = []
    start = time.monotonic()
    patience = {"sleep": 60.0, "stubborn": 60.0, "raise": 15.0, "each-its-way": 15.0}.get(how, 0.1)
    awaited = {"raise": 1, "each-its-way": 3}.get(how, transport.size)
    while time.monotonic() < start + patience and len(seen) < awaited:
        if how == "sleep" and drain_requested():
            break
        transport.poll()
        transport.wait(0.05, False)
        seen += transport.failed()
    emit("note", note="ending", rank=transport.rank, seen=seen, drain=drain_requested())
    if how == "stop":
        transport.close(1.0)
    if transport.rank == 0:
        emit("status", exit_code=5 if how == "bad" else 0, how=how)
    return transport


run_rank(body)
