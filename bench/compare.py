"""Holds a run of the benches against the stored baseline: ``make bench-compare``; ``make bench-baseline`` stores a new one.

Compared are rates by the rate of hashlib in the same run, never times. On a noisy machine a single low ratio says nothing, so what
falls below its baseline is measured again, up to twice, and has regressed only if its best ratio stays below. A baseline is of one
CPU model: on another one there is nothing to compare, and that is said, not passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
ALLOWED_LOSS = 0.20  # three runs on an idle machine differed by up to 9 %, with a neighbour by up to 17 %
AGAIN = 2
NOT_COMPARABLE = 77


def measure(names: list[str]) -> tuple[str, dict[str, float]]:
    """(CPU model, ratio by benchmark) of a run of ``names``; of all when there are none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(names or [str(HERE)])]
        subprocess.run(
            [*command, "--benchmark-columns=min", "--benchmark-json", str(file)],
            check=True,
            env={**os.environ, "BAASH_BENCH": "full"},
            stdout=subprocess.DEVNULL,
        )
        result = json.loads(file.read_text())
    found = {b["fullname"]: b["extra_info"]["to_reference"] for b in result["benchmarks"]}
    return result["machine_info"]["cpu"]["brand_raw"], found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help="store what is measured as the new baseline")
    if parser.parse_args().store:
        cpu, ratios = measure([])
        for _ in range(AGAIN):
            _, more = measure([])
            ratios = {name: max(ratio, more[name]) for name, ratio in ratios.items()}
        BASELINE.write_text(
            json.dumps({"cpu": cpu, "ratios": {k: round(v, 4) for k, v in ratios.items()}}, indent=1) + "\n"
        )
        print(f"{len(ratios)} ratios stored in {BASELINE.name}")
        return 0
    baseline = json.loads(BASELINE.read_text())
    cpu, ratios = measure([])
    if cpu != baseline["cpu"]:
        print(f"the baseline is of {baseline['cpu']}, this is {cpu}: nothing compared (make bench-baseline stores one)")
        return NOT_COMPARABLE
    known = baseline["ratios"]
    for _ in range(AGAIN):
        low = [name for name, ratio in ratios.items() if ratio < known.get(name, 0) * (1 - ALLOWED_LOSS)]
        if not low:
            break
        for name, ratio in measure(low)[1].items():
            ratios[name] = max(ratios[name], ratio)
    regressed = [name for name, ratio in ratios.items() if ratio < known.get(name, 0) * (1 - ALLOWED_LOSS)]
    for name, ratio in sorted(ratios.items()):
        before = known.get(name)
        change = "new" if before is None else f"{ratio / before - 1:+.0%}"
        print(f"{'REGRESSED ' if name in regressed else ''}{name}: {ratio:.3g} × the reference ({change})")
    for name in sorted(known.keys() - ratios.keys()):
        print(f"gone or not run here: {name}")
    print(f"{len(ratios)} compared, {len(regressed)} regressed by more than {ALLOWED_LOSS:.0%}")
    return 1 if regressed else 0


if __name__ == "__main__":
    sys.exit(main())
