"""Questions to a ledger, checkpoints, and the two commands."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest
import typer
from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record, small
from typer.testing import CliRunner

import baash
from baash.cli.query import query as query_command
from baash.cli.verify import verify as verify_command
from baash.errors import LedgerDamaged, LedgerError, UsageError
from baash.ledger import query
from baash.ledger.proofs import checkpoint, notes
from baash.records import Operation, PayloadType, key_issuer, source_issuer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("made") / "l").path


def test_the_history_of_an_entity(made: Path) -> None:
    with baash.open(made) as ledger:
        found = ledger.history("/data/run/0.h5")
        assert [(c.transaction.operation.name, c.version) for c in found.changes] == [
            ("CREATE", 1), ("USE", 1), ("UPDATE", 2), ("RETIRE", 3), ("NOTE", 3), ("CREATE", 4)
        ]  # fmt: skip
        assert (found.exists, found.version, found.total) == (True, 4, 6)
        used, updated, noted = found.changes[1], found.changes[2], found.changes[4]
        assert [name for _, name in used.references] == [b"/data/run/0.h5", b"/data/run/1.h5"]
        assert updated.transaction.signed and updated.transaction.issuer == key_issuer(key_of("issuer").public)
        assert updated.transaction.expected_version == 1
        assert noted.references == [(bytes(range(32)), None)], "a reference that dangles"
        assert query.payload(found.changes[0].transaction) == {"size": 0}
        newest = ledger.history(b"/data/run/0.h5", limit=2)
        assert [c.version for c in newest.changes] == [3, 4] and newest.total == 6
        assert not ledger.history("/data/run/1.h5").exists
        assert ledger.newest("/data/run/1.h5") is None
        assert ledger.newest("0.h5") == found.made_by == ledger.version("0.h5", 4)
        assert ledger.version("0.h5", 2) == updated.transaction
        for number in (0, 5):
            with pytest.raises(LedgerError, match=f"has no version {number}: 4 is its newest"):
                ledger.version("0.h5", number)


def test_an_entity_as_it_stood(made: Path) -> None:
    with baash.open(made) as ledger:
        every = ledger.history("/data/run/0.h5").changes
        times = sorted({c.transaction.time_ns for c in every})
        assert len(times) > 2
        for time in times:
            before = [c for c in every if c.transaction.time_ns < time]
            found = ledger.history("/data/run/0.h5", at=time)
            assert [c.transaction for c in found.changes] == [c.transaction for c in before]
            assert (found.total, found.version) == (len(before), before[-1].version if before else 0)
            moment = datetime.fromtimestamp(time // 10**9, timezone.utc)
            if time % 10**9 == 0:
                assert ledger.history("/data/run/0.h5", at=moment) == found
        with pytest.raises(UsageError, match="has no zone"):
            ledger.history("/data/run/0.h5", at=datetime(2025, 1, 1))


def test_an_entity_as_it_stood_by_a_clock_that_went_back(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    for skew_s, operation in (
        (0, Operation.CREATE),
        (7, Operation.UPDATE),
        (-9, Operation.UPDATE),
        (3, Operation.RETIRE),
    ):
        builder.skew_ns = skew_s * 10**9
        builder.begin_view()
        builder.commit(batch_of([record(operation, "a", skew_s + 20)]))
    with baash.open(builder.path) as ledger:
        every = [c.transaction for c in ledger.history("a").changes]
        times = [t.time_ns for t in every]
        assert times != sorted(times)
        for at in sorted({t + d for t in times for d in (0, 1)}):
            late = [t.number for t in every if t.time_ns >= at]
            before = [t for t in every if not late or t.number < late[0]]
            found = ledger.history("a", at=at)
            assert [c.transaction for c in found.changes] == before and found.version == len(before)


def test_names_that_are_not_whole(made: Path) -> None:
    with baash.open(made) as ledger:
        assert ledger.history("7.h5").entity == b"/data/run/7.h5"
        assert ledger.history("run/7.h5").entity == b"/data/run/7.h5"
        with pytest.raises(LedgerError, match=r"no entity /data/run/77.h5; close to it: .*/data/run/7.h5"):
            ledger.history("/data/run/77.h5")
        with pytest.raises(LedgerError, match="--block 0 shows"):
            ledger.history("????????????????")
        with pytest.raises(LedgerError, match="has no entity"):
            ledger.history("")


def test_a_short_name_that_fits_several(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, n, i) for i, n in enumerate(["a/x", "b/x", "x/y", "é/ü"])]))
    with baash.open(builder.path) as ledger:
        with pytest.raises(LedgerError, match=r"several entities of .* end with /x"):
            ledger.history("x")
        assert ledger.history("y").entity == b"x/y"
        assert ledger.history("ü").entity == "é/ü".encode()


def test_transactions_by_id(made: Path) -> None:
    with baash.open(made) as ledger:
        every = list(ledger.transactions())
        assert len(every) == ledger.transaction_total
        for one in every:
            assert ledger.transaction(one.id) == ledger.transaction(one.number) == one
            assert ledger.transaction(one.id.hex()[:12].upper()).raw == one.raw
            assert one.id in ledger and one.id.hex() in ledger
        assert bytes(32) not in ledger
        for unknown in ("00" * 32, bytes(32)):
            with pytest.raises(LedgerError, match="no committed transaction"):
                ledger.transaction(unknown)
        for wrong in ("1234567", "xyz45678", "0" * 65):
            with pytest.raises(UsageError, match="8 to 64 hex digits"):
                ledger.transaction(wrong)


def test_blocks(made: Path) -> None:
    with baash.open(made) as ledger:
        every = list(ledger)
        assert len(ledger) == len(every) and [b.height for b in every] == list(range(len(ledger)))
        assert ledger.head == every[-1].hash == ledger[-1].hash
        assert [b.height for b in ledger[2:7]] == [2, 3, 4, 5, 6] and [b.height for b in ledger[7:2:-2]] == [7, 5, 3]
        for block in every:
            assert ledger.block(block.hash.hex()[:10]).height == ledger.block(block.height).height == block.height
            assert len(block) == len(list(ledger.transactions(block.height, block.height + 1)))
            assert block in ledger
        assert [b.row["parent"].tobytes() for b in every[1:]] == [b.hash for b in every[:-1]]
        for wrong in (len(ledger), -len(ledger) - 1):
            with pytest.raises(IndexError):
                ledger[wrong]
        with pytest.raises(LedgerError, match=r"no block of .* has a hash"):
            ledger.block("00" * 16)


def test_what_fits_several_conditions(made: Path) -> None:
    signer = key_of("issuer").public
    with baash.open(made) as ledger:
        every = list(ledger.transactions())
        for who in (f"key:{signer.hex()}", key_issuer(signer).hex(), key_issuer(signer)):
            found = ledger.find(issuer=who)
            assert len(found) == 5 and all(t.signed for t in found)
        assert [t.sequence for t in ledger.find(issuer="source:test", limit=3)] == [402, 500, 501]
        assert len(ledger.find(issuer=source_issuer("test").hex())) == 41
        assert ledger.find(issuer="source:nobody") == []
        for wrong in ("test", "12" * 15, "key:12", "source"):
            with pytest.raises(UsageError, match="is not an issuer"):
                ledger.find(issuer=wrong)
        with pytest.raises(UsageError, match="is not an operation: CREATE, UPDATE"):
            ledger.find(operation="delete")
        with pytest.raises(UsageError, match="say what to look for"):
            ledger.find()
        times = sorted({t.time_ns for t in every})
        for since, until in ((None, times[1]), (times[1], None), (times[0], times[-1]), (times[-1] + 1, None)):
            for operation in (None, Operation.USE, Operation.CREATE):
                for name in (None, "/data/run/1.h5"):
                    if since is until is operation is name is None:
                        continue
                    wanted = query.Wanted(name.encode() if name else None, None, operation, since, until)
                    right = [t for t in every if wanted.fits(t)]
                    asked = {"entity": name, "operation": operation, "since": since, "until": until}
                    assert ledger.find(**asked) == right  # type: ignore[arg-type]
                    assert ledger.find(**asked, limit=2) == right[-2:]  # type: ignore[arg-type]


def test_payloads_for_people(tmp_path: Path) -> None:
    def shown(payload: bytes, kind: PayloadType, operation: Operation = Operation.NOTE) -> object:
        from baash.ledger.transactions import Transaction

        return query.payload(Transaction(record(operation, "a", 0, payload=payload, payload_type=kind), 0, 0, 0, 0))

    assert shown(b"", PayloadType.BYTES) is None
    assert shown(b"text", PayloadType.BYTES) == "text"
    assert shown(b"\0\1\2", PayloadType.BYTES) == {"bytes": 3, "begins_hex": "000102"}
    assert shown(b'{"a":[1]}', PayloadType.JSON) == {"a": [1]}
    assert shown(b"{no json", PayloadType.JSON) == "{no json"
    assert shown(bytes(100), PayloadType.YCSB, Operation.CREATE) == {"ycsb_fields": "all", "bytes": 100}
    assert shown(b"\3\0\0\0" + bytes(10), PayloadType.YCSB, Operation.UPDATE) == {"ycsb_field": 3, "bytes": 10}


# --- checkpoints


def test_a_checkpoint_is_a_signed_note() -> None:
    """The form of C2SP's signed-note and tlog-checkpoint, spelled out."""
    one = checkpoint.Checkpoint(LEDGER_KEY.public, 5, bytes(32))
    note = checkpoint.sign(one, LEDGER_KEY)
    name = f"baash/{LEDGER_KEY.public.hex()}"
    text, _, tail = note.decode().partition("\n\n")
    assert text == f"{name}\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    assert tail.startswith(f"— {name} ") and tail.endswith("\n")
    assert checkpoint.verify(note, [(name, LEDGER_KEY.public)]) == (one, [name])
    assert checkpoint.verify(note, []) == (one, []), "unknown signers are skipped"
    other = key_of("node")
    signed = checkpoint.sign(one, other, checkpoint.node_name(one.ledger, 3, 7))
    assert checkpoint.verify(signed, [(f"{name}/view/3/node/7", other.public)])[1] == [f"{name}/view/3/node/7"]


