"""compact, copy, repair and info as a user has them: what they say, their JSON, their exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_cli_files import Baash, as_json, baash, files, flip

from baash.ledger.layout import layout

__all__ = ["baash", "files"]  # fixtures


@pytest.fixture
def ledger(baash: Baash, files: Path, tmp_path: Path) -> Path:
    """A ledger of two runs with small segments."""
    for i in range(2):
        (files / f"more{i}").write_bytes(bytes([i]) * 5000)
        made = baash("record", "files", "--ledger", "l", "--segment-bytes", 4096)
        assert made.returncode == 0, made.stderr
    return tmp_path / "l"


def test_record_leaves_a_packed_ledger(baash: Baash, ledger: Path) -> None:
    found = as_json(baash("info", "l", "--json"))["ledger"]
    assert found["views"] == 2 and found["transactions"] == 43 and found["writer"] is None and not found["problems"]
    assert found["bytes"]["gaps_and_unused"] < 20_000 and found["length_bytes"] == sum(found["bytes"].values())
    packed = as_json(baash("compact", "l", "--json"))
    assert (packed["packed"], packed["saved_bytes"]) == (0, 0)
    said = baash("info", "l").stdout
    assert "2 views, " in said and "payloads" in said and "nobody holds its lock" in said


def test_a_copy_and_a_repair(baash: Baash, ledger: Path, tmp_path: Path) -> None:
    assert "43 transactions" in baash("copy", "l", "c").stdout
    again = baash("copy", "l", "c")
    assert again.returncode == 5 and "exists already" in again.stderr
    assert as_json(baash("copy", "l", "c", "--update", "--json"))["segments_written"] == 0
    path = ledger / "segment-000000-0000.h5"
    flip(path, layout(path).data["records"].offset + 70)
    refused = baash("copy", "l", "d")
    assert refused.returncode == 6 and "damaged and was not copied" in refused.stderr and not (tmp_path / "d").exists()
    dry = baash("repair", "l", "--from", "c", "--dry-run")
    assert dry.returncode == 0 and "would mend segment-000000-0000.h5" in dry.stdout
    assert baash("verify", "l").returncode == 1
    mended = as_json(baash("repair", "l", "--from", "c", "--json"))
    assert mended["ok"] and mended["mended"][0]["kept"] == "damaged-segment-000000-0000.h5"
    assert baash("verify", "l").returncode == 0
    assert "nothing to mend" in baash("repair", "l", "--from", "c").stdout
    for folder in ("l", "c"):
        flip(tmp_path / folder / path.name, layout(tmp_path / folder / path.name).data["records"].offset + 70)
    lost = baash("repair", "l", "--from", "c")
    assert lost.returncode == 1 and "LOST in both" in lost.stdout


@pytest.mark.parametrize("verb", [("compact",), ("copy", "c"), ("repair", "--from", "c")])
def test_what_is_no_ledger(baash: Baash, tmp_path: Path, verb: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        ran = baash(verb[0], name, *verb[1:])
        assert ran.returncode == 5 and "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["empty"] and not os.listdir(tmp_path / "empty")


@pytest.mark.parametrize("given", ["0", "4095", "99999999999999", "x"])
def test_segment_bytes_has_bounds(baash: Baash, tmp_path: Path, given: str) -> None:
    (tmp_path / "f").touch()
    for verb in (("record", "f"), ("run", "--workload", "ycsb-load", "--launcher", "none")):
        assert baash(*verb, "--ledger", "l", "--segment-bytes", given).returncode == 2
    assert not (tmp_path / "l").exists()


def test_info_of_a_damaged_ledger_says_what_it_can(baash: Baash, ledger: Path) -> None:
    (ledger / "view-000001").write_text("gone")
    found = as_json(baash("info", "l", "--json"))["ledger"]
    assert found["problems"] and found["length_bytes"] > 0
    assert "PROBLEM" in baash("info", "l").stdout
