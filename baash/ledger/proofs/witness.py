"""Being a witness: cosign the checkpoints of a log, and never two that contradict each other.

Theory (C2SP tlog-witness). A witness keeps, for each log, the last checkpoint it signed, and signs a newer one only if that
is an extension of it. So whoever owns a ledger and all its keys cannot show two histories to people who
ask for the same witness. The last one is kept before the new one is given out, under a lock, so that two calls at once
cannot sign two histories either.

The private key is one line in a file of mode 0600; beside it lies ``<file>.<ledger id>.seen``, the last checkpoint with this
witness's line. What the witness does not do: look at transactions.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from baash.errors import InputError, KeyNotFound, LedgerDamaged, LedgerError, Refused, UsageError
from baash.keys import SEED_BYTES, PrivateKey
from baash.ledger import keyring
from baash.ledger.durable import read_regular, refusals, replace, write_exclusively
from baash.ledger.proofs import checkpoint, form, notes, tree, views
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.form import ConsistencyProof
from baash.ledger.proofs.notes import Witness
from baash.ledger.proofs.tree import LogTree


@dataclass(frozen=True)
class Cosigned:
    """``data``: the file that was given, with the witness's line; ``before``: what the witness had signed last, if anything."""

    data: bytes
    point: Checkpoint
    before: Checkpoint | None
    line: bytes


@dataclass(frozen=True)
class Evidence:
    """What a witness may look at to see that a checkpoint extends another."""

    tree: LogTree | None  # of the ledger itself
    proof: ConsistencyProof | None
    older: bytes | None  # a checkpoint that the new one must extend, beside the one kept


def new_key(name: str, path: Path) -> Witness:
    """Make a key, and its file. UsageError: no such name, or a file is there; StorageError."""
    if not notes.is_name(name):
        raise UsageError(f"{name!r} cannot name a key: no spaces, no plus signs, at most {notes.NAME_BYTES_MAX} bytes")
    witness = Witness(name, PrivateKey.from_seed(os.urandom(SEED_BYTES)))
    with refusals("write the key", path):
        try:
            write_exclusively(path, witness.text.encode() + b"\n", mode=0o600)
        except FileExistsError:
            raise UsageError(f"{path} exists already, and keys are never replaced: give another name") from None
    return witness


def load_key(path: Path) -> Witness:
    """The key in a file. KeyNotFound, LedgerError, StorageError, UsageError."""
    try:
        lines = keyring.read_secret(path)
    except FileNotFoundError:
        raise KeyNotFound(f"there is no key {path}; make one with baash cosign --new-key NAME --key {path}") from None
    try:
        return notes.read_witness(lines[0] if lines[1:] == [""] else "")
    except (UsageError, IndexError, UnicodeError):
        raise LedgerError(f"{path} is not a witness's private key; restore it from a copy") from None


def evidence(given: bytes | None, name: str, tree: LogTree | None) -> Evidence:
    """From what ``--since`` names (a consistency proof or a checkpoint) and the ledger, if there is one. InputError."""
    if given is None:
        return Evidence(tree, None, None)
    if given.startswith(form.CONSISTENCY_FIRST_LINE.encode()):
        proof = form.decode(given, name)
        assert isinstance(proof, ConsistencyProof)
        return Evidence(tree, proof, proof.old)
    return Evidence(tree, None, form.note_of(given, name)[0])


