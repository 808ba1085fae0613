"""The comparison that follows every test notices what it is there for; each state of a ledger is looked at once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ledgers import small
from reader import agreement, second_reader

from baash.ledger.audit import audit


def test_what_differs_is_said(tmp_path: Path) -> None:
    builder = small(tmp_path / "l")
    report, second = audit(builder.path), second_reader.audit(builder.path)
    assert agreement.compare(builder.path, report, second) == ""
    for spoiled in ("blocks", "transactions"):
        kept = getattr(second, spoiled)
        setattr(second, spoiled, kept[:-1])
        assert "the second reader" in agreement.compare(builder.path, report, second)
        setattr(second, spoiled, kept)
    second.problems.append("something")
    assert "['something']" in agreement.compare(builder.path, report, second)


def test_each_state_is_compared_once(tmp_path: Path) -> None:
    builder = small(tmp_path / "deep" / "l")
    agreement.agree(tmp_path)
    before = agreement.seen.compared
    shutil.copytree(builder.path, tmp_path / "copy")
    agreement.agree(tmp_path)
    assert agreement.seen.compared == before
    (tmp_path / "copy" / "view-000000").write_bytes(os.urandom(16))
    agreement.agree(tmp_path)
    assert agreement.seen.compared == before + 1
