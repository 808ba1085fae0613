"""The audit of what no hash covers: HDF5's metadata, locators, what files are there and of which kind."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ledgers import Builder, batch_of, record, rejection, small
from reader import second_reader

from baash.cli.verify import verify
from baash.errors import LedgerDamaged, UsageError
from baash.ledger import counting
from baash.ledger.audit import Report, audit
from baash.ledger.audit.metadata import check_metadata
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger
from baash.protocol import plan
from baash.protocol.view import Parameters
from baash.records import COMMIT_LOCATOR, Operation, Reason


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "DAMAGE_RETRY_S", 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    builder = small(tmp_path_factory.mktemp("made") / "l")
    builder.checkpoint()
    return builder


@pytest.fixture
def copy(made: Builder, tmp_path: Path) -> Path:
    shutil.copytree(made.path, tmp_path / "l")
    return tmp_path / "l"


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    yield builder
    builder.close()


def notes(first: int, count: int = 8) -> list[bytes]:
    return [record(Operation.NOTE, f"n{i}", first + i) for i in range(count)]


def told(report: Report, file: str, what: str) -> bool:
    return not report.ok and any(p.segment == file and what in p.what for p in report.problems)


# --- HDF5's metadata


def test_every_changed_bit_of_metadata_is_found(copy: Path) -> None:
    path = copy / "segment-000000-0000.h5"
    data = sorted((d.offset, d.offset + d.size) for d in layout(path).data.values())
    raw = path.read_bytes()
    outside = [i for i in range(data[0][0]) if raw[i] or i % 37 == 0] + [data[0][1], data[1][0] - 1]
    for number, place in enumerate(outside):
        change(path, place, bytes([raw[place] ^ 1 << number % 8]))
        report = audit(copy)
        assert not report.ok and any(p.segment == path.name for p in report.problems), place
        assert not any("cannot be examined" in p.what for p in report.problems), (place, report.problems)
        change(path, place, raw[place : place + 1])
    assert len(outside) > 800 and audit(copy).ok


def test_every_bit_of_the_type_of_a_row(copy: Path) -> None:
    path = copy / "segment-000002-0000.h5"
    raw = path.read_bytes()
    first = raw.index(b"zero\0") - 16
    for place in range(first, raw.index(b"first_transaction\0") + 40):
        for bit in range(8):
            change(path, place, bytes([raw[place] ^ 1 << bit]))
            assert not told_nothing(path), (place, bit)
        change(path, place, raw[place : place + 1])


def told_nothing(path: Path) -> bool:
    """Whether neither the reader of places nor the audit of metadata has anything to say."""
    try:
        return check_metadata(layout(path)) is None
    except LedgerDamaged:
        return False


def change(path: Path, place: int, data: bytes) -> None:
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data, place)


def test_bytes_behind_the_end_of_a_segment(copy: Path) -> None:
    path = copy / "segment-000003-0000.h5"
    with open(path, "ab") as file:
        file.write(bytes(8))
    assert told(audit(copy), path.name, "the superblock")


@pytest.mark.parametrize(("align", "clusters"), [(8, 1), (4096, 3), (1 << 20, 7)])
def test_metadata_of_other_shapes(tmp_path: Path, align: int, clusters: int) -> None:
    builder = Builder(tmp_path / "l", clusters=clusters, parameters=Parameters(align=align))
    builder.begin_view()
    builder.commit(batch_of(notes(0, 40)))
    builder.close()
    assert audit(builder.path).ok and second_reader.audit(builder.path).ok


# --- locators


def relocate(builder: Builder, slot: int, name: str, value: int) -> None:
    """Change a field of a slot's locator as anybody can who writes to the file: only the checksum covers it."""
    path = builder.folder.segment_path(0, 0)
    place = layout(path)
    at = place.data["commit_records"].offset + slot * place.slot_bytes
    raw = bytearray(path.read_bytes()[at : at + place.slot_bytes])
    offset = 256 + 8 * (COMMIT_LOCATOR.names or ()).index(name)
    raw[offset : offset + 8] = struct.pack("<Q", value)
    raw[-32:] = hashlib.sha256(raw[:-32]).digest()
    change(path, at, bytes(raw))


@pytest.mark.parametrize("name", COMMIT_LOCATOR.names)
def test_every_field_of_a_locator_counts(builder: Builder, name: str) -> None:
    one = rejection(record(Operation.UPDATE, "none", 900), Reason.ENTITY_UNKNOWN)
    places = [builder.commit(batch_of(notes(0))).locator, builder.commit([], rejections={0: one}).locator]
    places.append(builder.commit([]).locator)  # neither blocks nor rejections
    places.append(builder.commit(batch_of(notes(10))).locator)
    assert audit(builder.path).ok and second_reader.audit(builder.path).ok
    for slot, place in enumerate(places):
        was = int(place[name])
        for value in (was + 1, was + 8, was + 64, was ^ 1 << 40, was - 1 if was else 2**64 - 1):
            relocate(builder, slot, name, value)
            assert not audit(builder.path).ok, (slot, value)
            assert not second_reader.audit(builder.path).ok, (slot, value)
        relocate(builder, slot, name, was)
    assert audit(builder.path).ok


