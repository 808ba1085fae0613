"""Look-ups in a ledger beside the same in SQLite: one transaction by its id, a thousand at once, the history of an entity; warm and cold.

``pytest -s bench/bench_lookups.py`` (smoke size), ``BAASH_BENCH=full`` for 10 million transactions of 100 bytes (some minutes, 6 GB).
``BAASH_BENCH_LOOKUPS=FOLDER`` keeps ledger and databases there, and uses those that are there.

Both sides get the same questions by turns, a few hundred at a time, and the smallest of all times counts, for wall clock and for CPU:
on a shared machine a difference of times says little, but the ratio of such two stands. SQLite is as fast as it can be made
easily: read-only, one statement prepared once, the table either clustered by id (WITHOUT ROWID) or with a unique index, whichever is
faster. Cold: the pages of all files are dropped from the page cache before each turn (POSIX_FADV_DONTNEED).
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure import FULL

from baash import kernels
from baash.ledger.index.building import build
from baash.ledger.index.lookup import Lookup
from baash.ledger.reader import Ledger
from baash.ledger.transactions import scan_rounds
from baash.records import TRANSACTION, entity_hash

LOADED, UPDATED = (9_900_000, 200_000) if FULL else (3_000, 600)
TURNS = 15 if FULL else 2
ASKED = 1000 if FULL else 100
COLD_ASKED = 200 if FULL else 20


def written(folder: Path) -> Path:
    """A ledger of two runs: entities created, and some of them updated."""
    ledger = folder / "ledger"
    if not ledger.exists():
        environment = {**os.environ, "BAASH_KEYS": str(folder / "keys")}
        shape = ["--record-bytes", "100", "--block-size", "250", "--seed", "1", "--ranks", "1", "--launcher", "none"]
        for workload, count in (("ycsb-load", LOADED), ("ycsb-a", UPDATED)):
            more = ["--workload", workload, "--transactions", count, "--record-count", LOADED, "--ledger", ledger]
            line = [sys.executable, "-c", "from baash.cli import main; main()", "run", *shape, *map(str, more)]
            subprocess.run(line, env=environment, check=True, capture_output=True)
    return ledger


def databases(ledger: Path, folder: Path) -> dict[str, Path]:
    """SQLite's two ways to keep the same transactions: a table in the order of the ledger with an index by id, and a table that is
    sorted by id; both with an index by entity."""
    paths = {name: folder / f"{name}.sqlite" for name in ("indexed", "clustered")}
    if not paths["clustered"].exists():
        paths["indexed"].unlink(missing_ok=True)
        base = sqlite3.connect(paths["indexed"], isolation_level=None)
        base.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-1000000; BEGIN")
        base.execute("CREATE TABLE t(id BLOB, entity BLOB, record BLOB)")
        base.executemany("INSERT INTO t VALUES(?, ?, ?)", rows_of(ledger))
        base.execute("CREATE UNIQUE INDEX by_id ON t(id)")
        base.execute("CREATE INDEX by_entity ON t(entity)")
        base.execute("COMMIT")
        base.execute("ATTACH ? AS other", (f"{paths['clustered']}.made",))
        base.executescript("PRAGMA other.journal_mode=OFF; PRAGMA other.synchronous=OFF; BEGIN")
        base.execute("CREATE TABLE other.t(id BLOB PRIMARY KEY, entity BLOB, record BLOB) WITHOUT ROWID")
        base.execute("INSERT INTO other.t SELECT * FROM main.t ORDER BY id")
        base.execute("CREATE INDEX other.by_entity ON t(entity)")
        base.execute("COMMIT")
        base.close()
        Path(f"{paths['clustered']}.made").rename(paths["clustered"])
    return paths


def rows_of(path: Path) -> Iterator[tuple[bytes, bytes, bytes]]:
    with Ledger(path) as ledger:
        for scanned in scan_rounds(ledger):
            data, info = scanned.records.tobytes(), scanned.info
            ids = kernels.transaction_ids(scanned.records, info).tobytes()
            starts, sizes, names = (info[n].tolist() for n in ("start", "total_bytes", "entity_bytes"))
            for i, (start, size, name) in enumerate(zip(starts, sizes, names, strict=True)):
                head = start + TRANSACTION.itemsize
                yield ids[32 * i : 32 * i + 32], data[head : head + name], data[start : start + size]


def forget(files: Sequence[Path]) -> None:
    """Drop the files' pages from the page cache."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


