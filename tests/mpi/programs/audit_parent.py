"""``baash verify -n N`` whose ranks are ``audit_fails.py``: ``audit_parent.py HOW RANK verify -n N LEDGER``."""

from __future__ import annotations

import sys
from pathlib import Path

from baash.cli import main, verify

how, rank = sys.argv[1:3]
del sys.argv[1:3]
fails = str(Path(__file__).parent / "audit_fails.py")
verify._RANK = f"import runpy, sys; sys.argv[1:2] = [{how!r}, {rank!r}]; runpy.run_path({fails!r}, run_name='__main__')"
main()
