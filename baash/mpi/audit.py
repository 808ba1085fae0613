"""The audit divided over ranks: every rank examines its rounds, keeps its share, and rank 0 makes the report.

It decides nothing about a ledger: what is examined, split and merged is ``ledger/audit``'s matter, and the report is that of an audit by
one process, to the byte. Imports no mpi4py before ``verify_all`` runs.

Theory. Round i is examined by rank i mod n. What is kept of it goes to the ranks that hold its entities and prints, the rest
to rank 0. Everybody takes the rounds in order, and acknowledges each to its examiner, who has no more than a few rounds that
are not taken by all: so memory is bounded. Nobody waits for ever: the examiner of the lowest round that somebody lacks has
nothing older outstanding, so it may go on.

What was committed when rank 0 opened the ledger is audited; the others are told how many rounds that is and the hash of the last.

A rank that cannot go on tells the others, and all end with its exit code; one that is killed is noticed by them (ULFM), or
ends the job. In no case is there a report, and the exit code is not 0.
"""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import orjson

from baash import packing
from baash.errors import BaashError, Interrupted, LedgerDamaged, LedgerError, TransportError
from baash.ledger.audit import Progress, Report, cores, draw_seeds, expected, once, parts
from baash.ledger.audit.examine import Examiner
from baash.ledger.audit.examined import Examined
from baash.ledger.audit.kept import Kept
from baash.ledger.audit.pieces import Memory
from baash.ledger.audit.share import Share, split
from baash.ledger.audit.whole import Whole
from baash.ledger.audit.without_history import look_without_history
from baash.ledger.folder import Folder
from baash.ledger.reader import Ledger
from baash.mpi import ending, world

if TYPE_CHECKING:
    from baash.mpi.transport import MpiTransport

BEGIN, PART, TAKEN, RESULT, SUSPECTS, DECIDED, OVER, FAILED = range(1, 9)
AHEAD = 3  # rounds of a rank that are examined and not taken by all, beside those its threads have in hand
LAST_WORDS_S = 3.0  # what a rank that fails may take to say so
_HEAD = np.dtype([("round", "<u8"), ("replayable", "<u8")])

Answer = Callable[[Report], int]  # shows a report; the exit code


