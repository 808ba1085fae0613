"""What a rank tells the parent: JSON lines on standard output, one object a line, one write each.

It draws nothing and decides nothing. Standard output carries these lines and nothing else: once ``claim_stdout`` was
called, whatever else a rank or a library prints goes to standard error, so a stray ``print`` cannot spoil a line.

Events (key ``event``): ``progress`` and ``note`` are shown while the job runs (the note ``met`` says that all ranks are
there and can be asked to drain); ``failure`` is a rank's last word, with ``rank``, ``exit_code`` and ``error``;
``status`` is the end of the job, with ``exit_code`` (the last one counts). Any rank may write: progress and status
come from the lowest living one, for rank 0 may be dead.
"""

from __future__ import annotations

import json
import os
import sys

_stdout: int | None = None


def claim_stdout() -> None:
    """From now on standard output is ours, and what others print there goes to standard error."""
    global _stdout
    if _stdout is None:
        sys.stdout.flush()
        _stdout = os.dup(1)
        os.dup2(2, 1)


def emit(event: str, **fields: object) -> None:
    """Write one line, if standard output is ours; a reader that is gone is no error: a rank ends with its launcher."""
    if _stdout is None:
        return
    line = json.dumps({"event": event, **fields}, separators=(",", ":")).encode() + b"\n"
    try:
        while line:
            line = line[os.write(_stdout, line) :]
    except OSError:
        pass
