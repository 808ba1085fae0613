"""What comes from elsewhere reaches a terminal as text: names with escape sequences, names that are not UTF-8, markup."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli_files import baash as baash

from baash import text

Baash = Callable[..., "subprocess.CompletedProcess[str]"]
EVIL = "\x1b[2J\x1b[31mFAKE\nall is as it was committed\u202e\x9b31m"
RUN = ("run", "--launcher", "none", "--ledger")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain/Grüße 日本", "plain/Grüße 日本"),
        (EVIL, r"\x1b[2J\x1b[31mFAKE\nall is as it was committed\u202e\x9b31m"),
        ("caf\udce9", r"caf\xe9"),
        (b"caf\xe9\x7f", r"caf\xe9\x7f"),
        ("\ud800\u2028\u200b\t", r"\ud800\u2028\u200b\t"),
    ],
)
def test_what_is_shown(given: str | bytes, shown: str) -> None:
    assert text.printable(given) == shown
    assert text.printable(text.printable(given)) == shown
    text.readable(given).encode()


def harmless(said: str) -> None:
    for line in said.splitlines():
        assert text.printable(line) == line, ascii(line)
        assert not line.startswith("all is as it was committed\\"), "a forged line"


def test_names_from_a_ledger_do_not_reach_the_terminal_raw(baash: Baash, tmp_path: Path) -> None:
    lines = [
        {"op": "create", "entity": EVIL, "payload": {"kind": "file", "size": EVIL, "hdf5": [EVIL]}},
        {"op": "create", "entity": "[red]a[/blue] :smile:", "payload": EVIL},
        {"op": "invent", "entity": EVIL, EVIL: EVIL},
    ]
    folder = tmp_path / f"{EVIL} :smile: [bold]"
    folder.mkdir()
    (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = baash(*RUN, folder / "l", "--input", folder / "in.jsonl", "--on-error", "skip")
    assert done.returncode == 0, done.stderr
    refused = baash(*RUN, folder / "l", "--input", folder / "in.jsonl")
    assert refused.returncode == 4 and refused.stderr.count("\n") == 1
    asked = baash("query", folder / "l", "--block", 0)
    assert "[red]a[/blue] :smile:" in asked.stdout
    said = [done, refused, asked, baash("query", folder / "l", "--entity", EVIL)]
    said += [baash("query", folder / "l", "--entity", EVIL + "x"), baash("verify", folder / "l"), baash("info", folder)]
    for one in said:
        assert "Traceback" not in one.stderr
        harmless(one.stdout + one.stderr)
    exact = json.loads(baash("query", folder / "l", "--block", 0, "--json").stdout)
    assert exact["transactions"][0]["entity"] == EVIL


def test_files_with_such_names(baash: Baash, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / EVIL).write_text("x")
    (folder / "[red]x :smile:").write_text("x")
    (folder / os.fsdecode(b"caf\xe9")).write_text("x")
    report = tmp_path / "report.json"
    ledger = tmp_path / os.fsdecode(b"l\xe9")
    note = os.fsdecode(b"n\xe9")
    done = baash("record", folder, "--ledger", ledger, "--note", note, "--job", EVIL)
    assert done.returncode == 0, done.stderr
    checked = baash("check-file", folder, "--ledger", ledger)
    assert checked.returncode == 0 and "[red]x :smile:" in checked.stdout and r"caf\xe9" in checked.stdout
    as_json = baash("check-file", folder, "--ledger", ledger, "--json")
    assert as_json.returncode == 0, as_json.stderr
    found = json.loads(as_json.stdout)
    assert found["ledger"].endswith(r"l\xe9") and {Path(one["file"]).name for one in found["files"]} >= {
        EVIL,
        r"caf\xe9",
    }
    assert {(one["note"], one["job"]) for one in found["files"]} == {(r"n\xe9", EVIL)}
    workload = ("--workload", "ycsb-load", "--transactions", 10, "--report", report)
    run = baash(*RUN, ledger, *workload)
    assert run.returncode == 0, run.stderr
    assert json.loads(report.read_text())["ledger"].endswith(r"l\xe9")
    again = baash("record", folder, "--ledger", ledger, "--json")
    assert json.loads(again.stdout)["ledger"].endswith(r"l\xe9")
    said = [done, checked, run, baash("query", ledger, "--entity", r"nothing"), baash("verify", ledger)]
    for one in (*said, baash("check-file", folder / "gone\x1b[2J", "--ledger", ledger)):
        assert "Traceback" not in one.stderr
        harmless(one.stdout + one.stderr)


def test_a_reader_that_is_gone_is_no_failure(baash: Baash, tmp_path: Path) -> None:
    assert baash(*RUN, "l", "--workload", "ycsb-load", "--transactions", 5).returncode == 0
    for arguments in (("query", "l", "--block", "0"), ("query", "l", "--entity", "usertable/user1"), ("info",)):
        mine, theirs = socket.socketpair()
        mine.close()
        asked = baash(*arguments, stdout=theirs)
        theirs.close()
        assert asked.stderr == "" or "user1" in asked.stderr
        assert asked.returncode == (141 if asked.stderr == "" else 5)


def test_version(baash: Baash) -> None:
    told = baash("--version")
    assert told.returncode == 0 and told.stdout.startswith("baash 0")
