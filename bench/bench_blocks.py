"""Reading blocks of 4 by height beside SQLite in the same folder: the paper's figure 8(b).

The ledger and the replica are those of a real run (one process, five nodes, YCSB inserts); the replica is a validator's, large enough to
hold all. SQLite holds a row a transaction (block, index in it, record) with an index on the block, and answers one SELECT a
block: read-only, statement cached, no transaction to begin, rows let go at once, with a page cache that holds everything or the file
mapped, whichever is faster. All files are in the page cache. The check sums of what each way gives, transaction by
transaction, must agree. Each way takes turns with SQLite; what is noted is the median of the ratios.

``BAASH_BENCH=full`` for 1 … 10,000 blocks, else a smoke size.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from measure import FULL

from baash import rank
from baash.ledger import ranges
from baash.ledger.opened import OpenedLedger
from baash.ledger.reader import Ledger
from baash.options import RunOptions
from baash.protocol.replica import Blocks, Replica
from baash.protocol.validator import Validator

COUNTS = (1, 10, 100, 1_000, 10_000) if FULL else (1, 50)
TURNS = 15 if FULL else 2
SETTINGS = (("cache_size", -(1 << 20)), ("mmap_size", 1 << 30))  # a page cache of 1 GiB, or the file mapped


@dataclass(frozen=True)
class Places:
    """The same blocks in three places."""

    replica: Replica
    ledger: Ledger
    opened: OpenedLedger
    database: sqlite3.Connection
    record_bytes: float  # of a whole transaction


@pytest.fixture(scope="module", params=[100, 1000])
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """``param``: bytes of a payload; the paper's are YCSB's 1,000."""
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAASH_KEYS", str(folder / "keys"))
        replica = replica_of_a_run(folder / "ledger", request.param)
    with Ledger(folder / "ledger") as ledger, OpenedLedger(folder / "ledger") as opened:
        fill(folder / "ledger.sqlite", ledger)
        database = fastest(folder / "ledger.sqlite")
        rows = ledger.rounds[0].headers()
        yield Places(replica, ledger, opened, database, float(rows["bytes"].sum() / rows["count"].sum()))
        database.close()


def replica_of_a_run(path: Path, record_bytes: int) -> Replica:
    options = RunOptions(
        ledger=path,
        launcher="none",
        workload="ycsb-load",
        transactions=4 * COUNTS[-1],
        record_bytes=record_bytes,
        replica_bytes=1 << 30,
    )
    meeting = rank.meet(options, alone=True)
    view, opened, text = rank.agree(meeting, options, options.sources)
    here = rank.Rank(options, options.sources, meeting, view, opened, text, lambda event, fields: None, lambda: False)
    here.run(time.monotonic())
    return next(
        n.replica for n in here.life.seats[-1].hosted.nodes.values() if isinstance(n, Validator) and not n.storage
    )


def transactions_of(blocks: Blocks) -> Iterator[tuple[int, int, memoryview]]:
    """(height, index in the block, record)."""
    records, spans = memoryview(blocks.records), iter(pairwise(blocks.starts.tolist()))
    for height, count in zip(blocks.rows["height"].tolist(), blocks.rows["count"].tolist(), strict=True):
        for index in range(count):
            start, end = next(spans)
            yield height, index, records[start:end]


def fill(path: Path, ledger: Ledger) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE transactions (block INTEGER, place INTEGER, record BLOB)")
    for piece in ranges.pieces(ledger):
        database.executemany("INSERT INTO transactions VALUES (?, ?, ?)", transactions_of(piece))
    database.execute("CREATE INDEX by_block ON transactions (block)")
    database.execute("ANALYZE")
    database.commit()
    database.close()
    os.sync()


def fastest(path: Path) -> sqlite3.Connection:
    """A connection with the setting that reads the most blocks fastest."""
    found = []
    for name, value in SETTINGS:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        database.execute(f"PRAGMA {name} = {value}")
        sqlite(database, 0, COUNTS[-1])
        found.append((seconds(lambda one=database: sqlite(one, 0, COUNTS[-1])), name, database))  # type: ignore[misc]
    found.sort(key=lambda one: one[0])
    print(f"SQLite {sqlite3.sqlite_version}: {found[0][1]} is the faster setting")
    found[1][2].close()
    return found[0][2]


def seconds(work: Callable[[], Any]) -> float:
    """What it takes, to the last object given free."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