def test_key_hash_of_the_signed_note_specification() -> None:
    """The example key of https://c2sp.org/signed-note#encoding-signatures: name, algorithm 1, public key."""
    public = bytes.fromhex("00" * 32)
    assert notes.key_hash("example.com", public) == hashlib.sha256(b"example.com\n\x01" + public).digest()[:4]


def test_checkpoints_that_are_none() -> None:
    note = checkpoint.sign(checkpoint.Checkpoint(LEDGER_KEY.public, 5, bytes(32)), LEDGER_KEY)
    signers = [(f"baash/{LEDGER_KEY.public.hex()}", LEDGER_KEY.public)]
    for wrong in (b"", note[:-1], note.replace(b"\n5\n", b"\n05\n"), note.replace(b"\n5\n", b"\n-5\n"), b"x" + note,
                  note.replace(b"\n\n", b"\nmore\n\n"), note.replace("—".encode(), b"-"), b"\xff" + note):  # fmt: skip
        with pytest.raises(LedgerDamaged, match="not a checkpoint"):
            checkpoint.verify(wrong, signers)
    with pytest.raises(LedgerDamaged, match="does not verify"):
        checkpoint.verify(note.replace(b"\n5\n", b"\n6\n"), signers)


def test_publishing_replaces_at_once(tmp_path: Path) -> None:
    builder = small(tmp_path / "l", views_=1)
    signers = [(checkpoint.origin(LEDGER_KEY.public), LEDGER_KEY.public)]
    assert checkpoint.load(builder.folder, signers) is None
    for size in (1, 2):
        checkpoint.publish(builder.folder, checkpoint.Checkpoint(LEDGER_KEY.public, size, bytes(32)), LEDGER_KEY)
        found = checkpoint.load(builder.folder, signers)
        assert found is not None and found.size == size
    with pytest.raises(LedgerError, match="signed by nobody"):
        checkpoint.load(builder.folder, [])
    assert not list(builder.path.glob("*.tmp"))