class Turns:
    """The least wall-clock and CPU time an item, of turns that several sides take."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    def take(self, side: str, work: Callable[[], Any], items: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        wall, cpu = (time.perf_counter() - wall) / items, (time.process_time() - cpu) / items
        self.wall[side] = min(wall, self.wall.get(side, wall))
        self.cpu[side] = min(cpu, self.cpu.get(side, cpu))

    def told(self) -> dict[str, Any]:
        other = min(self.wall[name] for name in self.wall if name != "baash")
        return {
            "wall_us": {name: round(1e6 * s, 2) for name, s in self.wall.items()},
            "cpu_us": {name: round(1e6 * s, 2) for name, s in self.cpu.items()},
            "times_as_fast": round(other / self.wall["baash"], 2),
        }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    kept = os.environ.get("BAASH_BENCH_LOOKUPS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("lookups")
    folder.mkdir(exist_ok=True)
    ledger = written(folder)
    build(ledger)
    return ledger, databases(ledger, folder)


def test_lookups(made: tuple[Path, dict[str, Path]]) -> None:
    path, bases = made
    draw = random.Random(1)
    results: dict[str, Any] = {}
    with Ledger(path) as ledger:
        total = ledger.transaction_total
        lookup = Lookup(ledger)
        results["transactions"], results["index_files"] = total, len(ledger.chain.runs)
        sample = lookup.read(np.array(draw.sample(range(total), ASKED * 3)))
    ids, names = [t.id for t in sample], [t.entity for t in sample]
    answers = {t.id: t.raw for t in sample}
    for what, cold in (("one", False), ("thousand", False), ("history", False), ("one", True), ("history", True)):
        turns = Turns()
        for _ in range(TURNS):
            asked = draw.sample(ids, COLD_ASKED if cold else ASKED)
            entities = draw.sample(names, COLD_ASKED if cold else ASKED)
            for side in ["baash", *bases]:
                if cold:
                    forget([*path.iterdir(), *bases.values()])
                ask = in_ledger(path, what) if side == "baash" else in_sqlite(bases[side], what)
                questions: Any = entities if what == "history" else asked
                if not cold:
                    ask(questions)
                turns.take(side, lambda ask=ask, q=questions: ask(q), len(questions))
                if what != "history":
                    assert ask(questions) == [answers[i] for i in questions]
                else:
                    assert sum(map(len, ask(questions))) >= len(questions)
        results[f"{what}, {'cold' if cold else 'warm'}"] = turns.told()
    print(json.dumps(results, indent=1))


def in_ledger(path: Path, what: str) -> Callable[[list[bytes]], list[Any]]:
    ledger = Ledger(path)
    lookup = Lookup(ledger)

    def one(ids: list[bytes]) -> list[Any]:
        return [found.raw if found else None for found in map(lookup.find, ids)]

    def thousand(ids: list[bytes]) -> list[Any]:
        found = lookup.transactions(np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 32))
        data, starts, ends = found.records.tobytes(), found.starts.tolist(), (found.starts + found.sizes).tolist()
        return [data[start:end] for start, end in zip(starts, ends, strict=True)]

    def history(names: list[bytes]) -> list[Any]:
        return [[one.raw for one in lookup.history(entity_hash(name))[1]] for name in names]

    return {"one": one, "thousand": thousand, "history": history}[what]


def in_sqlite(path: Path, what: str) -> Callable[[list[bytes]], list[Any]]:
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def one(ids: list[bytes]) -> list[Any]:
        return [base.execute("SELECT record FROM t WHERE id=?", (i,)).fetchone()[0] for i in ids]

    def thousand(ids: list[bytes]) -> list[Any]:
        several = f"SELECT id, record FROM t WHERE id IN ({','.join('?' * len(ids))})"
        found = dict(base.execute(several, ids).fetchall())
        return [found[i] for i in ids]

    def history(names: list[bytes]) -> list[Any]:
        return [[r for (r,) in base.execute("SELECT record FROM t WHERE entity=?", (n,)).fetchall()] for n in names]

    return {"one": one, "thousand": thousand, "history": history}[what]
