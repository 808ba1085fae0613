"""One rank of a recorded run: ``python -m baash.run`` with marks, small segments and short pauses. Started by mpirun."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import recorded

from baash.run import main

if __name__ == "__main__":
    recorded.prepare(int(os.environ["BAASH_CRASH_SEGMENT_BYTES"]))
    main()
