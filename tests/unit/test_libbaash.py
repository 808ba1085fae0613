"""libbaash: what is installed, what it exports, and its functions as a C or Fortran program would call them.

State is in test_libbaash_state.py. The models are those of the tests of ``baash.kernels``, which come from the documents.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_kernels_tally
import test_kernels_transactions as transactions
import test_kernels_trees as trees
from ledgers import batch_of, record
from libbaash import HEADER, ROOT, Library, built, declarations, functions, load, macros, run, tool
from worlds import World

from baash import kernels
from baash.protocol.windows import form
from baash.records import TRANSACTION_INFO, ZERO_HASH, Operation, Reason

RANDOM = np.random.default_rng(11)


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hashes(count: int) -> np.ndarray:
    return np.zeros((count, 32), dtype=np.uint8)


def listed(rows: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in rows]


def u8(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


@pytest.fixture(scope="module")
def lib() -> Library:
    return load()


# ---- The header and what is installed ----


def test_exported_symbols_are_those_of_the_header() -> None:
    promised = functions()
    assert len(promised) > 25 and len(set(promised)) == len(promised)
    lines = run(tool("nm"), "-D", "--defined-only", built(True) / "libbaash.so").splitlines()
    assert sorted(line.split()[-1] for line in lines) == sorted(promised)
    lines = run(tool("nm"), "-g", "--defined-only", built(True) / "libbaash.a").splitlines()
    defined = {line.split()[-1] for line in lines if len(line.split()) == 3}
    assert defined >= set(promised) and all(name.startswith("baash_") for name in defined), (
        "no stranger's name is taken"
    )


def test_nothing_is_declared_that_is_not_public() -> None:
    """Every function of the header carries BAASH_API, has a contract above it or above its group, and a test."""
    assert re.findall(r"\b(baash_\w+)\(", declarations()) == functions()
    tests = "".join(path.read_text() for path in [*ROOT.glob("tests/unit/*.py"), *ROOT.glob("csrc/tests/*.c")])
    untested = [name for name in functions() if not re.search(rf"\b(baash_)?{name.removeprefix('baash_')}\(", tests)]
    assert not untested


@pytest.mark.parametrize(("compiler", "flags"), [("cc", ["-xc", "-std=c11"]), ("c++", ["-xc++", "-std=c++17"])])
def test_header_stands_alone(compiler: str, flags: list[str]) -> None:
    run(tool(compiler), "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *flags, HEADER)


@pytest.fixture(scope="module", params=[True, False], ids=["openmp", "serial"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `cmake --install` leaves, moved elsewhere, for nothing in it may know where it was."""
    prefix = tmp_path_factory.mktemp("libbaash")
    run(tool("cmake"), "--install", built(request.param), "--prefix", prefix / "first")
    return (prefix / "first").rename(prefix / "moved")


ARGUMENTS = ["a", "bc", "", "def"]


def check_example(program: Path, prefix: Path | None = None) -> None:
    environment = dict(os.environ)
    environment.pop("LD_LIBRARY_PATH", None)
    if prefix is not None:
        environment["LD_LIBRARY_PATH"] = str(prefix / "lib")
    leaves = [h(word.encode()) for word in ARGUMENTS]
    root = h(b"\1" + h(b"\1" + leaves[0] + leaves[1]) + h(b"\1" + leaves[2] + leaves[3]))
    name, *lines = run(program, *ARGUMENTS, env=environment).splitlines()
    assert name in {kernel.name for kernel in kernels.available()}
    assert lines == [f"{x.hex()}  {w}" for x, w in zip([*leaves, root], [*ARGUMENTS, "root"], strict=True)]


