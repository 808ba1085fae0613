"""The commands around proofs as a user has them: exit codes, sentences, JSON, files that are not overwritten, the page's example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ledgers import LEDGER_KEY, key_of, small

from baash.cli import main
from baash.ledger import keyring
from baash.ledger.proofs import checkpoint, notes
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.notes import Witness
from baash.ledger.reader import Ledger
from baash.ledger.transactions import scan_rounds

Baash = Callable[..., "Ran"]
ROOT = Path(__file__).parents[2]
LEDGER_ID = LEDGER_KEY.public.hex()


@dataclass
class Ran:
    stdout: str
    stderr: str


@pytest.fixture
def baash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Baash:
    """The command in this process, as ``main`` runs it: its exit code is checked, what it prints is returned."""
    monkeypatch.setenv("BAASH_KEYS", str(tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Ran:
        monkeypatch.setattr(sys, "argv", ["baash", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        sys.stdout.flush()
        ran = Ran(*capfd.readouterr())
        assert (ended.value.code or 0) == code, ran
        assert "Traceback" not in ran.stderr
        return ran

    return run


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAASH_KEYS", str(tmp_path / "keys"))
    builder = small(tmp_path / "l")
    builder.checkpoint(by_coordinator=True)
    return builder.path


@pytest.fixture
def tx(ledger: Path) -> str:
    with Ledger(ledger) as opened:
        return next(scan_rounds(opened)).transaction(0).id.hex()


def fields(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["schema_version"] == 1
    return found


def test_prove_and_check(baash: Baash, ledger: Path, tx: str, tmp_path: Path) -> None:
    said = baash("prove", ledger, tx[:10]).stdout
    name = f"{tx[:16]}.tlog-proof"
    assert said.startswith(name) and (tmp_path / name).is_file()
    shown = baash("check-proof", name).stdout
    assert f"transaction {tx}" in shown and "not proved: that it is the ledger you mean" in shown
    known = fields(baash("check-proof", name, "--ledger-id", LEDGER_ID, "--json"))
    assert known["ok"] and known["ledger_known"] and known["transaction"]["id"] == tx and known["kind"] == "transaction"
    other = baash("check-proof", name, "--ledger-id", "00" * 32, code=1)
    assert "PROBLEM: it is of ledger" in other.stdout and "proved:" not in other.stdout.replace("not proved:", "")
    assert not fields(baash("check-proof", name, "--ledger-id", "00" * 32, "--json", code=1))["ok"]
    assert baash("prove", ledger, tx, "--output", "-").stdout.encode() == (tmp_path / name).read_bytes()
    baash("prove", ledger, tx)  # the same bytes once more
    (tmp_path / "taken").write_text("mine")
    assert "--force" in baash("prove", ledger, tx, "--output", "taken", code=2).stderr
    assert (tmp_path / "taken").read_text() == "mine"
    forced = fields(baash("prove", ledger, tx, "--output", "taken", "--force", "--json"))
    assert (forced["file"], forced["transaction"], forced["size"]) == ("taken", tx, 15)
    assert not list(tmp_path.glob("*.tmp"))


def test_files_that_are_no_proofs(baash: Baash, tmp_path: Path) -> None:
    (tmp_path / "random").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    for name in ("random", "pipe", "none", "."):
        ran = baash("check-proof", name, code=4)
        assert ran.stderr.count("\n") == 1 and name in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prove", "l"), "say what to prove"),
        (("prove", "l", "12345678", "--consistency", "x"), "say what to prove"),
        (("prove", "l", "12345678", "--to", "x"), "--to goes with"),
        (("prove", "l", "12345678", "--json", "--output", "-"), "standard output"),
        (("prove", "l", "xyz"), "not a transaction id"),
        (("check-proof", "x", "--ledger-id", "12"), "64 hex digits"),
        (("check-proof", "x", "--policy", "p", "--witness", "w"), "two ways"),
        (("check-proof", "x", "--quorum", "1"), "goes with --witness"),
        (("check-proof", "x", "--witness", "nonsense"), "not a verifier key"),
        (("check-proof", "x", "--quorum", "99999999999999999999"), "quorum"),
        (("cosign",), "--key is needed"),
        (("cosign", "--key", "k"), "say what to do"),
        (("cosign", "x", "--key", "k", "--new-key", "n"), "say what to do"),
        (("cosign", "--key", "k", "--new-key", "a b"), "cannot name a key"),
        (("checkpoint", "l", "--size", "-1"), "size"),
        (("checkpoint", "l", "--json", "--output", "o"), "leave --output away"),
        (("verify", "l", "--policy", "p"), "goes with --since-checkpoint"),
    ],
)
@pytest.mark.usefixtures("ledger")
def test_wrong_use(baash: Baash, arguments: tuple[str, ...], said: str) -> None:
    assert said in baash(*arguments, code=2).stderr


def test_checkpoints_are_given_out(baash: Baash, ledger: Path, tmp_path: Path) -> None:
    by_node = baash("checkpoint", ledger).stdout
    assert by_node.encode() == (ledger / "checkpoint").read_bytes()
    assert "BAASH_KEYS" in baash("checkpoint", ledger, "--size", 3, code=10).stderr
    keyring.save(LEDGER_KEY)
    baash("checkpoint", ledger, "--output", "new")
    baash("checkpoint", ledger, "--size", 3, "--output", "old")
    assert checkpoint.decode((tmp_path / "new").read_bytes())[0].size == 15
    found = fields(baash("checkpoint", ledger, "--size", 3, "--json"))
    assert found["size"] == 3 and found["note"].encode() == (tmp_path / "old").read_bytes()
    assert "--size asks for 16" in baash("checkpoint", ledger, "--size", 16, code=2).stderr
    (ledger / "checkpoint").unlink()
    keyring.path_of(LEDGER_KEY.public).unlink()
    assert "has no checkpoint" in baash("checkpoint", ledger, code=5).stderr


def test_a_kept_checkpoint_against_the_ledger(baash: Baash, ledger: Path, tmp_path: Path) -> None:
    keyring.save(LEDGER_KEY)
    baash("checkpoint", ledger, "--size", 3, "--output", "old")
    baash("checkpoint", ledger, "--output", "new")
    baash("prove", ledger, "--consistency", "old", "--output", "c")
    assert "no such" not in baash("verify", ledger, "--since-checkpoint", "old", "--since-checkpoint", "c").stdout
    lie = checkpoint.sign(Checkpoint(LEDGER_KEY.public, 4, bytes(32)), LEDGER_KEY)
    ahead = checkpoint.sign(Checkpoint(LEDGER_KEY.public, 99, bytes(32)), LEDGER_KEY)
    (tmp_path / "lie").write_bytes(lie)
    (tmp_path / "ahead").write_bytes(ahead)
    ran = fields(
        baash("verify", ledger, *(f"--since-checkpoint={n}" for n in ("old", "lie", "ahead")), "--json", code=1)
    )
    assert ran["problem_count"] == 2 and [p["segment"] for p in ran["problems"]] == ["lie", "ahead"]
    assert "rewritten" in ran["problems"][0]["what"] and "rolled back" in ran["problems"][1]["what"]
    assert "neither a checkpoint" in baash("verify", ledger, "--since-checkpoint", ROOT / "README.md", code=4).stderr
    assert "history was rewritten" in baash("prove", ledger, "--consistency", "lie", code=6).stderr
    w = Witness("w", key_of("w"))
    (tmp_path / "policy").write_text(f"witness w {w.verifier.text}\nquorum w\n")
    asked = ("verify", ledger, "--since-checkpoint", "old", "--policy", "policy")
    assert "quorum" in baash(*asked, code=1).stdout
    old = (tmp_path / "old").read_bytes()
    (tmp_path / "old").write_bytes(old + notes.cosign(checkpoint.decode(old)[0].text, w, 1))
    baash(*asked)


def test_witnesses(baash: Baash, ledger: Path, tx: str, tmp_path: Path) -> None:
    keyring.save(LEDGER_KEY)
    vkeys = [baash("cosign", "--new-key", f"example.org/{n}", "--key", f"{n}.key").stdout.strip() for n in "ab"]
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in "".join(vkeys)
    baash("checkpoint", ledger, "--size", 3, "--output", "old")
    baash("checkpoint", ledger, "--output", "new")
    assert "nothing before it was compared" in baash("cosign", "old", "--key", "a.key").stdout
    refused = baash("cosign", "new", "--key", "a.key", code=1)
    assert "--ledger" in refused.stderr and (tmp_path / "new").read_bytes().count(b"\n") == 5
    assert "extends the 3" in baash("cosign", "new", "--key", "a.key", "--ledger", ledger).stdout
    signed = fields(
        baash("cosign", "new", "--key", "b.key", "--since", "old", "--ledger", ledger, "--output", "n2", "--json")
    )
    assert (signed["size"], signed["size_before"], signed["file"]) == (15, None, "n2")
    baash("prove", ledger, tx, "--checkpoint", "n2", "--output", "p")
    asked = [f"--witness={v}" for v in vkeys]
    bare = baash("check-proof", "n2", *asked, "--ledger-id", LEDGER_ID).stdout
    assert "proved: the first 15 blocks of ledger" in bare and "not proved" not in bare and "example.org/a saw" in bare
    assert "signed neither by the ledger key nor" in baash("check-proof", ledger / "checkpoint", code=1).stdout
    assert "witness example.org/b saw" in baash("check-proof", "p", *asked, "--quorum", 2).stdout
    baash("prove", ledger, tx, "--checkpoint", "new", "--output", "p1")
    assert "quorum asks for more" in baash("check-proof", "p1", *asked, code=1).stdout
    baash("check-proof", "p1", *asked, "--quorum", 1)
    log = fields(baash("checkpoint", ledger, "--json"))["log_key"]
    assert log == notes.Verifier(f"baash/{LEDGER_ID}", notes.ED25519, LEDGER_KEY.public).text
    (tmp_path / "policy").write_text(f"log {log}\nwitness a {vkeys[0]}\nquorum a\n")
    assert fields(baash("check-proof", "p1", "--policy", "policy", "--json"))["ledger_known"]
    (tmp_path / "policy").write_text("quorum nobody\n")
    assert "policy, line 1" in baash("check-proof", "p1", "--policy", "policy", code=4).stderr


def test_the_file_that_was_recorded(baash: Baash, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("one")
    (tmp_path / "other").write_text("two")
    baash("record", "data", "--ledger", "r")
    id_ = fields(baash("query", "r", "--entity", "data", "--json"))["transactions"][0]["id"]
    baash("prove", "r", id_, "--output", "p")
    assert "data is, byte by byte, the file that was recorded" in baash("check-proof", "p", "--file", "data").stdout
    wrong = baash("check-proof", "p", "--file", "other", code=1).stdout
    assert "PROBLEM: other is not the file that was recorded" in wrong and "proved: CREATE of" in wrong
    assert not fields(baash("check-proof", "p", "--file", "other", "--json", code=1))["ok"]
    baash("check-proof", "p", "--file", "none", code=4)
    baash("check-proof", "p", "--file", ".", code=4)
    baash("checkpoint", "r", "--output", "cp")
    baash("prove", "r", "--consistency", "cp", "--output", "c")
    assert "goes with the proof of a transaction" in baash("check-proof", "c", "--file", "data", code=2).stderr


def test_a_transaction_without_a_file(baash: Baash, ledger: Path, tx: str, tmp_path: Path) -> None:
    baash("prove", ledger, tx, "--output", "p")
    (tmp_path / "data").write_text("one")
    assert "does not record a file" in baash("check-proof", "p", "--file", "data", code=1).stdout


def test_names_from_a_proof_cannot_draw_on_a_terminal(baash: Baash, tmp_path: Path) -> None:
    from ledgers import Builder, batch_of, record

    from baash.records import Operation

    builder = Builder(tmp_path / "l")
    builder.begin_view()
    builder.commit(batch_of([record(Operation.NOTE, "a\x1b[2J\nproved: all", 0, payload=b"\x1b[31m")]))
    builder.checkpoint()
    with Ledger(builder.path) as opened:
        id_ = next(scan_rounds(opened)).transaction(0).id.hex()
    baash("prove", "l", id_, "--output", "p")
    shown = baash("check-proof", "p").stdout
    assert "\x1b" not in shown and "\nproved: all" not in shown and r"a\x1b[2J\nproved: all" in shown


@pytest.mark.slow
def test_the_example_of_the_page(tmp_path: Path) -> None:
    """Every command of docs/proofs.md, one after the other; the last of them find what they were given good."""
    page = (ROOT / "docs/proofs.md").read_text()
    commands = [
        line[2:]
        for part in re.findall(r"```console\n(.*?)```", page, re.S)
        for line in part.splitlines()
        if line[:2] == "$ "
    ]
    assert len(commands) > 15
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/baash"
    program.write_text(f"#!{sys.executable}\nfrom baash.cli import main\nmain()\n")
    program.chmod(0o755)
    python = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    path = f"{program.parent}:{os.environ['PATH']}"
    settings = {**os.environ, "BAASH_KEYS": str(tmp_path / "keys"), "PYTHONPATH": python, "PATH": path}
    script = "set -euo pipefail\n" + "\n".join(commands)
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=300, env=settings, cwd=tmp_path, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "witness example.org/alice saw" in ran.stdout and "the file that was recorded" in ran.stdout
    assert ran.stdout.count("all is as it was committed") == 1
