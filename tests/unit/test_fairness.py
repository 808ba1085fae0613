"""Fairness between issuers, and back-pressure: what is promised in ``docs/protocol.md``, each in a small world."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import batch_of, key_of, record
from worlds import World, encode

from baash.batch import Batch
from baash.intake import SKIPPED_BYTES, TURNS, Intake, in_turn
from baash.local import LocalTransport
from baash.protocol.coordinator import Coordinator
from baash.protocol.events import BatchOffered, MessageReceived, Persist
from baash.protocol.flights import Limits
from baash.protocol.validator import Validator
from baash.records import Operation, Reason
from baash.service import Service
from baash.sim.fairness import Watch
from baash.sources import Chunk
from baash.store import Done

# -- between sources ------------------------------------------------------------------------------------------------


class Sizes:
    """A source of chunks of given sizes in bytes; negative: so many malformed lines. Notes who is open."""

    total = None

    def __init__(self, name: str, sizes: list[int], opened: set[str]) -> None:
        self.name, self.sizes, self.opened = name, sizes, opened

    def chunks(self, size: int) -> Iterator[Chunk]:
        self.opened.add(self.name)
        for number, nbytes in enumerate(self.sizes):
            skipped = ("",) * max(0, -nbytes)
            yield Chunk(np.full(max(0, nbytes), number % 256, dtype=np.uint8), max(0, nbytes), None, skipped)
        self.opened.remove(self.name)


def weigh(chunk: Chunk) -> int:
    return chunk.records.nbytes + SKIPPED_BYTES * len(chunk.skipped)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 900).filter(bool), max_size=12), max_size=6), st.integers(1, 6))
def test_sources_take_turns_by_bytes(all_sizes: list[list[int]], turns: int) -> None:
    opened: set[str] = set()
    sources = [Sizes(str(i), sizes, opened) for i, sizes in enumerate(all_sizes)]
    given_by: dict[str, list[int]] = {s.name: [] for s in sources}
    most = max((SKIPPED_BYTES * -n if n < 0 else n for sizes in all_sizes for n in sizes), default=0)
    joined: dict[str, dict[str, int]] = {}
    for source, chunk in in_turn(sources, 100, turns):
        assert len(opened) <= turns
        assert isinstance(source, Sizes)
        given_by[source.name].append(-len(chunk.skipped) or chunk.count)
        now = {n: sum(SKIPPED_BYTES * -x if x < 0 else x for x in got) for n, got in given_by.items()}
        for name in opened:
            joined.setdefault(name, dict(now) | {name: now[name] - (weigh(chunk) if name == source.name else 0)})
        busy = [n for n in opened if len(given_by[n]) < len(all_sizes[int(n)])]
        for one in busy:
            for other in busy:
                since = max(joined[one], joined[other], key=lambda at: sum(at.values()))
                ahead = (now[one] - since[one]) - (now[other] - since[other])
                assert ahead <= 2 * most, "two that both have more to give stay together"
    assert [given_by[s.name] for s in sources] == all_sizes, "each in its own order, nothing lost"


def test_a_short_source_does_not_wait_for_a_long_one() -> None:
    opened: set[str] = set()
    long, short = Sizes("long", [500] * 1000, opened), Sizes("short", [300] * 3, opened)
    names = [source.name for source, _ in in_turn([long, short], 4096, TURNS)]
    assert names[:6].count("short") == 3 and len(names) == 1003
    in_order = [source.name for source, _ in in_turn([long, short], 4096, 1)]
    assert in_order == ["long"] * 1000 + ["short"] * 3


def test_a_source_of_malformed_lines_alone_is_not_always_next() -> None:
    opened: set[str] = set()
    bad, good = Sizes("bad", [-10] * 50, opened), Sizes("good", [640] * 5, opened)
    names = [source.name for source, _ in in_turn([bad, good], 4096, TURNS)]
    assert names[:10].count("good") == 5


def test_many_sources_are_not_open_at_once() -> None:
    opened: set[str] = set()
    sources = [Sizes(str(i), [10, 10], opened) for i in range(200)]
    most = 0
    for _ in in_turn(sources, 4096, TURNS):
        most = max(most, len(opened))
    assert most == TURNS


# -- in a queue -----------------------------------------------------------------------------------------------------

SMALL = Limits(window_transactions=8, windows_in_flight=2, queue_transactions=64)


class Fed(World):
    """A world of one cluster that looks at every window; ``arrived``: when each transaction was offered."""

    def __init__(self, limits: Limits = SMALL, **more: int) -> None:
        super().__init__(limits=limits, **more)
        self.arrived: dict[bytes, int] = {}
        self.unfair: list[str] = []
        self.watch = Watch(self.coordinators[0])

    def feed(self, batch: Batch) -> None:
        self.now += 1
        self.arrived |= {i.tobytes(): self.now for i in batch.ids}
        self.offer(batch)
        self.step(*self.queue.pop())  # now, not behind the messages that are on their way
        self.unfair += self.watch.formed()

    def turn(self, events: int = 1) -> None:
        for _ in range(events):
            if self.queue:
                self.step(*self.queue.popleft())
                self.unfair += self.watch.formed()

    def rest(self) -> None:
        self.end()
        while self.queue:
            self.turn()
        assert self.failed is None and not self.unfair


def test_a_flood_on_one_entity_does_not_hold_up_what_came_before_it() -> None:
    """All that waited for the hot entity used to go to the front of the queue at each commit: the others starved."""
    world = Fed()
    world.feed(encode(Operation.CREATE, ["hot"]))
    quiet = encode(Operation.CREATE, [f"quiet{i}" for i in range(40)], source="quiet")
    world.feed(quiet)
    fed = 1
    while fed < 400:
        if world.coordinators[0].wants_input:
            world.feed(encode([Operation.UPDATE] * 8, ["hot"] * 8, first=fed))
            fed += 8
        world.turn(5)
    world.rest()
    order = world.committed_ids()
    last = max(order.index(i.tobytes()) for i in quiet.ids)
    since = world.arrived[quiet.ids[0].tobytes()]
    assert not [i for i in order[:last] if world.arrived[i] > since], "nothing that came later went first"
    assert len(order) == 40 + fed


def test_what_waits_for_a_lock_is_overtaken_by_what_is_in_flight_with_it_alone() -> None:
    world = Fed()
    world.feed(encode(Operation.CREATE, ["hot"]))
    world.feed(encode(Operation.UPDATE, ["hot"], first=1))
    waited, number = encode(Operation.UPDATE, ["hot"], first=1).ids[0].tobytes(), 0
    while waited not in world.committed_ids():
        if world.coordinators[0].wants_input:
            world.feed(encode(Operation.CREATE, [f"e{number + i}" for i in range(8)], first=number, source="many"))
            number += 8
        world.turn(3)
    order = world.committed_ids()
    assert order.index(waited) <= (2 * SMALL.windows_in_flight - 1) * SMALL.window_transactions + 1
    world.rest()
    assert len(world.committed_ids()) == number + 2, "nothing is dropped"


def test_an_issuer_that_floods_does_not_keep_another_out() -> None:
    """Signed transactions of one issuer, many of them in conflict, a few of another's among them."""
    world = Fed()
    flood, other = key_of("flood"), key_of("other")
    offered = 0
    for number in range(0, 200, 10):
        while not world.coordinators[0].wants_input:
            world.turn()
        rows = [
            record(Operation.UPDATE if n else Operation.CREATE, "hot", n, key=flood) for n in range(number, number + 10)
        ]
        world.feed(batch_of([*rows, record(Operation.CREATE, f"mine{number}", number, key=other)]))
        offered += 11
        world.turn(4)
    world.rest()
    place = {i: n for n, i in enumerate(world.committed_ids())}
    assert len(place) == offered
    room = SMALL.queue_transactions + 11 + 2 * SMALL.windows_in_flight * SMALL.window_transactions
    at = [
        place[record_id]
        for record_id in map(
            bytes, batch_of([record(Operation.CREATE, f"mine{n}", n, key=other) for n in range(0, 200, 10)]).ids
        )
    ]
    assert all(b > a for a, b in pairwise(at))
    assert all(p <= 11 * (k + 1) + room for k, p in enumerate(at))


