"""A trace played again: the same core, the same events, and whether it does the same (``docs/trace.md``).

Each node is made from the ledger as it was at its view's beginning, each event is handed to it as it came, and what it now does is held
against what it did then, effect by effect. Without MPI, without keys, and nothing is written. A key that is asked for a signature gives the
one that was made then; asked for one over other bytes it has none, and that is a difference. A node is played up to its first.

What this cannot see: whether the events of a trace are what really happened. A signature is verified, so whatever was signed was.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from baash import keys
from baash.errors import InputError, LedgerError
from baash.hosted import Hosted
from baash.keys import Context, PrivateKey
from baash.ledger.folder import Folder
from baash.ledger.reader import Ledger
from baash.ledger.restore import Restored, restore
from baash.ledger.round import Round
from baash.protocol import events, view_record
from baash.protocol.events import Effect, Event
from baash.protocol.flights import Limits
from baash.protocol.plan import Log
from baash.protocol.view import View
from baash.protocol.windows import State
from baash.records import COMMIT_RECORD, ZERO_HASH
from baash.service import Actor
from baash.sim import telling
from baash.trace import happened
from baash.trace.frames import File, Frame, Read
from baash.trace.happened import AGAIN_MAX, SIGNED, Happened, LedgerSeen

Progress = Callable[[int, int], None]  # bytes done, in all


@dataclass(frozen=True)
class Difference:
    """The first event of a node on which the core does something else. Effects are in words; ``at``: the first that differs."""

    file: str
    rank: int
    view: int
    node: int
    event: int  # of the node in this view, from 0
    time_ns: int
    happened: str
    at: int
    then: list[str]
    now: list[str]
    detail: list[str]  # the messages among ``now`` as they read
    signing: list[str]  # what is the matter with its signatures


@dataclass
class Checked:
    """One rank's trace."""

    file: str
    rank: int = -1
    bytes: int = 0
    views: list[int] = field(default_factory=list)
    nodes: int = 0
    events: int = 0
    effects: int = 0
    signatures: int = 0
    torn_at: int | None = None  # the byte at which the file is cut short
    ended: str | None = None  # "" well, or why; None: the trace ends before its rank did
    liars: list[int] = field(default_factory=list)  # not played
    lost: dict[int, str] = field(default_factory=dict)  # nodes that could not be played to the end, and why
    unplayed: int = 0  # events of these, and of nodes that differ
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, repr=False)
class FoundKey(PrivateKey):
    """A key without a secret: it knows what was signed in the event that is played."""

    made: deque[np.void] = field(default_factory=deque, compare=False)  # SIGNED
    wrong: list[str] = field(default_factory=list, compare=False)

    def sign(self, context: Context, signed: bytes) -> bytes:
        if not self.made:
            self.wrong.append(f"asks for a signature ({context.name}), where none was made")
            return bytes(keys.SIGNATURE_BYTES)
        row = self.made.popleft()
        if (row["context"], row["digest"].tobytes()) != (context.name.encode(), hashlib.sha256(signed).digest()):
            self.wrong.append(f"asks for a signature ({context.name}) over other bytes than were signed")
            return bytes(keys.SIGNATURE_BYTES)
        signature: bytes = row["signature"].tobytes()
        if not keys.verify(self.public, context, signed, signature):
            self.wrong.append(f"the signature ({context.name}) in the trace is not this node's")
        return signature


def files(folder: Path) -> list[Path]:
    """The traces in a folder. InputError if there are none."""
    found = sorted(folder.glob("trace-*")) if folder.is_dir() else []
    if not found:
        raise InputError(f"there is no trace in {folder}: name the folder that --trace was given")
    return found


def check(folder: Path, ledger: Path | None = None, progress: Progress = lambda done, total: None) -> list[Checked]:
    """Play all traces of a folder; ``ledger``: where it lies now, if it was moved.

    Raises InputError (a file that is no whole trace, or not of that ledger), LedgerError.
    """
    paths = files(folder)
    total, done, before = sum(p.stat().st_size for p in paths), 0, _States()
    found = []
    for path in paths:
        file = File(path)
        player = _Player(file, ledger, before)
        for frame in file.frames():
            player.take(frame)
            progress(done + frame.at, total)
        found.append(player.finish())
        done += file.size
    progress(total, total)
    if not any(one.views for one in found):
        raise InputError(f"the traces in {folder} end before the first view began: there is nothing in them to check")
    return found


