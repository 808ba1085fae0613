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
        _check_regular(path, os.stat(path).st_mode)  # before it is opened: a socket cannot be
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    file = os.fdopen(descriptor, "rb")
    _check_regular(path, os.fstat(descriptor).st_mode)
    return file


def _check_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is not a regular file: only those can be read as an input; save its contents as one.")
