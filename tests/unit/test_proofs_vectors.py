"""The known-answer files of ``tests/vectors/proofs``: baash, the second checker and the files agree, and are made again alike."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import VerifyKey
from reader import proof_reader
from vectors.proofs import make

from baash.errors import InputError
from baash.ledger.proofs import checking, policy

FOLDER = Path(__file__).parents[1] / "vectors/proofs"
KNOWN = json.loads((FOLDER / "verdicts.json").read_text())


def asked(row: dict[str, Any]) -> policy.Policy | None:
    if "policy" in row:
        return policy.read((FOLDER / row["policy"]).read_bytes(), row["policy"])
    return policy.of(KNOWN["witnesses"], row["quorum"]) if "quorum" in row else None


@pytest.mark.parametrize("row", KNOWN["files"], ids=lambda row: f"{row['file']}-{row['exit_code']}")
def test_both_checkers_say_what_is_expected(row: dict[str, Any]) -> None:
    data = (FOLDER / row["file"]).read_bytes()
    ledger = bytes.fromhex(row["ledger_id"]) if "ledger_id" in row else None
    try:
        verdict = checking.check(data, row["file"], ledger_id=ledger, policy=asked(row))
        ours = 0 if verdict.ok else 1
    except InputError:
        ours = 4
    try:
        plain = proof_reader.check(data, ledger, KNOWN["witnesses"] if "quorum" in row else None, row.get("quorum", 0))
        theirs = 0
    except proof_reader.Bad:
        theirs = 1
    except proof_reader.Malformed:
        theirs = 4
    assert (ours, theirs) == (row["exit_code"], row["exit_code"]), row["why"]
    if ours == 0 and verdict.transaction is not None:
        assert (plain["id"], plain["height"]) == (verdict.transaction.id, verdict.transaction.height)


def test_the_files_are_made_again_alike(tmp_path: Path) -> None:
    make.make(tmp_path)
    made = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    kept = {p.name: p.read_bytes() for p in FOLDER.iterdir() if p.is_file() and p.suffix not in (".py", ".md")}
    assert sorted(made) == sorted(kept)
    assert [name for name in made if made[name] != kept[name]] == []


def test_every_file_has_a_question() -> None:
    named = {row["file"] for row in KNOWN["files"]}
    assert named == {p.name for p in FOLDER.iterdir() if ".tlog-" in p.name}
    assert len(named) > 40 and {row["exit_code"] for row in KNOWN["files"]} == {0, 1, 4}


def test_signature_lines_by_the_letter_of_the_specifications() -> None:
    """Signed note and tlog-cosignature, checked here with nothing but SHA-256, base64 and Ed25519."""
    note = (FOLDER / "good-cosigned.tlog-proof").read_text().partition("\n\n")[2]
    text, _, tail = note.partition("\n\n")
    text += "\n"
    signers = [KNOWN["log"], *KNOWN["witnesses"][:2]]
    lines = tail.splitlines()
    assert len(lines) == len(signers)
    for line, vkey in zip(lines, signers, strict=True):
        name, hash_, encoded = vkey.split("+", 2)
        key = base64.b64decode(encoded)
        assert hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == hash_
        dash, signer, given = line.split(" ")
        raw = base64.b64decode(given)
        assert (dash, signer, raw[:4].hex()) == ("\u2014", name, hash_)
        if key[0] == 1:
            VerifyKey(key[1:]).verify(text.encode(), raw[4:])
        else:
            seconds = int.from_bytes(raw[4:12], "big")
            assert (key[0], seconds, len(raw)) == (4, make.TIME_S, 76)
            VerifyKey(key[1:]).verify(f"cosignature/v1\ntime {seconds}\n{text}".encode(), raw[12:])
