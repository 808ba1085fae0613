"""Opening an input: a regular file, or a sentence that says why not. A pipe would be waited for, a device never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from baash.errors import InputError


def open_regular(path: Path) -> BinaryIO:
    """The file at ``path`` for reading; links are followed. InputError if it is no regular file or cannot be read."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # before it is opened: a socket cannot be, and a pipe waits
        file = open(path, "rb", opener=_opener) if regular else None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if file is None or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise InputError(f"{path} is not a regular file: only those can be read as an input; save its contents as one.")
    return file


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
