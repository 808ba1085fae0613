"""The start of a world: one MPI library, everybody's hello, one transport.

It does not know what the blobs mean that ranks show each other, and what happens after the start is the transport's.

Theory. Before anything can be voted on, all ranks must know who is there: that is one collective, and at the start,
when nobody is dead yet, a collective is right. It is the only place where a rank waits inside MPI, so it has a time
limit that does not depend on MPI: a thread that ends the process with a clear sentence, and behind it SIGALRM, whose
default action needs no interpreter. Whoever is ended so is noticed by the others.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from baash.errors import TransportError
from baash.mpi import ending
from baash.mpi.info import libmpi_mapped
from baash.mpi.report import emit

if TYPE_CHECKING:
    from mpi4py import MPI

    from baash.mpi.transport import MpiTransport

START_S = 60.0  # all ranks must have met after this time
_BACKSTOP_S = 5  # SIGALRM comes so much later than the sentence
_HEAD = np.dtype([("pid", "<i8"), ("nodes", "<i8"), ("host", "<i8"), ("blob", "<i8")])


@dataclass(frozen=True)
class Hello:
    """What every rank knows of every rank."""

    rank: int
    host: str
    pid: int
    nodes: int
    blob: bytes  # what the rank gave to ``start_all``: its public keys


def start_all(nodes: int, blob: bytes = b"", *, timeout_s: float = START_S) -> World:
    """Start MPI and meet the others: every rank calls this, once. Raises ``TransportError``."""
    with time_limit(timeout_s, "MPI did not start: not all ranks have met"):
        from baash.mpi.library import MPI
        from baash.mpi.transport import MpiTransport

        check_one_libmpi()
        try:
            transport = MpiTransport()
            hellos = [_unpack(rank, raw) for rank, raw in enumerate(_gather_all(_pack(nodes, blob)))]
        except MPI.Exception as error:
            raise TransportError(
                f"MPI failed while the ranks met: {error}; see whether a rank died at its start"
            ) from error
    if transport.rank == 0:
        hosts, known = {hello.host for hello in hellos}, sum(hello.nodes for hello in hellos)
        emit("note", note="met", ranks=transport.size, hosts=len(hosts), nodes=known, ulfm=transport.ulfm)
    return World(transport, hellos)


class World:
    """A started world: the transport and the hellos of all ranks, in order of rank."""

    def __init__(self, transport: MpiTransport, hellos: list[Hello]) -> None:
        self.transport = transport
        self.hellos = tuple(hellos)

    def broadcast_all(self, data: bytes | None, *, timeout_s: float = START_S) -> bytes:
        """Rank 0's ``data`` to every rank; only at the start, before anybody may be dead. Raises ``TransportError``."""
        from baash.mpi.library import MPI

        if (data is None) == (self.transport.rank == 0):
            raise AssertionError("rank 0, and it alone, gives what is broadcast")
        with time_limit(timeout_s, "a broadcast at the start was not finished"):
            try:
                size = np.array([len(data or b"")], "<i8")
                MPI.COMM_WORLD.Bcast(size, 0)
                buffer = np.empty(int(size[0]), np.uint8) if data is None else np.frombuffer(data, np.uint8)
                MPI.COMM_WORLD.Bcast([buffer, MPI.BYTE], 0)
            except MPI.Exception as error:
                raise TransportError(f"a broadcast at the start failed: {error}; see whether a rank died") from error
        return buffer.tobytes()

    def split_all(self, member: bool, *, timeout_s: float = START_S) -> MPI.Intracomm | None:
        """A communicator of the ranks that pass True, None on the others; only at the start. Every rank calls it."""
        from baash.mpi.library import MPI

        with time_limit(timeout_s, "a communicator could not be made at the start"):
            comm = MPI.COMM_WORLD.Split(0 if member else MPI.UNDEFINED, self.transport.rank)
        return comm if isinstance(comm, MPI.Intracomm) and member else None

    def versions(self) -> dict[str, str]:
        """Of mpi4py and the MPI library, for reports."""
        import mpi4py

        from baash.mpi.library import MPI

        return {"mpi4py": mpi4py.__version__, "mpi_library": MPI.Get_library_version().split(",")[0].strip("\0 ")}


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """End this process when the block takes longer: inside MPI nothing else can."""

    def over() -> None:
        ending.die(
            f"{what} within {seconds:.0f} s; look at the hosts, the network and the other ranks' messages, "
            "or allow more time"
        )

    timer = threading.Timer(seconds, over)
    timer.daemon = True
    timer.start()
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL) if main else None
    signal.alarm(int(seconds) + _BACKSTOP_S)
    try:
        yield
    finally:
        timer.cancel()
        signal.alarm(0)
        if main:
            signal.signal(signal.SIGALRM, before)


def check_one_libmpi() -> None:
    """Refuse two MPI libraries in one process: the later one wins some calls, and data is lost without a word."""
    found = libmpi_mapped()
    if len(found) > 1:
        raise TransportError(
            f"two MPI libraries are loaded in one process ({' and '.join(found)}): "
            "build mpi4py and h5py for the same one"
        )


def _pack(nodes: int, blob: bytes) -> bytes:
    host = socket.gethostname().encode()
    return np.array([(os.getpid(), nodes, len(host), len(blob))], _HEAD).tobytes() + host + blob


def _unpack(rank: int, raw: bytes) -> Hello:
    head = np.frombuffer(raw, _HEAD, count=1)[0]
    middle = _HEAD.itemsize + int(head["host"])
    host, blob = raw[_HEAD.itemsize : middle], raw[middle:]
    if len(blob) != int(head["blob"]):
        raise AssertionError(f"the hello of rank {rank} is cut short")
    return Hello(rank, host.decode(errors="replace"), int(head["pid"]), int(head["nodes"]), blob)


def _gather_all(mine: bytes) -> list[bytes]:
    from baash.mpi.library import MPI

    comm = MPI.COMM_WORLD
    sizes = np.empty(comm.Get_size(), "<i8")
    comm.Allgather(np.array([len(mine)], "<i8"), sizes)
    counts = sizes.tolist()
    everything = np.empty(sum(counts), np.uint8)
    comm.Allgatherv([np.frombuffer(mine, np.uint8), MPI.BYTE], [everything, counts, MPI.BYTE])
    ends = np.cumsum(sizes).tolist()
    return [everything[end - count : end].tobytes() for end, count in zip(ends, counts, strict=True)]