class _States:
    """Ledgers as they were when a view began: what all ranks of a view read alike is read once."""

    def __init__(self) -> None:
        self._view: tuple[Path, bytes] | None = None
        self._read: dict[int | None, tuple[Restored, Log]] = {}

    def read(self, path: Path, view: View, cluster: int | None) -> tuple[Restored, Log]:
        if self._view != (path, view.hash):
            self._view, self._read = (path, view.hash), {}
        if cluster not in self._read:
            with Ledger(path, scan=True) as ledger:
                earlier = takewhile(lambda r: r.view.view < view.view, ledger.rounds)
                restored = restore(ledger, _shards(view, cluster), view.parameters.replay_width, rounds=earlier)
            before = view.predecessor
            if before and before.commit and restored.commit != _hash_of(before.commit):
                raise LedgerError(
                    f"{path} is not as view {view.view} found it; restore it from a copy: baash verify says more"
                )
            self._read[cluster] = restored, restored.log(len(view.coordinators))
        return self._read[cluster]


def _shards(view: View, cluster: int | None) -> np.ndarray | None:
    return None if cluster is None else view.cluster_of_shard == np.uint32(cluster)


def _hash_of(slot: bytes) -> bytes:
    return hashlib.sha256(slot[: COMMIT_RECORD.itemsize]).digest()


