"""The recorder, built once; a process that forks writers; folders in memory, in which two readers agree; the table at the end."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import campaign
import pytest
import recording
from judge import remove
from reader import agreement

from baash.errors import BaashError
from baash.ledger import counting
from baash.mpi import launcher

sys.path.insert(0, str(Path(__file__).parent / "programs"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if campaign.table:
        terminalreporter.section("crashes")
        for line in campaign.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not sys.platform.startswith("linux"):
        pytest.skip("the recorder is for Linux")
    return recording.build(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="session")
def writers(recorder: Path) -> Iterator[recording.Writers]:
    found = recording.Writers(recorder)
    yield found
    found.close()


@pytest.fixture
def mpirun() -> None:
    """Skip where no ranks can be started, for the product's own reason."""
    try:
        launcher.command("mpirun", 2, ["-c", "pass"])
    except BaashError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def module_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, in memory where there is such a file system: thousands of states are written into it."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=memory)) if memory.is_dir() else tmp_path_factory.mktemp("room")
    try:
        yield made
        agreement.agree(made)
    finally:
        remove(made)


@pytest.fixture
def room(module_room: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=module_room))
    try:
        yield made
        agreement.agree(made)
    finally:
        remove(made)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No writer is at work when a state is judged: what looks damaged need not be read again later."""
    monkeypatch.setattr(counting, "DAMAGE_RETRY_S", 0.0)
