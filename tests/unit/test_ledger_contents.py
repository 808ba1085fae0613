"""Where the bytes of a ledger go: every one is counted once, and damage hides only what it hit."""

from __future__ import annotations

from pathlib import Path

import ledgers
from test_copies_copy import flip
from test_copies_pack import INFO

from baash.ledger.audit import audit
from baash.ledger.contents import PARTS, contents
from baash.ledger.copies import compact
from baash.ledger.layout import layout


def test_every_byte_is_counted_once(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    builder.checkpoint()
    (builder.path / "index-000000").write_bytes(b"i" * 77)
    for packed in (False, True):
        found = contents(builder.folder)
        assert set(found.bytes) == set(PARTS) and sum(found.bytes.values()) == found.length
        assert found.length == sum(p.stat().st_size for p in builder.path.iterdir())
        assert found.bytes["index_files"] == 77 and not found.problems
        report = audit(builder.path)
        assert (found.id, found.blocks, found.transactions) == (report.ledger_id, report.blocks, report.transactions)
        assert (
            found.bytes["payloads"] + found.bytes["entity_names"] + found.bytes["record_headers"]
            == report.records_bytes
        )
        assert found.checkpoint_blocks == report.blocks and found.writer is None
        assert (found.bytes["gaps_and_unused"] < 1000) is packed
        compact.compact(builder.folder, INFO)


def test_who_writes_is_named(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    with builder.folder.lock(info={"user": "eve", "pid": 7}):
        assert contents(builder.folder).writer == "user eve, pid 7"
    assert contents(builder.folder).writer is None


def test_damage_hides_what_it_hit(tmp_path: Path) -> None:
    builder = ledgers.small(tmp_path / "l")
    whole = contents(builder.folder)
    path = builder.path / "segment-000000-0000.h5"
    flip(path, layout(path).data["certificates"].offset + 40)
    flip(path, layout(path).data["commit_records"].offset + 40)
    found = contents(builder.folder)
    assert found.problems and 0 < found.bytes["payloads"] < whole.bytes["payloads"]
    (builder.path / "view-000002").write_bytes(b"none")
    found = contents(builder.folder)
    assert found.problems and found.length and sum(found.bytes.values()) == found.length
