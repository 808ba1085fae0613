"""Proofs checked without the ledger: what a file proves, what is wrong with it, and what it cannot prove.

Theory (``docs/proofs.md``). The record's hash is its id; the path leads to its block's root, which with the header's counts makes the
content digest in the header; the header's hash is a leaf of the log, and the log's root is in the checkpoint. So the
checkpoint's signer vouches for the transaction's place. A path leads from the same content digest to the content root of the
window that nodes voted on, so they vouch for its validity. View records lead from the ledger's id, a public key, to all these signers.

The bytes may be anybody's: whatever is in them, the answer is a verdict or an InputError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from baash import batch as batches
from baash import kernels, keys
from baash.errors import LedgerDamaged
from baash.ledger.proofs import checkpoint, form, tree, views, votes
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.policy import Policy, judge
from baash.ledger.transactions import Transaction
from baash.protocol import certificate as certificates
from baash.protocol.certificate import Certificate
from baash.protocol.view import View
from baash.records import BLOCK_ENTRY, BLOCK_HEADER, FORMAT_VERSION, Answer, Decider, Flag, Reason, Tag, key_issuer


@dataclass
class Verdict:
    """``problems`` empty: everything that could be checked is as it must be."""

    kind: str  # transaction, consistency, checkpoint
    ledger: bytes
    points: list[Checkpoint]  # the checkpoint; of a consistency proof: the old one and the new one
    known: bool = False  # somebody said which ledger this must be, and it is
    problems: list[str] = field(default_factory=list)
    signers: list[str] = field(default_factory=list)  # who signed all of ``points``, in words
    witnesses: dict[str, int] = field(default_factory=dict)  # of a policy, with a good cosignature → seconds since 1970
    quorum: bool = False  # a policy asked for witnesses, and they are there
    transaction: Transaction | None = None
    header: np.void | None = None  # BLOCK_HEADER
    votes: tuple[int, int] | None = None  # members who found the block valid, members
    storage: bool = False  # decided by the storage validator

    @property
    def ok(self) -> bool:
        return not self.problems


def check(data: bytes, name: str, *, ledger_id: bytes | None = None, policy: Policy | None = None) -> Verdict:
    """The verdict on a proof, or a bare checkpoint, in a file called ``name``. InputError: the file is neither.

    ``ledger_id``: the ledger's id, known from elsewhere. ``policy``: whose cosignatures are asked for.
    """
    note, _ = form.note_of(data, name)  # the newest checkpoint in it
    proof = form.decode(data, name) if note != data else None
    if isinstance(proof, form.TransactionProof):
        verdict = _check_transaction(proof)
    elif proof is not None:
        verdict = _check_consistency(proof)
    else:
        verdict = _check_checkpoint(note)
    if ledger_id is not None:
        verdict.known = verdict.ledger == ledger_id
        if not verdict.known:
            verdict.problems.append(f"it is of ledger {verdict.ledger.hex()}, not of {ledger_id.hex()}")
    if policy is not None:
        verdict.witnesses, problems = judge(policy, note)
        verdict.quorum = policy.quorum is not None and not problems
        verdict.known = verdict.known or (bool(policy.logs) and not problems)
        verdict.problems += problems
    return verdict


def _check_transaction(proof: form.TransactionProof) -> Verdict:
    point, _ = checkpoint.decode(proof.note)
    verdict = Verdict("transaction", point.ledger, [point])
    header = np.frombuffer(proof.header, dtype=BLOCK_HEADER)[0]
    guarded = partial(_guarded, verdict)
    guarded("the record", partial(_check_record, proof, header, verdict))
    guarded("the path in the block", partial(_check_block, proof, header))
    guarded("the path in the log", partial(_check_log, proof, header, point))
    known = _check_signers(verdict, proof.views, [proof.note])
    view = known.get(int(header["view"]))
    if view is not None:
        guarded("the certificate", partial(_check_certificate, proof, header, view, verdict))
        guarded("the entity", partial(_check_shard, proof, header, view))
    else:
        verdict.problems.append(f"the record of view {int(header['view'])}, whose nodes voted, is not here or not good")
    return verdict


def _check_consistency(proof: form.ConsistencyProof) -> Verdict:
    (old, _), (new, _) = (checkpoint.decode(note) for note in (proof.old, proof.new))
    verdict = Verdict("consistency", new.ledger, [old, new])
    if old.ledger != new.ledger:
        verdict.problems.append("the two checkpoints are of different ledgers")
    elif old.size != proof.old_size or not tree.extends(old.size, old.root, new.size, new.root, proof.path):
        verdict.problems.append("the path does not lead from the old checkpoint to the new one")
    _check_signers(verdict, proof.views, [proof.old, proof.new])
    return verdict


def _check_checkpoint(note: bytes) -> Verdict:
    """A bare checkpoint: nothing in it proves the keys of nodes, so it must have a line of the ledger key."""
    point, _ = checkpoint.decode(note)
    verdict = Verdict("checkpoint", point.ledger, [point])
    _check_signers(verdict, (), [note])
    return verdict


def _guarded(verdict: Verdict, what: str, step: Callable[[], None]) -> None:
    """Foreign bytes may make anything fail: that is a problem too."""
    try:
        step()
    except LedgerDamaged as error:
        verdict.problems.append(str(error))
    except Exception as error:
        verdict.problems.append(f"{what} cannot be examined: {type(error).__name__}: {error}")


def _check_signers(verdict: Verdict, records: tuple[bytes, ...], notes: list[bytes]) -> dict[int, View]:
    """The proven views; who signed each checkpoint."""
    known: dict[int, View] = {}
    _guarded(verdict, "the view records", lambda: known.update(views.proven(records, verdict.ledger)))
    may = {checkpoint.origin(verdict.ledger): verdict.ledger} | checkpoint.signers(known.values())
    for note in notes:
        try:
            _, names = checkpoint.verify(note, may.items())
        except LedgerDamaged as error:
            verdict.problems.append(str(error))
            continue
        if not names:
            verdict.problems.append(
                "the checkpoint is signed neither by the ledger key nor by a node that is proven here"
            )
        verdict.signers += [views.in_words(name, verdict.ledger) for name in names]
    verdict.signers = list(dict.fromkeys(verdict.signers))
    return known


def _check_record(proof: form.TransactionProof, header: np.void, verdict: Verdict) -> None:
    batch, reason, _ = batches.scan(np.frombuffer(proof.record, dtype=np.uint8))
    if reason is not Reason.NONE or len(batch) != 1:
        raise LedgerDamaged(f"the record is not one transaction ({reason.name})")
    made = Transaction(proof.record, 0, proof.height, proof.index, int(header["time_ns"]))
    if int(batch.info["flags"][0]) & Flag.SIGNED:
        public, signed, signature = proof.record[-96:-64], proof.record[:-64], proof.record[-64:]
        if key_issuer(public) != made.issuer or not keys.verify(public, keys.Context.TRANSACTION, signed, signature):
            raise LedgerDamaged("the issuer's signature in the record does not verify")
    verdict.transaction, verdict.header = made, header


def _check_block(proof: form.TransactionProof, header: np.void) -> None:
    """From the record to the header's content digest."""
    if (int(header["zero"]), int(header["tag"]), int(header["version"])) != (0, Tag.BLOCK_HEADER, FORMAT_VERSION):
        raise LedgerDamaged("there is no block header")
    if int(header["flags"]) or int(header["height"]) != proof.height:
        raise LedgerDamaged("the block header has another height than the proof says, or unknown flags")
    entry = np.zeros(1, dtype=BLOCK_ENTRY)
    entry["root"] = np.frombuffer(_fold(proof.record, proof.index, int(header["count"]), proof.path), dtype=np.uint8)
    entry["count"], entry["bytes"] = header["count"], header["bytes"]
    if kernels.content_digests(entry, int(header["cluster"]))[0].tobytes() != header["content"].tobytes():
        raise LedgerDamaged("the path does not lead from the transaction to its block")


