"""What a recorded program adds to the product: marks in the log where an acknowledgement leaves, and small segments.

Nothing of the order of writes, flushes and acknowledgements is touched. Constants that only say how long to wait or how large
a segment begins are made small, so that one short run opens several segments.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from baash.ledger import durable
from baash.ledger.round import SegmentFile
from baash.ledger.writer import OffsetWriter
from baash.protocol import rounds
from baash.protocol.events import Persist, Reply
from baash.service import Service
from baash.sources import Chunk
from baash.store import Done, Store

RECORDER = ctypes.CDLL(None)  # preloaded
RECORDED = hasattr(RECORDER, "baash_recorder_mark")


class Counts(ctypes.Structure):
    """What the recorder counted."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("changes", "syncs", "reads", "disturbed")]


def start(root: str, log: str, fault: str = "") -> None:
    """Record in this process, from now on."""
    if RECORDER.baash_recorder_start(os.fsencode(root), os.fsencode(log), fault.encode()):
        raise ValueError(f"not a fault: {fault}")


def counts() -> dict[str, int]:
    found = Counts()
    RECORDER.baash_recorder_counts(ctypes.byref(found))
    return {name: getattr(found, name) for name, _ in Counts._fields_}


def mark(text: str) -> None:
    if RECORDED:
        RECORDER.baash_recorder_mark(text.encode())


def prepare(pause_ns: int = 1_000_000, patience_ns: int = 200_000_000) -> Acknowledged:
    """Make pauses short, and mark every acknowledgement."""
    rounds.PAUSE_NS, rounds.PATIENCE_NS = pause_ns, patience_ns
    return Acknowledged()


class Acknowledged:
    """Ids that have been acknowledged; wraps the service's reply, which is where they leave."""

    def __init__(self) -> None:
        self.count = 0
        reply: Callable[..., None] = Service._reply

        def marked(service: Service, node: int, said: Reply) -> None:
            ids = b"".join(batch.ids.tobytes() for batch, _ in said.committed)
            self.count += len(ids) // 32
            mark(f"acknowledged {ids.hex()}")
            reply(service, node, said)

        Service._reply = marked  # type: ignore[method-assign]


class InSteps:
    """A source that hands over its records a few at a time, each step after the step before was acknowledged."""

    total: int | None

    def __init__(self, name: str, steps: list[list[bytes]], done: Callable[[], int]) -> None:
        self.name, self._steps, self._done = name, steps, done
        self.total = sum(map(len, steps))

    def chunks(self, size: int) -> Iterator[Chunk]:
        given, before = 0, self._done()
        for step in self._steps:
            while self._done() - before < given:
                yield Chunk(np.zeros(0, dtype=np.uint8), 0)
            given += len(step)
            yield Chunk(np.frombuffer(b"".join(step), dtype=np.uint8), len(step))


def weaken(how: str) -> None:
    """Leave out one of the steps that the promises rest on: a campaign must find that."""
    if how == "no-flush":
        OffsetWriter.flush = lambda writer, segment: None  # type: ignore[method-assign]
    elif how == "no-folder-flush":
        durable.sync_folder = lambda path: None
    elif how == "record-beside-part":
        flush, perform = OffsetWriter.flush, Store._perform

        def unflushed(store: Store, node: int, persist: Persist) -> Done:
            OffsetWriter.flush = flush if persist.commits else lambda writer, segment: None  # type: ignore[method-assign]
            return perform(store, node, persist)

        Store._perform = unflushed  # type: ignore[method-assign]
    elif how == "acknowledged-first":
        submit = Store.submit

        def early(store: Store, node: int, persist: Persist) -> None:
            ids = b"".join(b.ids.tobytes() for r in persist.then if isinstance(r, Reply) for b, _ in r.committed)
            mark(f"acknowledged {ids.hex()}")
            submit(store, node, persist)

        Store.submit = early  # type: ignore[method-assign]
    elif how == "cut-as-seen":
        SegmentFile.flush = lambda file: None  # type: ignore[method-assign]
    elif how:
        raise ValueError(how)


def outcome(status: dict[str, Any]) -> dict[str, Any]:
    return {"exit_code": status.get("exit_code"), "error": status.get("error", "")}
