"""What of a ledger can be given away and checked without it: checkpoints, proofs, and what witnesses sign.

``notes`` and ``policy`` are C2SP's formats, ``checkpoint`` what a ledger signs, ``tree`` paths in the log, ``form`` the files,
``views`` and ``votes`` what is in them of view records and certificates; ``making``, ``checking``, ``history`` and ``witness``
are what one does with them, ``words`` says it. ``docs/proofs.md`` describes every file to the byte.
"""

from baash.ledger.proofs.checking import check
from baash.ledger.proofs.history import since
from baash.ledger.proofs.making import prove, prove_consistency
from baash.ledger.proofs.witness import cosign

__all__ = ["check", "cosign", "prove", "prove_consistency", "since"]