def test_installed_files(installed: Path) -> None:
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if not path.is_dir()}
    assert names >= {
        "include/baash.h", "lib/libbaash.a", "lib/libbaash.so", "lib/libbaash.so.0", "lib/pkgconfig/libbaash.pc",
        "lib/cmake/baash/baash-config.cmake", "lib/cmake/baash/baash-config-version.cmake",
    }  # fmt: skip
    dynamic = run(tool("readelf"), "-d", installed / "lib/libbaash.so")
    assert re.search(r"SONAME.*\[libbaash\.so\.0\]", dynamic)
    assert not [
        path for path in installed.rglob("*.*") if path.suffix in (".pc", ".cmake") and str(ROOT) in path.read_text()
    ]


@pytest.mark.parametrize("static", [False, True])
def test_consumer_of_pkg_config(installed: Path, tmp_path: Path, static: bool) -> None:
    environment = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")}
    found = run(
        tool("pkg-config"), "--cflags", "--libs", *["--static"][: int(static)], "libbaash", env=environment
    ).split()
    if static:
        found = [f"-l:lib{part[2:]}.a" if part == "-lbaash" else part for part in found]
    program = tmp_path / "roots"
    run(tool("cc"), "-std=c11", "-Wall", "-Werror", ROOT / "examples/libbaash/roots.c", *found, "-o", program)
    check_example(program, None if static else installed)


def test_consumer_in_fortran(installed: Path, tmp_path: Path) -> None:
    fortran = tool("gfortran", *(f"gfortran-{version}" for version in range(20, 8, -1)))
    environment = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")}
    libraries = run(tool("pkg-config"), "--libs", "libbaash", env=environment).split()
    program = tmp_path / "rows"
    run(fortran, "-Wall", ROOT / "examples/libbaash/rows.f90", *libraries, f"-Wl,-rpath,{installed}/lib", "-o", program)
    assert run(program).lower().split() == [h(b"abc").hex(), h(b"xyz").hex()]


def test_consumer_of_cmake(installed: Path, tmp_path: Path) -> None:
    cmake = tool("cmake")
    run(cmake, "-S", ROOT / "examples/libbaash", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}")
    run(cmake, "--build", tmp_path)
    check_example(tmp_path / "roots")
    check_example(tmp_path / "roots_static")
    assert "libbaash" not in run(tool("readelf"), "-d", tmp_path / "roots_static")


def test_structs_are_those_of_records(lib: Library) -> None:
    assert lib.ffi.sizeof("baash_transaction_info") == TRANSACTION_INFO.itemsize
    for name, field in lib.ffi.typeof("baash_transaction_info").fields:
        assert TRANSACTION_INFO.fields is not None
        dtype, offset = TRANSACTION_INFO.fields[name][:2]
        assert (field.offset, lib.ffi.sizeof(field.type)) == (offset, dtype.itemsize)
    assert macros()["BAASH_CHOSEN"] == -1 and macros()["BAASH_EXISTS"] == 1 << 63


# ---- SHA-256 ----


def ragged(count: int = 500, most: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[bytes]]:
    """Spans that overlap and come in no order: data, starts, lengths, their hashes."""
    data = RANDOM.integers(0, 256, 5000, dtype=np.uint8)
    starts = RANDOM.integers(0, len(data) - most, count).astype(np.uint64)
    lengths = RANDOM.integers(0, most + 1, count).astype(np.uint64)
    raw = data.tobytes()
    return data, starts, lengths, [h(raw[s : s + n]) for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)]


def test_kernels_by_name(lib: Library) -> None:
    found = lib.kernels()
    assert list(found) == [kernel.name for kernel in kernels.available()] and "portable" in found
    chosen, partner = lib.sha256_chosen(), lib.sha256_partner()
    data, starts, lengths, expected = ragged()
    at = lib.new("size_t *")
    ready = []
    for number, info in found.values():
        ready += [number] * (info.state == lib.KERNEL_READY)
        out = hashes(len(starts))
        status = lib.sha256_spans(out, at, data, len(data), starts, lengths, len(starts), number, 1)
        assert status == (lib.OK if number in ready else lib.E_KERNEL)
        assert number not in ready or listed(out) == expected
        assert lib.sha256_choose(number) == status and (number not in ready or lib.sha256_chosen() == number)
    for number in (-2, len(found), 2**31 - 1):
        assert lib.sha256_spans(hashes(1), at, data, len(data), starts, lengths, 1, number, 1) == lib.E_KERNEL
        assert lib.sha256_choose(number) == lib.E_KERNEL
    assert lib.sha256_init(0) == lib.OK and lib.sha256_chosen() == found["portable"][0] and lib.sha256_partner() == -1
    assert lib.sha256_init(2**32 - 1) == lib.OK
    assert (lib.sha256_chosen(), lib.sha256_partner()) == (chosen, partner) == (ready[-1], partner)


