"""A view record as it comes from a file: text that anybody may have written, read strictly or refused.

There is one legal form (``docs/ledger-format.md`` section 8), so two readers cannot understand two things: no duplicate keys, no
other types, nothing unknown, numbers in their ranges. Who signed it is ``view.vouched``'s matter.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from baash import keys
from baash.errors import LedgerDamaged, UsageError
from baash.protocol.view import FIRST_LINE, NODES_MAX, Node, Parameters, Predecessor, View
from baash.records import SHARD_COUNT

TEXT_BYTES_MAX = 4096
FIELDS = ("view", "ledger", "predecessor", "nodes", "shards", "parameters", "seed", "time_ns", "started_by")
PARAMETERS = ("faults", "replacements", "quorum", "block_size", "align", "replay_width")


def decode(text: bytes) -> tuple[View, dict[str, bytes]]:
    """A view record file as (view, signatures). Raises LedgerDamaged; signatures are not checked here."""
    try:
        if not text.startswith(FIRST_LINE):
            raise ValueError("the first line is not 'baash-view-v1'")
        body, separator, tail = text[len(FIRST_LINE) :].partition(b"\n\n")
        if not separator:
            raise ValueError("no signatures")
        body += b"\n"
        view = _from_fields(_json(body))
        view.__dict__["body"] = body  # the bytes that were signed, not our own rendering of them
        signatures = {}
        for line in tail.decode("ascii").splitlines():
            signer, _, encoded = line.partition(" ")
            if signer in signatures:
                raise ValueError(f"{signer} signed twice")
            signatures[signer] = base64.b64decode(encoded, validate=True)
        return view, signatures
    except RecursionError:
        raise LedgerDamaged("not a view record: it is nested too deeply") from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, UsageError) as error:
        raise LedgerDamaged(f"not a view record: {error}") from error


def _json(body: bytes) -> Any:
    """The JSON of a record; what readers of JSON may understand in two ways is refused."""
    return json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is there twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20 or digits.startswith("-"):
        raise ValueError("a number is too large, or negative")
    return int(digits)


def _number(value: Any, name: str, bits: int) -> int:
    """An integer from 0 on; JSON's true and 1.0 are none."""
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ValueError(f"{name} is not an integer of {bits} bits")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value.encode()) > TEXT_BYTES_MAX:
        raise ValueError(f"{name} is not text of at most {TEXT_BYTES_MAX} bytes")
    return value


def _hex(value: Any, name: str) -> bytes:
    """32 bytes in lower-case hex."""
    found = bytes.fromhex(_text(value, name))
    if len(found) != keys.PUBLIC_KEY_BYTES or found.hex() != value:
        raise ValueError(f"{name} is not a 32-byte key")
    return found


def _only(fields: Any, names: Iterable[str], what: str) -> dict[str, Any]:
    """``fields``, if it is an object with just these keys."""
    if not isinstance(fields, dict) or set(fields) != set(names):
        raise ValueError(f"{what} is not an object with the keys {', '.join(names)}")
    return fields


def _from_fields(fields: Any) -> View:
    _only(fields, FIELDS, "the record")
    predecessor = None
    if fields["predecessor"] is not None:
        before = _only(fields["predecessor"], ("view", "commit"), "predecessor")
        commit = before["commit"]
        if commit is not None:
            commit = base64.b64decode(encoded := str(commit), validate=True)
            if not commit or base64.b64encode(commit).decode() != encoded:
                raise ValueError("predecessor's commit is not base64")
        predecessor = Predecessor(_number(before["view"], "predecessor's view", 32), commit)
    given = _only(fields["parameters"], PARAMETERS, "parameters")
    parameters = {name: _number(given[name], name, 32) for name in PARAMETERS if name != "quorum"}
    started_by = fields["started_by"]
    if not isinstance(started_by, dict) or len(started_by) > 64:
        raise ValueError("started_by is not an object of at most 64 keys")
    for name, value in started_by.items():
        if value is not None and type(value) is not int:
            _text(value, f"started_by's {_text(name, 'a key')[:64]}")
    view = View(
        view=_number(fields["view"], "view", 32),
        ledger=_hex(fields["ledger"], "ledger"),
        predecessor=predecessor,
        nodes=tuple(_node(n) for n in fields["nodes"]),
        shards=tuple(
            (_number(a, "shard", 32), _number(b, "shard", 32), _number(c, "cluster", 32))
            for a, b, c in fields["shards"]
        ),
        parameters=Parameters(quorum=_text(given["quorum"], "quorum"), **parameters),
        seed=_number(fields["seed"], "seed", 64),
        time_ns=_number(fields["time_ns"], "time_ns", 64),
        started_by=dict(started_by),
    )
    _check(view)
    return view


def _node(fields: Any) -> Node:
    n = _only(fields, ("node", "key", "rank", "host", "cluster", "role"), "a node")
    cluster = None if n["cluster"] is None else _number(n["cluster"], "cluster", 32)
    return Node(
        _number(n["node"], "node", 32), _hex(n["key"], "key"), _number(n["rank"], "rank", 32), _text(n["host"], "host"),
        cluster, _text(n["role"], "role"),
    )  # fmt: skip


def _check(view: View) -> None:
    if not 0 < len(view.nodes) <= NODES_MAX:
        raise ValueError("no nodes, or too many")
    if [n.node for n in view.nodes] != list(range(len(view.nodes))):
        raise ValueError("nodes are not numbered from 0")
    if len({n.key for n in view.nodes}) < len(view.nodes):
        raise ValueError("two nodes share a key")
    clusters = [n.cluster for n in view.coordinators if n.cluster is not None]
    if not clusters or clusters != list(range(len(clusters))):
        raise ValueError("clusters are not numbered from 0, with one coordinator each")
    for n in view.nodes:
        if (n.cluster is None) != (n.role == "storage") or n.role not in ("coordinator", "validator", "storage"):
            raise ValueError(f"node {n.node} has no legal role")
        if n.cluster is not None and n.cluster not in clusters:
            raise ValueError(f"node {n.node} is in a cluster that does not exist")
    if sum(n.role == "storage" for n in view.nodes) > 1:
        raise ValueError("there is more than one storage validator")
    for cluster in clusters:
        if len(view.validators(cluster)) < view.parameters.sub_cluster:
            raise ValueError(f"cluster {cluster} has fewer than 3f+1 validators")
    at = 0
    for first, last, cluster in view.shards:
        if first != at or last < first or cluster not in clusters:
            raise ValueError("shards do not cover 0 to 4095 in order")
        at = last + 1
    if at != SHARD_COUNT:
        raise ValueError("shards do not cover 0 to 4095 in order")
