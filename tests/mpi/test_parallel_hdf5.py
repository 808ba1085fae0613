"""Parallel HDF5 at all: ranks of the MPI in this environment write into one file that all have open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mpi, pytest.mark.mpio]

# The data set is made as those of a segment are: contiguous, allocated at once, never filled.
RANK = """
import sys
from mpi4py import MPI  # before h5py: the first to come decides which MPI is loaded
import h5py
import numpy as np

comm, path, share = MPI.COMM_WORLD, sys.argv[1], 4096
with h5py.File(path, "w", driver="mpio", comm=comm, libver=("earliest", "v108")) as file:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((comm.size * share,))
    records = h5py.Dataset(h5py.h5d.create(file.id, b"records", h5py.h5t.STD_U8LE, space, properties))
    records[comm.rank * share : (comm.rank + 1) * share] = np.full(share, comm.rank + 1, "u1")
    offsets = comm.allgather(records.id.get_offset())
    assert offsets[0] and len(set(offsets)) == 1, offsets
with h5py.File(path, "r", driver="mpio", comm=comm) as file:
    other = (comm.rank + 1) % comm.size
    assert (file["records"][other * share : (other + 1) * share] == other + 1).all()
with open("/proc/self/maps") as maps:
    mapped = {line.split()[-1] for line in maps if "/libmpi.so" in line}
assert len(mapped) == 1, mapped
print("rank", comm.rank, "is well", flush=True)
"""


def parallel() -> bool:
    """Asked in a process of its own: h5py with MPI must not be the first to load MPI into this one."""
    code = "import mpi4py.MPI, h5py; raise SystemExit(not h5py.get_config().mpi)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_two_ranks_write_one_file(tmp_path: Path) -> None:
    if not parallel():
        pytest.skip("h5py is built without MPI in this environment; `make test-mpi` makes one with it")
    program, file = tmp_path / "rank.py", tmp_path / "shared.h5"
    program.write_text(RANK)
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, "--with-ft", "ulfm", "--oversubscribe", "-n", "2", sys.executable, program, file]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(command, env=os.environ | root, capture_output=True, text=True, timeout=120)
    # Under ULFM mpirun's exit code says nothing: the ranks must.
    assert sorted(line for line in done.stdout.splitlines() if line.startswith("rank")) == [
        "rank 0 is well",
        "rank 1 is well",
    ], done.stderr

    # And one process alone, which knows nothing of MPI, finds the same bytes.
    code = "import sys, h5py; print(h5py.File(sys.argv[1], locking=False)['records'][::4096].tolist())"
    read = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, timeout=60, check=True)
    assert read.stdout.splitlines()[-1] == "[1, 2]"
