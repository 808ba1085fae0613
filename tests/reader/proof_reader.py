"""A second checker of proofs, written from ``docs/proofs.md`` and ``docs/ledger-format.md`` alone: hashlib and PyNaCl, nothing of baash.

Plain Python, one step after the other. ``check(data, …)`` returns what is proved, or raises: ``Malformed`` (the file is no
proof) or ``Bad`` (it is one, and not good). It reads no policy file: witnesses are (vkeys, how many).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

LIMIT = 2**63
ANY = 2**64 - 1


class Malformed(Exception):
    """No proof at all."""


class Bad(Exception):
    """A proof, and not good."""


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def form(condition: bool, what: str) -> None:
    if not condition:
        raise Malformed(what)


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Bad(what)


def signed(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
        return True
    except (BadSignatureError, ValueError, TypeError):
        return False


def under(context: str, key: bytes, what: bytes, signature: bytes) -> bool:
    return signed(key, f"baash/v1 {context}".encode() + b"\0" + sha(what), signature)


def unbase64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("base64") from None
    form(base64.b64encode(raw).decode() == text, "base64 with stray bits")
    return raw


def number(text: str) -> int:
    form(re.fullmatch(r"0|[1-9][0-9]*", text) is not None and len(text) < 20, "a number")
    form(int(text) < LIMIT, "a number that is too large")
    return int(text)


# --- signed notes


def read_note(raw: bytes) -> tuple[bytes, int, bytes, list[tuple[str, bytes]], bytes]:
    """(ledger's id, size, root, [(name, key hash ‖ signature)], text)."""
    try:
        note = raw.decode()
    except UnicodeDecodeError:
        raise Malformed("UTF-8") from None
    form(not any(ord(c) < 32 and c != "\n" for c in note), "a control character")
    text, gap, tail = note.partition("\n\n")
    lines = text.split("\n")
    form(bool(gap) and tail.endswith("\n") and len(lines) == 3, "a checkpoint")
    form(re.fullmatch("baash/[0-9a-f]{64}", lines[0]) is not None, "the origin")
    root = unbase64(lines[2])
    form(len(root) == 32, "the root")
    signatures = []
    for line in tail[:-1].split("\n"):
        parts = line.split(" ")
        form(len(parts) == 3 and parts[0] == "—" and len(parts[1].encode()) in range(1, 256), "a signature line")
        form(not any(c.isspace() or c == "+" for c in parts[1]), "a signer's name")
        signatures.append((parts[1], unbase64(parts[2])))
        form(len(signatures[-1][1]) > 4 and len(signatures) <= 1024, "signature lines")
    return bytes.fromhex(lines[0][6:]), number(lines[1]), root, signatures, text.encode() + b"\n"


def key_hash(name: str, kind: int, key: bytes) -> bytes:
    return sha(name.encode(), bytes((10, kind)), key)[:4]


def log_signers(note: tuple[bytes, int, bytes, list[tuple[str, bytes]], bytes], known: dict[str, bytes]) -> list[str]:
    """Names of the log's signers; every known one must verify, one is needed."""
    found = []
    for name, raw in note[3]:
        if name in known and raw[:4] == key_hash(name, 1, known[name]):
            need(signed(known[name], note[4], raw[4:]), f"the signature of {name}")
            found.append(name)
    need(bool(found), "the log did not sign the checkpoint")
    return found


def cosigners(note: tuple[bytes, int, bytes, list[tuple[str, bytes]], bytes], vkeys: list[str]) -> dict[str, int]:
    """vkey → time of each of these witnesses that signed."""
    seen: dict[str, int] = {}
    for vkey in vkeys:
        name, hash_, encoded = vkey.split("+", 2)
        key = base64.b64decode(encoded)
        assert key[0] == 4 and key_hash(name, 4, key[1:]).hex() == hash_
        for signer, raw in note[3]:
            if signer == name and raw[:4].hex() == hash_:
                time_s = int.from_bytes(raw[4:12], "big")
                message = b"cosignature/v1\ntime %d\n" % time_s + note[4]
                need(time_s < LIMIT and signed(key[1:], message, raw[12:]), f"the cosignature of {name}")
                seen[vkey] = max(time_s, seen.get(vkey, 0))
    return seen


# --- Merkle trees


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.3.2."""
    need(index < size, "a leaf outside of its tree")
    fn, sn, root = index, size - 1, leaf
    for step in path:
        need(sn != 0, "a path that is too long")
        if fn & 1 or fn == sn:
            root = sha(b"\1", step, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = sha(b"\1", root, step)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, "a path that is too short")
    return root


def extends(old: tuple[int, bytes], new: tuple[int, bytes], path: list[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2."""
    if old[0] > new[0]:
        return False
    if old[0] == new[0]:
        return old[1] == new[1] and not path
    if old[0] == 0:
        return old[1] == sha(b"") and not path
    steps = [old[1], *path] if old[0] & (old[0] - 1) == 0 else list(path)
    fn, sn = old[0] - 1, new[0] - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    if not steps:
        return False
    fr = sr = steps[0]
    for step in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = sha(b"\1", step, fr), sha(b"\1", step, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha(b"\1", sr, step)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old[1], new[1], 0)


# --- view records


def read_views(data: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        form(at + 4 <= len(data), "view records cut short")
        size = struct.unpack_from("<I", data, at)[0]
        form(at + 4 + size <= len(data), "view records cut short")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    form(at == len(data), "bytes behind the view records")
    return found


def check_views(records: list[bytes], ledger: bytes) -> dict[int, dict[str, Any]]:
    views: dict[int, dict[str, Any]] = {}
    before: dict[str, Any] | None = None
    for record in records:
        need(record.startswith(b"baash-view-v1\n"), "first line of a view record")
        body, gap, tail = record[14:].partition(b"\n\n")
        body += b"\n"
        need(bool(gap) and tail.endswith(b"\n"), "signatures of a view record")
        view: dict[str, Any] = json.loads(body)
        need(view["ledger"] == ledger.hex(), "a view of another ledger")
        need(before is None or view["view"] > before["view"], "order of the view records")
        lines = [line.split(" ") for line in tail[:-1].decode("ascii").split("\n")]
        need(len({line[0] for line in lines}) == len(lines), "a signer twice")
        if [line[0] for line in lines] == ["ledger"]:
            keys = {"ledger": ledger}
        else:
            need(before is not None and view["predecessor"]["view"] == before["view"], "the predecessor is missing")
            assert before is not None
            keys = {f"node:{n['node']}": bytes.fromhex(n["key"]) for n in before["nodes"]}
            need(2 * len(lines) > len(before["nodes"]), "too few nodes vouch for a view")
        for signer, encoded in lines:
            raw = base64.b64decode(encoded, validate=True)
            need(base64.b64encode(raw).decode() == encoded and signer in keys, "a line of a view record")
            need(under("view", keys[signer], b"\0\x0d" + body, raw), f"the signature of {signer} on a view")
        need([n["node"] for n in view["nodes"]] == list(range(len(view["nodes"]))), "numbers of nodes")
        views[view["view"]] = before = view
    return views


def may_sign(ledger: bytes, views: dict[int, dict[str, Any]]) -> dict[str, bytes]:
    origin = f"baash/{ledger.hex()}"
    nodes = {f"{origin}/view/{v}/node/{n['node']}": bytes.fromhex(n["key"]) for v in views for n in views[v]["nodes"]}
    return {origin: ledger, **nodes}


# --- transaction, block, certificate


def check_record(raw: bytes) -> dict[str, Any]:
    need(len(raw) >= 64, "record cut short")
    (z, tag, version, operation, flags, name_bytes, total, payload_bytes, issuer, sequence, _, expected, references,
     _, reserved, z2, tag2) = struct.unpack_from("<BBBBHHII16sQQQHHHBB", raw)  # fmt: skip
    need((z, tag, version, z2, tag2, reserved) == (0, 1, 1, 0, 2, 0) and total == len(raw), "not a record")
    need(1 <= operation <= 5 and flags in (0, 1) and 1 <= name_bytes <= 4096 and references <= 4096, "illegal header")
    need(payload_bytes <= 16777216 and (operation in (2, 4) or expected == ANY), "illegal header")
    name_end, start = 64 + name_bytes, 64 + -(-name_bytes // 8) * 8 + 32 * references
    end = start + -(-payload_bytes // 8) * 8
    need(total == end + 96 * flags, "total_bytes is not the sum")
    need(not any(raw[name_end : 64 + -(-name_bytes // 8) * 8]) and not any(raw[start + payload_bytes : end]), "padding")
    if flags:
        made = bytearray(sha(b"\0\x0f", raw[-96:-64])[:16])
        made[0] |= 128
        need(bytes(made) == issuer and under("transaction", raw[-96:-64], raw[:-64], raw[-64:]), "issuer's signature")
    else:
        need(not issuer[0] & 128, "an issuer with a key, and no signature")
    name, payload = raw[64:name_end], raw[start : start + payload_bytes]
    return {"id": sha(raw), "operation": operation, "entity": name, "payload": payload, "sequence": sequence}


def content(cluster: int, count: int, size: int, root: bytes) -> bytes:
    return sha(struct.pack("<BBBBIII", 0, 3, 1, 0, cluster, count, size), root)


def check_certificate(raw: bytes, view: dict[str, Any], enclosed: bool = False) -> dict[str, Any]:
    need(len(raw) >= 240, "certificate cut short")
    z, tag, version, decider, total, prefix, attempt, m, v, inner, reserved = struct.unpack_from("<BBBBIIIIIII", raw)
    need((z, tag, version, reserved) == (0, 9, 1, 0) and decider in (0, 1), "certificate head")
    (wz, wtag, wversion, wflags, cluster, of_view, blocks, window, time_ns, _, _, _, ledger, _, _, root,
     _) = struct.unpack("<BBBBIIIQQQII32s32s32s32s32s", raw[32:240])  # fmt: skip
    need((wz, wtag, wversion, wflags) == (0, 5, 1, 0), "window head")
    nodes = view["nodes"]
    clusters = {n["cluster"] for n in nodes if n["role"] == "coordinator"}
    need(of_view == view["view"] and ledger.hex() == view["ledger"] and cluster in clusters, "window of another view")
    padded = -(-4 * m // 8) * 8
    need(total == 240 + padded + 40 * blocks + 128 * v + inner, "certificate length")  # of the whole one
    need(len(raw) == total - 40 * blocks * (2 if inner else 1), "certificate length")
    members = list(struct.unpack_from(f"<{m}I", raw, 240))
    need(not any(raw[240 + 4 * m : 240 + padded]), "padding of the members")
    at = 240 + padded
    faults, spare = view["parameters"]["faults"], view["parameters"]["replacements"]
    if decider:
        need([nodes[n]["role"] for n in members] == ["storage"] and attempt == 0 and inner > 0, "storage validator")
        quorum = 1
    else:
        legal = {n["node"] for n in nodes if n["role"] == "validator" and n["cluster"] == cluster}
        need(len(set(members)) == m and legal.issuperset(members), "members")
        need(attempt <= spare and m == 3 * faults + 1 + attempt and (enclosed or not inner), "attempt")
        byzantine = view["parameters"]["quorum"] == "byzantine"
        quorum = 2 * faults + 1 + m - (3 * faults + 1) if byzantine else m // 2 + 1
    attempted = sha(struct.pack("<BBBBIII", 0, 6, 1, decider, attempt, m, 0), sha(raw[32:240]), raw[240 : 240 + padded])
    given, last = [], -1
    for i in range(v):
        vote = raw[at + 128 * i : at + 128 * i + 128]
        vz, vtag, vversion, answer, node, p, _, _, _, _, of = struct.unpack_from("<BBBBIIHHII32s", vote)
        need((vz, vtag, vversion) == (0, 8, 1) and answer <= 2 and node > last and node in members, "a vote")
        key = bytes.fromhex(nodes[node]["key"])
        need(of == attempted and under("vote", key, vote[:64], vote[64:]), "a vote's signature")
        last = node
        given += [min(p, blocks)] if answer == 0 else []
    given.sort(reverse=True)
    need(prefix == (given[quorum - 1] if len(given) >= quorum else 0), "recount")
    if enclosed:
        need(decider == 0 and not inner and prefix == 0, "the enclosed certificate")
    else:
        need(len(given) >= quorum, "too few votes")
    if inner:
        within = raw[at + 128 * v :]
        need(struct.unpack_from("<I", within, 4)[0] == inner, "length of the enclosed certificate")
        check_certificate(within, view, enclosed=True)
        need(within[32:240] == raw[32:240], "encloses another window")
    return {"place": (cluster, window, time_ns), "prefix": prefix, "blocks": blocks, "root": root}


# --- the two files


def check_transaction(lines: list[str], note_bytes: bytes) -> tuple[dict[str, Any], Any]:
    form(len(lines) >= 2 and lines[0].startswith("extra ") and lines[1].startswith("index "), "extra and index")
    extra, height = unbase64(lines[0][6:]), number(lines[1][6:])
    path = [unbase64(line) for line in lines[2:]]
    form(len(path) <= 63 and all(len(p) == 32 for p in path), "path in the log")
    form(len(extra) >= 40, "extra data cut short")
    magic, r, i, p, q, c, v = struct.unpack_from("<16s6I", extra)
    form(magic == b"baash proof v1\0\0", "extra data")
    form(len(extra) >= 40 + r + 32 * p + 112 + 32 * q + c, "extra data cut short")
    record, rest = extra[40 : 40 + r], extra[40 + r :]
    inside, header = [rest[32 * k : 32 * k + 32] for k in range(p)], rest[32 * p : 32 * p + 112]
    rest = rest[32 * p + 112 :]
    across, certificate, views_bytes = rest[: 32 * q], rest[32 * q : 32 * q + c], rest[32 * q + c :]
    records = read_views(views_bytes, v)
    note = read_note(note_bytes)

    found = check_record(record)
    (z, tag, version, flags, cluster, its_height, of_view, index, window, time_ns, count, size, digest,
     _) = struct.unpack("<BBBBIQIIQQII32s32s", header)  # fmt: skip
    need((z, tag, version, flags, its_height) == (0, 4, 1, 0, height), "block header")
    need(content(cluster, count, size, root_of(found["id"], i, count, inside)) == digest, "the path in the block")
    need(root_of(sha(header), height, note[1], path) == note[2], "the path in the log")
    views = check_views(records, note[0])
    need(of_view in views, "the view is missing")
    found["signers"] = log_signers(note, may_sign(note[0], views))
    made = check_certificate(certificate, views[of_view])
    need(index < made["prefix"], "the votes do not carry this block")
    in_window = root_of(digest, index, made["blocks"], [across[32 * k : 32 * k + 32] for k in range(q)])
    need(in_window == made["root"] and made["place"] == (cluster, window, time_ns), "not what was voted on")
    shard = int.from_bytes(sha(b"\0\2", found["entity"])[:8], "little") & 0xFFF
    need(any(a <= shard <= b and owner == cluster for a, b, owner in views[of_view]["shards"]), "another cluster")
    return found | {"height": height, "size": note[1]}, note


def check_consistency(data: bytes) -> tuple[dict[str, Any], Any]:
    parts = data.split(b"\n\n")
    form(len(parts) == 5, "a head and two checkpoints")
    lines = parts[0].decode("ascii").split("\n")[1:]
    records: list[bytes] = []
    if lines and lines[0].startswith("extra "):
        extra = unbase64(lines.pop(0)[6:])
        form(len(extra) >= 24, "extra data cut short")
        magic, count, zero = struct.unpack_from("<16s2I", extra)
        form(magic == b"baash views v1\0\0" and count > 0 and zero == 0, "extra data")
        records = read_views(extra[24:], count)
    form(bool(lines) and lines[0].startswith("old "), "the line old")
    old_size, path = number(lines[0][4:]), [unbase64(line) for line in lines[1:]]
    form(len(path) <= 63 and all(len(p) == 32 for p in path), "path")
    new, old = read_note(parts[1] + b"\n\n" + parts[2] + b"\n"), read_note(parts[3] + b"\n\n" + parts[4])
    need(new[0] == old[0], "two ledgers")
    need(old[1] == old_size and extends((old[1], old[2]), (new[1], new[2]), path), "the path")
    known = may_sign(new[0], check_views(records, new[0]))
    signers = [*log_signers(old, known), *log_signers(new, known)]
    return {"old_size": old[1], "size": new[1], "signers": signers}, new


def check(
    data: bytes, ledger_id: bytes | None = None, witnesses: list[str] | None = None, quorum: int = 0
) -> dict[str, Any]:
    """What the file proves. Malformed, Bad."""
    try:
        form(len(data) <= 64 << 20, "too large")
        if data.startswith(b"c2sp.org/tlog-proof@v1\n"):
            head, gap, note_bytes = data.partition(b"\n\n")
            form(bool(gap), "an empty line")
            found, note = check_transaction(head.decode("ascii").split("\n")[1:], note_bytes)
        elif data.startswith(b"baash/tlog-consistency@v1\n"):
            found, note = check_consistency(data)
        else:
            raise Malformed("the first line")
    except UnicodeDecodeError:
        raise Malformed("not text") from None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, struct.error) as error:
        raise Bad(f"{type(error).__name__}: {error}") from None
    need(ledger_id is None or note[0] == ledger_id, "another ledger")
    seen = cosigners(note, witnesses or [])
    need(len(seen) >= quorum, "too few witnesses")
    return found | {"ledger": note[0], "witnesses": seen}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            print(name, check(Path(name).read_bytes()))
        except (Malformed, Bad) as wrong:
            print(name, type(wrong).__name__, wrong)