class _Player:
    """One file, frame by frame."""

    def __init__(self, file: File, ledger: Path | None, before: _States) -> None:
        self._file, self._moved, self._before = file, ledger, before
        self._ledger = Path()
        self._view: View | None = None
        self._nodes: dict[int, Actor] = {}
        self._keys: dict[int, FoundKey] = {}
        self._count: dict[int, int] = {}  # events of each node
        self._out: set[int] = set()  # nodes that are not played any more
        self._recent: deque[np.ndarray] = deque(maxlen=AGAIN_MAX)
        self._asked: dict[tuple[int, int], int] = {}  # (node, token) of the storage validator → cluster
        self._detail: list[str] = []  # of the effects of the event that was played last
        self.found = Checked(file.path.name, bytes=file.size)

    def finish(self) -> Checked:
        self.found.torn_at = self._file.torn_at
        return self.found

    def take(self, frame: Read) -> None:
        try:
            match frame.kind, frame.arrays:
                case Frame.RANK, [said] if self.found.rank < 0:
                    fields = _fields(said, rank=int, ledger=str, baash=str)
                    self.found.rank, self._ledger = fields["rank"], self._moved or Path(fields["ledger"])
                case Frame.VIEW, [said, text] if self.found.rank >= 0:
                    self._begin(_fields(said, limits=dict, replica_bytes=int, liars=list), text.tobytes())
                case Frame.EVENT, [signed, told, digests, *own] if frame.node in self._nodes:
                    self._event(frame, signed, told.tobytes().decode(), digests, own)
                case Frame.END, [said]:
                    self.found.ended = _fields(said, why=str)["why"]
                case _:
                    raise ValueError(f"a frame {frame.kind.name} that does not belong here")
        except ValueError as error:
            raise self._file.damaged(frame.at, str(error)) from error

    # -- a view -----------------------------------------------------------------------------------------------------

    def _begin(self, fields: dict[str, Any], text: bytes) -> None:
        """Make the nodes of this rank, as they were made then."""
        limits = _limits(fields["limits"])
        if any(type(node) is not int for node in fields["liars"]):
            raise ValueError("nodes that lie, and are no numbers")
        self._view = view = self._as_published(view_record.decode(text)[0])
        here = {n.key: n.node for n in view.nodes if n.rank == self.found.rank}
        secrets = {public: FoundKey(public, b"") for public in here}
        self._nodes = Hosted(
            self._ledger,
            view,
            self.found.rank,
            secrets,
            limits,
            self._before.read,
            replica_bytes=fields["replica_bytes"],
        ).nodes
        self._keys = {here[public]: key for public, key in secrets.items()}
        self._count = dict.fromkeys(self._nodes, 0)
        self._out = set(fields["liars"])
        self.found.liars += sorted(self._out)
        self.found.views.append(view.view)
        self.found.nodes += len(self._nodes)

    def _as_published(self, view: View) -> View:
        """The view, if the ledger has the same."""
        where = f"{self._file.path} is of view {view.view} of the ledger at {self._ledger}"
        try:
            published = Folder(self._ledger).read_view(view.view)[0]
        except LedgerError as error:
            raise InputError(f"{where}, which cannot be read ({error}); say where it is with --ledger") from error
        if published.hash != view.hash:
            raise InputError(f"{where}, which holds another view of that number; name the right one with --ledger")
        return view

    # -- an event ---------------------------------------------------------------------------------------------------

    def _event(self, frame: Read, signed: np.ndarray, told: str, digests: np.ndarray, own: list[np.ndarray]) -> None:
        event = self._what(frame.event, own)
        then = told.split("\n") if told else []
        if len(then) * 32 != digests.nbytes:
            raise ValueError("words and digests of effects that are not alike many")
        node, number = frame.node, self._count[frame.node]
        self._count[node] += 1
        if node in self._out:
            self.found.unplayed += 1
            return
        try:
            happens = self._read_again(node, event) if isinstance(event, LedgerSeen) else event
        except LookupError as error:
            self._out.add(node)
            self.found.lost[node] = str(error)
            self.found.unplayed += 1
            return
        now, wrong = self._play(node, happens, frame.time_ns, signed.view(SIGNED))
        self.found.events += 1
        self.found.effects += len(then)
        self.found.signatures += len(signed) // SIGNED.itemsize
        rows = [digests[i : i + 32].tobytes() for i in range(0, digests.nbytes, 32)]
        if wrong or [d for d, _ in now] != rows:
            self._out.add(node)
            at = next(
                (i for i, (a, b) in enumerate(zip(now, rows, strict=False)) if a[0] != b), min(len(now), len(rows))
            )
            self.found.differences.append(
                Difference(
                    self.found.file, self.found.rank, self._view.view if self._view else -1, node, number, frame.time_ns,
                    telling.event(node, event), at, then, [words for _, words in now], self._detail, wrong,
                )
            )  # fmt: skip

    def _what(self, number: int, own: list[np.ndarray]) -> Event | LedgerSeen:
        if number == Happened.MESSAGE_AGAIN:
            back = int(own[0].view("<u8")[0]) if len(own) == 1 and own[0].nbytes == 8 else 0
            if not 0 < back <= len(self._recent):
                raise ValueError("a message that is said to be there already, and is not")
            return events.MessageReceived(self._recent[-back])
        event = happened.unpacked(number, own)
        if isinstance(event, events.MessageReceived):
            self._recent.append(event.data)
        return event

    def _play(
        self, node: int, event: Event, now_ns: int, signed: np.ndarray
    ) -> tuple[list[tuple[bytes, str]], list[str]]:
        """(digest and words of each effect, what is wrong with the signatures)."""
        key = self._keys[node]
        key.made.clear()
        key.made.extend(signed)
        key.wrong.clear()
        try:
            effects = self._nodes[node].handle(event, now_ns)
            self._asked |= {(node, e.token): e.cluster for e in effects if isinstance(e, events.ReadLedger)}
            done = [(happened.digest(e), happened.words(e)) for e in effects]
            self._detail = [_detail(e) for e in effects]
        except Exception as error:  # then it was raised then too, or this is the difference
            done, self._detail = [happened.raised(error)], [""]
        if key.made and not key.wrong:
            key.wrong.append("does not sign what was signed then")
        return done, list(key.wrong)

    def _read_again(self, node: int, seen: LedgerSeen) -> events.LedgerRead:
        """What the storage validator read then. LookupError if the ledger does not hold it any more."""
        assert self._view is not None
        last, cluster = seen.commits[-1], self._asked.get((node, seen.token))
        if cluster is None:
            raise LookupError("it was read to from the shared ledger without having asked")
        with Ledger(self._ledger, scan=True) as ledger:
            shards, width = _shards(self._view, cluster), self._view.parameters.replay_width
            restored = restore(ledger, shards, width, rounds=_up_to(ledger.rounds, last))
        if restored.commit != last:
            raise LookupError("what it read in the shared ledger is not there any more: a round that was never durable")
        state = State(restored.entities, restored.replay)
        return events.LedgerRead(seen.token, state, seen.windows, seen.last_window, seen.commits)


def _up_to(rounds: Sequence[Round], last: bytes) -> Iterator[Round]:
    """The rounds up to the one whose commit record's hash is ``last``; zeros: none."""
    if last == ZERO_HASH:
        return
    for round in rounds:
        yield round
        if round.hash == last:
            return


def _fields(said: np.ndarray, **types: type) -> dict[str, Any]:
    """A JSON object with just these keys. ValueError otherwise."""
    fields = orjson.loads(said.tobytes())
    if not isinstance(fields, dict) or set(fields) != set(types):
        raise ValueError(f"not an object with the keys {', '.join(types)}")
    for name, kind in types.items():
        if type(fields[name]) is not kind:
            raise ValueError(f"{name} is not of type {kind.__name__}")
    return fields


def _limits(fields: dict[str, Any]) -> Limits:
    usual = vars(Limits())
    if set(fields) != set(usual) or any(type(value) is not int for value in fields.values()):
        raise ValueError("limits that this BAASH does not have: read it with the one that wrote it")
    return Limits(**fields)


def _detail(effect: Effect) -> str:
    return telling.message(effect.data, effect.to[0], -1) if isinstance(effect, events.Send) and effect.to else ""
