"""Segments and the writer of plain writes: fixed places, no overwriting, and what a full disk does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ledgers import Builder

from baash.errors import LedgerDamaged, LedgerError, StorageError, UsageError
from baash.ledger import durable, segment
from baash.ledger.layout import ROWS, layout
from baash.ledger.writer import OffsetWriter, open_writer
from baash.protocol.plan import Capacity
from baash.protocol.view import Parameters, View
from baash.records import BLOCK_ROW, REJECTION

CAPACITY = Capacity(blocks=100, records_bytes=100_000, certificates_bytes=50_000, rejections=10, slots=16)


@pytest.fixture
def view(tmp_path: Path) -> View:
    return Builder(tmp_path / "ledger").begin_view()


def test_a_segment_is_what_the_format_says(tmp_path: Path, view: View) -> None:
    path = tmp_path / "s.h5"
    segment.create(path, CAPACITY, view, 3)
    found = layout(path)
    assert (found.ledger, found.view, found.segment) == (view.ledger, 0, 3)
    assert (found.align, found.coordinators, found.slots, found.slot_bytes) == (64, 2, 16, 512)
    assert [found.data[n].rows for n in ROWS] == [100, 100_000, 50_000, 10, 16 * 512]
    assert all(d.offset % 4096 == 0 for d in found.data.values())
    raw = path.read_bytes()
    assert raw[8] == 0, "superblock 0"
    assert not any(any(raw[d.offset : d.offset + d.size]) for d in found.data.values()), "made of zeros"
    with h5py.File(path, "r", locking=False) as file:
        assert file.attrs["format"] == b"baash segment" and file.attrs["format_version"] == 1
        assert {n: file[n].id.get_offset() for n in ROWS} == {n: d.offset for n, d in found.data.items()}
        assert file["block_headers"].dtype == BLOCK_ROW and file["rejections"].dtype == REJECTION
        assert all(file[n].chunks is None and file[n].compression is None for n in ROWS)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("size", "align", "unit"), [(1 << 20, 64, 4096), (65 << 20, 64, 1 << 20), (1 << 20, 1 << 16, 1 << 16)]
)
def test_alignment(tmp_path: Path, size: int, align: int, unit: int) -> None:
    view = Builder(tmp_path / "l", parameters=Parameters(align=align)).begin_view()
    segment.create(tmp_path / "s.h5", Capacity(100, size, 50_000, 10, 16), view, 0)
    assert all(d.offset % unit == 0 for d in layout(tmp_path / "s.h5").data.values())


def test_a_segment_of_nothing_has_its_data_sets(tmp_path: Path, view: View) -> None:
    segment.create(tmp_path / "s.h5", Capacity(0, 0, 0, 0, 1), view, 0)
    assert {n: d.rows for n, d in layout(tmp_path / "s.h5").data.items()}["rejections"] == 1


def test_creation_never_overwrites(tmp_path: Path, view: View) -> None:
    path = tmp_path / "s.h5"
    path.write_bytes(b"mine")
    with pytest.raises(LedgerError, match="never replaced"):
        segment.create(path, CAPACITY, view, 0)
    assert path.read_bytes() == b"mine" and not list(tmp_path.glob("*.tmp"))


def test_what_is_not_a_segment_is_damage(tmp_path: Path, view: View) -> None:
    path = tmp_path / "s.h5"
    with pytest.raises(StorageError, match="does not exist"):
        layout(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(LedgerDamaged, match="not an HDF5 file"):
        layout(path)
    with h5py.File(path, "w") as file:
        file["records"] = np.zeros(10, np.uint8)
    with pytest.raises(LedgerDamaged, match="not a segment of format version 1"):
        layout(path)
    path.unlink()
    segment.create(path, CAPACITY, view, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4096])
    with pytest.raises(LedgerDamaged):
        layout(path)


def test_flipped_metadata_is_damage_or_changes_nothing(tmp_path: Path, view: View) -> None:
    """One bit of every byte before the first data set; over some of them the HDF5 library itself crashes."""
    path = tmp_path / "s.h5"
    segment.create(path, CAPACITY, view, 0)
    good = layout(path)
    outcomes = {"same": 0, "changed": 0, "damaged": 0}
    file = os.open(path, os.O_RDWR)
    for at in range(min(d.offset for d in good.data.values())):
        old = os.pread(file, 1, at)
        os.pwrite(file, bytes([old[0] ^ 1 << at % 8]), at)
        try:
            outcomes["same" if layout(path) == good else "changed"] += 1
        except LedgerDamaged:
            outcomes["damaged"] += 1
        os.pwrite(file, old, at)
    os.close(file)
    assert outcomes["damaged"] > 200 and outcomes["changed"] < 100, outcomes


def test_writes_stay_inside_their_data_set(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    writer = OffsetWriter(builder.folder, builder.begin_view())
    writer.create(0, CAPACITY)
    with pytest.raises(LedgerError, match="not open"):
        writer.write(0, "records", 0, b"x")
    writer.open_all(0)
    writer.write(0, "records", 99_995, b"12345")
    for offset, data in ((99_996, b"12345"), (-1, b"1"), (200_000, b"")):
        with pytest.raises(LedgerError, match="do not fit"):
            writer.write(0, "records", offset, data)
    with pytest.raises(LedgerError, match="no data set"):
        writer.write(0, "recrods", 0, b"x")
    rows = np.zeros(2, dtype=REJECTION)
    rows["sequence"] = 7, 9
    writer.write(0, "rejections", 64 * 8, rows)
    writer.flush(0)
    writer.release()
    with h5py.File(builder.folder.segment_path(0, 0), "r", locking=False) as file:
        assert file["records"][-5:].tobytes() == b"12345"
        assert file["rejections"]["sequence"].tolist() == [0] * 8 + [7, 9]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(durable.os, "pwrite", lambda fd, data, at: real(fd, memoryview(data)[:7], at))
    with open(tmp_path / "f", "wb") as file:
        durable.pwrite_all(file.fileno(), bytes(range(100)), 3)
    assert (tmp_path / "f").read_bytes() == bytes(3) + bytes(range(100))


def test_a_failing_device_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder(tmp_path / "l")
    writer = OffsetWriter(builder.folder, builder.begin_view())
    writer.create(0, CAPACITY)
    writer.open_all(0)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "pwrite", fail)
    with pytest.raises(StorageError, match="input/output error"):
        writer.write(0, "records", 0, b"x")
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StorageError, match="cannot flush"):
        writer.flush(0)


def test_a_size_limit_shows_at_creation_and_leaves_nothing(tmp_path: Path) -> None:
    Builder(tmp_path / "l").begin_view()
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
from baash.errors import StorageError
from baash.ledger.folder import Folder
from baash.ledger.writer import OffsetWriter
from baash.protocol.plan import Capacity
folder = Folder(sys.argv[1])
try:
    OffsetWriter(folder, folder.history()[0].view).create(0, Capacity(100, 4 << 20, 50000, 10, 16))
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "l"], capture_output=True, text=True, timeout=60)
    assert "cannot create" in done.stdout, done.stderr
    assert sorted(p.name for p in (tmp_path / "l").iterdir()) == ["claim-000000", "view-000000"]


def test_a_full_disk_shows_at_creation_and_leaves_nothing(tmp_path: Path) -> None:
    mount = tmp_path / "full"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system needs the right to mount: {mounted.stderr.strip()}")
    try:
        builder = Builder(mount / "l")
        writer = OffsetWriter(builder.folder, builder.begin_view())
        with pytest.raises(StorageError, match="no space is left there"):
            writer.create(0, Capacity(100, 4 << 20, 50_000, 10, 16))
        assert sorted(p.name for p in (mount / "l").iterdir()) == ["claim-000000", "view-000000"]
        writer.create(0, Capacity(100, 100_000, 50_000, 10, 16))
        assert not writer.notes, "tmpfs can reserve space"
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_where_space_cannot_be_reserved_the_writer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "reserve", lambda *_: False)
    builder = Builder(tmp_path / "l")
    writer = OffsetWriter(builder.folder, builder.begin_view())
    writer.create(0, CAPACITY)
    assert "cannot reserve space" in writer.notes[0]


def test_which_writer(tmp_path: Path, view: View) -> None:
    folder = Builder(tmp_path / "l").folder
    assert open_writer("auto", folder, view).name == "offset"
    assert open_writer("offset", folder, view).name == "offset"
    with pytest.raises(UsageError, match="one of auto, offset, mpio"):
        open_writer("mpi", folder, view)  # type: ignore[arg-type]
    if not h5py.get_config().mpi:
        with pytest.raises(UsageError, match=r"HDF5_MPI=ON .* --writer offset"):
            open_writer("mpio", folder, view)


def test_a_writer_refuses_a_segment_of_somebody_else(tmp_path: Path) -> None:
    one, other = Builder(tmp_path / "a"), Builder(tmp_path / "b")
    view = one.begin_view()
    other.begin_view()
    OffsetWriter(other.folder, other.begin_view()).create(0, CAPACITY)
    os.rename(other.folder.segment_path(1, 0), one.folder.segment_path(0, 0))
    with pytest.raises(LedgerError, match="another ledger or view"):
        OffsetWriter(one.folder, view).open_all(0)


def test_a_segment_made_anew_is_opened_anew(tmp_path: Path) -> None:
    """Another rank has it open when its leader makes it again: what is written from then on is in the file that counts."""
    folder, view = (builder := Builder(tmp_path / "l")).folder, builder.begin_view()
    leader, other = OffsetWriter(folder, view), OffsetWriter(folder, view)
    leader.create(0, CAPACITY)
    other.open_all(0)
    other.write(0, "records", 0, b"first try")
    folder.segment_path(0, 0).unlink()
    leader.create(0, CAPACITY)
    other.open_all(0)
    other.write(0, "records", 0, b"second try")
    other.flush(0)
    raw = folder.segment_path(0, 0).read_bytes()
    assert raw[layout(folder.segment_path(0, 0)).data["records"].offset :].startswith(b"second try")
    other.release()
