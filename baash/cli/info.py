"""``baash info``: what this installation is made of and what it can do here."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table


def info(
    ledger: Annotated[
        Path | None, typer.Argument(help="A ledger, or a folder for one: its file system is shown.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Show kernels (with state and reason), MPI, ULFM, HDF5, limits, and a ledger's file system.

    Example: baash info ./ledger
    """
    fields = _collect(ledger)
    if as_json:
        sys.stdout.write(orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(fields)


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
        "kernel_demanded": os.environ.get("BAASH_KERNEL"),
        "kernel_refused": demand,
        "hdf5_parallel": bool(library.parallel()),
        "writers": {
            "offset": "usable",
            "mpio": "usable" if library.parallel() else "h5py is built without parallel HDF5 (docs/install-cluster.md)",
            "auto": "offset",
        },
        "mpi": mpi_info(),
        "key_folder": str(keyring.folder()),
        "file_system": {
            "path": str(ledger or Path.cwd()),
            "type": file_system.type,
            "mount_point": file_system.mount_point,
            "source": file_system.source,
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
    console = Console(highlight=False, soft_wrap=True)
    console.print("  ".join(f"{name} {version}" for name, version in fields["versions"].items()))
    table = Table("kernel", "lanes", "state", "", box=None, padding=(0, 2))
    for kernel in fields["kernels"]:
        name = f"[bold]{kernel['name']}[/bold]" if kernel["chosen"] else kernel["name"]
        use = "in use" if kernel["chosen"] else "in use for few messages" if kernel["partner"] else kernel["reason"]
        table.add_row(name, str(kernel["lanes"]), kernel["state"], use)
    console.print(table)
    if fields["kernel_refused"]:
        console.print(fields["kernel_refused"], markup=False)
    for name, value in fields["mpi"].items():
        console.print(f"mpi {name}: {value}", markup=False)
    for name, value in fields["writers"].items():
        console.print(f"writer {name}: {value}", markup=False)
    where = fields["file_system"]
    console.print(f"file system of {where['path']}: {where['type']} at {where['mount_point']}", markup=False)
    console.print(f"ledger keys: {fields['key_folder']}", markup=False)
    console.print("limits: " + ", ".join(f"{name} {value:,}" for name, value in fields["limits"].items()))
