"""The views of a ledger from two folders: for each number the record that proves itself, and the history they make.

Theory. A view record is signed whole, by the ledger key or by the nodes of the view before it, so whichever of two files
verifies is the right one; two that verify and differ are a fork. The history follows from the highest, by predecessors. Its
cuts are full commit-record slots, so with the views it is known how far each view has to reach.

Looks at no segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baash import keys
from baash.errors import LedgerDamaged, LedgerError, StorageError
from baash.ledger.folder import Folder
from baash.protocol import view as views
from baash.protocol.view import View

Record = tuple[View, Mapping[str, bytes], bytes]  # view, signatures, the file


@dataclass(frozen=True)
class Chosen:
    """A view of the history. ``cut``: the slot at which it ends; ``open``: nothing cuts it."""

    view: View
    text: bytes
    open: bool
    cut: bytes | None


def history(ours: Folder, other: Folder, extend: bool) -> list[Chosen]:
    """The history, oldest first; up to the highest view that ``ours`` knows of, or with ``extend`` also ``other``.

    Raises LedgerError: not the same ledger, or a fork; LedgerDamaged: a view record that neither has.
    """
    known = {*ours.views(), *(view for view, _ in ours.segment_names())}
    numbers = sorted(known | set(other.views()))
    good: dict[int, Record] = {}
    for number in numbers:
        record = _choose(ours, other, number, good)
        if record is not None:
            good[number] = record
    ids = {view.ledger for view, _, _ in good.values()}
    if len(ids) > 1:
        raise LedgerError(f"{ours.path} and {other.path} are two ledgers: {' and '.join(sorted(i.hex() for i in ids))}")
    top = max((n for n in numbers if n in known or extend), default=None)
    if top is None:
        raise LedgerError(f"{ours.path} has no view and no segment left; make it anew with baash copy {other.path}")
    chain: list[Chosen] = []
    at: int | None = top
    cut: bytes | None = None
    successor: View | None = None
    while at is not None:
        if at not in good:
            raise LedgerDamaged(f"the record of view {at} verifies neither in {ours.path} nor in {other.path}")
        view, _, text = good[at]
        chain.append(Chosen(view, text, successor is None, cut))
        successor, before = view, view.predecessor
        at, cut = (before.view, before.commit) if before else (None, None)
    return chain[::-1]


def _choose(ours: Folder, other: Folder, number: int, good: Mapping[int, Record]) -> Record | None:
    found = [r for r in (_read(folder, number, good) for folder in (ours, other)) if r is not None]
    if len(found) == 2 and found[0][0].signed != found[1][0].signed:
        ids = [r[0].ledger.hex() for r in found]
        if ids[0] != ids[1]:
            raise LedgerError(
                f"{other.path} is another ledger ({ids[1]}) than {ours.path} ({ids[0]}): give a copy of it"
            )
        raise LedgerError(f"view {number} of {ours.path} and of {other.path} are both genuine and differ: a fork")
    return found[0] if found else None


def _read(folder: Folder, number: int, good: Mapping[int, Record]) -> Record | None:
    try:
        view, signatures, text = folder.read_view(number)
    except (LedgerDamaged, StorageError):
        return None
    before = good[view.predecessor.view][0] if view.predecessor and view.predecessor.view in good else None
    if view.encode(signatures) != text or views.vouched(view, signatures, before) is None:
        return None
    return (view, signatures, text) if all(_signed(view, s, raw, before) for s, raw in signatures.items()) else None


def _signed(view: View, signer: str, signature: bytes, before: View | None) -> bool:
    if signer == "ledger":
        return keys.verify(view.ledger, keys.Context.VIEW, view.signed, signature)
    node = next((n for n in before.nodes if signer == f"node:{n.node}"), None) if before else None
    return node is not None and keys.verify(node.key, keys.Context.VIEW, view.signed, signature)
