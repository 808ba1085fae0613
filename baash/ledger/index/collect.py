"""From rounds as they lie in segments to the tables of an index.

Reads and hashes every byte of the rounds, and takes only what is as it was committed: record, roots, chain up to the head that the
commit record states. Holds 60 bytes a transaction, and sorts them at the end; who calls says how many are gathered at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from baash import kernels
from baash.errors import LedgerDamaged
from baash.ledger import blocks
from baash.ledger.index.merge import grouped
from baash.ledger.index.tables import (
    BY_NAME,
    EXTENT,
    PLACE_UNIT,
    SEGMENT,
    SUBTREE,
    TABLES,
    Run,
    Table,
    as_rows,
    in_memory,
    keys_of,
)
from baash.ledger.round import Round
from baash.records import BLOCK_HEADER, CHECKSUM_BYTES, TRANSACTION, ZERO_HASH, Operation

if TYPE_CHECKING:
    from baash.batch import Batch
    from baash.ledger.reader import Ledger

_SLASH = ord("/")
_NUMBERED = ("issuers", "operations")  # collected as (key, number), grouped at the end


class Collector:
    """Takes rounds in order, from the ledger's round ``first`` on."""

    def __init__(self, ledger: Ledger, first: int) -> None:
        self._ledger, self._first = ledger, first
        before = ledger.rounds[first - 1].record if first else None
        self._head = before["head"].tobytes() if before is not None else ZERO_HASH
        totals = [
            int(before[n]) if before is not None else 0 for n in ("block_total", "transaction_total", "rejection_total")
        ]
        self._first_block, self._first_transaction = totals[:2]
        self.blocks, self.transactions, self.rounds = 0, 0, 0
        self._parts: dict[str, list[np.ndarray]] = {t.name: [] for t in TABLES}
        self._segments: list[np.void] = []
        self._open_hashes = self._hashes_before()  # of the blocks behind the last whole subtree
        self._extent = np.zeros(1, dtype=EXTENT)[0]

    def add(self, round: Round) -> None:
        """The next round. LedgerDamaged: it is not as it was committed."""
        found = blocks.read(round)
        for fault in (*found.faults, *blocks.follows(found, self._head)):
            raise self._damaged(round, fault.block, fault.what)
        self._head = found.hashes[-1].tobytes() if len(found.hashes) else self._head
        if round.record["head"].tobytes() != self._head:
            raise self._damaged(round, 0, "the commit record does not fit the blocks of its round")
        if not self.rounds:
            self._extent["previous"] = round.record["previous"]
        self._segment(round, len(found.batch))
        self._transactions(round, found)
        self._blocks(found)
        self.rounds, self.blocks, self.transactions = (
            self.rounds + 1, self.blocks + len(found.rows), self.transactions + len(found.batch)
        )  # fmt: skip
        self._state(round)

    def run(self) -> Run:
        """Everything taken so far. At least one round."""
        extent = self._extent
        extent["first_round"], extent["rounds"] = self._first, self.rounds
        extent["first_block"], extent["blocks"] = self._first_block, self.blocks
        extent["first_transaction"], extent["transactions"] = self._first_transaction, self.transactions
        tables: dict[str, np.ndarray] = {}
        for table in TABLES:
            parts = self._parts.pop(table.name)
            if table.name == "segments":
                tables[table.name] = np.array(self._segments, dtype=SEGMENT)
            elif table.numbers:
                rows = np.concatenate([_ungrouped(table), *parts])
                tables[table.name], tables[table.numbers] = grouped(_sorted(rows, table.key_words), table)
            elif table.name not in tables:
                rows = np.concatenate(parts) if parts else np.zeros(0, dtype=table.dtype)
                tables[table.name] = _sorted(rows, table.key_words) if table.key_words else rows
        return in_memory(extent, tables)

    def _damaged(self, round: Round, block: int, what: str) -> LedgerDamaged:
        where = f"{self._ledger.path}, {round.file.name}, block {round.first_block + block}"
        return LedgerDamaged(f"{where}: {what}; baash verify lists all damage")

    def _state(self, round: Round) -> None:
        extent = self._extent
        extent["ledger"] = np.frombuffer(round.view.ledger, dtype=np.uint8)
        extent["commit"] = np.frombuffer(round.hash, dtype=np.uint8)
        extent["slot_checksum"] = round.raw[-CHECKSUM_BYTES:]
        extent["rejection_total"] = round.record["rejection_total"]
        extent["view"], extent["segment"], extent["slot"] = round.view.view, round.segment, round.slot
        extent["view_round"] = round.number

    def _segment(self, round: Round, transactions: int) -> None:
        """Its rows and slots must be consecutive: then a place is found by arithmetic."""
        row, place = self._segments[-1] if self._segments else None, round.locator
        if row is None or (int(row["view"]), int(row["segment"])) != (round.view.view, round.segment):
            row = np.zeros(1, dtype=SEGMENT)[0]
            row["view"], row["segment"], row["first_slot"] = round.view.view, round.segment, round.slot
            row["first_round"], row["view_round"] = self._first + self.rounds, round.number
            row["first_block"], row["first_row"] = self._first_block + self.blocks, place["first_block"]
            row["first_transaction"] = self._first_transaction + self.transactions
            self._segments.append(row)
        expected = (int(row["first_slot"] + row["rounds"]), int(row["first_row"] + row["blocks"]))
        if (round.slot, int(place["first_block"])) != expected:
            raise self._damaged(round, 0, "its commit record or its block headers do not lie behind those before them")
        row["rounds"] += 1
        row["blocks"] += place["block_count"]
        row["transactions"] += transactions
        row["rejection_total"] = round.record["rejection_total"]

    def _transactions(self, round: Round, found: blocks.RoundBlocks) -> None:
        batch, rows = found.batch, found.rows
        count = len(batch)
        number = self.transactions + np.arange(count, dtype=np.uint64)
        block = np.repeat(np.arange(len(rows)), rows["count"])
        starts = np.cumsum(rows["bytes"], dtype=np.uint64) - rows["bytes"]
        place = rows["records_offset"][block] + batch.info["start"] - starts[block]
        if count and (int(place.max()) >= PLACE_UNIT << 32 or bool((place % PLACE_UNIT).any())):
            raise self._damaged(round, 0, "its records do not begin at multiples of 8 bytes below 32 GiB")
        place = place // np.uint64(PLACE_UNIT)
        self._take("ids", count, key=keys_of(batch.ids)[:, 0], number=number, place=place)
        self._take("places", count, place=place)
        entity, operation = keys_of(batch.entities, 2), batch.info["operation"]
        self._take(
            "entities", count, key=entity[:, 0], key2=entity[:, 1], number=number, place=place, operation=operation
        )
        issuer = keys_of(batch.info["issuer"], 2)
        self._take("issuers", count, key=issuer[:, 0], key2=issuer[:, 1], number=number)
        self._take("operations", count, key=operation, number=number)
        self._references(batch, number)
        self._names(batch, number)

    def _take(self, table: str, count: int, **columns: np.ndarray) -> None:
        if not count:
            return
        if table in _NUMBERED:
            rows = np.empty(count, dtype=_ungrouped(BY_NAME[table]).dtype)
            for name, values in columns.items():
                rows[name] = values
        else:
            rows = as_rows(table, count, **columns)
        self._parts[table].append(rows)

    def _references(self, batch: Batch, number: np.ndarray) -> None:
        with_some = np.flatnonzero(batch.info["reference_count"])
        info = batch.info[with_some]
        counts = info["reference_count"].astype(np.uint64)
        names = (info["entity_bytes"].astype(np.uint64) + np.uint64(7)) // np.uint64(8) * np.uint64(8)
        starts = info["start"] + np.uint64(TRANSACTION.itemsize) + names
        hashes = kernels.gather(batch.records, starts, counts * np.uint64(32)).reshape(-1, 32)
        referring = np.repeat(number[with_some], counts.astype(np.int64))
        rows = np.column_stack((keys_of(hashes, 2), referring))
        rows = np.unique(rows, axis=0) if len(rows) else rows  # one that names a transaction twice refers to it once
        self._take("references", len(rows), key=rows[:, 0], key2=rows[:, 1], number=rows[:, 2])

    def _names(self, batch: Batch, number: np.ndarray) -> None:
        """Of the names of CREATEs: what follows the last ``/``; and, of those that begin with one, all folders above."""
        made = np.flatnonzero(batch.info["operation"] == Operation.CREATE)
        info = batch.info[made]
        sizes = info["entity_bytes"].astype(np.int64)
        starts = info["start"] + np.uint64(TRANSACTION.itemsize)
        slashes = np.flatnonzero(kernels.gather(batch.records, starts, sizes) == _SLASH)
        ends = np.cumsum(sizes)
        owner = np.searchsorted(ends, slashes, side="right")
        offset = slashes - (ends - sizes)[owner]
        last = np.append(owner[1:] != owner[:-1], True)[: len(owner)] & (offset + 1 < sizes[owner])
        begin = starts[owner] + offset.astype(np.uint64)
        tails = kernels.sha256_spans(batch.records, begin[last] + np.uint64(1), (sizes[owner] - offset - 1)[last])
        self._take("names", len(tails), key=keys_of(tails)[:, 0], number=number[made][owner[last]])
        rooted = batch.records[starts[owner].astype(np.int64)] == _SLASH
        above = np.flatnonzero(rooted & (offset > 0))
        # The two bytes before a name are those that its hash begins with: the hash of a folder is that of an entity of that name.
        folders = kernels.sha256_spans(batch.records, starts[owner[above]] - np.uint64(2), offset[above] + 2)
        self._take("folders", len(above), key=keys_of(folders)[:, 0], number=number[made][owner[above]])

    def _blocks(self, found: blocks.RoundBlocks) -> None:
        count = len(found.rows)
        number = self.blocks + np.arange(count, dtype=np.uint64)
        self._take("hashes", count, key=keys_of(found.hashes)[:, 0], number=number)
        self._take("times", count, key=found.rows["time_ns"], number=number)
        self._take("blocks", count, key=self.transactions + found.bounds[:-1])
        hashes = np.concatenate((self._open_hashes, found.hashes))
        whole = len(hashes) // SUBTREE
        roots = kernels.merkle_roots(hashes[: whole * SUBTREE], np.arange(whole + 1) * SUBTREE)
        self._take("roots", whole, root=roots)
        self._open_hashes = hashes[whole * SUBTREE :]

    def _hashes_before(self) -> np.ndarray:
        """The hashes of the blocks between the last multiple of 256 and the first block."""
        rows = self._ledger.headers(self._first_block - self._first_block % SUBTREE, self._first_block)
        return kernels.hash_rows(rows, BLOCK_HEADER.itemsize)


def _ungrouped(table: Table) -> np.ndarray:
    """No rows of the keys and numbers of a grouped table."""
    words = (table.dtype.names or ())[: table.key_words]
    return np.zeros(0, dtype=[*((word, "<u8") for word in words), ("number", "<u4")])


def _sorted(rows: np.ndarray, key_words: int) -> np.ndarray:
    """By key; rows with equal keys stay in their order."""
    order = np.argsort(rows["key"], kind="stable")
    if key_words == 2:
        key, key2 = rows["key"][order], rows["key2"][order]
        if bool(((key[1:] == key[:-1]) & (key2[1:] != key2[:-1])).any()):
            order = np.lexsort((rows["key2"], rows["key"]))
    found: np.ndarray = rows[order]
    return found
