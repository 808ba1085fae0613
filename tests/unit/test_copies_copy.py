"""Copies: whole and well under the final name or not there at all; brought up to date, never beyond or beside the source."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import ledgers
import pytest
from ledgers import Builder, batch_of
from reader import second_reader
from test_copies_pack import everything, notes_of

from baash.errors import LedgerBusy, LedgerDamaged, LedgerError, StorageError
from baash.ledger.audit import audit
from baash.ledger.copies import compact
from baash.ledger.copies.copy import copy
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger

INFO = {"user": "test", "host": "here", "pid": 1}


def contents(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.name != "baash.lock"}


def flip(path: Path, at: int, mask: int = 1) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def test_a_copy_is_the_ledger_packed(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    builder.checkpoint()
    done = copy(builder.path, tmp_path / "deep" / "c", INFO)
    assert (done.blocks, done.transactions, done.files) == (
        audit(builder.path).blocks,
        audit(builder.path).transactions,
        3,
    )
    assert everything(tmp_path / "deep" / "c") == everything(builder.path)
    report = audit(tmp_path / "deep" / "c")
    assert report.ok and second_reader.audit(tmp_path / "deep" / "c").ok
    assert not any("checkpoint" in note for note in report.notes)
    assert os.listdir(tmp_path / "deep") == ["c"]
    compact.compact(builder.folder, INFO)
    packed = contents(builder.path)
    assert {n: b for n, b in packed.items() if n[:7] == "segment"} == {
        n: b for n, b in contents(tmp_path / "deep" / "c").items() if n[:7] == "segment"
    }, "a copy and a packed ledger are the same bytes"


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    for make in (lambda p: p.mkdir(), lambda p: p.write_text("mine"), lambda p: p.symlink_to("nowhere")):
        target = tmp_path / "c"
        make(target)
        with pytest.raises(LedgerError, match="exists already"):
            copy(builder.path, target, INFO)
        target.rmdir() if target.is_dir() else target.unlink()
    with pytest.raises(LedgerError, match="inside"):
        copy(builder.path, builder.path / "copy", INFO)
    assert audit(builder.path).ok


@pytest.mark.parametrize("data_set", ["records", "block_headers", "certificates", "commit_records"])
def test_a_damaged_ledger_is_not_copied(tmp_path: Path, data_set: str) -> None:
    builder = ledgers.small(tmp_path / "l")
    path = builder.path / "segment-000000-0000.h5"
    flip(path, layout(path).data[data_set].offset + 40)
    with pytest.raises(LedgerDamaged):
        copy(builder.path, tmp_path / "c", INFO)
    assert os.listdir(tmp_path) == ["l"]


def test_a_copy_follows_its_source(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    builder.commit(batch_of(notes_of(0, 20)))
    target = tmp_path / "c"
    copy(builder.path, target, INFO)
    states = [everything(target)]
    for step in range(3):
        builder.commit(batch_of(notes_of(100 * step + 20, 20)))
        if step:
            builder.begin_view()
            builder.commit(batch_of(notes_of(100 * step + 50, 20)))
        builder.checkpoint()
        with Ledger(target) as reader:  # open while it is replaced
            before = reader.block_total
            done = copy(builder.path, target, INFO, update=True)
            assert done.blocks_before == before and reader.refresh() > 0
            assert [b.records.tobytes() for b in reader.blocks()] == [
                b.records.tobytes() for b in Ledger(target).blocks()
            ]
        states.append(everything(target))
        assert states[-1][: len(states[-2])] == states[-2]
        assert states[-1] == everything(builder.path)
        assert audit(target).ok and not list(target.glob("*.tmp"))
    again = copy(builder.path, target, INFO, update=True)
    assert again.files == 0 and again.blocks_before == again.blocks
    builder.close()


def test_forks_and_strangers_are_named(tmp_path: Path) -> None:
    one, two = Builder(tmp_path / "one"), Builder(tmp_path / "two")
    one.begin_view()
    one.commit(batch_of(notes_of(0, 20)))
    copy(one.path, tmp_path / "c", INFO)
    one.begin_view()
    one.commit(batch_of(notes_of(20, 20)))
    copy(one.path, tmp_path / "longer", INFO)
    two.begin_view()  # the same members, by the test's seed, but another history
    two.commit(batch_of(notes_of(50, 20)))
    with pytest.raises(LedgerError, match="forks of one ledger"):
        copy(two.path, tmp_path / "c", INFO, update=True)
    with pytest.raises(LedgerError, match="fork"):
        copy(two.path, tmp_path / "longer", INFO, update=True)
    with pytest.raises(LedgerError, match=r"fork|other way round"):
        copy(tmp_path / "c", tmp_path / "longer", INFO, update=True)
    one.close()
    two.close()
    assert audit(tmp_path / "c").ok and audit(tmp_path / "longer").ok


def test_a_damaged_source_does_not_spoil_a_good_copy(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l", views_=2)
    copy(builder.path, tmp_path / "c", INFO)
    builder.begin_view()
    builder.commit(batch_of(notes_of(900, 20)))
    builder.close()
    path = builder.path / "segment-000003-0000.h5"
    flip(path, layout(path).data["records"].offset + 70)
    before = contents(tmp_path / "c")
    with pytest.raises(LedgerDamaged, match="not copied"):
        copy(builder.path, tmp_path / "c", INFO, update=True)
    assert contents(tmp_path / "c") == before and audit(tmp_path / "c").ok


def test_one_copy_at_a_time(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    copy(builder.path, tmp_path / "c", INFO)
    with Ledger(tmp_path / "c") as reader, reader.folder.lock(info=INFO), pytest.raises(LedgerBusy):
        copy(builder.path, tmp_path / "c", INFO, update=True)


def test_a_full_target_leaves_nothing(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        builder = Builder(tmp_path / "l", clusters=1)
        builder.begin_view()
        builder.commit(batch_of(notes_of(0, 20)))
        copy(builder.path, mount / "c", INFO)
        before = contents(mount / "c")
        builder.commit(batch_of(notes_of(20, 20_000)))
        builder.close()
        with pytest.raises(StorageError, match="no space is left"):
            copy(builder.path, mount / "c", INFO, update=True)
        assert contents(mount / "c") == before and audit(mount / "c").ok
        with pytest.raises(StorageError, match="no space is left"):
            copy(builder.path, mount / "d", INFO)
        assert os.listdir(mount) == ["c"]
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.parametrize("update", [False, True])
def test_a_killed_copy_leaves_the_name_free_or_the_copy_well(tmp_path: Path, update: bool) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(notes_of(0, 20)))
    target = tmp_path / "c"
    if update:
        copy(builder.path, target, INFO)
    for step in range(8):
        builder.commit(batch_of(notes_of(100 + 2000 * step, 2000)))
        builder.begin_view()
    builder.commit(batch_of(notes_of(50_000, 10)))
    builder.close()
    code = f"""
