"""The model of rounds and of the change of view (``rounds.pml``), checked completely by spin; and that it fails with a step broken.

*Complete*: every order of all steps. *Ends*: there is no cycle in the state space, so each run ends, and where it ends is asserted:
progress needs no fairness but that something that can move moves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("rounds.pml")
PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
FULL = os.environ.get("BAASH_CRASH") == "full"
OPTIMISE = "-O2" if FULL else "-O0"  # what spin writes takes longer to compile well than small worlds take to check
NONE = {"VIEWS": 2, "CRASHES": 0, "FAILURES": 0, "REPEATS": 0, "FALSE_ONES": 0}

WHOLE: dict[str, dict[str, int]] = {
    "failed write": NONE | {"FAILURES": 1, "REPEATS": 1},
    "crash": NONE | {"VIEWS": 3, "CRASHES": 1},
    "split": NONE | {"VIEWS": 3, "SPLIT": 1},
    "false suspicion": NONE | {"VIEWS": 3, "FALSE_ONES": 1},
}
if FULL:
    WHOLE |= {
        "two failed writes": NONE | {"VIEWS": 3, "FAILURES": 2, "REPEATS": 1},
        "crash, failed write": NONE | {"VIEWS": 3, "CRASHES": 1, "FAILURES": 1},
        "two crashes": NONE | {"VIEWS": 3, "CRASHES": 2},
        "failed write, false suspicion": NONE | {"FAILURES": 1, "FALSE_ONES": 1},
        "crash, false suspicion": NONE | {"VIEWS": 3, "CRASHES": 1, "FALSE_ONES": 1},
    }

ROUND, CHANGE = NONE | {"FAILURES": 1, "REPEATS": 1}, NONE | {"FALSE_ONES": 1}
BROKEN: dict[str, tuple[dict[str, int], str]] = {  # what fails: the world it shows in, and a piece of the assertion
    "RECORDED_BEFORE_ALL_WERE_READY": (ROUND, "place["),
    "PROPOSED_BEFORE_THE_FAILED_ONE_WAS_ANSWERED": (ROUND, "place["),
    "READY_OF_ANOTHER_PROPOSAL_COUNTS": (ROUND, "place["),
    "READY_BEFORE_WRITTEN": (ROUND, "place["),
    "ABORTED_AFTER_THE_RECORD": (ROUND, "head["),
    "CUT_READ_BEFORE_THE_CLAIM": (CHANGE, "acknowledged"),
    "JOINED_GOES_ON_IN_THE_OLD_VIEW": (CHANGE, "acknowledged"),
    "WHAT_THE_LEDGER_HOLDS_IS_COMMITTED_AGAIN": (CHANGE, "brings["),
    "A_MINORITY_CLAIMS": (WHOLE["split"], "acting["),
}

pytestmark = pytest.mark.skipif(
    shutil.which("spin") is None, reason="there is no spin here (Debian: apt-get install spin)"
)


def pan(folder: Path, world: dict[str, int], *defines: str, cycles: bool = False) -> tuple[int, int, str]:
    """(errors, states, what it said): the whole state space, or up to the first error; ``cycles``: of a run without end."""
    given = [f"-D{name}={number}" for name, number in world.items()] + [f"-D{d}" for d in defines]
    subprocess.run(["spin", *given, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True)
    line = ["cc", OPTIMISE, "-w", "-DNP" if cycles else "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"]
    subprocess.run(line, cwd=folder, check=True)
    run = ["./pan", *(["-l"] if cycles else []), "-m1000000"]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=1800, check=True)
    errors, states = re.search(r"errors: (\d+)", done.stdout), re.search(r"(\d+) states, stored", done.stdout)
    assert errors and states, done.stdout + done.stderr
    assert "max search depth" not in done.stdout
    assert errors[1] != "0" or "Search not completed" not in done.stdout
    return int(errors[1]), int(states[1]), done.stdout


@pytest.mark.parametrize("name", WHOLE)
def test_it_holds(name: str, tmp_path: Path) -> None:
    errors, states, said = pan(tmp_path, WHOLE[name])
    memory = re.search(r"([\d.]+)\s+total actual memory usage", said)
    print(f"{name}: {states:,} states, {memory[1] if memory else '?'} MB")
    assert errors == 0 and states > 10_000, said


@pytest.mark.parametrize("name", [name for name, world in WHOLE.items() if not world["FALSE_ONES"]])
def test_every_run_ends(name: str, tmp_path: Path) -> None:
    errors, _, said = pan(tmp_path, WHOLE[name], cycles=True)
    assert errors == 0 and re.search(r"non-progress cycles\s+\+", said), said


@pytest.mark.parametrize("broken", BROKEN)
def test_every_step_is_needed(broken: str, tmp_path: Path) -> None:
    world, why = BROKEN[broken]
    errors, states, said = pan(tmp_path, world, broken)
    print(f"{broken}: fails, after {states:,} states")
    assert errors == 1
    violated = next(line for line in said.splitlines() if "assertion violated" in line)
    assert why in violated


def test_the_broken_steps_are_those_that_are_documented() -> None:
    inside = set(re.findall(r"#ifn?def ([A-Z_]+)", MODEL.read_text())) - {"VIEWS", "TIMES", "SPLIT"}
    assert inside == set(BROKEN)
    assert [name for name in BROKEN if name not in PAGE.read_text()] == []
