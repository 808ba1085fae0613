"""JSON Lines: one transaction a line (``docs/sources.md``).

The whole input is read and checked when the source is made, so under ``on_error="stop"`` a malformed line raises before
anything of the input is given; the records are made in a second reading, and an input that changed in between is
refused. A transaction's sequence number is its line's, from 0, blank and skipped lines included: mending one line moves
no other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from baash.errors import InputError, StorageError
from baash.records import (
    ANY_VERSION,
    ENTITY_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    REFERENCES_MAX,
    Operation,
    PayloadType,
    source_issuer,
)
from baash.sources.chunk import Chunk
from baash.sources.drafts import Draft, encode, json_payload
from baash.sources.opening import open_regular
from baash.sources.times import rfc3339

LINE_BYTES_MAX = 32 << 20  # a largest payload in base64 and a largest list of references fit
_CHUNK_BYTES = 32 << 20
_OPERATIONS = {operation.name.lower(): operation for operation in Operation}
_FIELDS = ("entity", "op", "payload", "payload_base64", "references", "expected_version", "time")
_VERSIONED = (Operation.UPDATE, Operation.RETIRE)


def parse_line(line: bytes) -> Draft:
    """The transaction one line (without its end) describes. ValueError: which field, what was expected."""
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8; expected a JSON object in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"column {error.colno}: not JSON ({error.msg}); expected one JSON object a line") from None
    except RecursionError:
        raise ValueError("nested too deeply; expected a JSON object of reasonable depth") from None
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is not a JSON object; expected one with the fields entity and op")
    for field in value:
        if field not in _FIELDS:
            raise ValueError(f"field {_shown(field)} is not known; expected {', '.join(_FIELDS)}")
    operation = _operation(value)
    payload, payload_type = _payload(value)
    return Draft(
        operation,
        _entity(value),
        payload,
        payload_type,
        _references(value),
        _time(value),
        _expected_version(value, operation),
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {_shown(twice)} is there twice; expected each once")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; expected a finite number, null or a string")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse(field: str, value: Any, expected: str) -> NoReturn:
    raise ValueError(f"field '{field}' is {_shown(value)}; expected {expected}")


def _operation(value: dict[str, Any]) -> Operation:
    expected = f"one of {', '.join(_OPERATIONS)}"
    if "op" not in value:
        raise ValueError(f"field 'op' is missing; expected {expected}")
    word = value["op"]
    if not isinstance(word, str) or word not in _OPERATIONS:
        _refuse("op", word, expected)
    return _OPERATIONS[word]


def _entity(value: dict[str, Any]) -> bytes:
    expected = f"a name of 1 to {ENTITY_BYTES_MAX} bytes"
    if "entity" not in value:
        raise ValueError(f"field 'entity' is missing; expected {expected}")
    name = value["entity"]
    if not isinstance(name, str):
        _refuse("entity", name, expected)
    try:
        entity: bytes = name.encode()
    except UnicodeEncodeError:
        _refuse("entity", name, "text that UTF-8 can hold (no lone surrogates)")
    if not 1 <= len(entity) <= ENTITY_BYTES_MAX:
        _refuse("entity", name, f"{expected}, not {len(entity)}")
    return entity


def _payload(value: dict[str, Any]) -> tuple[bytes, PayloadType]:
    if "payload" in value and "payload_base64" in value:
        raise ValueError("fields 'payload' and 'payload_base64' are both there; expected one of them at most")
    payload, payload_type, field = b"", PayloadType.BYTES, "payload"
    if "payload" in value:
        payload_type = PayloadType.JSON
        try:
            payload = json_payload(value["payload"])
        except UnicodeEncodeError:
            raise ValueError("field 'payload' holds a lone surrogate; expected text that UTF-8 can hold") from None
        except ValueError:
            raise ValueError("field 'payload' holds a number beyond all bounds; expected finite numbers") from None
    elif "payload_base64" in value:
        field = "payload_base64"
        text = value[field]
        try:
            payload = base64.b64decode(text if isinstance(text, str) else "?", validate=True)
        except (binascii.Error, ValueError):
            _refuse(field, text, "base64 (RFC 4648, with padding)")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"field '{field}' has {len(payload)} bytes; expected at most {PAYLOAD_BYTES_MAX}")
    return payload, payload_type


def _references(value: dict[str, Any]) -> tuple[bytes, ...]:
    listed = value.get("references", [])
    expected = f"a list of at most {REFERENCES_MAX} transaction ids"
    if not isinstance(listed, list):
        _refuse("references", listed, expected)
    if len(listed) > REFERENCES_MAX:
        raise ValueError(f"field 'references' has {len(listed)} entries; expected {expected}")
    ids = []
    for place, text in enumerate(listed):
        if not isinstance(text, str) or len(text) != 64 or not set(text) <= set("0123456789abcdefABCDEF"):
            _refuse(f"references[{place}]", text, "a transaction id, 64 hexadecimal digits")
        ids.append(bytes.fromhex(text))
    return tuple(ids)


def _expected_version(value: dict[str, Any], operation: Operation) -> int:
    if "expected_version" not in value:
        return ANY_VERSION
    version = value["expected_version"]
    if operation not in _VERSIONED:
        raise ValueError("field 'expected_version' goes with op update and retire only; leave it out")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < ANY_VERSION:
        _refuse("expected_version", version, f"a whole number from 0 to {ANY_VERSION - 1}")
    return version


def _time(value: dict[str, Any]) -> int:
    time = value.get("time", 0)
    if isinstance(time, str):
        try:
            return rfc3339(time)
        except ValueError as error:
            raise ValueError(f"field 'time' is {_shown(time)}; {error}") from None
    if not isinstance(time, int) or isinstance(time, bool) or not 0 <= time < 1 << 64:
        _refuse("time", time, "an RFC 3339 time or whole nanoseconds since 1970")
    return time


class JsonLinesSource:
    """A JSON Lines file. Making it checks every line; ``total`` counts the good ones."""

    def __init__(self, path: str | Path, name: str | None = None, on_error: str = "stop") -> None:
        self._path = Path(path)
        self._skip = on_error == "skip"
        digest = hashlib.sha256()
        total = 0
        with open_regular(self._path) as file:
            self._state = _state(file)
            for number, line in _lines(file, self._path):
                digest.update(line)
                total += isinstance(self._parsed(number, line), Draft)
        self.total: int | None = total
        self.name = name if name is not None else f"jsonl:sha256:{digest.hexdigest()}"

    def _parsed(self, number: int, line: bytes) -> Draft | str | None:
        """The draft of a line, or why it is skipped, or None for a blank one."""
        text = line.strip(b" \t\r\n")
        if not text:
            return None
        try:
            return parse_line(text)
        except ValueError as error:
            message = f"{self._path}, line {number}: {error}."
        if not self._skip:
            raise InputError(message)
        return message

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The transactions from the first, at most ``size`` lines a chunk."""
        issuer = source_issuer(self.name)
        drafts: list[Draft] = []
        sequences: list[int] = []
        skipped: list[str] = []
        pending = 0

        def chunk() -> Chunk:
            records = encode(drafts, issuer, sequences).records if drafts else np.zeros(0, dtype=np.uint8)
            return Chunk(records, len(drafts), None, tuple(skipped))

        with open_regular(self._path) as file:
            self._check_unchanged(file)
            for number, line in _lines(file, self._path):
                draft = self._parsed(number, line)
                if isinstance(draft, Draft):
                    drafts.append(draft)
                    sequences.append(number - 1)
                    pending += len(draft.payload)
                elif draft is not None:
                    skipped.append(draft)
                if len(drafts) + len(skipped) >= size or pending >= _CHUNK_BYTES:
                    self._check_unchanged(file)
                    yield chunk()
                    drafts, sequences, skipped, pending = [], [], [], 0
            self._check_unchanged(file)
        if drafts or skipped:
            yield chunk()

    def _check_unchanged(self, file: BinaryIO) -> None:
        if _state(file) != self._state:
            raise InputError(f"{self._path} changed after it was checked: import it again when nothing writes it.")


def _state(file: BinaryIO) -> tuple[int, int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their ends, numbered from 1."""
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(LINE_BYTES_MAX + 1)
        except OSError as error:
            raise StorageError(f"{path}, line {number} cannot be read: {error.strerror}.") from None
        if not line:
            return
        if len(line) > LINE_BYTES_MAX:
            raise InputError(f"{path}, line {number} has more than {LINE_BYTES_MAX} bytes: split it.")
        yield number, line
