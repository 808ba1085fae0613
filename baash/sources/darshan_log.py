"""Darshan logs decoded, in a process of their own: the ``darshan`` package dies of a segmentation fault on most logs that
are cut off or damaged, and must not take a rank with it. What comes back is plain data (``Log``).

The child is this module: paths come in by standard input, one JSON line a log goes out. A child that ends early died of
the log after the last line; the next child goes on behind it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from baash.errors import InputError, UsageError
from baash.sources.opening import open_regular

MAGIC = bytes.fromhex("3735640000000000")  # at offset 8 of a log written on a little-endian machine
MAGIC_OFFSET = 8

# Modules whose records count bytes of a file; and those that count bytes of a variable in one.
_FILE_MODULES = {"POSIX": "POSIX", "MPI-IO": "MPIIO", "STDIO": "STDIO", "DFS": "DFS"}
_VARIABLE_MODULES = {"H5D": "H5D", "PNETCDF_VAR": "PNETCDF_VAR"}
_NO_PACKAGE = 77  # the child's exit code when it cannot import the package
_STREAMS = ("<STDIN>", "<STDOUT>", "<STDERR>")


@dataclass
class FileUse:
    """What one job did to one file; ``modules`` and ``variables``: name → bytes read and written."""

    modules: dict[str, dict[str, int]] = field(default_factory=dict)
    variables: dict[str, dict[str, int]] = field(default_factory=dict)
    first_read_s: float = float("inf")  # since the job's start
    first_write_s: float = float("inf")

    @property
    def reads(self) -> bool:
        return any(use["bytes_read"] for use in self.modules.values())

    @property
    def writes(self) -> bool:
        return any(use["bytes_written"] for use in self.modules.values())

    @property
    def reads_first(self) -> bool:
        """Whether it read what it had not written itself."""
        return self.reads and not (self.writes and self.first_write_s <= self.first_read_s)


@dataclass(frozen=True)
class Log:
    """One log, decoded."""

    sha256: str
    start_ns: int
    end_ns: int
    job: dict[str, Any]
    files: dict[str, FileUse]  # path → use, ascending by path

    @property
    def entity(self) -> str:
        return f"darshan/{self.job['job_id']}-{self.sha256[:12]}"


def read_logs(paths: Sequence[Path]) -> Iterator[Log | InputError]:
    """The logs, or why one cannot be read, in order. UsageError without the ``darshan`` package."""
    if importlib.util.find_spec("darshan") is None:
        raise UsageError(f"Reading {paths[0]} needs the package darshan: pip install 'baash[darshan]'.")
    done = 0
    while done < len(paths):
        for line in (child := _child(paths[done:])).stdout.splitlines():
            answer = json.loads(line)
            yield _log(answer) if "error" not in answer else InputError(f"{paths[done]} {answer['error']}.")
            done += 1
        said = child.stderr.decode(errors="replace").strip().splitlines()
        because = f" ({said[-1].rstrip('.')})" if said else ""
        if child.returncode == _NO_PACKAGE:
            raise UsageError(
                f"The package darshan does not work{because}: reinstall it with pip install 'baash[darshan]'."
            )
        if done < len(paths):
            yield InputError(f"{paths[done]} is damaged: the Darshan library crashed on it{because}.")
            done += 1


def _child(paths: Sequence[Path]) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")]))}
    names = b"\0".join(os.fsencode(path.absolute()) for path in paths)
    command = [sys.executable, "-m", "baash.sources.darshan_log"]
    return subprocess.run(command, input=names, capture_output=True, env=environment, check=False)


def _log(answer: dict[str, Any]) -> Log:
    files = {path: FileUse(**use) for path, use in answer.pop("files").items()}
    return Log(**answer, files=files)


def main() -> None:
    """The child."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is not an answer
    try:
        from darshan.backend import cffi_backend as backend
    except Exception as error:  # it raises more than ImportError where its library is missing
        print(error, file=sys.stderr)
        sys.exit(_NO_PACKAGE)
    for name in sys.stdin.buffer.read().split(b"\0"):
        try:
            answer = asdict(_read(backend, Path(os.fsdecode(name))))
        except InputError as error:
            answer = {"error": str(error).removeprefix(f"{os.fsdecode(name)} ").removesuffix(".")}
        except Exception as error:  # the package raises whatever comes; it is the log's fault all the same
            answer = {"error": f"cannot be decoded as a Darshan log: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _read(backend: Any, path: Path) -> Log:
    with open_regular(path) as file:
        data = file.read()
    if data[MAGIC_OFFSET : MAGIC_OFFSET + len(MAGIC)] != MAGIC:
        raise ValueError(f"expected its magic number at byte {MAGIC_OFFSET}")
    log = backend.log_open(str(path))
    try:
        return _decode(backend, log, hashlib.sha256(data).hexdigest())
    finally:
        backend.log_close(log)


def _decode(backend: Any, log: Any, sha256: str) -> Log:
    job = backend.log_get_job(log)
    modules = backend.log_get_modules(log)
    names: dict[int, str] = backend.log_get_name_records(log)
    start_ns = job["start_time_sec"] * 10**9 + job["start_time_nsec"]
    end_ns = job["end_time_sec"] * 10**9 + job["end_time_nsec"]
    uses: dict[str, FileUse] = {}
    for module, prefix in _FILE_MODULES.items():
        for record in _records(backend, log, modules, module):
            use = uses.setdefault(_path(names, record["id"]), FileUse())
            _add(use.modules.setdefault(module, {"bytes_read": 0, "bytes_written": 0}), record, prefix)
            use.first_read_s = min(use.first_read_s, record[f"{prefix}_F_READ_START_TIMESTAMP"] or float("inf"))
            use.first_write_s = min(use.first_write_s, record[f"{prefix}_F_WRITE_START_TIMESTAMP"] or float("inf"))
    for module, prefix in _VARIABLE_MODULES.items():
        for record in _records(backend, log, modules, module):
            path = _path(names, record["file_rec_id"])
            if path in uses:
                variable = _path(names, record["id"]).removeprefix(f"{path}:")
                _add(uses[path].variables.setdefault(variable, {"bytes_read": 0, "bytes_written": 0}), record, prefix)
    files = {path: uses[path] for path in sorted(uses) if path not in _STREAMS}
    moved = {path: use for path, use in files.items() if use.reads or use.writes}
    described = {
        "kind": "darshan-job",
        "job_id": job["jobid"],
        "user_id": job["uid"],
        "processes": job["nprocs"],
        "executable": backend.log_get_exe(log),
        "start_ns": start_ns,
        "end_ns": end_ns,
        "run_time_s": float(job["run_time"]),
        "log_version": job["log_ver"],
        "log_sha256": sha256,
        "modules": sorted(modules),
        "partial_modules": sorted(name for name, module in modules.items() if module.get("partial_flag")),
        "files": len(moved),
        "files_without_io": len(files) - len(moved),
    }
    return Log(sha256, start_ns, end_ns, described, moved)


def _path(names: dict[int, str], record_id: int) -> str:
    return names.get(record_id) or f"darshan/unnamed/{record_id:016x}"


def _records(backend: Any, log: Any, modules: Any, module: str) -> Iterator[dict[str, Any]]:
    """The records of a module, each with its counters by name."""
    if module not in modules:
        return
    counters, fcounters = backend.counter_names(module), backend.fcounter_names(module)
    while (record := backend.log_get_generic_record(log, module, dtype="numpy")) is not None:
        named = {"id": record["id"], "file_rec_id": record.get("file_rec_id")}
        named |= zip(counters, record["counters"].tolist(), strict=True)
        named |= zip(fcounters, record["fcounters"].tolist(), strict=True)
        yield named


def _add(into: dict[str, int], record: dict[str, Any], prefix: str) -> None:
    for counter in ("bytes_read", "bytes_written"):
        into[counter] += max(0, record[f"{prefix}_{counter.upper()}"])  # -1: not counted


if __name__ == "__main__":
    main()