def test_what_a_lost_window_gives_back_returns_to_its_place() -> None:
    """Its later part does not go before what waited for it and came earlier than that."""
    coordinator = World(limits=SMALL).coordinators[0]
    queues = coordinator.queues

    def offer(batch: Batch, now: int) -> None:
        queues.offer(BatchOffered(batch, np.zeros(len(batch), dtype=np.uint16)), now, ())

    offer(encode(Operation.CREATE, ["a"]), 1)
    first = queues.take(8, 1 << 20)
    queues.lock(first.batch)
    offer(encode(Operation.UPDATE, ["a"], first=1), 2)  # waits
    offer(encode(Operation.CREATE, ["b", "c"], first=2), 3)
    second = queues.take(8, 1 << 20)
    queues.lock(second.batch)
    offer(encode(Operation.CREATE, ["d"], first=4), 4)
    queues.unlock(second.batch, second)
    assert [int(s) for lot in queues.queue for s in lot.batch.info["sequence"]] == [2, 3, 4]
    queues.unlock(first.batch, first)
    assert [int(s) for lot in queues.queue for s in lot.batch.info["sequence"]] == [0, 1, 2, 3, 4]
    assert not queues.pending


# -- back-pressure --------------------------------------------------------------------------------------------------


def test_rejections_that_wait_for_a_round_slow_the_source() -> None:
    """They are in no queue, and the source used to be read on while a round hung, without limit."""
    world = World(limits=SMALL)
    coordinator = world.coordinators[0]
    hung: list[Persist] = []
    world._persist = lambda node, persist: hung.append(persist)  # type: ignore[method-assign]
    offered = 0
    while coordinator.wants_input and offered < 10_000:
        world.offer(encode(Operation.UPDATE, [f"nobody{offered + i}" for i in range(8)], first=offered))
        offered += 8
        while world.queue:
            world.step(*world.queue.popleft())
    assert hung, "a round is under way"
    assert SMALL.queue_transactions <= offered <= SMALL.queue_transactions + 8
    del world._persist
    for persist in hung:
        world._persist(coordinator.node, persist)
    while world.queue:
        world.step(*world.queue.popleft())
    assert coordinator.wants_input, "it goes on when they are committed"
    world.end()
    world.run()
    assert world.reasons() == [Reason.ENTITY_UNKNOWN] * offered


