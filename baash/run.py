"""``python -m baash.run``: what every rank executes, under mpirun or srun, or alone in one process.

``baash run`` is its parent (``cli/run.py``); the options are the same (``options.py``).
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer

from baash.errors import BaashError
from baash.mpi import ending, world
from baash.mpi.report import emit
from baash.options import RunOptions, command
from baash.text import printable

DOC = """One rank of a run; start it with mpirun.

Example: mpirun --with-ft ulfm -n 6 python -m baash.run --ledger ./ledger --workload ycsb-load
"""


def execute(options: RunOptions) -> None:
    """Run this rank to its end; never returns."""

    def tell(event: str, fields: dict[str, Any]) -> None:
        emit(event, **fields)
        if event == "status":
            ending.leave_with(fields["exit_code"])
            if fields["error"] and "BAASH_PARENT" not in os.environ:
                print(f"baash: {printable(fields['error'])}", file=sys.stderr)

    def body() -> Any:
        alone = not ending.under_launcher()
        if not alone:  # before h5py: the first to come decides which MPI library is loaded
            with world.time_limit(world.START_S, "MPI did not start: not all ranks have met"):
                importlib.import_module("baash.mpi.library")
        from baash import rank

        return rank.run(
            options,
            tell,
            alone=alone,
            drain_requested=ending.drain_requested,
        )

    ending.run_rank(body, debug=options.debug)


def main() -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command(execute, DOC))
    try:
        app(standalone_mode=True)
    except BaashError as error:
        print(f"baash: {printable(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
