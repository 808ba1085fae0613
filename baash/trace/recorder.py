"""What writes a trace while a run goes: one file a rank. It must never harm the run.

It stands where events meet nodes, and between nodes and their keys. What it is told it keeps in memory for a tenth of a second or a MiB
and then appends, so that a killed rank leaves all but its last moment; under MPI in a thread of its own, for a file system may hold a write
up, and votes are waited for. Nothing is flushed to storage: a trace is not the ledger. Whatever goes wrong here, a full disk first of all, ends the trace with a note and not the run; and it ends
before it takes the last room on the file system, in which the ledger may lie too.

Keys stay out of it. A node's key is used for signatures alone, so these are written down; played again, they are looked up.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson

import baash
from baash.keys import Context, PrivateKey
from baash.packing import Packable
from baash.protocol.events import Effect, Event, MessageReceived
from baash.protocol.flights import Limits
from baash.protocol.view import View
from baash.trace import frames, happened
from baash.trace.frames import Frame
from baash.trace.happened import AGAIN_MAX, Happened

KEPT_BYTES, KEPT_NS = 1 << 20, 100_000_000
WAITING_BYTES = 64 << 20  # more than this in memory, and the rank waits for the file system
PIECES_MAX = 1024  # the system's IOV_MAX
TRACE_BYTES = 16 << 30  # of one rank, unless told otherwise
ROOM_BYTES, ROOM_SHARE = 1 << 30, 20  # left on the file system: so much, or one part in so many of a small one


class Actor(Protocol):
    """A node."""

    def handle(self, event: Event, now_ns: int) -> list[Effect]: ...


@dataclass(frozen=True, repr=False)
class LoggedKey(PrivateKey):
    """A key whose signatures are written down: (context, SHA-256 of the object, signature)."""

    log: list[tuple[bytes, bytes, bytes]] = field(default_factory=list, compare=False)

    def sign(self, context: Context, signed: bytes) -> bytes:
        signature = super().sign(context, signed)
        self.log.append((context.name.encode(), hashlib.sha256(signed).digest(), signature))
        return signature


class Recorder:
    """The trace of one rank, in ``folder``. The file is made with the first view; one that is there is never written to.

    ``own_thread``: write in one. ``note`` hears, once, why a trace ended early. Nothing but a node's own exception is ever raised.
    """

    def __init__(
        self,
        folder: Path,
        rank: int,
        ledger: Path,
        note: Callable[[str], None],
        *,
        most_bytes: int = TRACE_BYTES,
        own_thread: bool = False,
    ) -> None:
        self.path: Path | None = None
        self.size = 0  # bytes, of which the last may still be in memory
        self._folder, self._rank, self._ledger = folder, rank, ledger
        self._note, self._most = note, most_bytes
        self._file = -1
        self._writer = ThreadPoolExecutor(1, "trace") if own_thread else None
        self._writing: Future[None] | None = None
        self._ended = False
        self._kept: list[Packable] = []  # whole frames in pieces, which nobody changes any more
        self._kept_bytes = self._kept_since = 0
        self._signed: list[tuple[bytes, bytes, bytes]] = []
        self._messages = 0
        self._recent: OrderedDict[int, tuple[int, np.ndarray]] = OrderedDict()  # by identity: its number, itself

    def keys(self, secrets: Mapping[bytes, PrivateKey]) -> dict[bytes, PrivateKey]:
        """The same keys; what they sign is written down with the event that made them sign."""
        return {public: LoggedKey(key.public, key._secret, self._signed) for public, key in secrets.items()}

    def begin(self, view: View, limits: Limits, replica_bytes: int, liars: Collection[int] = ()) -> None:
        """A view's nodes are made: what follows happens to them. ``liars``: nodes that are not to be played again."""
        told = {"limits": asdict(limits), "replica_bytes": replica_bytes, "liars": sorted(liars)}
        self._do(lambda: self._open(view.view))
        self._append(Frame.VIEW, [orjson.dumps(told), view.encode({})])
        self._do(lambda: self._write(wait=True))

    def handle(self, actor: Actor, node: int, event: Event, now_ns: int) -> list[Effect]:
        """``actor.handle``, written down; what it raises is written down and raised."""
        self._signed.clear()
        try:
            effects = actor.handle(event, now_ns)
        except BaseException as error:
            raised = happened.raised(error)
            self._do(lambda: self._event(node, event, now_ns, [raised]))
            raise
        self._do(lambda: self._event(node, event, now_ns, [(happened.digest(e), happened.words(e)) for e in effects]))
        return effects

    def close(self, why: str = "") -> None:
        """The rank's loop has ended, ``why`` if not well: the trace is whole."""
        if not self._ended:
            self._append(Frame.END, [orjson.dumps({"why": why})])
            self._do(lambda: self._write(wait=True))
            self._end()

    def lose(self) -> None:
        """The rank is dead, as by SIGKILL: what was in memory is lost."""
        self._end()

    # -- writing ----------------------------------------------------------------------------------------------------

    def _open(self, view: int) -> None:
        if self._file >= 0 or self._ended:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self.path = self._folder / f"trace-{view:06d}-{self._rank:06d}"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._keep([frames.head()])
        who = {"rank": self._rank, "ledger": os.fsdecode(os.path.abspath(self._ledger)), "baash": baash.__version__}
        self._put(frames.frame(Frame.RANK, [orjson.dumps(who)]))

    def _event(self, node: int, event: Event, now_ns: int, done: list[tuple[bytes, str]]) -> None:
        if self._ended:
            return
        number, own = self._packed(event)
        signed = b"".join(context.ljust(16, b"\0") + digest + signature for context, digest, signature in self._signed)
        told = "\n".join(text for _, text in done).encode()
        arrays: list[Packable] = [signed, told, b"".join(d for d, _ in done), *own]
        self._put(frames.frame(Frame.EVENT, arrays, event=number, node=node, time_ns=now_ns))
        if self._kept_bytes >= KEPT_BYTES or now_ns - self._kept_since >= KEPT_NS:
            self._write()
            self._kept_since = now_ns

    def _packed(self, event: Event) -> tuple[Happened, list[Packable]]:
        """The same bytes to several nodes of a rank are written once."""
        if not isinstance(event, MessageReceived):
            return happened.packed(event)
        known = self._recent.get(id(event.data))
        if known is not None and self._messages - known[0] <= AGAIN_MAX:
            return Happened.MESSAGE_AGAIN, [happened.numbers(self._messages - known[0])]
        self._recent.pop(id(event.data), None)
        self._recent[id(event.data)] = (self._messages, event.data)  # holding it, its identity stays its own
        self._messages += 1
        if len(self._recent) > AGAIN_MAX:
            self._recent.popitem(last=False)
        return happened.packed(event)

    def _append(self, kind: Frame, arrays: list[Packable]) -> None:
        if self._file >= 0:
            self._do(lambda: self._put(frames.frame(kind, arrays)))

    def _put(self, pieces: list[Packable]) -> None:
        size = sum(len(piece) for piece in pieces)
        if self.size + size > self._most:
            self._write(wait=True)
            raise OSError(errno.EFBIG, f"a rank's trace may have {self._most:,} bytes (--trace-bytes)")
        self._keep(pieces)

    def _keep(self, pieces: list[Packable]) -> None:
        size = sum(len(piece) for piece in pieces)
        self._kept += pieces
        self._kept_bytes += size
        self.size += size

    def _write(self, *, wait: bool = False) -> None:
        """Append what is kept; ``wait``: until it is done. While the last write still goes on, more is gathered, up to a bound."""
        if self._file < 0:
            return
        if self._writing is not None:
            if not (wait or self._writing.done() or self._kept_bytes >= WAITING_BYTES):
                return
            self._writing.result()
        kept, at = self._kept, self.size - self._kept_bytes
        self._kept, self._kept_bytes = [], 0
        if self._writer is None:
            _append(self._file, kept, at)
            return
        self._writing = self._writer.submit(_append, self._file, kept, at)
        if wait:
            self._writing.result()

    def _do(self, action: Callable[[], None]) -> None:
        """Whatever goes wrong in a trace ends the trace."""
        if self._ended:
            return
        try:
            action()
        except Exception as error:  # of whatever kind: the run goes on
            why = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
            self._end()
            self._note(f"the trace of rank {self._rank} in {self._folder} ends here: {why}; the run goes on without it")

    def _end(self) -> None:
        self._ended = True
        self._kept, self._kept_bytes = [], 0
        self._recent.clear()
        if self._writer is not None:
            self._writer.shutdown()  # what is on its way is written
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1


def _append(file: int, pieces: list[Packable], at: int) -> None:
    """Append whole frames at the file's end ``at``; not even a full disk leaves one in part, nor the last room is taken."""
    found = os.fstatvfs(file)
    room = min(ROOM_BYTES, found.f_blocks * found.f_frsize // ROOM_SHARE)
    size = sum(len(piece) for piece in pieces)
    if found.f_blocks and found.f_bavail * found.f_frsize < room + size:  # some say nothing of themselves
        raise OSError(errno.ENOSPC, "the last room on the file system is left to the ledger")
    try:
        for first in range(0, len(pieces), PIECES_MAX):
            _write_all(file, pieces[first : first + PIECES_MAX])
    except OSError:
        os.ftruncate(file, at)
        raise


def _write_all(file: int, pieces: list[Packable]) -> None:
    """Append pieces without putting them together, unless the system takes them in part."""
    done = os.writev(file, pieces)
    if done < sum(len(piece) for piece in pieces):
        left = memoryview(b"".join(pieces))[done:]
        while left:
            left = left[os.write(file, left) :]
