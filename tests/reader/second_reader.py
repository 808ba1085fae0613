"""A second reader and auditor of ledgers, written from ``docs/ledger-format.md`` alone; imports nothing of baash.

Plain Python over bytes, one object after the other, slow and meant to be compared: where it and baash's own audit
disagree about a ledger, the page or one of the two is wrong. ``audit(path)`` gives a ``Result``; as a program (``cd tests``,
``python -m reader.second_reader LEDGER``) it prints one. It stops looking at a view at the first thing that is wrong in it, since one is enough to say "bad".
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from reader import metadata

ANY = 2**64 - 1
ZEROS = bytes(32)
DIGITS = "([0-9]{6}|[1-9][0-9]{6,9})"
LEGAL_REASONS = {*range(1, 13), 20, 21, 22, 30, 31, 32, 40, 41, 42, 43, 44}


class Bad(Exception):
    """Something that is not as the format says."""


@dataclass
class Result:
    problems: list[str] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)  # hashes, in order of height
    transactions: list[bytes] = field(default_factory=list)  # ids, in order
    rejections: int = 0
    certificates: int = 0
    versions: dict[bytes, tuple[int, bool]] = field(default_factory=dict)  # entity name: version, exists

    @property
    def ok(self) -> bool:
        return not self.problems


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Bad(what)


def verify(key: bytes, context: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(context + b"\0" + sha(signed), signature)
        return True
    except (BadSignatureError, ValueError, TypeError):
        return False


def merkle(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1", merkle(leaves[:split]), merkle(leaves[split:]))


# --- section 3


@dataclass
class Transaction:
    id: bytes
    operation: int
    entity: bytes
    issuer: bytes
    sequence: int
    expected: int

    @property
    def short(self) -> int:
        return int.from_bytes(sha(b"\0\2", self.entity)[:8], "little")


def parse_transaction(raw: bytes, at: int) -> tuple[Transaction, int]:
    need(len(raw) - at >= 64, "record cut short")
    (z, tag, version, operation, flags, name_bytes, total, payload_bytes, issuer, sequence, _, expected, references,
     _, reserved, z2, tag2) = struct.unpack_from("<BBBBHHII16sQQQHHHBB", raw, at)  # fmt: skip
    need((z, tag, version, z2, tag2, reserved) == (0, 1, 1, 0, 2, 0), "not a record")
    need(1 <= operation <= 5 and flags in (0, 1) and 1 <= name_bytes <= 4096 and references <= 4096, "illegal header")
    need(payload_bytes <= 16777216, "payload too large")
    need(operation in (2, 4) or expected == ANY, "expected_version where any is required")
    name_room, payload_room = -(-name_bytes // 8) * 8, -(-payload_bytes // 8) * 8
    need(total == 64 + name_room + 32 * references + payload_room + 96 * flags, "total_bytes is not the sum")
    record = raw[at : at + total]
    need(len(record) == total, "record cut short")
    name = record[64 : 64 + name_bytes]
    payload_end = 64 + name_room + 32 * references + payload_bytes
    need(not any(record[64 + name_bytes : 64 + name_room]), "padding of the name")
    need(not any(record[payload_end : 64 + name_room + 32 * references + payload_room]), "padding of the payload")
    if flags:
        key = record[-96:-64]
        made = bytearray(sha(b"\0\x0f", key)[:16])
        made[0] |= 0x80
        need(bytes(made) == issuer, "issuer is not that of the key")
        need(verify(key, b"baash/v1 transaction", record[:-64], record[-64:]), "the issuer's signature")
    else:
        need(not issuer[0] & 0x80, "an issuer with a key, and no signature")
    return Transaction(sha(record), operation, name, issuer, sequence, expected), at + total


# --- section 8


@dataclass
class View:
    number: int
    ledger: bytes
    nodes: list[dict[str, Any]]
    shards: list[list[int]]
    parameters: dict[str, Any]
    before: dict[str, Any] | None

    @property
    def coordinators(self) -> list[dict[str, Any]]:
        return sorted((n for n in self.nodes if n["role"] == "coordinator"), key=lambda n: n["cluster"])

    def key(self, node: int) -> bytes:
        return bytes.fromhex(self.nodes[node]["key"])

    def cluster_of(self, short: int) -> int:
        shard = short & 0xFFF
        return next(c for first, last, c in self.shards if first <= shard <= last)

    def quorum(self, members: int) -> int:
        faults = self.parameters["faults"]
        if self.parameters["quorum"] == "majority":
            return members // 2 + 1
        return 2 * faults + 1 + max(0, members - (3 * faults + 1))


def read_view(path: Path, number: int, read: dict[int, View]) -> View:
    """A view record, checked but for who of its predecessor signed; predecessors are read first."""
    text = path.read_bytes()
    need(text.startswith(b"baash-view-v1\n"), f"{path.name}: first line")
    body, _, tail = text[14:].partition(b"\n\n")
    body += b"\n"
    fields = json.loads(body)
    nodes = fields["nodes"]
    need(fields["view"] == number and [n["node"] for n in nodes] == list(range(len(nodes))), f"{path.name}: numbers")
    view = View(
        number, bytes.fromhex(fields["ledger"]), nodes, fields["shards"], fields["parameters"], fields["predecessor"]
    )
    clusters = range(len(view.coordinators))
    need([n["cluster"] for n in view.coordinators] == list(clusters), f"{path.name}: clusters")
    need(sum(n["role"] == "storage" for n in nodes) <= 1, f"{path.name}: storage validators")
    need(view.shards[0][0] == 0 and view.shards[-1][1] == 4095, f"{path.name}: shards")
    before = None
    if view.before is not None:
        need(view.before["view"] < number, f"{path.name}: predecessor")
        before = history(path.parent, view.before["view"], read)[-1]
        need(before.ledger == view.ledger, f"{path.name}: another ledger")
    need(tail.endswith(b"\n"), f"{path.name}: last line")
    vouching = 0
    by_ledger = False
    for line in tail[:-1].split(b"\n"):
        signer, _, encoded = line.decode().partition(" ")
        signature = base64.b64decode(encoded, validate=True)
        need(base64.b64encode(signature).decode() == encoded, f"{path.name}: base64")
        if signer == "ledger":
            key = view.ledger
            by_ledger = True
        else:
            node = re.fullmatch(r"node:(0|[1-9]\d*)", signer)
            need(node is not None and before is not None and int(node[1]) < len(before.nodes), f"{path.name}: signer")
            assert node is not None and before is not None
            key = before.key(int(node[1]))
            vouching += 1
        need(verify(key, b"baash/v1 view", b"\0\x0d" + body, signature), f"{path.name}: signature of {signer}")
    need(by_ledger or (before is not None and 2 * vouching > len(before.nodes)), f"{path.name}: nobody vouches for it")
    return view


def history(folder: Path, newest: int, read: dict[int, View]) -> list[View]:
    if newest not in read:
        read[newest] = read_view(folder / f"view-{newest:06d}", newest, read)
    view = read[newest]
    return [*(history(folder, view.before["view"], read) if view.before else []), view]


# --- section 7


@dataclass
class Segment:
    name: str
    data: dict[str, bytes]


def read_segment(path: Path, view: View, number: int) -> Segment:
    try:
        with h5py.File(path, "r", locking=False) as file:
            wanted: dict[str, int | str] = {
                "format": "baash segment", "format_version": 1, "ledger": view.ledger.hex(), "view": view.number,
                "segment": number, "align": view.parameters["align"], "coordinators": len(view.coordinators),
            }  # fmt: skip
            found = {name: a.decode() if isinstance(a := file.attrs[name], bytes) else a for name in wanted}
            need(all(found[name] == value for name, value in wanted.items()), f"{path.name}: attributes")
            need(sorted(file) == sorted(DATA), f"{path.name}: data sets")
            places = {}
            for n in DATA:
                row = file[n].dtype.itemsize
                places[n] = (file[n].id.get_offset(), file[n].size * row, row, file[n].chunks)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise Bad(f"{path.name}: {error}") from error
    raw = path.read_bytes()
    for name, (offset, size, _, chunks) in places.items():
        need(offset is not None and chunks is None and offset + size <= len(raw), f"{path.name}: {name}")
    try:
        metadata.check(raw, wanted, {n: metadata.Place(o, s // row, row) for n, (o, s, row, _) in places.items()})
    except (ValueError, struct.error) as error:
        raise Bad(f"{path.name}: HDF5's metadata: {error}") from error
    return Segment(path.name, {n: raw[o : o + s] for n, (o, s, _, _) in places.items()})


DATA = ("block_headers", "records", "certificates", "rejections", "commit_records")


def part(data: bytes, offset: int, size: int, what: str) -> bytes:
    need(offset + size <= len(data), f"{what} outside of its data set")
    return data[offset : offset + size]


# --- section 5


@dataclass
class Certificate:
    window: bytes
    cluster: int
    view: int
    block_count: int
    number: int
    time_ns: int
    records_bytes: int
    transactions: int
    entity_count: int
    ledger: bytes
    previous: bytes
    base: bytes
    entities: bytes
    prefix: int
    entries: list[tuple[bytes, int, int]]


def content(cluster: int, root: bytes, count: int, size: int) -> bytes:
    return sha(struct.pack("<BBBBIII", 0, 3, 1, 0, cluster, count, size), root)


def parse_certificate(raw: bytes, view: View, enclosed: bool = False) -> Certificate:
    z, tag, version, decider, total, prefix, attempt, m, v, inner, reserved = struct.unpack_from("<BBBBIIIIIII", raw)
    need((z, tag, version, reserved) == (0, 9, 1, 0) and decider in (0, 1) and total == len(raw), "certificate head")
    window = raw[32:240]
    (wz, wtag, wversion, wflags, cluster, wview, blocks, number, time_ns, records_bytes, transactions, entity_count, ledger,
     previous, base, root, entities) = struct.unpack("<BBBBIIIQQQII32s32s32s32s32s", window)  # fmt: skip
    need((wz, wtag, wversion, wflags) == (0, 5, 1, 0), "window head")
    need(wview == view.number and ledger == view.ledger and cluster < len(view.coordinators), "window of another view")
    padded = -(-4 * m // 8) * 8
    need(total == 240 + padded + 40 * blocks + 128 * v + inner, "certificate length")
    members = list(struct.unpack_from(f"<{m}I", raw, 240))
    need(not any(raw[240 + 4 * m : 240 + padded]), "padding of the members")
    at = 240 + padded
    entries = [struct.unpack_from("<32sII", raw, at + 40 * i) for i in range(blocks)]
    need(merkle([content(cluster, *e) for e in entries]) == root, "content root")
    need(sum(e[1] for e in entries) == transactions and sum(e[2] for e in entries) == records_bytes, "window totals")
    if decider == 1:
        need([view.nodes[n]["role"] for n in members] == ["storage"], "the storage validator")
        need(attempt == 0 and inner > 0, "the storage validator's attempt, and the votes that did not suffice")
        quorum = 1
    else:
        legal = {n["node"] for n in view.nodes if n["role"] == "validator" and n["cluster"] == cluster}
        need(len(set(members)) == m and legal.issuperset(members), "members")
        need(attempt <= view.parameters["replacements"] and m == 3 * view.parameters["faults"] + 1 + attempt, "attempt")
        quorum = view.quorum(m)
    attempt_hash = sha(struct.pack("<BBBBIII", 0, 6, 1, decider, attempt, m, 0), sha(window), raw[240 : 240 + padded])
    prefixes, last = [], -1
    at += 40 * blocks
    for i in range(v):
        vote = raw[at + 128 * i : at + 128 * i + 128]
        vz, vtag, vversion, answer, node, given, _, _, _, _, voted = struct.unpack_from("<BBBBIIHHII32s", vote)
        need((vz, vtag, vversion) == (0, 8, 1) and answer <= 2 and node > last and node in members, "vote")
        need(
            voted == attempt_hash and verify(view.key(node), b"baash/v1 vote", vote[:64], vote[64:]), "vote's signature"
        )
        last = node
        if answer == 0:
            prefixes.append(min(given, blocks))
    prefixes.sort(reverse=True)
    decided = prefixes[quorum - 1] if len(prefixes) >= quorum else 0
    need(decided == prefix, "recount")
    if enclosed:
        need(decider == 0 and not inner, "enclosed certificate")
    else:
        need(len(prefixes) >= quorum, "too few votes")
        need(decider == 1 or not inner, "enclosed without need")
    if inner:
        within = parse_certificate(raw[total - inner :], view, enclosed=True)
        need(within.window == window, "encloses another window")
    return Certificate(window, cluster, wview, blocks, number, time_ns, records_bytes, transactions, entity_count, ledger,
                       previous, base, entities, prefix, entries)  # fmt: skip


# --- section 10


class Audit:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result = Result()
        self.views: list[View] = []
        self.commit = ZEROS
        self.ends = (0, 0, 0, 0)  # of the round before in the segment: rows, rejections, records, certificates
        self.decided: dict[tuple[bytes, int], list[tuple[bytes, int, int]]] = {}

    def run(self) -> Result:
        try:
            names = [p.name for p in self.folder.iterdir()]
            ours = re.compile(rf"(claim|view)-{DIGITS}|segment-{DIGITS}-[0-9]+\.h5|checkpoint|baash\.lock")
            for name in filter(ours.fullmatch, names):
                need(stat.S_ISREG((self.folder / name).lstat().st_mode), f"{name} is not a regular file")
            numbers = [int(m[1]) for m in (re.fullmatch(f"view-{DIGITS}", n) for n in names) if m]
            segments = [m for m in (re.fullmatch(rf"segment-{DIGITS}-[0-9]+\.h5", n) for n in names) if m]
            need({int(m[1]) for m in segments} <= set(numbers), "a view record was removed: its segments are there")
            self.views = history(self.folder, max(numbers), {}) if numbers else []
            for view, successor in zip(self.views, [*self.views, None][1:], strict=True):
                cut = successor.before["commit"] if successor is not None and successor.before else None
                self.view(view, None if successor is None else base64.b64decode(cut) if cut else b"")
            self.checkpoint()
        except (
            Bad,
            OSError,
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            struct.error,
            AttributeError,
            StopIteration,
        ) as error:
            self.result.problems.append(f"{type(error).__name__}: {error}")
        return self.result

    def view(self, view: View, cut: bytes | None) -> None:
        """``cut``: None for the newest view, else the slot at which it ends, empty: nothing counts."""
        size = -(-(352 + 72 * len(view.coordinators)) // 512) * 512
        need(not cut or len(cut) == size, "size of the cut")
        chains: dict[int, tuple[int, bytes]] = dict.fromkeys(range(len(view.coordinators)), (0, ZEROS))
        bases = {self.commit}
        number, segment = 0, 0
        while cut != b"":
            path = self.folder / f"segment-{view.number:06d}-{segment:04d}.h5"
            later = list(self.folder.glob(f"segment-{view.number:06d}-*.h5"))
            if not path.exists():
                need(not any(int(p.stem.split("-")[2]) > segment for p in later), f"{path.name} is missing")
                need(cut is None, f"view {view.number} ends before its cut")
                return
            opened = read_segment(path, view, segment)
            slots = opened.data["commit_records"]
            self.ends = (0, 0, 0, 0)
            for at in range(0, len(slots) - size + 1, size):
                slot = slots[at : at + size]
                if not self.counts(slot, view, number):
                    need(self.unwritten(slot), f"{path.name}: slot {at // size} is damaged")
                    rest = [slots[i : i + size] for i in range(at + size, len(slots) - size + 1, size)]
                    need(not any(sha(s[:-32]) == s[-32:] for s in rest), f"{path.name}: slot {at // size} is gone")
                    if any(slot):
                        need(cut is None, "cut off before the cut")
                        for name in {p.name for p in later if int(p.stem.split("-")[2]) > segment}:
                            raw = (self.folder / name).read_bytes()
                            found = any(
                                sha(raw[i : i + size - 32]) == raw[i + size - 32 : i + size]
                                for i in range(0, len(raw), 512)
                            )
                            need(not found, f"{name} goes on behind a record that was cut off")
                        return
                    break
                self.round(opened, view, slot, chains, bases)
                number += 1
                if cut is not None and struct.unpack_from("<Q", cut, 8)[0] == number - 1:
                    need(slot == cut, "the cut is another record")
                    return
            segment += 1

    def counts(self, slot: bytes, view: View, number: int) -> bool:
        z, tag, version, _, of_view, round_ = struct.unpack_from("<BBBBIQ", slot)
        return (
            sha(slot[:-32]) == slot[-32:] and (z, tag, version, of_view) == (0, 12, 1, view.number) and round_ == number
            and slot[56:88] == view.ledger and slot[88:120] == self.commit
        )  # fmt: skip

    @staticmethod
    def unwritten(slot: bytes) -> bool:
        if any(not any(slot[i : i + 512]) for i in range(0, len(slot), 512)):
            return True
        right = sha(slot[:-32])
        return any(slot[-32:] == right[:n] + bytes(32 - n) for n in range(25))

    def round(
        self, segment: Segment, view: View, slot: bytes, chains: dict[int, tuple[int, bytes]], bases: set[bytes]
    ) -> None:
        record, result = slot[:256], self.result
        blocks, transactions, rejected = struct.unpack_from("<QQQ", record, 24)
        windows, coordinators = struct.unpack_from("<II", record, 48)
        _, head, log_root, body_hash, rejections_digest = (record[88 + 32 * i : 120 + 32 * i] for i in range(5))
        need(record[3] == 0 and not any(record[248:256]) and coordinators == len(view.coordinators), "commit record")
        places = struct.unpack_from("<8Q", slot, 256)
        first_row, row_count, first_rejection, rejection_count, body_offset, body_bytes, records_end, end = places
        row_before, rejection_before, records_at, certificates_at = self.ends
        need((first_row, first_rejection) == (row_before, rejection_before), "first rows of the locator")
        self.ends = (first_row + row_count, first_rejection + rejection_count, records_end, end)
        signers = sorted(n["node"] for n in view.coordinators)
        for i, node in enumerate(signers):
            number, zero, signature = struct.unpack_from("<II64s", slot, 320 + 72 * i)
            need((number, zero) == (node, 0), "order of signatures")
            need(verify(view.key(node), b"baash/v1 commit", record, signature), f"signature of coordinator {node}")
        need(not any(slot[320 + 72 * len(signers) : -32]), "rest of the slot")

        body = part(segment.data["certificates"], body_offset, body_bytes, "body")
        need(sha(body) == body_hash, "hash of the body")
        z, tag, version, flags, window_count, cluster_count, zero = struct.unpack_from("<BBBBIII", body)
        need((z, tag, version, flags, zero) == (0, 10, 1, 0, 0) and window_count == windows, "head of the body")
        need(len(body) == 16 + 64 * window_count + 48 * cluster_count, "length of the body")
        need(cluster_count == len(view.coordinators), "clusters of the body")
        offsets = struct.unpack(
            f"<{windows}Q", part(segment.data["certificates"], body_offset + body_bytes, 8 * windows, "offsets")
        )
        unit = view.parameters["align"]
        for i, offset in enumerate(offsets):
            need(offset >= certificates_at and offset % 8 == 0, "place of a certificate")
            certificates_at = -(-(offset + struct.unpack_from("<I", body, 16 + 64 * i + 24)[0]) // 8) * 8
        need(body_offset == -(-certificates_at // unit) * unit, "place of the body")
        need(end == body_offset + body_bytes + 8 * windows, "end of the certificates")
        rows = part(segment.data["block_headers"], 128 * first_row, 128 * row_count, "headers")
        headers = [rows[i : i + 128] for i in range(0, len(rows), 128)]
        for header in headers:
            size, where = struct.unpack_from("<I", header, 44)[0], struct.unpack_from("<Q", header, 112)[0]
            need(where >= records_at, "blocks in front of those before them")
            records_at = where + size
        need(records_end in (records_at, -(-records_at // unit) * unit), "end of the records")
        order = []
        for i in range(windows):
            row = struct.unpack_from("<IHHQIIII32s", body, 16 + 64 * i)
            order.append((row[0], row[3]))
            certificate = part(segment.data["certificates"], offsets[i], row[6], "certificate")
            self.window(segment, view, row, certificate, headers[: row[4]], chains, bases)
            need(len(headers) >= row[4], "blocks of the round")
            headers = headers[row[4] :]
        need(not headers and order == sorted(set(order)), "windows of the round")
        for c in range(cluster_count):
            cluster, zero, count, last = struct.unpack_from("<IIQ32s", body, 16 + 64 * windows + 48 * c)
            need((cluster, zero) == (c, 0) and chains[c] == (count, last), "chains of the body")

        refused = part(segment.data["rejections"], 64 * first_rejection, 64 * rejection_count, "rejections")
        need(sha(b"\0\x0b\1\0", struct.pack("<I", rejection_count), refused) == rejections_digest, "rejections")
        for i in range(rejection_count):
            issuer, sequence, id_, reason, zero, cluster = struct.unpack_from("<16sQ32sHHI", refused, 64 * i)
            need(reason in LEGAL_REASONS and zero == 0 and cluster < len(view.coordinators), "a rejection")
            if reason not in (30, 31, 32):
                self.once(issuer, sequence, id_, view.number, cluster)
        refusing = [struct.unpack_from("<I", refused, 64 * i + 60)[0] for i in range(rejection_count)]
        need(refusing == sorted(refusing), "order of the rejections")
        result.rejections += rejection_count
        need(
            (len(result.blocks), len(result.transactions), result.rejections) == (blocks, transactions, rejected),
            "totals",
        )
        need((result.blocks[-1] if result.blocks else ZEROS) == head, "head")
        need(merkle(result.blocks) == log_root, "log root")
        self.commit = sha(record)
        bases.add(self.commit)

    def window(
        self, segment: Segment, view: View, row: tuple[Any, ...], raw: bytes, headers: list[bytes],
        chains: dict[int, tuple[int, bytes]], bases: set[bytes],
    ) -> None:  # fmt: skip
        cluster, outcome, zero, number, prefix, block_count, _, zero2, window_hash = row
        need(
            zero == zero2 == 0 and outcome == (0 if prefix == block_count else 1) and prefix <= block_count,
            "window row",
        )
        made = parse_certificate(raw, view)
        need(sha(made.window) == window_hash and (made.cluster, made.number) == (cluster, number), "window hash")
        need((made.prefix, made.block_count) == (prefix, block_count), "prefix")
        need(chains[cluster] == (number, made.previous) and made.base in bases, "window chain")
        chains[cluster] = (number + 1, window_hash)
        self.result.certificates += 1
        written: set[int] = set()
        behind = None
        for index, (header, entry) in enumerate(zip(headers, made.entries, strict=False)):
            where, first = struct.unpack_from("<QQ", header, 112)
            need(behind in (None, where) and first == len(self.result.transactions), "place of a block")
            behind = where + entry[2]
            expected = struct.pack(
                "<BBBBIQIIQQII",
                0,
                4,
                1,
                0,
                cluster,
                len(self.result.blocks),
                view.number,
                index,
                number,
                made.time_ns,
                *entry[1:],
            )
            parent = self.result.blocks[-1] if self.result.blocks else ZEROS
            need(header[:112] == expected + content(cluster, *entry) + parent, "block header")
            records = part(segment.data["records"], where, entry[2], "records")
            written |= self.block(view, cluster, records, entry)
            self.result.blocks.append(sha(header[:112]))
        if prefix == block_count:
            listed = b"".join(s.to_bytes(8, "little") for s in sorted(written))
            need(len(written) == made.entity_count, "entity count")
            need(sha(b"\0\7\1\0", struct.pack("<I", len(written)), listed) == made.entities, "entity list")

    def block(self, view: View, cluster: int, records: bytes, entry: tuple[bytes, int, int]) -> set[int]:
        at, ids, written = 0, [], set()
        while at < len(records):
            one, at = parse_transaction(records, at)
            ids.append(one.id)
            need(view.cluster_of(one.short) == cluster, "entity of another cluster")
            self.once(one.issuer, one.sequence, one.id, view.number, cluster)
            version, exists = self.result.versions.get(one.entity, (0, False))
            legal = one.operation == 5 or exists == (one.operation != 1)
            need(legal and (one.operation not in (2, 4) or one.expected in (ANY, version)), "a rule")
            if one.operation in (1, 2, 4):
                self.result.versions[one.entity] = (version + 1, one.operation != 4)
                written.add(one.short)
        need(len(ids) == entry[1] >= 1 and merkle(ids) == entry[0], "root")
        self.result.transactions += ids
        return written

    def once(self, issuer: bytes, sequence: int, id_: bytes, view: int, cluster: int) -> None:
        """Decided once; two clusters that could not know of each other are the issuer's misconduct, and no failure."""
        before = self.decided.setdefault((issuer, sequence), [])
        need(all(b[0] != id_ and b[1:] != (view, cluster) for b in before), "decided twice")
        before.append((id_, view, cluster))

    def checkpoint(self) -> None:
        path = self.folder / "checkpoint"
        if not path.exists():
            return
        text, _, tail = path.read_text().partition("\n\n")
        name, size, root = text.split("\n")
        ledger = bytes.fromhex(name.removeprefix("baash/"))
        keys = {name: ledger}
        for view in self.views:
            keys |= {f"{name}/view/{view.number}/node/{n['node']}": view.key(n["node"]) for n in view.nodes}
        need(tail.endswith("\n") and all(v.ledger == ledger for v in self.views), "checkpoint")
        known, lines = 0, tail[:-1].split("\n")
        need(len(lines) <= 1024 and not any(ord(c) < 32 for line in lines for c in line), "form of the checkpoint")
        for line in lines:
            dash, signer, encoded = line.split(" ")
            need(bool(signer) and not any(c.isspace() or c == "+" for c in signer), "a signer's name")
            raw = base64.b64decode(encoded, validate=True)
            need(dash == "—" and base64.b64encode(raw).decode() == encoded, "signature line of the checkpoint")
            if signer in keys and raw[:4] == sha(signer.encode(), b"\n\1", keys[signer])[:4]:
                VerifyKey(keys[signer]).verify(f"{text}\n".encode(), raw[4:])
                known += 1
        need(known > 0, "the checkpoint is signed by nobody who is known")
        need(int(size) <= len(self.result.blocks), "the checkpoint names more blocks than there are")
        need(merkle(self.result.blocks[: int(size)]) == base64.b64decode(root, validate=True), "root of the checkpoint")


def audit(path: str | Path) -> Result:
    try:
        return Audit(Path(path)).run()
    except BadSignatureError:
        return Result(["the checkpoint's signature"])


if __name__ == "__main__":
    outcome = audit(sys.argv[1])
    print(f"{len(outcome.blocks)} blocks, {len(outcome.transactions)} transactions, {outcome.rejections} rejections")
    print("\n".join(outcome.problems) or "all is as it was committed")
    sys.exit(not outcome.ok)
