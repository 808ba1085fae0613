"""A parent as ``baash run`` is one: launches ``endings.py``, prints every event and the result as JSON lines."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from baash.cli import launch

launch.GRACE_S = 3.0
result = launch.launch(
    int(sys.argv[1]),
    sys.argv[2:3],
    launcher=sys.argv[3] if len(sys.argv) > 3 else "mpirun",
    program=[str(Path(__file__).with_name("endings.py"))],
    on_progress=lambda event: print(json.dumps(event), flush=True),
)
print(json.dumps({"event": "result", **asdict(result)}), flush=True)
sys.exit(result.exit_code)
