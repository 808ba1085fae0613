"""The audit of view records: their form to the byte, who vouches for them, what in the folder has no effect."""

from __future__ import annotations

from baash import keys
from baash.errors import LedgerError
from baash.ledger.audit.report import Report
from baash.ledger.folder import CHECKPOINT_NAME, Epoch, Folder
from baash.ledger.proofs import checkpoint
from baash.protocol import view as views
from baash.protocol.view import View


def check_views(folder: Folder, epochs: list[Epoch], ledger_id: bytes | None, report: Report) -> set[int]:
    """Every view record of the history, against its own bytes, its predecessor, and the id if one is known.

    The numbers of the views that are sound: vouched for by the ledger key, or by the nodes of one that is sound.
    """
    sound: set[int] = set()
    if ledger_id is not None and not epochs:
        report.problem(None, None, f"nothing here shows that this is ledger {ledger_id.hex()}: there is no view record")
    for epoch in epochs:
        name, view = folder.view_path(epoch.view.view).name, epoch.view
        if view.encode(epoch.signatures) != epoch.text:
            report.problem(name, None, "the view record is not in its one legal form")
        if ledger_id is not None and view.ledger != ledger_id:
            report.problem(name, None, f"the view is of ledger {view.ledger.hex()}, not of {ledger_id.hex()}")
        for signer, signature in epoch.signatures.items():
            report.signatures += 1
            key = _signer(signer, view, epoch.predecessor)
            if key is None:
                report.problem(name, None, f"{signer!r} cannot sign this view")
            elif not keys.verify(key, keys.Context.VIEW, view.signed, signature):
                report.problem(name, None, f"the signature of {signer} does not verify: the view record was edited")
        voucher = views.vouched(view, epoch.signatures, epoch.predecessor)
        before = epoch.predecessor.view if epoch.predecessor else None
        if (voucher == "ledger" or (voucher == "nodes" and before in sound)) and ledger_id in (None, view.ledger):
            sound.add(view.view)
        if voucher is None:
            report.problem(
                name, None, "nobody vouches for this view: neither the ledger key nor enough of the nodes before it"
            )
    report.views = len(epochs)
    return sound


def _signer(signer: str, view: View, before: View | None) -> bytes | None:
    """The public key that ``signer`` of a view must have."""
    if signer == "ledger":
        return view.ledger
    kind, _, number = signer.partition(":")
    if kind != "node" or before is None or str(number) not in {str(n.node) for n in before.nodes}:
        return None
    return before.nodes[int(number)].key


def check_leftovers(folder: Folder, epochs: list[Epoch], report: Report) -> None:
    """Claims, views and segments that have no effect; and those that show that something was taken away."""
    told = {p.segment for p in report.problems}
    for wrong in folder.irregular():
        if wrong.name not in told:
            report.problem(wrong.name, None, wrong.what)
    counted = {e.view.view for e in epochs}
    # In this order: beside a writer, what must have been there first is looked for last.
    segments = {view for view, _ in folder.segment_names()}
    published = set(folder.views())
    claimed = set(folder.claims())
    for number in sorted(segments - published):
        what = "the view record was removed: segments of this view are here, and they are made only after it"
        report.problem(folder.view_path(number).name, None, what)
    for number in sorted(claimed - published - segments):
        report.note(f"view {number} was claimed, and no view record is here: as a rule its claimant gave up")
    for number in sorted(published - claimed):
        report.note(f"the claim of view {number} is not here: a published view always had one")
    for number in sorted(published - counted):
        report.note(f"view {number} was published and passed over: no later view builds on it")
    for number in sorted(segments & published - counted):
        report.note(f"there are segments of view {number}, which is not in the history; they do not count")


def read_checkpoint(folder: Folder, epochs: list[Epoch], report: Report) -> checkpoint.Checkpoint | None:
    """The folder's checkpoint, if there is one and it is genuine."""
    try:
        found = checkpoint.load(folder, checkpoint.signers(e.view for e in epochs).items())
    except LedgerError as error:
        report.problem(CHECKPOINT_NAME, None, str(error))
        return None
    if found is not None:
        report.signatures += 1
        if epochs and found.ledger != epochs[-1].view.ledger:
            report.problem(CHECKPOINT_NAME, None, "the checkpoint is of another ledger")
            return None
    return found
