"""What all tests share: modules beside them (``worlds.py`` and the like) are importable, and two readers agree on every ledger.

Whatever ledger a test leaves in its own folder is read by the second reader too, which was written from the page alone
(``reader/agreement.py``); what fixtures that live longer made is when a module is done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reader import agreement


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if agreement.seen.compared or agreement.seen.too_large:
        terminalreporter.write_line(agreement.seen.line())


@pytest.fixture(autouse=True)
def two_readers_agree(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up before all else of a test, so that its writers and patches are gone when this looks."""
    room = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if room is not None:
        agreement.agree(room)


@pytest.fixture(autouse=True, scope="module")
def two_readers_agree_on_the_rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    for room in set(tmp_path_factory.getbasetemp().iterdir()) - agreement.seen.rooms:
        agreement.agree(room)
