"""Repair: really damaged ledgers, mended from a copy; two that are damaged in different places; and what must be refused."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import ledgers
import pytest
from ledgers import Builder, batch_of
from reader import second_reader
from test_copies_copy import contents, flip
from test_copies_pack import everything, notes_of

from baash.errors import LedgerBusy, LedgerDamaged, LedgerError
from baash.ledger.audit import audit
from baash.ledger.copies import compact
from baash.ledger.copies.copy import copy
from baash.ledger.copies.repair import repair
from baash.ledger.folder import Folder
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger

INFO = {"user": "test", "host": "here", "pid": 1}
TRIALS = 5 * int(os.environ.get("BAASH_TEST_TRIALS", "3"))  # `make campaign` takes more
FIRST, LAST = "segment-000000-0000.h5", "segment-000003-0000.h5"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = ledgers.small(tmp_path_factory.mktemp("whole") / "l")
    builder.checkpoint()
    return builder.path


@pytest.fixture
def pair(whole: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A ledger as its writer left it, and a packed copy."""
    shutil.copytree(whole, tmp_path / "l")
    copy(whole, tmp_path / "c", INFO)
    return tmp_path / "l", tmp_path / "c"


def mended(ledger: Path, other: Path, wanted: Path, **options: bool) -> list[str]:
    done = repair(ledger, other, INFO, **options)
    assert done.report.ok, (done.report.problems[:3], done.lost)
    assert not done.lost and everything(ledger) == everything(wanted)
    assert audit(ledger).ok and second_reader.audit(ledger).ok and not list(ledger.glob("*.tmp"))
    for one in done.mended:
        assert one.kept is None or (ledger / one.kept).exists()
    return [one.name for one in done.mended]


def used(path: Path, data_set: str) -> int:
    """Bytes of a data set that count."""
    with Ledger(path.parent) as ledger:
        end = [r for r in ledger.rounds if r.file.name == path.name][-1]
        at = end.locator
        return {
            "records": int(at["records_end"]),
            "certificates": int(at["certificates_end"]),
            "block_headers": 128 * (int(at["first_block"]) + int(at["block_count"])),
            "rejections": 64 * (int(at["first_rejection"]) + int(at["rejection_count"])),
            "commit_records": (end.slot + 1) * end.file.layout.slot_bytes,
        }[data_set]


DATA_SETS = ["records", "certificates", "block_headers", "rejections", "commit_records"]


@pytest.mark.parametrize("data_set", DATA_SETS)
@pytest.mark.parametrize("name", [FIRST, LAST])
def test_flips_in_every_data_set(pair: tuple[Path, Path], whole: Path, data_set: str, name: str) -> None:
    ledger, other = pair
    size = used(ledger / name, data_set)
    if not size:
        return
    draw = random.Random(f"{data_set} {name}")
    offset = layout(ledger / name).data[data_set].offset
    for _ in range(6):
        flip(ledger / name, offset + draw.randrange(size), 1 << draw.randrange(8))
    damaged = not audit(ledger).ok
    names = mended(ledger, other, whole)
    assert names == ([name] if damaged else []) or names == [name]


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_every_byte_of_a_data_set_gone(pair: tuple[Path, Path], whole: Path, data_set: str) -> None:
    ledger, other = pair
    path = ledger / FIRST
    size, offset = used(path, data_set), layout(path).data[data_set].offset
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * size)
    assert not audit(ledger).ok
    assert mended(ledger, other, whole) == [FIRST]


@pytest.mark.parametrize("packed", [False, True])
def test_metadata_is_made_anew(pair: tuple[Path, Path], whole: Path, packed: bool) -> None:
    ledger, other = pair
    if packed:  # then the copy's file has the same length, and its metadata lead through the damaged one
        compact.compact(Folder(ledger), INFO)
    flip(ledger / FIRST, 20)  # in the superblock: no reader looks there
    flip(ledger / LAST, 0)  # and here none goes further
    assert mended(ledger, other, whole) == [FIRST, LAST]


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def linked_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [Path.unlink, cut_short, linked_away])
@pytest.mark.parametrize("name", [FIRST, "segment-000002-0000.h5", "view-000001", "view-000000", "view-000003"])
def test_files_that_are_gone_or_no_files(
    pair: tuple[Path, Path], whole: Path, spoil: Callable[[Path], None], name: str
) -> None:
    ledger, other = pair
    spoil(ledger / name)
    assert not audit(ledger).ok
    assert mended(ledger, other, whole) == [name]


def test_a_newest_segment_that_is_gone_comes_back_because_the_checkpoint_knows_of_it(
    pair: tuple[Path, Path], whole: Path
) -> None:
    ledger, other = pair
    (ledger / LAST).unlink()
    assert mended(ledger, other, whole) == [LAST]


def test_a_view_that_is_gone_with_its_segments_comes_back_because_the_checkpoint_knows_of_it(
    pair: tuple[Path, Path], whole: Path
) -> None:
    ledger, other = pair
    for path in [ledger / LAST, ledger / "view-000003", ledger / "claim-000003"]:
        path.unlink()
    flip(ledger / "view-000000", 200)  # so that nothing can be counted at first
    assert mended(ledger, other, whole) == ["view-000000", "view-000003", LAST]
    assert Folder(ledger).newest_claim() > 3, "a writer of that view, if there still is one, is fenced off"


def test_a_damaged_checkpoint_is_replaced(pair: tuple[Path, Path], whole: Path) -> None:
    ledger, other = pair
    flip(ledger / "checkpoint", 80)
    assert mended(ledger, other, whole) == ["checkpoint"]


