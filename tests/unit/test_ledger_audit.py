"""The audit: clean ledgers are clean, every changed byte is found and placed, forgeries with good signatures too.

After each change the second reader (``tests/reader``), written from the format's page alone, must agree.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record, rejection, small
from reader import second_reader

from baash.keys import Context
from baash.ledger import counting
from baash.ledger.audit import Report, audit
from baash.ledger.layout import layout
from baash.protocol import certificate, plan, quorum, view_record, windows
from baash.protocol.view import Parameters
from baash.records import BLOCK_ROW, COMMIT_RECORD, VOTE, ZERO_HASH, Answer, Decider, Operation, Reason

# 1 tries every byte (34,147 at the time of writing: all found; some minutes)
STRIDE = int(os.environ.get("BAASH_FLIP_STRIDE", "97"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "DAMAGE_RETRY_S", 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    builder = small(tmp_path_factory.mktemp("made") / "l")
    builder.checkpoint()
    return builder


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    yield builder
    builder.close()


def both(path: Path) -> Report:
    """The audit's report, after the second reader agreed with it."""
    report, second = audit(path), second_reader.audit(path)
    assert report.ok == second.ok, (report.problems, second.problems)
    if report.ok:
        assert (report.blocks, report.transactions) == (len(second.blocks), len(second.transactions))
        assert (report.rejections, report.certificates) == (second.rejections, second.certificates)
        assert report.head == (second.blocks[-1] if second.blocks else ZERO_HASH)
    return report


def bad(path: Path, what: str) -> Report:
    report = both(path)
    assert any(what in p.what for p in report.problems), report.problems
    assert not any("cannot be examined" in p.what for p in report.problems), report.problems
    return report


def test_a_ledger_with_everything_in_it_is_well(made: Builder) -> None:
    report = both(made.path)
    assert report.ok and not report.problems
    assert (report.blocks, report.transactions, report.rejections) == (
        made.log.block_total,
        made.log.transaction_total,
        2,
    )
    assert (report.rounds, report.views, report.head) == (5, 4, made.log.head)
    assert report.ledger_id == LEDGER_KEY.public
    assert any("no committed transaction: 1, for example 0001020304050607" in n for n in report.notes)
    assert any("ISSUER_CONFLICT" in n for n in report.notes)


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(faults=0, align=8),
        Parameters(quorum="byzantine", align=4096),
        Parameters(faults=2, block_size=1, align=64),
    ],
)
def test_other_parameters(tmp_path: Path, parameters: Parameters, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder(tmp_path / "l", clusters=3, parameters=parameters)
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, f"e{i}", i) for i in range(30)]))
    builder.close()
    assert both(builder.path).ok


@dataclass(frozen=True)
class Region:
    """Bytes that count."""

    path: Path
    offset: int
    size: int
    kind: str


def regions(made: Builder) -> list[Region]:
    found = []
    for write in made.writes:
        if write.data_set:
            path = made.folder.segment_path(write.view, write.segment)
            found.append(
                Region(path, layout(path).data[write.data_set].offset + write.offset, len(write.data), write.data_set)
            )
    for path in (*map(made.folder.view_path, made.folder.views()), made.path / "checkpoint"):
        found.append(Region(path, 0, path.stat().st_size, "text"))
    return found


def test_every_changed_byte_is_found(made: Builder) -> None:
    """A bit of every 97th byte that counts, and of the first and the last of each write; about 480 in all."""
    tried = 0
    for number, region in enumerate(regions(made)):
        places = {0, region.size - 1, *range(number % STRIDE, region.size, STRIDE)}
        with open(region.path, "r+b", buffering=0) as file:
            for place in sorted(places):
                old = os.pread(file.fileno(), 1, region.offset + place)
                os.pwrite(file.fileno(), bytes([old[0] ^ 1 << (tried % 8)]), region.offset + place)
                report, second = audit(made.path), second_reader.audit(made.path)
                os.pwrite(file.fileno(), old, region.offset + place)
                tried += 1
                where = (region.path.name, region.kind, place)
                assert not report.ok, where
                assert not second.ok, where
                assert not any("cannot be examined" in p.what for p in report.problems), (where, report.problems)
                if region.kind != "text":
                    assert any(p.segment == region.path.name and p.height is not None for p in report.problems), where
    assert tried > 400 and both(made.path).ok


