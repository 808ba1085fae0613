"""A view formed in a thread of its own: the ledger may be large and storage slow, and the steward must be heard meanwhile.

The steps are ``session.begin_view``'s; the thread makes no MPI call. What it raises is raised again in the loop's thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping

from baash.protocol.changes import Happened, Published
from baash.session import Steps
from baash.succession import advanced


class ThreadForming:
    """``succession.Forming``."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._found: queue.SimpleQueue[Happened | BaseException] = queue.SimpleQueue()
        self._given: queue.SimpleQueue[Mapping[str, bytes] | None] = queue.SimpleQueue()
        self._over = False
        threading.Thread(target=self._run, name="baash-forming", daemon=True).start()

    def poll(self) -> list[Happened]:
        found: list[Happened] = []
        while not self._found.empty():
            item = self._found.get()
            if isinstance(item, BaseException):
                raise item
            found.append(item)
        return found

    def vouched(self, signatures: Mapping[str, bytes]) -> None:
        self._given.put(signatures)

    def cancel(self) -> None:
        """The step under way is finished, and no other begun."""
        self._over = True
        self._given.put(None)

    def _run(self) -> None:
        signatures: Mapping[str, bytes] | None = None
        try:
            while not self._over:
                event = advanced(self._steps, signatures)
                signatures = None
                if event is None:
                    continue
                self._found.put(event)
                if isinstance(event, Published):
                    return
                signatures = self._given.get()
        except BaseException as error:  # the loop's thread ends the process with it, or tries again
            self._found.put(error)