def test_openmp_is_what_was_asked_for() -> None:
    assert load(True).openmp() == 1, "this machine's compiler has no OpenMP: install it, or the promise is not tested"
    assert load(False).openmp() == 0


@pytest.mark.parametrize("openmp", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_three_shapes_of_a_batch(openmp: bool, threads: int) -> None:
    lib = load(openmp)
    at, chosen = lib.new("size_t *"), lib.CHOSEN
    data, starts, lengths, expected = ragged(9000)
    out = hashes(9000)
    assert lib.sha256_spans(out, at, data, len(data), starts, lengths, 9000, chosen, threads) == lib.OK
    assert listed(out) == expected
    data, offsets = (
        RANDOM.integers(0, 256, 4 << 20, dtype=np.uint8),
        np.sort(RANDOM.integers(0, 4 << 20, 9001)).astype("u8"),
    )
    offsets[4000:4100] = offsets[4000]  # empty ones; and the longest is a quarter of all
    offsets[8000:] = np.minimum(offsets[8000:] + (1 << 20), 4 << 20)
    assert lib.sha256_batch(out, at, data, len(data), offsets, 9000, chosen, threads) == lib.OK
    ends, raw = offsets.tolist(), data.tobytes()
    assert listed(out) == [h(raw[ends[i] : ends[i + 1]]) for i in range(9000)]
    rows = RANDOM.integers(0, 256, (700, 77), dtype=np.uint8)
    assert lib.sha256_rows(out, rows, 77, 700, 55, chosen) == lib.OK
    assert listed(out[:700]) == [h(row.tobytes()[:55]) for row in rows]
    assert lib.sha256_spans(None, at, None, 0, None, None, 0, chosen, threads) == lib.OK
    assert lib.sha256_batch(None, at, None, 0, u8(0), 0, chosen, threads) == lib.OK


@pytest.mark.parametrize("openmp", [True, False])
@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_wrong_with_a_batch(openmp: bool, threads: int) -> None:
    lib = load(openmp)
    at, out, data, chosen = lib.new("size_t *"), hashes(3), bytes(8), lib.CHOSEN

    def spans(starts: list[int], lengths: list[int]) -> tuple[int, int]:
        return lib.sha256_spans(out, at, data, 8, u8(*starts), u8(*lengths), len(starts), chosen, threads), at[0]

    assert spans([0, 8, 4], [8, 0, 5]) == (lib.E_RANGE, 2)
    assert spans([0, 2**64 - 1], [8, 2]) == spans([0, 2], [8, 2**64 - 1]) == (lib.E_RANGE, 1)
    assert lib.sha256_batch(out, at, data, 8, u8(0, 4, 3, 9), 3, chosen, threads) == lib.E_ORDER and at[0] == 1
    assert lib.sha256_batch(out, at, data, 8, u8(0, 4, 9, 3), 3, chosen, threads) == lib.E_RANGE and at[0] == 1
    assert lib.sha256_rows(out, data, 4, 2, 5, chosen) == lib.E_VALUE
    for none in (0, -1):
        assert lib.sha256_spans(out, at, data, 8, u8(0), u8(1), 1, chosen, none) == lib.E_VALUE
        assert lib.sha256_batch(out, at, data, 8, u8(0, 1), 1, chosen, none) == lib.E_VALUE
    assert not out.any(), "nothing is hashed of a batch that is wrong"


# ---- Merkle trees ----


def test_roots_and_paths(lib: Library) -> None:
    at, rows = lib.new("size_t *"), lib.new("size_t *")
    sizes = [0, 1, 2, 3, 21, 64, 70, 129]
    offsets = np.cumsum([0, *sizes]).astype(np.uint64)
    leaves = trees.LEAVES[: offsets[-1]]
    for _, (number, info) in lib.kernels().items():
        roots = hashes(len(sizes))
        status = lib.merkle_roots(roots, at, leaves.copy(), len(leaves), u8(*sizes), offsets, len(sizes), number)
        assert status == (lib.OK if info.state == lib.KERNEL_READY else lib.E_KERNEL)
        if status == lib.OK:
            assert listed(roots) == [trees.root(leaves[offsets[i] : offsets[i + 1]]) for i in range(len(sizes))]
    for bad, status in ((u8(0, 4), lib.E_RANGE), (u8(2, 1), lib.E_ORDER)):
        assert lib.merkle_roots(hashes(1), at, leaves[:3].copy(), 3, u8(0), bad, 1, lib.CHOSEN) == status and at[0] == 0
    for size in (1, 2, 21, 64):
        for index in range(size):
            path, root = hashes(64), hashes(1)
            leaf = leaves[index].copy()
            assert lib.merkle_path(path, rows, leaves[:size].copy(), size, index, lib.CHOSEN) == lib.OK
            assert listed(path[: rows[0]]) == trees.path(index, leaves[:size])
            assert lib.merkle_fold(root, leaf, index, size, path, rows[0], lib.CHOSEN) == lib.OK
            assert root.tobytes() == trees.root(leaves[:size])
            assert lib.merkle_fold(root, leaf, index, size, path, rows[0] + 1, lib.CHOSEN) == lib.E_VALUE
            assert not rows[0] or lib.merkle_fold(root, leaf, index, size, path, rows[0] - 1, lib.CHOSEN) == lib.E_VALUE
        depth = (size - 1).bit_length()
        paths, path_rows = np.zeros((size, depth, 32), dtype=np.uint8), np.zeros(size, dtype=np.uint8)
        work = leaves[:size].copy()
        assert lib.merkle_paths(paths, path_rows, work, size, depth, lib.CHOSEN) == lib.OK
        got = [listed(path[:n]) for path, n in zip(paths, path_rows.tolist(), strict=True)]
        assert got == [trees.path(index, leaves[:size]) for index in range(size)]
        assert size == 1 or lib.merkle_paths(paths, path_rows, work, size, depth - 1, lib.CHOSEN) == lib.E_VALUE
        assert lib.merkle_path(hashes(64), rows, leaves[:size].copy(), size, size, lib.CHOSEN) == lib.E_RANGE
        assert lib.merkle_fold(hashes(1), leaves[0], size, size, hashes(64), 1, lib.CHOSEN) == lib.E_RANGE


def test_growing_tree(lib: Library) -> None:
    frontier, root, size = hashes(64), hashes(1), 0
    assert lib.merkle_frontier(root, frontier, 0, lib.CHOSEN) == lib.OK and root.tobytes() == h(b"")
    for part in (0, 1, 2, 130, 1, 7, 63, 128, 0, 200):
        leaves = trees.LEAVES[size : size + part]
        assert lib.merkle_append(frontier, hashes(part + 1), size, leaves, part, lib.CHOSEN) == lib.OK
        size += part
        assert lib.merkle_frontier(root, frontier, size, lib.CHOSEN) == lib.OK
        assert root.tobytes() == trees.root(trees.LEAVES[:size])
    for k in range(64):
        assert frontier[k].any() == bool(size >> k & 1)
    assert lib.merkle_append(frontier, hashes(2), 2**63, trees.LEAVES, 1, lib.CHOSEN) == lib.E_VALUE


# ---- Transactions ----


def made_up(count: int) -> list[dict[str, Any]]:
    """Transactions of one source, with names, payloads and references of many sizes."""
    return [
        {
            "operation": i % 5 + 1,
            "issuer": b"\x01" + bytes(15),
            "sequence": i,
            "time_ns": i * 7,
            "expected": i if i % 5 + 1 in (2, 4) else 2**64 - 1,
            "entity": b"name-%d" % i * (i % 9 + 1),
            "payload": bytes(i * 13 % 200),
            "type": i % 3,
            "references": [h(b"%d" % i)] * (i % 3),
        }
        for i in range(count)
    ]


def encoded(lib: Library, ts: list[dict[str, Any]]) -> tuple[int, int, int, bytes]:
    """(status, index, reason, records) of baash_transaction_sizes and _encode."""
    operations, sequences, times, versions, issuer, names, payloads, types, references = transactions.columns(ts)
    ends = [np.asarray(part[1], dtype=np.uint64) for part in (names, payloads, references)]
    flat = references[0].reshape(-1)
    arrays = {
        "operations": operations.astype(np.uint8), "sequences": sequences, "times_ns": times, "expected_versions": versions,
        "issuer": issuer, "entities": names[0], "payloads": payloads[0], "references": flat, "entity_offsets": ends[0],
        "payload_offsets": ends[1], "reference_offsets": ends[2], "payload_types": types.astype(np.uint16),
    }  # fmt: skip
    held = {name: lib.pointer(array) for name, array in arrays.items()}
    sizes = {"entities_bytes": len(names[0]), "payloads_bytes": len(payloads[0]), "references_count": len(flat) // 32}
    columns = lib.new("baash_transaction_columns *", {**held, **sizes, "count": len(ts)})
    offsets, at, reason = np.zeros(len(ts) + 1, dtype=np.uint64), lib.new("size_t *"), lib.new("int *")
    status = lib.transaction_sizes(offsets, at, reason, columns)
    if status != lib.OK:
        return status, at[0], reason[0], b""
    records = np.zeros(int(offsets[-1]), dtype=np.uint8)
    status = lib.transaction_encode(records, offsets, columns)
    return status, 0, 0, records.tobytes()


def scanned(lib: Library, records: bytes, capacity: int) -> tuple[np.ndarray, int, int, int]:
    """(info, position, reason, status)"""
    info = np.zeros(capacity, dtype=TRANSACTION_INFO)
    count, position, reason = lib.new("size_t *"), lib.new("uint64_t *"), lib.new("int *")
    status = lib.transaction_scan(info, count, position, reason, capacity, records, len(records))
    return info[: count[0]], position[0], reason[0], status


def test_encode_and_scan(lib: Library) -> None:
    ts = made_up(40)
    raw = [transactions.encode_one(t) for t in ts]
    records = b"".join(raw)
    assert encoded(lib, ts) == (lib.OK, 0, 0, records)
    info, position, reason, status = scanned(lib, records, 40)
    starts = np.cumsum([0, *map(len, raw)])[:-1]
    assert (status, reason, position, len(info)) == (lib.OK, 0, len(records), 40)
    assert info["start"].tolist() == starts.tolist() and info["total_bytes"].tolist() == list(map(len, raw))
    assert info["sequence"].tolist() == list(range(40)) and info["operation"].tolist() == [t["operation"] for t in ts]
    again, ids, names = np.zeros(40, dtype=TRANSACTION_INFO), hashes(40), hashes(40)
    results = [lib.new(kind) for kind in ("size_t *", "uint64_t *", "int *", "size_t *")]
    status = lib.transaction_read(again, ids, names, *results, 40, records, len(records), lib.CHOSEN)
    assert (status, [result[0] for result in results[:3]]) == (lib.OK, [40, len(records), 0])
    assert (again == info).all() and listed(ids) == list(map(h, raw))
    assert listed(names) == [h(b"\0\2" + t["entity"]) for t in ts]
    info, position, _, status = scanned(lib, records, 39)
    assert (status, len(info), position) == (lib.E_FULL, 39, starts[39])
    for cut in range(0, len(records), 61):
        info, position, reason, _ = scanned(lib, records[:cut], 40)
        good, why = transactions.read_all(records[:cut])
        assert (info["start"].tolist(), reason) == (good, why)
    at = lib.new("size_t *")
    info, _, _, _ = scanned(lib, records, 40)
    for _, (number, kernel) in lib.kernels().items():
        out = hashes(40)
        status = lib.OK if kernel.state == lib.KERNEL_READY else lib.E_KERNEL
        assert lib.transaction_ids(out, at, records, len(records), info, 40, number) == status
        assert status or listed(out) == list(map(h, raw))
        assert lib.transaction_entities(out, at, records, len(records), info, 40, number) == status
        assert status or listed(out) == [h(b"\0\2" + t["entity"]) for t in ts]
    short = len(records) - 1
    assert lib.transaction_ids(hashes(40), at, records, short, info, 40, lib.CHOSEN) == lib.E_RANGE and at[0] == 39
    info["entity_bytes"][7] = 65535
    assert lib.transaction_entities(hashes(40), at, records, len(records), info, 40, lib.CHOSEN) == lib.E_RANGE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"operation": 6}, Reason.BAD_OPERATION),
        ({"entity": b""}, Reason.BAD_ENTITY),
        ({"operation": 1, "expected": 4}, Reason.BAD_EXPECTED_VERSION),
        ({"payload": bytes((16 << 20) + 1)}, Reason.TOO_LARGE),
        ({"references": [bytes(32)] * 4097}, Reason.TOO_LARGE),
    ],
)
def test_columns_that_cannot_be_records(lib: Library, change: dict[str, Any], reason: Reason) -> None:
    ts = made_up(5)
    ts[3] |= change
    assert encoded(lib, ts) == (lib.E_VALUE, 3, reason, b"")