def test_a_damaged_block_is_named(builder: Builder) -> None:
    builder.commit(batch_of([record(Operation.NOTE, "e", i, payload=bytes(8)) for i in range(16)]))
    path = builder.folder.segment_path(0, 0)
    start = next(w.offset for w in builder.writes if w.data_set == "records")
    size = len(record(Operation.NOTE, "e", 0, payload=bytes(8)))
    with open(path, "r+b") as file:
        file.seek(layout(path).data["records"].offset + start + 6 * size + 20)  # block 1, transaction 2: its issuer
        file.write(b"\x01")
    report = bad(builder.path, "not those of the content digest")
    assert [(p.segment, p.height) for p in report.problems] == [(path.name, 1)]


def test_a_checkpoint_of_a_longer_ledger(tmp_path: Path) -> None:
    builder = small(tmp_path / "l", views_=1)
    builder.checkpoint()
    assert both(builder.path).ok
    path = builder.folder.segment_path(0, 0)
    with open(path, "r+b") as file:
        file.seek(layout(path).data["commit_records"].offset + 512)
        file.write(bytes(512))
    assert "4 are found" in bad(builder.path, "the checkpoint vouches for 10 blocks").problems[0].what


def test_a_checkpoint_by_a_node(builder: Builder) -> None:
    builder.commit(batch_of(eight()))
    builder.checkpoint(by_coordinator=True)
    builder.begin_view(clusters=1)
    builder.commit(batch_of(eight(8)))
    assert both(builder.path).ok, "of an earlier view, too"
    path = builder.path / "checkpoint"
    edit(path, lambda note: note.replace(b"/view/0/", b"/view/1/"))
    bad(builder.path, "signed by nobody who is known here")


def test_a_checkpoint_of_another_history(builder: Builder) -> None:
    builder.commit(batch_of(eight()))
    builder.log.frontier[0] ^= 1
    builder.checkpoint()
    builder.log.frontier[0] ^= 1
    bad(builder.path, "is not the one of the checkpoint")


def test_an_id_from_elsewhere(made: Builder) -> None:
    assert audit(made.path, LEDGER_KEY.public).ok
    report = audit(made.path, bytes(32))
    assert report.problem_count == 4 and "not of 0000" in report.problems[0].what


# --- what a process with write permission and some keys could do


def forge(builder: Builder, planned: plan.Plan, change: Callable[[np.ndarray], None]) -> None:
    """Change the newest commit record and sign it again, as coordinators who conspire could."""
    row = np.frombuffer(planned.record, dtype=COMMIT_RECORD).copy()
    change(row[0:1])
    forged = replace(planned, record=row.tobytes())
    slot = builder.slot_of(forged)
    overwrite(builder, "commit_records", (planned.after.cursor.slots - 1) * len(slot), slot)


def overwrite(builder: Builder, data_set: str, offset: int, data: bytes) -> None:
    path = builder.folder.segment_path(builder.view.view if builder.view else 0, builder.log.cursor.segment)
    with open(path, "r+b") as file:
        file.seek(layout(path).data[data_set].offset + offset)
        file.write(data)


def eight(first: int = 0) -> list[bytes]:
    return [record(Operation.CREATE, f"e{first + i}", first + i) for i in range(8)]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("block_total", 99, "totals"),
        ("transaction_total", 99, "totals"),
        ("rejection_total", 1, "totals"),
        ("window_count", 1, "number of windows"),
        ("coordinator_count", 3, "number of coordinators"),
        ("head", 1, "the head"),
        ("log_root", 1, "the log root"),
        ("body", 1, "the round body is not that"),
        ("rejections", 1, "the rejections are not those"),
        ("reserved", 1, "reserved"),
        ("flags", 1, "reserved"),
        ("ledger", 1, "of another ledger"),
        ("view", 1, "of another ledger or view"),
        ("round", 1, "of round 1, not 0"),
        ("previous", 1, "does not follow"),
    ],
)
def test_a_signed_commit_record_that_lies(builder: Builder, name: str, value: int, what: str) -> None:
    planned = builder.commit(batch_of(eight()))

    def change(row: np.ndarray) -> None:
        row[name] = value

    forge(builder, planned, change)
    assert bad(builder.path, what).problem_count <= 4


