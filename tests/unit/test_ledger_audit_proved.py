"""What is still proved behind damage: a byte changed in each kind of place, and exactly the expected blocks are missing.

Beside what is expected stands a second computation of the definition in ``docs/audit.md``: a fixed point over sets, with hashlib.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from ledgers import Builder, batch_of, record
from reader import second_reader

from baash import batch as batches
from baash import keys
from baash.cli.verify import verify
from baash.ledger import counting
from baash.ledger.audit import Report, audit
from baash.ledger.audit import views as audit_views
from baash.ledger.layout import layout
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.protocol import view as views
from baash.records import BLOCK_HEADER, BLOCK_ROW, COMMIT_RECORD, Operation, Reason

ROUNDS, ROUND_BLOCKS = 5, 4  # in each of two views
TOTAL = 2 * ROUNDS * ROUND_BLOCKS


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "DAMAGE_RETRY_S", 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    builder = Builder(tmp_path_factory.mktemp("made") / "l", clusters=1)
    number = itertools.count()
    for _ in range(2):
        builder.begin_view(clusters=1)
        for _ in range(ROUNDS):
            some = [next(number) for _ in range(4 * ROUND_BLOCKS)]
            builder.commit(batch_of([record(Operation.CREATE, f"e{i}", i, payload=bytes(24)) for i in some]))
    builder.close()
    assert builder.log.block_total == TOTAL
    return builder


@pytest.fixture
def copy(made: Builder, tmp_path: Path) -> Path:
    shutil.copytree(made.path, tmp_path / "l")
    return tmp_path / "l"


# --- the second computation


@dataclass(frozen=True)
class Header:
    hash: bytes
    parent: bytes
    good: bool  # form, place and records


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tree(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else leaf(b"")
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return leaf(b"\1" + tree(leaves[:middle]) + tree(leaves[middle:]))


def header_of(round: Round, row: np.ndarray, height: int) -> Header:
    raw, one = row.tobytes(), row[0]
    form = raw[:4] == b"\0\4\1\0" and int(one["height"]) == height and int(one["view"]) == round.view.view
    try:
        found, reason, _ = batches.scan(round.records(row))
    except Exception:
        return Header(leaf(raw[:112]), raw[80:112], False)
    root = tree([leaf(r.tobytes()) for r in np.split(found.records, np.cumsum(found.info["total_bytes"])[:-1])])
    content = leaf(b"\0\3\1\0" + raw[4:8] + raw[40:48] + root)
    good = form and reason is Reason.NONE and len(found) == int(one["count"]) and content == raw[48:80]
    return Header(leaf(raw[:112]), raw[80:112], good)


def is_sound(round: Round, vouched: set[int]) -> bool:
    signed = round.raw[: COMMIT_RECORD.itemsize].tobytes()
    coordinators = sorted(round.view.coordinators, key=lambda n: n.node)
    return round.view.view in vouched and all(
        int(row["node"]) == node.node and keys.verify(node.key, keys.Context.COMMIT, signed, row["signature"].tobytes())
        for row, node in zip(round.signatures, coordinators, strict=True)
    )


def second(path: Path) -> set[int]:
    """The heights of the blocks that are proved."""
    headers: dict[int, Header] = {}
    heads: list[tuple[int, bytes, bytes]] = []  # of sound records: blocks in all, head, log root
    stated: dict[int, bytes] = {}  # what a commit record, sound or not, says of the last block of its round
    with Ledger(path, report=lambda *_: None) as ledger:
        vouched: set[int] = set()
        for epoch in ledger.epochs:
            by = views.vouched(epoch.view, epoch.signatures, epoch.predecessor)
            if by == "ledger" or (by == "nodes" and epoch.predecessor and epoch.predecessor.view in vouched):
                vouched.add(epoch.view.view)
        for round in ledger.rounds:
            rows, total = round.headers(), int(round.record["block_total"])
            for i in range(len(rows)):
                headers[round.first_block + i] = header_of(round, rows[i : i + 1], round.first_block + i)
            stated[total - 1] = round.record["head"].tobytes()
            if is_sound(round, vouched):
                heads.append((total, round.record["head"].tobytes(), round.record["log_root"].tobytes()))
    fixed = {total - 1 for total, head, _ in heads if total - 1 in headers and headers[total - 1].hash == head}
    for total, _, root in heads:
        if all(h in headers for h in range(total)):
            fixed |= leaves_with(root, headers, stated, total)
    for height in range(max(headers), 0, -1):
        if height in fixed and height - 1 in headers and headers[height].parent == headers[height - 1].hash:
            fixed.add(height - 1)
    return {h for h in fixed if headers[h].good}


def leaves_with(root: bytes, headers: dict[int, Header], stated: dict[int, bytes], total: int) -> set[int]:
    """The blocks whose own hashes are leaves of a tree with this root, whichever way it can be put together."""
    choices = []
    for height in range(total):
        said = stated[height] if height in stated else headers[height + 1].parent
        choices.append([headers[height].hash] if said == headers[height].hash else [headers[height].hash, said])
    for leaves in itertools.product(*choices):
        if tree(list(leaves)) == root:
            return {h for h in range(total) if leaves[h] == headers[h].hash}
    return set()


# --- damage


def flip(path: Path, data_set: str, offset: int, bit: int = 1) -> None:
    with open(path, "r+b", buffering=0) as file:
        place = layout(path).data[data_set].offset + offset
        os.pwrite(file.fileno(), bytes([os.pread(file.fileno(), 1, place)[0] ^ bit]), place)


def reseal(path: Path, slot: int) -> None:
    """Make the checksum of a slot hold again, as anybody can."""
    place = layout(path)
    at = place.data["commit_records"].offset + slot * place.slot_bytes
    with open(path, "r+b", buffering=0) as file:
        raw = os.pread(file.fileno(), place.slot_bytes - 32, at)
        os.pwrite(file.fileno(), hashlib.sha256(raw).digest(), at + len(raw))


def proved(path: Path) -> tuple[set[int], Report]:
    """Which blocks the audit lists, after the second computation agreed."""
    report = audit(path)
    ranges = report.proved.ranges
    found = {h for a, b in ranges for h in range(a, b + 1)}
    assert ranges == sorted(ranges) and all(a > b + 1 for (_, b), (a, _) in itertools.pairwise(ranges))
    assert found == second(path), (sorted(found), sorted(second(path)))
    assert (report.proved.blocks, report.proved.range_count) == (len(found), len(ranges))
    assert report.proved.transactions == 4 * len(found)
    return found, report


ALL = set(range(TOTAL))


def segment(path: Path, height: int) -> Path:
    return path / f"segment-{height // (TOTAL // 2):06d}-0000.h5"


def test_a_sound_ledger_is_proved_whole(copy: Path) -> None:
    found, report = proved(copy)
    assert found == ALL and report.ok and report.proved.ranges == [(0, TOTAL - 1)]
    assert (report.proved.block_total, report.proved.transaction_total) == (TOTAL, 4 * TOTAL)
    assert report.proved.rules_until == TOTAL


@pytest.mark.parametrize("height", [0, 1, 7, 8, 19, 20, 26, TOTAL - 1])
def test_records(copy: Path, height: int) -> None:
    with Ledger(copy) as ledger:
        place = int(ledger.block(height).row["records_offset"])
    for offset in (0, 5, 70, 90, 200):
        flip(segment(copy, height), "records", place + offset)
        found, report = proved(copy)
        assert not report.ok and found == ALL - {height}
        assert report.proved.rules_until == height // ROUND_BLOCKS * ROUND_BLOCKS
        flip(segment(copy, height), "records", place + offset)


@pytest.mark.parametrize("height", [0, 3, 5, 19, 20, 22, TOTAL - 1])
def test_headers(copy: Path, height: int) -> None:
    """A damaged header is lost, alone: the next one says what its hash was."""
    at = height % (TOTAL // 2) * BLOCK_ROW.itemsize
    for offset in range(0, BLOCK_HEADER.itemsize, 7):
        flip(segment(copy, height), "block_headers", at + offset, 1 << offset % 8)
        found, report = proved(copy)
        assert not report.ok and found == ALL - {height}, offset
        flip(segment(copy, height), "block_headers", at + offset, 1 << offset % 8)
    flip(segment(copy, height), "block_headers", at + 121)  # first_transaction, which nobody hashed
    found, report = proved(copy)
    assert not report.ok and found == ALL


def test_two_headers_in_a_row(copy: Path) -> None:
    for height in (9, 10):
        flip(segment(copy, height), "block_headers", height * BLOCK_ROW.itemsize + 33)
    assert proved(copy)[0] == ALL - {9, 10}


def test_headers_whose_hashes_nobody_says_any_more(copy: Path) -> None:
    """The log is lost there, and parents prove from the ends: up to the round before, and behind the damage."""
    flip(segment(copy, 9), "block_headers", 9 * BLOCK_ROW.itemsize + 33)
    flip(segment(copy, 10), "block_headers", 10 * BLOCK_ROW.itemsize + 90)  # its parent
    found, report = proved(copy)
    assert found == ALL - {8, 9, 10}
    assert any("the log root is not compared from block 8 on" in n for n in report.notes)


@pytest.mark.parametrize("data_set", ["certificates", "rejections"])
def test_what_no_block_needs(made: Builder, copy: Path, data_set: str) -> None:
    """Votes and bodies are problems; the blocks are what coordinators signed all the same."""
    writes = [w for w in made.writes if w.data_set == data_set]
    assert (data_set == "rejections") == (not writes)
    for write in writes:
        for offset in (0, 3, 9, 40, len(write.data) - 1):
            path = made.folder.segment_path(write.view, write.segment).name
            flip(copy / path, data_set, write.offset + offset)
            found, report = proved(copy)
            assert not report.ok and found == ALL
            flip(copy / path, data_set, write.offset + offset)


def test_a_damaged_slot_loses_its_round(copy: Path) -> None:
    path, slot = copy / "segment-000000-0000.h5", 2
    flip(path, "commit_records", slot * layout(path).slot_bytes + 130)
    found, report = proved(copy)
    assert not report.ok and found == ALL - set(range(8, 12))


@pytest.mark.parametrize(("view", "slot"), [(0, 0), (0, 2), (1, 3), (1, 4)])
def test_a_signature_that_does_not_hold(copy: Path, view: int, slot: int) -> None:
    """Later records vouch for the round; of the newest, nobody does."""
    path = copy / f"segment-{view:06d}-0000.h5"
    flip(path, "commit_records", slot * layout(path).slot_bytes + 340)
    reseal(path, slot)
    found, report = proved(copy)
    newest = set(range(TOTAL - ROUND_BLOCKS, TOTAL))
    assert not report.ok and found == (ALL - newest if (view, slot) == (1, 4) else ALL)


def test_a_view_that_nobody_vouches_for(copy: Path) -> None:
    """Of the newest: then its own blocks hang in the air. Of one before: the next view, by the ledger key, holds all."""
    for view, expected in ((1, set(range(TOTAL // 2))), (0, ALL)):
        path = copy / f"view-{view:06d}"
        text = path.read_bytes()
        path.write_bytes(text.replace(b'"host": "host', b'"host": "tsoh', 1))
        assert path.read_bytes() != text
        found, report = proved(copy)
        assert not report.ok and found == expected, view
        path.write_bytes(text)


def test_an_id_from_elsewhere_vouches_for_nothing_here(copy: Path) -> None:
    report = audit(copy, bytes(32))
    assert not report.ok and report.proved.ranges == []


def test_the_second_reader_agrees_on_blocks(copy: Path) -> None:
    assert len(second_reader.audit(copy).blocks) == len(proved(copy)[0])


# --- what a reader of the report sees


def test_the_report_says_so(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(copy) as ledger:
        place = int(ledger.block(6).row["records_offset"])
    flip(segment(copy, 6), "records", place + 5)
    for as_json in (False, True):
        with pytest.raises(typer.Exit) as left:
            verify(copy, as_json=as_json, ledger_id=None, ranks=None, debug=False)
        assert left.value.exit_code == 1
        said = capsys.readouterr().out
        if as_json:
            assert json.loads(said)["proved"] == {
                "blocks": TOTAL - 1,
                "transactions": 4 * (TOTAL - 1),
                "block_total": TOTAL,
                "transaction_total": 4 * TOTAL,
                "ranges": [[0, 5], [7, TOTAL - 1]],
                "range_count": 2,
                "rules_until": 4,
            }
        else:
            assert (
                f"provably as committed: {TOTAL - 1} of {TOTAL} blocks, {4 * TOTAL - 4} of {4 * TOTAL} transactions"
                in said
            )
            assert f"  blocks 0 to 5, 7 to {TOTAL - 1}\n" in said
            assert "rules could be replayed for the 4 blocks before block 4 only" in said


def test_nothing_is_said_of_what_is_well(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(copy, as_json=False, ledger_id=None, ranks=None, debug=False)
    assert "provably" not in capsys.readouterr().out


# --- beside a writer


def test_what_was_committed_when_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view(clusters=1)
    numbers = itertools.count()

    def commit() -> None:
        builder.commit(batch_of([record(Operation.CREATE, f"e{i}", i) for i in itertools.islice(numbers, 8)]))
        builder.checkpoint()

    commit()
    read = audit_views.read_checkpoint

    def late(*arguments: Any) -> Any:
        commit()
        return read(*arguments)

    monkeypatch.setattr(audit_views, "read_checkpoint", late)
    report = audit(builder.path, progress=lambda done, total: commit())
    assert report.ok and (report.blocks, report.transactions, report.rounds) == (2, 8, 1)
    assert any("written since the audit began" in n for n in report.notes)
    assert report.proved.ranges == [(0, 1)] and report.proved.block_total == 2
    monkeypatch.undo()
    report = audit(builder.path)
    assert report.ok and (report.blocks, report.head) == (6, builder.log.head)
    builder.close()
