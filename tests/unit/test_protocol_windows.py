"""The verdict on a window, whole or with anything in it changed, against a second one that takes one step at a time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import batch_of, key_of, record
from plain_judge import content_root, list_digest, plain_batch, plain_entries, plain_judge
from worlds import World

from baash import kernels
from baash.batch import Batch
from baash.protocol.messages import Kind, encode, open_message
from baash.protocol.windows import Received, State, Verdict, form, judge, message, received
from baash.records import ANY_VERSION, BLOCK_ENTRY, WINDOW, ZERO_HASH, Decider, Operation, Reason

WORLDS = {
    (size, clusters): World(nodes=12, clusters=clusters, block_size=size)
    for size in (1, 3, 4, 50)
    for clusters in (1, 2)
}
CLAIMS = [name for name in WINDOW.names or () if name not in ("zero", "tag", "version")]


def state_of(batch: Batch | None) -> State:
    state = State(kernels.EntityTable(), kernels.ReplayTable(width=64))
    if batch is not None:
        reasons, _ = state.check(batch)
        valid = batch.select(reasons == 0)
        if len(valid):
            state.apply(valid, state.check(valid)[1], 0)
    return state


def some_records(draw: random.Random, count: int) -> list[bytes]:
    """Few entities, few issuers, numbers that come again, wait, or leave the range behind; some signed, some badly."""
    found: list[bytes] = []
    usual = (Operation.CREATE, Operation.NOTE)
    at = draw.choice((100, 130))
    for i in range(count):
        at += draw.choice((1,) * 60 + (2, 3, 70, 0, -3))
        operation = draw.choice(usual * 20 + tuple(Operation))
        versioned = operation in (Operation.UPDATE, Operation.RETIRE) and draw.random() < 0.3
        key = key_of("k") if draw.random() < 0.05 else None
        one = record(
            operation,
            f"e{at}-{i}" if draw.random() < 0.97 else f"e{draw.randrange(3)}",
            at,
            source=draw.choice("aab"),
            payload=draw.randbytes(draw.randrange(40)),
            expected=draw.randrange(3) if versioned else ANY_VERSION,
            references=[draw.randbytes(32)] * draw.choice((0, 0, 1)),
            key=key,
        )
        found.append(one if key is None or draw.random() < 0.9 else one[:-1] + bytes([one[-1] ^ 1]))
    return found


def counted(draw: random.Random, n: int, block_size: int) -> list[int]:
    counts = []
    while sum(counts) < n:
        counts.append(min(n - sum(counts), draw.randint(1, block_size)))
    return counts


def claims_of(view_row: np.ndarray, batch: Batch, counts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(header, entries, entity list) that are true of ``batch`` cut in blocks of ``counts``."""
    row, entries, written = view_row.copy(), plain_entries(batch, counts), batch.written()
    row["block_count"], row["transaction_count"], row["entity_count"] = len(entries), len(batch), len(written)
    row["records_bytes"] = batch.records.nbytes
    row["content_root"] = np.frombuffer(content_root(entries, int(row["cluster"])), dtype=np.uint8)
    row["entities"] = np.frombuffer(list_digest(written), dtype=np.uint8)
    return row, entries, written


