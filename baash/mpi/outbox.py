"""What is on its way out: sends that MPI has not finished, one queue a receiver.

It copies nothing, orders nothing by itself (MPI keeps the order of each pair), and knows no tag but the mark.

Theory. Only the head of each queue is tested, so a round costs the number of receivers, not of messages; what is behind
a large message may be finished earlier and is merely forgotten later. A send that fails is lost, which only the death
of its receiver excuses. A send that MPI does not even take, while nobody is known to be dead, is kept and tried
again in order, until the death is known. Bytes of abandoned requests are kept for ever: MPI may still read there.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from baash.mpi.deaths import Deaths
from baash.mpi.library import MPI

Bytes = npt.NDArray[np.uint8]

SMALL_BYTES = 4096  # a send up to here is normally finished at once, so it is tested at once


class Outbox:
    """Sends of one rank. A message under the tag ``mark`` is synchronous: finished when the receiver has matched it."""

    def __init__(self, comm: MPI.Intracomm, deaths: Deaths, mark: int) -> None:
        self.dropped = 0  # messages to the dead, marks not counted
        self._comm, self._deaths, self._mark = comm, deaths, mark
        self._sending: dict[int, deque[tuple[MPI.Request, Bytes]]] = {}
        self._refused: dict[int, deque[tuple[int, Bytes]]] = {}
        self._abandoned: list[deque[tuple[MPI.Request, Bytes]]] = []

    def __len__(self) -> int:
        return sum(map(len, self._sending.values())) + sum(map(len, self._refused.values()))

    def __bool__(self) -> bool:
        return bool(self._sending or self._refused)

    def post(self, rank: int, tag: int, data: Bytes) -> None:
        """Begin a send; to a dead rank: count it as dropped."""
        if rank in self._deaths.dead:
            self.dropped += tag != self._mark
        elif rank in self._refused:
            self._refused[rank].append((tag, data))
        else:
            self._start(rank, tag, data)

    def pump(self) -> None:
        """Forget what is finished, try again what was refused."""
        for rank in list(self._sending):
            self._test(rank, self._sending[rank])
        for rank in list(self._refused):
            waiting = self._refused.pop(rank)
            while waiting and rank not in self._refused and rank not in self._deaths.dead:
                self._start(rank, *waiting.popleft())
            if rank in self._deaths.dead:
                waiting.extend(self._refused.pop(rank, ()))
                self.dropped += sum(tag != self._mark for tag, _ in waiting)
            elif waiting:
                self._refused[rank].extend(waiting)

    def _start(self, rank: int, tag: int, data: Bytes) -> None:
        start = self._comm.Issend if tag == self._mark else self._comm.Isend
        try:
            request = start([data, MPI.BYTE], rank, tag)
        except MPI.Exception as error:
            self._refused.setdefault(rank, deque()).append((tag, data))
            self._deaths.ask(error, rank)
            return
        queue = self._sending.get(rank)
        if queue is None:
            queue = self._sending[rank] = deque()
        queue.append((request, data))
        if data.size <= SMALL_BYTES and tag != self._mark and len(queue) == 1:
            self._test(rank, queue)

    def _test(self, rank: int, queue: deque[tuple[MPI.Request, Bytes]]) -> None:
        try:
            while queue and queue[0][0].Test():
                queue.popleft()
        except MPI.Exception as error:
            queue.popleft()
            self.dropped += 1
            self._deaths.ask(error, rank)
        if queue and self._deaths.overdue(rank):
            self.dropped += len(queue)
            self._abandoned.append(queue)
            del self._sending[rank]
        elif not queue:
            del self._sending[rank]
