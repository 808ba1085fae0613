"""Proofs and checkpoints made from a ledger. What is given away is checked first: a ledger that has rotted proves nothing.

A proof holds the newest checkpoint of the folder if that covers the block, else one that is signed now with the ledger key, if
that is at hand. The ledger key never signs a root that the commit records do not state, so it signs no second history
over bytes that have changed.
"""

from __future__ import annotations

import numpy as np

from baash import kernels
from baash.errors import KeyNotFound, LedgerDamaged, LedgerError, LimitExceeded, UsageError
from baash.ledger import keyring
from baash.ledger.folder import CHECKPOINT_NAME
from baash.ledger.index.lookup import Lookup
from baash.ledger.proofs import checking, checkpoint, form, views, votes
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.tree import LogTree, Progress, Roots
from baash.ledger.query import by_id
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.ledger.transactions import Scanned, Transaction, transactions_of_block
from baash.protocol import certificate as certificates
from baash.records import BLOCK_HEADER

ASK = "a run writes one when it ends; or copy the ledger key here (BAASH_KEYS), and a new one is signed"


def find(ledger: Ledger, transaction: str, progress: Progress | None = None) -> Transaction:
    """The transaction with this id, or 8 and more digits of it, hex. UsageError, LedgerError."""
    return by_id(Lookup(ledger, progress), transaction)


def prove(
    ledger: Ledger,
    transaction: str | Transaction,
    note: bytes | None = None,
    progress: Progress | None = None,
    roots: Roots | None = None,
) -> bytes:
    """The file that proves a transaction: a C2SP tlog-proof. ``transaction``: what ``find`` takes, or gives.

    ``note``: the checkpoint to use, for example one with cosignatures. ``roots``: ``Lookup.subtree_root``, which spares a long
    ledger's headers. Raises UsageError, LedgerError.
    """
    found = find(ledger, transaction) if isinstance(transaction, str) else transaction
    tree = LogTree(ledger, progress, roots)
    note = note if note is not None else newest(ledger, tree, found.height + 1)
    point = _known_point(ledger, note, "the checkpoint")
    if point.size <= found.height:
        raise LedgerError(
            f"the checkpoint is of size {point.size}, and the transaction is in block {found.height}: take a newer one"
        )
    _require_on_log(ledger, tree, point, "checkpoint")
    round, block = ledger.round_of(found.height), transactions_of_block(ledger, found.height)
    row = block.rows[0]
    proof = form.TransactionProof(
        found.raw,
        found.index,
        kernels.merkle_path(_ids(block), found.index).tobytes(),
        row.tobytes()[: BLOCK_HEADER.itemsize],
        *_vote(round, found.height, int(row["index"])),
        views.needed(ledger.epochs, {int(row["view"])} | views.signing(note, ledger.epochs)),
        found.height,
        _hashes(tree.path(found.height, point.size)),
        note,
    )
    return _checked(ledger, form.encode(proof))


def prove_consistency(ledger: Ledger, old: bytes, new: bytes | None = None, progress: Progress | None = None) -> bytes:
    """The file that proves that the log of the checkpoint ``old`` is a beginning of that of ``new`` (None: the newest)."""
    tree = LogTree(ledger, progress)
    before = _known_point(ledger, old, "the old checkpoint")
    new = new if new is not None else newest(ledger, tree, before.size)
    after = _known_point(ledger, new, "the new checkpoint")
    if before.size > after.size:
        raise UsageError(f"the old checkpoint (size {before.size}) is newer than the new one ({after.size}): swap them")
    _require_on_log(ledger, tree, before, "old checkpoint")
    _require_on_log(ledger, tree, after, "new checkpoint")
    path = _hashes(tree.consistency(before.size, after.size))
    needed = views.needed(ledger.epochs, views.signing(old, ledger.epochs) | views.signing(new, ledger.epochs))
    return _checked(ledger, form.encode_consistency(form.ConsistencyProof(old, new, before.size, path, needed)))


def newest(ledger: Ledger, tree: LogTree, least: int = 0) -> bytes:
    """The newest checkpoint of the folder, if it covers ``least`` blocks; else one signed now. LedgerError: neither can be had."""
    note = _of_folder(ledger, tree)
    if note is not None and checkpoint.decode(note)[0].size >= least:
        return note
    try:
        return signed_now(ledger, tree, ledger.block_total)
    except KeyNotFound:
        there = (
            f"the checkpoint of {ledger.path} does not cover that block" if note else f"{ledger.path} has no checkpoint"
        )
        raise LedgerError(f"{there}, and the ledger key is not here to sign one: {ASK}") from None