# --- the commands


app = typer.Typer(pretty_exceptions_enable=False)
app.command("verify")(verify_command)
app.command("query")(query_command)
runner = CliRunner()


def asked(*arguments: object) -> dict[str, object]:
    done = runner.invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    found: dict[str, object] = json.loads(done.stdout)
    assert found["schema_version"] == 1
    return found


def test_verify_for_machines(made: Path) -> None:
    found = asked("verify", made)
    assert found["ok"] and found["ledger_id"] == LEDGER_KEY.public.hex() and found["problems"] == []
    assert {"blocks", "transactions", "certificates", "signatures", "views", "head", "notes"} <= found.keys()


def test_verify_for_people(tmp_path: Path) -> None:
    builder = small(tmp_path / "l")
    done = runner.invoke(app, ["verify", str(builder.path)])
    assert done.exit_code == 0 and "all is as it was committed" in done.stdout and "note: " in done.stdout
    assert runner.invoke(app, ["verify", str(builder.path), "--ledger-id", "00" * 32]).exit_code == 1
    with open(builder.path / "view-000000", "ab") as file:
        file.write(b"\n")
    done = runner.invoke(app, ["verify", str(builder.path)])
    assert done.exit_code == 1 and "PROBLEM: view-000000: the view record is not in its one legal form" in done.stdout
    first = asked("verify", builder.path)["problems"][0]  # type: ignore[index]
    assert (first["segment"], first["height"], first["index"]) == ("view-000000", None, None)
    assert first["what"] == "the view record is not in its one legal form"
    with pytest.raises(UsageError, match="64 hex digits"):
        runner.invoke(app, ["verify", str(builder.path), "--ledger-id", "12"], catch_exceptions=False)


