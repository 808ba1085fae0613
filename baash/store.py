"""The store of one rank: does what ``Persist`` says, in order, and says how it went.

It decides nothing: which bytes go where was planned by the protocol, how they get there is the ledger's writer. ``Work`` is
what is done, step by step; ``Store`` does it in a thread of its own. The thread makes no MPI call: a writer that needs MPI
(``mpio``) is driven from the loop's own thread instead, one write at a time, so that what is to be said after one write is
said before the next may wait for other ranks. The simulator drives the steps by its own clock.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Protocol

from baash.errors import LedgerError
from baash.ledger.folder import Folder
from baash.ledger.writer import Writer
from baash.protocol.events import Persist


@dataclass(frozen=True)
class Done:
    """A finished write: ``reason`` is empty when it is durable."""

    node: int
    persist: Persist
    reason: str = ""
    fenced: bool = False


class Storing(Protocol):
    """What the loop needs of a store: ``submit`` never blocks, ``finished`` gives what is done since the last call."""

    @property
    def pending(self) -> int: ...
    def submit(self, node: int, persist: Persist) -> None: ...
    def finished(self) -> list[Done]: ...


class Work:
    """What one rank does to its ledger, a ``Persist`` at a time.

    ``together``: a time limit round what all leading ranks do together (opening a segment under ``mpio``).
    """

    def __init__(
        self,
        folder: Folder,
        view: int,
        writer: Writer,
        together: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.writer = writer
        self._folder, self._view, self._together = folder, view, together
        self._broken = ""  # once a commit record's flush failed nothing may be written any more

    def steps(self, node: int, persist: Persist) -> Generator[None, None, Done]:
        """Do it; pauses between the steps, wherever a process may be stopped or a newer claim may come."""
        try:
            if self._broken:
                return Done(node, persist, self._broken)
            if persist.creates is not None:
                self._create(persist)
                yield
            if persist.writes or persist.creates is None:  # who writes nothing in this round opens the segment too
                with self._together():
                    self.writer.open_all(persist.segment)
            for write in persist.writes:
                self.writer.write(write.segment, write.data_set, write.offset, write.data)
                yield
            if persist.writes:
                self.writer.flush(persist.segment)
                yield
        except (LedgerError, OSError) as error:
            return self._failed(node, persist, str(error))
        if persist.commits:
            return self._look_for_claims(node, persist)
        return Done(node, persist)

    def _failed(self, node: int, persist: Persist, why: str) -> Done:
        """A write that failed because a successor has packed or replaced the segment is no failure of the storage."""
        if persist.commits:
            self._broken = why
        with suppress(LedgerError):
            if self._folder.newest_claim() != self._view:
                return self._look_for_claims(node, persist)
        return Done(node, persist, why)

    def _look_for_claims(self, node: int, persist: Persist) -> Done:
        try:
            newest = self._folder.newest_claim()
        except LedgerError as error:  # durable, but perhaps fenced: nobody can say
            self._broken = str(error)
            return Done(node, persist, self._broken)
        if newest != self._view:
            self._broken = (
                f"view {newest} of {self._folder.path} has been claimed by somebody else: this run stops, what it "
                "had committed before is in the ledger; see who writes there with: baash info"
            )
            return Done(node, persist, self._broken, fenced=True)
        return Done(node, persist)

    def _create(self, persist: Persist) -> None:
        """Make the segment; one that an earlier try of the same round left holds no commit record and is replaced."""
        assert persist.creates is not None
        path = self._folder.segment_path(self._view, persist.segment)
        if path.exists():
            self.writer.release()
            path.unlink()
        self.writer.create(persist.segment, persist.creates)


def finish(steps: Generator[None, None, Done]) -> Done:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            done: Done = end.value
            return done


class Store:
    """Work done in a thread, or for ``mpio`` in the loop's own."""

    def __init__(
        self,
        folder: Folder,
        view: int,
        writer: Writer,
        together: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._work = Work(folder, view, writer, together)
        self._waiting: deque[tuple[int, Persist]] = deque()
        self._tasks: queue.SimpleQueue[tuple[int, Persist] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._pending = 0
        self._abandoned = False
        self._bug: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._inline = writer.name == "mpio"
        if not self._inline:
            self._thread = threading.Thread(target=self._run, name="baash-store", daemon=True)
            self._thread.start()

    @property
    def pending(self) -> int:
        return self._pending

    @property
    def name(self) -> str:
        """Of the writer: ``offset`` or ``mpio``."""
        return self._work.writer.name

    @property
    def notes(self) -> list[str]:
        return self._work.writer.notes

    def submit(self, node: int, persist: Persist) -> None:
        self._pending += 1
        if self._inline:
            self._waiting.append((node, persist))
        else:
            self._tasks.put((node, persist))

    def finished(self) -> list[Done]:
        found = []
        if self._waiting:
            self._done.put(finish(self._work.steps(*self._waiting.popleft())))
        if self._bug is not None:
            raise self._bug
        while True:
            try:
                found.append(self._done.get_nowait())
            except queue.Empty:
                self._pending -= len(found)
                return found

    def close(self, *, orderly: bool) -> None:
        """Let go of the segments; ``orderly`` when every rank is alive and calls this too."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread.join()
        if orderly:
            self._work.writer.close_all()
        else:
            self._work.writer.release()

    def abandon(self) -> None:
        """The view is left: what is being written may end, nothing more is begun, and nobody waits for it."""
        self._abandoned = True
        self._waiting.clear()
        if self._thread is None:
            self._work.writer.release()
        else:
            self._tasks.put(None)

    def _run(self) -> None:
        self._write_all()
        if self._abandoned:
            self._work.writer.release()

    def _write_all(self) -> None:
        while (item := self._tasks.get()) is not None:
            if self._abandoned:
                continue
            try:
                self._done.put(finish(self._work.steps(*item)))
            except BaseException as error:  # a bug, or no memory: the loop's thread ends the process with it
                self._bug = error
                return
