"""The kernels of index files as Python calls them: shapes, limits, and what a file that is wrong gives. What they find is tested in C
(csrc/tests/test_index.c) and by the ledger's own tests."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from baash import kernels
from baash.kernels.index import PAGE_BYTES, PAGE_DATA

ROW = np.dtype([("key", "<u8"), ("number", "<u4"), ("place", "<u4")])
COUNT = 2000
EACH = PAGE_DATA // ROW.itemsize


@pytest.fixture
def rows() -> np.ndarray:
    made = np.zeros(COUNT, dtype=ROW)
    made["key"] = np.sort(np.random.default_rng(1).integers(0, 1 << 64, COUNT, dtype=np.uint64))
    made["number"], made["place"] = np.arange(COUNT), 7 * np.arange(COUNT)
    return made


@pytest.fixture
def path(tmp_path: Path, rows: np.ndarray) -> Path:
    pages = np.zeros((-(-COUNT // EACH), PAGE_BYTES), dtype=np.uint8)
    for i, page in enumerate(pages):
        part = rows[i * EACH : (i + 1) * EACH].tobytes()
        page[: len(part)] = np.frombuffer(part, dtype=np.uint8)
    kernels.index_seal(pages, 3, 0)
    (tmp_path / "pages").write_bytes(pages.tobytes())
    return tmp_path / "pages"


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("fences", [0, 1, 5])
def test_one_and_many(file: int, rows: np.ndarray, fences: int) -> None:
    known = rows["key"][:: 2 * EACH][:fences]
    table = kernels.IndexTable(file, 0, COUNT, ROW, 1, 3, known, 2 * EACH)
    for i in range(0, COUNT, 97):
        key = int(rows["key"][i])
        assert table.find(key, key) == (i, 1, i, 7 * i)
        assert table.find(key + 1, key + 1)[:2] == (i + 1, 0)
    firsts, counts, found = table.find_all(rows["key"])
    assert firsts.tolist() == list(range(COUNT)) and (counts == 1).all() and found.tobytes() == rows.tobytes()
    firsts, counts, found = table.find_all(rows["key"] + np.uint64(1), np.full(COUNT, (1 << 64) - 1, dtype=np.uint64))
    assert (firsts + counts == COUNT).all()
    assert table.read().tobytes() == rows.tobytes() and table.read(5, 3).tobytes() == rows[5:8].tobytes()
    assert table.take(np.array([1999, 0, 255])).tobytes() == rows[[1999, 0, 255]].tobytes()
    assert kernels.IndexTable(file, 0, COUNT, np.dtype("<u4"), 0, 3).first_u4(2) == int(rows["number"][0])


def test_what_is_not_there(file: int, path: Path) -> None:
    table = kernels.IndexTable(file, 0, COUNT, ROW, 1, 3)
    assert len(table.find_all([])[0]) == len(table.read(0, 0)) == len(table.take([])) == 0
    for outside in (lambda: table.read(COUNT, 1), lambda: table.take([COUNT]), lambda: table.first_u4(COUNT)):
        with pytest.raises(ValueError):
            outside()
    with pytest.raises(ValueError, match="without a key"):
        kernels.IndexTable(file, 0, COUNT, ROW, 0, 3).find(0, 0)
    with pytest.raises(ValueError, match="at most 64 bytes"):
        kernels.IndexTable(file, 0, COUNT, np.dtype("V72"), 1, 3)
    with pytest.raises(kernels.PageFault) as fault:
        kernels.IndexTable(file, 0, COUNT, ROW, 1, 4).read()
    assert fault.value.args == (0, -1)
    path.write_bytes(path.read_bytes()[: 2 * PAGE_BYTES])
    with pytest.raises(kernels.PageFault) as fault:
        table.read()
    assert fault.value.args == (2, 0)
    with pytest.raises(kernels.PageFault) as fault:
        kernels.IndexTable(-1, 0, COUNT, ROW, 1, 3).find(0, 0)
    assert fault.value.args == (0, errno.EBADF)


def test_records(tmp_path: Path) -> None:
    sizes = [64, 72, 5000, 1 << 20, 64]
    made = [bytes(8) + size.to_bytes(4, "little") + bytes([i]) * (size - 12) for i, size in enumerate(sizes)]
    (tmp_path / "records").write_bytes(b"".join(made))
    file, starts = os.open(tmp_path / "records", os.O_RDONLY), np.cumsum([0, *sizes[:-1]])
    order = [4, 2, 2, 0, 3, 1]
    records, ends = kernels.index_records(file, sum(sizes), starts[order])
    assert records.tobytes() == b"".join(made[i] for i in order) and int(ends[-1]) == len(records)
    assert [len(a) for a in kernels.index_records(file, sum(sizes), [])] == [0, 0]
    for wrong, end in (
        (1, sum(sizes)),
        (sum(sizes) - 8, sum(sizes)),
        (1 << 63, sum(sizes)),
        (int(starts[4]), sum(sizes) - 8),
    ):
        with pytest.raises(ValueError, match="no record at"):
            kernels.index_records(file, end, np.array([wrong], dtype=np.uint64))
    os.truncate(tmp_path / "records", sum(sizes) - 8)
    with pytest.raises(OSError) as error:
        kernels.index_records(file, sum(sizes), [int(starts[4])])
    assert error.value.errno == 0
    os.close(file)
