"""Each planted bug (``bugs.py``) is found: in the seed that found it last, or in one of the first five hundred."""

from __future__ import annotations

from itertools import chain

import pytest
from bugs import BUGS

from baash.sim.shape import drawn
from baash.sim.simulation import play

SEEDS = 500


@pytest.mark.parametrize("name", sorted(BUGS))
def test_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = BUGS[name]
    bug.plant(monkeypatch)
    for seed in chain((bug.found,), range(1, SEEDS + 1)):
        if play(drawn(seed, bug.given)).violations:
            return
    pytest.fail(f"{bug.what}: not found in {SEEDS} seeds")
