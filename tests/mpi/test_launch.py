"""The parent: what it makes of every way a job can end, and that nothing of the job survives it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import marked

pytestmark = pytest.mark.mpi

Start = Callable[..., "subprocess.Popen[str]"]


def outcome(
    parent: subprocess.Popen[str], timeout: float = 40
) -> tuple[int, dict[str, Any], list[dict[str, Any]], str]:
    try:
        out, err = parent.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        parent.kill()
        out, err = parent.communicate()
        pytest.fail(f"the parent hung for {timeout} s\n{out}\n{err}")
    events = [json.loads(line) for line in out.splitlines()]
    assert events and events[-1]["event"] == "result", out + err
    return parent.returncode, events[-1], events[:-1], err


def until_met(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    assert json.loads(parent.stdout.readline())["note"] == "met"


@pytest.mark.parametrize(
    ("how", "launcher", "code", "has_status"),
    [
        ("good", "mpirun", 0, True),
        ("good", "none", 0, True),
        ("bad", "mpirun", 5, True),
        ("raise", "mpirun", 0, True),  # one rank died, the others report a good end
        ("stop", "mpirun", 0, True),  # a stopped rank cannot leave: it is ended
        ("all-raise", "mpirun", 1, False),
        ("all-killed", "mpirun", 11, False),
    ],
)
def test_the_exit_code_is_what_the_ranks_say(
    start_parent: Start, mark: str, how: str, launcher: str, code: int, has_status: bool
) -> None:
    returned, result, events, err = outcome(start_parent(1 if launcher == "none" else 3, how, launcher))
    assert returned == result["exit_code"] == code, (events, err)
    assert (result["status"] is not None) == has_status
    assert any(event.get("note") == "met" for event in events)
    assert "a stray line" in err and "a stray line" in result["stderr_tail"]
    if has_status:
        assert "-----" not in err  # mpirun's remarks are no news when the job went well
    if how == "all-raise":
        assert "baash: rank 0: ValueError: bad luck" in err
    assert marked(mark) == []


def test_one_interrupt_drains(start_parent: Start, mark: str) -> None:
    parent = start_parent(3, "sleep")
    until_met(parent)
    parent.send_signal(signal.SIGINT)
    returned, result, events, err = outcome(parent, 30)
    endings = [event for event in events if event.get("note") == "ending"]
    assert [event["drain"] for event in endings] == [True] * 3, (events, err)
    assert (returned, result["status"]["how"]) == (0, "sleep")
    assert marked(mark) == []


def test_two_interrupts_end(start_parent: Start, mark: str) -> None:
    parent = start_parent(3, "stubborn")
    until_met(parent)
    parent.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert parent.poll() is None
    parent.send_signal(signal.SIGINT)
    returned, result, _, _ = outcome(parent, 30)
    assert (returned, result["status"]) == (130, None)
    assert gone(mark)


def test_an_interrupt_before_the_ranks_have_met_ends(start_parent: Start, mark: str) -> None:
    parent = start_parent(3, "late")
    deadline = time.monotonic() + 20
    while len(marked(mark)) < 4 and time.monotonic() < deadline:  # parent, mpirun and the first ranks
        time.sleep(0.02)
    parent.send_signal(signal.SIGINT)
    returned, *_ = outcome(parent, 30)
    assert returned == 130
    assert gone(mark)


def test_nothing_survives_the_parent(start_parent: Start, mark: str) -> None:
    parent = start_parent(3, "stubborn")
    until_met(parent)
    assert len(marked(mark)) >= 5
    parent.kill()
    parent.wait()
    assert gone(mark)


def test_nothing_survives_mpirun(start_parent: Start, mark: str, environment: dict[str, str]) -> None:
    parent = start_parent(3, "stubborn")
    until_met(parent)
    files = Path(environment["PRTE_MCA_prte_local_tmpdir_base"])
    assert list(files.glob("baash-*/ompi.*"))  # left behind, it would keep a later mpirun of its number from starting
    children = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 1
    subprocess.run(["kill", "-9", *children], check=True)
    returned, *_ = outcome(parent, 30)
    assert returned == 11
    assert gone(mark)
    assert list(files.iterdir()) == []


def gone(mark: str) -> bool:
    """Whether all processes of the job are gone within two seconds."""
    deadline = time.monotonic() + 2
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    return marked(mark) == []
