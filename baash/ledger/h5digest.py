"""A digest for each data set of an HDF5 file, so that a changed file can say which of its data sets changed.

The digest is over what is stored, not over how: chunks, filters, byte order in the file and the layout of the file do
not enter. What is hashed is specified in ``docs/payloads.md`` ("HDF5 contents"). Nothing here writes, and nothing here
is about ledgers: it lives in this room because only this room imports h5py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

PIECE_BYTES = 8 << 20
_TAG = b"baash/v1 hdf5 data set\x00"
_TAG_ATTRIBUTES = b"baash/v1 hdf5 attributes\x00"


class DatasetDigest(NamedTuple):
    """``name``: the first of its paths; ``sha256``: hex, empty if it could not be read, and then ``note`` says why."""

    name: str
    shape: tuple[int, ...] | None  # None: an empty ("null") data space
    dtype: str
    sha256: str
    attributes: str  # hex digest of its attributes, empty if it has none
    note: str = ""


class Hdf5Digest(NamedTuple):
    """Everything in one file. ``groups``: (path, digest of its attributes or ""), the root as "/"; ``types``: named types."""

    datasets: tuple[DatasetDigest, ...]
    groups: tuple[tuple[str, str], ...]
    types: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]  # soft and external links and further hard links: (path, what it leads to)


def describe(path: str | Path) -> dict[str, Any] | None:
    """What a file's record says of its HDF5 contents (``docs/payloads.md``); None if it is not HDF5."""
    if not h5py.is_hdf5(path):
        return None
    try:
        found = digest(path)
    except OSError as error:
        return {"note": f"not read: {error}"}
    described: dict[str, Any] = {"datasets": [_without_empty(one._asdict()) for one in found.datasets]}
    described["groups"] = [_without_empty({"name": name, "attributes": digest}) for name, digest in found.groups]
    described["types"] = [{"name": name, "dtype": dtype} for name, dtype in found.types]
    described["links"] = [{"name": name, "target": target} for name, target in found.links]
    return described


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in fields.items() if value != ""}
    if fields.get("shape") is not None:
        fields["shape"] = list(fields["shape"])  # as JSON gives it back
    return fields


def datasets(path: str | Path) -> list[DatasetDigest]:
    """The data sets of an HDF5 file, ascending by name. OSError if it cannot be opened."""
    return list(digest(path).datasets)


def digest(path: str | Path) -> Hdf5Digest:
    """All of an HDF5 file. OSError if it cannot be opened; an object that cannot be read is noted, not raised."""
    found: list[DatasetDigest] = []
    groups: list[tuple[str, str]] = []
    types: list[tuple[str, str]] = []
    links: list[tuple[str, str]] = []
    with h5py.File(path, "r", locking=False) as file:
        for name, item in _walk(file, links):
            if isinstance(item, h5py.Group):
                groups.append((name, _attributes(item)))
            elif isinstance(item, h5py.Dataset):
                found.append(_dataset(name, item))
            elif isinstance(item, h5py.Datatype):
                types.append((name, _type_name(item.dtype)))
            else:
                found.append(DatasetDigest(name, None, "", "", "", f"not read: {item}"))
    return Hdf5Digest(
        tuple(sorted(found, key=lambda d: d.name)), tuple(sorted(groups)), tuple(sorted(types)), tuple(sorted(links))
    )


