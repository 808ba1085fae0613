"""The layout: every fixed-size object of a ledger as a numpy dtype, byte for byte.

The same bytes are hashed, sent over MPI and stored in HDF5; nothing here encodes or decodes item by item.
All integers are little-endian, all rows are packed and a multiple of 8 bytes long. The text of record is
``docs/ledger-format.md``; a test holds the two together.

Every hashed object begins with the byte 0x00 and a type byte (``Tag``), so the SHA-256 of one is also its
RFC 9162 leaf hash and no object can be taken for another. What is signed begins with a context (``keys.py``).
"""

from __future__ import annotations

import hashlib
from enum import IntEnum, IntFlag

import numpy as np

FORMAT_VERSION = 1
SHARD_COUNT = 4096  # entity shards, fixed for ever: shard = low 12 bits of the entity hash
ANY_VERSION = 0xFFFF_FFFF_FFFF_FFFF
NO_VIEW = 0xFFFF_FFFF
ZERO_HASH = bytes(32)

# Limits. A record that exceeds one is refused by intake and by every validator alike.
ENTITY_BYTES_MAX = 4096
REFERENCES_MAX = 4096
PAYLOAD_BYTES_MAX = 16 << 20
WINDOW_BYTES_MAX = 64 << 20  # a window always admits one largest record
REPLAY_WIDTH = 65536  # sequence numbers remembered below the highest, per issuer (RFC 6479)


class Tag(IntEnum):
    """Second byte of everything that is hashed."""

    TRANSACTION = 0x01
    ENTITY = 0x02
    BLOCK_CONTENT = 0x03
    BLOCK_HEADER = 0x04
    WINDOW = 0x05
    ATTEMPT = 0x06
    ENTITY_LIST = 0x07
    VOTE = 0x08
    CERTIFICATE = 0x09
    ROUND_BODY = 0x0A
    REJECTIONS = 0x0B
    COMMIT_RECORD = 0x0C
    VIEW = 0x0D
    SOURCE = 0x0E
    KEY = 0x0F


class Operation(IntEnum):
    """What a transaction says of its entity (W3C PROV terms in ``docs/ledger-format.md``)."""

    CREATE = 1
    UPDATE = 2
    USE = 3
    RETIRE = 4
    NOTE = 5


class Flag(IntFlag):
    """Transaction flags."""

    SIGNED = 1  # the record ends with the issuer's public key (32 bytes) and signature (64 bytes)


class PayloadType(IntEnum):
    """How to read a payload. Validators do not look inside."""

    BYTES = 0
    JSON = 1
    YCSB = 2


class Reason(IntEnum):
    """Why a transaction (or a window) is not valid. The kernels use the same numbers."""

    NONE = 0
    # form: the bytes are not a record
    TRUNCATED = 1
    BAD_TAG = 2
    BAD_VERSION = 3
    BAD_OPERATION = 4
    BAD_FLAGS = 5
    BAD_LENGTH = 6
    BAD_PADDING = 7
    BAD_ENTITY = 8
    BAD_EXPECTED_VERSION = 9
    BAD_ISSUER = 10
    BAD_SIGNATURE = 11
    TOO_LARGE = 12
    # rules: the record contradicts the state
    ENTITY_EXISTS = 20
    ENTITY_UNKNOWN = 21
    VERSION_MISMATCH = 22
    # replays
    REPLAYED = 30  # this (issuer, sequence) is decided
    TOO_OLD = 31  # below the range that is remembered
    ISSUER_CONFLICT = 32  # same (issuer, sequence), another id: the issuer's misconduct
    # the window itself
    WINDOW_MISMATCH = 40  # what was sent is not what the header says
    ENTITY_LOCKED = 41  # a window in flight writes an entity of this one
    BEHIND = 42  # the validator has not applied the state this window builds on
    WRONG_CLUSTER = 43  # an entity of another cluster's shard
    INTERNAL = 44  # validation raised


# These refuse a transaction without deciding its (issuer, sequence): the pair was decided before, or is forgotten.
UNDECIDED_REASONS = (Reason.REPLAYED, Reason.TOO_OLD, Reason.ISSUER_CONFLICT)


class Answer(IntEnum):
    """What a vote says."""

    PREFIX = 0
    BEHIND = 1
    CANNOT = 2


class Outcome(IntEnum):
    """What became of a window."""

    DECIDED = 0  # every block
    LOST_FROM = 1  # the first ``prefix`` blocks; the rest was cut again or rejected