def test_signatures_of_coordinators(builder: Builder) -> None:
    builder.commit(batch_of(eight()))
    slot = bytearray(builder.slot or b"")
    slot[320:464] = slot[392:464] + slot[320:392]
    slot[-32:] = hashlib.sha256(slot[:-32]).digest()
    overwrite(builder, "commit_records", 0, bytes(slot))
    bad(builder.path, "where that of coordinator")
    slot = bytearray(builder.slot or b"")
    slot[328:392] = slot[400:464]
    slot[-32:] = hashlib.sha256(slot[:-32]).digest()
    overwrite(builder, "commit_records", 0, bytes(slot))
    bad(builder.path, "on the commit record does not verify")
    slot = bytearray(builder.slot or b"")
    slot[470] = 1
    slot[-32:] = hashlib.sha256(slot[:-32]).digest()
    overwrite(builder, "commit_records", 0, bytes(slot))
    bad(builder.path, "reserved are not zero")


def certificate_of(builder: Builder, planned: plan.Plan, part: int = 0) -> tuple[certificate.Certificate, int]:
    return planned.parts[part].certificates[0], planned.certificate_offsets[part][0]


def rewrite(builder: Builder, planned: plan.Plan, made: certificate.Certificate, **changed: object) -> None:
    fields = {
        "window": made.window, "decider": made.decider, "attempt": int(made.head["attempt"]), "members": made.members.tolist(),
        "entries": made.entries, "votes": made.votes, "prefix": made.prefix,
    } | changed  # fmt: skip
    _, at = certificate_of(builder, planned)
    overwrite(builder, "certificates", at, certificate.encode(**fields).tobytes())  # type: ignore[arg-type]


def test_votes(builder: Builder) -> None:
    planned = builder.commit(batch_of(eight()))
    made, _ = certificate_of(builder, planned)
    rewrite(builder, planned, made)
    assert both(builder.path).ok

    rewrite(builder, planned, made, votes=made.votes[:2])
    bad(builder.path, "another length than the round body says")
    votes = made.votes.copy()
    votes["signature"][[0, 1]] = votes["signature"][[1, 0]]
    rewrite(builder, planned, made, votes=votes)
    bad(builder.path, "is not signed by it")
    rewrite(builder, planned, made, votes=made.votes[::-1])
    bad(builder.path, "ascending order")
    rewrite(builder, planned, made, votes=np.concatenate([made.votes[:2], made.votes[1:2]]))
    bad(builder.path, "ascending order")
    rewrite(builder, planned, made, prefix=made.prefix - 1)
    bad(builder.path, "another number of blocks")
    rewrite(builder, planned, made, members=made.members.tolist()[::-1])
    bad(builder.path, "is not signed by it for this attempt")
    rewrite(builder, planned, made, attempt=1)
    bad(builder.path, "attempt 1 lists 4 members")
    forged = votes.copy().view(VOTE)
    forged["answer"] = 3
    rewrite(builder, planned, made, votes=forged)
    bad(builder.path, "is not signed by it")


def test_everything_that_is_wrong_with_votes(builder: Builder) -> None:
    planned = builder.commit(batch_of(eight()))
    made, _ = certificate_of(builder, planned)
    votes = made.votes.copy()
    votes["signature"][:, 0] ^= 1
    votes["node"][-1] = 99
    rewrite(builder, planned, made, votes=votes)
    report = bad(builder.path, "a vote by node 99, which is not a member")
    assert sum("is not signed by it for this attempt" in p.what for p in report.problems) == len(votes) - 1


def test_too_few_votes(builder: Builder) -> None:
    """A certificate that says the same, with fewer votes than a quorum; everything else is signed and fits."""
    real = builder._certificate
    builder._certificate = lambda window, decider, members, prefix, votes, enclosed=None: _with_votes(  # type: ignore[method-assign]
        real(window, decider, members, prefix, 3, enclosed), 2
    )
    builder.commit(batch_of(eight()))
    bad(builder.path, "2 votes, but 3 are needed")


