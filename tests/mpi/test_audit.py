"""The audit over ranks: the same report as by one process, the right exit code, and no "all well" when a rank is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ledgers import Builder, batch_of, record, small

from baash.ledger.layout import layout
from baash.mpi import launcher
from baash.mpi.info import mpi_info
from baash.records import Operation

PROGRAMS = Path(__file__).parent / "programs"
BAASH = ["-c", "from baash.cli import main; main()"]
PLAIN, ULFM = False, True

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = small(tmp_path_factory.mktemp("sound") / "l")
    builder.begin_view()
    for first in range(1000, 1120, 8):
        builder.commit(batch_of([record(Operation.CREATE, f"more{first + i}", first + i) for i in range(8)]))
    builder.checkpoint()
    builder.close()
    return builder.path


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Broken rules, a number used twice, then bytes changed in four places."""
    builder = Builder(tmp_path_factory.mktemp("damaged") / "l")
    builder.begin_view()
    for first in range(0, 160, 8):
        builder.commit(batch_of([record(Operation.UPDATE, f"e{i % 40}", i) for i in range(first, first + 8)]))
    builder.commit(batch_of([record(Operation.NOTE, "e1", 7), record(Operation.NOTE, "e2", 8)]))
    builder.close()
    path = builder.folder.segment_path(0, 0)
    data = layout(path).data
    with open(path, "r+b", buffering=0) as file:
        writes = [w for w in builder.writes if w.data_set]
        for kind, which in (("records", 9), ("block_headers", 12), ("certificates", 15), ("commit_records", 11)):
            write = [w for w in writes if w.data_set == kind][which]
            place = data[kind].offset + write.offset + 50
            old = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([old[0] ^ 16]), place)
    return builder.path


def start(ranks: int, program: list[str], environment: dict[str, str], ulfm: bool) -> subprocess.Popen[str]:
    """As somebody types it: ``mpirun -n RANKS baash verify …``, nothing of ours around it."""
    settings = {name: value for name, value in environment.items() if name != "BAASH_PARENT"}
    info = mpi_info(init=False)
    options = ["--with-ft", "ulfm"] if ulfm else []
    over = ["--oversubscribe"] if info["vendor"] == "Open MPI" else []
    line = [launcher.find_mpirun(info), *options, *over, "-n", str(ranks), sys.executable, *program]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings, start_new_session=True
    )


def finish(child: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        pytest.fail(f"hung for {timeout} s\n{out}\n{err}")
    return child.returncode, out, err


def alone(path: Path, environment: dict[str, str]) -> tuple[int, dict[str, Any]]:
    settings = {name: value for name, value in environment.items() if name != "BAASH_PARENT"}
    done = subprocess.run(
        [sys.executable, *BAASH, "verify", str(path), "--json"],
        capture_output=True,
        text=True,
        env=settings,
        timeout=120,
    )
    return done.returncode, told(done.stdout)


def told(text: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    del report["elapsed_s"]
    return report


@pytest.mark.parametrize("ranks", [2, 3, 5])
@pytest.mark.parametrize("kind", ["sound", "damaged"])
def test_the_report_is_that_of_one_process(
    mpi: None, environment: dict[str, str], request: pytest.FixtureRequest, kind: str, ranks: int
) -> None:
    path = request.getfixturevalue(kind)
    code, expected = alone(path, environment)
    assert (code, expected["ok"]) == ((0, True) if kind == "sound" else (1, False))
    if kind == "damaged":
        assert expected["problem_count"] > 20 and 0 < expected["proved"]["blocks"] < expected["proved"]["block_total"]
    for ulfm in (PLAIN, ULFM) if ranks == 3 else (PLAIN,):
        found, out, err = finish(start(ranks, [*BAASH, "verify", str(path), "--json"], environment, ulfm))
        assert (found, told(out)) == (code, expected), err


@pytest.mark.parametrize("kind", ["sound", "damaged"])
def test_by_a_parent(mpi: None, environment: dict[str, str], request: pytest.FixtureRequest, kind: str) -> None:
    path = request.getfixturevalue(kind)
    code, expected = alone(path, environment)
    settings = {name: value for name, value in environment.items() if name != "BAASH_PARENT"}
    done = subprocess.run(
        [sys.executable, *BAASH, "verify", "-n", "2", str(path), "--json"],
        capture_output=True,
        text=True,
        env=settings,
        timeout=120,
    )
    assert (done.returncode, told(done.stdout)) == (code, expected), done.stderr


def test_what_cannot_be_verified_has_its_own_exit_code(mpi: None, environment: dict[str, str], tmp_path: Path) -> None:
    code, out, err = finish(start(3, [*BAASH, "verify", str(tmp_path / "none")], environment, PLAIN))
    assert code == 5 and not out and err.count("there is no ledger at") == 1, err


@pytest.mark.parametrize(
    ("how", "rank", "ulfm"),
    [
        ("killed", 0, ULFM),
        ("killed", 2, ULFM),
        ("killed", 2, PLAIN),
        ("raises", 0, PLAIN),
        ("raises", 2, PLAIN),
        ("raises", 2, ULFM),
        ("blind", 2, PLAIN),
    ],
)
def test_a_rank_that_is_lost(
    mpi: None, environment: dict[str, str], sound: Path, how: str, rank: int, ulfm: bool
) -> None:
    program = [str(PROGRAMS / "audit_fails.py"), how, str(rank), "verify", str(sound)]
    code, out, err = finish(start(3, program, environment, ulfm))
    assert code != 0 and "all is as it was committed" not in out + err, (code, out, err)
    if how == "raises":
        assert "a mistake of ours" in err and err.count("baash:") == 1, err
    elif how == "blind":
        assert "there is no ledger at" in err and code == 5, (code, err)
    elif ulfm:
        assert f"rank {rank} died" in err, err


@pytest.mark.parametrize("how", ["killed", "raises"])
def test_a_rank_that_is_lost_to_a_parent(mpi: None, environment: dict[str, str], sound: Path, how: str) -> None:
    settings = {name: value for name, value in environment.items() if name != "BAASH_PARENT"}
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "audit_parent.py"), how, "1", "verify", "-n", "3", str(sound)],
        capture_output=True,
        text=True,
        env=settings,
        timeout=120,
    )
    assert done.returncode != 0 and not done.stdout, done
    assert ("rank 1 died" if how == "killed" else "a mistake of ours") in done.stderr, done.stderr
