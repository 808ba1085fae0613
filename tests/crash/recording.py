"""Runs under the recorder (``recorder.c``), and their logs as lists of operations.

``Writers`` is one process that forks a writer a run (``programs/writer.py``); ``operations`` reads a log.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path

import pytest

from baash.mpi import launcher

HERE = Path(__file__).parent
SECONDS = 120  # nothing here takes a tenth of that: what does, hangs
SEGMENT_BYTES = 8192  # two small rounds
_ENTRY = struct.Struct("<IIQQQqIIII")


class Kind(IntEnum):
    """As in ``recorder.c``."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    ALLOCATE = 4
    SYNC = 5
    RENAME = 6
    LINK = 7
    UNLINK = 8
    MKDIR = 9
    MARK = 10
    FAILED = 11
    LOST = 12
    SEEN = 13


@dataclass(frozen=True)
class Operation:
    """One entry of a log. ``path`` and ``other`` are below the recorded folder; ``result`` is an errno."""

    index: int
    kind: Kind
    process: int
    inode: int
    offset: int
    size: int
    result: int
    path: str
    other: str
    data: bytes


@dataclass(frozen=True)
class Run:
    """One writer's life: ``steps`` times ``together`` transactions, each step after the one before was acknowledged."""

    root: str
    ledger: str
    keys: str
    log: str = ""  # empty: not recorded
    fault: str = ""
    source: str = "one"
    steps: int = 3
    together: int = 3
    payload: int = 600
    clusters: int = 1
    segment_bytes: int = SEGMENT_BYTES
    take_over: bool = False
    job: str = "write"  # or "read": all that can be asked of the ledger (``programs/readers.py``)
    weak: str = ""  # a step left out: see ``programs/recorded.py``
    seed: int = 1
    seconds: int = SECONDS


@dataclass(frozen=True)
class Outcome:
    """How a writer ended: by itself (``ended`` 0) or by a signal (its negative)."""

    ended: int
    exit_code: int | None = None
    error: str = ""
    acknowledged: int = 0
    traceback: str = ""
    changes: int = 0
    syncs: int = 0
    reads: int = 0
    disturbed: int = 0
    answers: dict[str, str] = field(default_factory=dict)


def build(folder: Path) -> Path:
    """The recorder, compiled."""
    made = folder / "recorder.so"
    sources = [str(HERE / name) for name in ("recorder.c", "recorder_calls.c")]
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    line = ["cc", *flags, "-o", str(made), *sources, "-ldl", "-lpthread"]
    subprocess.run(line, check=True)
    return made


class Writers:
    """A process that forks a writer a run."""

    def __init__(self, recorder: Path) -> None:
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "LD_PRELOAD": str(recorder), "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "programs" / "writer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, asked: Run) -> Outcome:
        self.begin(asked)
        return self.end()

    def begin(self, asked: Run) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(asked)) + "\n")
        self._process.stdin.flush()

    def end(self) -> Outcome:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            pytest.fail(f"the writers' process ended: {self._process.wait()}")
        return Outcome(**json.loads(answer))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


class Product:
    """The product as a user starts it, recorded, in a folder of its own: ``room/root``, its ledger and keys in it."""

    def __init__(self, room: Path, recorder: Path) -> None:
        self.room, self.root, self.log = room, room / "root", room / "log"
        self.ledger = self.root / "ledger"
        self.root.mkdir(parents=True)
        self._recorder = recorder

    def environment(self, fault: str = "", recorded: bool = True) -> dict[str, str]:
        settings = {**os.environ, "BAASH_KEYS": str(self.root / "keys")}
        if recorded:
            settings |= {
                "LD_PRELOAD": str(self._recorder),
                "BAASH_RECORDER_ROOT": str(self.root),
                "BAASH_RECORDER_LOG": str(self.log),
                "BAASH_RECORDER_FAULT": fault,
            }
        return settings

    def cli(self, *arguments: object, fault: str = "", recorded: bool = True) -> subprocess.CompletedProcess[str]:
        small = ("--segment-bytes", SEGMENT_BYTES) if arguments[0] == "record" else ()
        line = [sys.executable, str(HERE / "programs" / "product.py"), "cli", *map(str, (*arguments, *small))]
        return subprocess.run(
            line, env=self.environment(fault, recorded), capture_output=True, text=True, timeout=SECONDS
        )

    def run(self, *arguments: object, ranks: int = 2, clusters: int = 2, fault: str = "") -> Ended:
        """``baash.run`` under mpirun: the ranks and their launcher, without the parent that draws progress."""
        given = ["--ledger", self.ledger, "--ranks", ranks, "--clusters", clusters, "--window-mib", 1 / 64]
        given += ["--segment-bytes", SEGMENT_BYTES, "--nodes-per-rank", -(-5 * clusters // ranks), *arguments]
        program = [str(HERE / "programs" / "product.py"), "run", *map(str, given)]
        with launcher.environment() as settings:
            child = subprocess.Popen(
                launcher.command("mpirun", ranks, program),
                env={**settings, **self.environment(fault), "PYTHONPATH": str(HERE.parents[1])},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            try:
                out, err = child.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                out, err = child.communicate()
                pytest.fail(f"hung, with the fault {fault!r}\n{out}\n{err}")
        events = [json.loads(line) for line in out.splitlines() if line.startswith('{"event"')]
        status = next((e for e in events if e["event"] == "status"), {})
        report = status.get("report") or {}
        committed = report.get("transactions", {}).get("committed", 0)
        return Ended(status.get("exit_code"), status.get("error", ""), committed, err)


@dataclass(frozen=True)
class Ended:
    """What the ranks of a run said at last."""

    exit_code: int | None
    error: str
    committed: int
    stderr: str


def operations(log: Path) -> list[Operation]:
    """All that a log says; what a killed process left half written at its end is left out."""
    raw, at, found = log.read_bytes(), 0, []
    while at + _ENTRY.size <= len(raw):
        kind, process, inode, offset, size, result, path, other, data, _ = _ENTRY.unpack_from(raw, at)
        at += _ENTRY.size
        if at + path + other + data > len(raw):
            break
        names = raw[at : at + path].decode(), raw[at + path : at + path + other].decode()
        at += path + other
        found.append(
            Operation(len(found), Kind(kind), process, inode, offset, size, result, *names, raw[at : at + data])
        )
        at += data
    return found


def acknowledged(operation: Operation) -> set[bytes]:
    """The ids that a mark says have been acknowledged."""
    word, _, ids = operation.data.decode().partition(" ")
    return {bytes.fromhex(ids[i : i + 64]) for i in range(0, len(ids), 64)} if word == "acknowledged" else set()