# -- the ways -------------------------------------------------------------------------------------------------------

SELECT = "SELECT record FROM transactions WHERE block = ?"  # in the order of rows, which is that of the block


def sqlite(database: sqlite3.Connection, first: int, after: int) -> None:
    execute = database.execute
    for height in range(first, after):
        execute(SELECT, (height,)).fetchall()


def from_replica(places: Places, first: int, after: int) -> Any:
    """Rows, the buffers they lie in, and where in these each block and each transaction begins."""
    return [(piece.rows, piece.records, piece.offsets, piece.starts) for piece in held(places, first, after)]


def views_from_replica(places: Places, first: int, after: int) -> Any:
    """The same, and an object for each block."""
    return [view for piece in held(places, first, after) for view in piece.views()]


def blocks_from_replica(places: Places, first: int, after: int) -> None:
    """Block by block, each asked for by its height."""
    for height in range(first, after):
        places.replica.block(height)


def from_ledger(places: Places, first: int, after: int) -> None:
    """Rows and records, a piece at a time."""
    for piece in ranges.pieces(places.ledger, first, after):
        _ = piece.rows, piece.records, piece.offsets


def scanned_from_ledger(places: Places, first: int, after: int) -> None:
    """The same, and where each transaction begins."""
    for piece in ranges.pieces(places.ledger, first, after):
        _ = piece.starts


def blocks_from_ledger(places: Places, first: int, after: int) -> None:
    """Block by block, each asked for by its height: as a program does it, every block held against its hashes."""
    opened = places.opened
    for height in range(first, after):
        opened[height]


def held(places: Places, first: int, after: int) -> list[Blocks]:
    found = places.replica.blocks(first, after)
    assert found is not None, "the replica is large enough for all"
    return found


WAYS: dict[str, Callable[[Places, int, int], Any]] = {
    "replica": from_replica,
    "replica, an object a block": views_from_replica,
    "replica, a call a block": blocks_from_replica,
    "ledger, a range": from_ledger,
    "ledger, a range, transactions found": scanned_from_ledger,
    "ledger, a call a block": blocks_from_ledger,
}


def check_sums(places: Places, after: int) -> dict[str, int]:
    """CRC-32 over the bytes of each transaction of the first blocks, in order, by place."""

    def of(pieces: Iterable[bytes | memoryview]) -> int:
        total = 0
        for piece in pieces:
            total = zlib.crc32(piece, total)
        return total

    heights = range(after)
    select, replica, ledger = places.database.execute, places.replica, places.ledger
    return {
        "sqlite": of(row[0] for height in heights for row in select(SELECT, (height,))),
        "replica": of(t for piece in held(places, 0, after) for *_, t in transactions_of(piece)),
        "objects": of(view for piece in held(places, 0, after) for view in piece.views()),
        "replica, calls": of(memoryview(replica.block(height)[1]) for height in heights),  # type: ignore[index]
        "range": of(t for piece in ranges.pieces(ledger, 0, after) for *_, t in transactions_of(piece)),
        "ledger, calls": of(memoryview(ledger.block(height).records) for height in heights),
    }


@pytest.mark.parametrize("way", WAYS)
def test_blocks(benchmark: Any, places: Places, way: str) -> None:
    read = WAYS[way]
    assert len(set(check_sums(places, COUNTS[-1]).values())) == 1
    medians = {}
    for count in COUNTS:
        ratios, ours = [], []
        for turn in range(TURNS):
            first = (turn * 37) % max(1, COUNTS[-1] - count + 1)
            theirs = seconds(lambda: sqlite(places.database, first, first + count))  # noqa: B023
            ours.append(seconds(lambda: read(places, first, first + count)))  # noqa: B023
            ratios.append(theirs / ours[-1])
        medians[count] = statistics.median(ratios)
        print(
            f"{places.record_bytes:.0f} bytes a transaction, {count} blocks of 4, {way}: {medians[count]:.3g} × SQLite, "
            f"{statistics.median(ours) * 1e6:.1f} µs"
        )
    benchmark.group = f"{places.record_bytes:.0f} bytes a transaction, {COUNTS[-1]} blocks of 4"
    benchmark.pedantic(lambda: read(places, 0, COUNTS[-1]), rounds=TURNS, warmup_rounds=1)
    benchmark.extra_info.update({"to_reference": medians[COUNTS[-1]], "to_sqlite": medians, "full": FULL})
