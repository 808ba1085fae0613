"""Ed25519 signatures (RFC 8032, by libsodium) over a context and a hash.

What is signed is ``context ‖ 0x00 ‖ SHA-256(object)``, so a signature for one kind of object never fits another.
Verification is a pure function and is memoised: nodes that live in one process check a signature once.
Where key files lie is the business of ``ledger/keyring.py``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32


class Context(Enum):
    """What a signature is for."""

    TRANSACTION = b"baash/v1 transaction\0"
    VOTE = b"baash/v1 vote\0"
    COMMIT = b"baash/v1 commit\0"
    VIEW = b"baash/v1 view\0"


@dataclass(frozen=True)
class PrivateKey:
    """An Ed25519 key pair made from a 32-byte seed. Its ``repr`` does not show the secret."""

    public: bytes
    _secret: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        public, secret = crypto_sign_seed_keypair(seed)
        return cls(public, secret)

    @property
    def seed(self) -> bytes:
        return self._secret[:SEED_BYTES]

    def sign(self, context: Context, signed: bytes) -> bytes:
        """The signature (64 bytes) over ``signed``, the object's bytes."""
        return sign_digest(self._secret, context, hashlib.sha256(signed).digest())

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.hex()})"


def sign_digest(secret: bytes, context: Context, digest: bytes) -> bytes:
    """The signature over an object whose SHA-256 is ``digest``."""
    return bytes(crypto_sign(context.value + digest, secret)[:SIGNATURE_BYTES])


def verify(public: bytes, context: Context, signed: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``public`` over ``signed`` in this context."""
    return _verify_digest(bytes(public), context, hashlib.sha256(signed).digest(), bytes(signature))


def verify_digest(public: bytes, context: Context, digest: bytes, signature: bytes) -> bool:
    """The same, over the object whose SHA-256 is ``digest``."""
    return _verify_digest(public, context, digest, signature)


@lru_cache(maxsize=16384)
def _verify_digest(public: bytes, context: Context, digest: bytes, signature: bytes) -> bool:
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + context.value + digest, public)
    except BadSignatureError:
        return False
    return True
