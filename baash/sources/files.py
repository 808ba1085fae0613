"""Files in a ledger: what changed since a record (``compare``), and the source that records files (``FileSource``).

An entity is the file's absolute path, its payload what ``describe`` found. What the ledger knows is handed in: a source
reads no ledger.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from baash.errors import InputError
from baash.records import ANY_VERSION, Operation, PayloadType
from baash.sources.describe import FileDescription, describe, expand
from baash.sources.drafts import Draft, DraftSource, json_payload, refer

__all__ = ["Changes", "FileDescription", "FileSource", "Previous", "compare", "describe", "expand", "read_payload"]


@dataclass(frozen=True)
class Changes:
    """What differs between two payloads of a file; pairs are (before, now)."""

    size: tuple[int, int] | None = None
    sha256: tuple[str, str] | None = None
    mode: tuple[str, str] | None = None
    datasets_added: tuple[str, ...] = ()
    datasets_removed: tuple[str, ...] = ()
    datasets_changed: tuple[str, ...] = ()
    attributes_changed: tuple[str, ...] = ()  # of data sets and groups that are there before and now

    @property
    def changed(self) -> bool:
        """Whether the file's bytes changed; its mode and its time are not its bytes."""
        return self.sha256 is not None

    def sentences(self) -> list[str]:
        """For people, the most telling first."""
        said = [f"data set {name} changed" for name in self.datasets_changed]
        said += [f"data set {name} is new" for name in self.datasets_added]
        said += [f"data set {name} is gone" for name in self.datasets_removed]
        said += [f"attributes of {name} changed" for name in self.attributes_changed]
        if self.size is not None:
            said.append(f"size was {self.size[0]} bytes, is {self.size[1]}")
        if self.sha256 is not None:
            said.append(f"SHA-256 was {self.sha256[0]}, is {self.sha256[1]}")
        if self.mode is not None:
            said.append(f"mode was {self.mode[0]}, is {self.mode[1]}")
        return said


def read_payload(payload: bytes) -> dict[str, Any]:
    """The payload of a file's record. InputError if it is no such payload."""
    try:
        value = json.loads(payload)
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("kind") != "file" or not isinstance(value.get("sha256"), str):
        raise InputError("The recorded payload does not describe a file: expected JSON of the kind 'file'.")
    return value


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What changed between the payload of a record and that of a description."""

    def differing(name: str) -> tuple[Any, Any] | None:
        return (before.get(name), now.get(name)) if before.get(name) != now.get(name) else None

    old, new = _objects(before, "datasets"), _objects(now, "datasets")
    if ("hdf5" in before) != ("hdf5" in now) or any("note" in side.get("hdf5", {}) for side in (before, now)):
        old = new = {}  # one of them does not know: nothing can be said of data sets
    both = [name for name in old if name in new]
    contents = [
        name for name in both if any(old[name].get(k) != new[name].get(k) for k in ("shape", "dtype", "sha256"))
    ]
    old_named, new_named = old | _objects(before, "groups"), new | _objects(now, "groups")
    attributes = [
        name
        for name, item in old_named.items()
        if name in new_named and item.get("attributes") != new_named[name].get("attributes")
    ]
    return Changes(
        differing("size"),
        differing("sha256"),
        differing("mode"),
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        tuple(contents),
        tuple(attributes),
    )


def _objects(payload: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in payload.get("hdf5", {}).get(kind, ())}


class Previous(NamedTuple):
    """What the ledger knows of a file. ``payload`` is None where it knew the file once but it is retired."""

    payload: Mapping[str, Any] | None
    version: int
    transaction: bytes  # id of the transaction that wrote that version


class FileSource(DraftSource):
    """Records files: CREATE for what the ledger does not know, UPDATE for what changed, nothing for what did not.

    ``descriptions``: what is recorded; ``previous``: absolute path → what the ledger knows, for these and for
    ``inputs``, the files they were made from. Inputs are recorded first where they are new or changed, and every record
    of ``descriptions`` refers to all of them. A file that is both refers to its own earlier version as an input.
    ``new``, ``changed`` (or retired before), ``unchanged``: the paths of ``descriptions``; the last give no record. ``time_ns``: when, if that is to be said.
    """

    def __init__(
        self,
        descriptions: Sequence[FileDescription],
        previous: Mapping[str, Previous],
        inputs: Sequence[FileDescription] = (),
        *,
        job: str = "",
        note: str = "",
        user: str = "",
        host: str = "",
        time_ns: int = 0,
        name: str | None = None,
    ) -> None:
        said = {"job": job, "note": note, "user": user, "host": host}
        self._recorded = {key: value for key, value in said.items() if value}
        self._previous, self._time_ns = previous, time_ns
        self._drafts: list[Draft] = []
        targets = {description.path for description in descriptions}
        references: list[int | bytes] = []
        self.unchanged: list[str] = []
        for one in inputs:
            known = previous.get(one.path)
            if one.path not in targets:
                references.append(self._record(one, ()))
            elif known is not None and known.payload is not None:
                references.append(known.transaction)
        changed = [one for one in descriptions if not self._is_unchanged(one)]
        self.unchanged = [one.path for one in descriptions if self._is_unchanged(one)]
        self.new = [one.path for one in changed if one.path not in previous]
        self.changed = [one.path for one in changed if one.path in previous]
        if changed:
            held = refer(self._drafts, references, changed[0].entity, time_ns)
            for one in changed:
                self._record(one, held)
        super().__init__(name if name is not None else self._content_name(), self._drafts)

    def _is_unchanged(self, one: FileDescription) -> bool:
        known = self._previous.get(one.path)
        return known is not None and known.payload is not None and not compare(known.payload, one.payload).changed

    def _record(self, one: FileDescription, references: tuple[int | bytes, ...]) -> int | bytes:
        """Where the transaction is that says what the file is now; a draft is added unless the ledger has it."""
        known = self._previous.get(one.path)
        if known is not None and self._is_unchanged(one):
            return known.transaction
        operation, version = Operation.CREATE, ANY_VERSION
        if known is not None and known.payload is not None:
            operation, version = Operation.UPDATE, known.version
        payload = one.payload | ({"recorded": self._recorded} if self._recorded else {})
        draft = Draft(
            operation, one.entity, json_payload(payload), PayloadType.JSON, references, self._time_ns, version
        )
        self._drafts.append(draft)
        return len(self._drafts) - 1

    def _content_name(self) -> str:
        """From all that is recorded and the versions it builds on, so that only the very same step is the same input."""
        digest = hashlib.sha256()
        for draft in self._drafts:
            known = self._previous.get(os.fsdecode(draft.entity))
            references = [item if isinstance(item, int) else item.hex() for item in draft.references]
            head = [int(draft.operation), draft.entity.hex(), draft.time_ns, known.version if known else 0, references]
            digest.update(json_payload([*head, hashlib.sha256(draft.payload).hexdigest()]) + b"\n")
        return f"files:sha256:{digest.hexdigest()}"