def test_a_locator_behind_a_damaged_slot(builder: Builder) -> None:
    for i in range(3):
        builder.commit(batch_of(notes(10 * i)))
    path = builder.folder.segment_path(0, 0)
    change(path, layout(path).data["commit_records"].offset + 512 + 30, b"\xff")
    report = audit(builder.path)
    assert report.problem_count == 1, report.problems


@pytest.mark.parametrize("torn", [bytes(1024), bytes(512)])
def test_a_record_cut_off_with_segments_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes) -> None:
    real = plan._capacity
    monkeypatch.setattr(plan, "_capacity", lambda *given: replace(real(*given), slots=2))
    builder = Builder(tmp_path / "l", clusters=3)  # slots of two sectors
    builder.begin_view()
    for i in range(5):
        builder.commit(batch_of(notes(10 * i)))
    builder.close()
    assert audit(builder.path).ok and second_reader.audit(builder.path).ok
    path = builder.folder.segment_path(0, 0)
    change(path, layout(path).data["commit_records"].offset + 1024, torn)
    assert not audit(builder.path).ok
    assert not second_reader.audit(builder.path).ok
    with pytest.raises(LedgerDamaged):
        Ledger(builder.path)


# --- files


@pytest.mark.parametrize("name", ["view-000001", "view-000003"])
def test_a_view_record_that_was_removed(copy: Path, name: str) -> None:
    for gone in (name, "checkpoint"):
        (copy / gone).unlink()
    report = audit(copy)
    assert told(report, name, "removed" if name == "view-000003" else "missing"), report.problems
    assert not any("gave up" in n for n in report.notes)
    assert not second_reader.audit(copy).ok


@pytest.mark.parametrize("name", ["view-000003", "view-000001", "segment-000002-0000.h5", "checkpoint"])
def test_what_is_no_file(copy: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))

    kinds: list[tuple[Callable[[Path], None], str]] = [
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "not a regular file"),
        (listen, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "a symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "a symbolic link"),
        (lambda path: path.symlink_to(path.name), "a symbolic link"),
        (lambda path: path.symlink_to("kept"), "a symbolic link"),  # to the very same bytes
    ]
    path = copy / name
    (copy / "kept").write_bytes(path.read_bytes())
    monkeypatch.chdir(copy)
    for make, what in kinds:
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        report = audit(copy)
        assert told(report, name, what), (name, what, report.problems)
        assert len([p for p in report.problems if what in p.what]) == 1
    assert not second_reader.audit(copy).ok


@pytest.mark.parametrize("name", ["claim-000001", "view-000000", "baash.lock"])
def test_nothing_in_the_folder_is_a_link(copy: Path, name: str) -> None:
    (copy / name).touch()
    (copy / name).rename(copy / "elsewhere")
    (copy / name).symlink_to("elsewhere")
    report = audit(copy)
    assert told(report, name, "a symbolic link") and report.problem_count == 1, report.problems


def test_a_damaged_view_does_not_hide_the_rest(copy: Path) -> None:
    """Which rounds count is not known then, but the other files are looked at, each by itself, and that is said."""
    for name in ("view-000000", "view-000001"):
        change(copy / name, 3, b"?")
    segment = copy / "segment-000002-0000.h5"
    change(segment, 20, b"?")
    report = audit(copy)
    assert not report.ok and not report.walked and report.ledger_id is not None
    assert {p.segment for p in report.problems} == {"view-000000", "view-000001", segment.name}, report.problems
    assert any("no block was examined" in note for note in report.notes)


def test_the_place_of_a_round_that_is_gone(copy: Path) -> None:
    path = copy / "segment-000002-0000.h5"
    place = layout(path)
    change(path, place.data["commit_records"].offset, bytes(place.slot_bytes))
    assert told(audit(copy), path.name, "are not there")


@pytest.mark.parametrize("name", ["view-0000004", "view-٠٠٠٠٠٤", "view-00004", "segment-000003-00001.h5"])
def test_names_that_are_none(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"?")
    assert audit(copy).ok and second_reader.audit(copy).ok


def test_notes_on_what_cannot_be_seen(copy: Path) -> None:
    assert not any("no checkpoint" in n or "the claim of" in n for n in audit(copy).notes)
    (copy / "checkpoint").unlink()
    (copy / "claim-000001").unlink()
    report = audit(copy)
    assert report.ok and any("no checkpoint here" in n for n in report.notes)
    assert any("the claim of view 1 is not here" in n for n in report.notes)


@pytest.mark.parametrize("text", ["", "ab", " " * 64, "ab " * 21 + "a", "x" * 64])
def test_an_id_that_is_none(copy: Path, text: str) -> None:
    with pytest.raises(UsageError, match="64 hex digits"):
        verify(copy, ledger_id=text)
