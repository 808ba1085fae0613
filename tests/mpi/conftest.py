"""Real ranks for tests: started by mpirun, each test with a time limit, nothing left behind.

The programs they run are in ``programs/``; they tell what they saw in the JSON lines of ``baash.mpi.report``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from baash.errors import BaashError
from baash.mpi import launcher

PROGRAMS = Path(__file__).parent / "programs"
MARK = "BAASH_TEST_MARK"


@dataclass(frozen=True)
class Ran:
    """What ranks said before they ended."""

    exit_code: int
    events: list[dict[str, Any]]
    stdout: str
    stderr: str

    def notes(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "note" and event.get("note") == name]


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def mpi() -> None:
    """Skip where no ranks can be started, for the product's own reason."""
    try:
        launcher.command("mpirun", 2, ["-c", "pass"])
    except BaashError as error:
        pytest.skip(str(error))


@pytest.fixture
def mark() -> Iterator[str]:
    """A word in the environment of all that a test starts; whoever still carries it afterwards is killed."""
    word = uuid.uuid4().hex
    yield word
    for pid in marked(word):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def environment(mark: str) -> Iterator[dict[str, str]]:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    with launcher.environment() as settings:
        yield {**settings, "PYTHONPATH": path, MARK: mark}


@pytest.fixture
def run_ranks(mpi: None, environment: dict[str, str]) -> Run:
    """``run_ranks(ranks, program, *arguments, timeout=40, btl=None)``: run to the end, or fail with what was said."""

    def run(ranks: int, program: str, *arguments: object, timeout: float = 40, btl: str | None = None) -> Ran:
        settings = dict(environment)
        if btl is not None:
            settings["OMPI_MCA_btl"] = btl
        line = launcher.command("mpirun", ranks, [str(PROGRAMS / program), *map(str, arguments)])
        child = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=settings,
            start_new_session=True,
        )
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            pytest.fail(f"hung for {timeout} s: {' '.join(line)}\n{out}\n{err}")
        events = [json.loads(text) for text in out.splitlines() if text.startswith('{"event"')]
        return Ran(child.returncode, events, out, err)

    return run


@pytest.fixture
def start_parent(mpi: None, environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """``start_parent(ranks, *arguments)``: a process that calls ``launch`` with ``programs/endings.py``."""

    def start(ranks: int, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(PROGRAMS / "parent.py"), str(ranks), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


def marked(word: str) -> list[int]:
    """Processes that carry the mark, except this one and what has ended already."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                ours = f"{MARK}={word}".encode() in (folder / "environ").read_bytes()
                alive = "\nState:\tZ" not in (folder / "status").read_text()
            except OSError:
                continue
            if ours and alive:
                found.append(int(folder.name))
    return found
