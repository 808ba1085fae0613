"""Making index files: a new one for what none covers yet, then neighbours merged so that there are few.

Theory. As in a log-structured merge tree, a file is merged into the one before it unless that one is ``GROWTH`` times as large: n
transactions lie in O(log n) files, and each row is written O(log n) times. Every file appears whole (``pages.py``), covers
what the ones it replaces cover, and those are unlinked after that: whenever a builder dies, what is there can be used, and what is
superfluous goes at the next build. Two builders at once make the same bytes under the same names.

Covers all rounds that count, those of the open segment too: they were flushed here first, so that no successor can leave them out;
if one does all the same, the file does not fit the history any more and is passed over. Memory: the rows of ``chunk`` transactions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from baash.ledger.durable import refusals
from baash.ledger.folder import Folder
from baash.ledger.index.chain import listed, open_chain
from baash.ledger.index.collect import Collector
from baash.ledger.index.merge import joined, merge
from baash.ledger.index.pages import Writer, name_of, remove_leftovers, write
from baash.ledger.index.tables import RUN_MAX, Run
from baash.ledger.reader import Ledger

GROWTH = 4
CHUNK = 1_000_000  # transactions in a file at first

Progress = Callable[[int, int], None]  # transactions done, in all


@dataclass
class Built:
    """What a build did."""

    made: list[str] = field(default_factory=list)  # names of new files that are still there
    removed: list[str] = field(default_factory=list)  # merged into one of these, or of no use
    rounds: int = 0  # newly covered
    transactions: int = 0
    written_bytes: int = 0  # in all
    index_bytes: int = 0  # of all index files now
    notes: list[str] = field(default_factory=list)  # files that were passed over, and why


def build(path: str | Path, progress: Progress | None = None, *, chunk: int = CHUNK) -> Built:
    """Cover all rounds of the ledger at ``path`` by index files; idempotent. Raises LedgerDamaged (what is there is not what was
    committed), LedgerError, StorageError."""
    folder, built = Folder(path), Built()
    with Ledger(path) as ledger:
        remove_leftovers(folder.path)
        built.notes += ledger.notes
        _cover(ledger, built, progress, chunk)
    _merge(folder, built)
    _tidy(folder, built)
    return built


def _cover(ledger: Ledger, built: Built, progress: Progress | None, chunk: int) -> None:
    at, total = ledger.chain.rounds, len(ledger.rounds)
    before = every = ledger.transaction_total - ledger.chain.transactions
    if at < total:
        ledger.flush()
    while at < total:
        taken = Collector(ledger, at)
        while at < total and taken.transactions < min(chunk, RUN_MAX >> 1):
            taken.add(ledger.rounds[at])
            at += 1
            if progress is not None:
                progress(every - before + taken.transactions, every)
        before -= taken.transactions
        run = taken.run()
        built.written_bytes += write(ledger.path, run)
        built.rounds, built.transactions = built.rounds + taken.rounds, built.transactions + taken.transactions
        built.made.append(name_of(run.first_round, run.after_round))


def _merge(folder: Folder, built: Built) -> None:
    """Merge the last files that should be one, until there are none."""
    while True:
        chain = open_chain(folder)
        try:
            runs = _should_be_one(chain.runs)
            if not runs:
                return
            built.written_bytes += merge_files(folder.path, runs)
            built.made.append(name_of(runs[0].first_round, runs[-1].after_round))
        finally:
            chain.close()
        for run in runs:
            _unlink(folder.path / run.name, built)


def _should_be_one(runs: list[Run]) -> list[Run]:
    """The last runs, as many as are less than ``GROWTH`` times as large as all behind them; none: all is well."""
    for last in range(len(runs) - 1, 0, -1):
        first = last
        while first and _fits(runs[first - 1], runs[first : last + 1]):
            first -= 1
        if first < last:
            return runs[first : last + 1]
    return []


def _fits(before: Run, runs: list[Run]) -> bool:
    behind = runs[-1].after - runs[0].first
    return before.after - before.first < GROWTH * behind and runs[-1].after - before.first <= RUN_MAX


def merge_files(folder: Path, runs: list[Run]) -> int:
    """Write one index file of several that follow one another; its bytes."""
    writer = Writer(folder, joined(runs))
    try:
        merge(runs, writer)
        return writer.finish()
    except BaseException:
        writer.abandon()
        raise


def _tidy(folder: Folder, built: Built) -> None:
    """Unlink files that do not count, or whose rounds another one covers."""
    there = listed(folder.path)  # first: what another builder makes from now on is not ours to judge
    chain = open_chain(folder)
    try:
        counting = {run.name: run.bytes for run in chain.runs}
    finally:
        chain.close()
    for first, all_ in there.items():
        for after in all_:
            name = name_of(first, after)
            if name not in counting and (after <= chain.rounds or name in chain.stale):
                _unlink(folder.path / name, built)
    built.made = [name for name in built.made if name in counting]
    built.index_bytes = sum(counting.values())


def _unlink(path: Path, built: Built) -> None:
    with refusals("remove", path), suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(path)
        built.removed.append(path.name)
