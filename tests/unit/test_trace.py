"""A trace's file, events and effects as bytes, and the recorder that must never harm a run."""

from __future__ import annotations

import contextlib
import hashlib
import resource
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ledgers import batch_of, key_of, record
from worlds import World

from baash import packing
from baash.errors import InputError
from baash.keys import Context
from baash.protocol import events
from baash.protocol.events import Effect, Event
from baash.protocol.flights import Limits
from baash.protocol.plan import Capacity
from baash.records import Operation
from baash.trace import frames, happened
from baash.trace.frames import FRAME_BYTES, HEAD, File, Frame
from baash.trace.happened import Happened
from baash.trace.recorder import TRACE_BYTES, Recorder

BATCH = batch_of([record(Operation.NOTE, f"e{i}", i) for i in range(3)])
EVENTS: list[Event] = [
    events.MessageReceived(np.arange(13, dtype=np.uint8)),
    events.BatchOffered(BATCH, np.array([0, 1, 0x103], dtype=np.uint16)),
    events.InputEnded(),
    events.DrainRequested(),
    events.Persisted(7),
    events.PersistFailed(8, "no space \udce9", fenced=True),
    events.NodesLost(frozenset((9, 2, 70_000))),
    events.TickElapsed(),
]


@dataclass
class Node:
    """What a recorder needs of a node: it does what it is told to."""

    do: Callable[[Event, int], list[Effect]]

    def handle(self, event: Event, now_ns: int) -> list[Effect]:
        return self.do(event, now_ns)


def quiet(event: Event, now_ns: int) -> list[Effect]:
    return []


def recorder(folder: Path, notes: list[str], most_bytes: int = TRACE_BYTES, own_thread: bool = False) -> Recorder:
    made = Recorder(folder, 3, folder / "ledger", notes.append, most_bytes=most_bytes, own_thread=own_thread)
    made.begin(World().view, Limits(), 1 << 20)
    return made


def written(path: Path) -> list[frames.Read]:
    return list(File(path).frames())


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    number, arrays = happened.packed(event)
    again = happened.unpacked(number, packing.unpack(packing.pack(arrays)))
    assert type(again) is type(event)
    assert happened.digest(again) == happened.digest(event)


def test_every_kind_of_event_is_tested_here() -> None:
    assert {type(e) for e in EVENTS} | {events.LedgerRead} == set(events.Event.__args__)
    assert {happened.packed(e)[0] for e in EVENTS} | {Happened.LEDGER_READ, Happened.MESSAGE_AGAIN} == set(Happened)


def test_of_a_read_ledger_the_state_stays_in_the_ledger() -> None:
    read = events.LedgerRead(5, World().coordinators[0].state, 2, b"w" * 32, (bytes(32), b"c" * 32))
    number, arrays = happened.packed(read)
    seen = happened.unpacked(number, packing.unpack(packing.pack(arrays)))
    assert isinstance(seen, happened.LedgerSeen)
    assert (seen.token, seen.windows, seen.last_window, seen.commits) == (5, 2, b"w" * 32, (bytes(32), b"c" * 32))


def test_effects_that_differ_in_anything_have_other_digests() -> None:
    data = np.arange(64, dtype=np.uint8)
    other = data.copy()
    other[63] ^= 1
    write = events.Write(0, "records", 8, data)
    none = np.zeros(0, dtype=np.int64)
    different: list[Effect] = [
        events.Send((1, 2), data),
        events.Send((2, 1), data),
        events.Send((1,), data),
        events.Send((1, 2), other),
        events.Send((1, 2), data[:63]),
        events.Persist(1, 0, (write,)),
        events.Persist(2, 0, (write,)),
        events.Persist(1, 0, (write,), commits=True),
        events.Persist(1, 0, (write,), creates=Capacity(1, 2, 3, 4, 5)),
        events.Persist(1, 0, (write,), (events.Stop(),)),
        events.Persist(1, 0, (events.Write(0, "records", 16, data),)),
        events.Persist(1, 0, (events.Write(0, "records", 8, other),)),
        events.Reply(((BATCH, 4),), none, none, 1, 1),
        events.Reply(((BATCH, 5),), none, none, 1, 1),
        events.Reply(((BATCH.cut(0, 2), 4),), none, none, 1, 1),
        events.Report("a", "bc"),
        events.Report("ab", "c"),
        events.Report("a", "bc", {"n": 1}),
        events.Fail("a", "bc"),
        events.Suspect(frozenset((1, 2)), "x"),
        events.Suspect(frozenset((1,)), "x"),
        events.Stop(),
        events.Duplicates(1),
        events.ReadLedger(1, 0),
    ]
    digests = [happened.digest(e) for e in different]
    assert len(set(digests)) == len(different)
    assert {type(e) for e in different} == set(events.Effect.__args__)
    assert digests[0] == happened.digest(events.Send((1, 2), data.copy()))
    assert all(happened.words(e) for e in different)


