"""Whole runs, as a user starts them, and what is done to them: deaths, signals, a full disk. Ledgers are audited after."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import marked

from baash import batch as batches
from baash.ledger import library
from baash.ledger.reader import Ledger

pytestmark = pytest.mark.mpi

Baash = Callable[..., "subprocess.Popen[str]"]
TRIALS = int(os.environ.get("BAASH_TEST_TRIALS", "3"))  # `make campaign` takes more
SEED = int(os.environ.get("BAASH_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


@pytest.fixture
def baash(mpi: None, environment: dict[str, str], tmp_path: Path) -> Baash:
    """``baash(*arguments)``: the command line in a process of its own, its keys in the test's folder."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        line = [sys.executable, "-c", "from baash.cli import main; main()", *map(str, arguments)]
        settings = {**environment, "BAASH_KEYS": str(tmp_path / "keys")}
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings)

    return start


def end(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"hung for {timeout} s\n{out}\n{err}")
    return process.returncode, out, err


def verified(baash: Baash, ledger: Path) -> dict[str, Any]:
    code, out, err = end(baash("verify", ledger, "--json"))
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and found["ok"], (found["problems"][:5], err)
    return found


def load(baash: Baash, ledger: Path, transactions: int, *more: object) -> subprocess.Popen[str]:
    report = ledger.with_suffix(".json")
    return baash("run", "-n", 6, "--ledger", ledger, "--workload", "ycsb-load", "--transactions", transactions,
                 "--report", report, *more)  # fmt: skip


def until_committing(ledger: Path, timeout: float = 60) -> None:
    """Until the first segment is there: rounds are being written."""
    deadline = time.monotonic() + timeout
    while not list(ledger.glob("segment-*.h5")):
        assert time.monotonic() < deadline, "no segment appeared"
        time.sleep(0.005)


def ranks_of(mark: str) -> dict[int, int]:
    """rank → pid of a run's ranks."""
    found = {}
    for pid in marked(mark):
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        for item in environ:
            if item.startswith(b"OMPI_COMM_WORLD_RANK="):
                found[int(item.split(b"=")[1])] = pid
    return found


def nodes_of(ledger: Path) -> list[dict[str, Any]]:
    """The nodes of the ledger's first view."""
    text = (ledger / "view-000000").read_text().split("\n", 1)[1].split("\n\n")[0]
    nodes: list[dict[str, Any]] = json.loads(text)["nodes"]
    return nodes


def rank_with(ledger: Path, role: str) -> int:
    rank: int = next(n["rank"] for n in nodes_of(ledger) if n["role"] == role)
    return rank


def rank_without_coordinator(ledger: Path, draw: random.Random) -> int:
    nodes = nodes_of(ledger)
    led = {n["rank"] for n in nodes if n["role"] == "coordinator"}
    return draw.choice(sorted({n["rank"] for n in nodes} - led))


@pytest.mark.smoke
def test_a_run_is_committed_continued_and_not_doubled(baash: Baash, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    code, out, err = end(load(baash, ledger, 5000))
    assert code == 0, err
    assert "5,000" in out
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["transactions"] == {"offered": 5000, "committed": 5000, "rejected": {}, "duplicates": 0}
    code, _, err = end(load(baash, ledger, 6000))
    assert code == 0, err
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["transactions"] == {"offered": 6000, "committed": 1000, "rejected": {}, "duplicates": 5000}
    found = verified(baash, ledger)
    assert found["transactions"] == 6000 and found["views"] == 2 and found["head"] == report["head"]


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_validator_costs_nothing_but_time(baash: Baash, mark: str, tmp_path: Path, trial: int) -> None:
    print(f"seed {SEED}: replay with BAASH_TEST_SEED={SEED}")
    draw = random.Random(SEED + trial)
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 60_000)
    until_committing(ledger)
    time.sleep(draw.random() * 0.6)
    rank = rank_without_coordinator(ledger, draw)
    victim = ranks_of(mark).get(rank)
    if victim is not None:
        os.kill(victim, signal.SIGKILL)
    code, out, err = end(run)
    assert code == 0, err
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["transactions"]["committed"] == 60_000
    assert verified(baash, ledger)["transactions"] == 60_000
    if report["lost_nodes"]:
        assert "lost nodes" in out
    assert not marked(mark)