import sys
from pathlib import Path
from baash.ledger.copies.copy import copy
print("go", flush=True)
copy(Path({str(builder.path)!r}), Path({str(target)!r}), {INFO!r}, update={update}, copying=lambda d, t: print(d, flush=True))
"""
    for lines in range(1, 12):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if target.exists():
            assert audit(target).ok
        else:
            assert not update
    copy(builder.path, target, INFO, update=target.exists())
    assert everything(target) == everything(builder.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "l"] and not list(target.glob("*.tmp"))


def test_a_copy_under_a_writer_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    """A process commits round after round, a view now and then, and says when each is durable; meanwhile copies are made."""
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from ledgers import Builder, batch_of
from test_copies_pack import notes_of
builder = Builder(Path({str(tmp_path / "l")!r}))
builder.begin_view()
for i in range(400):
    if i % 7 == 6:
        builder.begin_view()
    builder.commit(batch_of(notes_of(20 * i, 20)))
    print(builder.log.block_total, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), True)
    acknowledged = int(child.stdout.readline())
    sizes = []
    for i in range(6):
        acknowledged = int(child.stdout.readline())
        done = copy(tmp_path / "l", tmp_path / "c", INFO, update=i > 0)
        assert done.blocks >= acknowledged
        sizes.append(done.blocks)
        report = audit(tmp_path / "c")
        assert report.ok and report.blocks == done.blocks
    child.kill()
    child.communicate()
    assert sizes[-1] > sizes[0]
    copy(tmp_path / "l", tmp_path / "c", INFO, update=True)
    assert everything(tmp_path / "c") == everything(tmp_path / "l")
