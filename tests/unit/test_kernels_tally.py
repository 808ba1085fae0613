"""The count of votes: all small worlds against a count that tries every way the missing votes could come."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from baash import kernels

OPEN, SETTLED, FAILED = 0, 1, 2
MISSING, NONE = -1, -2  # besides a prefix


def decide(votes: tuple[int, ...], quorum: int, blocks: int) -> int | None:
    """The decided prefix of these votes alone; None: no quorum."""
    if sum(v >= 0 for v in votes) < quorum:
        return None
    return max(p for p in range(blocks + 1) if sum(v >= p for v in votes) >= quorum)


def brute(votes: tuple[int, ...], quorum: int, blocks: int) -> tuple[int, int]:
    now = decide(votes, quorum, blocks)
    places = [i for i, vote in enumerate(votes) if vote == MISSING]
    futures = set()
    for coming in product([NONE, *range(blocks + 1)], repeat=len(places)):
        after = list(votes)
        for place, vote in zip(places, coming, strict=True):
            after[place] = vote
        futures.add(decide(tuple(after), quorum, blocks))
    if futures == {None}:
        return 0, FAILED
    return now or 0, SETTLED if now is not None and futures == {now} else OPEN


@pytest.mark.parametrize(("members", "blocks"), [(1, 3), (2, 3), (3, 3), (4, 2)])
def test_all_small_worlds(members: int, blocks: int) -> None:
    worlds = [
        (votes, quorum)
        for votes in product(
            [MISSING, NONE, *range(blocks + 2)], repeat=members
        )  # one prefix above the block count too
        for quorum in range(1, members + 2)
    ]
    votes = np.array([v for v, _ in worlds])
    present = np.select([votes == MISSING, votes == NONE], [0, 2], 1)
    quorums = np.array([quorum for _, quorum in worlds])
    prefixes = np.where(votes < 0, 7, votes)  # what a member without a vote holds must not count
    decided, status, dissent = kernels.tally(prefixes, present, quorums, blocks)
    for i, (world, quorum) in enumerate(worlds):
        assert (decided[i], status[i]) == brute(world, quorum, blocks), f"votes {world}, quorum {quorum}"
        assert dissent[i].tolist() == [v >= 0 and min(v, blocks) != decided[i] for v in world]


def test_dissent_of_many_members() -> None:
    """More than one word of a mask."""
    prefixes = np.full((2, 130), 5)
    prefixes[0, [0, 63, 64, 129]] = 4
    decided, status, dissent = kernels.tally(prefixes, np.ones((2, 130)), 87, 5)
    assert decided.tolist() == [5, 5] and status.tolist() == [SETTLED, SETTLED]
    assert [np.flatnonzero(row).tolist() for row in dissent] == [[0, 63, 64, 129], []]


def test_shapes_and_refusals() -> None:
    decided, status, _ = kernels.tally(np.zeros((0, 4)), np.zeros((0, 4)), 3, 4)
    assert decided.dtype == np.uint32 and status.dtype == np.uint8 and len(decided) == len(status) == 0
    with pytest.raises(ValueError):
        kernels.tally(np.zeros((1, 4)), np.ones((1, 4)), 0, 4)
    with pytest.raises(ValueError):
        kernels.tally(np.zeros((1, 4)), np.full((1, 4), 3), 3, 4)
    with pytest.raises(ValueError):
        kernels.tally(np.zeros((1, 4)), np.ones((1, 3)), 3, 4)
    with pytest.raises(ValueError):
        kernels.tally(np.zeros((2, 4)), np.ones((2, 4)), [3, 3, 3], 4)