def raises_in_a_rank(environment: dict[str, str], tmp_path: Path) -> None:
    """A bug in the core of one rank: the first validator raises after some events."""
    environment["BAASH_TEST_RAISE"] = "1"
    sabotage = tmp_path / "sabotage"
    sabotage.mkdir()
    (sabotage / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('BAASH_TEST_RAISE') and os.environ.get('OMPI_COMM_WORLD_RANK'):\n"
        "    import baash.protocol.validator as v\n"
        "    handle, seen = v.Validator.handle, []\n"
        "    def broken(self, event, now_ns):\n"
        "        seen.append(1)\n"
        "        first = min(n.node for n in self.view.validators(0))\n"
        "        if self.node == first and len(seen) > 8: raise RuntimeError('a bug in a rank')\n"
        "        return handle(self, event, now_ns)\n"
        "    v.Validator.handle = broken\n"
    )
    environment["PYTHONPATH"] = f"{sabotage}{os.pathsep}{environment['PYTHONPATH']}"


def test_a_rank_that_raises_takes_itself_out(
    baash: Baash, mark: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    ledger = tmp_path / "ledger"
    raises_in_a_rank(environment, tmp_path)
    code, _, err = end(load(baash, ledger, 40_000))
    assert code == 0, err
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["transactions"]["committed"] == 40_000 and len(report["lost_nodes"]) >= 1
    assert verified(baash, ledger)["transactions"] == 40_000
    assert not marked(mark)


def test_a_stopped_validator_is_left_alone(baash: Baash, mark: str, tmp_path: Path) -> None:
    """SIGSTOP: no death to notice, only a vote that does not come."""
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 60_000)
    until_committing(ledger)
    victim = ranks_of(mark)[rank_without_coordinator(ledger, random.Random(SEED))]
    os.kill(victim, signal.SIGSTOP)
    code, _, err = end(run)
    assert code == 0, err
    assert verified(baash, ledger)["transactions"] == 60_000
    assert not marked(mark)


def test_ctrl_c_drains_and_the_next_run_continues(baash: Baash, mark: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 2_000_000)
    until_committing(ledger)
    run.send_signal(signal.SIGINT)
    code, out, err = end(run)
    assert code == 130, (code, out, err)
    assert "interrupted" in out
    report = json.loads(ledger.with_suffix(".json").read_text())
    committed = report["transactions"]["committed"]
    assert report["interrupted"] and 0 < committed < 2_000_000
    assert verified(baash, ledger)["transactions"] == committed
    assert not marked(mark)
    code, _, err = end(load(baash, ledger, committed + 5000))
    assert code == 0, err
    assert verified(baash, ledger)["transactions"] == committed + 5000


def test_a_killed_parent_leaves_a_ledger_that_goes_on(baash: Baash, mark: str, tmp_path: Path) -> None:
    print(f"seed {SEED}: replay with BAASH_TEST_SEED={SEED}")
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 2_000_000)
    until_committing(ledger)
    time.sleep(random.Random(SEED).random() * 0.5)
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 5
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not marked(mark)
    before = verified(baash, ledger)["transactions"]
    code, _, err = end(load(baash, ledger, before + 3000))
    assert code == 0, err
    assert verified(baash, ledger)["transactions"] == before + 3000


