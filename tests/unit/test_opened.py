"""``baash.open``: beside a writer, in bulk, as Arrow tables; and the verbs that look things up."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import typer
from ledgers import Builder, batch_of, record, small
from typer.testing import CliRunner

import baash
from baash.cli.lineage import lineage as lineage_command
from baash.cli.query import query as query_command
from baash.errors import LedgerDamaged, LedgerError, UsageError
from baash.ledger import arrow
from baash.ledger.index.building import build
from baash.ledger.reader import Block
from baash.records import ANY_VERSION, Operation

runner = CliRunner()
app = typer.Typer(pretty_exceptions_enable=False)
app.command("query")(query_command)
app.command("lineage")(lineage_command)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("made") / "l").path


def test_what_is_not_a_ledger(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(LedgerError, match=r"not a ledger|no ledger at"):
            baash.open(path)


def test_it_says_what_it_is(made: Path) -> None:
    with baash.open(made) as ledger:
        assert repr(ledger) == f"<ledger {made}: 15 blocks, 46 transactions>"
        assert ledger.id.hex() and ledger.path == made and ledger.notes == []
        assert ledger.verify().ok


def test_beside_a_writer(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, "a", 0)]))
    with baash.open(builder.path) as ledger:
        assert len(ledger) == 1 and ledger.history("a").total == 1
        builder.commit(batch_of([record(Operation.UPDATE, "a", i) for i in range(1, 6)]))
        assert len(ledger) == 1 and ledger.history("a").total == 1, "a snapshot until it is told to look"
        assert ledger.refresh() == 2
        assert len(ledger) == 3 and ledger.history("a").total == 6
        builder.begin_view()
        builder.commit(batch_of([record(Operation.RETIRE, "a", 9)]))
        assert ledger.refresh() == 1 and not ledger.history("a").exists
        coming = ledger.follow(2)
        assert [next(coming).height for _ in range(2)] == [2, 3]
        builder.commit(batch_of([record(Operation.CREATE, "b", 10)]))
        assert next(coming).height == 4
    builder.close()


@pytest.mark.parametrize("indexed", [False, True])
def test_blocks_are_the_same_however_they_are_asked_for(tmp_path: Path, indexed: bool) -> None:
    builder = small(tmp_path / "l")
    if indexed:
        build(builder.path)

    def said(block: Block) -> tuple[int, bytes, bytes]:
        return block.height, block.hash, block.records.tobytes()

    with baash.open(builder.path) as ledger:
        whole = [said(block) for block in ledger[:]]
        assert [said(ledger[h]) for h in range(len(ledger))] == whole
        for order in ([7, 8, 9, 3, 4, 14, 0, 1, 2, 3, 4, 5, 6, 2], [*range(14, -1, -1)]):
            assert [said(ledger[h]) for h in order] == [whole[h] for h in order]
        assert said(ledger[-1]) == said(ledger.block(14)) == whole[-1]
        with pytest.raises(LedgerError, match="no block 15: the newest is 14"):
            ledger.block(15)
        with pytest.raises(IndexError):
            ledger[15]


def test_a_damaged_block_does_not_cost_those_before_it(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, f"a{i}", i) for i in range(40)]))
    builder.close()
    build(builder.path)
    with baash.open(builder.path) as ledger:
        last = ledger[-1]
        raw = last.records.tobytes()
    path = builder.folder.segment_path(0, 0)
    where = path.read_bytes().index(raw)
    with open(path, "r+b") as file:
        file.seek(where + 70)
        file.write(b"\xff")
    with baash.open(builder.path) as ledger:
        assert [ledger[h].height for h in range(len(ledger) - 1)] == [*range(len(ledger) - 1)]
        with pytest.raises(LedgerDamaged, match="baash verify"):
            ledger[len(ledger) - 1]


def test_numpy_pieces_hold_what_transactions_do(made: Path) -> None:
    with baash.open(made) as ledger:
        every = list(ledger.transactions())
        for first, last in ((0, None), (3, 9), (14, 100), (5, 5)):
            found = [p.transaction(i) for p in ledger.to_numpy(first, last) for i in range(len(p.info))]
            assert found == [t for t in every if first <= t.height < (last or 100)]
        piece = next(ledger.to_numpy())
        assert (
            piece.records.dtype == np.uint8
            and len(piece.rows)
            and int(piece.info["total_bytes"].sum()) == len(piece.records)
        )


def test_arrow_tables_hold_what_transactions_do(made: Path) -> None:
    with baash.open(made) as ledger:
        table = ledger.to_arrow()
        every = list(ledger.transactions())
        assert table.num_rows == len(every) and table.column_names == list(arrow.DEFAULT)
        for row, one in zip(table.to_pylist(), every, strict=True):
            assert row["id"] == one.id and row["operation"] == one.operation.name
            assert (row["number"], row["height"], row["index"]) == (one.number, one.height, one.index)
            assert row["entity"].encode() == one.entity and row["payload"] == one.payload
            assert (row["issuer"], row["sequence"], row["signed"]) == (one.issuer, one.sequence, one.signed)
            assert row["references"] == one.references and row["payload_type"] == one.payload_type
            assert row["expected_version"] == (None if one.expected_version == ANY_VERSION else one.expected_version)
        assert table["block_time"].cast(pa.int64()).to_pylist() == [t.time_ns for t in every]
        assert table["issued"].cast(pa.int64()).to_pylist() == [t.issued_ns or None for t in every]
        few = ledger.to_arrow(3, 9, columns=["entity_bytes", "cluster"])
        assert few["entity_bytes"].to_pylist() == [t.entity for t in every if 3 <= t.height < 9]
        assert ledger.to_arrow(4, 4).num_rows == 0
        assert ledger.to_arrow(4, 4).schema == table.schema
        with pytest.raises(UsageError, match="no column 'name': number, height"):
            ledger.to_arrow(columns=["name"])


def test_names_that_are_not_text(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, b"\xff\xfe", 0)]))
    with baash.open(builder.path) as ledger:
        with pytest.raises(LedgerError, match="not UTF-8: ask for the column entity_bytes"):
            ledger.to_arrow()
        assert ledger.to_arrow(columns=["entity_bytes"])["entity_bytes"].to_pylist() == [b"\xff\xfe"]
        assert ledger.history(b"\xff\xfe").total == 1


def test_pyarrow_is_asked_for_by_name(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with baash.open(made) as ledger, pytest.raises(UsageError, match=r"pip install 'baash\[arrow\]'"):
        ledger.to_arrow()


# --- the verbs


def asked(*arguments: object) -> dict[str, object]:
    done = runner.invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    found: dict[str, object] = json.loads(done.stdout)
    assert found["schema_version"] == 1
    return found


def test_query_by_conditions(made: Path) -> None:
    with baash.open(made) as ledger:
        every = list(ledger.transactions())
    uses = asked("query", made, "--operation", "use", "--limit", 0)
    assert uses["total"] == sum(t.operation is Operation.USE for t in every)
    time = sorted({t.time_ns for t in every})[2]
    found = asked("query", made, "--since", time, "--issuer", "source:test", "--limit", 0)["transactions"]
    assert [t["number"] for t in found] == [  # type: ignore[attr-defined]
        t.number for t in every if t.time_ns >= time and not t.signed
    ]
    assert asked("query", made, "--until", "2001-01-01")["total"] == 0
    hash_ = asked("query", made, "--block", 3)["hash"]
    assert asked("query", made, "--block-hash", str(hash_)[:9])["height"] == 3
    stood = asked("query", made, "--entity", "0.h5", "--until", time)
    assert stood["version"] == 1
    for wrong, said in (
        (["--since", "yesterday"], "expected a time such as"),
        (["--operation", "delete"], "is not an operation"),
        (["--block", 1, "--operation", "use"], "say what to look up"),
        (["--follow", "--block", 1], "--follow goes with"),
    ):
        with pytest.raises(UsageError, match=said):
            runner.invoke(app, ["query", str(made), *map(str, wrong)], catch_exceptions=False)


def test_lineage_forms(made: Path) -> None:
    up = asked("lineage", made, "1.h5")
    names = {v["id"]: v["entity"] for v in up["versions"]}  # type: ignore[attr-defined]
    assert (up["direction"], names[up["root"]]) == ("up", "/data/run/1.h5")
    assert [(names[a], names[b]) for a, b in up["made_from"]] == [("/data/run/1.h5", "/data/run/0.h5")]  # type: ignore[attr-defined]
    down = asked("lineage", made, "0.h5", "--down")
    assert {"/data/run/1.h5", "/data/run/4.h5"} <= {v["entity"] for v in down["versions"]}  # type: ignore[attr-defined]
    tree = runner.invoke(app, ["lineage", str(made), "0.h5", "--down"]).stdout
    assert "made from /data/run/0.h5" in tree and "── /data/run/1.h5 (UPDATE" in tree
    assert runner.invoke(app, ["lineage", str(made), "n3"]).exit_code
    dot = runner.invoke(app, ["lineage", str(made), "1.h5", "--format", "dot"]).stdout
    assert dot.startswith("digraph lineage {") and dot.count("wasDerivedFrom") == 1 and dot.endswith("}\n")
    with pytest.raises(UsageError, match="--version goes with --up"):
        runner.invoke(app, ["lineage", str(made), "0.h5", "--down", "--version", "1"], catch_exceptions=False)


def test_names_cannot_break_out_of_dot(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, 'a"]; evil [x="\\\n\x1b', 0)]))
    dot = runner.invoke(app, ["lineage", str(builder.path), 'a"]; evil [x="\\\n\x1b', "--format", "dot"]).stdout
    (line,) = [line for line in dot.splitlines() if "evil" in line]
    assert '\\"]; evil [x=\\"' in line and "\x1b" not in dot


def test_following_a_writer(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, n, i) for i, n in enumerate("ab")]))
    code = "from baash.cli import main; main()"
    command = [sys.executable, "-c", code, "query", str(builder.path), "--entity", "a", "--follow", "--json"]
    following = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # else ignored where the tests run in the background
    )
    try:
        assert following.stdout is not None and following.stderr is not None
        assert json.loads(following.stdout.readline())["operation"] == "CREATE"
        for i in range(2, 5):
            builder.commit(batch_of([record(Operation.UPDATE, "a", i), record(Operation.UPDATE, "b", 100 + i)]))
            found = json.loads(following.stdout.readline())
            assert (found["entity"], found["operation"], found["sequence"]) == ("a", "UPDATE", i)
        for _ in range(30):  # Python may drop an interrupt that comes while an object is torn down
            following.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                following.wait(timeout=2)
                break
        assert following.returncode == 130
        assert "Traceback" not in following.stderr.read()
    finally:
        following.kill()
        following.communicate()


def test_a_moment(made: Path) -> None:
    with baash.open(made) as ledger:
        first = next(ledger.transactions())
        moment = datetime.fromtimestamp(first.time_ns / 1e9 + 1, timezone.utc)
        assert len(ledger.find(until=moment)) == ledger.transaction_total


def test_times_do_not_rest_on_rows_that_no_hash_covers(tmp_path: Path) -> None:
    """first_transaction and count of a block's row: what lies in a time is the index's word, held against the header."""
    builder = small(tmp_path / "l")
    builder.close()
    build(builder.path)
    with baash.open(builder.path) as ledger:
        time = ledger[7].time_ns
        right = ledger.find(since=time, until=time + 1)
        block = ledger[7]
        row, path = block.round.file.layout.data["block_headers"].offset, block.round.file.layout.path
        at = row + (7 - block.round.first_block + int(block.round.locator["first_block"])) * 128
    for offset, size in ((120, 8), (40, 4)):
        for value in (0, 1, 3, (1 << 8 * size) - 1):
            with open(path, "r+b") as file:
                file.seek(at + offset)
                old = file.read(size)
                file.seek(at + offset)
                file.write(value.to_bytes(size, "little"))
            try:
                with baash.open(builder.path) as ledger:
                    assert ledger.find(since=time, until=time + 1) == right
            except LedgerDamaged:
                pass
            with open(path, "r+b") as file:
                file.seek(at + offset)
                file.write(old)


def test_following_over_a_cut(tmp_path: Path) -> None:
    """What a new view cuts off is given again, as what took its place."""
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, "a", 0)]))
    kept, log, slot = tmp_path / "kept", builder.log, builder.slot
    shutil.copytree(builder.path, kept)
    builder.commit(batch_of([record(Operation.CREATE, f"lost{i}", 1 + i) for i in range(9)]))
    with baash.open(builder.path) as ledger:
        coming = ledger.follow(0)
        lost = [next(coming) for _ in range(len(ledger))]
        shutil.copytree(kept, builder.path, dirs_exist_ok=True)  # the last round was not durable, and the power failed
        builder.log, builder.slot = log, slot
        builder.begin_view()
        builder.commit(batch_of([record(Operation.CREATE, f"new{i}", 20 + i) for i in range(30)]))
        found = [next(coming) for _ in range(len(baash.open(builder.path)) - 1)]
        assert [b.height for b in found] == list(range(1, len(found) + 1))
        assert [b.hash for b in found] == [b.hash for b in baash.open(builder.path)][1:]
        assert lost[1].hash != found[0].hash


def test_arguments_that_are_none(made: Path) -> None:
    with baash.open(made) as ledger:
        for wrong in (
            lambda: "zz" * 32 in ledger,
            lambda: ledger.lineage("0.h5", depth=0),
            lambda: ledger.find(issuer=b"xx"),
            lambda: ledger.find(operation=99),  # type: ignore[arg-type]
            lambda: ledger.find(operation="USE", limit=-1),
            lambda: ledger.history("0.h5", limit=-1),
        ):
            with pytest.raises(UsageError):
                wrong()
        with pytest.raises(LedgerError, match="has no transaction 46"):
            ledger.transaction(46)


def test_an_index_that_is_passed_over_is_told(tmp_path: Path) -> None:
    """Whoever looks something up is told, on standard error, and gets the right answer all the same."""
    builder = small(tmp_path / "l")
    builder.checkpoint()
    builder.close()
    build(builder.path)
    (index,) = builder.path.glob("index-*")
    with open(index, "r+b") as file:
        file.write(b"\0" * 64)
    with baash.open(builder.path) as ledger:
        id_ = next(ledger.transactions()).id.hex()
    commands = {
        "query": ["--entity", "0.h5"],
        "lineage": ["1.h5"],
        "prove": [id_, "--output", "-"],
        "check-file": [],
    }
    code = "from baash.cli import main; main()"
    for verb, more in commands.items():
        given = [str(tmp_path), "--ledger", str(builder.path)] if verb == "check-file" else [str(builder.path), *more]
        done = subprocess.run([sys.executable, "-c", code, verb, *given], capture_output=True, timeout=60)
        assert done.stdout and f"note: {index}".encode() in done.stderr, (verb, done)
    with baash.open(builder.path) as ledger:
        assert len(ledger.notes) == 1 and index.name in ledger.notes[0], "told before anything is looked up"