def test_issuers_are_told_apart_when_one_is_far_ahead() -> None:
    """Another issuer's high numbers stop nobody; one's own do, half the width of the replays' memory ahead."""
    world = World(limits=Limits(), replay_width=1024)
    world.tamper = lambda sender, to, data: None  # no window comes back
    coordinator = world.coordinators[0]

    def offer(batch: Batch) -> None:
        world.offer(batch)
        world.step(*world.queue.popleft())

    offer(encode(Operation.CREATE, ["a"], first=5))
    offer(encode(Operation.CREATE, ["b"], first=1_000_000, source="another"))
    assert coordinator.wants_input
    offer(encode(Operation.CREATE, ["c"], first=5 + 512))
    assert coordinator.wants_input
    offer(encode(Operation.CREATE, ["d"], first=5 + 513))
    assert not coordinator.wants_input


class Names:
    """A source of CREATEs, eight a chunk; ``given`` is how many chunks were asked for."""

    total = None
    name = "names"

    def __init__(self, entities: list[str]) -> None:
        self.entities, self.given = entities, 0

    def chunks(self, size: int) -> Iterator[Chunk]:
        for first in range(0, len(self.entities), 8):
            self.given += 1
            batch = encode(Operation.CREATE, self.entities[first : first + 8], first=first)
            yield Chunk(batch.records, len(batch))


