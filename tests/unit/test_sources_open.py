"""Choosing a format, naming, and refusing what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_sources_replay import EXAMPLES

from baash import sources
from baash.errors import InputError, UsageError


def test_formats_by_name_and_by_content(tmp_path: Path) -> None:
    assert [sources.format_of(path) for path in EXAMPLES] == ["wfformat", "jsonl"]
    log = tmp_path / "log"
    log.write_bytes(b"3.21\0\0\0\0" + bytes.fromhex("3735640000000000"))
    assert sources.format_of(log) == "darshan"


def test_unknown_formats_say_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n")
    with pytest.raises(InputError, match=r"WfFormat \(.json\), JSON Lines \(.jsonl\) or a Darshan log"):
        sources.open_input(path)
    with pytest.raises(UsageError, match="no format 'csv'"):
        sources.open_input(path, fmt="csv")
    with pytest.raises(UsageError, match="choose stop or skip"):
        sources.open_input(path, on_error="ignore")
    with pytest.raises(InputError, match="cannot be read"):
        sources.open_input(tmp_path)


def test_a_format_that_is_given_wins(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text('{"op": "create", "entity": "a"}\n')
    assert sources.open_input(path, fmt="jsonl").total == 1


def test_several_inputs_keep_their_order_and_need_names_of_their_own() -> None:
    opened = sources.open_inputs(EXAMPLES)
    assert [source.name.split(":")[0] for source in opened] == ["wfformat", "jsonl"]
    with pytest.raises(UsageError, match="One name was given for 2 inputs"):
        sources.open_inputs(EXAMPLES, name="both")
    assert sources.open_inputs([]) == []