def given_out(ledger: Ledger, size: int | None = None, progress: Progress | None = None) -> bytes:
    """A checkpoint to give away: signed now by the ledger key if that is at hand, else the folder's, if ``size`` is None."""
    tree = LogTree(ledger, progress)
    if size is not None and size > ledger.block_total:
        raise UsageError(f"{ledger.path} has {ledger.block_total} blocks, and --size asks for {size}")
    try:
        return signed_now(ledger, tree, ledger.block_total if size is None else size)
    except KeyNotFound as error:
        note = _of_folder(ledger, tree)
        if note is not None and (size is None or checkpoint.decode(note)[0].size == size):
            return note
        if size is not None:
            raise
        raise LedgerError(f"{ledger.path} has no checkpoint: {ASK}") from error


def signed_now(ledger: Ledger, tree: LogTree, size: int) -> bytes:
    """A checkpoint of the first ``size`` blocks, signed by the ledger key. KeyNotFound; LedgerDamaged: not these blocks were committed."""
    key = keyring.load(ledger.id)
    if size:
        record = ledger.round_of(size - 1).record
        if tree.root(int(record["block_total"])) != record["log_root"].tobytes():
            raise LedgerDamaged(
                f"{ledger.path}: the blocks up to {int(record['block_total']) - 1} are not those that were committed, and "
                "nothing is signed; baash verify lists all damage"
            )
    return checkpoint.sign(Checkpoint(ledger.id, size, tree.root(size)), key)


def _of_folder(ledger: Ledger, tree: LogTree) -> bytes | None:
    """The note in the folder, if there is one and it is true."""
    note = checkpoint.read(ledger.folder)
    if note is None:
        return None
    point = _known_point(ledger, note, str(ledger.path / CHECKPOINT_NAME))
    if point.size > ledger.block_total:
        ledger.refresh()  # a writer went on
    _require_on_log(ledger, tree, point, "checkpoint in its folder")
    return note


def _require_on_log(ledger: Ledger, tree: LogTree, point: Checkpoint, which: str) -> None:
    """LedgerDamaged unless a checkpoint is one of this log."""
    if point.size > ledger.block_total:
        raise LedgerDamaged(
            f"the {which} is of size {point.size}, and {ledger.path} has only {ledger.block_total}: its end was cut off, or "
            "there is a newer copy"
        )
    if tree.root(point.size) != point.root:
        raise LedgerDamaged(
            f"the {which} (size {point.size}) is not of the log of {ledger.path}: keep it, it shows that history was rewritten, "
            "here or there; baash verify says more"
        )


def _known_point(ledger: Ledger, note: bytes, what: str) -> Checkpoint:
    """The checkpoint in a note that this ledger's key or one of its nodes signed. LedgerError."""
    point, names = checkpoint.verify(note, checkpoint.signers(e.view for e in ledger.epochs).items())
    if point.ledger != ledger.id:
        raise LedgerError(f"{what} is of ledger {point.ledger.hex()}, not of {ledger.id.hex()}: take the right one")
    if not names:
        raise LedgerError(f"{what} is signed neither by the ledger key nor by a node of {ledger.path}")
    return point


def _ids(block: Scanned) -> np.ndarray:
    return kernels.transaction_ids(block.records, block.info)


def _vote(round: Round, height: int, index: int) -> tuple[bytes, bytes]:
    """Of the window that the block at ``height`` came from, as its ``index``-th: the path to its content root, the certificate."""
    body = round.body()
    ends = np.cumsum(body.windows["prefix"], dtype=np.uint64)
    window = int(np.searchsorted(ends, height - round.first_block, side="right"))
    if window < len(ends):
        raw = round.certificate(body, window)
        try:
            made = certificates.decode(raw)
            digests = kernels.content_digests(made.entries, int(made.window["cluster"]))
            return kernels.merkle_path(digests, index).tobytes(), votes.cut(raw)
        except ValueError:
            pass
    raise LedgerDamaged(
        f"{round.file.name}: block {height} has no certificate that can be read; baash verify says more"
    )


def _hashes(path: np.ndarray) -> tuple[bytes, ...]:
    return tuple(row.tobytes() for row in path)


def _checked(ledger: Ledger, data: bytes) -> bytes:
    """``data``, if it proves what it is to prove."""
    if len(data) > form.PROOF_MAX:
        raise LimitExceeded(
            f"the proof would have {len(data):,} bytes, more than {form.PROOF_MAX:,}, most of it view records: use a checkpoint "
            "of the ledger key (baash checkpoint), which needs fewer"
        )
    verdict = checking.check(data, str(ledger.path), ledger_id=ledger.id)
    if verdict.problems:
        raise LedgerDamaged(
            f"{ledger.path} is not as it was committed, so nothing can be proved: {verdict.problems[0]}; baash verify says more"
        )
    return data
