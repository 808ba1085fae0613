"""What is on its way in: matched, being received, delivered in order.

It does not read the bytes. It begins a receive only while few enough bytes are held, so what the service does
not take stays with its senders.

Theory. A wildcard matched probe (``Improbe``) in one place and one thread: MPI promises that messages of one sender
match in the order they were sent, whatever their tags. Receives may *complete* in another order (a large message takes
time, the small one behind it is there at once), so each source has a queue of its own and only its head is delivered.
What a dead rank had sent is delivered as a prefix: the first message that cannot be finished ends its stream, for what
follows would be out of order. Buffers of abandoned receives are kept for ever: MPI may still write there.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from baash.mpi.deaths import Deaths
from baash.mpi.library import MPI

Bytes = npt.NDArray[np.uint8]

HELD_BYTES = 512 << 20  # no new receive is begun while so many bytes are on their way in or wait to be taken


class Inbox:
    """Receives of one rank. ``ready``: (source, tag, bytes). ``byes``: who said goodbye, under the tag ``mark``."""

    def __init__(self, comm: MPI.Intracomm, deaths: Deaths, mark: int) -> None:
        self.ready: deque[tuple[int, int, Bytes]] = deque()
        self.byes: set[int] = set()
        self._comm, self._deaths, self._mark = comm, deaths, mark
        self._rank: int = comm.Get_rank()
        self._status = MPI.Status()
        self._receiving: dict[int, deque[tuple[MPI.Request, int, Bytes]]] = {}
        self._held = 0
        self._ended: set[int] = set()  # sources whose stream has ended
        self._abandoned: list[object] = []

    def __bool__(self) -> bool:
        """Whether bytes are on their way in."""
        return bool(self._receiving)

    def pump(self, limit: int) -> None:
        """Begin receives until ``limit`` messages are ready, deliver what is complete and in order."""
        try:
            while len(self.ready) < limit and self._held < HELD_BYTES:
                message = self._comm.Improbe(MPI.ANY_SOURCE, MPI.ANY_TAG, self._status)
                if message is None:
                    break
                self._begin(message)
        except MPI.Exception as error:
            self._deaths.ask(error)
        if self._receiving:
            for source in list(self._receiving):
                self._test(source, self._receiving[source])

    def take(self, limit: int) -> list[tuple[int, int, Bytes]]:
        """At most ``limit`` messages, oldest first."""
        out = [self.ready.popleft() for _ in range(min(len(self.ready), limit))]
        self._held -= sum(data.size for source, _, data in out if source != self._rank)
        return out

    def _begin(self, message: MPI.Message) -> None:
        source, tag = self._status.Get_source(), self._status.Get_tag()
        data = np.empty(self._status.Get_count(MPI.BYTE), np.uint8)
        self._held += data.size
        try:
            request = message.Irecv([data, MPI.BYTE])
            if source not in self._receiving and request.Test():
                self._deliver(source, tag, data)
                return
        except MPI.Exception as error:
            self._held -= data.size
            self._abandoned.append(data)
            self._end_stream(source)
            self._deaths.ask(error, source)
            return
        self._receiving.setdefault(source, deque()).append((request, tag, data))

    def _test(self, source: int, queue: deque[tuple[MPI.Request, int, Bytes]]) -> None:
        try:
            while queue and queue[0][0].Test():
                _, tag, data = queue.popleft()
                self._deliver(source, tag, data)
        except MPI.Exception as error:
            self._end_stream(source)
            self._deaths.ask(error, source)
            return
        if queue and self._deaths.overdue(source):
            self._end_stream(source)
        elif not queue:
            del self._receiving[source]

    def _deliver(self, source: int, tag: int, data: Bytes) -> None:
        if tag != self._mark and source not in self._ended:
            self.ready.append((source, tag, data))
            return
        self._held -= data.size
        if tag == self._mark and data.size:
            self.byes.add(source)

    def _end_stream(self, source: int) -> None:
        self._ended.add(source)
        queue = self._receiving.pop(source, None)
        if queue:
            self._held -= sum(data.size for _, _, data in queue)
            self._abandoned.append(queue)
