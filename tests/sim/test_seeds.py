"""Seeds of the made-up world: no promise is broken, equal seeds tell equal stories, and what is injected is really injected."""

from __future__ import annotations

import re

import pytest

from baash.protocol.known import Known
from baash.sim import campaign
from baash.sim.accidents import ACCIDENTS
from baash.sim.frauds import FRAUDS, NEED_OTHERS, OF_THE_LEADER, OF_THE_OTHERS, UNREPAIRED
from baash.sim.liars import DECEITS
from baash.sim.shape import drawn
from baash.sim.simulation import play


def clean(first: int, seeds: int, **given: object) -> campaign.Result:
    result = campaign.run(first, seeds, given)
    assert not result.failures, "\n".join([result.failures[0].replay, *result.failures[0].violations])
    return result


def test_mixed_seeds() -> None:
    result = clean(1, 200)
    assert result.totals["committed"] > 4000 and result.totals["rejected"] > 600
    assert len(result.faults) > 30, sorted(result.faults)


@pytest.mark.parametrize("kind", sorted(ACCIDENTS))
def test_each_accident(kind: str) -> None:
    result = clean(2000, 3, kinds=(kind,), liars=0, lying_coordinators=0, harsh=False)
    assert result.totals["committed"]


def test_jobs_go_on_from_view_to_view() -> None:
    """Deaths, stops and splits in worlds with ranks to spare: most jobs live through them, some by several views."""
    kinds = ("kill coordinator", "kill steward", "stop", "partition")
    given = {"nodes": 16, "faults": 1, "clusters": 2, "liars": 0, "lying_coordinators": 0, "harsh": False}
    result = clean(6000, 12, kinds=kinds, transactions=600, **given)
    assert result.totals["views"] > 1.5 * result.totals["jobs"]
    assert result.totals["kept"] > 30, "states are taken over where they can be"
    assert result.faults["rank comes late"] and result.faults["steward killed"]


def test_the_end_of_a_job_that_could_have_gone_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has teeth: stewards that give up at once are found out."""
    monkeypatch.setattr(Known, "is_majority", lambda self, joined, living: False)
    given = {"nodes": 12, "faults": 1, "clusters": 1, "liars": 0, "lying_coordinators": 0, "harsh": False}
    result = campaign.run(6000, 10, {"kinds": ("kill coordinator",), "transactions": 600, **given})
    assert any("could have gone on" in v for f in result.failures for v in f.violations)


@pytest.mark.parametrize("deceit", sorted(DECEITS))
def test_each_deceit_is_survived(deceit: str) -> None:
    result = clean(3000, 3, deceits=(deceit,), liars=1, faults=1, kinds=(), lying_coordinators=0, harsh=False)
    assert result.faults[f"lie: {deceit}"] > 5
    assert sum(result.reports[kind] for kind in NAMED.get(deceit, ())) > 0 or deceit not in NAMED


@pytest.mark.parametrize("deceit", ["contradicts", "other listeners", "flood"])
def test_who_contradicts_himself_is_proved_to_lie(deceit: str) -> None:
    """By the ledger, in nearly every world: in some he is never asked."""
    result = clean(
        3000, 10, deceits=(deceit,), liars=1, faults=1, clusters=2, kinds=(), lying_coordinators=0, harsh=False
    )
    assert result.totals["evidence"] >= 10 and result.reports["contradicted"] >= 10


@pytest.mark.parametrize("fraud", sorted(OF_THE_LEADER | OF_THE_OTHERS))
def test_who_holds_rounds_up_or_speaks_twice_is_named(fraud: str) -> None:
    result = clean(4000, 6, frauds=(fraud,), lying_coordinators=1, clusters=2, kinds=(), liars=0, harsh=False)
    assert result.reports["contradicted" if fraud == "two records" else "suspected"] >= 3
    assert (result.totals["evidence"] >= 3) == (fraud == "two records")


NAMED = {
    "contradicts": ("contradicted",),
    "flood": ("contradicted",),
    "against": ("outvoted",),
    "two-faced": ("outvoted",),
    "as another": ("bad_message",),
    "forged": ("bad_message",),
    "forged again": ("bad_message",),
    "noise": ("bad_message",),
    "oversized": ("bad_message",),
    "as coordinator": ("bad_message",),
}


@pytest.mark.parametrize("fraud", sorted(set(FRAUDS) - UNREPAIRED))
def test_each_fraud_is_survived(fraud: str) -> None:
    result = clean(4000, 3, frauds=(fraud,), lying_coordinators=1, clusters=2, kinds=(), liars=0, harsh=False)
    assert result.faults[f"fraud: {fraud}"]


@pytest.mark.parametrize("fraud", sorted(UNREPAIRED | NEED_OTHERS))
def test_what_honest_nodes_cannot_stop_is_named_by_the_audit(fraud: str) -> None:
    """A lone coordinator, or one that repeats itself in windows in flight: ``docs/simulation.md``, what is not detected."""
    given = {"frauds": (fraud,), "lying_coordinators": 1, "clusters": 1, "kinds": (), "liars": 0, "harsh": False}
    result = campaign.run(5000, 6, given)
    assert result.failures
    assert all("audit: " in f.violations[0] or "acknowledged" in f.violations[0] for f in result.failures)


def test_equal_seeds_tell_equal_stories() -> None:
    for seed in (5, 17, 31):
        first, second = (play(drawn(seed), listen=10_000) for _ in range(2))
        assert [_plain(line) for line in first.told] == [_plain(line) for line in second.told]
        assert first.messages == second.messages and first.simulated_ns == second.simulated_ns
        assert play(drawn(seed)).messages == first.messages, "listening must change nothing"


def _plain(line: str) -> str:
    return re.sub(r"/\S*/ledger", "", line)
