"""Storage that refuses: at any change, for a moment or for good; that is full, read-only, gone.

What is expected (DESIGN: what fails, and what happens): before the record the round fails whole and is tried again, and when
there is room work goes on; a commit record whose flush failed ends the view; in every case one sentence, never a traceback,
nothing acknowledged is lost, and the next writer goes on.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path

import campaign
import pytest
from disturb import changes, continued, disturbed, marks
from judge import judge
from recording import HERE, Kind, Outcome, Product, Run, Writers, operations

from baash.errors import StorageError

PRODUCT = HERE / "programs" / "product.py"
FAULTS = [f"fail {{}} {code}" for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)] + ["short {}"]
FLUSHES = ["fail-sync {}", "fail-sync-kept {}"]
LASTING = [f"fail {{}} {code} {times}" for code in (errno.ENOSPC, errno.EIO) for times in (12, 10**9)]


def unlike(outcome: Outcome) -> list[str]:
    """What is wrong with how a writer ended."""
    if outcome.ended or outcome.traceback:
        return [f"it did not end by itself: {outcome}"]
    if outcome.exit_code == 0:
        return [] if outcome.acknowledged == 9 else [f"it ended well with {outcome.acknowledged} of 9 acknowledged"]
    one_sentence = len(outcome.error.splitlines()) == 1 and len(outcome.error) < 600
    right_code = outcome.exit_code == StorageError.exit_code
    return [] if one_sentence and right_code else [f"it did not say well what happened: {outcome}"]


@pytest.mark.parametrize("clusters", [1, 3])
def test_any_change_or_flush_may_fail(clusters: int, room: Path, writers: Writers) -> None:
    name = f"faults, {clusters} clusters" if clusters > 1 else "faults"
    total, flushes = changes(room, writers, clusters)
    faults = [f.format(n) for f, n in product([*FAULTS, *LASTING], range(1, total + 1))]
    faults += [f.format(n) for f, n in product(FLUSHES, range(1, flushes + 1))]
    problems = []
    for number, fault in enumerate(campaign.chosen(name, faults, 10, 0.08)):
        asked, outcome = disturbed(fault, room, writers, clusters)
        found = unlike(outcome)
        found += continued(asked, room, writers, name, power=fault.startswith("fail-sync") or number % 10 == 0)
        problems += [f"{fault}: {wrong}" for wrong in found]
        ended = "went_on" if outcome.exit_code == 0 else "ended"
        campaign.count(name, **{ended: 1}, wrong=len(found))
    assert problems == []


def test_a_round_that_fails_before_its_record_is_tried_again(room: Path, writers: Writers) -> None:
    """Every change to a segment but those of commit records: the run ends well with all acknowledged."""
    disturbed("", room, writers)
    log = operations(room / "log")
    number, inside, tried = 0, False, 0
    for o in log:
        if o.kind is Kind.MARK:
            continue
        number += 1
        if o.kind is Kind.FAILED:
            continue
        inside = inside or "segment-" in o.path
        following = next((p for p in log[o.index + 1 :] if p.kind is not Kind.SYNC), None)
        of_record = (o.size == 512 and o.kind is Kind.WRITE) or (following is not None and following.kind is Kind.MARK)
        if not inside or of_record or "checkpoint" in o.path:
            continue
        if number % 4 and not campaign.FULL:
            continue
        _, outcome = disturbed(f"fail {number} {errno.ENOSPC}", room, writers)
        if (outcome.exit_code and "commit record" in outcome.error) or "checkpoint" in outcome.error:
            continue  # this run's numbers were others
        assert (outcome.exit_code, outcome.acknowledged) == (0, 9), (o.kind, o.path, outcome)
        tried += 1
    assert tried >= 5
    campaign.count("rounds failed and tried again", tried=tried)


@pytest.mark.mpi
def test_a_rank_whose_writes_fail(room: Path, recorder: Path, mpirun: None) -> None:
    """Several ranks write one segment: when one of them cannot, all try again in the same file."""
    name, problems = "faults under mpirun", []
    load = ("--workload", "ycsb-load", "--transactions", 60, "--record-bytes", 600)
    whole = Product(room / "whole", recorder)
    assert whole.run(*load).exit_code == 0
    log = [o for o in operations(whole.log) if o.kind is not Kind.MARK]
    others = [n for n, o in enumerate(log, 1) if o.process != log[0].process]
    faults = [f"fail {n} {errno.ENOSPC}" for n in (others[0], *range(1, len(log) + 1))]
    first, *rest = faults
    for number, fault in enumerate(chain([first], campaign.chosen(name, rest, 2, 0.08))):
        run = Product(room / str(number), recorder)
        ended = run.run(*load, fault=fault)
        said = marks(operations(run.log))
        _, wrong = judge(run.ledger, said)
        if ended.exit_code == 0 and len(said) != 60:
            wrong = wrong or f"it ended well with {len(said)} of 60 acknowledged"
        if "Traceback" in ended.stderr or ended.exit_code not in (0, StorageError.exit_code):
            wrong = wrong or f"{ended}"
        problems += [f"{fault}: {wrong}"] if wrong else []
        campaign.count(name, acknowledged=len(said), wrong=bool(wrong))
    assert problems == []


# --- real file systems


def mount(kind: str, where: Path, image: Path) -> None:
    """A small file system of its own at ``where``; skips the test if that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    line = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(where)]
    if kind == "ext4":
        if not image.exists():
            if shutil.which("mkfs.ext4") is None:
                pytest.skip("there is no mkfs.ext4 here")
            image.touch()
            os.truncate(image, 8 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
        line = ["mount", "-o", "loop", str(image), str(where)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Path]:
    """A folder at which a file system may be mounted; nothing stays mounted there."""
    made = tmp_path / "mounted"
    made.mkdir()
    yield made
    subprocess.run(["umount", "-l", str(made)], capture_output=True)


@pytest.fixture(params=["tmpfs", "ext4"])
def mounted(request: pytest.FixtureRequest, where: Path, tmp_path: Path) -> Path:
    mount(request.param, where, tmp_path / "image")
    return where


def writer(where: Path, tmp_path: Path, **more: object) -> Run:
    return Run(str(where), str(where / "ledger"), str(tmp_path / "keys"), **more)  # type: ignore[arg-type]


def fill(where: Path) -> Path:
    """Leave no room at all."""
    filler = where / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler


def test_a_full_file_system(mounted: Path, tmp_path: Path, writers: Writers) -> None:
    acknowledged = 0
    for turn in range(40):  # until nothing fits any more
        outcome = writers.run(writer(mounted, tmp_path, source=f"s{turn}", steps=3, together=3, payload=60_000))
        acknowledged += outcome.acknowledged
        if outcome.exit_code:
            break
    assert outcome.exit_code == StorageError.exit_code and "space" in outcome.error, outcome
    assert not outcome.traceback and not outcome.ended
    fill(mounted)
    again = writers.run(writer(mounted, tmp_path, source="full"))
    assert again.exit_code == StorageError.exit_code and not again.traceback, again
    found, wrong = judge(mounted / "ledger", set())
    assert not wrong and len(found.ids) >= acknowledged
    (mounted / "filler").unlink()
    if not os.statvfs(mounted).f_bavail * os.statvfs(mounted).f_bsize > 1 << 19:
        subprocess.run(["mount", "-o", "remount,size=16m", str(mounted)], capture_output=True)
    if os.statvfs(mounted).f_bavail * os.statvfs(mounted).f_bsize > 1 << 19:
        later = writers.run(writer(mounted, tmp_path, source="later", steps=1, together=1))
        assert (later.exit_code, later.acknowledged) == (0, 1), later
        assert not judge(mounted / "ledger", found.ids)[1]


def test_a_read_only_file_system(mounted: Path, tmp_path: Path, writers: Writers) -> None:
    first = writers.run(writer(mounted, tmp_path))
    assert first.exit_code == 0
    found, wrong = judge(mounted / "ledger", set())
    assert not wrong
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    refused = writers.run(writer(mounted, tmp_path, source="two"))
    assert refused.exit_code == StorageError.exit_code and "read-only" in refused.error, refused
    assert judge(mounted / "ledger", found.ids) == (found, "")
    subprocess.run(["mount", "-o", "remount,rw", str(mounted)], check=True)
    assert writers.run(writer(mounted, tmp_path, source="three")).exit_code == 0
    assert not judge(mounted / "ledger", found.ids)[1]


def test_a_file_system_that_goes_and_comes_back(where: Path, tmp_path: Path, recorder: Path) -> None:
    """Unmounted (lazily) beside a writer that is held before a change: it says so, and loses nothing."""
    mount("ext4", where, tmp_path / "image")
    own, log = Writers(recorder), tmp_path / "log"
    os.mkfifo(f"{log}.held")
    try:
        own.begin(writer(where, tmp_path, log=str(log), fault="hold 45"))
        held = os.open(f"{log}.held", os.O_WRONLY)  # when this returns the writer is held
        subprocess.run(["umount", "-l", str(where)], check=True)
        os.close(held)
        outcome = own.end()
        assert not outcome.traceback and not outcome.ended, outcome
        assert outcome.exit_code and len(outcome.error.splitlines()) == 1, outcome
        mount("ext4", where, tmp_path / "image")
        said = marks(operations(log))
        assert not judge(where / "ledger", said)[1]
        after = own.run(writer(where, tmp_path, source="after"))
        assert (after.exit_code, after.acknowledged) == (0, 9), after
        assert not judge(where / "ledger", said)[1]
    finally:
        own.close()


def test_files_may_not_grow_beyond_a_limit(room: Path, recorder: Path) -> None:
    """``ulimit -f``: the segment cannot be made, and that is said."""
    run = Product(room / "run", recorder)
    program = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); "
    program += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    (room / "file").write_bytes(b"x")
    arguments = [str(PRODUCT), "cli", "record", str(room / "file"), "--ledger", str(run.ledger)]
    line = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(line, env=run.environment(recorded=False), capture_output=True, text=True, timeout=120)
    assert done.returncode == StorageError.exit_code and "Traceback" not in done.stderr, done
    assert "ulimit -f" in done.stderr and not judge(run.ledger, set())[1]
    assert run.cli("record", room / "file", "--ledger", run.ledger, recorded=False).returncode == 0
