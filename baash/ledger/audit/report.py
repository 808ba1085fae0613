"""What an audit says: problems, each with its place, what was counted, and notes that are no failure."""

from __future__ import annotations

from dataclasses import dataclass, field

PROBLEMS_KEPT = 1000
NOTES_KEPT = 200


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


@dataclass
class Report:
    """The result of an audit. ``problems`` keeps the first thousand; ``problem_count`` counts all."""

    ledger_id: bytes | None = None
    walked: bool = True  # False: view records cannot be read, so nobody knows which rounds count
    blocks: int = 0
    transactions: int = 0
    rejections: int = 0
    rounds: int = 0
    certificates: int = 0
    signatures: int = 0  # checked: of views, commit records, votes, transactions, the checkpoint
    views: int = 0
    records_bytes: int = 0
    head: bytes = bytes(32)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    notes: list[str] = field(default_factory=list)
    note_count: int = 0

    @property
    def ok(self) -> bool:
        return self.problem_count == 0

    def problem(self, segment: str | None, height: int | None, what: str, index: int | None = None) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(Problem(segment, height, index, what))

    def note(self, what: str) -> None:
        self.note_count += 1
        if len(self.notes) < NOTES_KEPT:
            self.notes.append(what)
