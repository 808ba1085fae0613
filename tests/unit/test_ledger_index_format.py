"""Index files to the byte: read by their description alone (docs/index-format.md), and their tables under hostile keys."""

from __future__ import annotations

import hashlib
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from ledgers import small

from baash.ledger.index import merge as merging
from baash.ledger.index import pages
from baash.ledger.index.building import build, merge_files
from baash.ledger.index.merge import grouped, in_memory_merged
from baash.ledger.index.pages import name_of, open_file, write
from baash.ledger.index.tables import BY_NAME, EXTENT, TABLES, Run, in_memory
from baash.ledger.reader import Ledger
from baash.ledger.transactions import scan_rounds

PAGE = 4096
M = (1 << 64) - 1


def step(x: int, word: int) -> int:
    x = (x ^ word) * 0x9E3779B97F4A7C15 & M
    return x ^ x >> 32


def seal(page: bytes, salt: int, number: int) -> int:
    s = step(step(0x6261617368696478, salt), number)
    lanes = [step(s, i) for i in range(8)]
    for j, (word,) in enumerate(struct.iter_unpack("<Q", page[:4088])):
        lanes[j % 8] = step(lanes[j % 8], word)
    for lane in lanes:
        s = step(s, lane)
    return s


# Row of each table, as the page has it; the key first.
ROWS = {
    "ids": "<QII", "entities": "<QQIIB", "references": "<QQI", "names": "<QI", "folders": "<QI", "hashes": "<QI", "times": "<QI",
    "issuers": "<QQII", "issuer_numbers": "<I", "operations": "<QII", "operation_numbers": "<I", "places": "<I", "blocks": "<Q",
    "segments": "<II10Q", "roots": "<32s",
}  # fmt: skip


