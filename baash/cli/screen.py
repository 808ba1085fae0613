"""Progress for the verbs that work in this process: a bar on a terminal, nothing elsewhere, never on standard output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

WAIT_S = 2.0  # what is over sooner needs no bar


@contextmanager
def bar(what: str, unit: str, *, enabled: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that draws, once the work has taken ``WAIT_S``; ``unit`` "bytes" shows sizes."""
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

    try:
        yield advance
    finally:
        if task is not None:
            drawn.stop()
