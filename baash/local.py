"""The world of one process: no MPI, no other rank. A laptop or a login node hosts all nodes of a view in it."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

IDLE_S = 0.001


class LocalTransport:
    """The ``Transport`` of ``docs/architecture.md`` for a world of one rank: what is sent arrives here."""

    rank = 0
    size = 1
    ulfm = False
    clean = False  # there is no MPI to finalize

    def __init__(self) -> None:
        self._messages: deque[tuple[int, int, np.ndarray]] = deque()

    def send(self, rank: int, tag: int, data: np.ndarray | bytes) -> None:
        assert rank == 0, "there is no other rank"
        raw = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
        self._messages.append((0, tag, raw))

    def poll(self) -> list[tuple[int, int, np.ndarray]]:
        arrived = list(self._messages)
        self._messages.clear()
        return arrived

    def failed(self) -> list[int]:
        return []

    def wait(self, timeout_s: float, busy: bool) -> None:
        if not self._messages:
            time.sleep(min(timeout_s, IDLE_S))

    def drain(self, timeout_s: float) -> bool:
        return True

    def close(self) -> None:
        self._messages.clear()