def test_query_for_machines(made: Path) -> None:
    entity = asked("query", made, "--entity", "1.h5")
    assert entity["entity"] == "/data/run/1.h5" and entity["version"] == 3 and entity["exists"] is False
    assert [o["entity"] for o in entity["made_from"]] == ["/data/run/0.h5"]  # type: ignore[attr-defined,index]
    assert "made_from" not in asked("query", made, "--entity", "1.h5", "--no-lineage")
    block = asked("query", made, "--block", 4)
    assert block["height"] == 4 and len(block["transactions"]) == block["count"]  # type: ignore[arg-type]
    first = block["transactions"][0]  # type: ignore[index]
    assert asked("query", made, "--tx", first["id"])["transactions"] == [first]
    issuer = asked("query", made, "--issuer", "source:test", "--limit", 2)
    assert issuer["total"] == 41 and len(issuer["transactions"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--entity", "1.h5"],
            ["/data/run/1.h5: retired, at version 3", "was made from", "└── /data/run/0.h5 (CREATE"],
        ),
        (["--entity", "0.h5", "--limit", "1"], ["/data/run/0.h5: version 4", "5 earlier transactions not shown"]),
        (["--block", "4"], ["height             4", "USE  2023-11-14T22:13:20Z"]),
        (["--issuer", "source:test", "--limit", "1"], ["41 transactions, the newest 1"]),
    ],
)
def test_query_for_people(made: Path, arguments: list[str], expected: list[str]) -> None:
    done = runner.invoke(app, ["query", str(made), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    for text in expected:
        assert text in done.stdout


def test_a_query_asks_one_thing(made: Path) -> None:
    for wrong in ([], ["--block", "0", "--tx", "00000000"]):
        with pytest.raises(UsageError, match="say what to look up: one of"):
            runner.invoke(app, ["query", str(made), *wrong], catch_exceptions=False)
