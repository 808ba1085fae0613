"""The examples of docs/python.md, run as they stand on the ledger of the README's tour."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tour")
    baash = Path(sys.executable).with_name("baash")
    command = [baash, "run", "-n", "6", "--input", ROOT / "examples/pulsar-survey.json", "--ledger", "./my-ledger"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_python(tour: Path, example: str) -> None:
    done = subprocess.run([sys.executable, "-c", example], cwd=tour, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip() and not done.stderr, done.stderr