@pytest.mark.parametrize("seed", range(6))
def test_two_that_are_damaged_in_different_places_give_one_that_is_whole(
    pair: tuple[Path, Path], whole: Path, seed: int
) -> None:
    """Rounds and views alternate between the two, and within a round each piece is good in one of them."""
    ledger, other = pair
    compact.compact(Folder(ledger), INFO)
    draw = random.Random(seed)
    hurt = []
    for name in (FIRST, "segment-000002-0000.h5", LAST):
        for data_set in DATA_SETS:
            size = used(whole / name, data_set)
            if not size:
                continue
            victim = draw.choice([ledger, other])
            hurt.append((victim, layout(victim / name).data[data_set].offset + draw.randrange(size)))
            flip(victim / name, hurt[-1][1])
    flip(draw.choice([ledger, other]) / "view-000001", 300)
    flip(draw.choice([ledger, other]) / FIRST, 0)
    assert not audit(ledger).ok or not audit(other).ok
    mended(ledger, other, whole)
    mended(other, ledger, whole)


@pytest.mark.parametrize("seed", range(TRIALS))
def test_flips_anywhere_in_two_ledgers(pair: tuple[Path, Path], whole: Path, seed: int) -> None:
    """Any bit of any file: segments with their metadata, view records, the checkpoint; of each file in one of the two."""
    ledger, other = pair
    draw = random.Random(seed)
    if draw.random() < 0.5:
        compact.compact(Folder(ledger), INFO)
    names = [name for name in contents(whole) if not name.startswith("claim")]
    for name in draw.sample(names, draw.choice([1, 2, 5])):
        path = draw.choice([ledger, ledger, other]) / name
        flip(path, draw.randrange(path.stat().st_size), 1 << draw.randrange(8))
    mended(ledger, other, whole)


def test_a_piece_that_both_have_lost_is_named_and_the_rest_mended(pair: tuple[Path, Path], whole: Path) -> None:
    ledger, other = pair
    for path in (ledger, other):
        with Ledger(whole) as reader:
            row = reader.block(1).row
        flip(path / FIRST, layout(path / FIRST).data["records"].offset + int(row["records_offset"]) + 70)
    flip(ledger / LAST, layout(ledger / LAST).data["certificates"].offset + 50)
    done = repair(ledger, other, INFO)
    assert done.lost == [f"{FIRST}: the records of block 1"]
    assert not done.report.ok and {p.segment for p in done.report.problems} == {FIRST}
    assert [m.name for m in done.mended] == [LAST]


def test_a_lost_commit_record_does_not_hide_what_lies_behind(pair: tuple[Path, Path], tmp_path: Path) -> None:
    builder = Builder(tmp_path / "longer", clusters=1)
    builder.begin_view()
    for i in range(4):
        builder.commit(batch_of(notes_of(10 * i, 10)))
    builder.close()
    copy(builder.path, tmp_path / "d", INFO)
    size = layout(builder.path / FIRST).slot_bytes
    for path in (builder.path, tmp_path / "d"):
        flip(path / FIRST, layout(path / FIRST).data["commit_records"].offset + size + 30)
    flip(builder.path / FIRST, layout(builder.path / FIRST).data["commit_records"].offset + 2 * size + 30)
    done = repair(builder.path, tmp_path / "d", INFO)
    assert done.lost == [f"{FIRST}: the commit record of round 1, in slot 1"]
    assert [m.name for m in done.mended] == [FIRST]
    assert len(done.report.problems) < 4


def test_a_dry_run_changes_nothing(pair: tuple[Path, Path]) -> None:
    ledger, other = pair
    flip(ledger / FIRST, layout(ledger / FIRST).data["records"].offset + 70)
    (ledger / "view-000001").unlink()
    before = contents(ledger), contents(other)
    done = repair(ledger, other, INFO, dry_run=True)
    assert sorted(m.name for m in done.mended) == [FIRST, "view-000001"]
    assert (contents(ledger), contents(other)) == before


def test_what_is_well_is_left_alone(pair: tuple[Path, Path]) -> None:
    ledger, other = pair
    before = contents(ledger)
    assert repair(ledger, other, INFO).mended == []
    assert contents(ledger) == before


def test_later_rounds_are_taken_only_if_they_are_asked_for(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(notes_of(0, 10)))
    copy(builder.path, tmp_path / "early", INFO)
    builder.commit(batch_of(notes_of(10, 10)))
    builder.begin_view()
    builder.commit(batch_of(notes_of(20, 10)))
    builder.close()
    before = contents(tmp_path / "early")
    assert repair(tmp_path / "early", builder.path, INFO).mended == []
    assert contents(tmp_path / "early") == before
    assert mended(tmp_path / "early", builder.path, builder.path, extend=True)


def test_forks_and_strangers_are_refused(tmp_path: Path) -> None:
    one, two = Builder(tmp_path / "one"), Builder(tmp_path / "two")
    for builder, first in ((one, 0), (two, 50)):
        builder.begin_view()
        builder.commit(batch_of(notes_of(first, 20)))
        builder.close()
    before = contents(one.path)
    with pytest.raises(LedgerError, match="forks of one ledger"):
        repair(one.path, two.path, INFO)
    with pytest.raises(LedgerError, match="same folder"):
        repair(one.path, one.path, INFO)
    with Folder(one.path).lock(info=INFO), pytest.raises(LedgerBusy):
        repair(one.path, two.path, INFO)
    assert contents(one.path) == before


def test_a_view_record_that_both_have_lost_is_named(pair: tuple[Path, Path]) -> None:
    for path in pair:
        flip(path / "view-000002", 300)
    with pytest.raises(LedgerDamaged, match="view 2"):
        repair(*pair, INFO)