@pytest.mark.parametrize("victims", ["coordinator", "rank 0", "coordinator and another"])
def test_a_run_goes_on_without_who_was_killed(baash: Baash, mark: str, tmp_path: Path, victims: str) -> None:
    """The view changes inside the run: it ends well, everything is committed once, and the report tells of it."""
    print(f"seed {SEED}: replay with BAASH_TEST_SEED={SEED}")
    draw, ledger = random.Random(f"{SEED} {victims}"), tmp_path / "ledger"
    run = load(baash, ledger, 120_000, "-n", 8, "--window-mib", 0.5)
    until_committing(ledger)
    time.sleep(draw.random() * 0.5)
    leader = rank_with(ledger, "coordinator")
    gone = {"coordinator": [leader], "rank 0": [0]}.get(victims, [leader, draw.choice(sorted({*range(8)} - {leader}))])
    pids = ranks_of(mark)
    for rank in gone:
        os.kill(pids[rank], signal.SIGKILL)
    code, _, err = end(run)
    assert code == 0, err
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["transactions"] == {"offered": 120_000, "committed": 120_000, "rejected": {}, "duplicates": 0}
    found = verified(baash, ledger)
    assert (found["transactions"], found["rejections"], found["head"]) == (120_000, 0, report["head"])
    changes = report["changes"]
    assert bool(changes) == (leader in gone) and found["views"] == 1 + len(changes)
    if changes:
        assert changes[-1]["left_out"] == sorted(gone) and "coordinator of cluster 0 died" in changes[0]["why"]
        assert report["blocks"] == found["blocks"] and report["committed_bytes"] > 120_000 * 1000
    assert not marked(mark)


def test_a_leader_that_lives_does_not_call_a_run_finished_that_cannot_go_on(
    baash: Baash, mark: str, tmp_path: Path
) -> None:
    """Three of seven ranks are left, the leader among them, and another finds that these are too few."""
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 3_000_000, "-n", 7, "--seed", 2)
    until_committing(ledger)
    leader, storage, pids = rank_with(ledger, "coordinator"), rank_with(ledger, "storage"), ranks_of(mark)
    stay = {leader, *[r for r in range(7) if r not in (leader, storage)][:2]}
    for rank in set(range(7)) - stay:
        os.kill(pids[rank], signal.SIGKILL)
    code, _, err = end(run)
    assert code == 13 and "3 nodes are left" in err and "Traceback" not in err, (code, err)
    found, report = verified(baash, ledger), json.loads(ledger.with_suffix(".json").read_text())
    assert report["exit_code"] == 13 and report["transactions"]["committed"] == found["transactions"] < 3_000_000
    assert not marked(mark)


def test_too_few_that_are_left_say_so_and_the_next_run_goes_on(baash: Baash, mark: str, tmp_path: Path) -> None:
    """Six nodes, f = 1: without two of them no cluster can be formed."""
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 2_000_000)
    until_committing(ledger)
    leader, pids = rank_with(ledger, "coordinator"), ranks_of(mark)
    for rank in (leader, (leader + 1) % 6):
        os.kill(pids[rank], signal.SIGKILL)
    code, _, err = end(run)
    assert code == 13 and err.count("4 nodes are left") == 1 and "Traceback" not in err, (code, err)
    assert not marked(mark)
    found = verified(baash, ledger)
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["exit_code"] == 13 and report["transactions"]["committed"] == found["transactions"]
    assert report["blocks"] == found["blocks"] and report["head"] == (found["head"] if found["blocks"] else None)
    code, _, err = end(load(baash, ledger, found["transactions"] + 3000))
    assert code == 0, err
    assert verified(baash, ledger)["transactions"] == found["transactions"] + 3000