def test_a_reader_written_from_the_page(tmp_path: Path) -> None:
    path = small(tmp_path / "l").path
    build(path)
    (file,) = path.glob("index-*")
    raw = file.read_bytes()
    magic, salt, count = struct.unpack_from("<16sQQ", raw)
    assert magic == b"baash index v1\n\0" and count * PAGE == len(raw)
    previous, commit, checksum = (raw[at : at + 32] for at in (64, 96, 128))
    extent = struct.unpack_from("<7QIIQQ", raw, 160)
    with Ledger(path, scan=True) as ledger:
        last = ledger.rounds[-1]
        all_ = [s.transaction(i) for s in scan_rounds(ledger) for i in range(len(s.info))]
        places = {(last.view.view, last.segment, last.slot, last.number): "the end"}
        assert raw[32:64] == ledger.id and previous == bytes(32) and commit == last.hash
        assert checksum == last.raw[-32:].tobytes() and salt == int.from_bytes(commit[:8], "little")
        totals = (0, len(ledger.rounds), 0, ledger.block_total, 0, ledger.transaction_total, ledger.rejection_total)
        assert extent[:7] == totals and extent[7:] in places
        files = {(p.view, p.segment): p for p in ledger.segments}
    assert seal(raw[:PAGE], 0, 0) == int.from_bytes(raw[4088:4096], "little")
    for number in range(1, count):
        page = raw[number * PAGE : (number + 1) * PAGE]
        assert seal(page, salt, number) == int.from_bytes(page[4088:], "little"), number
    found: dict[str, list[tuple[int, ...]]] = {}
    for i, (name, form) in enumerate(ROWS.items()):
        first, rows = struct.unpack_from("<QQ", raw, 240 + 40 * i)
        size = struct.calcsize(form)
        each = 4088 // size
        found[name] = [struct.unpack_from(form, raw, (first + r // each) * PAGE + r % each * size) for r in range(rows)]
        if name not in ("issuer_numbers", "operation_numbers", "places", "segments", "roots"):
            assert found[name] == sorted(found[name]), name
    keys = sorted((int.from_bytes(t.id[:8], "big"), t.number) for t in all_)
    assert [(key, number) for key, number, _ in found["ids"]] == keys
    for key, number, place in found["ids"]:
        row = next(s for s in found["segments"] if s[9] <= number < s[9] + s[10])
        data = files[row[0], row[1]].data["records"]
        record = files[row[0], row[1]].path.read_bytes()[data.offset + 8 * place :][: len(all_[number].raw)]
        assert record == all_[number].raw and found["places"][number] == (place,)
        assert hashlib.sha256(record).digest()[:8] == key.to_bytes(8, "big")
    for issuer, issuer2, start, many in found["issuers"]:
        sent = [n for (n,) in found["issuer_numbers"][start : start + many]]
        assert sent == [t.number for t in all_ if t.issuer == issuer.to_bytes(8, "big") + issuer2.to_bytes(8, "big")]
    entity, entity2, number, place, operation = found["entities"][3]
    digest = hashlib.sha256(b"\0\2" + all_[number].entity).digest()
    assert digest[:16] == entity.to_bytes(8, "big") + entity2.to_bytes(8, "big") and operation == all_[number].operation
    assert found["places"][number] == (place,)


def test_the_page_lists_the_tables_in_their_order() -> None:
    text = (Path(__file__).parents[2] / "docs/index-format.md").read_text()
    listed = [line.split("`")[1] for line in text.split("| table | row |")[1].splitlines() if line.startswith("| `")]
    assert listed == [t.name for t in TABLES] == list(ROWS)
    assert {t.name: t.dtype.itemsize for t in TABLES} == {name: struct.calcsize(form) for name, form in ROWS.items()}


def made_up(draw: random.Random, first: int, count: int) -> Run:
    """A run with keys that nobody would hash to: few first words, some of them the outermost, under one second word and another."""
    words = [0, 1, 2, 1 << 63, M - 1, M]
    tables: dict[str, np.ndarray] = {}
    for table in TABLES:
        if table.numbers:
            names = (table.dtype.names or ())[: table.key_words]
            rows = np.zeros(count, dtype=[*((n, "<u8") for n in names), ("number", "<u4")])
        else:
            rows = np.zeros(count if table.key_words or table.name == "places" else 0, dtype=table.dtype)
        if not table.key_words:
            tables.setdefault(table.name, rows)
            continue
        for name in ("key", "key2")[: table.key_words]:
            rows[name] = [draw.choice(words) for _ in range(count)]
        if table.name == "blocks":
            rows["key"] = np.arange(count)
        else:
            rows["number"] = np.arange(count)
            rows = rows[np.lexsort([rows[n] for n in ("number", "key2", "key") if n in (rows.dtype.names or ())])]
        if table.numbers:
            tables[table.name], tables[table.numbers] = grouped(rows, table)
        else:
            tables[table.name] = rows
    extent = np.zeros(1, dtype=EXTENT)
    for name in ("round", "block", "transaction"):
        extent[f"first_{name}"], extent[f"{name}s"] = first, count
    extent["previous"], extent["commit"] = first % 251 + 1, (first + count) % 251 + 1
    return in_memory(extent[0], tables)


def all_numbers(run: Run, table: str) -> dict[tuple[int, ...], list[int]]:
    words = [0, 1, 2, 3, 1 << 63, M - 1, M]
    keys = [(a, b) for a in words for b in words] if BY_NAME[table].key_words == 2 else [(a,) for a in words]
    for key in keys:
        count, numbers = run.numbers(table, key)
        assert count == len(numbers) and run.numbers(table, key, newest=2)[1].tolist() == numbers.tolist()[-2:]
    return {key: run.numbers(table, key)[1].tolist() for key in keys}


@pytest.mark.parametrize("seed", range(4))
def test_tables_in_memory_in_files_and_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The same answers from rows in memory, from pages with few fences, and from merges a few rows at a time."""
    monkeypatch.setattr(pages, "FENCES_MAX", 3)
    monkeypatch.setattr(merging, "CHUNK", 7)
    draw = random.Random(seed)
    runs, at = [], 0
    for _ in range(draw.randrange(2, 5)):
        runs.append(made_up(draw, at, draw.choice([1, 5, 60, 1500])))
        at = runs[-1].after
    merged = in_memory_merged(runs)
    for run in runs:
        write(tmp_path, run)
    files = [open_file(tmp_path / name_of(run.first_round, run.after_round)) for run in runs]
    merge_files(tmp_path, files)
    monkeypatch.setattr(merging, "CHUNK", 1 << 16)
    for run in files:
        run.close()
    files = [open_file(tmp_path / name_of(run.first_round, run.after_round)) for run in runs]
    whole = open_file(tmp_path / name_of(0, at))
    assert (whole.first, whole.after, whole.extent.tobytes()) == (0, at, merged.extent.tobytes())
    for table in TABLES:
        if table.key_words and table.name != "blocks":
            parts = [all_numbers(run, table.name) for run in runs]
            assert parts == [all_numbers(run, table.name) for run in files], table.name
            wanted = {key: [n for part in parts for n in part[key]] for key in parts[0]}
            assert wanted == all_numbers(merged, table.name) == all_numbers(whole, table.name), table.name
        rows = whole.tables[table.name].read()
        assert rows.tobytes() == merged.tables[table.name].read().tobytes()
        some = np.array([draw.randrange(len(rows)) for _ in range(9)] if len(rows) else [], dtype=np.uint64)
        assert whole.tables[table.name].take(some).tobytes() == rows[some.astype(np.int64)].tobytes()
    assert [whole.height(n) for n in range(at)] == [merged.height(n) for n in range(at)] == list(range(at))
    assert whole.heights(np.arange(at, dtype=np.uint64)).tolist() == list(range(at))
    for low, high in ((0, 0), (0, M), (2, M - 1), (3, 1 << 62)):
        assert whole.between("times", low, high).tolist() == merged.between("times", low, high).tolist()
    for run in [*files, whole]:
        run.close()
