"""The command line as a user has it, in one process: record, check-file, query, verify, info; exit codes and JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

Baash = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def baash(tmp_path: Path) -> Baash:
    settings = {**os.environ, "BAASH_KEYS": str(tmp_path / "keys")}
    settings["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))

    def run(*arguments: object, stdout: Any = subprocess.PIPE, **more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", "from baash.cli import main; main()", *map(str, arguments)]
        settings_now, error = {**settings, **more}, subprocess.PIPE
        return subprocess.run(
            line, stdout=stdout, stderr=error, text=True, timeout=120, env=settings_now, cwd=tmp_path, check=False
        )

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(40):
        (folder / f"f{i:02d}.dat").write_bytes(bytes([i]) * (i * 137))
    with h5py.File(folder / "model.h5", "w") as file:
        file["grid/temperature"] = np.arange(1000, dtype="f8")
        file["grid/pressure"] = np.ones(50)
    return folder


def as_json(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_files_recorded_changed_and_named(baash: Baash, files: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    first = baash("record", files, "--ledger", ledger, "--job", "4711", "--note", "run A", "--json")
    assert first.returncode == 0, first.stderr
    assert (as_json(first)["recorded"], as_json(first)["unchanged"]) == (41, 0)
    again = baash("record", files, "--ledger", ledger, "--json")
    assert (as_json(again)["recorded"], as_json(again)["unchanged"]) == (0, 41)
    assert not (ledger / "view-000001").exists()  # what changes nothing costs nothing

    assert baash("check-file", files, "--ledger", ledger).returncode == 0
    with h5py.File(files / "model.h5") as file:
        offset = file["grid/temperature"].id.get_offset()
    flip(files / "model.h5", offset + 77)
    flip(files / "f07.dat", 3)
    checked = baash("check-file", files, __file__, "--ledger", ledger, "--json")
    assert checked.returncode == 1
    found = {Path(one["file"]).name: one for one in as_json(checked)["files"]}
    assert found["model.h5"]["changes"][0] == "data set /grid/temperature changed"
    assert found["f07.dat"]["answer"] == "changed" and found["f08.dat"]["answer"] == "unchanged"
    assert found[Path(__file__).name]["answer"] == "unknown"
    assert found["f08.dat"]["job"] == "4711" and found["f08.dat"]["recorded_at"]

    third = baash("record", files / "model.h5", "--from", files / "f01.dat", "--ledger", ledger)
    assert (
        third.returncode == 0
        and "0 recorded, 1 changed, 0 unchanged" in third.stdout
        and "changed  /" in third.stdout
        and "fail together" in third.stdout
    )
    asked = baash("query", ledger, "--entity", "model.h5")
    assert "version 2" in asked.stdout and "f01.dat" in asked.stdout
    audit = baash("verify", ledger, "--json")
    assert audit.returncode == 0 and as_json(audit)["transactions"] == 42 and as_json(audit)["views"] == 2


def test_a_changed_byte_is_a_problem_with_a_place(baash: Baash, files: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    assert baash("record", files, "--ledger", ledger).returncode == 0
    segment = ledger / "segment-000000-0000.h5"
    with h5py.File(segment) as file:
        row = file["block_headers"][3]
        offset = file["records"].id.get_offset() + int(row["records_offset"])
    flip(segment, offset + 90)
    audit = baash("verify", ledger, "--json")
    assert audit.returncode == 1
    problem = as_json(audit)["problems"][0]
    assert problem["height"] == 3 and problem["segment"] == segment.name, problem
    shown = baash("verify", ledger)
    assert shown.returncode == 1 and "PROBLEM" in shown.stdout and "block 3" in shown.stdout
    more = baash("record", __file__, "--ledger", ledger)
    assert more.returncode == 6 and "Traceback" not in more.stderr  # nobody builds on what has rotted


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "--ledger", "l"), 2, "nothing to record"),
        (("run", "--ledger", "l", "--workload", "nonsense"), 2, "nonsense"),
        (("run", "--ledger", "l", "--workload", "ycsb-load", "--quorum", "all"), 2, "majority, byzantine"),
        (("run", "--ledger", "l", "--workload", "ycsb-load", "--launcher", "none", "--clusters", "3"), 2, "15 in all"),
        (("run", "--ledger", "l", "--launcher", "none", "--input", "absent.jsonl"), 4, "absent.jsonl"),
        (("record", "absent", "--ledger", "l"), 4, "absent does not exist"),
        (("record", "l", "--ledger", "l"), 4, "does not exist"),
        (("verify", "absent"), 5, "no ledger"),
        (("query", "absent", "--block", "0"), 5, "no ledger"),
        (("verify", __file__), 5, "that is not a folder"),
        (("query", "absent", "--block", "-1"), 2, "--block"),
        (("query", "absent"), 2, "say what to look up"),
        (("check-file", __file__, "--ledger", "absent"), 5, "no ledger"),
    ],
)
def test_wrong_use_costs_nothing(
    baash: Baash, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = baash(*arguments)
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    assert said in ran.stderr and "Traceback" not in ran.stderr
    assert not (tmp_path / "l").exists()


def test_a_malformed_line_commits_nothing(baash: Baash, tmp_path: Path) -> None:
    lines = ['{"entity": "a", "op": "create"}', '{"entity": "b", "op": "invent"}', '{"entity": "c", "op": "create"}']
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    ran = baash("run", "--ledger", "l", "--launcher", "none", "--input", "in.jsonl")
    assert ran.returncode == 4 and "line 2" in ran.stderr and not (tmp_path / "l").exists()
    ran = baash("run", "--ledger", "l", "--launcher", "none", "--input", "in.jsonl", "--on-error", "skip")
    assert ran.returncode == 0, ran.stderr
    assert "2 transactions committed" in ran.stdout and "1 malformed and skipped" in ran.stdout


def test_inputs_take_turns_where_none_builds_on_another(baash: Baash, tmp_path: Path) -> None:
    """The last line of a long input makes what a short one changes."""
    names = [f"e{i}" for i in range(9000)]
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps({"entity": n, "op": "create"}) for n in names))
    (tmp_path / "short.jsonl").write_text('{"entity": "e8999", "op": "update"}')
    run = ("run", "--launcher", "none", "--input", "long.jsonl", "--input", "short.jsonl")
    turns = baash(*run, "--ledger", "turns", "--take-turns")
    assert turns.returncode == 0 and "1 rejected: 1 entity_unknown" in turns.stdout
    assert "1 transaction did not fit what the ledger holds" in turns.stderr and "without --take-turns" in turns.stderr
    order = baash(*run, "--ledger", "order")
    assert order.returncode == 0 and "9,001 transactions committed" in order.stdout
    assert "--take-turns" not in order.stderr


def test_a_ledger_without_its_key_is_read_only(baash: Baash, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"entity": "a", "op": "create"}')
    run = ("run", "--ledger", "l", "--launcher", "none", "--input", "in.jsonl")
    assert baash(*run).returncode == 0
    elsewhere = baash(*run, BAASH_KEYS=str(tmp_path / "others"))
    assert elsewhere.returncode == 10 and "key" in elsewhere.stderr
    assert baash("verify", "l", BAASH_KEYS=str(tmp_path / "others")).returncode == 0


def test_a_removed_view_is_damage_and_nobody_goes_on(baash: Baash, tmp_path: Path) -> None:
    run = ("run", "--ledger", "l", "--launcher", "none", "--workload", "ycsb-load")
    for transactions in ("50", "100"):
        assert baash(*run, "--transactions", transactions).returncode == 0
    (tmp_path / "l" / "view-000001").unlink()
    (tmp_path / "l" / "checkpoint").unlink()
    assert baash("verify", "l").returncode == 1
    more = baash(*run, "--transactions", "150")
    assert more.returncode == 6 and "view 1" in more.stderr


def test_info_tells_kernels_and_why(baash: Baash) -> None:
    found = as_json(baash("info", "--json"))
    assert {k["name"] for k in found["kernels"]} >= {"portable", "shani"}
    assert sum(k["chosen"] for k in found["kernels"]) == 1
    assert found["limits"]["payload_bytes"] == 16 << 20
    demanded = as_json(baash("info", "--json", BAASH_KERNEL="portable"))
    assert next(k for k in demanded["kernels"] if k["chosen"])["name"] == "portable"
    refused = baash("run", "--ledger", "l", "--launcher", "none", "--workload", "ycsb-load", BAASH_KERNEL="nonsense")
    assert refused.returncode == 14 and "nonsense" in refused.stderr and "portable" in refused.stderr


@pytest.mark.parametrize(
    "option",
    [
        "record-count",
        "transactions",
        "record-bytes",
        "block-size",
        "faults",
        "replacements",
        "clusters",
        "seed",
        "ranks",
    ],
)
def test_a_number_beyond_its_limit_is_wrong_use(baash: Baash, tmp_path: Path, option: str) -> None:
    ran = baash("run", "--ledger", "l", "--launcher", "none", "--workload", "ycsb-a", f"--{option}", 10**20)
    assert ran.returncode == 2 and str(10**20) in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
    assert not (tmp_path / "l").exists()


def test_what_record_leaves_out_it_says(baash: Baash, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "empty").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "b").write_text("b")
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "link").symlink_to("empty")
    ledger = folder / "ledger"
    first = baash("record", folder, "--ledger", ledger)
    assert first.returncode == 0 and "2 recorded, 0 changed, 0 unchanged; 2 files looked at" in first.stdout
    assert first.stdout.count("skipped, not a regular file") == 3
    (folder / "b").write_text("changed")
    (folder / "c").write_text("c")
    second = as_json(baash("record", folder, "--ledger", ledger, "--json"))  # the ledger's own files are none of them
    assert (second["new"], second["changed"], second["unchanged"]) == (1, [str(folder / "b")], 1)
    assert {Path(path).name for path in second["skipped"]} == {"pipe", "dangling", "link"}
    itself = baash("record", ledger, "--ledger", ledger)
    assert itself.returncode == 4 and "is the ledger itself" in itself.stderr
    nothing = baash("record", folder / "empty", "--ledger", ledger)
    assert nothing.returncode == 0 and nothing.stdout == "nothing to record: there is no file\n"

    kept = baash("record", folder / "a", "--from", folder / "b", "--note", "x", "--ledger", ledger)
    assert kept.returncode == 0 and "--from and --note went into new records alone" in kept.stdout
    assert "went into" not in baash("record", folder / "a", "--ledger", ledger).stdout


def test_files_that_are_gone_are_missing(baash: Baash, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (folder / name).write_text(name)
    (tmp_path / "files-too").write_text("beside")
    assert baash("record", folder, tmp_path / "files-too", "--ledger", "l").returncode == 0
    lines = {"op": "create", "entity": f"{folder}/no-file"}
    (tmp_path / "in.jsonl").write_text(json.dumps(lines))
    assert baash("run", "--launcher", "none", "--ledger", "l", "--input", "in.jsonl").returncode == 0
    assert baash("check-file", folder, "--ledger", "l").returncode == 0
    (folder / "deep" / "c").unlink()
    (folder / "deep").rmdir()
    (folder / "b").unlink()
    (tmp_path / "files-too").unlink()
    found = baash("check-file", folder, "--ledger", "l")
    assert found.returncode == 1 and "1 unchanged, 2 missing" in found.stdout
    assert f"missing   {folder}/deep/c" in found.stdout and "files-too" not in found.stdout
    for gone, count in ((tmp_path / "files-too", 1), (folder / "deep", 1), (folder / "b", 1)):
        asked = baash("check-file", gone, "--ledger", "l", "--json")
        assert asked.returncode == 1 and as_json(asked)["counts"]["missing"] == count, asked.stderr
    never = baash("check-file", folder / "never", "--ledger", "l")
    assert never.returncode == 4 and "does not know it" in never.stderr


def test_a_damaged_view_is_said_to_hide_the_blocks(baash: Baash, tmp_path: Path) -> None:
    assert baash("run", "--ledger", "l", "--launcher", "none", "--workload", "ycsb-load").returncode == 0
    flip(tmp_path / "l" / "view-000000", 3)
    shown = baash("verify", "l")
    assert shown.returncode == 1 and "no block was examined" in shown.stdout and "PROBLEM: view-000000" in shown.stdout
    assert "no view was published" not in shown.stdout and "0 blocks" not in shown.stdout
    assert as_json(baash("verify", "l", "--json"))["walked"] is False


def test_a_refused_run_leaves_nothing_behind(baash: Baash, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = ("run", "--ledger", "l", "--launcher", "none", "--workload", "ycsb-load")
    refused = baash(*run, BAASH_KEYS=str(tmp_path / "file" / "keys"))
    assert refused.returncode == 9 and "key folder" in refused.stderr
    assert not (tmp_path / "l").exists()


def test_what_help_names_is_there(baash: Baash) -> None:
    verbs = ("run", "record", "check-file", "verify", "query", "info")
    helps = [baash("--help").stdout, *(baash(verb, "--help", COLUMNS="200").stdout for verb in verbs)]
    named = {path for text in helps for path in re.findall(r"examples/[\w./-]+", text)}
    assert named and not [path for path in named if not (ROOT / path).exists()]


def test_the_depth_of_what_it_was_made_from(baash: Baash) -> None:
    example = ROOT / "examples" / "pulsar-survey.json"
    assert baash("run", "--launcher", "none", "--ledger", "l", "--input", example).returncode == 0
    asked = ("query", "l", "--entity", "follow-up.pdf")
    shown = baash(*asked)
    assert shown.returncode == 0 and "is not shown; --depth 6 goes further" in shown.stdout
    whole = baash(*asked, "--depth", 50)
    assert "goes further" not in whole.stdout and as_json(baash(*asked, "--depth", 50, "--json"))["left_out"] == 0
    assert as_json(baash(*asked, "--json"))["left_out"] > 0


@pytest.mark.parametrize("workload", ["ycsb-a", "ycsb-c", "ycsb-d"])
def test_a_workload_without_its_table_says_load_it_first(baash: Baash, workload: str) -> None:
    run = ("run", "--launcher", "none", "--ledger", "l", "--record-count", 30, "--transactions", 20, "--workload")
    empty = baash(*run, workload)
    assert "load the table first with --workload ycsb-load --transactions 30" in empty.stderr
    load = baash(*run[:-3], "--transactions", 30, "--workload", "ycsb-load")
    assert load.returncode == 0 and "load the table" not in load.stderr
    assert "load the table" not in baash(*run, workload, "--seed", 2).stderr
