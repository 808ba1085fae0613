"""The parts of a divided audit, without MPI: whatever the number of shares, the report is that of one."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ledgers import Builder, batch_of, record, small

from baash import packing
from baash.ledger import counting
from baash.ledger.audit import Report, audit, draw_seeds, once, parts
from baash.ledger.audit.examine import Examiner
from baash.ledger.audit.pieces import Memory
from baash.ledger.audit.share import Share, split
from baash.ledger.audit.whole import Whole
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger
from baash.records import Operation


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "DAMAGE_RETRY_S", 0.0)


def divided(path: Path, shares: int) -> Report:
    """As the ranks of ``baash/mpi/audit.py`` do it, one after the other; every word passes through bytes."""
    report, seeds = Report(), draw_seeds()
    with Ledger(path, report=report.problem) as ledger:
        whole, examiner = Whole(ledger, None, report), Examiner(ledger, seeds)
        kept = [Share() for _ in range(shares)]
        for index in reversed(range(whole.rounds)):  # in any order
            examiner.examine(index)
        for index in range(whole.rounds):
            examined = examiner.examine(index)
            for share, part in zip(kept, split(examined.kept, shares), strict=True):
                data = packing.pack(parts.pack_kept(part))
                share.take(index, parts.unpack_kept(packing.unpack(data)), examined.replayable)
            whole.take(parts.unpack_examined(packing.unpack(packing.pack(parts.pack_examined(examined)))))
        results = [parts.unpack_result(packing.unpack(packing.pack(parts.pack_result(s.finish())))) for s in kept]
        whole.finish(
            results,
            lambda suspects: [once.decided(r, suspects, seeds, Memory()) for r in ledger.rounds[: whole.rounds]],
        )
    return report


def same(path: Path, shares: int = 3) -> Report:
    alone = audit(path)
    assert dataclasses.asdict(alone) == dataclasses.asdict(divided(path, shares)) | {"_places": alone._places}
    return alone


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    builder = small(tmp_path_factory.mktemp("made") / "l")
    builder.checkpoint()
    return builder


@pytest.mark.parametrize("shares", [1, 2, 3, 5])
def test_a_sound_ledger(made: Builder, shares: int) -> None:
    assert same(made.path, shares).ok


def test_damage_of_every_kind(made: Builder, tmp_path: Path) -> None:
    for number, write in enumerate(w for w in made.writes if w.data_set):
        path = tmp_path / str(number)
        shutil.copytree(made.path, path)
        segment = path / made.folder.segment_path(write.view, write.segment).name
        with open(segment, "r+b", buffering=0) as file:
            place = layout(segment).data[write.data_set].offset + write.offset + len(write.data) // 2
            old = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([old[0] ^ 4]), place)
        assert not same(path).ok
        shutil.rmtree(path)


def test_rules_pairs_and_references(tmp_path: Path) -> None:
    """Problems of many shares in one round come in the order of the round; pairs that come twice are found across shares."""
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    draws = np.random.default_rng(1)
    records = [
        record(
            Operation(int(draws.integers(1, 6))),
            f"e{int(draws.integers(20))}",
            int(draws.integers(60)),
            references=[draws.bytes(32)],
        )
        for _ in range(100)
    ]
    for first in range(0, 100, 20):
        builder.commit(batch_of(records[first : first + 20]))
    builder.close()
    report = same(builder.path, 4)
    whats = " ".join(p.what for p in report.problems)
    assert "breaks a rule" in whats and "decided twice" in whats
    assert any("no committed transaction: 100," in n for n in report.notes)
    places = [(p.height, p.index) for p in report.problems if "breaks a rule" in p.what and p.height is not None]
    assert len(places) > 20 and places == sorted(places)


def test_the_first_thousand_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("report", "whole", "share", "examined"):
        monkeypatch.setattr(f"baash.ledger.audit.{module}.PROBLEMS_KEPT", 7)
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    for first in range(0, 40, 10):
        builder.commit(batch_of([record(Operation.USE, f"none{i}", i) for i in range(first, first + 10)]))
    builder.close()
    report = same(builder.path, 3)
    assert len(report.problems) == 7 and report.problem_count == 40
