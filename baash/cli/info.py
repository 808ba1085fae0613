"""``baash info``: what this installation is made of and what it can do here; of a ledger, what it is (``ledger_info.py``)."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from baash.cli import ledger_info
from baash.cli.screen import Console
from baash.text import json_text, printable, readable


def info(
    ledger: Annotated[
        Path | None, typer.Argument(help="A ledger, or a folder for one: its file system is shown.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show kernels (with state and reason), MPI, ULFM, HDF5, limits; of a ledger, what it is and where its bytes go.

    Example: baash info ./ledger
    """
    fields = _collect(ledger)
    fields["ledger"] = ledger_info.collect(ledger, quiet=as_json) if ledger is not None else None
    if as_json:
        print(json_text(fields, indent=2))
    else:
        _print(fields)
        if fields["ledger"] is not None:
            ledger_info.show(fields["ledger"])


def _collect(ledger: Path | None) -> dict[str, Any]:
    import nacl
    import numpy

    import baash
    from baash import kernels, records
    from baash.errors import KernelUnavailable
    from baash.ledger import keyring, library, probe
    from baash.mpi.info import mpi_info

    demand = ""
    try:
        kernels.current()
    except KernelUnavailable as error:  # a wrong BAASH_KERNEL is something to show, not to fail with
        demand = str(error)
    file_system = probe.file_system(ledger if ledger is not None else Path.cwd())
    return {
        "schema_version": 1,
        "versions": {
            "baash": baash.__version__,
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            **library.versions(),
            "pynacl": nacl.__version__,
        },
        "cores": len(os.sched_getaffinity(0)),
        "kernels": [
            {
                "name": k.name,
                "lanes": k.lanes,
                "state": k.state,
                "reason": k.reason,
                "chosen": k.chosen,
                "partner": k.partner,
            }
            for k in kernels.available()
        ],
        "openmp": kernels.openmp(),
        "kernel_demanded": os.environ.get("BAASH_KERNEL"),
        "kernel_refused": demand,
        "hdf5_parallel": bool(library.parallel()),
        "writers": {
            "offset": "usable",
            "mpio": "usable" if library.parallel() else "h5py is built without parallel HDF5 (docs/install-cluster.md)",
            "auto": "offset",
        },
        "mpi": mpi_info(),
        "key_folder": readable(keyring.folder()),
        "file_system": {
            "path": readable(ledger or Path.cwd()),
            "type": file_system.type,
            "mount_point": readable(file_system.mount_point),
            "source": readable(file_system.source),
        },
        "limits": {
            "entity_bytes": records.ENTITY_BYTES_MAX,
            "references": records.REFERENCES_MAX,
            "payload_bytes": records.PAYLOAD_BYTES_MAX,
            "window_bytes": records.WINDOW_BYTES_MAX,
            "replay_width": records.REPLAY_WIDTH,
            "shards": records.SHARD_COUNT,
        },
    }


def _print(fields: dict[str, Any]) -> None:
    console = Console()
    console.print("  ".join(f"{name} {version}" for name, version in fields["versions"].items()))
    table = Table("kernel", "lanes", "state", "", box=None, padding=(0, 2))
    for kernel in fields["kernels"]:
        name = Text(kernel["name"], "bold" if kernel["chosen"] else "")
        use = "in use" if kernel["chosen"] else "in use for few messages" if kernel["partner"] else kernel["reason"]
        table.add_row(name, str(kernel["lanes"]), kernel["state"], use)
    console.print(table)
    if fields["kernel_refused"]:
        console.print(printable(fields["kernel_refused"]))
    built_in = "built in" if fields["openmp"] else "not built in: a rank hashes in one thread"
    console.print(f"threads (OpenMP): {built_in}")
    for name, value in fields["mpi"].items():
        console.print(printable(f"mpi {name}: {value}"))
    for name, value in fields["writers"].items():
        console.print(f"writer {name}: {value}")
    where = fields["file_system"]
    console.print(printable(f"file system of {where['path']}: {where['type']} at {where['mount_point']}"))
    console.print(printable(f"ledger keys: {fields['key_folder']}"))
    console.print("limits: " + ", ".join(f"{name} {value:,}" for name, value in fields["limits"].items()))