def test_the_digest_of_an_effect_as_the_page_says() -> None:
    """docs/trace.md, the canonical encoding, by hand."""

    def number(n: int) -> bytes:
        return b"i" + n.to_bytes(16, "little", signed=True)

    data = np.arange(3, dtype=np.uint8)
    encoded = b"dSend\0" + b"t" + (2).to_bytes(8, "little") + number(1) + number(2) + b"b" + (3).to_bytes(8, "little")
    assert happened.digest(events.Send((1, 2), data)) == hashlib.sha256(encoded + bytes(data)).digest()
    encoded = b"dReport\0" + b"b" + (1).to_bytes(8, "little") + b"a" + b"b" + (2).to_bytes(8, "little") + b"bc"
    assert happened.digest(events.Report("a", "bc", {})) == hashlib.sha256(encoded + b"t" + bytes(8)).digest()


def test_the_file_as_the_page_says(tmp_path: Path) -> None:
    """docs/trace.md, read without ``frames.py``."""
    made = recorder(tmp_path, [])
    made.handle(Node(quiet), 2, events.Persisted(6), 1234)
    made.close()
    assert made.path == tmp_path / f"trace-{World().view.view:06d}-000003"
    raw = made.path.read_bytes()
    assert raw[:16] == b"baash trace\0" + (1).to_bytes(4, "little") and len(raw) == made.size
    at, kinds = 16, []
    while at < len(raw):
        head = raw[at : at + 32]
        size = int.from_bytes(head[16:24], "little")
        body = raw[at + 32 : at + 32 + size]
        assert int.from_bytes(head[24:28], "little") == zlib.crc32(body)
        assert int.from_bytes(head[28:32], "little") == zlib.crc32(head[:28])
        kinds.append((head[0], head[1], int.from_bytes(head[4:8], "little"), int.from_bytes(head[8:16], "little")))
        at += 32 + size
    assert kinds == [(1, 0, 0, 0), (2, 0, 0, 0), (3, 6, 2, 1234), (4, 0, 0, 0)]
    assert [len(a) for a in written(made.path)[2].arrays] == [0, 0, 0, 8]


def test_no_key_is_in_a_trace(tmp_path: Path) -> None:
    key = key_of("a node")
    made = Recorder(tmp_path, 0, tmp_path, lambda text: None)
    logged = made.keys({key.public: key})[key.public]
    made.begin(World().view, Limits(), 0)

    def sign(event: Event, now_ns: int) -> list[Effect]:
        return [events.Send((1,), np.frombuffer(logged.sign(Context.VOTE, b"object"), dtype=np.uint8))]

    made.handle(Node(sign), 0, events.TickElapsed(), 5)
    made.handle(Node(quiet), 0, events.TickElapsed(), 6)
    made.close()
    assert made.path is not None
    raw = made.path.read_bytes()
    assert key.seed not in raw and key._secret not in raw and key.seed.hex().encode() not in raw
    assert key.seed not in repr(logged).encode() and key.seed.hex() not in repr(logged)
    first, second = (f.arrays[0].view(happened.SIGNED) for f in written(made.path) if f.kind is Frame.EVENT)
    assert len(first) == 1 and not len(second)
    assert first["context"][0] == b"VOTE" and first["digest"][0].tobytes() == hashlib.sha256(b"object").digest()
    assert first["signature"][0].tobytes() == key.sign(Context.VOTE, b"object")


def test_the_same_bytes_to_several_nodes_are_written_once(tmp_path: Path) -> None:
    made = recorder(tmp_path, [])
    size, data = made.size, np.arange(100_000, dtype=np.uint32).view(np.uint8)
    for node in range(5):
        made.handle(Node(quiet), node, events.MessageReceived(data), node)
    made.handle(Node(quiet), 0, events.MessageReceived(data.copy()), 9)
    made.close()
    assert made.path is not None
    assert 2 * data.nbytes < made.size - size < 2 * data.nbytes + 2000
    kinds = [f.event for f in written(made.path) if f.kind is Frame.EVENT]
    assert kinds == [Happened.MESSAGE, *[Happened.MESSAGE_AGAIN] * 4, Happened.MESSAGE]


def test_what_a_node_raises_is_written_and_raised(tmp_path: Path) -> None:
    def fail(event: Event, now_ns: int) -> list[Effect]:
        raise ZeroDivisionError("of all\nthings")

    made = recorder(tmp_path, [])
    with pytest.raises(ZeroDivisionError):
        made.handle(Node(fail), 1, events.TickElapsed(), 1)
    made.close("it broke")
    assert made.path is not None
    found = written(made.path)
    assert found[2].arrays[1].tobytes() == b"raises ZeroDivisionError: of all\\nthings"
    assert b"it broke" in found[3].arrays[0].tobytes()


def test_a_killed_rank_leaves_all_but_its_last_moment(tmp_path: Path) -> None:
    made = recorder(tmp_path, [])
    for i in range(100):
        made.handle(Node(quiet), 0, events.TickElapsed(), 1_000_000_000 + i * 20_000_000)
    made.lose()
    assert made.path is not None
    times = [f.time_ns for f in written(made.path) if f.kind is Frame.EVENT]
    assert 95 <= len(times) < 100 and times == [1_000_000_000 + i * 20_000_000 for i in range(len(times))]


