"""Index files and look-ups: the answers are those of going through the whole ledger, whatever part of it is indexed, and never wrong."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ledgers import Builder, batch_of, key_of, record, small

from baash import kernels
from baash.errors import LedgerDamaged, LedgerError, StorageError
from baash.ledger import query
from baash.ledger.audit import audit
from baash.ledger.fetch import Fetcher
from baash.ledger.folder import Folder
from baash.ledger.index.building import build, merge_files
from baash.ledger.index.chain import listed, open_chain
from baash.ledger.index.lookup import Lookup
from baash.ledger.index.tables import SUBTREE, IndexDamaged
from baash.ledger.newest import names_below, newest
from baash.ledger.reader import Ledger
from baash.ledger.transactions import Transaction, scan_rounds
from baash.protocol.view import Parameters
from baash.records import BLOCK_HEADER, Operation, entity_hash, key_issuer, source_issuer

NAMES = ["a", "b", "/data/x.h5", "/data/run/x.h5", "/data/run/1/y", "c/d", "tail/", "/", "//", "/data", "x.h5"]


class Writer:
    """A random ledger, written round by round: several views, cuts, lost windows, empty views, several segments."""

    def __init__(self, path: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.builder = Builder(path, parameters=Parameters(align=64, block_size=3))
        self.builder.begin_view()
        self.sequence, self.ids = 0, [bytes(32)]

    def round(self) -> None:
        records = []
        for _ in range(self.draw.randrange(1, 40)):
            self.sequence += 1
            operation = self.draw.choice(list(Operation))
            references = self.draw.sample(self.ids, min(len(self.ids), self.draw.randrange(3)))
            made = record(
                operation,
                self.draw.choice(NAMES) if self.draw.random() < 0.7 else f"/data/{self.sequence}",
                self.sequence,
                source=self.draw.choice(["s", "t"]),
                payload=b"p" * self.draw.choice([0, 5, 700]),
                references=references,
                key=key_of("k", self.draw.randrange(2)) if self.draw.random() < 0.2 else None,
            )
            self.ids.append(hashlib.sha256(made).digest())
            records.append(made)
        self.builder.commit(batch_of(records), prefixes={0: 1} if self.draw.random() < 0.2 else None)

    def view(self) -> None:
        self.builder.begin_view(clusters=self.draw.choice([1, 2, 3]))


class Plain:
    """The answers, from every transaction of a ledger as a Python object."""

    def __init__(self, path: Path) -> None:
        with Ledger(path, scan=True) as ledger:
            self.all = [s.transaction(i) for s in scan_rounds(ledger) for i in range(len(s.info))]
            self.where = {t.number: (t.height, t.index, t.time_ns) for t in self.all}
            self.rows = [r for round in ledger.rounds for r in round.headers()]
            self.rounds = [
                (r.hash, r.first_block, r.first_transaction, r.view.view, r.slot, r.number) for r in ledger.rounds
            ]
        self.hashes = [hashlib.sha256(r.tobytes()[: BLOCK_HEADER.itemsize]).digest() for r in self.rows]

    def numbers(self, fits: Callable[[Transaction], object]) -> list[int]:
        return [t.number for t in self.all if fits(t)]


def agree(path: Path, lookup: Lookup, ledger: Ledger, plain: Plain) -> None:
    """Every kind of look-up against the plain answers."""
    assert ledger.transaction_total == len(plain.all) == lookup.transaction_total
    for one in plain.all:
        found = lookup.find(one.id)
        assert found == one and (found.height, found.index, found.time_ns) == plain.where[one.number]
        assert lookup.by_id(one.id.hex()[:10]) == lookup.by_id(one.id.hex()) == [one.number]
        assert lookup.referring_to(one.id).tolist() == plain.numbers(lambda t, i=one.id: i in t.references)
        assert lookup.transaction(one.number) == one
    assert lookup.find(bytes(32)) is None and lookup.by_id("00" * 32) == [] and lookup.by_id("ffffffff") == []
    assert lookup.referring_to(bytes(32)).tolist() == plain.numbers(lambda t: bytes(32) in t.references)
    asked = np.frombuffer(b"".join([t.id for t in plain.all[::3]] + [bytes(32), b"\xff" * 32]), np.uint8).reshape(
        -1, 32
    )
    fetched = lookup.transactions(asked)
    assert fetched.numbers.tolist() == [t.number for t in plain.all[::3]] + [-1, -1]
    for t, start, size in zip(plain.all[::3], fetched.starts.tolist(), fetched.sizes.tolist(), strict=False):
        assert fetched.records[start : start + size].tobytes() == t.raw
    assert lookup.read(np.array([t.number for t in plain.all])) == plain.all
    for name in {t.entity for t in plain.all} | {b"nobody"}:
        about = plain.numbers(lambda t, n=name: t.entity == n)
        for more in ({}, {"newest": 2}, {"before": len(plain.all) // 2}, {"before": 7, "newest": 1}):
            count, numbers = lookup.about(entity_hash(name), **more)
            wanted = [n for n in about if n < more.get("before", 1 << 60)]
            assert (count, numbers.tolist()) == (
                len(wanted),
                wanted[-more.get("newest", len(wanted)) :] if wanted else [],
            )
            assert [t.number for t in lookup.history(entity_hash(name), **more)[1]] == numbers.tolist()
        written = plain.numbers(lambda t, n=name: t.entity == n and t.writes)
        assert lookup.writes(entity_hash(name)).tolist() == written
        for before in (0, len(plain.all) // 3, len(plain.all)):
            last = lookup.last_write(entity_hash(name), before)
            assert (last.number if last else None) == max((n for n in written if n < before), default=None)
        tail = name.rpartition(b"/")[2]
        creates = plain.numbers(
            lambda t, n=tail: t.operation is Operation.CREATE and (t.entity == n or t.entity.endswith(b"/" + n))
        )
        assert not tail or lookup.named(tail).tolist() == creates
    for folder in (b"", b"/data", b"/data/run", b"/data/none"):
        below = plain.numbers(lambda t, f=folder: t.operation is Operation.CREATE and t.entity.startswith(f + b"/"))
        assert lookup.below(folder).tolist() == below
    issuers = [
        source_issuer("s"),
        source_issuer("t"),
        *(key_issuer(key_of("k", i).public) for i in range(2)),
        bytes(16),
    ]
    for issuer in issuers:
        sent = plain.numbers(lambda t, i=issuer: t.issuer == i)
        assert (lookup.issued_by(issuer)[0], lookup.issued_by(issuer)[1].tolist()) == (len(sent), sent)
        count, some = lookup.issued_by(issuer, newest=3)
        assert (count, some.tolist()) == (len(sent), sent[-3:])
    for operation in Operation:
        fits = plain.numbers(lambda t, o=operation: t.operation is o)
        assert (lookup.of_operation(operation)[0], lookup.of_operation(operation)[1].tolist()) == (len(fits), fits)
    times = sorted({int(r["time_ns"]) for r in plain.rows})
    for low, high in ((0, 1 << 64), (times[len(times) // 3], times[-1]), (times[0] + 1, times[-1] + 1), (5, 5), (9, 1)):
        between = [i for i, r in enumerate(plain.rows) if low <= int(r["time_ns"]) < high]
        assert lookup.blocks_between(low, high).tolist() == between
    for height, hash_ in enumerate(plain.hashes):
        assert lookup.blocks_with_hash(hash_.hex()) == lookup.blocks_with_hash(hash_.hex()[:9]) == [height]
        block = ledger.block(height)
        assert (block.row, block.records.tobytes()[:3]) == (plain.rows[height], b"\0\1\1")
    assert [b.row for b in ledger.blocks()] == plain.rows
    for k in range(len(plain.hashes) // SUBTREE + 1):
        leaves = np.frombuffer(b"".join(plain.hashes[SUBTREE * k : SUBTREE * k + SUBTREE]), np.uint8).reshape(-1, 32)
        root = kernels.merkle_roots(leaves, np.array([0, SUBTREE]))[0].tobytes() if len(leaves) == SUBTREE else None
        assert lookup.subtree_root(k) == root
    rounds = [(r.hash, r.first_block, r.first_transaction, r.view.view, r.slot, r.number) for r in ledger.rounds]
    assert rounds == plain.rounds
    for i, (_, first_block, first_transaction, *_) in enumerate(rounds):
        if first_block < len(plain.rows) and (i + 1 == len(rounds) or rounds[i + 1][1] > first_block):
            assert ledger.round_of(first_block).index == i == ledger.round_of_transaction(first_transaction).index


def checked(path: Path, *, notes: int = 0) -> None:
    plain = Plain(path)
    with Ledger(path) as ledger:
        lookup = Lookup(ledger)
        assert len(lookup.notes) == notes, lookup.notes
        agree(path, lookup, ledger, plain)


def index_files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.name.startswith("index-"))


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_of_going_through_all(tmp_path: Path, seed: int) -> None:
    """At each stage: nothing indexed, some, all; with a reader that was there before beside one that opens now."""
    writer = Writer(tmp_path / "l", seed)
    path = writer.builder.path
    writer.round()
    with Ledger(path) as ledger:
        lookup = Lookup(ledger)
        for stage in range(6):
            for _ in range(writer.draw.randrange(1, 5)):
                if writer.draw.random() < 0.35:
                    writer.view()
                writer.round()
            if stage % 2:
                built = build(path, chunk=writer.draw.choice([1, 30, 1000]))
                assert built.rounds and not built.notes
                assert build(path).written_bytes == 0, "there is nothing left to do"
            if stage in (1, 4, 5):
                ledger.refresh()
                lookup.refresh()
                agree(path, lookup, ledger, Plain(path))
                checked(path)
    with Ledger(path) as ledger:
        assert ledger.chain.rounds == len(ledger.rounds) == listed(path)[0][0] or len(listed(path)) > 1
    writer.builder.close()
    assert audit(path).ok or audit(path).problems, "the audit uses no index"


def test_files_are_few(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l", 5)
    for i in range(24):
        if i % 5 == 4:
            writer.view()
        writer.round()
        build(writer.builder.path)
        sizes = [after - first for first, (after,) in sorted(listed(writer.builder.path).items())]
        assert sum(sizes) == i + 1 and len(sizes) <= 5
    assert not [p for p in writer.builder.path.iterdir() if p.name.endswith(".tmp")]
    checked(writer.builder.path)


def test_what_is_built_does_not_depend_on_how(tmp_path: Path) -> None:
    """Merging gives the bytes that building at once gives."""
    writer = Writer(tmp_path / "l", 7)
    for _ in range(6):
        writer.round()
    writer.builder.close()
    shutil.copytree(writer.builder.path, tmp_path / "m")
    build(writer.builder.path)
    build(tmp_path / "m", chunk=1)
    while len(index_files(tmp_path / "m")) > 1:  # what is too small to be merged yet
        merge_last(tmp_path / "m")
    assert [p.name for p in index_files(tmp_path / "m")] == [p.name for p in index_files(writer.builder.path)]
    assert index_files(tmp_path / "m")[0].read_bytes() == index_files(writer.builder.path)[0].read_bytes()


def merge_last(path: Path) -> None:
    chain = open_chain(Folder(path))
    merge_files(path, chain.runs[-2:])
    for run in chain.runs[-2:]:
        (path / run.name).unlink()
    chain.close()


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = small(tmp_path_factory.mktemp("indexed") / "l")
    build(builder.path)
    return builder.path


@pytest.fixture
def copy(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "l"))


def test_the_index_of_a_ledger_with_everything_in_it(indexed: Path) -> None:
    checked(indexed)


def outcomes(path: Path, plain: Plain) -> Iterator[str]:
    """What comes of some look-ups: ``right``, ``note`` or ``error``; anything wrong fails."""
    try:
        with Ledger(path) as ledger:
            lookup = Lookup(ledger)
            if lookup.notes:
                yield "note"
            asks: list[Callable[[], object]] = [
                lambda: [lookup.find(t.id) == t for t in plain.all[::7]] + [lookup.find(bytes(32)) is None],
                lambda: [
                    lookup.about(entity_hash(t.entity))[1].tolist() == plain.numbers(lambda o, e=t.entity: o.entity == e)
                    for t in plain.all[::9]
                ],
                lambda: [len(lookup.issued_by(source_issuer("test"))[1]) == 41],
                lambda: [lookup.of_operation(o)[0] == len(plain.numbers(lambda t, o=o: t.operation is o)) for o in Operation],
                lambda: [lookup.blocks_with_hash(h.hex()) == [i] for i, h in enumerate(plain.hashes)],
                lambda: [lookup.blocks_between(0, 1 << 64).tolist() == list(range(len(plain.hashes)))],
                lambda: [(t.height, t.index) == plain.where[t.number][:2] for t in lookup.read(np.arange(0, len(plain.all), 8))],
                lambda: [lookup.referring_to(plain.all[0].id).tolist() == plain.numbers(lambda t: plain.all[0].id in t.references)],
                lambda: [lookup.named(b"3.h5").tolist() == plain.numbers(
                    lambda t: t.operation is Operation.CREATE and t.entity.endswith(b"/3.h5"))],
                lambda: [len(lookup.below(b"/data/run")) == 13],
                lambda: [r.hash == p[0] for r, p in zip(ledger.rounds, plain.rounds, strict=True)],
            ]  # fmt: skip
            for ask in asks:
                try:
                    answers = ask()
                except IndexDamaged as error:
                    assert "index-" in str(error) and "delete it" in str(error)
                    yield "error"
                else:
                    assert isinstance(answers, list) and all(answers)
                    yield "right"
    except IndexDamaged as error:
        assert "delete it" in str(error)
        yield "error"


def test_every_byte_of_an_index_file(copy: Path) -> None:
    """Flipped one at a time: a note and the right answer, or an error that names the file. BAASH_TEST_STRIDE=1 takes all."""
    plain, (file,) = Plain(copy), index_files(copy)
    whole = file.read_bytes()
    seen = {"right": 0, "note": 0, "error": 0}
    stride = int(os.environ.get("BAASH_TEST_STRIDE", "401"))
    for at in [*range(0, 1000, 37 if stride > 1 else 1), *range(1000, len(whole), stride)]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        got = list(outcomes(copy, plain))
        assert {"note", "error"} & set(got) or at // 4096 > 0, "every page that is used is held against its seal"
        for one in got:
            seen[one] += 1
    assert all(seen.values()), seen


def test_a_header_that_lies(copy: Path) -> None:
    """Sealed all the same: it is passed over or refused, or the lie shows when it is used; never a traceback, never without end."""
    (file,) = index_files(copy)
    whole = file.read_bytes()
    for at in range(0, 840, 8 if os.environ.get("BAASH_TEST_STRIDE") == "1" else 24):
        for lie in (0, 1, 7, 1 << 33, (1 << 64) - 1, int.from_bytes(whole[at : at + 8], "little") + 1 & (1 << 64) - 1):
            page = np.frombuffer(whole[:at] + lie.to_bytes(8, "little") + whole[at + 8 : 4096], np.uint8).copy()
            kernels.index_seal(page.reshape(1, 4096), 0, 0)
            file.write_bytes(page.tobytes() + whole[4096:])
            with suppress(LedgerError), Ledger(copy) as ledger:
                lookup = Lookup(ledger)
                lookup.find(bytes(32))
                lookup.about(entity_hash(b"/data/run/0.h5"))
                lookup.issued_by(source_issuer("test"))
                lookup.read(np.arange(0, lookup.transaction_total, 5))
                lookup.blocks_between(0, 1 << 64)
                assert ledger.rounds[-1].hash and ledger.block(0).round


@pytest.mark.parametrize("what", ["empty", "cut", "longer", "foreign", "renamed", "link", "folder", "pipe"])
def test_files_that_are_none(copy: Path, tmp_path: Path, what: str) -> None:
    (file,) = index_files(copy)
    whole = file.read_bytes()
    if what in ("empty", "cut", "longer"):
        file.write_bytes({"empty": b"", "cut": whole[:-4096], "longer": whole + bytes(4096)}[what])
    elif what == "foreign":
        other = Builder(tmp_path / "other", clusters=1)
        other.begin_view()
        for i in range(8):
            other.commit(batch_of([record(Operation.NOTE, "n", i)]))
        other.close()
        build(other.path)
        (made,) = index_files(other.path)
        file.unlink()
        shutil.copy(made, copy / made.name)
    elif what == "renamed":
        file.rename(copy / "index-00000000-00000004")
    else:
        file.rename(tmp_path / "kept")
        if what == "link":
            file.symlink_to(tmp_path / "kept")
        elif what == "folder":
            file.mkdir()
        else:
            os.mkfifo(file)
    checked(copy, notes=1)
    assert audit(copy).ok
    if what not in ("folder",):
        built = build(copy)
        assert len(built.notes) == 1
        checked(copy)


def test_a_history_that_lost_its_end(tmp_path: Path) -> None:
    """The newest view was cut away, or a successor cut behind what is indexed: those files are of another history."""
    writer = Writer(tmp_path / "l", 11)
    path = writer.builder.path
    for _ in range(3):
        writer.round()
    kept = Path(shutil.copytree(path, tmp_path / "kept"))
    build(path)
    writer.view()
    for _ in range(3):
        writer.round()
    number = writer.builder.view.view if writer.builder.view else 0
    build(path)
    shutil.copytree(path, tmp_path / "whole")
    for gone in [path / f"view-{number:06d}", *path.glob(f"segment-{number:06d}-*")]:
        gone.unlink()
    checked(path, notes=1)
    assert build(path).rounds == 3
    checked(path)
    for file in index_files(tmp_path / "whole"):  # left over in a copy that never saw that view
        shutil.copy(file, kept)
    checked(kept, notes=1)
    build(kept)
    checked(kept)
    assert [p.name for p in index_files(kept)] == ["index-00000000-00000003"]


def test_a_cut_before_what_is_indexed(tmp_path: Path) -> None:
    """A successor read the commit records before the last of them appeared: it does not count, and was indexed."""
    writer = Writer(tmp_path / "l", 13)
    builder = writer.builder
    writer.round()
    log, slot = builder.log, builder.slot
    writer.round()
    build(builder.path)
    builder.log, builder.slot = log, slot
    builder.begin_view()
    writer.round()
    checked(builder.path, notes=1)
    assert build(builder.path).rounds == 2
    checked(builder.path)


def test_a_reader_beside_a_writer_that_cuts(tmp_path: Path) -> None:
    """What is in memory is kept as long as it is in the history, and not longer."""
    writer = Writer(tmp_path / "l", 17)
    builder = writer.builder
    writer.round()
    with Ledger(builder.path) as ledger:
        lookup = Lookup(ledger)
        log, slot = builder.log, builder.slot
        writer.round()
        ledger.refresh()
        lookup.refresh()
        builder.log, builder.slot = log, slot
        builder.begin_view()
        writer.round()
        assert ledger.refresh() == 0
        lookup.refresh()
        agree(builder.path, lookup, ledger, Plain(builder.path))
        writer.view()
        writer.round()
        ledger.refresh()
        lookup.refresh()
        agree(builder.path, lookup, ledger, Plain(builder.path))


def test_a_lookup_goes_on_while_files_are_merged(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l", 19)
    path = writer.builder.path
    for _ in range(4):
        writer.round()
        build(path)
    plain = Plain(path)
    with Ledger(path) as ledger:
        lookup = Lookup(ledger)
        for file in index_files(path):
            file.unlink()
        agree(path, lookup, ledger, plain)


def test_a_folder_that_cannot_be_written(copy: Path) -> None:
    (file,) = index_files(copy)
    file.unlink()
    (copy / f"{file.name}.{os.getpid()}.tmp").mkdir()  # root may write everywhere: something stands in the way
    with pytest.raises(StorageError, match="cannot write"):
        build(copy)
    checked(copy)
    with pytest.raises(LedgerError, match="no ledger"):
        build(copy / "none")


def test_nothing_is_built_on_bytes_that_have_rotted(copy: Path) -> None:
    with Ledger(copy) as ledger:
        block = ledger.block(4)
        file = block.round.file.layout
        at = file.data["records"].offset + int(block.row["records_offset"]) + 70
        one = next(
            s.transaction(i) for s in scan_rounds(ledger) for i in range(len(s.info)) if s.transaction(i).height == 4
        )
    with open(file.path, "r+b") as segment:
        segment.seek(at)
        old = segment.read(1)
        segment.seek(at)
        segment.write(bytes([old[0] ^ 1]))
    with (
        Ledger(copy) as ledger,
        pytest.raises(LedgerDamaged, match=f"transaction {one.number} is not what was committed"),
    ):
        Lookup(ledger).find(one.id)
    for index in index_files(copy):
        index.unlink()
    with pytest.raises(LedgerDamaged, match="block 4"):
        build(copy)
    assert not index_files(copy)


def test_ids_that_share_their_first_bytes(copy: Path) -> None:
    """An id that is not there and begins as one that is: found by its digits, not by the id."""
    plain = Plain(copy)
    with Ledger(copy) as ledger:
        lookup = Lookup(ledger)
        one = plain.all[5]
        wrong = one.id[:8] + bytes(24)
        assert lookup.find(wrong) is None and lookup.by_id(wrong.hex()) == [] and lookup.by_id(wrong.hex()[:16]) == [5]
        ids = np.frombuffer(wrong + one.id, dtype=np.uint8).reshape(2, 32)
        found = lookup.transactions(ids)
        assert found.numbers.tolist() == [-1, 5] and found.sizes.tolist() == [0, len(one.raw)]


def test_what_is_told_when_the_ledger_is_closed(indexed: Path) -> None:
    with Ledger(indexed) as ledger:
        lookup = Lookup(ledger)
        history = query.entity(lookup, "/data/run/0.h5")
        sent = query.find(lookup, query.Wanted(issuer=query.issuer_id("source:test"))).transactions
        one = lookup.transaction(3)
        asked = [*sent, *(change.transaction for change in history.changes), query.by_id(lookup, one.id.hex())]
        assert len(sent) > 3 and history.changes
    plain = Plain(indexed)
    assert [t.where for t in asked] == [plain.where[t.number] for t in asked]
    with pytest.raises(LedgerError, match="is closed: ask where transaction 3 lies before"):
        _ = one.height


def test_the_newest_of_entities(indexed: Path) -> None:
    with Ledger(indexed) as ledger:
        names = [b"/data/run/0.h5", b"/data/run/1.h5", b"nobody"]
        found = newest(ledger, names)
        assert [(found[n].version, found[n].exists) for n in names[:2]] == [(4, True), (3, False)] and len(found) == 2
        made = [t.entity for t in Plain(indexed).all if t.operation is Operation.CREATE]
        assert names_below(ledger, [b"/data"]) == names_below(ledger, [b"/data/run/"]) == list(dict.fromkeys(made))
        assert names_below(ledger, [b"/"]) == names_below(ledger, [b"/data", b"/data/run"])


def test_reads_of_a_run_through_the_index(tmp_path: Path) -> None:
    """A fetcher reads the same blocks with and without index files, and goes on behind them."""
    writer = Writer(tmp_path / "l", 23)
    path = writer.builder.path
    for _ in range(3):
        writer.round()
    wanted = [[r["height"] for r, _ in blocks(path)]]
    build(path)
    wanted.append([r["height"] for r, _ in blocks(path)])
    assert wanted[0] == wanted[1]
    writer.round()
    with Ledger(path) as ledger:
        total = ledger.transaction_total
    fetcher = Fetcher(path)
    assert [int(r["height"]) for r, _ in fetcher.blocks(np.arange(total, dtype=np.uint64))] == list(
        range(len(Plain(path).rows))
    )
    fetcher.close()


def blocks(path: Path) -> list[tuple[np.void, np.ndarray]]:
    fetcher = Fetcher(path)
    found = list(fetcher.blocks(np.array([0, 3, 4, 20], dtype=np.uint64)))
    fetcher.close()
    return found


def child_of(work: Callable[[], object]) -> int:
    """The process id of a child of this process that does ``work``."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return child