def _with_votes(raw: np.ndarray, count: int) -> np.ndarray:
    made = certificate.decode(raw)
    return certificate.encode(
        made.window, made.decider, 0, made.members.tolist(), made.entries, made.votes[:count], made.prefix
    )


def test_a_storage_validator_that_the_view_does_not_have(builder: Builder) -> None:
    planned = builder.commit(batch_of(eight()), storage=True)
    assert both(builder.path).ok
    made, at = certificate_of(builder, planned)
    inner = certificate.decode(made.enclosed)
    raw = bytearray(planned.parts[0].encoded[0].tobytes())
    raw[len(raw) - inner.head["total_bytes"] + 8] = 1  # the enclosed certificate's prefix
    overwrite(builder, "certificates", at, bytes(raw))
    bad(builder.path, "reserved bytes or padding of the certificate")
    assert Decider(int(made.head["decider"])) is Decider.STORAGE_VALIDATOR


@pytest.mark.parametrize("attempt", [0, 1])
def test_a_storage_validator_without_need(builder: Builder, attempt: int) -> None:
    real = builder._certificate

    def made(window: windows.Window, decider: Decider, members: list[int], *rest: object, **more: object) -> np.ndarray:
        raw: np.ndarray = real(window, decider, members, *rest, **more)  # type: ignore[arg-type]
        if decider is Decider.MEMBERS:
            return raw
        node, found = members[0], certificate.decode(raw)
        digest = certificate.attempt_hash(window.hash, decider, attempt, members)
        vote = quorum.cast(node, builder._keys[node], digest, Answer.PREFIX, found.prefix)
        enclosed = found.enclosed if attempt else None
        return certificate.encode(
            window.row, decider, attempt, members, window.entries, np.array([vote]), found.prefix, enclosed
        )

    builder._certificate = made  # type: ignore[method-assign]
    builder.commit(batch_of(eight()), storage=True)
    bad(builder.path, "without the votes that did not suffice")


def test_windows_out_of_their_chain(builder: Builder) -> None:
    builder.commit(batch_of(eight()))
    log = builder.log
    builder.log = replace(log, clusters=tuple((number + 1, last) for number, last in log.clusters))
    builder.commit(batch_of(eight(8)))
    bad(builder.path, "does not follow window 0 of its cluster")