def test_gather(lib: Library) -> None:
    at, data = lib.new("size_t *"), RANDOM.integers(0, 256, 100, dtype=np.uint8)
    out = np.zeros(30, dtype=np.uint8)
    assert lib.transaction_gather(out, at, 30, data, 100, u8(90, 0, 5), u8(10, 0, 20), 3) == lib.OK
    assert out.tobytes() == data[90:].tobytes() + data[5:25].tobytes()
    assert lib.transaction_gather(out, at, 30, data, 100, u8(90, 0), u8(10, 101), 2) == lib.E_RANGE and at[0] == 1
    assert lib.transaction_gather(out, at, 30, data, 100, u8(0, 0), u8(20, 11), 2) != lib.OK


# ---- Blocks and votes ----


def test_blocks(lib: Library) -> None:
    count = 300
    entries = RANDOM.integers(0, 256, (count, 40), dtype=np.uint8)
    out = hashes(count)
    assert lib.block_contents(out, entries, count, 0xFFFFFFFE, lib.CHOSEN) == lib.OK
    head = b"\0\x03\x01\0" + struct.pack("<I", 0xFFFFFFFE)
    assert listed(out) == [h(head + row[32:].tobytes() + row[:32].tobytes()) for row in entries]
    rows, parent = RANDOM.integers(0, 256, (5, 128), dtype=np.uint8), b"p" * 32
    before = rows.copy()
    assert lib.block_chain(out, rows, 5, 41, parent, lib.CHOSEN) == lib.OK
    for i in range(5):
        before[i, 8:16] = np.frombuffer(struct.pack("<Q", 41 + i), dtype=np.uint8)
        before[i, 80:112] = np.frombuffer(parent, dtype=np.uint8)
        parent = h(before[i, :112].tobytes())
        assert out[i].tobytes() == parent
    assert (rows == before).all()


