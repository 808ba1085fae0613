"""Who died: MPI's answer, asked whenever an operation fails, and the limit on failures nobody explains.

It does not detect hung ranks (the protocol's heartbeats do) and repairs nothing.

Theory. With ULFM a failed operation returns one of four codes, and which one is luck: the peer's death, a pending
wildcard, a revoked communicator, or plain "other". So no code is read as more than "ask who failed". The answer may
come later than the error; until it does, the ranks whose messages were lost are *suspects*, and a suspect that is not
reported dead in time, or an error that keeps coming while nobody is reported dead, ends the run: then the
connection is broken in a way that MPI does not survive.
"""

from __future__ import annotations

import time

from baash.errors import TransportError
from baash.mpi.library import MPI, has_ulfm

DOUBT_S = 5.0  # unexplained failures end the run after this
REAP_S = 1.0  # a request with a dead peer that MPI neither finishes nor fails is abandoned after this

_ASK = frozenset({MPI.ERR_PROC_FAILED, MPI.ERR_PROC_FAILED_PENDING, MPI.ERR_REVOKED, MPI.ERR_OTHER})


class Deaths:
    """The dead of one communicator. ``dead`` maps each to the moment it was noticed (``time.monotonic``)."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self.ulfm: bool = has_ulfm()
        self.dead: dict[int, float] = {}
        self.news: list[int] = []
        self._comm = comm
        self._rank: int = comm.Get_rank()
        self._suspects: set[int] = set()
        self._fault, self._reason = False, ""
        self._doubt: float | None = None  # since when failures are unexplained

    def ask(self, error: MPI.Exception, suspect: int | None = None) -> None:
        """An operation failed: learn who died. A message to or from ``suspect`` was lost, so it must have."""
        if not self.ulfm or error.Get_error_class() not in _ASK:
            raise TransportError(f"MPI failed in rank {self._rank}: {error}; the run cannot go on") from error
        self._fault, self._reason = True, str(error)
        if suspect is not None:
            self._suspects.add(suspect)
        self._learn()

    def settle(self) -> None:
        """End of a round of progress: failures in it are explained, or in doubt, and doubt has a limit."""
        if not self._fault and self._doubt is None:
            return
        if self._suspects:
            self._learn()
            self._suspects -= self.dead.keys()
        now = time.monotonic()
        if not self._fault and not self._suspects:
            self._doubt = None
        elif self._doubt is None:
            self._doubt = now
        elif now > self._doubt + DOUBT_S:
            who = f"but not of rank {sorted(self._suspects)}" if self._suspects else "or it names nobody"
            raise TransportError(
                f"MPI failed in rank {self._rank} ({self._reason}) and reports no death that explains it, {who}; "
                "the run cannot go on"
            )
        self._fault = False

    def overdue(self, rank: int) -> bool:
        """Whether ``rank`` has been dead for so long that what MPI still owes about it will not come."""
        since = self.dead.get(rank)
        return since is not None and time.monotonic() > since + REAP_S

    def _learn(self) -> None:
        """Ask MPI for the dead, and acknowledge them so that wildcard probes work again."""
        try:
            failed, whole = self._comm.Get_failed(), self._comm.Get_group()
            ranks = failed.Translate_ranks(None, whole)
            self._comm.Ack_failed(len(ranks))
        except MPI.Exception as error:
            self._reason = str(error)
            return
        failed.Free()
        whole.Free()
        new = sorted(rank for rank in ranks if rank not in self.dead)
        if new:
            self._doubt = None
            self.dead.update(dict.fromkeys(new, time.monotonic()))
            self.news.extend(new)