class Instant:
    """A store that has always just written."""

    pending = 0

    def __init__(self) -> None:
        self.done: list[Done] = []

    def submit(self, node: int, persist: Persist) -> None:
        self.done.append(Done(node, persist))

    def finished(self) -> list[Done]:
        done, self.done = self.done, []
        return done


@pytest.mark.parametrize("ranks", [2, 1])
def test_a_stuck_cluster_and_the_intake_of_the_others(ranks: int) -> None:
    """Led in another rank, a cluster does not notice. In the same rank the source stops when the stuck one is full."""
    world = World(nodes=10, clusters=2, ranks=1, limits=SMALL)
    names = [f"e{i}" for i in range(600)]
    stuck = [n for n, a in world.nodes.items() if isinstance(a, Validator) and a.cluster in (0, None)]
    held: list[tuple[int, MessageReceived]] = []

    class Deaf:
        """A validator that hears nothing, as long as it is stuck."""

        def __init__(self, node: int) -> None:
            self.node = node

        def handle(self, event: object, now_ns: int) -> list[object]:
            if not released and isinstance(event, MessageReceived):
                held.append((self.node, event))
                return []
            return list(world.nodes[self.node].handle(event, now_ns))  # type: ignore[arg-type]

    released: list[bool] = []
    nodes = {n: Deaf(n) if n in stuck else a for n, a in world.nodes.items()}
    source, learned = Names(names), {0: 0, 1: 0}
    led = [0, 1] if ranks == 1 else [1]

    def learn(cluster: int, reply: object) -> None:
        learned[cluster] += sum(len(b) for b, _ in reply.committed)  # type: ignore[attr-defined]

    service = Service(
        LocalTransport(),  # type: ignore[arg-type]
        world.view,
        nodes,  # type: ignore[arg-type]
        store=Instant(),
        intake=Intake(world.view, led, [source]),
        learned=learn,
        clock=lambda: 1,
    )
    if ranks == 2:  # its intake is another rank's: here it has what it was full with
        service._coordinators.pop(0)
    while service.step():
        coordinators = [a for a in world.nodes.values() if isinstance(a, Coordinator)]
        assert all(sum((c.queues.queued[0], c.queues.waiting[0], c.queues.refused)) < 64 + 8 for c in coordinators)
    owner = world.view.clusters_of(encode(Operation.CREATE, names).short_hashes)
    if ranks == 2:
        assert learned[1] == int((owner == 1).sum()), "all of it"
        return
    taken = owner[: 8 * source.given]
    flying = SMALL.windows_in_flight * SMALL.window_transactions
    assert SMALL.queue_transactions <= int((taken == 0).sum()) <= SMALL.queue_transactions + flying + 8
    assert learned == {0: 0, 1: int((taken == 1).sum())}, "what was read is committed, and no more is read"
    released.append(True)
    for node, event in held:
        service._ready.append((node, event))
    for _ in range(10_000):
        service.step()
        if sum(learned.values()) == 600:
            break
    assert learned == {0: int((owner == 0).sum()), 1: int((owner == 1).sum())}, "nothing is dropped"


def test_the_watch_sees_a_queue_that_lets_the_flood_go_first() -> None:
    world = Fed()
    queues = world.coordinators[0].queues
    sound = queues.unlock

    def unlock(batch: Batch, put_back: object) -> None:
        newer = list(queues.queue)
        queues.queue.clear()
        sound(batch, put_back)  # type: ignore[arg-type]
        queues.queue.extend(newer)

    queues.unlock = unlock  # type: ignore[method-assign, assignment]
    world.feed(encode(Operation.CREATE, ["hot"]))
    world.feed(encode(Operation.CREATE, [f"quiet{i}" for i in range(40)], source="quiet"))
    world.feed(encode([Operation.UPDATE] * 8, ["hot"] * 8, first=1))
    world.end()
    while world.queue:
        world.turn()
    assert any("could go and stayed behind" in wrong for wrong in world.unfair)
