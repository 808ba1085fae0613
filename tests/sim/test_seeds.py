"""Seeds of the made-up world: no promise is broken, equal seeds tell equal stories, and what is injected is really injected."""

from __future__ import annotations

import pytest

from baash.sim import campaign
from baash.sim.accidents import ACCIDENTS
from baash.sim.frauds import FRAUDS
from baash.sim.liars import DECEITS
from baash.sim.shape import drawn
from baash.sim.simulation import play


def clean(first: int, seeds: int, **given: object) -> campaign.Result:
    result = campaign.run(first, seeds, given)
    assert not result.failures, "\n".join([result.failures[0].replay, *result.failures[0].violations])
    return result


def test_mixed_seeds() -> None:
    result = clean(1, 120)
    assert result.totals["committed"] > 2000 and result.totals["rejected"] > 300
    assert len(result.faults) > 30, sorted(result.faults)


@pytest.mark.parametrize("kind", sorted(ACCIDENTS))
def test_each_accident(kind: str) -> None:
    result = clean(2000, 6, kinds=(kind,), liars=0, lying_coordinators=0, harsh=False)
    assert result.totals["committed"]


@pytest.mark.parametrize("deceit", sorted(DECEITS))
def test_each_deceit_is_survived(deceit: str) -> None:
    result = clean(3000, 4, deceits=(deceit,), liars=1, faults=1, kinds=(), lying_coordinators=0, harsh=False)
    assert result.faults[f"lie: {deceit}"] > 10
    assert sum(result.reports[kind] for kind in NAMED.get(deceit, ())) > 0 or deceit not in NAMED


NAMED = {
    "against": ("outvoted",),
    "two-faced": ("outvoted",),
    "as another": ("bad_message",),
    "forged": ("bad_message",),
    "noise": ("bad_message",),
    "oversized": ("bad_message",),
    "as coordinator": ("bad_message",),
    "silent": ("vote_timeout", "given_up"),
}


@pytest.mark.parametrize("fraud", sorted(FRAUDS))
def test_each_fraud_is_survived(fraud: str) -> None:
    result = clean(4000, 5, frauds=(fraud,), lying_coordinators=1, clusters=2, kinds=(), liars=0, harsh=False)
    assert result.faults[f"fraud: {fraud}"]


def test_equal_seeds_tell_equal_stories() -> None:
    for seed in (5, 17, 31):
        first, second = (play(drawn(seed), listen=10_000) for _ in range(2))
        strip = [[line.replace("baash-sim", "") for line in one.told] for one in (first, second)]
        assert [_plain(line) for line in strip[0]] == [_plain(line) for line in strip[1]]
        assert first.messages == second.messages and first.simulated_ns == second.simulated_ns
        assert play(drawn(seed)).messages == first.messages, "listening must change nothing"


def _plain(line: str) -> str:
    import re

    return re.sub(r"/\S*/ledger", "", line)
