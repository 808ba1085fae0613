"""Packing: the same ledger in less room, never under a writer that could still acknowledge, and all or nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import ledgers
import numpy as np
import pytest
from ledgers import Builder, batch_of, record
from reader import second_reader

from baash.errors import LedgerBusy, LedgerDamaged, StorageError
from baash.ledger.audit import audit
from baash.ledger.copies import compact as copies
from baash.ledger.copies.copy import copy
from baash.ledger.copies.pack import pack
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger
from baash.ledger.writer import OffsetWriter
from baash.protocol import plan
from baash.protocol.events import Persist, Write
from baash.records import Operation
from baash.store import Done, Store

INFO = {"user": "test", "host": "here", "pid": 1}


def notes_of(first: int, count: int) -> list[bytes]:
    return [record(Operation.NOTE, f"n{i}", i, payload=b"p" * (i % 50)) for i in range(first, first + count)]


def segments(path: Path) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in sorted(path.glob("segment-*.h5"))}


def everything(path: Path) -> list[bytes]:
    """All that a reader can ask of the rounds: slots, rows, bodies, certificates, rejections, records."""
    out = []
    with Ledger(path) as ledger:
        for round in ledger.rounds:
            body = round.body()
            out += [round.raw.tobytes(), round.headers().tobytes(), body.hashed, body.certificate_offsets.tobytes()]
            out += [round.certificate(body, i).tobytes() for i in range(len(body.windows))]
            out += [round.rejections().tobytes(), round.records(round.headers()).tobytes()]
    return out


def well(path: Path) -> None:
    assert audit(path).ok and second_reader.audit(path).ok
    assert not list(path.glob("*.tmp"))


def test_a_packed_ledger_is_the_same_in_less_room(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    before, room = everything(builder.path), segments(builder.path)
    done, notes = copies.compact(builder.folder, INFO)
    assert not notes and done.packed == done.segments == 3 and done.saved > 0
    for name, size in segments(builder.path).items():
        assert size < room[name] // 4
        place = layout(builder.path / name)
        with Ledger(builder.path) as ledger:
            last = [r for r in ledger.rounds if r.file.name == name][-1]
            assert place.slots == last.slot + 1, "no slot is left empty"
            at = last.locator
            assert place.data["block_headers"].rows == int(at["first_block"]) + int(at["block_count"])
            assert place.data["records"].size == int(at["records_end"])
            assert place.data["certificates"].size == int(at["certificates_end"])
            assert place.data["rejections"].rows == max(1, int(at["first_rejection"]) + int(at["rejection_count"]))
    assert everything(builder.path) == before
    well(builder.path)
    again, _ = copies.compact(builder.folder, INFO)
    assert again.packed == 0 and again.saved == 0
    assert builder.folder.newest_claim() == 4, "who has nothing to pack claims nothing"


def test_a_packed_ledger_is_continued(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    copies.compact(builder.folder, INFO)
    builder.begin_view(clusters=2)
    builder.commit(batch_of(notes_of(1000, 20)))
    builder.close()
    assert copies.at_the_end(builder.folder, builder.view.view, locked=True).packed == 1  # type: ignore[union-attr]
    well(builder.path)


def test_readers_go_on_across_packing(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    wanted = everything(builder.path)
    with Ledger(builder.path) as open_files, Ledger(builder.path) as closed_files:
        total = closed_files.block_total
        closed_files.close()
        blocks = [b.records.tobytes() for b in open_files.blocks()]
        copies.compact(builder.folder, INFO)
        assert [b.records.tobytes() for b in open_files.blocks()] == blocks
        assert [b.records.tobytes() for b in closed_files.blocks()] == blocks, "the data sets lie elsewhere now"
        assert closed_files.refresh() == 0 and closed_files.block_total == total
    assert everything(builder.path) == wanted


def test_what_lies_behind_a_cut_is_left_out(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(notes_of(0, 10)))
    slot, log = builder.slot, builder.log
    builder.commit(batch_of(notes_of(10, 10)))
    full = plan.replace(builder.log.cursor, slots=1 << 40)
    builder.log = plan.replace(builder.log, cursor=full)
    builder.commit(batch_of(notes_of(20, 10)))  # in a segment of its own, all of it behind the cut
    builder.slot, builder.log = slot, log
    builder.begin_view()
    builder.commit(batch_of(notes_of(30, 10)))
    builder.close()
    assert any("goes on behind round 0" in note for note in audit(builder.path).notes)
    done = pack(builder.folder, newest_at_rest=False)
    assert (done.segments, done.packed) == (3, 2), "the newest view is not at rest"
    assert layout(builder.path / "segment-000000-0000.h5").slots == 1
    empty = layout(builder.path / "segment-000000-0001.h5")
    assert empty.slots == 1 and empty.file[2] < 8192
    report = audit(builder.path)
    assert report.ok and report.transactions == 20
    well(builder.path)


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[tuple[Builder, Store, Persist]]:
    """A writer that is about to make its next round durable, and then to acknowledge it."""
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(notes_of(0, 10)))
    assert builder.view is not None
    write = Write(0, "records", 1 << 16, np.ones(512, dtype=np.uint8))  # what it writes is not looked at
    store = Store(builder.folder, builder.view.view, OffsetWriter(builder.folder, builder.view))
    store.submit(0, Persist(1, 0, ()))  # opens the segment, as any round before did
    finished(store)
    yield builder, store, Persist(2, 0, (write,), (), commits=True)
    store.close(orderly=True)
    builder.close()


def finished(store: Store) -> Done:
    while not (done := store.finished()):
        os.sched_yield()
    return done[0]


def test_a_paused_writer_acknowledges_nothing_once_its_segment_was_packed(
    paused: tuple[Builder, Store, Persist],
) -> None:
    builder, store, persist = paused
    done, _ = copies.compact(builder.folder, INFO)
    assert done.packed == 1
    store.submit(0, persist)
    assert finished(store).fenced, "it wrote into a file without a name, and must not say that it is durable"


def test_the_end_of_a_run_packs_nothing_that_somebody_else_has_claimed(paused: tuple[Builder, Store, Persist]) -> None:
    builder, store, persist = paused
    store.submit(0, persist)
    assert not finished(store).fenced, "nothing was packed or claimed: this round is acknowledged"
    builder.folder.claim_next(INFO)
    assert builder.view is not None
    assert copies.at_the_end(builder.folder, builder.view.view, locked=True).packed == 0
    assert pack(builder.folder, newest_at_rest=False).packed == 0


def test_who_writes_is_not_disturbed(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    before = segments(builder.path)
    with builder.folder.lock(info=INFO), pytest.raises(LedgerBusy):
        copies.compact(builder.folder, INFO)
    assert segments(builder.path) == before


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 5000, 40_000])
def test_what_cannot_be_written_leaves_the_ledger_as_it_was(tmp_path: Path, size: int) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(notes_of(0, 300)))
    builder.close()
    before = {p.name: p.read_bytes() for p in builder.path.glob("segment-*")}
    with largest_file(size), pytest.raises(StorageError):
        pack(builder.folder, newest_at_rest=True)
    assert {p.name: p.read_bytes() for p in builder.path.glob("segment-*")} == before
    well(builder.path)


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        builder = Builder(mount / "l", clusters=1)
        builder.begin_view()
        builder.commit(batch_of(notes_of(0, 3000)))
        builder.close()
        before = everything(builder.path)
        free = os.statvfs(mount)
        (mount / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize - 65536))
        with pytest.raises(StorageError, match="no space is left"):
            copies.compact(builder.folder, INFO)
        assert everything(builder.path) == before
        well(builder.path)
        (mount / "ballast").unlink()
        assert copies.compact(builder.folder, INFO)[0].packed == 1
        well(builder.path)
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_an_interrupt_leaves_each_segment_old_or_new(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    wanted, before = everything(builder.path), segments(builder.path)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copies.compact(builder.folder, INFO, stop)
    after = segments(builder.path)
    assert [after[n] < before[n] for n in before] == [True, False, False]
    (builder.path / "segment-000000-0000.h5.4711.tmp").write_bytes(b"half")  # what a killed one leaves
    assert audit(builder.path).ok
    copies.compact(builder.folder, INFO)
    assert everything(builder.path) == wanted
    well(builder.path)


def test_damage_is_never_packed(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    path = builder.path / "segment-000000-0000.h5"
    before = path.read_bytes()
    at = layout(path).data["commit_records"].offset + 40
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(bytes([before[at] ^ 1]))
    spoiled = path.read_bytes()
    with pytest.raises(LedgerDamaged):
        copies.compact(builder.folder, INFO)
    assert path.read_bytes() == spoiled


def test_a_lost_end_that_the_checkpoint_knows_of_is_never_packed(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    builder.checkpoint()
    path = builder.path / "segment-000003-0000.h5"
    place = layout(path)
    with open(path, "r+b") as file:
        file.seek(place.data["commit_records"].offset + place.slot_bytes)
        file.write(bytes(place.slot_bytes))
    before = segments(builder.path)
    with pytest.raises(LedgerDamaged, match="checkpoint"):
        copies.compact(builder.folder, INFO)
    assert segments(builder.path) == before


def test_many_segments_need_few_open_files(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 40
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        for i in range(60):
            builder.commit(batch_of(notes_of(5 * i, 5)))
            builder.log = plan.replace(builder.log, cursor=plan.replace(builder.log.cursor, slots=1 << 40))
        builder.close()
        wanted = everything(builder.path)
        assert copies.compact(builder.folder, INFO)[0].packed == 60
        copy(builder.path, tmp_path / "c", INFO)
        assert everything(builder.path) == everything(tmp_path / "c") == wanted
        assert audit(builder.path).ok
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("segment_bytes", [1 << 12, 1 << 16, 1 << 20])
def test_segments_grow_no_larger_than_they_were_asked_to(segment_bytes: int) -> None:
    before = plan.Capacity(0, 0, 0, 0, 0)
    seen = []
    for _ in range(12):
        before = plan._capacity(4, 1000, 2000, 0, before, segment_bytes)
        seen.append(before.records_bytes)
    assert max(seen) == segment_bytes and seen == sorted(seen)
    assert plan._capacity(4, 9 * segment_bytes, 2000, 0, before, segment_bytes).records_bytes >= 9 * segment_bytes
