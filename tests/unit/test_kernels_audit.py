"""The kernels of an audit against plain Python: acts, prints, rules replayed, blocks matched with their headers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import batch_of, key_of, record

from baash import batch as batches
from baash import kernels
from baash.records import ANY_VERSION, BLOCK_ROW, Operation, Reason

SEEDS = np.array([3, 5, 7], dtype=np.uint64)
OWNERS = np.arange(4096, dtype=np.uint32) % 3


def some_records(count: int) -> batches.Batch:
    operations = [Operation(1 + i % 5) for i in range(count)]
    return batch_of(
        record(
            operation,
            f"e{i % 7}",
            i % 11,
            source=f"s{i % 3}",
            expected=i % 4 if operation in (Operation.UPDATE, Operation.RETIRE) else ANY_VERSION,
            references=[bytes(32)] * (i % 4 == 0),
            key=key_of("somebody") if i % 6 == 0 else None,
        )
        for i, operation in enumerate(operations)
    )


def take(batch: batches.Batch, first: int, cluster: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, kernels.Taken]:
    n = len(batch)
    acts, pairs, ids8 = np.zeros(n, dtype=kernels.ACT), np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.uint64)
    taken = kernels.take_acts(acts, pairs, ids8, batch.info, batch.ids, batch.entities, first, OWNERS, cluster, SEEDS)
    return acts[: taken.acts], pairs, ids8, taken


def test_acts_are_what_the_transactions_say() -> None:
    batch = some_records(100)
    acts, pairs, ids8, taken = take(batch, 1000, 2)
    info = batch.info
    chosen = info["operation"] != Operation.NOTE
    assert (acts["number"] == 1000 + np.flatnonzero(chosen)).all()
    assert (acts["operation"] == info["operation"][chosen]).all()
    assert (acts["expected_version"] == info["expected_version"][chosen]).all()
    assert acts["key"].tobytes() == batch.entities[chosen][:, :16].tobytes()
    assert ids8.tobytes() == batch.ids[:, :8].tobytes()
    assert (taken.signed, taken.refers) == ((info["flags"] & 1).sum(), (info["reference_count"] > 0).sum())
    shards = (batch.short_hashes & np.uint64(4095)).astype(int)
    assert taken.strangers == (OWNERS[shards] != 2).sum() > 0
    assert (pairs == kernels.pair_prints(info["issuer"], info["sequence"], SEEDS)).all()


def test_prints_are_those_of_pairs() -> None:
    issuers = np.repeat(np.random.default_rng(1).integers(0, 256, (30, 16), dtype=np.uint8), 1000, axis=0)
    numbers = np.tile(np.arange(1000, dtype=np.uint64), 30)
    prints = kernels.pair_prints(issuers, numbers, SEEDS)
    assert len(np.unique(prints)) == 30_000
    order = np.random.default_rng(2).permutation(30_000)
    assert (kernels.pair_prints(issuers[order], numbers[order], SEEDS) == prints[order]).all()
    assert not (kernels.pair_prints(issuers, numbers, SEEDS + np.uint64(1)) == prints).any(), "the seeds count"
    swapped = np.concatenate((issuers[:, 8:], issuers[:, :8]), axis=1)
    assert not np.isin(kernels.pair_prints(swapped, numbers, SEEDS), prints).any()


def test_nothing_at_all() -> None:
    acts, pairs, ids8, taken = take(batches.EMPTY, 0, 0)
    assert (len(acts), len(pairs), len(ids8), taken) == (0, 0, 0, kernels.Taken(0, 0, 0, 0))
    assert len(kernels.follow_rules(kernels.EntityTable(), acts)) == 0
    assert kernels.match_blocks(np.zeros(0, dtype=BLOCK_ROW), batches.EMPTY.info, batches.EMPTY.ids, 0)


def test_arrays_that_do_not_fit_are_refused() -> None:
    batch = some_records(5)
    room = np.zeros(5, dtype=np.uint64)
    with pytest.raises(ValueError, match="ACT"):
        kernels.follow_rules(kernels.EntityTable(), np.zeros(5, dtype=np.uint64))
    for acts, owners in ((4, OWNERS), (5, OWNERS[:7])):
        with pytest.raises(ValueError):
            kernels.take_acts(
                np.zeros(acts, dtype=kernels.ACT), room, room.copy(), batch.info, batch.ids, batch.entities, 0, owners, 0, SEEDS
            )  # fmt: skip
    with pytest.raises(ValueError):  # numbers beyond u4
        take(batch, 2**32 - 3, 0)


acts_of = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 9), st.sampled_from([ANY_VERSION, 0, 1, 2, 3])), max_size=80
)


@settings(max_examples=150, deadline=None)
@given(acts_of, st.integers(1, 9))
def test_rules_replayed_are_the_rules(drawn: list[tuple[int, int, int]], cut: int) -> None:
    """Against a dictionary, in batches of any size."""
    table, model = kernels.EntityTable(1), dict[int, tuple[int, bool]]()
    acts = np.zeros(len(drawn), dtype=kernels.ACT)
    expected = []
    for i, (operation, entity, version) in enumerate(drawn):
        acts[i] = ((entity, entity * 77), version, i, operation, (0, 0, 0))
        now, exists = model.get(entity, (0, False))
        reason = Reason.NONE
        if operation == Operation.CREATE:
            reason = Reason.ENTITY_EXISTS if exists else reason
        elif operation != Operation.NOTE:
            wrong = operation != Operation.USE and version not in (ANY_VERSION, now)
            reason = Reason.ENTITY_UNKNOWN if not exists else Reason.VERSION_MISMATCH if wrong else reason
        if reason is Reason.NONE and operation not in (Operation.USE, Operation.NOTE):
            model[entity] = (now + 1, operation != Operation.RETIRE)
        expected.append(reason)
    found = [kernels.follow_rules(table, acts[i : i + cut]).tolist() for i in range(0, len(acts), cut)]
    assert [r for rows in found for r in rows] == expected
    keys = np.array([(e, e * 77) for e in model], dtype="<u8").reshape(-1, 2).view(np.uint8)
    versions, exists, _ = table.lookup(keys)
    assert list(zip(versions.tolist(), exists.tolist(), strict=True)) == list(model.values())


def test_a_table_grows_while_rules_are_replayed() -> None:
    count = 50_000
    acts = np.zeros(2 * count, dtype=kernels.ACT)
    acts["key"] = np.tile(np.random.default_rng(3).integers(0, 2**64, (count, 2), dtype=np.uint64), (2, 1))
    acts["operation"], acts["expected_version"] = Operation.CREATE, ANY_VERSION
    reasons = kernels.follow_rules(table := kernels.EntityTable(1), acts)
    assert not reasons[:count].any() and (reasons[count:] == Reason.ENTITY_EXISTS).all() and len(table) == count


# --- blocks


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tree(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else leaf(b"")
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return leaf(b"\1" + tree(leaves[:middle]) + tree(leaves[middle:]))


def headers_of(batch: batches.Batch, sizes: list[int], cluster: int) -> np.ndarray:
    rows, at = np.zeros(len(sizes), dtype=BLOCK_ROW), 0
    for row, size in zip(rows, sizes, strict=True):
        part = batch.info[at : at + size]
        row["cluster"], row["count"], row["bytes"] = cluster, size, part["total_bytes"].sum()
        root = tree([bytes(i) for i in batch.ids[at : at + size]])
        content = b"\0\3\1\0" + row["cluster"].tobytes() + row["count"].tobytes() + row["bytes"].tobytes() + root
        row["content"] = np.frombuffer(leaf(content), dtype=np.uint8)
        at += size
    return rows


@pytest.mark.parametrize("sizes", [[1], [4, 4, 2], [7, 1, 1, 30, 5], [1] * 600, [0, 3]])
def test_blocks_match_their_headers(sizes: list[int]) -> None:
    batch = some_records(sum(sizes))
    rows = headers_of(batch, sizes, 3)

    def match(rows: np.ndarray, extra: int = 0) -> bool:
        return kernels.match_blocks(rows, batch.info, batch.ids.copy(), batch.records.nbytes + extra)

    assert match(rows)
    assert not match(rows, 8) and not match(rows[:-1]), "nothing may be left over"
    for block in {0, len(sizes) // 2, len(sizes) - 1}:
        for name, value in (("content", 1), ("count", 1), ("count", 2**32 - 1), ("bytes", 8), ("cluster", 1)):
            wrong = rows.copy()
            if name == "content":
                wrong["content"][block, 31] ^= 1
            else:
                wrong[name][block] = (int(wrong[name][block]) + value) % 2**32
            assert not match(wrong), (block, name)
