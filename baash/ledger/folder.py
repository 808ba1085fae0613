"""The folder of a ledger: claims, published views, the names of segments, and the lock of whoever writes.

Theory (fencing; ``docs/ledger-format.md`` sections 1 and 8). A successor claims the next number by exclusive creation,
reads where its predecessor stands, and publishes a view record that holds that cut; publication is one atomic rename
and never replaces anything. A writer looks for newer claims after each flush and before each acknowledgement. So at
most one side of any split goes on, whatever the lock says: the lock is a courtesy that spares people a surprise, and
may be passed over.

Does not look into segments and does not judge signatures.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson

from baash.errors import LedgerBusy, LedgerDamaged, LedgerError
from baash.ledger.durable import (
    FileDamaged,
    check_regular,
    make_folder,
    pwrite_all,
    read_regular,
    refusal,
    refusals,
    rename_exclusively,
    write_exclusively,
)
from baash.protocol import view_record
from baash.protocol.view import View
from baash.records import COMMIT_RECORD, FORMAT_VERSION, Tag, slot_bytes

LOCK_NAME = "baash.lock"
CHECKPOINT_NAME = "checkpoint"
VIEW_BYTES_MAX = 1 << 30
CLAIM_BYTES_MAX = 1 << 16
_VIEW_NUMBER, _SEGMENT_NUMBER = "([0-9]{6}|[1-9][0-9]{6,9})", "([0-9]{4}|[1-9][0-9]{4,9})"
_CLAIM = re.compile(f"claim-{_VIEW_NUMBER}")
_VIEW = re.compile(f"view-{_VIEW_NUMBER}")
_SEGMENT = re.compile(rf"segment-{_VIEW_NUMBER}-{_SEGMENT_NUMBER}\.h5")


@dataclass(frozen=True)
class Epoch:
    """One view of the history and how far it counts."""

    view: View
    signatures: Mapping[str, bytes]
    predecessor: View | None  # the view before it in the history
    open: bool  # the newest view: nothing cuts it
    cut: bytes | None  # the slot at which its successor cut it; None: open, or nothing in it counts
    text: bytes  # the view record as it lies in its file

    @property
    def last_round(self) -> int | None:
        """The number of the last round that counts; -1: none; None: open."""
        if self.open:
            return None
        return -1 if self.cut is None else int(commit_record(self.cut)["round"])


def commit_record(slot: bytes) -> np.void:
    """The COMMIT_RECORD at the start of a slot."""
    record: np.void = np.frombuffer(slot, dtype=COMMIT_RECORD, count=1)[0]
    return record


class Folder:
    """A ledger's folder at ``path``. Methods raise LedgerError or StorageError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: str | Path) -> Folder:
        """Make the folder, or take an empty one."""
        folder = cls(path)
        with refusals("create the ledger", path):
            make_folder(folder.path)
            if folder._numbers(_VIEW) or folder._numbers(_CLAIM):
                raise LedgerError(f"{path} holds a ledger already; use it, or choose another folder")
        return folder

    def view_path(self, view: int) -> Path:
        return self.path / f"view-{view:06d}"

    def segment_path(self, view: int, segment: int) -> Path:
        return self.path / f"segment-{view:06d}-{segment:04d}.h5"

    # --- claims

    def claim_next(self, info: Mapping[str, Any]) -> int:
        """Claim the number after all claims and views; ``info`` (user, host, job, pid, time) is for people."""
        text = orjson.dumps(dict(info), option=orjson.OPT_INDENT_2) + b"\n"
        while True:
            number = max([-1, *self._numbers(_CLAIM), *self._numbers(_VIEW)]) + 1
            path = self.path / f"claim-{number:06d}"
            try:
                write_exclusively(path, text)
            except FileExistsError:
                continue
            except OSError as error:
                raise refusal("claim", path, error) from error
            return number

    def newest_claim(self) -> int:
        """The highest number claimed or published; -1: none. A writer acknowledges only if it is its own."""
        return max([-1, *self._numbers(_CLAIM), *self._numbers(_VIEW)])

    def claims(self) -> list[int]:
        """Numbers of all claims, ascending."""
        return self._numbers(_CLAIM)

    def claim_info(self, number: int) -> dict[str, Any]:
        """What its claimer said of itself; nothing, if that cannot be read."""
        try:
            found = orjson.loads(read_regular(self.path / f"claim-{number:06d}", CLAIM_BYTES_MAX))
        except (OSError, FileDamaged, orjson.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    # --- views

    def publish(self, view: View, signatures: Mapping[str, bytes]) -> None:
        """Make a view record appear, durable and whole. LedgerError if the number is taken."""
        path = self.view_path(view.view)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with refusals("write", temporary):
            temporary.unlink(missing_ok=True)
            write_exclusively(temporary, view.encode(signatures))
        try:
            rename_exclusively(temporary, path)
        except LedgerError:
            temporary.unlink(missing_ok=True)
            raise

    def views(self) -> list[int]:
        """Numbers of all published views, ascending."""
        return self._numbers(_VIEW)

    def read_view(self, number: int) -> tuple[View, dict[str, bytes], bytes]:
        """(view, signatures, text) of a published view; LedgerDamaged if it is missing or is none."""
        path = self.view_path(number)
        try:
            text = read_regular(path, VIEW_BYTES_MAX)
        except FileNotFoundError:
            raise FileDamaged(path, "it is missing, and a later view follows it") from None
        except OSError as error:
            raise refusal("read", path, error) from error
        try:
            view, signatures = view_record.decode(text)
        except LedgerDamaged as error:
            raise FileDamaged(path, str(error)) from error
        if view.view != number:
            raise FileDamaged(path, f"it holds the record of view {view.view}")
        return view, signatures, text

    def history(self, since: int | None = None) -> list[Epoch]:
        """The views that count, oldest first: back from the highest published one through its predecessors.

        ``since``: only from this view on (the first then comes without its predecessor); none, if it is not among them.
        """
        numbers = self.views()
        epochs: list[Epoch] = []
        number: int | None = numbers[-1] if numbers else None
        cut: bytes | None = None
        successor: View | None = None
        while number is not None and (since is None or number >= since):
            view, signatures, text = self.read_view(number)
            if successor is not None:
                _check_cut(self.view_path(successor.view), successor, view, cut)
            before = view.predecessor
            epochs.append(Epoch(view, signatures, None, successor is None, cut, text))
            if before is not None and not 0 <= before.view < number:
                raise FileDamaged(self.view_path(number), f"it names view {before.view} as the one before it")
            number, cut = (before.view, before.commit) if before else (None, None)
            successor = view
        epochs.reverse()
        if since is not None and (not epochs or epochs[0].view.view != since):
            return []
        linked = [e.view for e in epochs]
        return [
            Epoch(e.view, e.signatures, linked[i - 1] if i else None, e.open, e.cut, e.text)
            for i, e in enumerate(epochs)
        ]

    def segments(self, view: int) -> list[int]:
        """Numbers of the segment files of a view, ascending."""
        return sorted(segment for v, segment in self.segment_names() if v == view)

    def segment_names(self) -> list[tuple[int, int]]:
        """(view, segment) of every segment file, ascending."""
        matches = (_SEGMENT.fullmatch(name) for name in self._names())
        return sorted((int(m[1]), int(m[2])) for m in matches if m)

    def irregular(self) -> list[FileDamaged]:
        """What has the name of a ledger's file and is none: a link, a folder, a pipe…"""
        found = []
        for name in sorted(self._names()):
            if name in (LOCK_NAME, CHECKPOINT_NAME) or any(p.fullmatch(name) for p in (_CLAIM, _VIEW, _SEGMENT)):
                try:
                    check_regular(self.path / name, os.lstat(self.path / name).st_mode)
                except FileDamaged as error:
                    found.append(error)
                except OSError:  # gone since
                    continue
        return found

    # --- the writer's lock

    def lock(self, take_over: bool | None = None, info: Mapping[str, Any] | None = None) -> WriterLock:
        """Become the writer. LedgerBusy, naming who writes, unless ``take_over``: then go on without the lock. None: the
        caller has no way to take over."""
        path = self.path / LOCK_NAME
        with refusals("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            if not take_over:
                otherwise = "" if take_over is None else ", or pass --take-over to fence it off"
                raise LedgerBusy(f"{self.path} is being written by {holder}; wait until it ends{otherwise}") from None
            return WriterLock(None, f"taken over from {holder}, which the next claim fences off")
        except OSError as error:
            os.close(descriptor)
            return WriterLock(
                None, f"this file system has no flock ({error.strerror}); claims alone keep writers apart"
            )
        with refusals("lock", path):
            os.ftruncate(descriptor, 0)
            pwrite_all(descriptor, orjson.dumps(dict(info or {})) + b"\n", 0)
        return WriterLock(descriptor, None)

    def join_lock(self) -> WriterLock:
        """Share the lock of the run this process is part of, so that it outlives the rank that took it."""
        path = self.path / LOCK_NAME
        with refusals("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            return WriterLock(None, f"the lock could not be shared ({error.strerror}); claims keep writers apart")
        return WriterLock(descriptor, None)

    def lock_holder(self) -> str | None:
        """Who holds the writer's lock; None: nobody, or nobody can say."""
        try:
            descriptor = os.open(self.path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return None

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.path)
        except OSError as error:
            raise refusal("list", self.path, error) from error

    def _numbers(self, pattern: re.Pattern[str]) -> list[int]:
        return sorted(int(m[1]) for m in map(pattern.fullmatch, self._names()) if m)


class WriterLock:
    """A held writer's lock; given up by ``release``, at the end of a ``with``, or by the end of the process.

    ``note`` says why it is not held, if it is not.
    """

    def __init__(self, descriptor: int | None, note: str | None) -> None:
        self._descriptor = descriptor
        self.note = note

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def share(self) -> None:
        """Let the other ranks of this run hold it too; a new writer is refused as long as one of them does."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> WriterLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _holder(descriptor: int) -> str:
    try:
        fields = orjson.loads(os.pread(descriptor, 4096, 0))
        known = [f"{name} {fields[name]}" for name in ("user", "host", "pid", "job") if fields.get(name) is not None]
        return ", ".join(known) or "an unnamed process"
    except (OSError, orjson.JSONDecodeError, AttributeError, TypeError):
        return "an unnamed process"


def _check_cut(path: Path, successor: View, view: View, cut: bytes | None) -> None:
    if successor.ledger != view.ledger:
        raise FileDamaged(path, f"it is of another ledger than view {view.view}")
    if cut is None:
        return
    if len(cut) != slot_bytes(len(view.coordinators)):
        raise FileDamaged(path, f"it holds a cut of {len(cut)} bytes, which is not a slot of view {view.view}")
    record = commit_record(cut)
    head = (int(record["zero"]), int(record["tag"]), int(record["version"]))
    if head != (0, Tag.COMMIT_RECORD, FORMAT_VERSION) or int(record["view"]) != view.view:
        raise FileDamaged(path, f"it holds a cut that is not a commit record of view {view.view}")
