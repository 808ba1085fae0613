"""A process that forks a writer for each line it reads, so that a thousand runs cost one start of Python.

A line is the JSON of ``recording.Run``; the answer is the JSON of ``recording.Outcome``. Each run is a whole life of a
writer in one process: claim, restore, publish, vote, commit, checkpoint, exit. The fork records; the parent never does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import readers
import recorded
from ledgers import record

from baash import rank
from baash.options import RunOptions
from baash.records import Operation


def steps_of(asked: dict[str, Any]) -> list[list[bytes]]:
    """``steps`` times ``together`` creations of entities with a payload."""
    name = asked["source"]
    return [
        [
            record(
                Operation.CREATE, f"{name}/{s}/{i}", s * asked["together"] + i, source=name, payload=payload(asked, s)
            )
            for i in range(asked["together"])
        ]
        for s in range(asked["steps"])
    ]


def payload(asked: dict[str, Any], step: int) -> bytes:
    return bytes((step + i) % 251 for i in range(asked["payload"]))


def run(asked: dict[str, Any]) -> dict[str, Any]:
    os.environ["BAASH_KEYS"] = asked["keys"]
    done = recorded.prepare()
    recorded.weaken(asked["weak"])
    status: dict[str, Any] = {}

    def on_event(event: str, fields: dict[str, Any]) -> None:
        if event == "status":
            status.update(fields)

    if asked["job"] == "read":
        return read(asked)
    if asked["log"]:
        recorded.start(asked["root"], asked["log"], asked["fault"])
    options = RunOptions(
        Path(asked["ledger"]),
        ranks=1,
        launcher="none",
        block_size=2,
        clusters=asked["clusters"],
        nodes_per_rank=5 * asked["clusters"],
        seed=asked["seed"],
        take_over=asked["take_over"],
        segment_bytes=asked["segment_bytes"],
    )
    source = recorded.InSteps(asked["source"], steps_of(asked), lambda: done.count)
    rank.run(options, on_event, alone=True, drain_requested=lambda: False, sources=lambda: [source])
    counts = recorded.counts() if asked["log"] else {}
    return {**recorded.outcome(status), "acknowledged": done.count, "traceback": "", **counts}


def read(asked: dict[str, Any]) -> dict[str, Any]:
    """All questions, which are drawn from the ledger before anything is disturbed."""
    questions = readers.questions(Path(asked["ledger"]))
    if asked["log"]:
        recorded.start(asked["root"], asked["log"], asked["fault"])
    answers = readers.answers(Path(asked["ledger"]), questions)
    return {"exit_code": 0, "answers": answers, **(recorded.counts() if asked["log"] else {})}


def child(asked: dict[str, Any], answer: int) -> None:
    """Never returns. Ends like a process that has nothing to say any more: no exit handlers, as under MPI."""
    signal.alarm(asked["seconds"])  # a hang ends by a signal that nobody else sends
    try:
        said = run(asked)
    except BaseException:
        said = {"exit_code": None, "error": "", "acknowledged": 0, "traceback": traceback.format_exc()}
    os.write(answer, json.dumps(said).encode())
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(here)
            child(json.loads(line), there)
        os.close(there)
        with open(here, "rb") as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"ended": status, **(json.loads(text) if text else {})}), flush=True)


if __name__ == "__main__":
    main()
