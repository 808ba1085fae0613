"""What an audit says: problems, each with its place, what was counted, notes that are no failure, and what is still proved.

Theory of the order. Problems are found in several places at once (threads, and ranks of a divided audit), and the report must
not depend on who found what first. So each problem has a place: the round it belongs to, and a phase in it. Whoever finds
problems of one kind finds them in ascending order and keeps the first thousand; the first thousand of all are among those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

PROBLEMS_KEPT = 1000
NOTES_KEPT = 200
EVIDENCE_KEPT = 1000
RANGES_KEPT = 1000

BEFORE, AFTER = -1, 1 << 62  # the places of what belongs to no round
LOOKED_AT, RULES = 0, 1  # phases of a round

Place = tuple[int, int, int]  # round (its number in the ledger), phase, which of its problems


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was committed. ``index``: of the transaction in its block."""

    segment: str | None  # name of the file: a segment, a view record, the checkpoint
    height: int | None  # of the block; of a round as a whole: of its first block
    index: int | None
    what: str

    def __str__(self) -> str:
        places = [
            self.segment or "",
            f"block {self.height}" if self.height is not None else "",
            f"transaction {self.index}" if self.index is not None else "",
        ]
        where = ", ".join(p for p in places if p)
        return f"{where}: {self.what}" if where else self.what


@dataclass(frozen=True)
class Evidence:
    """A NOTE that says that ``node`` of ``view`` contradicted itself. ``what``: what it did; if the NOTE proves nothing, why not."""

    segment: str
    height: int
    index: int
    view: int | None
    node: int | None
    rank: int | None
    host: str | None
    what: str

    def __str__(self) -> str:
        where = f"{self.segment}, block {self.height}, transaction {self.index}"
        if self.rank is None:
            whom = "somebody" if self.node is None else f"node {self.node} of view {self.view}"
            return f"{where} says that {whom} contradicted itself: {self.what}"
        return f"node {self.node} of view {self.view} (rank {self.rank}, {self.host}) contradicted itself: it {self.what} ({where})"


@dataclass
class Counted:
    """What was examined. Sums: those of the parts of a divided audit add up."""

    blocks: int = 0
    transactions: int = 0
    rejections: int = 0
    rounds: int = 0
    certificates: int = 0
    signatures: int = 0  # checked: of views, commit records, votes, transactions, the checkpoint
    views: int = 0
    records_bytes: int = 0

    def add(self, more: Counted) -> None:
        for name in Counted.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(more, name))


@dataclass
class Proved:
    """What is provably as it was committed, whatever else is wrong (``docs/audit.md``). ``ranges`` (first, last) of heights."""

    blocks: int = 0
    transactions: int = 0
    block_total: int = 0  # that the newest commit record speaks of
    transaction_total: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    range_count: int = 0
    rules_until: int = 0  # the rules were replayed for the blocks below this height


@dataclass
class Report(Counted):
    """The result of an audit. ``problems`` keeps the first thousand; ``problem_count`` counts all."""

    ledger_id: bytes | None = None
    walked: bool = True  # False: view records cannot be read, so nobody knows which rounds count
    head: bytes = bytes(32)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    notes: list[str] = field(default_factory=list)
    note_count: int = 0
    evidence: list[Evidence] = field(default_factory=list)  # the first NOTE that proves it, of each node once
    evidence_count: int = 0
    unfounded: list[Evidence] = field(default_factory=list)  # NOTEs that prove nothing
    unfounded_count: int = 0
    proved: Proved = field(default_factory=Proved)
    _places: list[Place] = field(default_factory=list, repr=False, compare=False)
    _proved_liars: set[tuple[int | None, int | None]] = field(default_factory=set, repr=False, compare=False)
    _round: int = field(default=BEFORE, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return self.problem_count == 0

    def turn_to(self, round: int) -> None:
        """What is found from now on belongs to this round (or BEFORE, or AFTER)."""
        self._round = round

    def problem(self, segment: str | None, height: int | None, what: str, index: int | None = None) -> None:
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(segment, height, index, what))
            self._places.append((self._round, LOOKED_AT, self.problem_count))
        self.problem_count += 1

    def merge(self, found: Iterable[tuple[Place, Problem]], count: int) -> None:
        """Put problems found elsewhere (the first of ``count``) where they belong."""
        both = sorted([*zip(self._places, self.problems, strict=True), *found], key=lambda each: each[0])
        self._places = [place for place, _ in both[:PROBLEMS_KEPT]]
        self.problems = [problem for _, problem in both[:PROBLEMS_KEPT]]
        self.problem_count += count

    def claim(self, found: Evidence, proved: bool) -> None:
        """A NOTE that says that it is evidence."""
        if not proved:
            self.unfounded_count += 1
            if len(self.unfounded) < EVIDENCE_KEPT:
                self.unfounded.append(found)
        elif (found.view, found.node) not in self._proved_liars:
            self._proved_liars.add((found.view, found.node))
            self.evidence_count += 1
            if len(self.evidence) < EVIDENCE_KEPT:
                self.evidence.append(found)

    def note(self, what: str) -> None:
        self.note_count += 1
        if len(self.notes) < NOTES_KEPT:
            self.notes.append(what)
