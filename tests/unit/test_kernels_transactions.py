"""Encoding and scanning of records against a deliberately simple encoder and scanner."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baash import kernels
from baash.records import ANY_VERSION, ENTITY_BYTES_MAX, PAYLOAD_BYTES_MAX, REFERENCES_MAX, Reason

HEADER = struct.Struct("<BBBBHHII16sQQQHHHBB")


def pad8(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def encode_one(t: dict[str, Any]) -> bytes:
    parts = pad8(t["entity"]) + b"".join(t["references"]) + pad8(t["payload"]) + t.get("signature", b"")
    sizes = (t.get("flags", 0), len(t["entity"]), 64 + len(parts), len(t["payload"]))
    who = (t["issuer"], t["sequence"], t["time_ns"], t["expected"])
    return HEADER.pack(0, 1, 1, t["operation"], *sizes, *who, len(t["references"]), t["type"], 0, 0, 2) + parts


def read_one(data: bytes) -> tuple[Reason, int]:
    """(why ``data`` does not begin with a record, or NONE; its bytes)"""
    if len(data) < 64:
        return Reason.TRUNCATED, 0
    (
        zero,
        tag,
        version,
        operation,
        flags,
        entity,
        total,
        payload,
        issuer,
        _,
        _,
        expected,
        references,
        _,
        reserved,
        *name,
    ) = HEADER.unpack(data[:64])
    names = 64 + entity + -entity % 8
    payload_at = names + 32 * references
    end = payload_at + payload + -payload % 8
    checks = [
        ((zero, tag) != (0, 1), Reason.BAD_TAG),
        (version != 1, Reason.BAD_VERSION),
        (operation not in range(1, 6), Reason.BAD_OPERATION),
        (flags not in (0, 1), Reason.BAD_FLAGS),
        (not 1 <= entity <= 4096 or name != [0, 2], Reason.BAD_ENTITY),
        (payload > 1 << 24 or references > 4096, Reason.TOO_LARGE),
        (total != end + 96 * flags, Reason.BAD_LENGTH),
        (len(data) < total, Reason.TRUNCATED),
        (reserved != 0 or any(data[64 + entity : names]) or any(data[payload_at + payload : end]), Reason.BAD_PADDING),
        (operation not in (2, 4) and expected != ANY_VERSION, Reason.BAD_EXPECTED_VERSION),
        (issuer[0] >> 7 != flags, Reason.BAD_ISSUER),
    ]
    return next((reason for bad, reason in checks if bad), Reason.NONE), total


def read_all(data: bytes, limit: int | None = None) -> tuple[list[int], Reason]:
    starts, at = [], 0
    while at < len(data) and (limit is None or len(starts) < limit):
        reason, total = read_one(data[at:])
        if reason:
            return starts, reason
        starts.append(at)
        at += total
    return starts, Reason.NONE


@st.composite
def transactions(draw: st.DrawFn, signed: bool = True) -> dict[str, Any]:
    operation = draw(st.integers(1, 5))
    key = signed and draw(st.booleans())
    t = {
        "operation": operation,
        "issuer": bytes([draw(st.integers(0, 127)) | key << 7]) + draw(st.binary(min_size=15, max_size=15)),
        "sequence": draw(st.integers(0, 2**64 - 1)),
        "time_ns": draw(st.integers(0, 2**64 - 1)),
        "expected": draw(st.integers(0, 2**64 - 1)) if operation in (2, 4) else ANY_VERSION,
        "entity": draw(st.binary(min_size=1, max_size=20)),
        "payload": draw(st.binary(max_size=40)),
        "type": draw(st.integers(0, 65535)),
        "references": draw(st.lists(st.binary(min_size=32, max_size=32), max_size=2)),
    }
    return t | ({"flags": 1, "signature": bytes(96)} if key else {})


@settings(max_examples=60, deadline=None)
@given(st.lists(transactions(), max_size=8))
def test_scan_finds_what_was_written(ts: list[dict[str, Any]]) -> None:
    raw = [encode_one(t) for t in ts]
    info, reason, at = kernels.scan(b"".join(raw))
    assert (reason, at, len(info)) == (0, len(ts), len(ts))
    for t, row, record in zip(ts, info, raw, strict=True):
        assert row["start"] == sum(map(len, raw[: raw.index(record)])) or raw.count(record) > 1
        assert row["total_bytes"] == len(record) and row["issuer"].tobytes() == t["issuer"]
        payload = record[row["payload_start"] : row["payload_start"] + row["payload_bytes"]]
        assert payload == t["payload"] and row["entity_bytes"] == len(t["entity"])
        assert row["expected_version"] == t["expected"] and row["reference_count"] == len(t["references"])
        for field in ("sequence", "operation"):
            assert row[field] == t[field]
        assert row["payload_type"] == t["type"] and row["flags"] == t.get("flags", 0) and not row["pad"].any()
    ids = kernels.transaction_ids(b"".join(raw), info)
    assert [i.tobytes() for i in ids] == [hashlib.sha256(record).digest() for record in raw]
    names = kernels.entity_hashes(b"".join(raw), info)
    assert [n.tobytes() for n in names] == [hashlib.sha256(b"\0\2" + t["entity"]).digest() for t in ts]


@settings(max_examples=300, deadline=None)
@given(
    ts=st.lists(transactions(), min_size=1, max_size=3),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=2),
    field=st.sampled_from(["<B3", "<H4", "<H6", "<I8", "<I12", "<B16", "<Q48", "<H56", "<H60", "<H62", "cut", "none"]),
    value=st.one_of(
        st.integers(0, 5), st.sampled_from([255, 256, 4096, 4097, 65535, 1 << 24, (1 << 24) + 1, 2**64 - 1])
    ),
    limit=st.one_of(st.none(), st.integers(0, 4)),
)
def test_scan_of_hostile_bytes(
    ts: list[dict[str, Any]], changes: list[tuple[int, int]], field: str, value: int, limit: int | None
) -> None:
    data = bytearray(b"".join(encode_one(t) for t in ts))
    if field == "cut":
        del data[len(data) - value % len(data) :]
    elif field != "none":
        struct.pack_into(field[:2], data, int(field[2:]), value & (1 << 8 * struct.calcsize(field[:2])) - 1)
    for place, byte in changes:
        data[place % len(data)] = byte
    info, reason, at = kernels.scan(bytes(data), limit)
    assert (info["start"].tolist(), reason) == read_all(bytes(data), limit)
    assert at == len(info)


@given(st.binary(max_size=300))
def test_scan_of_noise(data: bytes) -> None:
    info, reason, _ = kernels.scan(data)
    assert (info["start"].tolist(), reason) == read_all(data)


def test_scan_of_many_small_records() -> None:
    """More than the first guess at their number; and a bad one at the end."""
    count = 5000
    names = (np.arange(count, dtype="<u4").view(np.uint8), np.arange(count + 1) * 4)
    empty = (b"", np.zeros(count + 1, dtype=np.int64))
    records, offsets = kernels.encode(1, np.arange(count), 0, ANY_VERSION, bytes(16), names, empty, 0)
    info, reason, at = kernels.scan(records)
    assert (reason, at) == (0, count) and (info["start"] == offsets[:-1]).all()
    info, reason, at = kernels.scan(records[:-1])
    assert (len(info), reason, at) == (count - 1, Reason.TRUNCATED, count - 1)
    assert len(kernels.scan(records, 17)[0]) == 17
    picked = kernels.gather(records, info["start"][::7], info["total_bytes"][::7])
    assert picked.tobytes() == b"".join(records[s : s + 72].tobytes() for s in info["start"][::7])
    with pytest.raises(ValueError):
        kernels.gather(records, [0, len(records) - 1], [1, 2])
    with pytest.raises(ValueError):
        kernels.transaction_ids(records[:-1], kernels.scan(records)[0])


def columns(ts: list[dict[str, Any]]) -> list[Any]:
    def ragged(parts: list[bytes]) -> tuple[bytes, np.ndarray]:
        return b"".join(parts), np.cumsum([0, *map(len, parts)])

    links = [h for t in ts for h in t["references"]]
    table = np.frombuffer(b"".join(links), dtype=np.uint8).reshape(-1, 32)
    numbers = [
        np.array([t[name] for t in ts], dtype=np.uint64) for name in ("operation", "sequence", "time_ns", "expected")
    ]
    return [
        *numbers,
        ts[0]["issuer"],
        ragged([t["entity"] for t in ts]),
        ragged([t["payload"] for t in ts]),
        np.array([t["type"] for t in ts]),
        (table, np.cumsum([0, *(len(t["references"]) for t in ts)])),
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(transactions(signed=False), min_size=1, max_size=6))
def test_encode_gives_the_bytes_of_the_format(ts: list[dict[str, Any]]) -> None:
    raw = [encode_one(t | {"issuer": ts[0]["issuer"]}) for t in ts]
    records, offsets = kernels.encode(*columns(ts))
    assert records.tobytes() == b"".join(raw) and offsets.tolist() == np.cumsum([0, *map(len, raw)]).tolist()


GOOD = {
    "operation": 2, "sequence": 1, "time_ns": 2, "expected": 3, "issuer": bytes(16), "entity": b"e", "payload": b"p",
    "type": 0, "references": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"operation": 0}, "operation"),
        ({"operation": 6}, "operation"),
        ({"operation": 5}, "'any'"),
        ({"entity": b""}, "entity"),
        ({"entity": bytes(ENTITY_BYTES_MAX + 1)}, "entity"),
        ({"payload": bytes(PAYLOAD_BYTES_MAX + 1)}, "payload"),
        ({"references": [bytes(32)] * (REFERENCES_MAX + 1)}, "references"),
    ],
)
def test_encode_names_what_it_refuses(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"transaction 1 .*{why}"):
        kernels.encode(*columns([GOOD, GOOD | change, GOOD]))


@pytest.mark.parametrize(
    ("place", "form", "value", "reason"),
    [
        (0, "<B", 1, Reason.BAD_TAG),
        (1, "<B", 2, Reason.BAD_TAG),
        (2, "<B", 2, Reason.BAD_VERSION),
        (3, "<B", 6, Reason.BAD_OPERATION),
        (3, "<B", 1, Reason.BAD_EXPECTED_VERSION),
        (4, "<H", 2, Reason.BAD_FLAGS),
        (6, "<H", 0, Reason.BAD_ENTITY),
        (6, "<H", ENTITY_BYTES_MAX + 1, Reason.BAD_ENTITY),
        (8, "<I", 88, Reason.BAD_LENGTH),
        (12, "<I", PAYLOAD_BYTES_MAX, Reason.BAD_LENGTH),
        (12, "<I", PAYLOAD_BYTES_MAX + 1, Reason.TOO_LARGE),
        (16, "<B", 128, Reason.BAD_ISSUER),
        (56, "<H", REFERENCES_MAX, Reason.BAD_LENGTH),
        (56, "<H", REFERENCES_MAX + 1, Reason.TOO_LARGE),
        (60, "<H", 256, Reason.BAD_PADDING),
        (62, "<H", 0x0201, Reason.BAD_ENTITY),
        (71, "<B", 1, Reason.BAD_PADDING),
        (79, "<B", 1, Reason.BAD_PADDING),
    ],
)
def test_each_reason(place: int, form: str, value: int, reason: Reason) -> None:
    record = bytearray(encode_one(GOOD))
    struct.pack_into(form, record, place, value)
    info, got, at = kernels.scan(encode_one(GOOD) + record)
    assert (len(info), got, at) == (1, reason, 1)


def test_limits_are_inclusive() -> None:
    most = {
        "entity": bytes(ENTITY_BYTES_MAX),
        "payload": bytes(PAYLOAD_BYTES_MAX),
        "references": [bytes(32)] * REFERENCES_MAX,
    }
    records, _ = kernels.encode(*columns([GOOD | most]))
    assert kernels.scan(records)[1:] == (0, 1)


def test_encode_refuses_columns_that_do_not_fit() -> None:
    good = columns([GOOD, GOOD])
    for place, bad in [
        (0, [1, 1, 1]), (0, [300, 1]), (1, [-1, 0]), (4, b"\x80" + bytes(15)), (4, bytes(15)), (5, (b"ee", [0, 1, 3])),
        (5, (b"ee", [0, 2, 1])), (6, (b"pp", [0, 1, 3])), (6, (b"pp", [0, 1])), (7, 65536), (8, (np.zeros((1, 32), np.uint8), [0, 1, 2])),
    ]:  # fmt: skip
        with pytest.raises(ValueError):
            kernels.encode(*good[:place], bad, *good[place + 1 :])
