"""The product as a user starts it, recorded: ``baash …`` (cli) or one rank of a run, started by mpirun (run)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import recorded

if __name__ == "__main__":
    recorded.prepare()
    if sys.argv.pop(1) == "cli":
        from baash.cli import main
    else:
        from baash.run import main
    main()
