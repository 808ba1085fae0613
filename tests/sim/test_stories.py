"""The stories of ``tests/stories`` happen as they are told, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
import stories


@pytest.mark.parametrize("path", stories.STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    _, told = stories.parts(path)
    assert stories.tell(path) == told, "if that is how it shall be: python tests/sim/stories.py, and read what it wrote"
