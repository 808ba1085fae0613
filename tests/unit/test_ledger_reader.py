"""Which rounds count: torn writes, damage, cuts, missing segments; every prefix of the writes of a run; reading beside a writer."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ledgers import Builder, Write, batch_of, record, small
from reader import second_reader

from baash.batch import scan
from baash.errors import LedgerDamaged, LedgerError
from baash.ledger import counting
from baash.ledger.audit import audit
from baash.ledger.folder import Folder
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger
from baash.ledger.restore import restore
from baash.ledger.writer import OffsetWriter
from baash.records import Operation, entity_hash


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "DAMAGE_RETRY_S", 0.0)


def run(path: Path, rounds: int, *, clusters: int = 2, payload: int = 10, close: bool = True) -> Builder:
    """One view, ``rounds`` rounds of eight records."""
    builder = Builder(path, clusters=clusters)
    builder.begin_view()
    for r in range(rounds):
        extend(builder, r, payload)
    if close:
        builder.close()
    return builder


def extend(builder: Builder, r: int, payload: int = 10) -> None:
    builder.commit(
        batch_of([record(Operation.CREATE, f"e{r}.{i}", 8 * r + i, payload=bytes(payload)) for i in range(8)])
    )


def slot_place(builder: Builder, round_: int, view: int = 0, segment: int = 0) -> tuple[Path, int, int]:
    """(file, offset, size) of a commit-record slot."""
    path = builder.folder.segment_path(view, segment)
    found = layout(path)
    return path, found.data["commit_records"].offset + round_ * found.slot_bytes, found.slot_bytes


def patch(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_what_was_committed_is_read(tmp_path: Path) -> None:
    builder = small(tmp_path / "l")
    with Ledger(builder.path) as ledger:
        assert [(r.view.view, r.segment, r.slot, r.number) for r in ledger.rounds] == [
            (0, 0, 0, 0), (0, 0, 1, 1), (2, 0, 0, 0), (3, 0, 0, 0), (3, 0, 1, 1)
        ]  # fmt: skip
        assert (ledger.block_total, ledger.transaction_total) == (
            builder.log.block_total,
            builder.log.transaction_total,
        )
        assert (ledger.head, ledger.rounds[-1].hash) == (builder.log.head, builder.log.commit)
        assert ledger.tail is None and not ledger.behind_cuts
        blocks = list(ledger.blocks())
        assert [b.height for b in blocks] == list(range(ledger.block_total)) == [int(b.row["height"]) for b in blocks]
        for block in blocks:
            alone = ledger.block(block.height)
            assert alone.row == block.row and alone.records.tobytes() == block.records.tobytes()
        assert [b.height for b in ledger.blocks(3, 7)] == [3, 4, 5, 6]
        assert ledger.rounds[-1].index == 4 and len(ledger.rounds[1:3]) == 2
        firsts = [r.first_transaction for r in ledger.rounds]
        assert [ledger.round_of_transaction(n).first_transaction for n in firsts] == firsts
        for bad in (-1, ledger.block_total):
            with pytest.raises(LedgerError, match="has no block"):
                ledger.block(bad)


def test_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no such folder"):
        Ledger(tmp_path / "none")
    with pytest.raises(LedgerError, match="is not a ledger"):
        Ledger(tmp_path)
    folder = Folder.create(tmp_path / "claimed")
    folder.claim_next({})
    with Ledger(tmp_path / "claimed") as ledger:
        assert len(ledger.rounds) == 0 and ledger.view is None and ledger.block_total == 0
        with pytest.raises(LedgerError, match="no published view"):
            _ = ledger.id
    assert audit(tmp_path / "claimed").ok


def test_a_reader_beside_a_writer_sees_new_rounds_and_new_views(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 0, close=False)
    with Ledger(builder.path) as ledger:
        assert ledger.refresh() == 0
        for r in range(3):
            extend(builder, r)
            assert ledger.refresh() == 1 and ledger.head == builder.log.head
        builder.begin_view(clusters=1)
        assert ledger.refresh() == 0 and ledger.view is not None and ledger.view.view == 1
        extend(builder, 3)
        extend(builder, 4)
        assert ledger.refresh() == 2 and len(ledger.rounds) == 5
    builder.close()


def test_rounds_run_on_over_segments(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 0, close=False)
    with Ledger(builder.path) as ledger:
        for r in range(4):
            extend(builder, r, payload=60_000)
            assert ledger.refresh() == 1
        assert builder.log.cursor.segment > 0
        assert [r.number for r in ledger.rounds] == [0, 1, 2, 3]
        assert len({r.segment for r in ledger.rounds}) > 1
    builder.close()
    assert audit(builder.path).ok


def test_no_more_than_a_few_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from baash.ledger import reader

    monkeypatch.setattr(reader, "OPEN_FILES", 1)
    builder = run(tmp_path / "l", 4, payload=60_000)
    before = len(os.listdir("/proc/self/fd"))
    with Ledger(builder.path) as ledger:
        assert len([r.headers() for r in ledger.rounds] + [r.headers() for r in ledger.rounds]) == 8
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(os.listdir("/proc/self/fd")) == before


# --- torn writes and damage


def test_a_torn_commit_record_is_ignored(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3, clusters=3)
    path, offset, size = slot_place(builder, 2)
    assert size == 1024
    whole = path.read_bytes()[offset : offset + size]
    for torn in (whole[:512] + bytes(512), bytes(512) + whole[512:], bytes(1024)):
        patch(path, offset, torn)
        with Ledger(builder.path) as ledger:
            assert len(ledger.rounds) == 2
            assert bool(ledger.tail) == any(torn)
        report = audit(builder.path)
        assert report.ok and report.rounds == 2
        assert any("cut off while" in n for n in report.notes) == any(torn)


def test_a_record_that_changed_is_damage_and_no_torn_write(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3)
    path, offset, _ = slot_place(builder, 2)
    patch(path, offset + 20, b"\xff")
    with pytest.raises(LedgerDamaged, match=r"segment-000000-0000.h5: slot 2: the checksum .* baash verify"):
        Ledger(builder.path)


def test_a_ledger_that_is_refused_leaves_no_file_open(tmp_path: Path) -> None:
    """Whoever looks at many ledgers, or at one again and again, must not run out of descriptors over the bad ones."""
    builder = run(tmp_path / "l", 3)
    path, offset, _ = slot_place(builder, 2)
    patch(path, offset + 20, b"\xff")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(LedgerDamaged):
            Ledger(builder.path)
        assert not audit(builder.path).ok
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_record_that_is_gone_is_damage_if_a_later_one_is_there(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3, clusters=3)
    path, offset, size = slot_place(builder, 1)
    whole = path.read_bytes()[offset : offset + size]
    for gone in (bytes(size), whole[:512] + bytes(512)):
        patch(path, offset, gone)
        with pytest.raises(LedgerDamaged, match="the commit record is gone, but a later one is there"):
            Ledger(builder.path)


def test_behind_a_damaged_record_an_audit_goes_on(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 5)
    path, offset, _ = slot_place(builder, 1)
    patch(path, offset + 20, b"\xff")
    last = max(w.offset for w in builder.writes if w.data_set == "records")
    patch(path, layout(path).data["records"].offset + last + 70, b"\xff")
    report = audit(builder.path)
    assert report.rounds == 4 and not report.ok
    assert "slot 1" in report.problems[0].what
    assert report.problem_count == 2, report.problems
    assert "BAD_PADDING" in report.problems[1].what
    assert report.problems[1].height in range(builder.log.block_total - 2, builder.log.block_total)


def test_records_of_another_place_do_not_count(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3)
    path, offset, size = slot_place(builder, 0)
    slots = path.read_bytes()[offset : offset + 3 * size]
    patch(path, offset + size, slots[2 * size :])
    with pytest.raises(LedgerDamaged, match="of round 2, not 1"):
        Ledger(builder.path)


def test_segments_that_are_missing_double_or_cut_short(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 4, payload=60_000)
    first, second = (builder.folder.segment_path(0, s) for s in (0, 1))
    kept = first.read_bytes()
    first.unlink()
    with pytest.raises(LedgerDamaged, match="is missing, and later ones are there"):
        Ledger(builder.path)
    assert not audit(builder.path).ok
    shutil.copy(second, first)
    with pytest.raises(LedgerDamaged, match="of another ledger, view or place"):
        Ledger(builder.path)
    first.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(LedgerDamaged, match="cut short"):
        Ledger(builder.path)
    first.write_bytes(kept)
    assert audit(builder.path).ok


# --- cuts


def test_what_lies_behind_a_cut_does_not_count(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 2, close=False)
    cut, log, total = builder.slot, builder.log, builder.log.block_total
    extend(builder, 2)
    builder.slot, builder.log = cut, log  # the successor had read the ledger before that round
    builder.begin_view()
    extend(builder, 2)
    builder.close()
    with Ledger(builder.path) as ledger:
        assert [(r.view.view, r.number) for r in ledger.rounds] == [(0, 0), (0, 1), (1, 0)]
        assert ledger.rounds[2].first_block == total
        assert ledger.behind_cuts == ["view 0 goes on behind round 1, at which it was cut"]
    report = audit(builder.path)
    assert report.ok and any("never acknowledged" in n for n in report.notes)


def test_a_view_of_which_nothing_counts(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 1, close=False)
    log = builder.log
    builder.begin_view()
    extend(builder, 1)
    builder.slot, builder.log = None, log  # round 0 of view 1 was never flushed, as far as its successor knows
    builder.begin_view()
    extend(builder, 1)
    builder.close()
    with Ledger(builder.path) as ledger:
        assert [(r.view.view, r.number) for r in ledger.rounds] == [(0, 0), (2, 0)]
        assert "counts none of its rounds" in ledger.behind_cuts[0]
    assert audit(builder.path).ok


def test_rounds_missing_before_a_cut_are_damage(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3, close=False)
    builder.begin_view()
    extend(builder, 3)
    builder.close()
    path, offset, size = slot_place(builder, 2)
    patch(path, offset, bytes(size))
    with pytest.raises(LedgerDamaged, match="rounds 2 to 2 of view 0"):
        Ledger(builder.path)
    assert audit(builder.path).rounds == 3, "what comes after is examined all the same"
    path.unlink()
    with pytest.raises(LedgerDamaged, match="rounds 0 to 2 of view 0"):
        Ledger(builder.path)


# --- every prefix of the writes


def replayed(builder: Builder, path: Path, writes: list[Write]) -> Folder:
    """A ledger in which only these writes reached the disk."""
    shutil.rmtree(path, ignore_errors=True)
    folder = Folder.create(path)
    for name in ("claim-000000", "view-000000"):
        shutil.copy(builder.path / name, path / name)
    writer = OffsetWriter(folder, folder.history()[0].view)
    capacity = layout(builder.folder.segment_path(0, 0))
    for write in writes:
        if write.data_set:
            writer.write(write.segment, write.data_set, write.offset, write.data)
        else:
            shutil.copy(builder.folder.segment_path(0, write.segment), path)
            with open(path / f"segment-000000-{write.segment:04d}.h5", "r+b") as file:
                for place in layout(Path(file.name)).data.values():
                    file.seek(place.offset)
                    file.write(bytes(place.size))
            writer.open_all(write.segment)
    assert capacity.view == 0
    writer.release()
    return folder


def test_every_prefix_of_the_writes_is_a_ledger(tmp_path: Path) -> None:
    """What a crash leaves, write by write, and with the last write half done: earlier rounds are all there, all well."""
    builder = run(tmp_path / "l", 3, clusters=3)
    writes = builder.writes
    for count in range(len(writes) + 1):
        done = writes[:count]
        rounds = sum(w.data_set == "commit_records" for w in done)
        variants = [done]
        if count < len(writes) and writes[count].data_set:
            last = writes[count]
            half = max(len(last.data) // 2, 1) if last.data_set != "commit_records" else 512
            variants.append([*done, Write(0, last.segment, last.data_set, last.offset, last.data[:half])])
            tail = Write(0, last.segment, last.data_set, last.offset + half, last.data[half:])
            if last.data_set in ("records", "certificates", "commit_records") and tail.data:
                variants.append([*done, tail])
        for variant in variants:
            replayed(builder, tmp_path / "r", variant)
            report = audit(tmp_path / "r")
            assert report.ok and report.rounds == rounds, (count, report.problems)
            with Ledger(tmp_path / "r") as ledger:
                assert restore(ledger).transaction_total == 8 * rounds


def test_writes_of_a_round_may_reach_the_disk_in_any_order(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3)
    draw = np.random.default_rng(5)
    slots = [i for i, w in enumerate(builder.writes) if w.data_set == "commit_records"]
    pending = builder.writes[slots[1] + 1 : slots[2]]
    for _ in range(12):
        some = [pending[i] for i in draw.permutation(len(pending))[: draw.integers(len(pending) + 1)]]
        replayed(builder, tmp_path / "r", [*builder.writes[: slots[1] + 1], *some])
        report = audit(tmp_path / "r")
        assert report.ok and report.rounds == 2


# --- restoring


def test_what_is_restored(tmp_path: Path) -> None:
    builder = small(tmp_path / "l")
    with Ledger(builder.path) as ledger:
        steps: list[tuple[int, int]] = []
        state = restore(ledger, progress=lambda done, total: steps.append((done, total)))
        ids = np.concatenate([_ids(b.records) for b in ledger.blocks()])
        assert steps[-1] == (ledger.transaction_total,) * 2
        log = state.log(2)
        assert (log.block_total, log.head, log.commit) == (
            builder.log.block_total,
            builder.log.head,
            builder.log.commit,
        )
        assert (log.frontier == builder.log.frontier).all() and log.round == 0 and len(log.clusters) == 2
        before = state.predecessor()
        assert before is not None and before.view == 3 and before.commit == builder.slot
    versions, exists, last = state.ids.lookup(np.ascontiguousarray(ids[:, :16]))
    assert (versions == 1).all() and exists.all() and last.tolist() == list(range(len(ids)))
    assert len(state.ids) == len(ids) + 2
    known = second_reader.audit(builder.path).versions
    keys = np.frombuffer(b"".join(entity_hash(name)[:16] for name in known), dtype=np.uint8).reshape(-1, 16)
    versions, exists, _ = state.entities.lookup(keys)
    assert list(zip(versions.tolist(), exists.tolist(), strict=True)) == list(known.values())
    assert len(state.entities) == len(known) == 12
    source = np.frombuffer(bytes.fromhex("6a11d16c9187eeb99dd12265f32e7dee"), dtype=np.uint8)
    decided = state.replay.check(np.tile(source, (3, 1)), [0, 200, 150])
    assert decided.tolist() == [30, 30, 0], "committed, rejected, never seen"


def test_a_cluster_restores_its_own_shards(tmp_path: Path) -> None:
    builder = run(tmp_path / "l", 3)
    assert builder.view is not None
    with Ledger(builder.path) as ledger:
        whole = restore(ledger)
        shares = [restore(ledger, shards=builder.view.cluster_of_shard == c) for c in range(2)]
        assert sum(len(s.entities) for s in shares) == len(whole.entities) == 24
        assert sum(len(s.ids) for s in shares) == len(whole.ids)
        assert all(s.head == whole.head and s.transaction_total == 24 for s in shares)
        assert all(0 < len(s.entities) < 24 for s in shares)


@pytest.mark.parametrize("data_set", ["records", "block_headers", "rejections"])
def test_nobody_restores_what_has_rotted(tmp_path: Path, data_set: str) -> None:
    builder = small(tmp_path / "l", views_=1)
    path = builder.folder.segment_path(0, 0)
    patch(path, layout(path).data[data_set].offset + 20, b"\xee")
    with Ledger(builder.path) as ledger, pytest.raises(LedgerDamaged, match="block"):
        restore(ledger)


def test_a_successor_flushes_what_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = run(tmp_path / "l", 1)
    flushed: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    with Ledger(builder.path) as ledger:
        ledger.flush()
    assert str(builder.folder.segment_path(0, 0)) in flushed and str(builder.path) in flushed


def _ids(records: np.ndarray) -> np.ndarray:
    return scan(records)[0].ids


def test_a_ledger_whose_newest_blocks_were_removed_is_refused(tmp_path: Path) -> None:
    builder = small(tmp_path / "l")
    builder.checkpoint()
    with Ledger(builder.path) as ledger:
        assert ledger.block_total
    for file in builder.path.glob("*-000003*"):
        file.unlink()
    with pytest.raises(LedgerDamaged, match="the newest were removed"):
        Ledger(builder.path)
    assert any("checkpoint" in p.what for p in audit(builder.path).problems)
