"""What the verbs draw with: a console that takes text as it is, and progress for those that work in this process.

Progress is a bar on a terminal, nothing elsewhere, never on standard output. What is printed here came from elsewhere as
often as not: it passes ``baash.text.printable`` first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from baash.text import printable

WAIT_S = 2.0  # what is over sooner needs no bar


class Console(RichConsole):
    """Long lines stay whole, and nothing in them is markup, a number to colour or the name of an emoji."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, soft_wrap=True, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: ``main`` ends the process, as for any other print."""
        raise BrokenPipeError


def say_notes(notes: Iterable[str]) -> None:
    """What a user should know beside the answer, on standard error: index files that were passed over, for example."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)


@contextmanager
def bar(what: str, unit: str, *, enabled: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that draws, once the work has taken ``WAIT_S``, until it is done; ``unit`` "bytes" shows sizes."""
    console = Console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        DownloadColumn() if unit == "bytes" else MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    drawn = Progress(*columns, console=console, transient=True)
    started, task = time.monotonic(), None

    def advance(done: int, total: int) -> None:
        nonlocal task
        if not enabled or not console.is_terminal or time.monotonic() - started < WAIT_S:
            return
        if task is None:
            drawn.start()
            task = drawn.add_task(what, total=total)
        drawn.update(task, completed=done, total=total)
        if done >= total:  # another bar may follow
            drawn.stop()
            drawn.remove_task(task)
            task = None

    try:
        yield advance
    finally:
        if task is not None:
            drawn.stop()
