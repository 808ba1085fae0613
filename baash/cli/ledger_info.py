"""The ledger's part of ``baash info``: what it is, who writes it, where its bytes go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from baash.cli.screen import Console, bar
from baash.text import counted, printable, readable

NAMES = {
    "payloads": "payloads",
    "entity_names": "names of entities",
    "record_headers": "headers of records, references, padding",
    "block_rows": "block headers",
    "certificates": "certificates",
    "round_bodies": "round bodies",
    "rejections": "rejections",
    "commit_records": "commit records",
    "hdf5_metadata": "HDF5 metadata, between data sets",
    "gaps_and_unused": "gaps, and room kept for more",
    "view_records": "view records",
    "index_files": "index files",
    "other_files": "other files",
}


def collect(path: Path, *, quiet: bool) -> dict[str, Any] | None:
    """The fields, for JSON too; None if there is no ledger at ``path``."""
    from baash.ledger.contents import contents
    from baash.ledger.folder import Folder

    folder = Folder(path)
    if not path.is_dir() or folder.newest_claim() < 0:
        return None
    with bar("reading the ledger", "blocks", enabled=not quiet) as progress:
        found = contents(folder, progress)
    per_transaction = None
    if found.transactions:
        beside = found.allocated - found.bytes["payloads"] - found.bytes["entity_names"]
        per_transaction = round(beside / found.transactions, 1)
    return {
        "id": found.id.hex() if found.id else None,
        "views": found.views,
        "segments": found.segments,
        "rounds": found.rounds,
        "blocks": found.blocks,
        "transactions": found.transactions,
        "rejections": found.rejections,
        "newest_view": found.newest_view,
        "writer": readable(found.writer) if found.writer else None,
        "checkpoint_blocks": found.checkpoint_blocks,
        "bytes": found.bytes,
        "length_bytes": found.length,
        "allocated_bytes": found.allocated,
        "overhead_bytes_per_transaction": per_transaction,
        "problems": found.problems,
    }


def show(fields: dict[str, Any]) -> None:
    """The same for people."""
    console = Console()
    console.print(f"ledger {fields['id'] or '(its view records do not say)'}")
    counts = ("view", "segment", "round", "block", "transaction", "rejection")
    console.print("  " + ", ".join(counted(fields[name + "s"], name) for name in counts))
    newest = fields["newest_view"]
    if newest is not None:
        by = ", ".join(f"{k} {v}" for k, v in newest["started_by"].items() if v is not None)
        console.print(printable(f"  newest view: {newest['view']}, {newest['age_s']:,.0f} s old, by {by}"))
    console.print(printable(f"  written by: {fields['writer']}") if fields["writer"] else "  nobody holds its lock")
    size = fields["checkpoint_blocks"]
    console.print("  no checkpoint" if size is None else f"  checkpoint over {counted(size, 'block')}")
    table = Table("", "bytes", "of all", box=None, padding=(0, 2))
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, text in NAMES.items():
        number = fields["bytes"][name]
        if number:
            table.add_row(text, f"{number:,}", f"{100 * number / max(1, fields['length_bytes']):.1f} %")
    table.add_row("all files", f"{fields['length_bytes']:,}", "")
    table.add_row("allocated", f"{fields['allocated_bytes']:,}", "")
    console.print(table)
    if fields["overhead_bytes_per_transaction"] is not None:
        console.print(f"  {fields['overhead_bytes_per_transaction']:,} bytes a transaction beside its payload and name")
    for problem in fields["problems"]:
        console.print(printable(f"  PROBLEM: {problem}"))
