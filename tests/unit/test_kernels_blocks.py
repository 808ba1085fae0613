"""Content digests, chains of headers, rows: against hashlib over the bytes of docs/ledger-format.md section 4."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from baash import kernels
from baash.kernels import arrays, blocks
from baash.records import BLOCK_ENTRY, BLOCK_ROW, TRANSACTION_INFO

RANDOM = np.random.default_rng(4)


def test_layouts_are_those_of_records() -> None:
    assert arrays.TRANSACTION_INFO == TRANSACTION_INFO
    assert BLOCK_ENTRY.itemsize == blocks.ENTRY_BYTES
    assert BLOCK_ROW.itemsize == blocks.ROW_BYTES


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_content_digests(count: int) -> None:
    entries = RANDOM.integers(0, 256, count * 40, dtype=np.uint8).view(BLOCK_ENTRY)
    digests = kernels.content_digests(entries, 0xFFFFFFFE)
    for entry, digest in zip(entries, digests, strict=True):
        numbers = struct.pack("<III", 0xFFFFFFFE, entry["count"], entry["bytes"])
        assert digest.tobytes() == hashlib.sha256(b"\0\x03\x01\0" + numbers + entry["root"].tobytes()).digest()


@pytest.mark.parametrize("count", [0, 1, 7])
def test_chain(count: int) -> None:
    rows = RANDOM.integers(0, 256, count * 128, dtype=np.uint8).view(BLOCK_ROW)
    before, parent = rows.copy(), b"p" * 32
    hashes = kernels.chain_blocks(rows, 41, parent)
    for i in range(count):
        before[i]["height"], before[i]["parent"] = 41 + i, np.frombuffer(parent, dtype=np.uint8)
        parent = hashlib.sha256(before[i].tobytes()[:112]).digest()
        assert hashes[i].tobytes() == parent
    assert rows.tobytes() == before.tobytes()
    assert (kernels.hash_rows(rows, 112) == hashes).all()


def test_chain_writes_in_place_or_not_at_all() -> None:
    rows = np.zeros(4, dtype=BLOCK_ROW)
    with pytest.raises(ValueError):
        kernels.chain_blocks(rows[::2], 0, bytes(32))
    with pytest.raises(ValueError):
        kernels.chain_blocks(rows, 0, bytes(31))
    rows.flags.writeable = False
    with pytest.raises(ValueError):
        kernels.chain_blocks(rows, 0, bytes(32))


@pytest.mark.parametrize("kernel", [kernel.name for kernel in kernels.available() if kernel.state == "ready"])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 700])
def test_rows(kernel: str, count: int) -> None:
    rows = RANDOM.integers(0, 256, (count, 77), dtype=np.uint8)
    for taken in (0, 55, 77):
        got = kernels.hash_rows(rows, taken, kernel=kernel)
        assert [h.tobytes() for h in got] == [hashlib.sha256(row.tobytes()[:taken]).digest() for row in rows]
    with pytest.raises(ValueError):
        kernels.hash_rows(rows, 78)
