"""Witnesses and kept checkpoints: what extends is signed, what contradicts is refused, and a rollback is named."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path

import pytest
from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record, small
from reader import second_reader

from baash.errors import InputError, KeyNotFound, LedgerError, Refused, UsageError
from baash.ledger.audit import audit
from baash.ledger.proofs import checking, checkpoint, form, making, notes, policy, witness
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.history import since
from baash.ledger.proofs.tree import LogTree
from baash.ledger.proofs.witness import Evidence
from baash.ledger.reader import Ledger
from baash.records import Operation

NOTHING = Evidence(None, None, None)


@pytest.fixture
def made(tmp_path: Path) -> Builder:
    return small(tmp_path / "l")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    witness.new_key("w.example", tmp_path / "w.key")
    return tmp_path / "w.key"


def signed(ledger: Ledger, size: int, root: bytes | None = None) -> bytes:
    root = LogTree(ledger).root(size) if root is None else root
    return checkpoint.sign(Checkpoint(ledger.id, size, root), LEDGER_KEY)


def shown(ledger: Ledger) -> Evidence:
    return witness.evidence(None, "", LogTree(ledger))


def test_a_key_is_its_owners_alone(tmp_path: Path, key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    assert witness.load_key(key).verifier.text.startswith("w.example+")
    before = key.read_bytes()
    with pytest.raises(UsageError, match="never replaced"):
        witness.new_key("other", key)
    assert key.read_bytes() == before
    for name in ("", "a b", "a+b", "a\n", "\u2003", "x" * 256, "\udc80"):
        with pytest.raises(UsageError, match="cannot name a key"):
            witness.new_key(name, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(KeyNotFound, match="--new-key"):
        witness.load_key(tmp_path / "none")
    (tmp_path / "bad").write_text("nonsense\n")
    (tmp_path / "bad").chmod(0o600)
    with pytest.raises(LedgerError, match="not a witness's private key"):
        witness.load_key(tmp_path / "bad")
    key.chmod(0o640)
    with pytest.raises(LedgerError, match="can be read by others"):
        witness.load_key(key)


def test_growth_is_signed_and_contradictions_are_not(made: Builder, key: Path) -> None:
    with Ledger(made.path) as ledger:
        first = witness.cosign(key, signed(ledger, 3), "f", NOTHING, 1000)
        assert first.before is None and first.data.endswith(first.line)
        with pytest.raises(Refused, match="nothing shows"):
            witness.cosign(key, signed(ledger, 8), "f", NOTHING, 1001)
        second = witness.cosign(key, signed(ledger, 8), "f", shown(ledger), 1002)
        assert second.before is not None and second.before.size == 3
        proof = making.prove_consistency(ledger, signed(ledger, 8), signed(ledger, 15))
        third = witness.cosign(key, signed(ledger, 15), "f", witness.evidence(proof, "c", None), 1003)
        vkey = witness.load_key(key).verifier.text
        assert policy.judge(policy.of([vkey], 1), third.data) == ({"w.example": 1003}, [])
        again = witness.cosign(key, signed(ledger, 15), "f", NOTHING, 1004)
        assert again.before is not None and again.before.size == 15
        seen = key.with_name(f"w.key.{ledger.id.hex()}.seen").read_bytes()
        for data, said in (
            (signed(ledger, 8), "older than"),
            (signed(ledger, 15, bytes(32)), "history was rewritten"),
            (signed(ledger, 16, bytes(32)), "nothing shows"),
        ):
            with pytest.raises(Refused, match=said):
                witness.cosign(key, data, "f", NOTHING, 1005)
        with pytest.raises(Refused, match="history was rewritten"):
            witness.cosign(key, signed(ledger, 16, bytes(32)), "f", shown(ledger), 1005)
        assert key.with_name(f"w.key.{ledger.id.hex()}.seen").read_bytes() == seen


def test_what_the_log_did_not_sign_no_witness_signs(made: Builder, key: Path) -> None:
    with Ledger(made.path) as ledger:
        point = checkpoint.decode(signed(ledger, 3))[0]
        forged = checkpoint.sign(point, key_of("forger"), point.origin)
        with pytest.raises(Refused, match="nobody"):
            witness.cosign(key, forged, "f", shown(ledger), 1)
        with pytest.raises(InputError, match="neither a checkpoint nor a proof"):
            witness.cosign(key, b"nonsense", "f", NOTHING, 1)
        spoiled = bytearray(signed(ledger, 3))
        spoiled[-10] ^= 1
        with pytest.raises((Refused, InputError)):
            witness.cosign(key, bytes(spoiled), "f", NOTHING, 1)
        with pytest.raises(Refused, match="not a checkpoint of the ledger"):
            witness.cosign(key, signed(ledger, 3, bytes(32)), "f", shown(ledger), 1)
        assert not list(key.parent.glob("*.seen"))
        made.checkpoint(by_coordinator=True)
        note = checkpoint.read(ledger.folder)
        assert note is not None
        with pytest.raises(Refused, match="a node that nothing here vouches for"):
            witness.cosign(key, note, "f", NOTHING, 1)
        may = checkpoint.signers(e.view for e in ledger.epochs)
        assert witness.cosign(key, note, "f", shown(ledger), 2, may).point.size == 15


def test_the_checkpoints_in_proofs_are_signed_too(made: Builder, key: Path) -> None:
    with Ledger(made.path) as ledger:
        made.checkpoint(by_coordinator=True)
        note = checkpoint.read(ledger.folder)
        assert note is not None
        both = making.prove_consistency(ledger, signed(ledger, 3), note)
        witness.cosign(key, signed(ledger, 3), "f", NOTHING, 1)
        done = witness.cosign(
            key, both, "c", NOTHING, 2
        )  # the view records in it prove the node, and it is the evidence
        assert done.before is not None and done.before.size == 3
        asked = policy.of([witness.load_key(key).verifier.text], 1)
        assert checking.check(done.data, "c", policy=asked).ok and not checking.check(both, "c", policy=asked).ok
        id_ = next(iter(ledger.blocks())).records.tobytes()
        proof = making.prove(ledger, _first_id(id_), note)
        done = witness.cosign(key, proof, "p", NOTHING, 3)
        verdict = checking.check(done.data, "p", policy=asked)
        assert verdict.ok and verdict.witnesses == {"w.example": 3}


def _first_id(records: bytes) -> str:
    return hashlib.sha256(records[: int.from_bytes(records[8:12], "little")]).hexdigest()


def test_an_older_checkpoint_that_is_given_must_fit_as_well(made: Builder, key: Path) -> None:
    with Ledger(made.path) as ledger:
        tree = LogTree(ledger)
        rewritten = witness.evidence(signed(ledger, 2, bytes(32)), "o", tree)
        with pytest.raises(Refused, match="was given as the older one"):
            witness.cosign(key, signed(ledger, 5), "f", rewritten, 1)
        assert witness.cosign(key, signed(ledger, 5), "f", witness.evidence(signed(ledger, 2), "o", tree), 1)
        theirs = checkpoint.sign(Checkpoint(key_of(1).public, 2, bytes(32)), key_of(1))
        with pytest.raises(Refused, match="of another ledger"):
            witness.cosign(key, signed(ledger, 6), "f", witness.evidence(theirs, "o", tree), 1)


def test_a_memory_that_was_tampered_with(made: Builder, key: Path) -> None:
    with Ledger(made.path) as ledger:
        witness.cosign(key, signed(ledger, 5), "f", NOTHING, 1)
        kept = key.with_name(f"w.key.{ledger.id.hex()}.seen")
        note = kept.read_bytes()
        for wrong in (b"", note[:40], note.replace(b"\n5\n", b"\n2\n"), signed(ledger, 2)):
            kept.write_bytes(wrong)
            with pytest.raises(InputError, match="restore it from a copy"):
                witness.cosign(key, signed(ledger, 8), "f", shown(ledger), 2)
        kept.write_bytes(note)
        assert witness.cosign(key, signed(ledger, 8), "f", shown(ledger), 2)


def test_two_at_once_do_not_sign_two_histories(made: Builder, key: Path) -> None:
    """Of two checkpoints of one size, only one is ever signed, however many ask at once."""
    with Ledger(made.path) as ledger:
        offers = [signed(ledger, 4), signed(ledger, 4, bytes(32))] * 8
        lines: list[bytes] = []
        start = threading.Barrier(len(offers))

        def ask(note: bytes) -> None:
            start.wait()
            try:
                done = witness.cosign(key, note, "f", NOTHING, 1)
                lines.append(done.point.root)
            except Refused:
                pass

        threads = [threading.Thread(target=ask, args=(note,)) for note in offers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lines) == 8 and len(set(lines)) == 1


# --- a checkpoint kept elsewhere


def test_since(made: Builder) -> None:
    with Ledger(made.path) as ledger:
        for size in (0, 1, 7, 15):
            assert since(ledger, signed(ledger, size)) == []
        made.checkpoint(by_coordinator=True)
        note = checkpoint.read(ledger.folder)
        assert note is not None and since(ledger, note) == []
        for wrong, said in (
            (signed(ledger, 7, bytes(32)), "history was rewritten"),
            (signed(ledger, 0, bytes(32)), "history was rewritten"),
            (signed(ledger, 16, bytes(32)), "the ledger was rolled back"),
            (checkpoint.sign(checkpoint.decode(signed(ledger, 7))[0], key_of(1), "x"), "signed by nobody"),
            (checkpoint.sign(Checkpoint(key_of(1).public, 7, bytes(32)), key_of(1)), "of ledger"),
            (b"nonsense", "not a checkpoint"),
        ):
            (what,) = since(ledger, wrong)
            assert said in what


def test_since_with_witnesses(made: Builder) -> None:
    w = notes.Witness("w", key_of("w"))
    asked = policy.of([w.verifier.text], 1)
    with Ledger(made.path) as ledger:
        point = checkpoint.decode(signed(ledger, 7))[0]
        stranger = checkpoint.sign(point, key_of(1), "x")  # a signature of nobody, but the witness saw it
        line = notes.cosign(point.text, w, 5)
        assert since(ledger, stranger + line, asked) == []
        assert "quorum" in since(ledger, signed(ledger, 7), asked)[0]
        none = policy.read(b"quorum none\n", "p")
        assert "signed by nobody" in since(ledger, stranger + line, none)[0]
        lie = checkpoint.sign(Checkpoint(ledger.id, 7, bytes(32)), LEDGER_KEY)
        lie += notes.cosign(checkpoint.decode(lie)[0].text, w, 5)
        assert "rewritten" in since(ledger, lie, asked)[0]


def test_a_ledger_that_was_rewritten_by_all_its_keys(tmp_path: Path) -> None:
    """The owner of storage and keys writes another history; his own audit is content, the kept checkpoint is not."""
    first = small(tmp_path / "a", views_=1)
    with Ledger(first.path) as ledger:
        kept = signed(ledger, ledger.block_total)
    other = Builder(tmp_path / "b")
    other.begin_view()
    for i in range(5):
        other.commit(batch_of([record(Operation.CREATE, f"x{i}{j}", 10 * i + j) for j in range(10)]))
    with Ledger(other.path) as ledger:
        assert ledger.id == LEDGER_KEY.public and ledger.block_total >= checkpoint.decode(kept)[0].size
        assert "rewritten" in since(ledger, kept)[0]
        with pytest.raises(LedgerError, match="history was rewritten"):
            making.prove_consistency(ledger, kept, signed(ledger, ledger.block_total))


def test_a_consistency_proof_may_not_change(made: Builder) -> None:
    with Ledger(made.path) as ledger:
        made.checkpoint(by_coordinator=True)
        note = checkpoint.read(ledger.folder)
        data = making.prove_consistency(ledger, signed(ledger, 5), note)
        with pytest.raises(UsageError, match="swap them"):
            making.prove_consistency(ledger, signed(ledger, 5), signed(ledger, 3))
    assert checking.check(data, "c").ok
    for at in range(len(data)):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        with contextlib.suppress(InputError):
            assert not checking.check(changed, "c").ok, at
    proof = form.decode(data, "c")
    assert isinstance(proof, form.ConsistencyProof) and proof.views
    request = data.split(b"\n", 2)[2]  # behind the first line and the view records: a request of C2SP tlog-witness
    assert request.startswith(b"old 5\n") and request.endswith(proof.new + b"\n" + proof.old)


def test_a_cosigned_checkpoint_in_the_folder_is_as_good(made: Builder, key: Path) -> None:
    with Ledger(made.path) as ledger:
        done = witness.cosign(key, signed(ledger, 15), "f", NOTHING, 1)
    (made.path / "checkpoint").write_bytes(done.data)
    assert audit(made.path).ok and second_reader.audit(made.path).ok
    for name in ("a+b", "a\tb"):
        line = f"\u2014 {name} AAAAAAAA\n".encode()
        (made.path / "checkpoint").write_bytes(done.data + line)
        assert not audit(made.path).ok and not second_reader.audit(made.path).ok
