"""Darshan logs: what the I/O of MPI jobs tells about who made which file from what. Needs ``baash[darshan]``.

One job's write is a CREATE or an UPDATE, depending on the jobs before it, so several logs are one source: sorted by start
and job id, whatever order they are named in. A job is an entity ``darshan/<job id>-<hex of the log's hash>``, a file is
its path. Of a job come, in this order: its CREATE; for each file that it read before it wrote it, a USE (after a
CREATE, where nothing before says where the file came from); for each file it wrote, a CREATE or UPDATE that refers to
the job and to all that it used; a USE for each file that it wrote first and then read back. Standard streams and
files of which no byte was read or written are counted in the job's payload and leave no record of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baash.errors import InputError
from baash.records import ENTITY_BYTES_MAX, Operation, PayloadType
from baash.sources.darshan_log import FileUse, Log, read_logs
from baash.sources.drafts import Draft, DraftSource, json_payload, refer


class DarshanSource(DraftSource):
    """All logs of a run of BAASH. They are read and checked when the source is made."""

    def __init__(self, paths: Sequence[str | Path], name: str | None = None, on_error: str = "stop") -> None:
        logs: dict[str, Log] = {}  # by digest: a copy adds nothing
        skipped: list[str] = []
        for log in read_logs([Path(path) for path in paths]):
            if isinstance(log, Log):
                logs.setdefault(log.sha256, log)
            elif on_error == "skip":
                skipped.append(str(log))
            else:
                raise log
        ordered = sorted(logs.values(), key=lambda log: (log.start_ns, log.end_ns, log.job["job_id"], log.sha256))
        super().__init__(name if name is not None else _name(ordered), _drafts(ordered), skipped)


def _name(logs: list[Log]) -> str:
    if len(logs) == 1:
        return f"darshan:sha256:{logs[0].sha256}"
    digest = hashlib.sha256("".join(f"{log.sha256}\n" for log in logs).encode()).hexdigest()
    return f"darshan:{len(logs)}:sha256:{digest}"


def _drafts(logs: list[Log]) -> list[Draft]:
    drafts: list[Draft] = []
    made: dict[str, int] = {}  # path → place of the draft that made what the file holds now
    for log in logs:
        _Job(log, drafts, made).add()
    return drafts


class _Job:
    """The drafts of one log, added to those of the logs before it."""

    def __init__(self, log: Log, drafts: list[Draft], made: dict[str, int]) -> None:
        self.log, self.drafts, self.made = log, drafts, made
        self.job = self._draft(Operation.CREATE, log.entity, log.job, (), log.start_ns)

    def add(self) -> None:
        before = [path for path, use in self.log.files.items() if use.reads_first]
        after = [path for path, use in self.log.files.items() if use.reads and not use.reads_first]
        for path in before:
            if path not in self.made:
                payload = {"kind": "darshan-file", "found": True}
                self.made[path] = self._draft(Operation.CREATE, path, payload, (), self.log.start_ns)
            self._use(path)
        references = refer(
            self.drafts, [self.job, *(self.made[path] for path in before)], self.log.entity.encode(), self.log.start_ns
        )
        for path, use in self.log.files.items():
            if use.writes:
                operation = Operation.UPDATE if path in self.made else Operation.CREATE
                time_ns = self._time_ns(use.first_write_s)
                self.made[path] = self._draft(operation, path, self._payload(use), references, time_ns)
        for path in after:
            self._use(path)

    def _use(self, path: str) -> None:
        use = self.log.files[path]
        references = (self.made[path], self.job)
        self._draft(Operation.USE, path, self._payload(use), references, self._time_ns(use.first_read_s))

    def _payload(self, use: FileUse) -> dict[str, Any]:
        payload = {"kind": "darshan-file", "job": self.log.entity, "modules": use.modules}
        return payload | ({"variables": use.variables} if use.variables else {})

    def _time_ns(self, since_start_s: float) -> int:
        return self.log.start_ns + (round(since_start_s * 1e9) if since_start_s != float("inf") else 0)

    def _draft(
        self,
        operation: Operation,
        entity: str,
        payload: dict[str, Any],
        references: tuple[int | bytes, ...],
        time_ns: int,
    ) -> int:
        name = entity.encode(errors="surrogateescape")
        if len(name) > ENTITY_BYTES_MAX:
            raise InputError(f"{self.log.entity}: the path {entity[:80]!r}… is longer than {ENTITY_BYTES_MAX} bytes.")
        self.drafts.append(Draft(operation, name, json_payload(payload), PayloadType.JSON, references, time_ns))
        return len(self.drafts) - 1
