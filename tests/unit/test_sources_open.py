"""Choosing a format, naming, and refusing what is neither."""

from __future__ import annotations

import os
import socket
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
        sources.open_input(tmp_path / "absent.jsonl")


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


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    os.mkfifo("pipe.jsonl")
    os.mkfifo("pipe.darshan")
    Path("folder.jsonl").mkdir()
    Path("device.json").symlink_to("/dev/zero")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket.jsonl")
    for name, fmt in (
        ("pipe.jsonl", None),
        ("pipe.jsonl", "wfformat"),
        ("pipe.darshan", "darshan"),
        ("folder.jsonl", "jsonl"),
        ("device.json", None),
        ("socket.jsonl", "jsonl"),
    ):
        with pytest.raises(InputError, match=f"{name} is not a regular file"):
            sources.open_input(name, fmt)
    listening.close()
    Path("real.jsonl").write_text('{"op": "create", "entity": "a"}\n')
    Path("link.jsonl").symlink_to("real.jsonl")
    assert sources.open_input("link.jsonl").total == 1
