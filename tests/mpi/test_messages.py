"""Messages of all sizes between real ranks: order, bytes, counters, hellos, broadcast."""

from __future__ import annotations

import pytest
from conftest import Run

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize(("ranks", "btl"), [(1, None), (2, None), (4, "tcp,self"), (8, None)])
def test_messages_arrive_whole_and_in_order(run_ranks: Run, ranks: int, btl: str | None) -> None:
    ran = run_ranks(ranks, "messages.py", ranks, btl=btl)
    assert sorted(note["rank"] for note in ran.notes("good")) == list(range(ranks)), ran.stdout + ran.stderr
    assert ran.exit_code == 0