def cosign(
    path: Path, data: bytes, name: str, shown: Evidence, time_s: int, may: dict[str, bytes] | None = None
) -> Cosigned:
    """Sign the newest checkpoint in ``data``, a checkpoint or a proof from a file called ``name``, with the key at ``path``.

    ``may``: who else than the ledger key may have signed it (name → public key), from the ledger. Refused: it is not consistent
    with what was signed before, or nothing shows that it is. InputError, LedgerError.
    """
    witness = load_key(path)
    note, records = form.note_of(data, name)
    if shown.proof is None and data.startswith(form.CONSISTENCY_FIRST_LINE.encode()):
        shown = evidence(data, name, shown.tree)
    point = _genuine(note, records, may or {})
    with _alone(path):
        kept = _kept(path, point, witness)
        for before, which in ((kept, "this witness signed last"), (shown.older, "was given as the older one")):
            if before is not None:
                _require_extension(checkpoint.decode(before)[0], point, shown, which)
        if shown.tree is not None and (point.size > shown.tree.size or shown.tree.root(point.size) != point.root):
            raise Refused(f"{name} is not a checkpoint of the ledger that was given: nothing was signed")
        line = notes.cosign(point.text, witness, time_s)
        replace(_seen(path, point), point.text + b"\n" + line)
    return Cosigned(form.with_line(data, name, line), point, checkpoint.decode(kept)[0] if kept else None, line)


def _genuine(note: bytes, records: tuple[bytes, ...], may: dict[str, bytes]) -> Checkpoint:
    """The checkpoint, if its log signed it: the ledger key, or a node that this key vouches for."""
    point, _ = checkpoint.decode(note)
    try:
        nodes = checkpoint.signers(views.proven(records, point.ledger).values())
        _, names = checkpoint.verify(note, ({checkpoint.origin(point.ledger): point.ledger} | may | nodes).items())
    except LedgerDamaged as error:
        raise Refused(f"{error}: nothing was signed") from None
    if not names:
        raise Refused(
            "the checkpoint is signed by a node that nothing here vouches for, or by nobody: give the ledger with --ledger, "
            "or a checkpoint signed by the ledger key (baash checkpoint)"
        )
    return point


def _require_extension(old: Checkpoint, new: Checkpoint, shown: Evidence, which: str) -> None:
    """Refused unless ``new`` is shown to extend ``old``."""
    what = f"the checkpoint (size {old.size}) that {which}"
    if old.ledger != new.ledger:
        raise Refused(f"{what} is of another ledger: nothing was signed")
    if new.size < old.size:
        raise Refused(f"this checkpoint is of size {new.size}, and so older than {what}: nothing was signed")
    proof = shown.proof
    if new.size == old.size:
        good = new.root == old.root
    elif old.size == 0:
        good = old.root == tree.EMPTY_ROOT
    elif proof is not None and checkpoint.decode(proof.old)[0] == old and checkpoint.decode(proof.new)[0] == new:
        good = tree.extends(old.size, old.root, new.size, new.root, proof.path)
    elif shown.tree is not None:
        good = new.size <= shown.tree.size and shown.tree.root(old.size) == old.root
        good = good and shown.tree.root(new.size) == new.root
    else:
        raise Refused(
            f"nothing shows that this checkpoint extends {what}: give the ledger with --ledger, or with --since a "
            "consistency proof from there (baash prove --consistency)"
        )
    if not good:
        raise Refused(
            f"this checkpoint does not extend {what}: nothing was signed; keep both, together they prove that the ledger's "
            "history was rewritten"
        )


def _seen(path: Path, point: Checkpoint) -> Path:
    return path.with_name(f"{path.name}.{point.ledger.hex()}.seen")


def _kept(path: Path, point: Checkpoint, witness: Witness) -> bytes | None:
    """The last checkpoint of this log that this witness signed."""
    seen = _seen(path, point)
    with refusals("read", seen):
        try:
            note = read_regular(seen, checkpoint.NOTE_MAX)
        except FileNotFoundError:
            return None
    try:
        found, lines = checkpoint.decode(note)
        good = found.ledger == point.ledger and any(
            name == witness.name and notes.verify(found.text, raw, witness.verifier) is not None for name, raw in lines
        )
    except LedgerDamaged:
        good = False
    if not good:
        raise InputError(f"{seen} is not what this witness wrote there: restore it from a copy before you sign again")
    return note


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One signer at a time with this key."""
    with refusals("lock", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with refusals("lock", path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
