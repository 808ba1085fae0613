"""Where transactions come from. One file a source; ``docs/sources.md`` says what each accepts.

``open_inputs`` and ``open_workload`` are what a command needs; ``files`` is for recording files by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from baash.errors import InputError, UsageError
from baash.sources.chunk import Chunk, Source
from baash.sources.darshan import DarshanSource
from baash.sources.darshan_log import MAGIC, MAGIC_OFFSET
from baash.sources.jsonl import JsonLinesSource
from baash.sources.opening import open_regular
from baash.sources.wfformat import WfFormatSource
from baash.sources.ycsb import MIXES, YcsbSource

FORMATS = ("wfformat", "jsonl", "darshan")
WORKLOADS = tuple(MIXES)
_EXTENSIONS = {".json": "wfformat", ".jsonl": "jsonl", ".ndjson": "jsonl", ".darshan": "darshan"}

__all__ = ["FORMATS", "WORKLOADS", "Chunk", "Source", "format_of", "open_input", "open_inputs", "open_workload"]


def format_of(path: str | Path) -> str:
    """The format of an input, from its name or, where that says nothing, its first bytes. InputError if neither does."""
    path = Path(path)
    with open_regular(path) as file:
        head = file.read(MAGIC_OFFSET + len(MAGIC))
    if head[MAGIC_OFFSET:] == MAGIC:
        return "darshan"
    extension = path.suffix.lower()
    if extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    raise InputError(
        f"{path} is of no known format: expected WfFormat (.json), JSON Lines (.jsonl) or a Darshan log (.darshan); "
        f"say which with --format {'|'.join(FORMATS)}."
    )


def open_input(path: str | Path, fmt: str | None = None, name: str | None = None, on_error: str = "stop") -> Source:
    """One input file as a source. All of it is checked here: an InputError means that nothing of it is given.

    ``name`` replaces the default, which is made of the format and the hash of the file's bytes. ``on_error="skip"``
    leaves out malformed lines (JSON Lines) and logs (Darshan) and lists them in the chunks.
    """
    return open_inputs([path], fmt, name, on_error)[0]


def open_inputs(
    paths: Sequence[str | Path], fmt: str | None = None, name: str | None = None, on_error: str = "stop"
) -> list[Source]:
    """Several input files, in order. All Darshan logs are one source, in the place of the first of them."""
    if fmt is not None and fmt not in FORMATS:
        raise UsageError(f"There is no format {fmt!r}: choose one of {', '.join(FORMATS)}.")
    if on_error not in ("stop", "skip"):
        raise UsageError(f"on_error is {on_error!r}: choose stop or skip.")
    formats = [fmt or format_of(path) for path in paths]
    logs = [path for path, found in zip(paths, formats, strict=True) if found == "darshan"]
    sources: list[Source] = []
    for path, found in zip(paths, formats, strict=True):
        match found:
            case "wfformat":
                sources.append(WfFormatSource(path, name))
            case "jsonl":
                sources.append(JsonLinesSource(path, name, on_error))
            case _ if logs:
                sources.append(DarshanSource(logs, name, on_error))
                logs = []
    if name is not None and len(sources) > 1:
        raise UsageError(f"One name was given for {len(sources)} inputs: name them one by one.")
    return sources


def open_workload(
    name: str,
    transactions: int,
    record_bytes: int = 1000,
    record_count: int = 1000,
    seed: int = 1,
    record_reads: bool = False,
) -> Source:
    """A YCSB workload (one of ``WORKLOADS``) of so many transactions; ``ycsb.YcsbSource`` says what each number means."""
    return YcsbSource(name, transactions, record_bytes, record_count, seed, record_reads)
