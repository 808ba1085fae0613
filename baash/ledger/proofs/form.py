"""The files that travel: how a proof of a transaction and one of consistency are written down. ``docs/proofs.md`` has the bytes.

A proof of a transaction is a C2SP tlog-proof (https://c2sp.org/tlog-proof): the leaf is the hash of the block's header,
and what leads from the transaction to that header is in the ``extra`` line. For consistency there is no C2SP file; ours is
the body of a C2SP tlog-witness request between a first line and the older checkpoint. Each file has one legal form, so that
nobody can change a byte that means nothing.

Reads what anybody may have written: sizes before contents, no recursion. Whether it is true is for ``checking.py``.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from baash.errors import InputError, LedgerDamaged
from baash.ledger.proofs import checkpoint, notes
from baash.records import BLOCK_HEADER

PROOF_MAX = 64 << 20  # bytes of a file: the largest payload, and two views of as many nodes as may be
HASHES_MAX = 63  # of a path in the log, as tlog-witness has it
FIRST_LINE = "c2sp.org/tlog-proof@v1"
CONSISTENCY_FIRST_LINE = "baash/tlog-consistency@v1"
MAGIC = b"baash proof v1\0\0"
VIEWS_MAGIC = b"baash views v1\0\0"
_HEAD = struct.Struct("<16s6I")  # magic, record bytes, index, hashes, hashes, certificate bytes, views
_VIEWS_HEAD = struct.Struct("<16s2I")  # magic, views, zero
_SIZE = struct.Struct("<I")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class TransactionProof:
    """A transaction is in a block, the block in the log of a checkpoint, and nodes of a view found it valid."""

    record: bytes
    index: int  # in its block
    path: bytes  # n × 32: from the id up to the block's root
    header: bytes  # 112: the block header
    window_path: bytes  # n × 32: from the block's content digest up to the content root of its window
    certificate: bytes  # without the window's list of blocks (``votes.py``)
    views: tuple[bytes, ...]  # view records that lead from the ledger key to the nodes that signed
    height: int
    log_path: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True)
class ConsistencyProof:
    """The log of the checkpoint ``old`` is a beginning of that of the checkpoint ``new``."""

    old: bytes
    new: bytes
    old_size: int
    path: tuple[bytes, ...]
    views: tuple[bytes, ...]


def encode(proof: TransactionProof) -> bytes:
    """The file."""
    hashes = (len(proof.path) // 32, len(proof.window_path) // 32)
    extra = _HEAD.pack(MAGIC, len(proof.record), proof.index, *hashes, len(proof.certificate), len(proof.views))
    extra += proof.record + proof.path + proof.header + proof.window_path + proof.certificate
    extra += _encode_views(proof.views)
    lines = [FIRST_LINE, f"extra {_base64(extra)}", f"index {proof.height}", *map(_base64, proof.log_path), ""]
    return "".join(f"{line}\n" for line in lines).encode() + proof.note


def encode_consistency(proof: ConsistencyProof) -> bytes:
    """The file."""
    lines = [CONSISTENCY_FIRST_LINE]
    if proof.views:
        extra = _VIEWS_HEAD.pack(VIEWS_MAGIC, len(proof.views), 0) + _encode_views(proof.views)
        lines.append(f"extra {_base64(extra)}")
    lines += [f"old {proof.old_size}", *map(_base64, proof.path), ""]
    return "".join(f"{line}\n" for line in lines).encode() + proof.new + b"\n" + proof.old


def decode(data: bytes, name: str) -> TransactionProof | ConsistencyProof:
    """A proof from a file called ``name``. InputError saying what is malformed."""
    try:
        if len(data) > PROOF_MAX:
            raise ValueError(f"it is larger than {PROOF_MAX} bytes")
        first, _, rest = data.partition(b"\n")
        if first == FIRST_LINE.encode():
            found: TransactionProof | ConsistencyProof = _decode_proof(rest)
            again = encode(found) if isinstance(found, TransactionProof) else b""
        elif first == CONSISTENCY_FIRST_LINE.encode():
            found = _decode_consistency(rest)
            again = encode_consistency(found) if isinstance(found, ConsistencyProof) else b""
        else:
            raise ValueError(f"the first line is neither {FIRST_LINE} nor {CONSISTENCY_FIRST_LINE}")
        if again != data:
            raise ValueError("it is not in its one legal form")
        return found
    except (ValueError, LedgerDamaged) as error:
        raise InputError(f"{name} is not a proof: {error}; get it again from whoever made it") from None


def note_of(data: bytes, name: str) -> tuple[bytes, tuple[bytes, ...]]:
    """(the newest checkpoint in a file, the view records beside it): a bare checkpoint, or that of a proof. InputError."""
    if data.startswith((FIRST_LINE.encode(), CONSISTENCY_FIRST_LINE.encode())):
        proof = decode(data, name)
        return (proof.note if isinstance(proof, TransactionProof) else proof.new), proof.views
    try:
        checkpoint.decode(data)
    except LedgerDamaged as error:
        raise InputError(
            f"{name} is neither a checkpoint nor a proof: {error}; get it again from whoever made it"
        ) from None
    return data, ()


def with_line(data: bytes, name: str, line: bytes) -> bytes:
    """The file with one more signature line behind its newest checkpoint."""
    note, _ = note_of(data, name)
    if not data.startswith(CONSISTENCY_FIRST_LINE.encode()):
        return data + line
    proof = decode(data, name)
    assert isinstance(proof, ConsistencyProof)
    return encode_consistency(ConsistencyProof(proof.old, note + line, proof.old_size, proof.path, proof.views))


def _decode_proof(rest: bytes) -> TransactionProof:
    head, separator, note = rest.partition(b"\n\n")
    lines = head.decode("ascii").split("\n")
    if not separator or len(lines) < 2 or not lines[0].startswith("extra ") or not lines[1].startswith("index "):
        raise ValueError("the lines extra and index, hashes, an empty line and a checkpoint are not there")
    extra = notes.decode_base64(lines[0][6:])
    if len(extra) < _HEAD.size:
        raise ValueError("the extra data is cut short")
    magic, record_bytes, index, hashes, window_hashes, certificate_bytes, view_count = _HEAD.unpack_from(extra)
    if magic != MAGIC:
        raise ValueError("the extra data is not that of a BAASH proof")
    at, parts = _HEAD.size, []
    for size in (record_bytes, 32 * hashes, BLOCK_HEADER.itemsize, 32 * window_hashes, certificate_bytes):
        parts.append(extra[at : at + size])
        at += size
    if at > len(extra):
        raise ValueError("the extra data is cut short")
    views = _decode_views(extra[at:], view_count)
    checkpoint.decode(note)
    return TransactionProof(
        parts[0], index, parts[1], parts[2], parts[3], parts[4], views, _number(lines[1][6:]), _hashes(lines[2:]), note
    )


def _decode_consistency(rest: bytes) -> ConsistencyProof:
    parts = rest.split(b"\n\n")
    if len(parts) != 5:
        raise ValueError("a head and two checkpoints, with empty lines between them, are not there")
    lines = parts[0].decode("ascii").split("\n")
    views: tuple[bytes, ...] = ()
    if lines[0].startswith("extra "):
        extra = notes.decode_base64(lines.pop(0)[6:])
        magic, count, zero = _VIEWS_HEAD.unpack_from(extra) if len(extra) >= _VIEWS_HEAD.size else (b"", 0, 0)
        if magic != VIEWS_MAGIC or zero or not count:
            raise ValueError("the extra data is not that of a BAASH proof")
        views = _decode_views(extra[_VIEWS_HEAD.size :], count)
    if not lines or not lines[0].startswith("old "):
        raise ValueError("there is no line old")
    new, old = parts[1] + b"\n\n" + parts[2] + b"\n", parts[3] + b"\n\n" + parts[4]
    for note in (new, old):
        checkpoint.decode(note)
    return ConsistencyProof(old, new, _number(lines[0][4:]), _hashes(lines[1:]), views)


def _encode_views(views: Sequence[bytes]) -> bytes:
    return b"".join(_SIZE.pack(len(view)) + view for view in views)


def _decode_views(data: bytes, count: int) -> tuple[bytes, ...]:
    """Exactly ``count`` view records that fill ``data``."""
    views, at = [], 0
    for _ in range(count):
        size = _SIZE.unpack_from(data, at)[0] if at + _SIZE.size <= len(data) else len(data)
        at += _SIZE.size
        if at + size > len(data):
            raise ValueError("the view records are cut short")
        views.append(data[at : at + size])
        at += size
    if at != len(data):
        raise ValueError("there are bytes behind the last view record")
    return tuple(views)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > checkpoint.SIZE_MAX:
        raise ValueError(f"{text[:32]!r} is not a number of a log")
    return int(text)


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    found = tuple(notes.decode_base64(line) for line in lines)
    if len(found) > HASHES_MAX or any(len(one) != 32 for one in found):
        raise ValueError(f"the path in the log is not of at most {HASHES_MAX} hashes")
    return found


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