def test_a_window_on_a_commit_record_that_is_not_there(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = windows.form
    monkeypatch.setattr(windows, "form", lambda v, c, n, p, base, *rest: real(v, c, n, p, bytes([7] * 32), *rest))
    builder.commit(batch_of(eight()))
    bad(builder.path, "builds on a commit record that is not before it")


def test_a_window_that_hides_what_it_writes(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "entities_digest", lambda entities: hashlib.sha256(b"nothing").digest())
    builder.commit(batch_of(eight()))
    monkeypatch.undo()
    bad(builder.path, "list of written entities")


def test_a_block_in_the_wrong_cluster(builder: Builder) -> None:
    view = builder.view
    assert view is not None
    batch = batch_of(eight())
    wrong = batch.select(view.clusters_of(batch.short_hashes) == 1)
    object.__setattr__(view, "clusters_of", lambda short: np.zeros(len(short), dtype=np.uint32))
    builder.commit(wrong)
    bad(builder.path, "the entity is of cluster 1")


def test_the_places_of_blocks(builder: Builder) -> None:
    planned = builder.commit(batch_of([record(Operation.NOTE, "e", i) for i in range(12)]))
    for field, what in (
        ("records_offset", "records_offset"),
        ("first_transaction", "first_transaction"),
        ("flags", "flags"),
    ):
        rows = planned.rows.copy()
        rows[field][1] += 8
        overwrite(builder, "block_headers", 0, rows.tobytes())
        bad(builder.path, what)
    rows = planned.rows.copy()
    rows[[0, 1]] = rows[[1, 0]]
    overwrite(builder, "block_headers", 0, rows.tobytes())
    assert {p.height for p in bad(builder.path, "another height").problems} >= {0, 1}
    assert rows.dtype == BLOCK_ROW


# --- rules


@pytest.mark.parametrize(
    ("records", "what"),
    [
        ([(Operation.CREATE, "a"), (Operation.CREATE, "a")], "ENTITY_EXISTS"),
        ([(Operation.UPDATE, "a")], "ENTITY_UNKNOWN"),
        ([(Operation.USE, "a")], "ENTITY_UNKNOWN"),
        ([(Operation.CREATE, "a"), (Operation.RETIRE, "a"), (Operation.USE, "a")], "ENTITY_UNKNOWN"),
    ],
)
def test_rules_of_entities(builder: Builder, records: list[tuple[Operation, str]], what: str) -> None:
    builder.commit(batch_of([record(operation, name, i) for i, (operation, name) in enumerate(records)]))
    report = bad(builder.path, what)
    assert [(p.height, p.index) for p in report.problems] == [(0, len(records) - 1)]


def test_rules_of_versions_over_rounds_and_views(builder: Builder) -> None:
    builder.commit(batch_of([record(Operation.CREATE, "a", 0), record(Operation.UPDATE, "a", 1, expected=1)]))
    builder.begin_view(clusters=1)
    builder.commit(batch_of([record(Operation.RETIRE, "a", 2, expected=2), record(Operation.CREATE, "a", 3)]))
    assert both(builder.path).ok
    builder.commit(batch_of([record(Operation.UPDATE, "a", 4, expected=3)]))
    report = bad(builder.path, "VERSION_MISMATCH")
    assert report.problem_count == 1 and report.problems[0].height == 2


def test_a_transaction_decided_twice(builder: Builder) -> None:
    one = record(Operation.NOTE, "a", 7)
    builder.commit(batch_of([one]))
    builder.begin_view(clusters=1)
    builder.commit(batch_of([record(Operation.NOTE, "b", 8), one]))
    report = bad(builder.path, "the same transaction is decided twice")
    assert [(p.height, p.index) for p in report.problems] == [(1, 1)]


def test_a_transaction_committed_and_rejected(builder: Builder) -> None:
    one = record(Operation.NOTE, "a", 7)
    builder.commit(batch_of([one]))
    builder.commit([], rejections={0: rejection(one, Reason.ENTITY_UNKNOWN)})
    bad(builder.path, "the same transaction is decided twice")


def test_one_number_for_two_transactions(builder: Builder) -> None:
    view = builder.view
    assert view is not None
    names = [f"e{i}" for i in range(40)]
    batch = batch_of([record(Operation.NOTE, n, 1000 + i) for i, n in enumerate(names)])
    clusters = view.clusters_of(batch.short_hashes).tolist()
    here, there = names[clusters.index(0)], names[clusters.index(1)]
    other = next(n for n, c in zip(names, clusters, strict=True) if c == 0 and n != here)

    builder.commit(batch_of([record(Operation.NOTE, here, 7), record(Operation.NOTE, there, 7)]))
    report = both(builder.path)
    assert report.ok and any("the issuer's misconduct" in n for n in report.notes), "no cluster could know"
    builder.commit(batch_of([record(Operation.NOTE, other, 7)]))
    bad(builder.path, "two transactions of one issuer and number")


def test_a_rejection_of_what_was_decided_is_no_decision(builder: Builder) -> None:
    one = record(Operation.NOTE, "a", 7)
    builder.commit(batch_of([one]))
    for reason in (Reason.REPLAYED, Reason.TOO_OLD, Reason.ISSUER_CONFLICT):
        builder.commit([], rejections={1: rejection(one, reason, 1)})
    assert both(builder.path).ok


def test_the_order_of_rejections(builder: Builder) -> None:
    one, other = (record(Operation.UPDATE, "a", i) for i in (7, 8))
    rows = [rejection(one, Reason.ENTITY_UNKNOWN, 1), rejection(other, Reason.ENTITY_UNKNOWN, 0)]
    builder.commit([], rejections={0: np.concatenate(rows)})
    bad(builder.path, "ascending order of cluster")


def test_rejections_with_nonsense(builder: Builder) -> None:
    rows = rejection(record(Operation.NOTE, "a", 7), Reason.ENTITY_UNKNOWN)
    rows["reason"] = 99
    builder.commit([], rejections={0: rows})
    bad(builder.path, "unknown reason")


def test_signed_transactions(builder: Builder) -> None:
    key = key_of("somebody")
    good = record(Operation.NOTE, "a", 0, key=key)
    builder.commit(batch_of([good]))
    assert both(builder.path).ok
    forged = good[:-1] + bytes([good[-1] ^ 1])
    builder.commit(batch_of([forged[:32] + (9).to_bytes(8, "little") + forged[40:]]))
    bad(builder.path, "the issuer's signature does not verify")


def test_a_record_signed_with_another_key_than_its_issuer(builder: Builder) -> None:
    one = bytearray(record(Operation.NOTE, "a", 0, key=key_of("a")))
    one[-96:-64] = key_of("b").public
    one[-64:] = key_of("b").sign(Context.TRANSACTION, bytes(one[:-64]))
    builder.commit(batch_of([bytes(one)]))
    bad(builder.path, "the issuer is not that of the public key")


# --- views


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    before = path.read_bytes()
    after = change(before)
    assert after != before
    path.write_bytes(after)


def test_edited_view_records(made: Builder, tmp_path: Path) -> None:
    for number, (change, what) in enumerate(
        [
            (lambda t: t.replace(b'"block_size": 4', b'"block_size": 5'), "the view record was edited"),
            (lambda t: t.replace(b"host1", b"host9"), "the view record was edited"),
            (lambda t: t + b"node:0 " + t.rsplit(b" ", 1)[1], "cannot sign this view"),
            (lambda t: t + b"\n", "not in its one legal form"),
        ]
    ):
        path = tmp_path / str(number)
        shutil.copytree(made.path, path)
        edit(path / "view-000000", change)
        report = audit(path)
        assert not second_reader.audit(path).ok
        assert any(what in p.what and p.segment == "view-000000" for p in report.problems), report.problems


def test_a_view_that_nobody_vouches_for(builder: Builder) -> None:
    builder.commit(batch_of(eight()))
    builder.begin_view(signed_by_nodes=True)
    path = builder.folder.view_path(1)
    kept = path.read_bytes()
    edit(path, lambda t: t[: t.rindex(b"node:")])
    bad(builder.path, "nobody vouches for this view")
    path.write_bytes(kept)
    assert both(builder.path).ok
    stranger = view_record.decode(kept)[0].sign(key_of("stranger"))
    path.write_bytes(view_record.decode(kept)[0].encode({"ledger": stranger}))
    bad(builder.path, "the signature of ledger does not verify")


def test_leftovers_are_notes(builder: Builder) -> None:
    builder.commit(batch_of(eight()))
    cut, log, view, keys = builder.slot, builder.log, builder.view, builder._keys
    builder.begin_view()
    builder.commit(batch_of(eight(8)))
    builder.slot, builder.log, builder.view, builder._keys = cut, log, view, keys
    builder.folder.claim_next({})
    builder.begin_view()
    builder.commit(batch_of(eight(8)))
    report = both(builder.path)
    assert report.ok
    for text in ("view 2 was claimed", "view 1 was published and passed over", "segments of view 1"):
        assert any(text in n for n in report.notes), report.notes


def test_files_of_garbage_are_problems(made: Builder, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    for number, name in enumerate(["segment-000002-0000.h5", "view-000003", "view-000001", "checkpoint"]):
        for content in (b"", draw.bytes(5000)):
            path = tmp_path / f"{number}.{len(content)}"
            shutil.copytree(made.path, path)
            (path / name).write_bytes(content)
            report = audit(path)
            assert not report.ok and not any("cannot be examined" in p.what for p in report.problems)


def test_garbage_in_the_place_of_data(made: Builder, tmp_path: Path) -> None:
    """Whole regions overwritten with noise: problems, never an exception, and the second reader agrees."""
    draw = np.random.default_rng(4)
    for number, region in enumerate(regions(made)):
        if region.kind == "text":
            continue
        path = tmp_path / str(number)
        shutil.copytree(made.path, path)
        with open(path / region.path.name, "r+b") as file:
            file.seek(region.offset)
            file.write(draw.bytes(region.size))
        assert not both(path).ok
        shutil.rmtree(path)


def test_problems_are_bounded(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    from baash.ledger.audit import report as audit_report

    monkeypatch.setattr(audit_report, "PROBLEMS_KEPT", 5)
    builder.commit(batch_of([record(Operation.USE, "a", i) for i in range(20)]))
    report = audit(builder.path)
    assert len(report.problems) == 5 and report.problem_count == 20
