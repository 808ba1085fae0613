"""Text that came from elsewhere (a ledger, an input, a file name), as people may see it and as machines may read it.

A name may be any bytes. On a terminal an escape sequence in it could hide or forge lines, so whatever is shown passes
``printable``. In JSON a name is ``readable``, which is the name itself wherever it is UTF-8, and the JSON is ASCII: exact for
machines, harmless on a terminal.
"""

from __future__ import annotations

import json
import os
from typing import Any


def readable(name: bytes | str | os.PathLike[str]) -> str:
    r"""A name as valid Unicode: what is not UTF-8 in it becomes ``\xNN``, a lone surrogate ``\udNNN``."""
    if not isinstance(name, bytes):
        text = os.fspath(name)
        try:
            name = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a surrogate that no file name gives
            return text.encode("utf-8", "backslashreplace").decode()
    return name.decode("utf-8", "backslashreplace")


def printable(text: object) -> str:
    r"""One line that draws what it says: control and format characters and odd blanks become ``\n``, ``\x1b``, ``\u202e``."""
    shown = readable(text if isinstance(text, (bytes, str)) else str(text))
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def printable_lines(text: str) -> str:
    """The same for text of several lines that are ours to break: tabs and ends of lines stay."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def counted(count: int, one: str, many: str = "") -> str:
    """``1 round``, ``2,000 rounds``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII, without a final newline. Never fails over text, whatever is in it."""
    return json.dumps(value, indent=indent)