class Decider(IntEnum):
    """Who decided a window."""

    MEMBERS = 0
    STORAGE_VALIDATOR = 1


_HASH = ("u1", 32)
_TAGGED = [("zero", "u1"), ("tag", "u1"), ("version", "u1")]

# The fixed header of a transaction, 64 bytes. ``entity_zero, entity_tag`` are its last two bytes, so that
# the entity hash is SHA-256 over bytes that lie together: [62, 64 + entity_bytes).
TRANSACTION = np.dtype(
    [
        *_TAGGED,
        ("operation", "u1"),
        ("flags", "<u2"),
        ("entity_bytes", "<u2"),
        ("total_bytes", "<u4"),
        ("payload_bytes", "<u4"),
        ("issuer", "u1", 16),
        ("sequence", "<u8"),
        ("time_ns", "<u8"),
        ("expected_version", "<u8"),
        ("reference_count", "<u2"),
        ("payload_type", "<u2"),
        ("reserved", "<u2"),
        ("entity_zero", "u1"),
        ("entity_tag", "u1"),
    ]
)

# What a scan of records yields, 64 bytes a transaction; lives in memory only.
TRANSACTION_INFO = np.dtype(
    [
        ("start", "<u8"),  # of the record in its buffer
        ("sequence", "<u8"),
        ("expected_version", "<u8"),
        ("issuer", "u1", 16),
        ("total_bytes", "<u4"),
        ("payload_bytes", "<u4"),
        ("payload_start", "<u4"),  # from the record's start
        ("entity_bytes", "<u2"),
        ("flags", "<u2"),
        ("reference_count", "<u2"),
        ("payload_type", "<u2"),
        ("operation", "u1"),
        ("pad", "u1", 3),
    ]
)

BLOCK_CONTENT = np.dtype(
    [
        *_TAGGED,
        ("reserved", "u1"),
        ("cluster", "<u4"),
        ("count", "<u4"),
        ("bytes", "<u4"),
        ("root", *_HASH),
    ]
)

# Hashed part of a block header, 112 bytes: two SHA-256 compressions.
BLOCK_HEADER = np.dtype(
    [
        *_TAGGED,
        ("flags", "u1"),
        ("cluster", "<u4"),
        ("height", "<u8"),
        ("view", "<u4"),
        ("index", "<u4"),
        ("window", "<u8"),
        ("time_ns", "<u8"),
        ("count", "<u4"),
        ("bytes", "<u4"),
        ("content", *_HASH),
        ("parent", *_HASH),
    ]
)

# A row of the block_headers data set, 128 bytes: the hashed header, then where the block lies (not hashed).
BLOCK_ROW = np.dtype([*BLOCK_HEADER.descr, ("records_offset", "<u8"), ("first_transaction", "<u8")])

WINDOW = np.dtype(
    [
        *_TAGGED,
        ("flags", "u1"),
        ("cluster", "<u4"),
        ("view", "<u4"),
        ("block_count", "<u4"),
        ("number", "<u8"),
        ("time_ns", "<u8"),
        ("records_bytes", "<u8"),
        ("transaction_count", "<u4"),
        ("entity_count", "<u4"),
        ("ledger", *_HASH),
        ("previous", *_HASH),
        ("base", *_HASH),
        ("content_root", *_HASH),
        ("entities", *_HASH),
    ]
)

# Head of an attempt; ``member_count`` node numbers (u4) follow, padded with zeros to a multiple of 8 bytes.
ATTEMPT = np.dtype(
    [
        *_TAGGED,
        ("decider", "u1"),
        ("attempt", "<u4"),
        ("member_count", "<u4"),
        ("reserved", "<u4"),
        ("window", *_HASH),
    ]
)

VOTE = np.dtype(
    [
        *_TAGGED,
        ("answer", "u1"),
        ("node", "<u4"),
        ("prefix", "<u4"),
        ("reason", "<u2"),
        ("reserved", "<u2"),
        ("bad_index", "<u4"),
        ("reserved2", "<u4"),
        ("attempt", *_HASH),
        ("reserved3", "u1", 8),
        ("signature", "u1", 64),
    ]
)
VOTE_SIGNED_BYTES = 64

# A block as a certificate lists it.
BLOCK_ENTRY = np.dtype([("root", *_HASH), ("count", "<u4"), ("bytes", "<u4")])

CERTIFICATE = np.dtype(
    [
        *_TAGGED,
        ("decider", "u1"),
        ("total_bytes", "<u4"),
        ("prefix", "<u4"),
        ("attempt", "<u4"),
        ("member_count", "<u4"),
        ("vote_count", "<u4"),
        ("enclosed_bytes", "<u4"),
        ("reserved", "<u4"),
    ]
)

