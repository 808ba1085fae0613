"""The two writers fill the same data sets with the same bytes; with real ranks, where h5py has parallel HDF5."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ledgers import small
from reader import second_reader

from baash.ledger.audit import audit
from baash.ledger.layout import ROWS, layout

pytestmark = [pytest.mark.mpi, pytest.mark.mpio]

# Every rank writes its share of the writes, in an order of its own; rank 0 creates. Then rank 1 writes nothing more and
# the others go on, which a collective write would not survive.
RANK = """
import json, sys
from mpi4py import MPI  # before h5py: the first to come decides which MPI is loaded
import numpy as np
from baash.ledger.folder import Folder
from baash.ledger.writer import open_writer
from baash.protocol.plan import Capacity
from baash.records import BLOCK_ROW, REJECTION

comm, folder, job = MPI.COMM_WORLD, Folder(sys.argv[1]), json.load(open(sys.argv[2]))
epochs = {e.view.view: e.view for e in folder.history()}
for number, capacity, writes in job["views"]:
    writer = open_writer("mpio", folder, epochs[number], comm=comm)
    assert writer.name == "mpio"
    if comm.rank == 0:
        writer.create(0, Capacity(*capacity))
    comm.barrier()
    writer.open_all(0)
    for i, (data_set, offset, data) in enumerate(writes):
        if i % comm.size == comm.rank:
            raw = bytes.fromhex(data)
            row = {"block_headers": BLOCK_ROW, "rejections": REJECTION}.get(data_set, "u1")
            writer.write(0, data_set, offset, np.frombuffer(raw, dtype=row) if i % 2 else raw)
    writer.flush(0)
    if comm.rank != 1:
        try:
            writer.write(0, "records", 10**9, b"x")
        except Exception as error:
            assert "do not fit" in str(error), error
        else:
            raise AssertionError("a write beyond the data set")
    comm.barrier()
    writer.close_all()
print("rank", comm.rank, "is well", flush=True)
"""


def parallel() -> bool:
    """Asked in a process of its own: h5py with MPI must not be the first to load MPI into this one."""
    code = "import mpi4py.MPI, h5py; raise SystemExit(not h5py.get_config().mpi)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_mpio_and_offset_write_the_same_bytes(tmp_path: Path) -> None:
    if not parallel():
        pytest.skip("h5py is built without MPI in this environment; `make test-mpi` makes one with it")
    made = small(tmp_path / "offset")
    other = tmp_path / "mpio"
    other.mkdir()
    for number in made.folder.views():
        (other / f"view-{number:06d}").write_bytes(made.folder.view_path(number).read_bytes())
    jobs = []
    for number in sorted({w.view for w in made.writes}):
        found = layout(made.folder.segment_path(number, 0))
        rows = {name: d.rows for name, d in found.data.items()}
        capacity = [*(rows[n] for n in ("block_headers", "records", "certificates", "rejections")), found.slots]
        writes = [(w.data_set, w.offset, w.data.hex()) for w in made.writes if w.view == number and w.data_set]
        jobs.append((number, capacity, writes))
    (tmp_path / "job.json").write_text(json.dumps({"views": jobs}))
    (tmp_path / "rank.py").write_text(RANK)
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, "--with-ft", "ulfm", "--oversubscribe", "-n", "3", sys.executable, tmp_path / "rank.py"]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(
        [*command, other, tmp_path / "job.json"], env=os.environ | root, capture_output=True, text=True, timeout=120
    )
    # Under ULFM mpirun's exit code says nothing: the ranks must.
    said = sorted(line for line in done.stdout.splitlines() if line.startswith("rank"))
    assert said == [f"rank {r} is well" for r in range(3)], done.stdout + done.stderr

    for number, *_ in jobs:
        name = made.folder.segment_path(number, 0).name
        one, two = layout(made.path / name), layout(other / name)
        for data_set in ROWS:
            pieces = []
            for found in (one, two):
                with open(found.path, "rb") as file:
                    file.seek(found.data[data_set].offset)
                    pieces.append(file.read(found.data[data_set].size))
            assert pieces[0] == pieces[1], (name, data_set)
    assert audit(other).ok and second_reader.audit(other).ok
    assert audit(other).head == made.log.head
