"""The parent of a job: starts the launcher, listens to the ranks, ends them, and knows how it went.

It draws nothing (another module does, through ``on_progress``) and knows nothing of the ledger.

Theory. mpirun's exit code says nothing under ULFM (0 with every rank killed, 1 for one exception that the others
survived), so the ranks say themselves how it went: JSON lines on standard output (``baash.mpi.report``), of which the
last ``status`` is the answer. No status means failure, whatever mpirun returns.

The launcher runs in a session of its own, so that Ctrl-C at the terminal reaches this process alone. The first Ctrl-C
or SIGTERM asks the ranks to drain (SIGUSR1, which mpirun forwards), once they have met; before that, at the second, and
when nothing is heard for half a minute of ranks that should drain, the job is ended: SIGTERM to the launcher's group,
SIGKILL after five seconds. If this process is killed the kernel ends the
launcher, and when that is gone the ranks: nothing survives.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, Any

from baash.errors import BaashError, Interrupted, TransportError
from baash.mpi import launcher as launchers
from baash.text import printable, printable_lines

END_S = 5.0  # from SIGTERM to SIGKILL
GRACE_S = 5.0  # after the status the ranks may take so long to leave
SILENT_S = 30.0  # whoever leads tells of progress five times a second, also while draining, unless it is stopped
TAIL_LINES = 40

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_RULE = re.compile(r"-{20,}$")  # mpirun frames its remarks with such lines
_BLOCK_LINES = 60
_NOISE = re.compile(r"\[warn\] Epoll ")  # libevent in prterun, when a rank goes
# Follows its parent's death, then becomes the launcher; a hook between fork and exec would not be safe with threads.
_FOLLOW = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, int(sys.argv[1]), 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[2]): os._exit(1)\n"
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


@dataclass(frozen=True)
class LaunchResult:
    """How a job went: the last status event, and the last lines of standard error, mpirun's remarks included."""

    exit_code: int
    status: dict[str, Any] | None
    stderr_tail: str


def launch(
    ranks: int,
    arguments: Sequence[str],
    *,
    launcher: str = "mpirun",
    python: str = sys.executable,
    debug: bool = False,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    program: Sequence[str] = ("-m", "baash.run"),
    options: Sequence[str] = (),
) -> LaunchResult:
    """Run ``python *program *arguments`` as ``ranks`` processes to its end; every event goes to ``on_progress``.

    ``options`` go to the launcher. ``debug`` shows its command line and its remarks at once. Raises ``UsageError`` or
    ``TransportError`` when nothing could be started; afterwards everything is in the result.
    """
    line = launchers.command(launcher, ranks, [*program, *arguments], python=python, options=options)
    if debug:
        print(printable("baash: " + " ".join(line)), file=sys.stderr)
    last_signal = launchers.last_signal(launcher, python=python)
    with launchers.environment() as environment, _Job(line, environment, last_signal, debug).signals() as job:
        try:
            job.listen(on_progress)
        finally:
            job.end()
    return job.result()


