"""Ledgers damaged on purpose: whatever is asked of them, the answer is right or an error that says so.

Bytes are flipped one at a time: all that count (what was written, the view records, the checkpoint), in a campaign; every so
many here. Segments are removed, cut short, duplicated, swapped. Reads fail in their middle.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import campaign
import pytest
import readers
from disturb import disturbed
from ledgers import Builder, small
from recording import Run, Writers

from baash.ledger.index.building import build
from baash.ledger.layout import layout

# views of the ledger that is flipped, whether it is indexed, tried in make test, share of a campaign: the first to its last byte
FLIPPED = {"every byte": (1, False, 20, 0.5), "scanned": (3, False, 40, 0.07), "indexed": (3, True, 60, 0.08)}


@pytest.fixture(scope="module", params=FLIPPED)
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(module_room: Path, which: str) -> Builder:
    views, indexed, _, _ = FLIPPED[which]
    builder = small(module_room / f"flipped-{which}", views_=views)
    builder.checkpoint()
    if indexed:
        build(builder.path)
    return builder


def counting_bytes(made: Builder) -> list[tuple[Path, int]]:
    """Where each byte lies that counts."""
    found: list[tuple[Path, int]] = []
    for write in made.writes:
        if write.data_set:
            path = made.folder.segment_path(write.view, write.segment)
            start = layout(path).data[write.data_set].offset + write.offset
            found += [(path, start + i) for i in range(len(write.data))]
    derived = sorted(made.path.glob("index-*"))
    for path in (*map(made.folder.view_path, made.folder.views()), made.path / "checkpoint", *derived):
        found += [(path, i) for i in range(path.stat().st_size)]
    return found


def test_every_flipped_byte_gives_the_right_answer_or_an_error(made: Builder, which: str) -> None:
    name = f"flips, all readers, {which}"
    asked = readers.questions(made.path)
    healthy = readers.answers(made.path, asked)
    assert not [a for a in healthy.values() if a.startswith((readers.DAMAGE, readers.BUG))]
    problems, noticed = [], 0
    for path, at in campaign.chosen(name, counting_bytes(made), *FLIPPED[which][2:]):
        with open(path, "r+b", buffering=0) as file:
            old = os.pread(file.fileno(), 1, at)
            os.pwrite(file.fileno(), bytes([old[0] ^ 1 << at % 8]), at)
            found = readers.answers(made.path, asked)
            os.pwrite(file.fileno(), old, at)
        wrong = readers.differing(healthy, found)
        problems += [f"{path.name}, byte {at}: {one}" for one in wrong]
        noticed += found["audit"] == readers.DAMAGE
        campaign.count(
            name,
            questions=len(found),
            wrong=len(wrong),
            unnoticed=found["audit"] != readers.DAMAGE and not path.name.startswith("index-"),
        )
    assert problems == [] and campaign.table[name]["unnoticed"] == 0 and noticed
    assert readers.answers(made.path, asked) == healthy


def removed(ledger: Path, segment: Path, other: Path) -> None:
    segment.unlink()


def emptied(ledger: Path, segment: Path, other: Path) -> None:
    os.truncate(segment, 0)


def cut_short(ledger: Path, segment: Path, other: Path) -> None:
    os.truncate(segment, segment.stat().st_size * 2 // 3)


def cut_by_a_byte(ledger: Path, segment: Path, other: Path) -> None:
    os.truncate(segment, segment.stat().st_size - 1)


def grown(ledger: Path, segment: Path, other: Path) -> None:
    with open(segment, "ab") as file:
        file.write(bytes(4096))


def replaced_by_another(ledger: Path, segment: Path, other: Path) -> None:
    shutil.copyfile(other, segment)


def a_folder_instead(ledger: Path, segment: Path, other: Path) -> None:
    segment.unlink()
    segment.mkdir()


def a_link_instead(ledger: Path, segment: Path, other: Path) -> None:
    segment.rename(ledger / "elsewhere")
    segment.symlink_to(ledger / "elsewhere")


def duplicated(ledger: Path, segment: Path, other: Path) -> None:
    """As the next segment of its view, behind the last."""
    view = segment.name[:14]
    last = sorted(ledger.glob(f"{view}-*.h5"))[-1]
    shutil.copyfile(segment, ledger / f"{view}-{int(last.stem[-4:]) + 1:04d}.h5")


DAMAGES = (
    removed, emptied, cut_short, cut_by_a_byte, grown, replaced_by_another, a_folder_instead, a_link_instead, duplicated,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_segment(damage: Callable[[Path, Path, Path], None], room: Path, writers: Writers) -> None:
    asked, outcome = disturbed("", room, writers)
    ledger = Path(asked.ledger)
    second = Run(asked.root, asked.ledger, asked.keys, source="second")
    assert outcome.exit_code == writers.run(second).exit_code == 0
    questions = readers.questions(ledger)
    healthy = readers.answers(ledger, questions)
    segments = sorted(ledger.glob("segment-*.h5"))
    assert len(segments) >= 4
    for segment in segments:
        copy = room / "copy"
        shutil.copytree(ledger, copy)
        damage(copy, copy / segment.name, ledger / segments[segment == segments[0]].name)
        found = readers.answers(copy, questions)
        assert readers.differing(healthy, found) == [], segment.name
        if damage is not duplicated:  # behind the cut of its view it means nothing
            assert found["audit"] == readers.DAMAGE, segment.name
        again = writers.run(Run(asked.root, str(copy), asked.keys, source="next", steps=1, together=1))
        assert again.ended == 0 and not again.traceback
        assert again.exit_code == 0 or len(again.error.splitlines()) == 1, again
        assert again.exit_code or damage in (grown, duplicated, cut_by_a_byte), "a damaged ledger was continued"
        shutil.rmtree(copy)
    campaign.count("segments damaged", tried=len(segments))


@pytest.mark.parametrize("name", ["view-000000", "view-000001"])
def test_a_missing_view_record(name: str, room: Path, writers: Writers) -> None:
    asked, _ = disturbed("", room, writers)
    assert writers.run(Run(asked.root, asked.ledger, asked.keys, source="second")).exit_code == 0
    (Path(asked.ledger) / name).unlink()
    found = readers.answers(Path(asked.ledger), {})
    assert found == {"audit": readers.DAMAGE}
    again = writers.run(Run(asked.root, asked.ledger, asked.keys, source="next", steps=1, together=1))
    assert again.ended == 0 and again.exit_code and len(again.error.splitlines()) == 1, again


def test_every_read_that_fails(room: Path, writers: Writers) -> None:
    """EIO, once and for good, while a writer starts on a ledger and while readers answer."""
    asked, _ = disturbed("", room, writers)
    name, problems = "reads failed", []
    whole = writers.run(Run(asked.root, asked.ledger, asked.keys, job="read"))
    assert whole.answers and not [a for a in whole.answers.values() if a.startswith((readers.DAMAGE, readers.BUG))]
    reading = writers.run(Run(asked.root, asked.ledger, asked.keys, asked.log, "fail-read 1000000 5 1", job="read"))
    faults = [(job, n, times) for job in ("read", "write") for n in range(1, reading.reads + 1) for times in (1, 10**9)]
    for job, number, times in campaign.chosen(name, faults, 16, 0.03):
        Path(f"{asked.log}.count").unlink(missing_ok=True)
        copy = Path(asked.root) / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(asked.ledger, copy)
        fault = f"fail-read {number} 5 {times}"
        outcome = writers.run(Run(asked.root, str(copy), asked.keys, asked.log, fault, "new", 1, 1, job=job))
        wrong = readers.differing(whole.answers, outcome.answers) if job == "read" else []
        if outcome.ended or outcome.traceback or len(outcome.error.splitlines()) > 1:
            wrong.append(f"{outcome}")
        problems += [f"{job}, {fault}: {one}" for one in wrong]
        campaign.count(name, wrong=len(wrong), disturbed=outcome.disturbed)
    assert problems == []
