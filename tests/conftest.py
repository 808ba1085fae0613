"""Test helpers beside the tests (``worlds.py`` and the like) are importable from all of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
