"""The audit where the walk over the views fails: nobody knows then which rounds count, so each file is looked at by itself."""

from __future__ import annotations

from baash.errors import LedgerDamaged, StorageError
from baash.ledger.audit.metadata import check_metadata
from baash.ledger.audit.report import Report
from baash.ledger.durable import FileDamaged
from baash.ledger.folder import Folder
from baash.ledger.layout import layout


def look_without_history(folder: Folder, error: LedgerDamaged, report: Report) -> None:
    """Check each view record and each segment's metadata. ``error``: why the history cannot be walked."""
    report.walked = False
    wrong = [error] if isinstance(error, FileDamaged) else []
    ids = set()
    for number in folder.views():
        try:
            ids.add(folder.read_view(number)[0].ledger)
        except FileDamaged as unread:
            wrong.append(unread)
        except StorageError as unread:
            report.problem(folder.view_path(number).name, None, str(unread))
    wrong += folder.irregular()
    for name, what in {one.name: one.what for one in reversed(wrong)}.items():
        report.problem(name, None, what)
    if not report.problems:
        report.problem(None, None, str(error))
    for view, segment in folder.segment_names():
        path = folder.segment_path(view, segment)
        try:
            damage = check_metadata(layout(path))
        except (LedgerDamaged, StorageError) as unread:
            damage = unread.what if isinstance(unread, FileDamaged) else str(unread)
        if damage and path.name not in {p.segment for p in report.problems}:
            report.problem(path.name, None, damage)
    report.ledger_id = ids.pop() if len(ids) == 1 else None
    report.note(
        "no block was examined, only each view record and the metadata of each segment: which rounds count follows from "
        "the view records, back from the newest, and that chain is broken; restore what is named here, and verify again"
    )
