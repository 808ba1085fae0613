"""Blocks by height in bulk: what single reads give, over rounds, segments, views, gaps and whatever sizes of pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import Builder, batch_of, record, small

from baash import kernels
from baash.errors import LedgerDamaged, LedgerError
from baash.ledger import ranges
from baash.ledger.reader import Ledger
from baash.protocol import plan
from baash.records import Operation


@pytest.fixture(scope="module", params=["small", "segments"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three views with lost windows and rejections; and two views of several segments each."""
    path = tmp_path_factory.mktemp("made") / "l"
    if request.param == "small":
        return small(path).path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_capacity", lambda *args: plan.Capacity(64, 1 << 14, 1 << 16, 64, 3))
        builder = Builder(path)
        number = 0
        for _ in range(2):
            builder.begin_view()
            for _ in range(8):
                names = [f"n{number + i}" for i in range(1 + number % 23)]
                made = [record(Operation.NOTE, n, number + i, payload=b"x" * (i % 40)) for i, n in enumerate(names)]
                builder.commit(batch_of(made))
                number += len(made)
        builder.close()
    assert len(list(path.glob("segment-*.h5"))) == 6
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_ranges_are_what_single_reads_give(made: Path, data: st.DataObject) -> None:
    with Ledger(made) as ledger:
        first = data.draw(st.integers(0, ledger.block_total - 1))
        after = data.draw(st.integers(first + 1, ledger.block_total))
        expected = [ledger.block(h) for h in range(first, after)]
        whole = ranges.read(ledger, first, after)
        assert whole.rows.tobytes() == b"".join(b.row.tobytes() for b in expected)
        assert [bytes(v) for v in whole.views()] == [b.records.tobytes() for b in expected]
        size = data.draw(st.integers(1, 4000))
        several = list(ranges.pieces(ledger, first, after, size))
        assert [bytes(v) for p in several for v in p.views()] == [b.records.tobytes() for b in expected]
        assert b"".join(p.rows.tobytes() for p in several) == whole.rows.tobytes()
        assert all(len(p) == 1 or p.records.nbytes <= size for p in several)
        info, _, _ = kernels.scan(whole.records)
        assert len(info) == whole.transactions and (whole.starts[:-1] == info["start"]).all()
        assert int(whole.starts[-1]) == whole.records.nbytes
        height = data.draw(st.integers(first, after - 1))
        one = whole.cut(height, height + 1)
        assert (
            bytes(one.views()[0]) == ledger.block(height).records.tobytes() and len(one.starts) == one.transactions + 1
        )


def test_few_reads(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range is read in stretches, not in blocks or rounds."""
    from baash.ledger.round import SegmentFile

    asked: list[str] = []
    read_into = SegmentFile.read_into

    def count(self: SegmentFile, out: np.ndarray, data_set: str, offset: int) -> None:
        asked.append(data_set)
        read_into(self, out, data_set, offset)

    monkeypatch.setattr(SegmentFile, "read_into", count)
    with Ledger(made) as ledger:
        asked.clear()
        ranges.read(ledger, 0, ledger.block_total)
        used = sum(1 for s in ledger.segments if s is not None)
        assert asked.count("block_headers") <= used
        parts = sum(2 for r in ledger.rounds if int(r.locator["block_count"]))
        assert asked.count("records") <= parts


def test_what_is_not_there_is_named(made: Path) -> None:
    with Ledger(made) as ledger:
        total = ledger.block_total
        with pytest.raises(LedgerError, match=f"has no block {total}"):
            ranges.read(ledger, total - 1, total + 1)
        with pytest.raises(LedgerError, match="ask for at least one"):
            ranges.read(ledger, 2, 2)
        assert list(ranges.pieces(ledger, total)) == []
        assert sum(map(len, ranges.pieces(ledger, total - 1, total + 100))) == 1
        assert sum(map(len, ranges.pieces(ledger))) == total


def test_rows_of_other_heights_are_damage(tmp_path: Path) -> None:
    path = small(tmp_path / "l").path
    with Ledger(path) as ledger:
        place = ledger.rounds[0].file.layout.data["block_headers"].offset
        segment = ledger.rounds[0].file.layout.path
    with open(segment, "r+b") as file:
        file.seek(place + 128 + 8)
        file.write(b"\x07")
    with Ledger(path) as ledger, pytest.raises(LedgerDamaged, match="the row of block 1 is another's"):
        ranges.read(ledger, 0, 2)
