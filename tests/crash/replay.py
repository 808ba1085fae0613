"""Going through the states that a log may have left (``states.py``), judging each (``judge.py``), and counting them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import campaign
from judge import Found, goes_on, judge, remove
from recording import Kind, Writers, acknowledged
from states import Image, Log

COMPLETE, SAMPLES = (4096, 300) if campaign.FULL else (16, 4)


@dataclass
class Recording:
    """A log, what had been acknowledged at each of its places, and what is known of the states judged so far."""

    log: Log
    clusters: int
    known: dict[bytes, Found] = field(default_factory=dict)  # by digest of the image

    def acknowledged(self, at: int) -> set[bytes]:
        return {i for index, ids in self._marks for i in ids if index < at}

    @cached_property
    def _marks(self) -> list[tuple[int, set[bytes]]]:
        return [(o.index, acknowledged(o)) for o in self.log.operations if o.kind is Kind.MARK]

    def look(
        self, room: Path, at: int, image: Image, made: set[bytes] | None, second: bool = False
    ) -> tuple[Found, str]:
        """Judge a state, or, if the same was judged before, only what has been acknowledged since."""
        asked = self.acknowledged(at)
        digest = image.digest
        if digest in self.known:
            lost = asked - self.known[digest].ids
            return self.known[digest], f"{len(lost)} acknowledged transactions are not there" if lost else ""
        remove(room / "state")
        image.write(room / "state")
        found, wrong = judge(room / "state" / "ledger", asked, made, second)
        self.known[digest] = found
        return found, wrong


def prefixes(recording: Recording, room: Path, writers: Writers, name: str) -> list[str]:
    """What is wrong in the states that the death of all processes leaves; learns which rounds were ever made."""
    problems = []
    for done, (at, image) in enumerate(recording.log.prefixes()):
        new = len(recording.known)
        found, wrong = recording.look(room, at, image, None, second=done % 5 == 0)
        if not wrong and len(recording.known) > new and done % (1 if campaign.FULL else 13) == 0:
            wrong = goes_on(writers, room / "state", room / "state" / "ledger", found, recording.clusters)
            campaign.count(name, went_on=1)
        if wrong:
            problems.append(f"after operation {at}: {wrong}")
        campaign.count(name, prefixes=1, wrong=bool(wrong))
    return problems


def failures(
    recording: Recording,
    room: Path,
    writers: Writers,
    name: str,
    start: int = 0,
    complete: int = COMPLETE,
    samples: int = SAMPLES,
) -> list[str]:
    """What is wrong in the states that a power failure may leave, from operation ``start`` on."""
    known = recording.known.values()  # none: nobody went through the prefixes, and what was made is not known
    made = {c for found in known for c in found.commits} if known and not start else None
    problems, draw = [], random.Random(campaign.SEED)
    before = len(recording.known)
    states = recording.log.power_failures(complete, samples, campaign.SEED, start)
    for at, image in campaign.within(states, 0.07):
        new = len(recording.known)
        found, wrong = recording.look(room, at, image, made, second=draw.random() < 0.1)
        if not wrong and len(recording.known) > new and draw.random() < 0.03:
            wrong = goes_on(writers, room / "state", room / "state" / "ledger", found, recording.clusters)
            campaign.count(name, went_on=1)
        if wrong:
            problems.append(f"power failed at operation {at}: {wrong}")
        campaign.count(name, reorderings=1, wrong=bool(wrong))
    campaign.count(name, different_states=len(recording.known) - before)
    return problems
