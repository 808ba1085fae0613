"""The audit against the hash kernels on the same bytes, in the same run: ``baash verify`` is to reach half of what they give.

``pytest bench/bench_audit.py`` (a small ledger), ``BAASH_BENCH=full`` for sizes that mean something (some GB in the temporary
folder, a few minutes). ``BAASH_BENCH_LEDGER=FOLDER`` measures a ledger that is there already.

The kernels' rate is that of ``sha256_spans`` over a ledger's own records, in memory, by one thread and by as many as there are
cores. Audit and kernels take turns; ratios are of medians. Reading the file, hashing everything else that is hashed
(entities, trees, headers), signatures and rules are all in the audit's time; each turn checks all signatures again.

``by_cpu`` is the ratio of bytes by processor second: what the other two are together, on cores that nobody else uses.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure import FULL

from baash import kernels, keys
from baash.ledger.audit import audit, cores
from baash.ledger.reader import Ledger

TURNS = 5 if FULL else 2
SAMPLE_BYTES = 256 << 20  # of the records that the kernels hash
SHAPES = {  # transactions, bytes of a record, more options of the run
    "1000 bytes, blocks of 4": (1_000_000 if FULL else 2_000, 1000, ()),
    "1000 bytes, blocks of 250": (1_000_000 if FULL else 2_000, 1000, ("--block-size", "250")),
    "100 bytes, blocks of 4": (2_000_000 if FULL else 4_000, 100, ()),
    "100 bytes, blocks of 250": (2_000_000 if FULL else 4_000, 100, ("--block-size", "250")),
    "small rounds": (200_000 if FULL else 2_000, 1000, ("--window-mib", "0.0625")),
}


def make(folder: Path, shape: str) -> Path:
    """A ledger by a real run, of one process."""
    count, size, options = SHAPES[shape]
    command = [sys.executable, "-m", "baash.run", "--launcher", "none", "--nodes-per-rank", "6"]
    workload = ["--workload", "ycsb-load", "--transactions", str(count), "--record-bytes", str(size)]
    subprocess.run(
        [*command, "--ledger", str(folder), *workload, *options], check=True, stdout=subprocess.DEVNULL, timeout=900
    )
    return folder


def sample(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Records of a ledger: bytes, starts, lengths."""
    parts, held = [], 0
    with Ledger(path) as ledger:
        for round in ledger.rounds:
            parts.append(round.records(round.headers()))
            held += len(parts[-1])
            if held >= SAMPLE_BYTES:
                break
    records = np.concatenate(parts)
    info, _, _ = kernels.scan(records)
    return records, info["start"].copy(), info["total_bytes"].astype(np.uint64)


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Elapsed, and of all processors together."""
    keys._verify_digest.cache_clear()
    began, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - worked


def compare(path: Path) -> dict[str, float]:
    """MB/s by medians, and the ratios."""
    records, starts, lengths = sample(path)
    out, all_cores = np.empty((len(starts), 32), dtype=np.uint8), cores()
    report = audit(path)
    assert report.ok, report.problems[:3]
    names = ("audit", "audit_cpu", "kernels", "kernels_cpu", "kernels_all", "kernels_all_cpu")
    rates: dict[str, list[float]] = {name: [] for name in names}

    def note(name: str, count: int, taken: tuple[float, float]) -> None:
        rates[name].append(count / taken[0])
        rates[f"{name}_cpu"].append(count / taken[1])

    for _ in range(TURNS):
        note("audit", report.records_bytes, seconds(lambda: audit(path)))
        for name, threads in (("kernels", 1), ("kernels_all", all_cores)):
            hashing = partial(kernels.sha256_spans, records, starts, lengths, out=out, threads=threads)
            note(name, len(records), seconds(hashing))
    found = {name: statistics.median(each) / 1e6 for name, each in rates.items()}
    return found | {
        "to_one_core": found["audit"] / found["kernels"],
        "to_all_cores": found["audit"] / found["kernels_all"],
        "by_cpu": found["audit_cpu"] / found["kernels_cpu"],
        "cores": all_cores,
        "signatures": report.signatures,
        "rounds": report.rounds,
        "records_mb": report.records_bytes / 1e6,
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_audit(tmp_path: Path, shape: str) -> None:
    there = os.environ.get("BAASH_BENCH_LEDGER")
    found = compare(Path(there) if there else make(tmp_path / "ledger", shape))
    print(f"\n{shape}: " + ", ".join(f"{name} {value:,.3g}" for name, value in found.items()))
    assert found["audit"] > 0