def _fold(record: bytes, index: int, count: int, path: bytes) -> bytes:
    try:
        return kernels.merkle_root_from_path(hashlib.sha256(record).digest(), index, count, path)
    except ValueError as error:
        raise LedgerDamaged(f"the path in the block: {error}") from None


def _check_log(proof: form.TransactionProof, header: np.void, point: Checkpoint) -> None:
    """From the header to the checkpoint's root."""
    leaf = kernels.hash_rows(np.array([header], dtype=BLOCK_HEADER), BLOCK_HEADER.itemsize)[0].tobytes()
    try:
        root = kernels.merkle_root_from_path(leaf, proof.height, point.size, b"".join(proof.log_path))
    except ValueError as error:
        raise LedgerDamaged(f"the path in the log: {error}") from None
    if root != point.root:
        raise LedgerDamaged("the path does not lead from the block to the checkpoint's root")


def _check_certificate(proof: form.TransactionProof, header: np.void, view: View, verdict: Verdict) -> None:
    """That the votes carry the block: the certificate under its view, and the header against what was voted on."""
    try:
        made, inner = votes.decode(proof.certificate)
        wrong = certificates.examine_votes(made, view, inner)
    except ValueError as error:
        raise LedgerDamaged(f"the certificate: {error}") from None
    if wrong:
        raise LedgerDamaged(f"the certificate: {wrong}")
    window, index = made.window, int(header["index"])
    if index >= made.prefix:
        raise LedgerDamaged("the votes do not carry this block of the window")
    content, blocks = header["content"].tobytes(), int(window["block_count"])
    try:
        root = kernels.merkle_root_from_path(content, index, blocks, proof.window_path)
    except ValueError as error:
        raise LedgerDamaged(f"the path in the window: {error}") from None
    same = [int(header[name]) == int(window[name]) for name in ("cluster", "view", "time_ns")]
    if root != window["content_root"].tobytes() or int(header["window"]) != int(window["number"]) or not all(same):
        raise LedgerDamaged("the block header is not that of the block that was voted on")
    verdict.storage = made.decider is Decider.STORAGE_VALIDATOR
    verdict.votes = (_carrying(made, index), len(made.members))


def _carrying(made: Certificate, index: int) -> int:
    given: Iterable[np.void] = made.votes
    return sum(int(v["answer"]) == Answer.PREFIX and int(v["prefix"]) > index for v in given)


def _check_shard(proof: form.TransactionProof, header: np.void, view: View) -> None:
    """That the entity is one of the cluster that decided."""
    batch, _, _ = batches.scan(np.frombuffer(proof.record, dtype=np.uint8))
    if len(batch) == 1 and int(view.clusters_of(batch.short_hashes)[0]) != int(header["cluster"]):
        raise LedgerDamaged("the entity is of another cluster than the one that decided")
