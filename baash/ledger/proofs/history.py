"""A checkpoint kept elsewhere against the ledger as it is now: that nothing before it was rewritten, and nothing cut off."""

from __future__ import annotations

from baash.errors import LedgerDamaged
from baash.ledger.proofs import checkpoint
from baash.ledger.proofs.policy import Policy, judge
from baash.ledger.proofs.tree import LogTree
from baash.ledger.reader import Ledger


def since(ledger: Ledger, note: bytes, policy: Policy | None = None, tree: LogTree | None = None) -> list[str]:
    """What contradicts that the log of ``ledger`` extends that of the checkpoint ``note``; a sentence each, none: it does.

    The note must be signed by the ledger key or a node of the history, or, with a ``policy``, cosigned by its quorum.
    ``tree``: a LogTree of the ledger, to share among several notes. Raises StorageError; LedgerDamaged if headers cannot be read.
    """
    try:
        found, names = checkpoint.verify(note, checkpoint.signers(e.view for e in ledger.epochs).items())
    except LedgerDamaged as error:
        return [str(error)]
    if ledger.epochs and found.ledger != ledger.id:
        return [f"the checkpoint is of ledger {found.ledger.hex()}, this is {ledger.id.hex()}"]
    if policy is not None and (problems := judge(policy, note)[1]):
        return problems
    if not names and (policy is None or policy.quorum is None):
        return [
            "the checkpoint is signed by nobody who is known here: neither the ledger key nor a node of the history"
        ]
    if found.size > ledger.block_total:
        return [
            f"the checkpoint is of size {found.size}, only {ledger.block_total} are here: the ledger was rolled back"
        ]
    if (tree or LogTree(ledger)).root(found.size) != found.root:
        return [f"the first {found.size} blocks are not those of the checkpoint: the ledger's history was rewritten"]
    return []