class PeerFailed(BaashError):
    """Another rank could not go on: its words and its exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def verify_all(
    path: Path,
    ledger_id: bytes | None,
    answer: Answer,
    complain: Callable[[str], None],
    progress: Progress | None,
    debug: bool = False,
) -> NoReturn:
    """This rank's part of an audit, to the end of the process. ``answer`` and ``progress`` are called in rank 0 alone;
    ``complain`` in the rank that speaks for all when it failed."""

    def body() -> MpiTransport | None:
        with world.time_limit(world.START_S, "MPI did not start: not all ranks have met"):
            importlib.import_module("baash.mpi.library")
        transport = world.start_all(0).transport
        rank = _Rank(transport, path)
        try:
            ending.leave_with(rank.lead(ledger_id, answer, progress) if transport.rank == 0 else rank.follow())
        except BaseException as error:
            if debug:
                traceback.print_exception(error)
            rank.fail(error, complain)
        return transport

    ending.run_rank(body, debug=debug, claim=ending.has_parent())


class _Rank:
    """One rank, what it heard and has not taken yet."""

    def __init__(self, transport: MpiTransport, path: Path) -> None:
        self._path = path
        self._transport = transport
        self._rank, self._size = transport.rank, transport.size
        self._others = [r for r in range(self._size) if r != self._rank]
        self._heard: dict[int, deque[tuple[int, np.ndarray]]] = defaultdict(deque)
        self._parts: dict[int, tuple[Kept, bool, Examined | None]] = {}
        self._in_hand: deque[tuple[int, Future[Examined]]] = deque()
        self._missing: dict[int, int] = {}  # my rounds: how many ranks have not taken them
        self._begun = self._rank  # my next round to examine
        self._taken = 0

    # --- the two parts

    def lead(self, ledger_id: bytes | None, answer: Answer, progress: Progress | None) -> int:
        """Rank 0: open the ledger, take all rounds, report."""
        report = Report()
        try:
            ledger = Ledger(self._path, report=report.problem)
        except LedgerDamaged as error:
            look_without_history(Folder(self._path), error, report)
            return self._end(answer(report))
        with ledger:
            whole, seeds = Whole(ledger, ledger_id, report), draw_seeds()
            last = ledger.rounds[whole.rounds - 1].hash.hex() if whole.rounds else ""
            self._tell({"rounds": whole.rounds, "last": last, "seeds": seeds.tolist()}, BEGIN)

            def taken(examined: Examined) -> None:
                whole.take(examined)
                if progress is not None:
                    progress(report.blocks, whole.blocks)

            share = self._rounds(ledger, whole.rounds, seeds, taken)
            results = [share.finish(), *(parts.unpack_result(packing.unpack(data)) for data in self._from_all(RESULT))]

            def decide(suspects: np.ndarray) -> list[np.ndarray]:
                self._send_all(SUSPECTS, suspects)
                mine = self._decided(ledger, whole.rounds, seeds, suspects)
                rows = np.concatenate([mine, *(data.view(once.DECIDED) for data in self._from_all(DECIDED))])
                return [rows[np.argsort(rows["round"], kind="stable")]]

            whole.finish(results, decide)
        return self._end(answer(report))

    def follow(self) -> int:
        """Any other rank; the exit code that rank 0 tells."""
        while not self._heard[BEGIN]:
            self._hear()
            if self._heard[OVER]:
                return int(self._heard[OVER][0][1].view("<u8")[0])
        begin = orjson.loads(self._heard[BEGIN].popleft()[1].tobytes())
        rounds, seeds = int(begin["rounds"]), np.array(begin["seeds"], dtype=np.uint64)
        with self._same_ledger(rounds, begin["last"]) as ledger:
            share = self._rounds(ledger, rounds, seeds, None)
            self._send(0, RESULT, packing.pack(parts.pack_result(share.finish())))
            while not self._heard[OVER]:
                self._hear()
                while self._heard[SUSPECTS]:
                    suspects = self._heard[SUSPECTS].popleft()[1].view("<u8")
                    self._send(0, DECIDED, self._decided(ledger, rounds, seeds, suspects))
        return int(self._heard[OVER][0][1].view("<u8")[0])

    def _same_ledger(self, rounds: int, last: str) -> Ledger:
        """The ledger as this rank sees it, which must hold what rank 0 saw."""
        ledger = Ledger(self._path, report=lambda *_: None)
        if len(ledger.rounds) < rounds or (rounds and ledger.rounds[rounds - 1].hash.hex() != last):
            ledger.close()
            raise LedgerError(
                f"rank {self._rank} does not see the ledger at {self._path} that rank 0 sees: a view was added while the audit "
                "began, or the hosts do not share this folder; see to it that they do, and start again"
            )
        return ledger

    def _end(self, code: int) -> int:
        self._send_all(OVER, np.array([code], dtype="<u8"))
        return code

    # --- rounds

    def _rounds(
        self, ledger: Ledger, rounds: int, seeds: np.ndarray, taken: Callable[[Examined], None] | None
    ) -> Share:
        """Examine my rounds, take my share of all."""
        share, examiner, threads = Share(expected(ledger) // self._size), Examiner(ledger, seeds), _threads(self._size)
        with ThreadPoolExecutor(threads, thread_name_prefix="baash-audit") as pool:
            while self._taken < rounds:
                while self._begun < rounds and len(self._in_hand) + len(self._missing) < threads + AHEAD:
                    self._in_hand.append((self._begun, pool.submit(examiner.examine, self._begun)))
                    self._begun += self._size
                while self._in_hand and self._in_hand[0][1].done():
                    self._give(self._in_hand.popleft()[1].result())
                self._hear()
                self._note_taken()
                self._take(share, taken)
        return share

    def _give(self, examined: Examined) -> None:
        """A round of mine, to all who hold a share of it."""
        head = np.array([(examined.index, examined.replayable)], dtype=_HEAD)
        self._missing[examined.index] = self._size
        for rank, kept in enumerate(split(examined.kept, self._size)):
            if rank == self._rank:
                self._parts[examined.index] = (kept, examined.replayable, examined)
                continue
            arrays = [head, *parts.pack_kept(kept)]
            self._send(rank, PART, packing.pack(arrays + (parts.pack_examined(examined) if rank == 0 else [])))

    def _take(self, share: Share, taken: Callable[[Examined], None] | None) -> None:
        """Take what has come, in order."""
        for _, data in _drain(self._heard[PART]):
            arrays = packing.unpack(data)
            head = arrays[0].view(_HEAD)[0]
            examined = parts.unpack_examined(arrays[5:]) if self._rank == 0 else None
            self._parts[int(head["round"])] = (parts.unpack_kept(arrays[1:5]), bool(head["replayable"]), examined)
        while self._taken in self._parts:
            index = self._taken
            kept, replayable, examined = self._parts.pop(index)
            if taken is not None and examined is not None:
                taken(examined)
            share.take(index, kept, replayable)
            self._taken += 1
            if index % self._size == self._rank:
                self._count_down(index)
            else:
                self._send(index % self._size, TAKEN, np.array([index], dtype="<u8"))

    def _note_taken(self) -> None:
        for _, data in _drain(self._heard[TAKEN]):
            self._count_down(int(data.view("<u8")[0]))

    def _count_down(self, index: int) -> None:
        self._missing[index] -= 1
        if not self._missing[index]:
            del self._missing[index]

    def _decided(self, ledger: Ledger, rounds: int, seeds: np.ndarray, suspects: np.ndarray) -> np.ndarray:
        """once.DECIDED of my rounds."""
        memory, found = Memory(), [np.zeros(0, dtype=once.DECIDED)]
        for index in range(self._rank, rounds, self._size):
            found.append(once.decided(ledger.rounds[index], suspects, seeds, memory))
            self._hear(0.0)
        return np.concatenate(found)

    # --- messages

    def _send(self, rank: int, tag: int, data: np.ndarray) -> None:
        self._transport.send(rank, tag, data)

    def _send_all(self, tag: int, data: np.ndarray) -> None:
        for rank in self._others:
            self._send(rank, tag, data)

    def _tell(self, fields: dict[str, Any], tag: int) -> None:
        self._send_all(tag, np.frombuffer(orjson.dumps(fields), dtype=np.uint8))

    def _from_all(self, tag: int) -> Sequence[np.ndarray]:
        """One message of every other rank, in order of rank."""
        while len(self._heard[tag]) < len(self._others):
            self._hear()
        return [data for _, data in sorted(_drain(self._heard[tag]), key=lambda each: each[0])]

    def _hear(self, wait_s: float = 0.002) -> None:
        """Listen for a moment. PeerFailed, TransportError (somebody died), Interrupted."""
        if self._size > 1 or self._in_hand:
            self._transport.wait(wait_s, False)
        for source, tag, data in self._transport.poll():
            if tag == FAILED:
                said = orjson.loads(data.tobytes())
                raise PeerFailed(f"rank {source}: {said['error']}", said["exit_code"])
            self._heard[tag].append((source, data))
        dead = self._transport.failed()
        if dead:
            raise TransportError(
                f"rank {dead[0]} died, and with it a part of the audit: nothing is said of the ledger; start it again"
            )
        if ending.drain_requested():
            raise Interrupted("interrupted; nothing is said of the ledger")

    # --- the bad end

    def fail(self, error: BaseException, complain: Callable[[str], None]) -> NoReturn:
        """Tell the others, let the lowest living rank speak, and leave with the exit code of what went wrong."""
        code = error.exit_code if isinstance(error, BaashError) else 1
        text = str(error) if isinstance(error, BaashError) else f"{type(error).__name__}: {error}"
        try:
            if not isinstance(error, (PeerFailed, TransportError)):
                self._tell({"error": text, "exit_code": code}, FAILED)
            if min(set(range(self._size)) - self._transport.dead) == self._rank:
                ours = isinstance(error, (PeerFailed, TransportError)) or self._rank == 0
                complain(text if ours else f"rank {self._rank}: {text}")
                ending.tell_parent(code, text)
                self._tell({"error": text, "exit_code": code}, FAILED)
                self._transport.drain(LAST_WORDS_S)
            else:
                self._transport.drain(LAST_WORDS_S)
                self._await_the_last_word()
        finally:
            os._exit(code or 1)

    def _await_the_last_word(self) -> None:
        """A launcher ends everybody when one leaves in a bad way: so not before somebody has said why."""
        until = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < until:
            self._transport.wait(0.05, False)
            if any(tag == FAILED for _, tag, _ in self._transport.poll()) or self._transport.failed():
                return


def _drain(queue: deque[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    found = list(queue)
    queue.clear()
    return found


def _threads(size: int) -> int:
    """How many a rank may have, so that those of its host have as many as there are cores."""
    here = next((int(os.environ[key]) for key in ending.LOCAL_SIZE_KEYS if key in os.environ), size)
    return max(1, cores() // max(here, 1))