@dataclass
class _Job:
    """One started launcher, and what was heard of it."""

    line: Sequence[str]
    environment: dict[str, str]
    last_signal: signal.Signals
    debug: bool
    status: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    met: bool = False
    asked: int = 0  # Ctrl-C and SIGTERM so far
    drain: bool = False
    ended: bool = False  # by us
    held: list[str] = field(default_factory=list)  # mpirun's remarks
    block: list[str] | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def __post_init__(self) -> None:
        follow = [sys.executable, "-I", "-S", "-c", _FOLLOW, str(int(self.last_signal)), str(os.getpid())]
        self.heard: queue.SimpleQueue[tuple[bool, str | None]] = queue.SimpleQueue()
        try:
            self.process = subprocess.Popen(
                [*follow, *self.line],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=self.environment,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise TransportError(f"the job could not be started: {error}") from error
        for stream, is_out in ((self.process.stdout, True), (self.process.stderr, False)):
            assert stream is not None
            threading.Thread(target=self._read, args=(stream, is_out), daemon=True).start()

    def _read(self, stream: IO[str], is_out: bool) -> None:
        for line in stream:
            line = line.rstrip("\r\n")
            self.heard.put((is_out, line if is_out and _event(line) else printable_lines(line)))
        self.heard.put((is_out, None))

    @contextmanager
    def signals(self) -> Iterator[_Job]:
        """Take Ctrl-C, SIGTERM and SIGUSR1 while the job runs (only the main thread can)."""

        def note(number: int, _: FrameType | None) -> None:
            self.drain = True
            self.asked += number != signal.SIGUSR1

        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self, on_progress: Callable[[dict[str, Any]], None] | None) -> None:
        """Until the launcher and its streams have ended, or the job must be ended."""
        open_streams, forwarded, leave_by, silent_by = 2, False, float("inf"), float("inf")
        while open_streams:
            if self.asked > 1 or (self.asked and not self.met) or time.monotonic() > min(leave_by, silent_by):
                return
            if self.failure and not self.met:  # it cannot begin any more, and whoever still waits waits in vain
                leave_by = min(leave_by, time.monotonic() + END_S)
            if self.drain and self.met and not forwarded:
                forwarded = True
                silent_by = time.monotonic() + SILENT_S
                self._signal(signal.SIGUSR1)
                if self.asked:
                    print("baash: finishing what is under way; once more ends it at once", file=sys.stderr, flush=True)
            try:
                is_out, text = self.heard.get(timeout=0.1)
            except queue.Empty:
                if self.process.poll() is not None:  # somebody else may still hold the streams
                    leave_by = min(leave_by, time.monotonic() + 2)
                continue
            if text is None:
                open_streams -= 1
                continue
            event = _event(text) if is_out else None
            if event is None:
                self._remark(text)
                continue
            if forwarded:
                silent_by = time.monotonic() + SILENT_S
            self._note(event)
            if self.status is event:
                leave_by = time.monotonic() + GRACE_S
            if on_progress is not None:
                on_progress(event)

    def end(self) -> None:
        """See the launcher gone, by force if it does not go, and show what was held back if the job failed."""
        if self.process.poll() is None:
            self.ended = self.status is None
            patience = END_S
            for number in (signal.SIGTERM, signal.SIGKILL):
                self._signal(number, group=True)
                try:
                    self.process.wait(patience)
                    break
                except subprocess.TimeoutExpired:
                    continue
        self._signal(signal.SIGKILL, group=True)
        if self.block:
            self.held.extend(self.block)
        if self.held and not self.debug and (self.status is None or self.status.get("exit_code")) and not self.ended:
            print("\n".join(self.held), file=sys.stderr)

    def result(self) -> LaunchResult:
        """The exit code: the status', else the first failure's, else that of being interrupted, else failure."""
        if self.status is not None:
            code = int(self.status["exit_code"])
        elif self.ended and self.asked:
            code = Interrupted.exit_code
        elif self.failure is not None:
            code = int(self.failure.get("exit_code", BaashError.exit_code))
        else:
            code = TransportError.exit_code
        return LaunchResult(code, self.status, "\n".join(self.tail))

    def _note(self, event: dict[str, Any]) -> None:
        self.met = self.met or event["event"] != "failure"
        match event["event"]:
            case "status" if isinstance(event.get("exit_code"), int):
                if self.status is None or "report" in event:  # a rank that wakes up late does not know how it went
                    self.status = event
            case "failure":
                self.failure = self.failure or event

    def _remark(self, text: str) -> None:
        """Pass a line on, unless it is mpirun's own: those wait for the end, as noise if a death was survived."""
        self.tail.append(text)
        if self.debug:
            print(text, file=sys.stderr)
        elif self.block is not None:
            self.block.append(text)
            if _RULE.match(text):
                self.held.extend(self.block)
                self.block = None
            elif len(self.block) > _BLOCK_LINES:  # not mpirun's after all
                print("\n".join(self.block), file=sys.stderr)
                self.block = None
        elif _RULE.match(text):
            self.block = [text]
        elif _NOISE.match(text):
            self.held.append(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        try:
            if group:
                os.killpg(self.process.pid, number)
            elif self.process.poll() is None:
                self.process.send_signal(number)
        except (ProcessLookupError, PermissionError):
            pass


def _event(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