# Round body: a head, then one row a window in the order of the chain; hashed as one.
ROUND_BODY = np.dtype(
    [
        *_TAGGED,
        ("flags", "u1"),
        ("window_count", "<u4"),
        ("cluster_count", "<u4"),
        ("reserved", "<u4"),
    ]
)
ROUND_WINDOW = np.dtype(
    [
        ("cluster", "<u4"),
        ("outcome", "<u2"),
        ("reserved", "<u2"),
        ("number", "<u8"),
        ("prefix", "<u4"),
        ("block_count", "<u4"),
        ("certificate_bytes", "<u4"),
        ("reserved2", "<u4"),
        ("window", *_HASH),
    ]
)
# After the windows, one row a cluster: the last window of its chain once this round is committed.
ROUND_CLUSTER = np.dtype([("cluster", "<u4"), ("reserved", "<u4"), ("number", "<u8"), ("window", *_HASH)])

REJECTION = np.dtype(
    [
        ("issuer", "u1", 16),
        ("sequence", "<u8"),
        ("id", *_HASH),
        ("reason", "<u2"),
        ("reserved", "<u2"),
        ("cluster", "<u4"),
    ]
)

# Hashed part of a commit record, 256 bytes.
COMMIT_RECORD = np.dtype(
    [
        *_TAGGED,
        ("flags", "u1"),
        ("view", "<u4"),
        ("round", "<u8"),
        ("time_ns", "<u8"),
        ("block_total", "<u8"),
        ("transaction_total", "<u8"),
        ("rejection_total", "<u8"),
        ("window_count", "<u4"),
        ("coordinator_count", "<u4"),
        ("ledger", *_HASH),
        ("previous", *_HASH),
        ("head", *_HASH),
        ("log_root", *_HASH),
        ("body", *_HASH),
        ("rejections", *_HASH),
        ("reserved", "u1", 8),
    ]
)

# A slot of the commit_records data set: hashed part, where the round lies in this segment, signatures,
# zeros, and in the last 32 bytes SHA-256 of everything before them.
COMMIT_LOCATOR = np.dtype(
    [
        ("first_block", "<u8"),  # row in block_headers
        ("block_count", "<u8"),
        ("first_rejection", "<u8"),  # row in rejections
        ("rejection_count", "<u8"),
        ("body_offset", "<u8"),  # in certificates; the body, then one u8 offset a window
        ("body_bytes", "<u8"),
        ("records_end", "<u8"),  # cursor in records after this round
        ("certificates_end", "<u8"),
    ]
)
COMMIT_SIGNATURE = np.dtype([("node", "<u4"), ("reserved", "<u4"), ("signature", "u1", 64)])
CHECKSUM_BYTES = 32
SECTOR_BYTES = 512


def slot_bytes(coordinators: int) -> int:
    """Size of a commit-record slot: all its signatures fit, and it is a whole number of 512-byte sectors."""
    need = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize + coordinators * COMMIT_SIGNATURE.itemsize + CHECKSUM_BYTES
    return -(-need // SECTOR_BYTES) * SECTOR_BYTES


def tagged(row: np.ndarray, tag: Tag) -> np.ndarray:
    """Set the three bytes every hashed object begins with; ``row`` is returned."""
    row["zero"] = 0
    row["tag"] = tag
    row["version"] = FORMAT_VERSION
    return row


def align(offset: int, unit: int) -> int:
    """The smallest multiple of ``unit`` that is not below ``offset``."""
    return -(-offset // unit) * unit


def source_issuer(name: str) -> bytes:
    """The issuer id (16 bytes, top bit clear) of an input called ``name``."""
    digest = bytearray(hashlib.sha256(bytes((0, Tag.SOURCE)) + name.encode()).digest()[:16])
    digest[0] &= 0x7F
    return bytes(digest)


def key_issuer(public_key: bytes) -> bytes:
    """The issuer id (16 bytes, top bit set) of whoever holds the Ed25519 key ``public_key`` (32 bytes)."""
    digest = bytearray(hashlib.sha256(bytes((0, Tag.KEY)) + public_key).digest()[:16])
    digest[0] |= 0x80
    return bytes(digest)


def entity_hash(name: bytes) -> bytes:
    """The hash (32 bytes) of one entity name; batches go through ``kernels.sha256_spans``."""
    return hashlib.sha256(bytes((0, Tag.ENTITY)) + name).digest()