@pytest.mark.parametrize("own_thread", [True, False], ids=["thread", "loop"])
@pytest.mark.parametrize("full", [True, False], ids=["disk", "limit"])
def test_no_room_ends_the_trace_and_not_the_run(tmp_path: Path, full: bool, own_thread: bool) -> None:
    notes: list[str] = []
    done = []

    def count(event: Event, now_ns: int) -> list[Effect]:
        done.append(now_ns)
        return []

    size = 300_000
    made = recorder(tmp_path, notes, TRACE_BYTES if full else size, own_thread)
    with largest_file(size) if full else contextlib.nullcontext():
        for i in range(50):
            data = np.full(10_000 + i, i, dtype=np.uint8)
            made.handle(Node(count), 0, events.MessageReceived(data), i * 200_000_000)
        made.close()
    assert done == [i * 200_000_000 for i in range(50)]
    assert len(notes) == 1 and "the run goes on without it" in notes[0], notes
    assert made.path is not None and made.path.stat().st_size <= size
    file = File(made.path)
    found = [f for f in file.frames() if f.kind is Frame.EVENT]
    assert file.torn_at is None, "not even a full disk leaves a frame in part"
    assert (
        (own_thread or len(found) > 20)
        and len(found) < 30
        and all((f.arrays[3] == i).all() for i, f in enumerate(found))
    )


def test_a_thread_of_its_own_writes_the_same(tmp_path: Path) -> None:
    for own_thread in (False, True):
        made = recorder(tmp_path / str(own_thread), [], own_thread=own_thread)
        for i in range(3000):
            event = events.MessageReceived(np.full(i % 7 * 1000, i % 251, dtype=np.uint8))
            made.handle(Node(quiet), i % 5, event, i * 7_000_000)
        made.close()
    first, second = (written(next((tmp_path / str(t)).iterdir())) for t in (False, True))
    assert [(f.kind, f.node, f.time_ns) for f in first] == [(f.kind, f.node, f.time_ns) for f in second]
    assert [[a.tobytes() for a in f.arrays] for f in first[1:]] == [[a.tobytes() for a in f.arrays] for f in second[1:]]


def test_a_trace_that_is_there_is_never_written_to(tmp_path: Path) -> None:
    first = recorder(tmp_path, [])
    first.close()
    assert first.path is not None
    before, notes = first.path.read_bytes(), list[str]()
    second = recorder(tmp_path, notes)
    second.handle(Node(quiet), 0, events.TickElapsed(), 5)
    second.close()
    assert first.path.read_bytes() == before and len(notes) == 1 and "File exists" in notes[0]


def test_a_folder_that_cannot_be_made_is_noted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    made = recorder(tmp_path / "file", notes)
    assert made.handle(Node(quiet), 0, events.TickElapsed(), 5) == []
    made.close()
    assert len(notes) == 1


@pytest.fixture
def small(tmp_path: Path) -> Path:
    made = recorder(tmp_path, [])
    for i, event in enumerate(EVENTS):
        made.handle(Node(quiet), i, event, i)
    made.close()
    assert made.path is not None
    return made.path


def test_a_file_cut_anywhere_reads_up_to_there(small: Path) -> None:
    raw = small.read_bytes()
    begins = [
        0,
        *(f.at for f in written(small)),
        len(raw),
    ]  # of the file's head, of each frame, and where one more would
    for size in range(len(raw)):
        small.write_bytes(raw[:size])
        file = File(small)
        whole = sum(begin <= size for begin in begins) - 1  # the head is one
        assert len(list(file.frames())) == max(0, whole - 1)
        assert file.torn_at == (None if size in begins[1:] else begins[whole])


def test_a_flipped_bit_anywhere_is_named(small: Path) -> None:
    raw = small.read_bytes()
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << (at % 8)
        small.write_bytes(flipped)
        with pytest.raises(InputError, match=r"damaged at byte|is not a trace|of version"):
            written(small)


def test_what_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace-000000-000000"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="is not a trace"):
        File(path)
    path.write_bytes(HEAD.pack(frames.MAGIC, 2) + bytes(100))
    with pytest.raises(InputError, match="version 2"):
        File(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        File(path)
    (tmp_path / "zeros").write_bytes(frames.head() + bytes(FRAME_BYTES))
    with pytest.raises(InputError, match="damaged at byte 16"):
        written(tmp_path / "zeros")


@pytest.mark.parametrize(
    "raw", [b"", bytes(7), (1 << 60).to_bytes(8, "little"), b"\1" + bytes(7) + (1 << 63).to_bytes(8, "little")]
)
def test_what_is_no_packing(raw: bytes) -> None:
    with pytest.raises(ValueError, match="packing"):
        packing.unpack(np.frombuffer(raw, dtype=np.uint8))
