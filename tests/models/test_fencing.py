"""The model of fencing (``fencing.pml``), checked completely by spin; and that it fails when a step is left out or swapped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("fencing.pml")
SWAPPED = re.findall(r"#ifn?def ([A-Z_]+)", MODEL.read_text())
SWAPPED = sorted({name for name in SWAPPED if name != "READER"})

WHOLE = [("POWER_FAILURES=1",), ("POWER_FAILURES=0", "READER")]
if os.environ.get("BAASH_CRASH") == "full":
    WHOLE += [("POWER_FAILURES=2",), ("POWER_FAILURES=1", "READER")]

pytestmark = pytest.mark.skipif(
    shutil.which("spin") is None, reason="there is no spin here (Debian: apt-get install spin)"
)


def check(folder: Path, *defines: str) -> tuple[int, int]:
    """(errors, states): the whole state space, or up to the first error."""
    subprocess.run(
        ["spin", *(f"-D{d}" for d in defines), "-a", str(MODEL)], cwd=folder, check=True, capture_output=True
    )
    line = ["cc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"]
    subprocess.run(line, cwd=folder, check=True)
    done = subprocess.run(["./pan", "-m100000"], cwd=folder, capture_output=True, text=True, timeout=600, check=True)
    errors, states = re.search(r"errors: (\d+)", done.stdout), re.search(r"(\d+) states, stored", done.stdout)
    assert errors and states, done.stdout + done.stderr
    assert "max search depth" not in done.stdout
    assert errors[1] != "0" or "Search not completed" not in done.stdout
    return int(errors[1]), int(states[1])


@pytest.mark.parametrize("defines", WHOLE, ids=" ".join)
def test_the_protocol_holds(defines: tuple[str, ...], tmp_path: Path) -> None:
    errors, states = check(tmp_path, *defines)
    print(f"{' '.join(defines)}: {states:,} states, {errors} errors")
    assert errors == 0 and states > 10_000


@pytest.mark.parametrize("swapped", SWAPPED)
def test_every_step_is_needed(swapped: str, tmp_path: Path) -> None:
    errors, states = check(tmp_path, "POWER_FAILURES=1", swapped)
    print(f"{swapped}: fails, after {states:,} states")
    assert errors == 1


def test_the_steps_are_those_that_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "durability.md").read_text()
    assert len(SWAPPED) >= 10
    assert [name for name in SWAPPED if name not in text] == []