def changed(draw: random.Random, part: bytes, width: int) -> bytes:
    """One thing about ``part``: a bit, a number, a row gone, a row twice, two rows in each other's place."""
    raw = bytearray(part)
    if len(raw) < width:
        return bytes(raw) + draw.randbytes(width)
    at = draw.randrange(len(raw) // width) * width
    other = draw.randrange(len(raw) // width) * width
    match draw.randrange(6):
        case 0:
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        case 1:
            size = draw.choice([n for n in (1, 2, 4, 8) if n <= len(raw)])
            place = draw.randrange(len(raw) // size) * size
            number = int.from_bytes(raw[place : place + size], "little")
            new = draw.choice((0, 1, number + 1, number - 1, 2 * number, (1 << 8 * size) - 1, 1 << (8 * size - 1)))
            raw[place : place + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
        case 2:
            del raw[at : at + width]
        case 3:
            raw[at:at] = raw[other : other + width]
        case 4:
            raw[at : at + width], raw[other : other + width] = raw[other : other + width], raw[at : at + width]
        case _:
            raw[at : at + width] = draw.randbytes(width)
    return bytes(raw)


def through_the_wire(row: np.ndarray, entries: bytes, entities: bytes, records: bytes) -> Received:
    parts = [row.tobytes(), b"", entries, entities, b"", b"", records]
    return received(open_message(encode(Kind.WINDOW, 1, 2, 0, Decider.MEMBERS, parts)))


def same(found: Verdict, wanted: Verdict) -> None:
    assert (found.prefix, found.reason, found.bad_index) == (wanted.prefix, wanted.reason, wanted.bad_index)
    if not len(wanted.batch):  # not whole
        return
    for a, b in ((found.batch.info, wanted.batch.info), (found.batch.ids, wanted.batch.ids)):
        assert a.tobytes() == b.tobytes()
    assert found.batch.entities.tobytes() == wanted.batch.entities.tobytes()
    assert (found.delta is None) == (wanted.delta is None)
    if found.delta is not None and wanted.delta is not None:
        for name in ("keys", "versions", "exists", "last"):
            assert np.array_equal(getattr(found.delta, name), getattr(wanted.delta, name))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from(sorted(WORLDS)), st.integers(0, 3))
def test_judge_says_what_the_plain_judge_says(seed: int, which: tuple[int, int], changes: int) -> None:
    draw, view = random.Random(seed), WORLDS[which].view
    raw = some_records(draw, draw.choice((1, 5, 30, 80)))
    cluster = draw.randrange(which[1])
    if draw.random() < 0.9:
        raw = [r for r in raw if view.clusters_of(batch_of([r]).short_hashes)[0] == cluster] or raw
    state = state_of(batch_of(some_records(draw, 20)) if draw.random() < 0.2 else None)
    records = b"".join(raw)
    for _ in range(draw.choice((0, 0, 0, changes))):
        records = changed(draw, records, draw.choice((8, len(raw[0]))))
    batch = plain_batch(np.frombuffer(records, dtype=np.uint8))[0]
    batch = batch if len(batch) else batch_of(raw)
    row = form(view, cluster, 0, ZERO_HASH, ZERO_HASH, batch_of(raw), 1).row
    row, entries, entities = claims_of(row, batch, counted(draw, len(batch), draw.choice((which[0], which[0], 60))))
    parts = [entries.tobytes(), entities.tobytes()]
    for _ in range(changes):
        match draw.randrange(4):
            case 0:
                parts[0] = changed(draw, parts[0], BLOCK_ENTRY.itemsize)
            case 1:
                parts[1] = changed(draw, parts[1], 8)
            case 2:
                raw_row = bytearray(row.tobytes())
                field, start = WINDOW[names := draw.choice(CLAIMS)], WINDOW.fields[names][1]
                piece = changed(draw, bytes(raw_row[start : start + field.itemsize]), 1)
                raw_row[start : start + field.itemsize] = piece.ljust(field.itemsize, b"\0")[: field.itemsize]
                row = np.frombuffer(bytes(raw_row), dtype=WINDOW)[0].copy()
            case _:  # a liar who is careful: the hashes fit what he changed
                made = np.frombuffer(parts[0], dtype=BLOCK_ENTRY)
                if len(made) and len(parts[1]) % 8 == 0:
                    row["content_root"] = np.frombuffer(content_root(made, int(row["cluster"])), dtype=np.uint8)
                    listed = np.frombuffer(parts[1], dtype="<u8")
                    row["entities"] = np.frombuffer(list_digest(listed), dtype=np.uint8)
                    row["block_count"], row["entity_count"] = len(made), len(listed)
    if len(parts[0]) % BLOCK_ENTRY.itemsize or len(parts[1]) % 8:
        return  # refused before it is a window
    short = batch.short_hashes
    locked = [np.unique(short[draw.randrange(len(short)) :][:1])] if draw.random() < 0.2 else []
    locked += [np.zeros(0, dtype=np.uint64)] * draw.randrange(2)
    window = through_the_wire(row, parts[0], parts[1], records)
    same(judge(view, window, state, locked), plain_judge(view, window, state, locked))


@pytest.mark.parametrize("which", sorted(WORLDS))
def test_what_a_coordinator_forms_is_whole(which: tuple[int, int]) -> None:
    """One of each, through a real message, to the delta."""
    view = WORLDS[which].view
    batch = batch_of(record(Operation.CREATE, f"e{i}", i) for i in range(64))
    batch = batch.select(view.clusters_of(batch.short_hashes) == 0)
    window = form(view, 0, 0, ZERO_HASH, ZERO_HASH, batch, 1)
    data = message(view, view.coordinators[0].node, window, Decider.MEMBERS, 0, (1, 2, 3, 4), ())
    verdict = judge(view, received(open_message(data)), state_of(None), [])
    assert (verdict.prefix, verdict.reason, verdict.bad_index) == (len(window.entries), Reason.NONE, 0)
    assert verdict.batch.ids.tobytes() == batch.ids.tobytes() and verdict.delta is not None
    assert len(verdict.delta.keys) == len(batch)
