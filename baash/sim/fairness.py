"""Whether a coordinator is fair: of what waits here, nothing that could go is overtaken, and nothing else for longer than the bound.

The promise is ``docs/protocol.md``'s, "Fairness". A window overtakes what was taken in before something in it and stays behind. Looked
at whenever windows were formed, by the windows in flight and the queues alone:

- what is ready (its entity is in no window in flight) is overtaken by none;
- what waits, waits for a window in flight that writes its entity, and while it does at most 2k - 1 others overtake it, k =
  ``windows_in_flight``: so many fit behind a window until it is committed.

Looks at one coordinator; between the sources of a run ``intake.py`` is fair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from baash.protocol.coordinator import Coordinator
from baash.protocol.events import Effect
from baash.protocol.flights import Flight
from baash.protocol.queues import Lot


def watched(make: Callable[..., Coordinator], honest: Callable[[Coordinator], bool], say: Callable[[str], None]) -> Any:
    """What makes coordinators, with a watch on each that is ``honest``."""

    def made(*args: Any, **more: Any) -> Coordinator:
        coordinator = make(*args, **more)
        if honest(coordinator):
            watch(coordinator, say)
        return coordinator

    return made


def watch(coordinator: Coordinator, say: Callable[[str], None]) -> None:
    """Look at a coordinator each time it has formed windows."""
    sound, look = coordinator._form_windows, Watch(coordinator)

    def form(now_ns: int) -> list[Effect]:
        out = sound(now_ns)
        for wrong in look.formed():
            say(f"node {coordinator.node} is not fair: {wrong}")
        return out

    coordinator._form_windows = form  # type: ignore[method-assign]


class Watch:
    """What waits behind locks in one coordinator: by how many windows it was overtaken, and which it waited for."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._newest = -1
        self._waits: dict[bytes, tuple[int, frozenset[int]]] = {}  # id → (overtaken, windows that wrote its entity)

    def formed(self) -> Iterator[str]:
        """What is wrong with the windows that were formed since the last look."""
        flights = self._coordinator.flights.by_number
        fresh = [f for number, f in flights.items() if number > self._newest]
        if not fresh:
            return
        self._newest = max(flights)
        queues = self._coordinator.queues
        latest = [int(f.lot.arrived_ns.max()) for f in fresh]
        oldest = min((int(lot.arrived_ns.min()) for lot in queues.queue), default=None)
        if oldest is not None and max(latest) > oldest:
            yield f"a window took what came {max(latest) - oldest} ns after something that could go and stayed behind"
        writers = _writers(flights)
        bound = 2 * self._coordinator.limits.windows_in_flight - 1
        waits: dict[bytes, tuple[int, frozenset[int]]] = {}
        for one, entity, arrived in _each(queues.pending):
            overtaken, awaited = self._waits.get(one, (0, frozenset()))
            if entity not in writers:
                yield f"transaction {one.hex()[:12]} waits, and no window in flight writes its entity"
                continue
            awaited |= {writers[entity]}
            overtaken += sum(arrived < last for last in latest)
            waits[one] = overtaken, awaited
            if overtaken > bound * len(awaited):
                yield f"transaction {one.hex()[:12]} waited for {len(awaited)} windows, {overtaken} overtook it"
        self._waits = waits


def _writers(flights: dict[int, Flight]) -> dict[bytes, int]:
    """entity hash → the window in flight that writes it"""
    return {
        row.tobytes(): number
        for number, flight in flights.items()
        for row in flight.window.batch.entities[flight.window.batch.writes]
    }


def _each(lots: Any) -> Iterator[tuple[bytes, bytes, int]]:
    """(id, entity hash, when it was taken in)"""
    lot: Lot
    for lot in lots:
        for one, entity, arrived in zip(lot.batch.ids, lot.batch.entities, lot.arrived_ns.tolist(), strict=True):
            yield one.tobytes(), entity.tobytes(), arrived
