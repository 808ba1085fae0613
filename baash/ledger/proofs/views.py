"""View records in a proof: from the ledger key, which is the ledger's id, to the nodes that signed votes and checkpoints.

A proof holds, ascending by number, the views whose nodes it needs. Each is the record as published, with the line of
``ledger`` alone if the ledger key signed it, else with the lines of nodes of its predecessor, which is then the view before
it in the proof. So whoever knows the id needs nothing else to know the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from baash import keys
from baash.errors import LedgerDamaged
from baash.ledger.folder import Epoch
from baash.ledger.proofs import checkpoint
from baash.protocol import view as views
from baash.protocol import view_record
from baash.protocol.view import View

LEDGER = "ledger"
_NODE = re.compile(r"/view/(0|[1-9][0-9]{0,9})/node/(0|[1-9][0-9]{0,9})")


def needed(epochs: Sequence[Epoch], numbers: Iterable[int]) -> tuple[bytes, ...]:
    """The view records for the views ``numbers``, and those that vouch for them."""
    known = {epoch.view.view: epoch for epoch in epochs}
    chosen: dict[int, bytes] = {}
    for number in numbers:
        epoch: Epoch | None = known[number]
        while epoch is not None and epoch.view.view not in chosen:
            by_ledger = LEDGER in epoch.signatures
            lines = {s: line for s, line in epoch.signatures.items() if not by_ledger or s == LEDGER}
            chosen[epoch.view.view] = epoch.view.encode(lines)
            epoch = known[epoch.predecessor.view] if epoch.predecessor is not None and not by_ledger else None
    return tuple(chosen[number] for number in sorted(chosen))


def proven(records: Sequence[bytes], ledger: bytes) -> dict[int, View]:
    """The views by number, each vouched for by the ledger key or by nodes of the one before. LedgerDamaged says which is not."""
    found: dict[int, View] = {}
    before: View | None = None
    for record in records:
        view, signatures = view_record.decode(record)
        name = f"the record of view {view.view}"
        if view.encode(signatures) != record:
            raise LedgerDamaged(f"{name} is not in its one legal form")
        if view.ledger != ledger:
            raise LedgerDamaged(f"{name} is of another ledger, {view.ledger.hex()}")
        if before is not None and view.view <= before.view:
            raise LedgerDamaged(f"{name} is not behind that of view {before.view}")
        _check_signatures(view, signatures, before, name)
        found[view.view] = before = view
    return found


def _check_signatures(view: View, signatures: Mapping[str, bytes], before: View | None, name: str) -> None:
    if set(signatures) == {LEDGER}:
        voters: dict[str, bytes] = {LEDGER: view.ledger}
        predecessor = None
    else:
        predecessor = before
        if before is None or view.predecessor is None or view.predecessor.view != before.view:
            raise LedgerDamaged(f"{name} is not signed by the ledger key, and that of its predecessor is not here")
        voters = {f"node:{node.node}": node.key for node in before.nodes}
    for signer, signature in signatures.items():
        if signer not in voters or not keys.verify(voters[signer], keys.Context.VIEW, view.signed, signature):
            raise LedgerDamaged(f"{name}: the signature of {signer[:32]} does not verify")
    if views.vouched(view, signatures, predecessor) is None:
        raise LedgerDamaged(f"nobody vouches for {name}: neither the ledger key nor enough nodes of the view before")


def signing(note: bytes, epochs: Sequence[Epoch]) -> set[int]:
    """The views of the history whose nodes a note names as signers."""
    found, lines = checkpoint.decode(note)
    start = len(found.origin)
    named = [_NODE.fullmatch(name, start) for name, _ in lines if name.startswith(found.origin)]
    return {int(m[1]) for m in named if m} & {epoch.view.view for epoch in epochs}


def in_words(name: str, ledger: bytes) -> str:
    """``the ledger key``, or ``node 3 of view 2``."""
    node = _NODE.fullmatch(name, len(checkpoint.origin(ledger)))
    return f"node {node[2]} of view {node[1]}" if node else "the ledger key"
