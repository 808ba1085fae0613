"""The command ``baash``: one file a verb. Here the verbs are put together, and errors become a sentence and an exit code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

import baash
from baash.errors import BaashError
from baash.text import printable

READER_GONE = 128 + 13  # what a shell says of a command that SIGPIPE ended


def app() -> typer.Typer:
    """All verbs; heavy imports happen inside them."""
    from baash.cli import (
        check_file,
        check_proof,
        checkpoint,
        compact,
        copy,
        cosign,
        info,
        lineage,
        prove,
        query,
        record,
        repair,
        run,
        simulate,
        verify,
    )

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
        ("lineage", lineage.lineage),
        ("compact", compact.compact),
        ("copy", copy.copy),
        ("repair", repair.repair),
        ("prove", prove.prove),
        ("check-proof", check_proof.check_proof),
        ("checkpoint", checkpoint.checkpoint),
        ("cosign", cosign.cosign),
        ("info", info.info),
        ("simulate", simulate.simulate),
    ):
        verbs.command(name)(_until_unread(function))
    verbs.callback(help=verbs.info.help)(_options)
    return verbs


def _version(asked: bool) -> None:
    if asked:
        print(f"baash {baash.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options of ``baash`` itself."""


def _until_unread(verb: Callable[..., None]) -> Callable[..., None]:
    """End quietly when nobody reads what is printed (``baash query … | head``): typer would make that a failure."""

    @functools.wraps(verb)
    def run(**values: Any) -> None:
        try:
            try:
                verb(**values)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(READER_GONE)

    return run


def main() -> None:
    """Entry point. Exit codes: 0 well, 1 checked and found bad, 2 wrong use, 141 nobody reads, else those of ``errors.py``."""
    debug = "--debug" in sys.argv or bool(os.environ.get("BAASH_DEBUG"))
    try:
        app()()
    except BaashError as error:
        if debug:
            raise
        print(f"baash: {printable(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("baash: interrupted", file=sys.stderr)
        sys.exit(130)
