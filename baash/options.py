"""What a run may be told: one dataclass, and the one command line that fills it, shared by parent and ranks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from baash.errors import UsageError
from baash.protocol.flights import Limits
from baash.protocol.plan import SEGMENT_BYTES
from baash.protocol.replica import REPLICA_BYTES
from baash.protocol.view import QUORUMS, Parameters
from baash.records import PAYLOAD_BYTES_MAX
from baash.sources import FORMATS, WORKLOADS, Source, open_inputs, open_workload
from baash.sources.ycsb import FIELDS, RECORDS_MAX, TRANSACTIONS_MAX
from baash.trace.recorder import TRACE_BYTES

WRITERS = ("auto", "offset", "mpio")
LAUNCHERS = ("mpirun", "srun", "none")
MIB = 1 << 20
REPLICA_BYTES_MAX = 1 << 40
SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MOST = 1 << 12, 1 << 36
TRACE_BYTES_LEAST, TRACE_BYTES_MOST = 1 << 16, 1 << 50


@dataclass(frozen=True)
class RunOptions:
    """The options of ``baash run``; names as on the command line."""

    ledger: Path
    ranks: int = 6
    launcher: str = "mpirun"
    input: tuple[Path, ...] = ()
    format: str | None = None
    source_name: str | None = None
    on_error: str = "stop"
    take_turns: bool = False
    workload: str | None = None
    transactions: int = 100_000
    record_bytes: int = 1000
    record_count: int = 1000
    record_reads: bool = False
    block_size: int = 4
    faults: int = 1
    replacements: int = 2
    clusters: int | None = None
    nodes_per_rank: int | None = None
    quorum: str = "majority"
    seed: int = 1
    writer: str = "auto"
    window_mib: float = 4.0
    replica_bytes: int = REPLICA_BYTES
    segment_bytes: int = SEGMENT_BYTES
    report: Path | None = None
    trace: Path | None = None
    trace_bytes: int = TRACE_BYTES
    take_over: bool = False
    force: bool = False
    debug: bool = False

    def __post_init__(self) -> None:
        if not str(self.ledger).strip() or not self.ledger.name:
            raise UsageError("--ledger must name a folder")
        for name, value, allowed in (
            ("launcher", self.launcher, LAUNCHERS),
            ("writer", self.writer, WRITERS),
            ("quorum", self.quorum, QUORUMS),
            ("on-error", self.on_error, ("stop", "skip")),
        ):
            if value not in allowed:
                raise UsageError(f"--{name} is {value!r}: choose one of {', '.join(allowed)}")
        for name, number, least, most in (
            ("ranks", self.ranks, 1, 1 << 16),
            ("transactions", self.transactions, 0, TRANSACTIONS_MAX),
            ("record-bytes", self.record_bytes, FIELDS, PAYLOAD_BYTES_MAX),
            ("record-count", self.record_count, 1, RECORDS_MAX),
            ("nodes-per-rank", 1 if self.nodes_per_rank is None else self.nodes_per_rank, 1, 1 << 12),
            ("clusters", 1 if self.clusters is None else self.clusters, 1, 4096),
            ("window-mib", self.window_mib, 1 / 64, 48),
            ("replica-bytes", self.replica_bytes, 0, REPLICA_BYTES_MAX),
            ("segment-bytes", self.segment_bytes, SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MOST),
            ("trace-bytes", self.trace_bytes, TRACE_BYTES_LEAST, TRACE_BYTES_MOST),
            ("seed", self.seed, 0, (1 << 64) - 1),
        ):
            if not least <= number <= most:
                raise UsageError(f"--{name} is {number}: it must be {least} to {most}")
        self.parameters()

    def check_here(self) -> None:
        """What only the machine knows: whether report and trace can be written, and whether there is parallel HDF5."""
        if self.report is not None:
            folder = self.report.absolute().parent
            if self.report.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
                raise UsageError(f"--report {self.report} cannot be written: its folder must exist and be writable")
        if self.trace is not None:
            folder = self.trace if self.trace.exists() else self.trace.absolute().parent
            if not folder.is_dir() or not os.access(folder, os.W_OK):
                raise UsageError(
                    f"--trace {self.trace} cannot be written: name a folder, in one that exists and is writable"
                )
        if self.writer == "mpio":
            from baash.ledger import library

            library.require_parallel()

    def parameters(self) -> Parameters:
        return Parameters(self.faults, self.replacements, self.quorum, self.block_size)

    def limits(self) -> Limits:
        window = int(self.window_mib * MIB)
        return Limits(window_bytes=window, queue_bytes=max(4 * window, 4 * MIB), segment_bytes=self.segment_bytes)

    def nodes_here(self, ranks: int) -> int:
        """Nodes each rank hosts: as told, else one, or as many as the smallest cluster needs."""
        if self.nodes_per_rank is not None:
            return self.nodes_per_rank
        return max(1, -(-(self.parameters().sub_cluster + 1) // ranks))

    def sources(self) -> list[Source]:
        """The inputs, then the workload. Raises InputError: then nothing of them has been given."""
        found = list(open_inputs(self.input, self.format, self.source_name, self.on_error)) if self.input else []
        if self.workload is not None:
            found.append(
                open_workload(
                    self.workload,
                    self.transactions,
                    self.record_bytes,
                    max(1, self.transactions) if self.workload == "ycsb-load" else self.record_count,
                    self.seed,
                    self.record_reads,
                )
            )
        return found

    def arguments(self) -> list[str]:
        """The command line that says the same: what the parent gives to the ranks."""
        line: list[str] = []
        for option in fields(self):
            value = getattr(self, option.name)
            flag = "--" + option.name.replace("_", "-")
            if isinstance(value, tuple):
                for item in value:
                    line += [flag, str(item)]
            elif isinstance(value, bool):
                line += [flag] if value else []
            elif value is not None:
                line += [flag, str(value)]
        return line


_HELP: dict[str, str] = {
    "ledger": "Folder of the ledger; made if it is not there, continued if it is.",
    "ranks": "MPI processes to start.",
    "launcher": "mpirun, srun (no recovery inside the job), or none (one process, no MPI).",
    "input": "A file to record: WfFormat (.json), JSON Lines (.jsonl) or a Darshan log. More may follow it.",
    "format": f"Format of the inputs, where the name does not tell: {', '.join(FORMATS)}.",
    "source_name": "Name of the input as an issuer; default: made of the format and the hash of its bytes.",
    "on_error": "stop: a malformed input commits nothing. skip: leave out what is malformed, and count it.",
    "take_turns": "Read the inputs by turns, so that a short one does not wait for a long one; not for inputs that build on others.",
    "workload": f"A generated workload: {', '.join(WORKLOADS)}.",
    "transactions": "Operations of the workload.",
    "record_bytes": "Payload of a workload's inserts, in bytes.",
    "record_count": "Records that ycsb-load has loaded before ycsb-a … ycsb-f.",
    "record_reads": "Record the workload's reads as USE instead of only answering them.",
    "block_size": "Transactions a block.",
    "faults": "f: faulty validators a sub-cluster tolerates; it has 3f+1 members.",
    "replacements": "c: how often a window is tried with one more validator before the storage validator decides.",
    "clusters": "Clusters; default: about one for 16 nodes.",
    "nodes_per_rank": "Nodes each rank hosts; default: 1, or as many as the smallest cluster needs.",
    "quorum": "majority: more than half of the listed validators. byzantine: at least 2f+1.",
    "seed": "Seed of every draw: membership, coordinators, sub-clusters, workloads.",
    "writer": "offset (plain writes), mpio (parallel HDF5), auto.",
    "window_mib": "Records validated together, in MiB.",
    "replica_bytes": "Memory of each node for its cluster's newest blocks; 0 keeps none, reads go to the ledger.",
    "segment_bytes": "Records a segment file has room for, in bytes; the next file begins behind it.",
    "report": "Write the run report (JSON) here.",
    "trace": "Write what happens to each node into files in this folder, for: baash simulate --check-trace FOLDER.",
    "trace_bytes": "The most a rank writes there, in bytes; then its trace ends, and the run goes on.",
    "take_over": "Write even if somebody else seems to: the older writer is fenced off.",
    "force": "Use a file system that is refused otherwise (NFS).",
    "debug": "Show tracebacks and the launcher's remarks.",
}
_SHORT = {"ranks": ["-n", "--ranks"]}


def command(entry: Callable[[RunOptions], None], doc: str) -> Callable[..., None]:
    """The typer command whose options are those of ``RunOptions``; it calls ``entry`` with them."""

    def run(**values: Any) -> None:
        more = tuple(values.pop("more") or ())
        values["input"] = (*(values["input"] or ()), *more)
        if values["workload"] is None and not values["input"]:
            raise UsageError("nothing to record: give --input FILE or --workload NAME (see baash run --help)")
        entry(RunOptions(**values))

    parameters = []
    for option in fields(RunOptions):
        names = _SHORT.get(option.name, ["--" + option.name.replace("_", "-")])
        kind: Any = {
            "Path": Path,
            "Path | None": Path | None,
            "int": int,
            "int | None": int | None,
            "str": str,
            "str | None": str | None,
            "float": float,
            "bool": bool,
            "tuple[Path, ...]": list[Path] | None,
        }[str(option.type)]
        default = ... if option.name == "ledger" else option.default or (False if kind is bool else option.default)
        if option.name == "input":
            default = None
        flag = names if kind is not bool else [names[0]]
        annotation = Annotated[kind, typer.Option(*flag, help=_HELP[option.name], show_default=kind is not bool)]
        parameters.append(
            inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    more = Annotated[list[Path] | None, typer.Argument(help="More inputs.", show_default=False)]
    parameters.append(inspect.Parameter("more", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=more))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = doc
    return run
