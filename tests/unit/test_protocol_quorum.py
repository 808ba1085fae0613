"""The quorum: the count of small worlds completely and of large ones by samples, certificates' recount, and what f liars can do.

The second count is the sentence of docs/ledger-format.md section 5 and nothing else: the largest p that at least ``quorum`` members
gave or exceeded. (How the kernel counts many windows at once is tried in ``test_kernels_tally.py``.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import World, encode

from baash.protocol import certificate as certificates
from baash.protocol import quorum, windows
from baash.protocol.quorum import OPEN, OUT_OF_REACH, SETTLED
from baash.protocol.view import QUORUMS, Parameters
from baash.records import VOTE, ZERO_HASH, Answer, Decider, Operation

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
Votes = tuple[int | None, ...]


def need_of(rule: str, faults: int, members: int) -> int:
    """docs/ledger-format.md section 5."""
    return members // 2 + 1 if rule == "majority" else 2 * faults + 1 + (members - (3 * faults + 1))


def carried(votes: Votes, need: int, blocks: int) -> int | None:
    """The prefix that these votes decide; None: they are too few."""
    gave = [v for v in votes if v is not None]
    if len(gave) < need:
        return None
    return max(p for p in range(blocks + 1) if sum(v >= p for v in gave) >= need)


@cache
def outcomes(votes: Votes, missing: int, need: int, blocks: int) -> frozenset[int | None]:
    """All that may become of votes (sorted) when each that is missing comes, with any prefix, or never does."""
    if not missing:
        return frozenset({carried(votes, need, blocks)})
    more = [outcomes(votes, missing - 1, need, blocks)]
    more += [outcomes(tuple(sorted([*votes, p])), missing - 1, need, blocks) for p in range(blocks + 1)]  # type: ignore[type-var]
    return frozenset().union(*more)


def judged(votes: Votes, need: int, blocks: int) -> tuple[int, int]:
    now = carried(votes, need, blocks)
    gave = tuple(sorted(v for v in votes if v is not None))
    futures = outcomes(gave, len(votes) - len(gave), need, blocks)
    if futures == {None}:
        return 0, OUT_OF_REACH
    return now or 0, SETTLED if futures == {now} else OPEN


@pytest.mark.parametrize("rule", QUORUMS)
@pytest.mark.parametrize("members", [4, 5, 6])
def test_all_small_worlds(rule: str, members: int) -> None:
    """f = 1, up to two replacements, three blocks: each member has not voted, or gave 0 to 3."""
    blocks, need = 3, need_of(rule, 1, members)
    assert Parameters(faults=1, quorum=rule).quorum_of(members) == need
    for votes in product([None, *range(blocks + 1)], repeat=members):
        decided, status, dissent = quorum.count(list(votes), need, blocks)
        assert (decided, status) == judged(votes, need, blocks), votes
        assert dissent == [i for i, v in enumerate(votes) if v is not None and v != decided]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_large_worlds(data: st.DataObject) -> None:
    """f up to 64, hundreds of members, thousands of blocks: now, and with all that is missing for everything or for nothing."""
    faults = data.draw(st.integers(0, 64))
    members = 3 * faults + 1 + data.draw(st.integers(0, 256))
    rule = data.draw(st.sampled_from(QUORUMS))
    blocks = data.draw(st.sampled_from([1, 2, 7, 4096, 20_000]))
    some = data.draw(st.lists(st.integers(0, blocks), min_size=1, max_size=6))
    votes = tuple(data.draw(st.lists(st.sampled_from([None, blocks, *some]), min_size=members, max_size=members)))
    need = need_of(rule, faults, members)
    assert Parameters(faults=faults, replacements=256, quorum=rule).quorum_of(members) == need
    gave = [v for v in votes if v is not None]
    now = max((p for p in {0, *gave} if sum(v >= p for v in gave) >= need), default=0)
    full = [blocks if v is None else v for v in votes]
    most = max((p for p in {0, *full} if sum(v >= p for v in full) >= need), default=0)
    decided, status, dissent = quorum.count(list(votes), need, blocks)
    assert decided == now
    assert status == (SETTLED if len(gave) >= need and now == most else OPEN)
    assert dissent == [i for i, v in enumerate(votes) if v is not None and v != now]


# -- certificates ---------------------------------------------------------------------------------------------------------


class Judged:
    """A window of two blocks in a view, the votes its validators may cast, and certificates of them."""

    def __init__(self, rule: str, members: int) -> None:
        self.world = World(nodes=8, block_size=1, quorum=rule)
        self.view = self.world.view
        batch = encode(Operation.CREATE, ["a", "b"])
        self.window = windows.form(self.view, 0, 0, ZERO_HASH, ZERO_HASH, batch, 1)
        self.attempt = members - self.view.parameters.sub_cluster
        self.members = [n.node for n in self.view.validators(0)][:members]
        self.need = need_of(rule, 1, members)
        hashed = certificates.attempt_hash(self.window.hash, Decider.MEMBERS, self.attempt, self.members)
        keys = {m: self.world.keys[self.view.nodes[m].key] for m in self.members}
        self.cast = {
            (m, p): quorum.cast(m, keys[m], hashed, Answer.PREFIX, p) for m in self.members for p in range(4)
        } | {(m, -1): quorum.cast(m, keys[m], hashed, Answer.BEHIND, 2) for m in self.members}

    def examined(self, votes: Votes, prefix: int) -> str | None:
        """None in ``votes``: nothing; -1: "behind" (with a prefix that must not count)."""
        cast = [self.cast[m, v] for m, v in sorted(zip(self.members, votes, strict=True)) if v is not None]
        rows = np.array(cast, dtype=VOTE)
        window = self.window
        raw = certificates.encode(window.row, Decider.MEMBERS, self.attempt, self.members, window.entries, rows, prefix)
        return certificates.examine(certificates.decode(raw), self.view)


def sound(judged: Judged, votes: Votes, prefix: int) -> bool:
    gave = tuple(None if v == -1 or v is None else min(v, 2) for v in votes)
    return carried(gave, judged.need, 2) == prefix


@pytest.mark.parametrize("rule", QUORUMS)
def test_all_certificates_of_a_small_world(rule: str) -> None:
    """Four members; each says nothing, "behind", or a prefix, one more than there are blocks too; any claimed prefix."""
    one = Judged(rule, 4)
    for votes in product([None, -1, 0, 1, 2, 3], repeat=4):
        for prefix in range(3):
            assert (one.examined(votes, prefix) is None) == sound(one, votes, prefix), (votes, prefix)


JUDGED: dict[tuple[str, int], Judged] = {}  # made once


@pytest.mark.parametrize("rule", QUORUMS)
@pytest.mark.parametrize("members", [5, 6])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_certificates_of_later_attempts(rule: str, members: int, data: st.DataObject) -> None:
    if (rule, members) not in JUDGED:
        JUDGED[rule, members] = Judged(rule, members)
    one = JUDGED[rule, members]
    votes = tuple(data.draw(st.sampled_from([None, -1, 0, 1, 2, 2, 3])) for _ in range(members))
    prefix = data.draw(st.integers(0, 2))
    assert (one.examined(votes, prefix) is None) == sound(one, votes, prefix)


# -- what liars can do ----------------------------------------------------------------------------------------------------

BLOCKS = 2


def worlds(members: int, liars: int) -> Iterator[tuple[int, Votes]]:
    """(blocks that are valid, votes): the honest have found what is valid or not answered yet, each liar says anything or nothing."""
    anything: list[int] = [-1, *range(BLOCKS + 1)]
    for valid, answered in product(range(BLOCKS + 1), range(members - liars + 1)):
        honest = [valid] * answered + [None] * (members - liars - answered)
        for lies in combinations_with_replacement(anything, liars):
            yield valid, (*honest, *(None if lie < 0 else lie for lie in lies))


def shapes() -> Iterator[tuple[str, int, int, int]]:
    for rule, faults, attempt in product(QUORUMS, (1, 2, 3), (0, 1, 2)):
        members = 3 * faults + 1 + attempt
        yield rule, faults, members, need_of(rule, faults, members)


def test_f_liars_move_nothing() -> None:
    """At most f liars, however they vote and whoever is late: nothing invalid is ever carried, and what settles is what is valid."""
    for rule, faults, members, need in shapes():
        for liars in range(faults + 1):
            for valid, votes in worlds(members, liars):
                decided, status, _ = quorum.count(list(votes), need, BLOCKS)
                assert decided <= valid, (rule, members, liars, votes)
                assert status != SETTLED or decided == valid, (rule, members, liars, votes)


def least(members: int, need: int, breaks: Callable[[int, int, int], bool]) -> int:
    """The smallest number of liars with which some world is as ``breaks`` says."""
    for liars in range(members + 1):
        for valid, votes in worlds(members, liars):
            if breaks(valid, *quorum.count(list(votes), need, BLOCKS)[:2]):
                return liars
    raise AssertionError("nothing breaks it")


def silent(members: int, need: int) -> int:
    """How many may say nothing, and a valid window is still settled."""
    return max(
        s
        for s in range(members + 1)
        if quorum.count([BLOCKS] * (members - s) + [None] * s, need, BLOCKS)[:2] == (BLOCKS, SETTLED)
    )


def test_beyond_f_is_as_documented() -> None:
    """The table of docs/protocol.md, computed."""
    rows = []
    for rule, faults, members, need in shapes():
        carries = least(members, need, lambda valid, decided, status: decided > valid)
        loses = least(members, need, lambda valid, decided, status: status == SETTLED and decided < valid)
        rows.append((rule, faults, members, need, silent(members, need), carries, loses, max(loses, faults + 1)))
        assert (carries, loses, rows[-1][4]) == (need, members - need + 1, members - need)
    written = re.findall(r"^\| (majority|byzantine) \|" + r" (\d+) \|" * 7 + "$", PAGE.read_text(), re.M)
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    assert [(rule, *map(int, numbers)) for rule, *numbers in written] == rows