def test_ctrl_c_ends_a_run_whose_coordinator_is_stopped(baash: Baash, mark: str, tmp_path: Path) -> None:
    """It cannot drain and does not say so: after a while without a word it is ended, and the next run goes on."""
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 2_000_000)
    until_committing(ledger)
    os.kill(ranks_of(mark)[rank_with(ledger, "coordinator")], signal.SIGSTOP)
    run.send_signal(signal.SIGINT)
    code, _, err = end(run)
    assert code == 130 and "once more ends it at once" in err, err
    assert not marked(mark)
    before = verified(baash, ledger)["transactions"]
    code, _, err = end(load(baash, ledger, before + 1000))
    assert code == 0, err


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can be mounted by root alone")
def test_a_full_disk_ends_the_run_and_nothing_else(baash: Baash, mark: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(small)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    ledger = small / "ledger"
    try:
        code, _, err = end(load(baash, ledger, 200_000, "--report", tmp_path / "report.json"))
        assert code == 9 and "no space is left" in err and "Traceback" not in err, (code, err)
        assert err.count("will be tried again") == 1, err
        assert not marked(mark)
        assert (ledger / "checkpoint").exists()  # what was acknowledged cannot be cut off unseen
        before = verified(baash, ledger)["transactions"]
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["transactions"]["committed"] == before
        subprocess.run(["mount", "-o", "remount,size=400m", str(small)], check=True)
        code, _, err = end(load(baash, ledger, before + 1000, "--report", tmp_path / "report.json"))
        assert code == 0, err
        assert verified(baash, ledger)["transactions"] == before + 1000
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def committed(ledger: Path) -> set[tuple[bytes, int, bytes, int, bytes]]:
    """(issuer, sequence, entity, operation, payload) of everything in a ledger."""
    found = set()
    with Ledger(ledger) as opened:
        for block in opened.blocks():
            records = block.records.tobytes()
            for info in batches.scan(block.records)[0].info:
                start, name = int(info["start"]), int(info["entity_bytes"])
                payload = start + int(info["payload_start"])
                found.add(
                    (
                        info["issuer"].tobytes(),
                        int(info["sequence"]),
                        records[start + 64 : start + 64 + name],
                        int(info["operation"]),
                        records[payload : payload + int(info["payload_bytes"])],
                    )
                )
    return found


def test_ranks_and_clusters_do_not_change_what_is_committed(baash: Baash, tmp_path: Path) -> None:
    workflow = Path(__file__).parents[2] / "examples" / "pulsar-survey.json"
    shapes: list[tuple[object, ...]] = [
        ("-n", 6),
        ("-n", 4, "--nodes-per-rank", 3, "--clusters", 2, "--quorum", "byzantine"),
        ("--launcher", "none", "--block-size", 250),
    ]
    found = []
    for number, shape in enumerate(shapes):
        ledger = tmp_path / str(number)
        work = ("--workload", "ycsb-a", "--transactions", 500, "--record-count", 2000)
        for more in (("--workload", "ycsb-load", "--transactions", 2000, "--input", workflow), work):
            code, _, err = end(baash("run", *shape, "--ledger", ledger, *more))
            assert code == 0, err
        assert verified(baash, ledger)["rejections"] == 0
        found.append(committed(ledger))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 2000 + 534 + 500


@pytest.mark.mpio
@pytest.mark.parametrize("shape", [("-n", 6), ("-n", 6, "--nodes-per-rank", 2, "--clusters", 2)])
def test_a_run_through_parallel_hdf5(baash: Baash, mark: str, tmp_path: Path, shape: tuple[object, ...]) -> None:
    if not library.parallel():
        pytest.skip("h5py is built without parallel HDF5 here; this runs in .venv-mpi")
    ledger = tmp_path / "ledger"
    for transactions in (9000, 12_000):  # the second run begins a view of its own
        run = baash("run", *shape, "--ledger", ledger, "--workload", "ycsb-load", "--transactions", transactions,
                    "--writer", "mpio")  # fmt: skip
        code, _, err = end(run)
        assert code == 0, err
        assert verified(baash, ledger)["transactions"] == transactions
    assert not marked(mark)


@pytest.mark.mpio
def test_a_validators_death_does_not_poison_parallel_hdf5(baash: Baash, mark: str, tmp_path: Path) -> None:
    if not library.parallel():
        pytest.skip("h5py is built without parallel HDF5 here; this runs in .venv-mpi")
    ledger = tmp_path / "ledger"
    run = load(baash, ledger, 60_000, "--writer", "mpio")
    until_committing(ledger)
    os.kill(ranks_of(mark)[rank_without_coordinator(ledger, random.Random(SEED))], signal.SIGKILL)
    code, _, err = end(run)
    assert code == 0, err
    assert verified(baash, ledger)["transactions"] == 60_000
    assert not marked(mark)


def segments_of(ledger: Path) -> list[Path]:
    return sorted(ledger.glob("segment-*.h5"))


@pytest.mark.smoke
def test_tiny_segments_are_packed_when_the_run_is_over(baash: Baash, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    shape = ("--segment-bytes", 65536, "--window-mib", 0.0625, "--clusters", 2, "--nodes-per-rank", 2)
    for transactions in (1000, 2000):
        code, _, err = end(load(baash, ledger, transactions, *shape))
        assert code == 0, err
    report = json.loads(ledger.with_suffix(".json").read_text())
    assert report["packing"]["segments"] > 1 and report["packing"]["saved_bytes"] > 0
    verified(baash, ledger)
    before = [p.read_bytes() for p in segments_of(ledger)]
    code, out, err = end(baash("compact", ledger, "--json"))
    assert code == 0 and json.loads(out)["packed"] == 0, (out, err)
    assert [p.read_bytes() for p in segments_of(ledger)] == before
    assert not list(ledger.glob("*.tmp"))


@pytest.mark.parametrize("trial", range(TRIALS))
def test_what_a_killed_run_left_is_packed_later(baash: Baash, mark: str, tmp_path: Path, trial: int) -> None:
    print(f"seed {SEED}: replay with BAASH_TEST_SEED={SEED}")
    draw = random.Random(SEED + trial)
    ledger = tmp_path / "ledger"
    shape = ("--segment-bytes", 1 << 20, "--window-mib", 0.25)
    run = load(baash, ledger, 60_000, *shape)
    until_committing(ledger)
    time.sleep(draw.random() * 0.6)
    code, out, err = end(baash("compact", ledger, "--json"))
    assert code == 7, (out, err)  # somebody writes
    run.kill()
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end(run)
    deadline = time.monotonic() + 30
    while marked(mark):  # mpirun notices
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = verified(baash, ledger)
    code, out, err = end(baash("compact", ledger, "--json"))
    assert code == 0 and json.loads(out)["saved_bytes"] > 0, (out, err)
    after = verified(baash, ledger)
    assert all(after[n] == before[n] for n in ("head", "transactions", "rounds"))
    code, _, err = end(load(baash, ledger, 2000, *shape))
    assert code == 0, err
    assert verified(baash, ledger)["views"] == 2


def test_a_ledger_is_copied_while_it_is_written(baash: Baash, mark: str, tmp_path: Path) -> None:
    ledger, target = tmp_path / "ledger", tmp_path / "copy"
    shape = ("--segment-bytes", 1 << 19, "--window-mib", 0.125, "--clusters", 2, "--nodes-per-rank", 2)
    for transactions in (40_000, 60_000):
        run = load(baash, ledger, transactions, *shape)
        until_committing(ledger)
        while run.poll() is None:
            with Ledger(ledger) as reader:
                before = reader.block_total
            more = ["--update"] if target.exists() else []
            code, out, err = end(baash("copy", ledger, target, "--json", *more))
            assert code == 0, err
            assert json.loads(out)["blocks"] >= before
            verified(baash, target)
        code, _, err = end(run)
        assert code == 0, err
    code, _, err = end(baash("copy", ledger, target, "--update"))
    assert code == 0, err
    assert verified(baash, target)["head"] == verified(baash, ledger)["head"]
    assert [p.read_bytes() for p in segments_of(target)] == [p.read_bytes() for p in segments_of(ledger)]


def test_a_paused_run_acknowledges_nothing_in_segments_that_its_successor_packed(
    baash: Baash, mark: str, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    shape = ("--segment-bytes", 1 << 20, "--window-mib", 0.25)
    paused = load(baash, ledger, 200_000, *shape)
    until_committing(ledger)
    ranks = ranks_of(mark)
    for pid in ranks.values():
        os.kill(pid, signal.SIGSTOP)
    report = tmp_path / "second.json"
    code, _, err = end(baash("run", "-n", 5, "--ledger", ledger, "--workload", "ycsb-load", "--transactions", 500,
                             "--report", report, "--take-over", *shape))  # fmt: skip
    assert code == 0, err
    assert json.loads(report.read_text())["packing"]["segments"] > 0
    for pid in ranks.values():
        os.kill(pid, signal.SIGCONT)
    code, _, err = end(paused)
    assert code == 8, err
    said = json.loads(ledger.with_suffix(".json").read_text())
    assert said["block_total"] <= verified(baash, ledger)["blocks"]
    with Ledger(ledger) as reader:
        if said["block_total"]:
            last = reader.round_of(said["block_total"] - 1)
            assert last.record["head"].tobytes().hex() == said["head"], "what it acknowledged is in the ledger"
