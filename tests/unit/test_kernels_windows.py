"""``check_window`` and ``read``: what their callers may rely on. The verdicts themselves: ``test_protocol_windows.py``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import batch_of, record
from worlds import World

from baash import kernels
from baash.protocol.windows import form
from baash.records import BLOCK_ENTRY, ZERO_HASH, Operation, Reason

READY = [kernel.name for kernel in kernels.available() if kernel.state == "ready"]
VIEW = World(block_size=4).view
ENTRIES = np.zeros(0, dtype=BLOCK_ENTRY)


@given(st.lists(st.integers(0, 400), max_size=40), st.binary(max_size=80))
def test_read_is_scan_and_both_hashes(sizes: list[int], tail: bytes) -> None:
    data = b"".join(record(Operation.NOTE, f"e{i}", i, payload=bytes(n)) for i, n in enumerate(sizes)) + tail
    info, ids, entities, reason, at = kernels.read(data)
    scanned = kernels.scan(data)
    assert info.tobytes() == scanned[0].tobytes() and (reason, at) == scanned[1:]
    assert np.array_equal(ids, kernels.transaction_ids(data, info))
    assert np.array_equal(entities, kernels.entity_hashes(data, info))


def test_read_grows() -> None:
    """More records than the first guess holds, over several chunks."""
    data = b"".join(record(Operation.NOTE, "e", i) for i in range(3000))
    info, ids, _, reason, at = kernels.read(data)
    assert (reason, at) == (0, 3000) and np.array_equal(ids, kernels.transaction_ids(data, info))


@pytest.mark.parametrize("kernel", READY)
@pytest.mark.parametrize("count", [1, 5, 1000])
def test_a_whole_window(kernel: str, count: int) -> None:
    batch = batch_of(record(Operation.CREATE, f"e{i}", i, payload=bytes(i % 90)) for i in range(count))
    window = form(VIEW, 0, 0, ZERO_HASH, ZERO_HASH, batch, 1)
    found = kernels.check_window(window.row.tobytes(), window.entries, window.entities, batch.records, 4, kernel)
    assert (found.whole, found.valid_blocks, found.reason) == (True, -(-count // 4), 0)
    assert found.info.tobytes() == batch.info.tobytes()
    assert np.array_equal(found.ids, batch.ids) and np.array_equal(found.entities, batch.entities)


def test_a_pair_that_comes_again() -> None:
    batch = batch_of(record(Operation.NOTE, "e", n, source="ab"[n == 7]) for n in (1, 3, 2, 7, 3, 7, 1, 0, 3))
    window = form(VIEW, 0, 0, ZERO_HASH, ZERO_HASH, batch, 1)
    found = kernels.check_window(window.row.tobytes(), window.entries, window.entities, batch.records, 4)
    assert (found.whole, found.valid_blocks, found.reason, found.bad_index) == (True, 1, Reason.REPLAYED, 4)


@given(st.binary(max_size=800), st.binary(max_size=200), st.binary(max_size=800), st.integers(0, (1 << 32) - 1))
def test_noise_is_no_window(header: bytes, entries: bytes, records: bytes, block_size: int) -> None:
    rows = np.frombuffer(entries[: len(entries) // 40 * 40], dtype=BLOCK_ENTRY)
    found = kernels.check_window(header[:208].ljust(208, b"\1"), rows, bytes(len(rows) * 8), records, block_size)
    assert not found.whole and found.valid_blocks == 0 and found.reason and not len(found.info)


def test_claims_ask_for_no_memory() -> None:
    """Four thousand million transactions in the header, none in the records."""
    found = kernels.check_window(b"\xff" * 208, ENTRIES, b"", b"", 4)
    assert (found.whole, found.reason) == (False, Reason.WINDOW_MISMATCH)


@pytest.mark.parametrize(
    ("header", "entities"), [(bytes(207), b""), (bytes(209), b""), (bytes(208), bytes(7)), (bytes(0), b"")]
)
def test_shapes(header: bytes, entities: bytes) -> None:
    with pytest.raises(ValueError, match="differ"):
        kernels.check_window(header, ENTRIES, entities, b"", 4)
