"""Small files that people hand to verbs and get from them: proofs, checkpoints, policies, keys.

What is written appears whole, and never in place of another file unless that is asked for.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from baash.errors import InputError, UsageError
from baash.ledger.durable import refusals, rename_exclusively, replace, write_exclusively
from baash.sources.opening import open_regular

STDOUT = Path("-")


def read_input(path: Path, limit: int) -> bytes:
    """All of a regular file. InputError: it cannot be read, or has more than ``limit`` bytes."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path} is larger than {limit:,} bytes: it is not what belongs here")
    return data


def write_output(path: Path, data: bytes, *, force: bool) -> None:
    """Write ``data`` to ``path``, or to standard output if that is ``-``. UsageError: another file is there; StorageError."""
    if path == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if force:
        replace(path, data)
        return
    if path.exists():
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return
        raise UsageError(f"{path} exists and is another file: --force replaces it, --output names another")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with refusals("write", path):
        write_exclusively(temporary, data)
        try:
            rename_exclusively(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def ledger_id_of(text: str | None) -> bytes | None:
    """What ``--ledger-id`` says. UsageError."""
    if text is None:
        return None
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise UsageError(f"--ledger-id must be 64 hex digits, not {text[:80]!r}")
    return bytes.fromhex(text)
