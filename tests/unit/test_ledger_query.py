"""Questions to a ledger, checkpoints, and the two commands."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import typer
from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record, small
from typer.testing import CliRunner

from baash.cli.query import query as query_command
from baash.cli.verify import verify as verify_command
from baash.errors import LedgerDamaged, LedgerError, UsageError
from baash.ledger import query
from baash.ledger.lineage import DEPTH, Origin
from baash.ledger.proofs import checkpoint, notes
from baash.ledger.reader import Ledger
from baash.ledger.transactions import Index
from baash.records import Operation, PayloadType, key_issuer, source_issuer


def tx(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("made") / "l").path


def test_the_history_of_an_entity(made: Path) -> None:
    with Ledger(made) as ledger:
        found = query.entity(ledger, "/data/run/0.h5")
        assert [(v.transaction.operation.name, v.version) for v in found.versions] == [
            ("CREATE", 1), ("USE", 1), ("UPDATE", 2), ("RETIRE", 3), ("NOTE", 3), ("CREATE", 4)
        ]  # fmt: skip
        assert (found.exists, found.version, found.total) == (True, 4, 6)
        used, updated, noted = found.versions[1], found.versions[2], found.versions[4]
        assert [name for _, name in used.references] == [b"/data/run/0.h5", b"/data/run/1.h5"]
        assert updated.transaction.signed and updated.transaction.issuer == key_issuer(key_of("issuer").public)
        assert updated.transaction.expected_version == 1
        assert noted.references == [(bytes(range(32)), None)], "a reference that dangles"
        assert query.payload(found.versions[0].transaction) == {"size": 0}
        newest = query.entity(ledger, "/data/run/0.h5", limit=2)
        assert [v.version for v in newest.versions] == [3, 4] and newest.total == 6
        assert not query.entity(ledger, "/data/run/1.h5").exists


def test_names_that_are_not_whole(made: Path) -> None:
    with Ledger(made) as ledger:
        assert query.entity(ledger, "7.h5").entity == b"/data/run/7.h5"
        assert query.entity(ledger, "run/7.h5").entity == b"/data/run/7.h5"
        with pytest.raises(LedgerError, match=r"no entity /data/run/77.h5; close to it: .*/data/run/7.h5"):
            query.entity(ledger, "/data/run/77.h5")
        with pytest.raises(LedgerError, match="--block 0 shows"):
            query.entity(ledger, "????????????????")


def test_a_short_name_that_fits_several(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, n, i) for i, n in enumerate(["a/x", "b/x", "x/y", "é/ü"])]))
    with Ledger(builder.path) as ledger:
        with pytest.raises(LedgerError, match=r"2 entities of .* end with /x"):
            query.entity(ledger, "x")
        assert query.entity(ledger, "y").entity == b"x/y"
        assert query.entity(ledger, "ü").entity == "é/ü".encode()


def test_transactions_by_id(made: Path) -> None:
    with Ledger(made) as ledger:
        index = Index(ledger)
        for block in ledger.blocks():
            for one in query.block(ledger, block.height)[1].transactions:
                assert index.numbers(one.id.hex()) == index.numbers(one.id.hex()[:8]) == [one.number]
                assert index.numbers(one.id.hex()[:31] + "0") in ([], [one.number])
                assert query.by_id(ledger, one.id.hex()[:12].upper()).raw == one.raw
        with pytest.raises(LedgerError, match="no committed transaction"):
            query.by_id(ledger, "00" * 32)
        for wrong in ("1234567", "xyz45678", "0" * 65):
            with pytest.raises(UsageError, match="8 to 64 hex digits"):
                query.by_id(ledger, wrong)


def test_transactions_of_an_issuer(made: Path) -> None:
    with Ledger(made) as ledger:
        signer = key_of("issuer").public
        for who in (f"key:{signer.hex()}", key_issuer(signer).hex()):
            found = query.by_issuer(ledger, who)
            assert (found.total, len(found.transactions)) == (5, 5)
            assert all(t.signed for t in found.transactions)
        found = query.by_issuer(ledger, "source:test", limit=3)
        assert (found.total, [t.sequence for t in found.transactions]) == (41, [402, 500, 501])
        assert query.by_issuer(ledger, source_issuer("test").hex()).total == 41
        assert query.by_issuer(ledger, "source:nobody").total == 0
        for wrong in ("test", "12" * 15, "key:12", "source"):
            with pytest.raises(UsageError, match="is not an issuer"):
                query.by_issuer(ledger, wrong)


def lines(origins: list[Origin], depth: int = 0) -> list[str]:
    found = []
    for one in origins:
        name = one.transaction.entity.decode() if one.transaction else "?"
        found.append("  " * depth + name + (f" ({one.note})" if one.note else ""))
        found += lines(one.made_from, depth + 1)
    return found


def lineage_of(tmp_path: Path, records: list[bytes], name: str) -> list[str]:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(records))
    with Ledger(builder.path) as ledger:
        return lines(query.entity(ledger, name, with_lineage=True).made_from)


def test_what_an_entity_was_made_from(tmp_path: Path) -> None:
    raw = record(Operation.CREATE, "raw", 0)
    code = record(Operation.CREATE, "code", 1)
    mesh = record(Operation.CREATE, "mesh", 2, references=[tx(raw), tx(code)])
    use = record(Operation.USE, "mesh", 3)
    job = record(Operation.CREATE, "job", 4, references=[tx(code), bytes(32)])
    first = record(Operation.CREATE, "result", 5, references=[tx(job), tx(use)])
    second = record(Operation.UPDATE, "result", 6, references=[tx(first), tx(raw)])
    assert lineage_of(tmp_path, [raw, code, mesh, use, job, first, second], "result") == [
        "job",
        "  code",
        "  ? (not in this ledger)",
        "mesh",
        "  raw",
        "  code (shown above)",
        "raw (shown above)",
    ]


def test_lineage_of_a_long_chain(tmp_path: Path) -> None:
    chain = [record(Operation.CREATE, "e0", 0)]
    for i in range(1, 20):
        chain.append(record(Operation.CREATE, f"e{i}", i, references=[tx(chain[-1])]))
    found = lineage_of(tmp_path, chain, "e19")
    assert len(found) == DEPTH and found[-1].strip() == f"e{19 - DEPTH} (not followed beyond {DEPTH} steps)"
    with Ledger(tmp_path / "l") as ledger:
        assert query.entity(ledger, "e19", with_lineage=True).left_out == 1
        for depth, left_out in ((1, 1), (18, 1), (19, 0), (50, 0)):  # at the end of a chain nothing is left out
            history = query.entity(ledger, "e19", with_lineage=True, depth=depth)
            assert (len(lines(history.made_from)), history.left_out) == (min(depth, 19), left_out)


def test_lineage_that_goes_in_circles(tmp_path: Path) -> None:
    """Uses point back at writes that point at uses: entities that were made from each other."""
    a = record(Operation.CREATE, "a", 0)
    b = record(Operation.CREATE, "b", 1, references=[tx(a)])
    used = record(Operation.USE, "b", 2, references=[tx(a)])
    again = record(Operation.UPDATE, "a", 3, references=[tx(used), tx(b), tx(a)])
    assert lineage_of(tmp_path, [a, b, used, again], "a") == ["b", "  a (shown above)"]


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
        with pytest.raises(UsageError, match="exactly one of"):
            runner.invoke(app, ["query", str(made), *wrong], catch_exceptions=False)
