"""The command ``baash``: one file a verb. Here the verbs are put together, and errors become a sentence and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from baash.errors import BaashError


def app() -> typer.Typer:
    """All verbs; heavy imports happen inside them."""
    from baash.cli import check_file, info, query, record, run, verify

    verbs = typer.Typer(
        name="baash",
        help="A ledger for machines that compute together: record, verify and query what jobs did to their data.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, function in (
        ("run", run.run),
        ("record", record.record),
        ("check-file", check_file.check_file),
        ("verify", verify.verify),
        ("query", query.query),
        ("info", info.info),
    ):
        verbs.command(name)(function)
    return verbs


def main() -> None:
    """Entry point. Exit codes: 0 well, 1 checked and found bad, 2 wrong use, else those of ``errors.py``."""
    debug = "--debug" in sys.argv or bool(os.environ.get("BAASH_DEBUG"))
    try:
        app()()
    except BaashError as error:
        if debug:
            raise
        print(f"baash: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("baash: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
