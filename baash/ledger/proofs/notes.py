"""C2SP signed notes: a text, an empty line, signature lines; verifier and private keys as strings; cosignatures of witnesses.

https://c2sp.org/signed-note and https://c2sp.org/tlog-cosignature. A line is ``— NAME base64(key hash ‖ signature)``; the
key hash is the first 4 bytes of SHA-256(NAME ‖ 0x0A ‖ kind ‖ public key). Two kinds of keys, both Ed25519: 1 signs
the text as it is, 4 signs ``cosignature/v1``, a time and the text (a witness), and its signature begins with that time.

Knows nothing of ledgers. ML-DSA cosignatures (kind 6) are lines of unknown signers here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from baash.errors import UsageError
from baash.keys import PUBLIC_KEY_BYTES, SEED_BYTES, SIGNATURE_BYTES, PrivateKey

ED25519, COSIGNATURE = 1, 4
DASH = "\u2014"
NAME_BYTES_MAX = 255
SIGNATURES_MAX = 1024
TIME_MAX = (1 << 63) - 1
_PRIVATE = "PRIVATE+KEY+"

Signature = tuple[str, bytes]  # the signer's name, key hash ‖ signature


@dataclass(frozen=True)
class Verifier:
    """Who may sign, and how: a verifier key (vkey)."""

    name: str
    kind: int  # ED25519 or COSIGNATURE
    public: bytes

    @property
    def key_hash(self) -> bytes:
        return key_hash(self.name, self.public, self.kind)

    @property
    def text(self) -> str:
        """``name+hash+base64``: what is given to those who are to check its signatures."""
        return f"{self.name}+{self.key_hash.hex()}+{_base64(bytes((self.kind,)) + self.public)}"


@dataclass(frozen=True)
class Witness:
    """A witness's private key."""

    name: str
    key: PrivateKey

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, COSIGNATURE, self.key.public)

    @property
    def text(self) -> str:
        """The private key as a string; a secret."""
        return _PRIVATE + f"{self.name}+{self.verifier.key_hash.hex()}+{_base64(bytes((COSIGNATURE,)) + self.key.seed)}"


def key_hash(name: str, public: bytes, kind: int = ED25519) -> bytes:
    """The 4 bytes that a signature begins with: they tell keys of one name apart."""
    return hashlib.sha256(name.encode() + bytes((0x0A, kind)) + public).digest()[:4]


def is_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no Unicode spaces, no plus, no control characters."""
    return 0 < len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX and not any(
        c.isspace() or c == "+" or ord(c) < 0x20 or 0xD800 <= ord(c) < 0xE000 for c in name
    )


def read_verifier(text: str) -> Verifier:
    """A vkey. UsageError saying what is wrong with it."""
    name, kind, public = _read_key(text, "a verifier key (name+hash+base64)")
    found = Verifier(name, kind, public)
    if found.key_hash.hex() != text.split("+")[1].lower():
        raise UsageError(f"the verifier key of {name} has a hash that is not its own: copy it whole")
    return found


def read_witness(text: str) -> Witness:
    """A witness's private key. UsageError saying what is wrong with it."""
    what = "a witness's private key"
    if not text.startswith(_PRIVATE):
        raise UsageError(f"this is not {what}: it begins with {_PRIVATE}")
    name, kind, seed = _read_key(text[len(_PRIVATE) :], what)
    found = Witness(name, PrivateKey.from_seed(seed))
    if kind != COSIGNATURE or found.verifier.key_hash.hex() != text[len(_PRIVATE) :].split("+")[1].lower():
        raise UsageError(f"this is not {what}: its kind or hash is another; restore it from a copy")
    return found


def split(note: bytes) -> tuple[bytes, list[Signature]]:
    """(text, signatures) of a signed note. ValueError saying why it is none."""
    whole = note.decode()
    if any(ord(c) < 0x20 and c != "\n" for c in whole):
        raise ValueError("a control character")
    text, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise ValueError("no signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise ValueError(f"more than {SIGNATURES_MAX} signatures")
    return text.encode() + b"\n", [_read_line(line) for line in lines]


def line(name: str, signature: bytes) -> bytes:
    """A signature line; ``signature`` begins with the key hash."""
    return f"{DASH} {name} {_base64(signature)}\n".encode()


def sign(text: bytes, key: PrivateKey, name: str) -> bytes:
    """The signature line of a key of kind 1."""
    return line(name, key_hash(name, key.public) + _sign(key, text))


def cosign(text: bytes, witness: Witness, time_s: int) -> bytes:
    """The signature line of a witness that saw ``text`` at ``time_s`` (seconds since 1970)."""
    signature = _sign(witness.key, _cosigned(text, time_s))
    return line(witness.name, witness.verifier.key_hash + time_s.to_bytes(8, "big") + signature)


def verify(text: bytes, signature: bytes, signer: Verifier) -> int | None:
    """When ``signer`` signed (kind 4: seconds since 1970; kind 1: 0); None: the signature does not verify.

    ``signature`` begins with the key hash, as in ``split``.
    """
    rest, time_s = signature[4:], 0
    if signer.kind == COSIGNATURE:
        time_s, rest = int.from_bytes(rest[:8], "big"), rest[8:]
        text = _cosigned(text, time_s)
    if len(rest) != SIGNATURE_BYTES or time_s > TIME_MAX or signature[:4] != signer.key_hash:
        return None
    try:
        crypto_sign_open(rest + text, signer.public)
    except (BadSignatureError, ValueError):
        return None
    return time_s


def decode_base64(text: str) -> bytes:
    """Standard base64 in its one form. ValueError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    if _base64(raw) != text:
        raise ValueError("base64 with stray bits")
    return raw


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _cosigned(text: bytes, time_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time_s + text


def _sign(key: PrivateKey, message: bytes) -> bytes:
    _, secret = crypto_sign_seed_keypair(key.seed)
    return bytes(crypto_sign(message, secret)[:SIGNATURE_BYTES])


def _read_line(text: str) -> Signature:
    parts = text.split(" ")
    if len(parts) != 3 or parts[0] != DASH or not is_name(parts[1]):
        raise ValueError("a signature line is not one")
    raw = decode_base64(parts[2])
    if len(raw) < 5:
        raise ValueError("a signature line is cut short")
    return parts[1], raw


def _read_key(text: str, what: str) -> tuple[str, int, bytes]:
    """(name, kind, 32 bytes) of ``name+hash+base64``; base64 may hold plus signs."""
    parts = text.split("+", 2)
    try:
        if len(parts) != 3 or not is_name(parts[0]) or len(parts[1]) != 8:
            raise ValueError
        bytes.fromhex(parts[1])
        raw = decode_base64(parts[2])
    except ValueError:
        raise UsageError(f"{text[:80]!r} is not {what}: copy it whole") from None
    if len(raw) != 1 + PUBLIC_KEY_BYTES or raw[0] not in (ED25519, COSIGNATURE):
        raise UsageError(f"the key of {parts[0]} is of a kind that is not known here: Ed25519 keys (1 and 4) are")
    assert PUBLIC_KEY_BYTES == SEED_BYTES
    return parts[0], raw[0], raw[1:]
