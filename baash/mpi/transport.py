"""Messages between ranks: MPI point to point, on a communicator of our own, and nothing else.

It does not know what a message means, does not retry, does not time a peer out: it moves bytes, keeps their order,
and says which ranks died.

Theory. Every message is one ``Isend`` of the caller's bytes, in place, under the caller's tag (the number of the node
it is for); reception is a wildcard probe. Nothing waits inside MPI: each step is a test, and what is unfinished is
looked at again in the next round of progress. ``outbox.py`` and ``inbox.py`` hold what is under way, ``deaths.py`` who
died.

Ending. A send that MPI calls finished may still lie in a queue of its library, so ``drain`` sends an empty synchronous
message, a *mark*, behind the others: it is finished when the receiver has matched it, and by the order all before it.
``close`` does so with every living rank and waits for theirs, so nobody leaves while another still sends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from baash.errors import TransportError
from baash.mpi.deaths import Deaths
from baash.mpi.inbox import Inbox
from baash.mpi.library import MPI
from baash.mpi.outbox import Outbox

Bytes = npt.NDArray[np.uint8]

POLL_MESSAGES = 256  # at most so many messages a poll
MESSAGE_BYTES = 1 << 30  # MPI counts in 32 bits; ours end well before
PAUSE_S = (20e-6, 1e-3)  # an idle wait sleeps so long first, and so long at most
STALL_S = 0.25  # bytes that have been on their way for so long (to a stopped rank, say) are no reason not to sleep

_MARK = np.empty(0, np.uint8)
_BYE = np.ones(1, np.uint8)


@dataclass(frozen=True)
class Counters:
    """What has gone through a rank, its messages to itself included; marks are not counted."""

    messages_sent: int
    bytes_sent: int
    messages_received: int
    bytes_received: int
    messages_dropped: int  # to dead ranks, marks under way included


class MpiTransport:
    """The ``Transport`` of ``docs/architecture.md`` over MPI. All ranks make it together: it copies the communicator.

    The bytes given to ``send`` must not change until ``drain``. What ``poll`` gives belongs to the receiver, except
    what it sent to itself: those are the sender's own bytes. Errors: ``TransportError`` when MPI cannot go on.
    """

    def __init__(self, comm: MPI.Intracomm | None = None, *, poll_messages: int = POLL_MESSAGES) -> None:
        base = MPI.COMM_WORLD if comm is None else comm
        base.Set_errhandler(MPI.ERRORS_RETURN)
        self._comm = base.Dup()
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.clean = False  # after close: nobody died, everybody said goodbye, MPI can be finalized
        self._tags = int(self._comm.Get_attr(MPI.TAG_UB) or 32767)  # the last one is the mark
        self._deaths = Deaths(self._comm)
        self._outbox = Outbox(self._comm, self._deaths, self._tags)
        self._inbox = Inbox(self._comm, self._deaths, self._tags)
        self._unmarked: set[int] = set()  # receivers of messages behind which no mark was sent
        self._poll_messages = poll_messages
        self._pause = PAUSE_S[0]
        self._moved = 0.0  # when something was last sent or arrived
        self._sent = [0, 0]
        self._received = [0, 0]

    def send(self, rank: int, tag: int, data: npt.NDArray[Any] | bytes | bytearray | memoryview) -> None:
        """Send contiguous ``data`` to ``rank``; never blocks; what is for a dead rank is dropped and counted."""
        view = _flat(data) if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
        if not 0 <= tag < self._tags or view.size > MESSAGE_BYTES:
            raise TransportError(
                f"cannot send {view.size} bytes under tag {tag}: "
                f"at most {MESSAGE_BYTES} bytes and tags below {self._tags} can be sent"
            )
        self._sent[0] += 1
        self._sent[1] += view.size
        if rank == self.rank:
            self._inbox.ready.append((rank, tag, view))
        else:
            self._unmarked.add(rank)
            self._outbox.post(rank, tag, view)
            self._moved = time.monotonic()

    def poll(self) -> list[tuple[int, int, Bytes]]:
        """What has arrived, at most ``poll_messages``: (source rank, tag, bytes), in order for each source."""
        self._pump(self._poll_messages)
        out = self._inbox.take(self._poll_messages)
        self._received[0] += len(out)
        self._received[1] += sum(data.size for _, _, data in out)
        return out

    def failed(self) -> list[int]:
        """Ranks that died since the last call, each named once, in the order they were noticed."""
        news, self._deaths.news = self._deaths.news, []
        return news

    def wait(self, timeout_s: float, busy: bool) -> None:
        """Until something arrived, somebody died, or ``timeout_s``; yields if ``busy`` or bytes move, else sleeps."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._pump(self._poll_messages)
            now = time.monotonic()
            if self._inbox.ready or self._deaths.news:
                self._moved = now
                self._pause = PAUSE_S[0]
                return
            if now >= deadline:
                return
            self._rest(now, busy, deadline - now)

    def drain(self, timeout_s: float) -> bool:
        """Whether, within ``timeout_s``, all that was sent was matched by its receiver, or the receiver is dead."""
        for rank in sorted(self._unmarked):
            self._outbox.post(rank, self._tags, _MARK)
        self._unmarked.clear()
        return self._pump_until(timeout_s, lambda: not self._outbox)

    def close(self, timeout_s: float = 10.0) -> None:
        """Say goodbye to every living rank and wait for theirs; ``clean`` then tells whether all left well."""
        others = set(range(self.size)) - {self.rank}
        for rank in sorted(others):
            self._outbox.post(rank, self._tags, _BYE)
        over = self._pump_until(
            timeout_s, lambda: not self._outbox and others <= self._inbox.byes | self._deaths.dead.keys()
        )
        self.clean = over and not self._deaths.dead
        if self.clean:
            self._comm.Free()

    @property
    def ulfm(self) -> bool:
        """Whether deaths are survived: without it ``failed`` stays empty and a death ends the job."""
        return self._deaths.ulfm

    @property
    def dead(self) -> frozenset[int]:
        """All ranks known to be dead."""
        return frozenset(self._deaths.dead)

    @property
    def pending(self) -> int:
        """Messages sent and not finished."""
        return len(self._outbox)

    @property
    def counters(self) -> Counters:
        """The counts so far."""
        return Counters(self._sent[0], self._sent[1], self._received[0], self._received[1], self._outbox.dropped)

    def _pump(self, limit: int) -> None:
        """One round of progress."""
        if self._outbox:
            self._outbox.pump()
        self._inbox.pump(limit)
        self._deaths.settle()

    def _pump_until(self, timeout_s: float, done: Callable[[], bool]) -> bool:
        """Progress without a limit on what arrives, so that two ranks that drain at once cannot wait for each other."""
        self._moved = time.monotonic()
        deadline = self._moved + timeout_s
        while True:
            self._pump(1 << 30)
            if done():
                return True
            now = time.monotonic()
            if now > deadline:
                return False
            self._rest(now, False, deadline - now)

    def _rest(self, now: float, busy: bool, left: float) -> None:
        """Give the core away: for a moment while there is something to do soon, else for longer and longer."""
        if busy or ((self._outbox or self._inbox) and now < self._moved + STALL_S):
            os.sched_yield()
        else:
            time.sleep(min(self._pause, left))
            self._pause = min(self._pause * 1.5, PAUSE_S[1])


def _flat(data: npt.NDArray[Any]) -> Bytes:
    if not data.flags.c_contiguous:
        raise ValueError("a message must be contiguous: give a copy")
    return data.reshape(-1).view(np.uint8)
