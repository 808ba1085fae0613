"""Every state in which a crash may leave a ledger, made from what real writers wrote (``states.py``), and judged (``judge.py``).

Recorded: ``baash record``, a process that hosts three clusters, ranks under mpirun, and parallel HDF5 where there is one; each
twice on the same ledger, so that a second view is among the states, and with segments so small that they roll over.
"""

from __future__ import annotations

from pathlib import Path

import campaign
import pytest
from recording import Kind, Product, Run, Writers, operations
from replay import Recording, failures, prefixes
from states import CHANGES, Log

from baash.errors import BaashError
from baash.ledger import library
from baash.mpi import launcher


def by_record(room: Path, recorder: Path, writers: Writers) -> Recording:
    product = Product(room, recorder)
    files = [room / f"file{i}" for i in range(12)]
    for turn in range(2):
        for file in files:
            file.write_bytes(bytes([turn]) * 100)
        done = product.cli("record", *files, "--ledger", product.ledger, "--note", "n" * 2000, "--json")
        assert done.returncode == 0, done.stderr
    return Recording(Log(operations(product.log)), 1)


def by_three_clusters(room: Path, recorder: Path, writers: Writers) -> Recording:
    root, log = room / "root", room / "log"
    root.mkdir()
    for source in ("one", "two"):
        asked = Run(str(root), str(root / "ledger"), str(root / "keys"), str(log), source=source, clusters=3)
        assert writers.run(asked).exit_code == 0
    return Recording(Log(operations(log)), 3)


def by_ranks(room: Path, recorder: Path, writers: Writers) -> Recording:
    try:
        launcher.command("mpirun", 2, ["-c", "pass"])
    except BaashError as error:
        pytest.skip(str(error))
    return ranks(room, recorder, "offset")


def by_parallel_hdf5(room: Path, recorder: Path, writers: Writers) -> Recording:
    if not library.parallel():
        pytest.skip("h5py has no parallel HDF5 here")
    return ranks(room, recorder, "mpio")


def ranks(room: Path, recorder: Path, writer: str) -> Recording:
    product = Product(room, recorder)
    for seed in (1, 2):
        load = ("--workload", "ycsb-load", "--transactions", 60 * seed, "--record-bytes", 600, "--writer", writer)
        ended = product.run(*load, "--seed", seed)
        assert ended.exit_code == 0, ended
    return Recording(Log(operations(product.log)), 2)


@pytest.fixture(
    scope="module", params=[by_record, by_three_clusters, by_ranks, by_parallel_hdf5], ids=lambda f: f.__name__
)
def recording(request: pytest.FixtureRequest, module_room: Path, recorder: Path, writers: Writers) -> Recording:
    room = module_room / request.param.__name__
    room.mkdir()
    made: Recording = request.param(room, recorder, writers)
    names = [o.other for o in made.log.operations if o.kind is Kind.RENAME]
    rolled = any(n.endswith("0001.h5") for n in names) or request.param is by_record  # whose files are one round
    assert rolled and any(n.endswith("view-000001") for n in names)
    assert len(made.acknowledged(len(made.log.operations))) >= 12
    return made


def test_the_death_of_all_processes_and_power_failures(
    recording: Recording, room: Path, writers: Writers, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    changes = sum(o.kind in CHANGES for o in recording.log.operations)
    flushes = sum(o.kind is Kind.SYNC for o in recording.log.operations)
    campaign.count(f"replay {name}", changes=changes, flushes=flushes)
    assert prefixes(recording, room, writers, f"replay {name}") == []
    assert failures(recording, room, writers, f"power {name}") == []


@pytest.mark.parametrize("weak", ["no-flush", "no-folder-flush", "record-beside-part", "acknowledged-first"])
def test_a_step_left_out_is_found(weak: str, room: Path, writers: Writers) -> None:
    root, log = room / "root", room / "log"
    root.mkdir()
    asked = Run(str(root), str(root / "ledger"), str(root / "keys"), str(log), weak=weak, together=5)
    assert writers.run(asked).exit_code == 0
    recording = Recording(Log(operations(log)), 1)
    name = f"replay with {weak}"
    found = prefixes(recording, room, writers, name) + failures(recording, room, writers, name)
    assert found, "the campaign would not notice"
