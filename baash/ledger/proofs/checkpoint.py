"""Checkpoints: what a ledger's log was at some moment, signed, in the form that transparency logs share.

A C2SP signed note (https://c2sp.org/signed-note) whose text is that of a C2SP tlog-checkpoint: the origin
``baash/<ledger id, hex>``, the number of blocks, the log root in base64; an empty line; lines
``— <name> base64(key hash ‖ signature)``. Against someone who owns the storage and all keys, a checkpoint in somebody else's
hands is the only proof. Here they are made, read and checked; what a ledger holds is compared by the audit and by ``history.py``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from baash.errors import LedgerDamaged, LedgerError
from baash.keys import PrivateKey
from baash.ledger.durable import read_regular, refusal, replace
from baash.ledger.folder import CHECKPOINT_NAME, Folder
from baash.ledger.proofs import notes
from baash.ledger.proofs.notes import ED25519, Verifier
from baash.protocol.view import View

NOTE_MAX = 1 << 20
SIZE_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class Checkpoint:
    """The log of ``ledger`` had ``size`` blocks and this root."""

    ledger: bytes
    size: int
    root: bytes

    @property
    def origin(self) -> str:
        return origin(self.ledger)

    @property
    def text(self) -> bytes:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def origin(ledger: bytes) -> str:
    """The name of a ledger's log, and of its ledger key as a signer."""
    return f"baash/{ledger.hex()}"


def node_name(ledger: bytes, view: int, node: int) -> str:
    """The name of a node as a signer."""
    return f"{origin(ledger)}/view/{view}/node/{node}"


def log_key(ledger: bytes) -> Verifier:
    """The verifier key of a ledger's log, for policies and for tools that know C2SP."""
    return Verifier(origin(ledger), ED25519, ledger)


def sign(checkpoint: Checkpoint, key: PrivateKey, name: str | None = None) -> bytes:
    """The signed note; ``name`` is the signer's, the ledger key's if None."""
    return checkpoint.text + b"\n" + notes.sign(checkpoint.text, key, name or checkpoint.origin)


def decode(note: bytes) -> tuple[Checkpoint, list[notes.Signature]]:
    """(checkpoint, [(signer's name, key hash ‖ signature)]). LedgerDamaged if it is no such note."""
    try:
        text, signatures = notes.split(note)
        lines = text.decode().split("\n")
        if len(lines) != 4 or not lines[0].startswith("baash/"):
            raise ValueError("the text is not three lines that begin with baash/")
        if len(lines[1]) > len(str(SIZE_MAX)) or not lines[1].isascii():
            raise ValueError("no log has this size")
        found = Checkpoint(bytes.fromhex(lines[0][6:]), int(lines[1]), notes.decode_base64(lines[2]))
        if found.text != text or len(found.ledger) != 32 or len(found.root) != 32 or not 0 <= found.size <= SIZE_MAX:
            raise ValueError("the text is not in its one legal form")
        return found, signatures
    except ValueError as error:
        raise LedgerDamaged(f"not a checkpoint: {error}") from error


def verify(note: bytes, signers: Iterable[tuple[str, bytes]]) -> tuple[Checkpoint, list[str]]:
    """(checkpoint, names of those of ``signers`` — (name, public key) — that signed it).

    LedgerDamaged if it is not a checkpoint, or a signature under a known name and key does not verify. Lines of unknown
    signers are skipped, as the format asks.
    """
    found, signatures = decode(note)
    known = {(v.name, v.key_hash): v for v in (Verifier(name, ED25519, public) for name, public in signers)}
    names = []
    for name, raw in signatures:
        signer = known.get((name, raw[:4]))
        if signer is None:
            continue
        if notes.verify(found.text, raw, signer) is None:
            raise LedgerDamaged(f"the checkpoint's signature by {name} does not verify")
        names.append(name)
    return found, names


def signers(views: Iterable[View]) -> dict[str, bytes]:
    """Who may sign a checkpoint: name → public key."""
    known: dict[str, bytes] = {}
    for view in views:
        known[origin(view.ledger)] = view.ledger
        known |= {node_name(view.ledger, view.view, node.node): node.key for node in view.nodes}
    return known


def publish(folder: Folder, checkpoint: Checkpoint, key: PrivateKey, name: str | None = None) -> None:
    """Put the newest checkpoint into the ledger's folder, at once and durable."""
    replace(folder.path / CHECKPOINT_NAME, sign(checkpoint, key, name))


def read(folder: Folder) -> bytes | None:
    """The note in the ledger's folder, if there is one."""
    path = folder.path / CHECKPOINT_NAME
    try:
        return read_regular(path, NOTE_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal("read", path, error) from error


def load(folder: Folder, signers: Iterable[tuple[str, bytes]]) -> Checkpoint | None:
    """The checkpoint in the folder, signed by one of ``signers``; None: there is none. LedgerError, LedgerDamaged."""
    note = read(folder)
    if note is None:
        return None
    found, names = verify(note, signers)
    if not names:
        raise LedgerError(f"{folder.path / CHECKPOINT_NAME} is signed by nobody who is known here")
    return found
