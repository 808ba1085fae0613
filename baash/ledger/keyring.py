"""Ledger keys: the private key of each ledger, in a folder of its owner and never in the ledger's.

``$BAASH_KEYS``, else ``$XDG_CONFIG_HOME/baash/keys``, else ``~/.config/baash/keys`` (mode 0700); one file a ledger,
``<ledger id, hex>.key`` (mode 0600): the line ``baash-ledger-key-v1``, then the 32-byte seed in hex. A key that others
could read is refused, since whoever has it can sign views. Node keys are not kept: they live as long as their job.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from baash.errors import KeyNotFound, LedgerError
from baash.keys import SEED_BYTES, PrivateKey
from baash.ledger.durable import make_folder, refusal, refusals, write_exclusively

_FIRST_LINE = "baash-ledger-key-v1"


def folder() -> Path:
    """Where keys lie; it need not exist."""
    chosen = os.environ.get("BAASH_KEYS")
    if chosen:
        return Path(chosen)
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "baash" / "keys"


def path_of(ledger_id: bytes) -> Path:
    return folder() / f"{ledger_id.hex()}.key"


def generate() -> PrivateKey:
    """A new ledger key, already saved; its public half is the id of the ledger to be made with it."""
    key = PrivateKey.from_seed(os.urandom(SEED_BYTES))
    save(key)
    return key


def prepare() -> None:
    """Make the key folder, or see that keys can be saved there. StorageError: no ledger needs to be begun."""
    here = folder()
    with refusals("create the key folder", here):
        make_folder(here, mode=0o700)
        if not os.access(here, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def save(key: PrivateKey) -> Path:
    """Store a key durably, readable by its owner alone. Raises LedgerError if there is one, StorageError."""
    path = path_of(key.public)
    prepare()
    with refusals("write the key", path):
        try:
            write_exclusively(path, f"{_FIRST_LINE}\n{key.seed.hex()}\n".encode(), mode=0o600)
        except FileExistsError:
            raise LedgerError(f"the key {path} exists already, and keys are never replaced") from None
    return path


def load(ledger_id: bytes) -> PrivateKey:
    """The private key of a ledger. Raises KeyNotFound, or LedgerError when the file may not be trusted."""
    path = path_of(ledger_id)
    try:
        lines = read_secret(path)
    except FileNotFoundError:
        raise KeyNotFound(
            f"the ledger's private key {path} is not there; copy it from where the ledger was made, "
            "or set BAASH_KEYS to the folder that has it"
        ) from None
    if len(lines) != 3 or lines[0] != _FIRST_LINE or len(lines[1]) != 2 * SEED_BYTES or lines[2]:
        raise LedgerError(f"{path} is not a ledger key; restore it from a copy")
    try:
        key = PrivateKey.from_seed(bytes.fromhex(lines[1]))
    except ValueError:
        raise LedgerError(f"{path} is not a ledger key; restore it from a copy") from None
    if key.public != ledger_id:
        raise LedgerError(f"{path} holds the key of another ledger ({key.public.hex()}); restore it from a copy")
    return key


def read_secret(path: Path) -> list[str]:
    """The lines of a small private file; none if it is not text. LedgerError unless it is its owner's alone, FileNotFoundError,
    StorageError."""
    try:
        with open(path, encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise LedgerError(f"the key {path} can be read by others; look who did, then run: chmod 600 {path}")
            if status.st_uid != os.geteuid():
                raise LedgerError(
                    f"the key {path} belongs to another user (uid {status.st_uid}); use a key of your own"
                )
            return file.read(4096).split("\n")
    except UnicodeDecodeError:
        return []
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refusal("read the key", path, error) from error