def end_of(child: int) -> int:
    """Its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, work: Callable[[], object]) -> None:
    """Die by SIGKILL before the ``step``-th call that changes something in the folder."""
    left = step

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return counted

    for name in ("pwrite", "fsync", "replace", "unlink"):
        setattr(os, name, dying(getattr(os, name)))
    work()


def test_a_builder_that_is_killed_at_every_step(tmp_path: Path) -> None:
    """Whatever is there then can be used, and the next build makes what one that was not killed makes. BAASH_TEST_STRIDE=1
    takes all steps."""
    writer = Writer(tmp_path / "l", 29)
    for i in range(5):
        if i == 3:
            writer.view()
        writer.round()
        if i == 1:
            build(writer.builder.path, chunk=1)
    path = writer.builder.path
    plain = Plain(path)
    clean = Path(shutil.copytree(path, tmp_path / "clean"))
    build(clean, chunk=1)
    step, kills = 1, 0
    while True:
        tried = Path(shutil.copytree(path, tmp_path / f"k{step}"))
        code = end_of(child_of(partial(killed_at, step, partial(build, tried, chunk=1))))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        with Ledger(tried) as ledger:
            lookup = Lookup(ledger)
            assert not lookup.notes and [lookup.find(t.id) for t in plain.all] == plain.all
        build(tried, chunk=1)
        assert not [p for p in tried.iterdir() if p.name.endswith(".tmp")]
        agree_quickly(tried, plain)
        shutil.rmtree(tried)
        step += 1 if os.environ.get("BAASH_TEST_STRIDE") == "1" else 5
    assert kills > 8
    assert [p.read_bytes() for p in index_files(tried)] == [p.read_bytes() for p in index_files(clean)]


def agree_quickly(path: Path, plain: Plain) -> None:
    with Ledger(path) as ledger:
        assert ledger.chain.rounds == len(plain.rounds)
        assert Lookup(ledger).read(np.arange(len(plain.all))) == plain.all


def test_two_builders_at_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "l", 31)
    for _ in range(8):
        writer.round()
    path = writer.builder.path
    plain = Plain(path)
    for turn in range(4):
        tried = Path(shutil.copytree(path, tmp_path / f"t{turn}"))
        children = [child_of(partial(build, tried, chunk=chunk)) for chunk in (1, 40, 1)]
        assert [end_of(child) for child in children] == [0, 0, 0]
        agree_quickly(tried, plain)
        build(tried)
        covered = sorted((first, after) for first, all_ in listed(tried).items() for after in all_)
        assert covered[0][0] == 0 and covered[-1][1] == 8 and all(a[1] == b[0] for a, b in pairwise(covered))


def test_a_segment_is_missing_that_an_index_answers_for(copy: Path) -> None:
    plain = Plain(copy)
    gone = min(copy.glob("segment-*.h5"))
    gone.unlink()
    with Ledger(copy) as ledger:
        lookup = Lookup(ledger)
        assert lookup.find(plain.all[-1].id) == plain.all[-1], "what lies elsewhere can still be read"
        with pytest.raises(LedgerDamaged, match=f"{gone.name} is missing"):
            lookup.find(plain.all[0].id)
    assert not audit(copy).ok
