"""The ways of an audit that take a round in bulk, against those that take it one by one: what is found must be the same.

In bulk nothing is said but yes; so whatever is changed in a ledger, with or without hashes and signatures put right behind it,
``Examined`` must not depend on whether the ways in bulk were open.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ledgers import Builder, small

from baash import kernels
from baash.kernels import walk
from baash.keys import Context, PrivateKey
from baash.ledger.audit import claims, draw_seeds, examine
from baash.ledger.audit.examine import Examiner
from baash.ledger.audit.examined import Examined
from baash.ledger.audit.recount import recount, rules_of
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.protocol import certificate as certificates
from baash.records import BLOCK_ROW, ROUND_BODY, ROUND_WINDOW, VOTE_SIGNED_BYTES, Decider

SEED = int(os.environ.get("BAASH_BULK_SEED", "1"))
EDITS = int(os.environ.get("BAASH_BULK_EDITS", "500"))
SEEDS = draw_seeds()

Edit = tuple[str, int, bytes]  # data set, offset in it, bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return small(tmp_path_factory.mktemp("made") / "l")


class NoWalk(kernels.Walk):
    """A walk that takes nothing: every block is left to be looked at alone."""

    def take(self, *arguments: Any) -> kernels.Stop:
        self.first, self.after = self.after, self.after + 1
        return kernels.Stop.DONE if self.first == len(arguments[4]) else kernels.Stop.UNTAKEN

    def begin(self) -> None:
        super().begin()
        self._skipped = (0, 0)

    @property
    def filled(self) -> tuple[int, int]:
        return self._skipped

    def skip(self, transactions: int = 0, acts: int = 0) -> None:
        self._skipped = (self._skipped[0] + transactions, self._skipped[1] + acts)


def one_by_one(path: Path, index: int, monkeypatch: pytest.MonkeyPatch) -> Examined:
    with monkeypatch.context() as m:
        m.setattr(claims, "recount", lambda *_: None)
        m.setattr(examine, "_check_headers", lambda round, rows: (kernels.hash_rows(rows, 112), False))
        m.setattr(kernels, "Walk", NoWalk)
        return in_bulk(path, index)


def in_bulk(path: Path, index: int) -> Examined:
    with Ledger(path, report=lambda *_: None) as ledger:
        return Examiner(ledger, SEEDS).examine(index)


def plain(examined: Examined) -> list[object]:
    """All of it, as what can be compared."""
    fields = [getattr(examined, name) for name in Examined.__dataclass_fields__ if name not in ("kept", "counted")]
    arrays = [*fields, *vars(examined.kept).values()]
    return [*astuple(examined.counted), *(a.tobytes() if isinstance(a, np.ndarray) else a for a in arrays)]


def apply(path: Path, round: Round, edits: list[Edit]) -> Callable[[], None]:
    """Write them into the segment; the way back."""
    file, before = path / round.file.name, []
    descriptor = os.open(file, os.O_RDWR)
    for data_set, offset, data in edits:
        at = round.file.layout.data[data_set].offset + offset
        before.append((at, os.pread(descriptor, len(data), at)))
        os.pwrite(descriptor, data, at)

    def undo() -> None:
        for at, data in reversed(before):
            os.pwrite(descriptor, data, at)
        os.close(descriptor)

    return undo


def anywhere(draw: random.Random, round: Round) -> list[Edit]:
    """A changed byte of headers, records, body, certificates or rejections."""
    rows, body = round.headers(), round.body()
    sizes = body.windows["certificate_bytes"]
    places = [("block_headers", int(round.locator["first_block"]) * BLOCK_ROW.itemsize, rows.nbytes)]
    places += [("records", int(r["records_offset"]), int(r["bytes"])) for r in rows]
    places.append(("certificates", int(round.locator["body_offset"]), len(body.hashed) + 8 * len(sizes)))
    places += [
        ("certificates", at, size) for at, size in zip(body.certificate_offsets.tolist(), sizes.tolist(), strict=True)
    ]
    data_set, start, size = draw.choice([p for p in places if p[2]])
    at = start + draw.randrange(size)
    old = round.file.read(data_set, at, 1).tobytes()[0]
    return [(data_set, at, bytes([old ^ 1 << draw.randrange(8)]))]


def put_right(raw: np.ndarray, keys: list[PrivateKey], contents: bool) -> bytes:
    """A certificate with the attempt and the signatures that its bytes ask for, and if need be the content's totals."""
    try:
        made = certificates.decode(raw)
    except ValueError:
        return b""
    if contents:
        made.window["content_root"] = kernels.merkle_roots(made.digests, np.array([0, len(made.entries)]))[0]
        made.window["transaction_count"] = made.entries["count"].sum(dtype=np.uint64) & np.uint64(2**32 - 1)
        made.window["records_bytes"] = made.entries["bytes"].sum(dtype=np.uint64)
    attempt = certificates.attempt_hash(
        made.window_hash, Decider(int(made.head["decider"])), int(made.head["attempt"]), made.members
    )
    for vote in made.votes:
        vote["attempt"] = np.frombuffer(attempt, dtype=np.uint8)
        key = keys[int(vote["node"]) % len(keys)]
        signed = key.sign(Context.VOTE, vote.tobytes()[:VOTE_SIGNED_BYTES])
        vote["signature"] = np.frombuffer(signed, dtype=np.uint8)
    return made.window_hash


SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 255)


def forged(draw: random.Random, round: Round, keys: list[PrivateKey]) -> list[Edit]:
    """A certificate in which something is changed, and all that follows from it put right: whoever has the keys can."""
    body = round.body()
    if not len(body.windows):
        return []
    window = draw.randrange(len(body.windows))
    raw = round.certificate(body, window).copy()
    made = certificates.decode(raw)
    votes = draw.choice(made.votes) if len(made.votes) else None
    fields = ["head", "window", "members", "entries", "votes", "vote", "prefixes", "row", "nothing"]
    field = draw.choice(fields if votes is not None else fields[:2])
    if field == "prefixes":
        made.votes["prefix"] = draw.choice(SMALL)
        made.head["prefix"] = draw.choice(SMALL)
    elif field == "vote" and votes is not None:
        names = ("answer", "node", "prefix", "reason", "reserved", "bad_index", "reserved2", "reserved3")
        votes[draw.choice(names)] = draw.choice(SMALL)
    elif field in ("head", "window", "members", "entries", "votes"):
        part = getattr(made, field)
        part = part.reshape(-1).view(np.uint8) if part.ndim else raw[:32] if field == "head" else raw[32:240]
        if len(part):
            part[draw.randrange(len(part))] = draw.choice(SMALL)
    row = body.windows[window].copy()
    hash_ = put_right(raw, keys, contents=draw.random() < 0.7)
    if hash_:
        row["window"] = np.frombuffer(hash_, dtype=np.uint8)
    if field == "row":
        row[draw.choice(("cluster", "outcome", "reserved", "number", "prefix", "block_count", "reserved2"))] = (
            draw.choice(SMALL)
        )
    if draw.random() < 0.5:
        row["prefix"] = made.head["prefix"]
        row["outcome"] = int(row["prefix"] != row["block_count"])
    at = int(round.locator["body_offset"]) + ROUND_BODY.itemsize + window * ROUND_WINDOW.itemsize
    return [
        ("certificates", int(body.certificate_offsets[window]), raw.tobytes()),
        ("certificates", at, row.tobytes()),
    ]


@pytest.mark.parametrize("kind", ["anywhere", "forged"])
def test_what_is_found_does_not_depend_on_the_way(made: Builder, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, found_something = random.Random(f"{SEED} {kind}"), 0
    with Ledger(made.path, report=lambda *_: None) as ledger:
        rounds = list(ledger.rounds)
    for number in range(EDITS):
        round = draw.choice(rounds)
        edits = (
            anywhere(draw, round) if kind == "anywhere" else forged(draw, round, made.keys_of_views[round.view.view])
        )
        undo = apply(made.path, round, edits)
        try:
            quick, slow = in_bulk(made.path, round.index), one_by_one(made.path, round.index, monkeypatch)
        finally:
            undo()
        again = f"BAASH_BULK_SEED={SEED} pytest {__file__} -k {kind}: edit {number} of round {round.index}: {edits}"
        assert plain(quick) == plain(slow), again
        found_something += bool(quick.said or quick.failed)
    assert found_something > EDITS / 2


def test_the_ways_in_bulk_are_taken(made: Builder) -> None:
    """Of a ledger that is well: by every round without a window of the storage validator."""
    taken = 0
    with Ledger(made.path) as ledger:
        for round in ledger.rounds:
            body, rows = round.body(), round.headers()
            deciders = {certificates.decode(round.certificate(body, i)).decider for i in range(len(body.windows))}
            found = recount(round, body, rows, rules_of(round.view))
            assert (found is not None) == (deciders <= {Decider.MEMBERS})
            taken += found is not None and len(found.windows) > 0
            assert not len(rows) or examine._check_headers(round, rows)[1]
    assert taken > 1


def test_a_block_that_has_no_room_is_looked_at_alone(made: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(made.path) as ledger:
        indexes = range(len(ledger.rounds))
    found = [plain(in_bulk(made.path, i)) for i in indexes]
    monkeypatch.setattr(walk, "BUFFER_BYTES", 500)
    assert found == [plain(in_bulk(made.path, i)) for i in indexes]
    monkeypatch.setattr(walk, "PIECE_BYTES", 1)
    assert found == [plain(in_bulk(made.path, i)) for i in indexes]