def test_tally(lib: Library) -> None:
    members, blocks, at = 3, 2, lib.new("size_t *")
    choices = [test_kernels_tally.MISSING, test_kernels_tally.NONE, 0, 1, 2]
    worlds = [(votes, quorum) for votes in product(choices, repeat=members) for quorum in range(1, members + 2)]
    votes = np.array([v for v, _ in worlds])
    present = np.select([votes == -1, votes == -2], [lib.VOTE_MISSING, lib.VOTE_NONE], lib.VOTE_GIVEN).astype(np.uint8)
    prefixes = np.where(votes < 0, 7, votes).astype(np.uint32)
    quorums = np.array([quorum for _, quorum in worlds], dtype=np.uint32)
    decided, status = np.zeros(len(worlds), dtype=np.uint32), np.zeros(len(worlds), dtype=np.uint8)
    counts = np.full(len(worlds), blocks, dtype=np.uint32)
    dissent = np.zeros(len(worlds), dtype=np.uint64)
    arguments = [decided, status, dissent, at, prefixes, present, quorums, counts, len(worlds), members]
    assert lib.tally_count(*arguments) == lib.OK
    others = (votes >= 0) & (np.minimum(votes, blocks) != decided[:, None])
    assert dissent.tolist() == (others @ [1, 2, 4]).tolist()
    brute = [test_kernels_tally.brute(votes, quorum, blocks) for votes, quorum in worlds]
    assert list(zip(decided.tolist(), status.tolist(), strict=True)) == brute
    assert {lib.TALLY_OPEN, lib.TALLY_SETTLED, lib.TALLY_FAILED} == set(status.tolist())
    present[9, 1] = 3
    assert lib.tally_count(*arguments) == lib.E_VALUE and at[0] == 9
    quorums[4] = 0
    assert lib.tally_count(*arguments) == lib.E_VALUE and at[0] == 4