def _walk(file: Any, links: list[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """Every object once, under the first of its paths, in order of paths; soft links are not followed."""
    seen: dict[Any, str] = {h5py.h5o.get_info(file.id).addr: "/"}
    stack: list[tuple[str, Any]] = [("/", file)]
    while stack:
        path, item = stack.pop()
        yield path, item
        if not isinstance(item, h5py.Group):
            continue
        inner: list[tuple[str, Any]] = []
        for name in sorted(item.keys()):
            below = f"{path.rstrip('/')}/{name}"
            try:
                link = item.get(name, getlink=True)
                if isinstance(link, h5py.SoftLink):
                    links.append((below, link.path))
                elif isinstance(link, h5py.ExternalLink):
                    links.append((below, f"{link.filename}:{link.path}"))
                else:
                    member = item[name]
                    address = h5py.h5o.get_info(member.id).addr
                    if address in seen:
                        links.append((below, seen[address]))
                    else:
                        seen[address] = below
                        inner.append((below, member))
            except (KeyError, OSError, RuntimeError, TypeError) as error:
                inner.append((below, f"{type(error).__name__}: {error}"))
        stack += reversed(inner)


def _dataset(name: str, item: Any) -> DatasetDigest:
    shape = None if item.shape is None else tuple(int(extent) for extent in item.shape)
    dtype = "?"
    try:
        dtype = _type_name(item.dtype)
        hasher = hashlib.sha256(_TAG + _head(dtype, shape))
        if shape is not None:
            for piece in _pieces(item):
                _feed(hasher, piece)
        return DatasetDigest(name, shape, dtype, hasher.hexdigest(), _attributes(item))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:  # e.g. a filter that is not installed
        return DatasetDigest(name, shape, dtype, "", "", f"not read: {type(error).__name__}: {error}")


def _head(dtype: str, shape: tuple[int, ...] | None) -> bytes:
    extents = "null" if shape is None else ",".join(map(str, shape))
    return f"{dtype}\x00{extents}\x00".encode()


def _type_name(dtype: np.dtype) -> str:
    """The type without its byte order."""
    if h5py.check_ref_dtype(dtype) is not None:
        return "reference"
    text = h5py.check_string_dtype(dtype)
    if text is not None:
        return "string" if text.length is None else f"string({text.length})"
    base = h5py.check_vlen_dtype(dtype)
    if base is not None:
        return f"vlen({_type_name(np.dtype(base))})"
    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        return f"{_type_name(inner)}[{','.join(map(str, shape))}]"
    if dtype.names is not None:
        return "{" + ",".join(f"{name}:{_type_name(dtype[name])}" for name in dtype.names) + "}"
    values = h5py.check_enum_dtype(dtype)
    if values is not None:
        pairs = ",".join(
            f"{name}={number}" for name, number in sorted(values.items(), key=lambda pair: (pair[1], pair[0]))
        )
        return f"enum({dtype.kind}{dtype.itemsize},{pairs})"
    if (dtype.kind == "f" and dtype.itemsize > 8) or (dtype.kind == "c" and dtype.itemsize > 16):
        raise TypeError("extended precision has no canonical form")
    return f"{dtype.kind}{dtype.itemsize}"


def _pieces(item: Any) -> Iterator[np.ndarray]:
    """The elements in C order, some megabytes at a time."""
    if item.shape == ():
        yield np.asarray(item[()], dtype=item.dtype).reshape(1)
        return
    if 0 in item.shape:
        return
    yield from _boxes(item, (), item.shape)


def _boxes(item: Any, outer: tuple[int, ...], inner: tuple[int, ...]) -> Iterator[np.ndarray]:
    row = item.dtype.itemsize * int(np.prod(inner[1:], dtype=np.int64))
    if row > PIECE_BYTES and len(inner) > 1:
        for at in range(inner[0]):
            yield from _boxes(item, (*outer, at), inner[1:])
        return
    rows = max(1, PIECE_BYTES // max(row, 1))
    chunk = item.chunks[len(outer)] if item.chunks else 1
    if rows > chunk:
        rows -= rows % chunk  # read no chunk twice
    for first in range(0, inner[0], rows):
        yield np.asarray(item[(*outer, slice(first, first + rows))])


def _feed(hasher: Any, values: np.ndarray) -> None:
    """Hash elements in C order: fixed types as little-endian bytes, all others element by element with lengths."""
    if not _varies(values.dtype):
        hasher.update(values.astype(_canonical(values.dtype), order="C", copy=False).tobytes())
    elif values.dtype.names is not None:
        for row in values.reshape(-1):
            for name in values.dtype.names:
                member = np.empty(1, dtype=[("value", values.dtype[name])])
                member["value"][0] = row[name]
                _feed(hasher, member["value"].reshape(-1))
    else:
        for value in values.reshape(-1):
            _feed_object(hasher, value, values.dtype)


def _varies(dtype: np.dtype) -> bool:
    """Whether elements hold pointers (strings, lists, references) and so have no bytes of their own."""
    return bool(dtype.hasobject)


def _canonical(dtype: np.dtype) -> np.dtype:
    """The same type little-endian and without the padding a compound type may have in memory."""
    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        return np.dtype((_canonical(inner), shape))
    if dtype.names is not None:
        return np.dtype([(name, _canonical(dtype[name])) for name in dtype.names])
    return dtype.newbyteorder("<")


def _feed_object(hasher: Any, value: Any, dtype: np.dtype) -> None:
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    if isinstance(value, bytes):
        hasher.update(len(value).to_bytes(8, "little") + value)
    elif isinstance(value, np.ndarray):
        base = np.dtype(h5py.check_vlen_dtype(dtype))
        if value.dtype != base and value.dtype == base.newbyteorder():
            value = value.view(base)  # h5py 3.16 hands out big-endian lists under a little-endian type
        hasher.update(value.size.to_bytes(8, "little"))
        _feed(hasher, value)
    elif isinstance(value, (h5py.Reference, h5py.RegionReference)):
        # Where it points is an address, which copying a file changes: only whether it points anywhere counts.
        hasher.update(bytes([bool(value)]))
    elif value is None or (isinstance(value, int) and value == 0):
        hasher.update(bytes(8))
    else:
        raise TypeError(f"elements of type {type(value).__name__} have no canonical form")


def _attributes(item: Any) -> str:
    """Digest over an object's attributes, ascending by name; empty without any."""
    names = sorted(item.attrs.keys())
    if not names:
        return ""
    hasher = hashlib.sha256(_TAG_ATTRIBUTES)
    for name in names:
        encoded = name.encode(errors="surrogateescape")
        hasher.update(len(encoded).to_bytes(8, "little") + encoded)
        trial = hasher.copy()
        try:
            attribute = item.attrs.get_id(name)
            shape = attribute.shape if attribute.get_space().get_simple_extent_type() != h5py.h5s.NULL else None
            trial.update(_head(_type_name(attribute.dtype), shape))
            if shape is not None:
                _feed(trial, np.asarray(item.attrs[name], dtype=attribute.dtype).reshape(-1))
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            hasher.update(f"not read: {type(error).__name__}".encode())
        else:
            hasher = trial
    return hasher.hexdigest()