# ---- Windows ----


@pytest.mark.parametrize(("again", "spoil"), [(False, ""), (True, ""), (False, "records"), (False, "entries")])
def test_window(lib: Library, again: bool, spoil: str) -> None:
    """One as a coordinator forms it; one in which a transaction comes twice; and two whose parts do not belong together."""
    numbers = [*range(8), 2 if again else 8, 9]
    batch = batch_of(record(Operation.NOTE, f"e{i}", n) for i, n in enumerate(numbers))
    formed = form(World(block_size=4).view, 0, 0, ZERO_HASH, ZERO_HASH, batch, 1)
    parts = {
        "header": np.frombuffer(formed.row.tobytes(), dtype=np.uint8),
        "entries": np.frombuffer(formed.entries.tobytes(), dtype=np.uint8).copy(),
        "entities": np.frombuffer(formed.entities.tobytes(), dtype=np.uint8),
        "records": batch.records.copy(),
    }
    if spoil:
        parts[spoil][0] ^= 1
    held = {name: lib.pointer(part) for name, part in parts.items()}
    sizes = {"entry_count": 3, "entity_count": len(parts["entities"]) // 8, "records_bytes": len(parts["records"])}
    window = lib.new("baash_window *", {**held, **sizes})
    rows, words, verdict = lib.new("size_t *"), lib.new("size_t *"), lib.new("baash_window_verdict *")
    assert lib.window_room(rows, words, window) == lib.OK and rows[0] >= 10
    info, work = np.zeros(rows[0], dtype=TRANSACTION_INFO), np.zeros(words[0], dtype=np.uint64)
    ids, entities = hashes(rows[0]), hashes(rows[0])

    def check(room: int) -> int:
        return lib.window_check(verdict, info, ids, entities, room, work, words[0], window, 4, 77, lib.CHOSEN)

    assert check(rows[0] - 1) == lib.E_FULL and check(rows[0]) == lib.OK
    said = (verdict.whole, verdict.valid_blocks, verdict.reason, verdict.transactions)
    bad = {"records": Reason.BAD_TAG, "entries": Reason.WINDOW_MISMATCH}
    assert said == ((0, 0, bad[spoil], 0) if spoil else (1, 2, Reason.REPLAYED, 10) if again else (1, 3, 0, 10))
    assert not again or verdict.bad_index == 8
    assert spoil or (listed(ids[:10]) == listed(batch.ids) and listed(entities[:10]) == listed(batch.entities))
