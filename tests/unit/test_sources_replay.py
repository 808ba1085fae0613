"""Every source gives records that scan, that keep to the rules when replayed in order, and that no chunk size changes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from baash import batch, sources
from baash.records import ANY_VERSION, Operation, Reason, source_issuer

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
EXAMPLES = [ROOT / "examples" / "pulsar-survey.json", ROOT / "examples" / "instrument-log.jsonl"]
WORKFLOWS = {
    "1000genome-chameleon-4ch-100k-001.json": 573,
    "montage-chameleon-2mass-01d-001.json": 770,
    "sarek-dirt02-001.json": 188,
}
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there: real workflow runs and logs")


def joined(source: sources.Source, size: int = 100) -> tuple[batch.Batch, list[bytes], list[str]]:
    """All transactions, names read and sentences on what was skipped."""
    records: list[np.ndarray] = []
    reads: list[bytes] = []
    skipped: list[str] = []
    for chunk in source.chunks(size):
        assert chunk.count <= size
        found, reason, _ = batch.scan(chunk.records)
        assert reason == Reason.NONE
        assert len(found) == chunk.count
        records.append(chunk.records)
        if chunk.reads is not None:
            text, offsets = chunk.reads[0].tobytes(), chunk.reads[1].tolist()
            reads += [text[a:b] for a, b in pairwise(offsets)]
        skipped += chunk.skipped
    found, reason, _ = batch.scan(np.concatenate([np.zeros(0, dtype=np.uint8), *records]))
    assert reason == Reason.NONE
    return found, reads, skipped


def entity(found: batch.Batch, at: int) -> str:
    start = int(found.info["start"][at]) + 64
    return found.records[start : start + int(found.info["entity_bytes"][at])].tobytes().decode()


def payload(found: batch.Batch, at: int) -> bytes:
    start = int(found.info["start"][at]) + int(found.info["payload_start"][at])
    return found.records[start : start + int(found.info["payload_bytes"][at])].tobytes()


def references(found: batch.Batch, at: int) -> list[bytes]:
    count = int(found.info["reference_count"][at])
    end = int(found.info["start"][at]) + int(found.info["payload_start"][at])
    return [found.records[end - 32 * (count - i) : end - 32 * (count - i - 1)].tobytes() for i in range(count)]


def replay(found: batch.Batch, versions: dict[str, int] | None = None) -> list[str]:
    """The rules of docs/ledger-format.md, one transaction at a time; what breaks them."""
    versions = {} if versions is None else versions
    alive = set(versions)
    broken = []
    for at in range(len(found)):
        name, operation = entity(found, at), Operation(int(found.info["operation"][at]))
        expected = int(found.info["expected_version"][at])
        if operation == Operation.CREATE:
            good = name not in alive
        elif operation == Operation.NOTE:
            good = True
        else:
            good = name in alive and expected in (ANY_VERSION, versions[name])
        if not good:
            broken.append(f"{at}: {operation.name} {name}")
        elif operation in (Operation.CREATE, Operation.UPDATE, Operation.RETIRE):
            versions[name] = versions.get(name, 0) + 1
            (alive.discard if operation == Operation.RETIRE else alive.add)(name)
    return broken


def check(source: sources.Source) -> batch.Batch:
    found, _, skipped = joined(source)
    assert skipped == []
    assert source.total == len(found)
    assert replay(found) == []
    assert set(map(bytes, found.info["issuer"])) == {source_issuer(source.name)}
    assert found.info["sequence"].tolist() == list(range(len(found)))
    for size in (1, 7, 10_000):
        assert np.array_equal(joined(source, size)[0].records, found.records)
    known: set[bytes] = set()
    for at in range(len(found)):  # what is referred to comes before
        assert known.issuperset(references(found, at))
        known.add(found.ids[at].tobytes())
    return found


def origins(found: batch.Batch, name: str) -> set[str]:
    """Names of all entities that following references from the last write of ``name`` reaches."""
    place = {found.ids[at].tobytes(): at for at in range(len(found))}
    writes = [at for at in range(len(found)) if entity(found, at) == name and found.info["operation"][at] in (1, 2)]
    reached, ahead = set(), [writes[-1]]
    while ahead:
        at = ahead.pop()
        if at not in reached:
            reached.add(at)
            ahead += [place[reference] for reference in references(found, at)]
    return {entity(found, at) for at in reached}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    check(sources.open_input(path))


def test_the_example_workflow_is_what_its_script_makes_and_is_large_enough() -> None:
    import json
    import runpy

    made = runpy.run_path(str(ROOT / "examples" / "make_pulsar_survey.py"))["workflow"]()
    assert json.dumps(made, indent=1) + "\n" == EXAMPLES[0].read_text()
    total = sources.open_input(EXAMPLES[0]).total
    assert total is not None and total >= 400


@needs_data
@pytest.mark.parametrize("name", WORKFLOWS)
def test_real_workflows_load(name: str) -> None:
    assert len(check(sources.open_input(DATA / "wfcommons" / name))) == WORKFLOWS[name]


@needs_data
def test_the_mosaics_chain_reaches_the_inputs() -> None:
    found = check(sources.open_input(DATA / "wfcommons" / "montage-chameleon-2mass-01d-001.json"))
    reached = origins(found, "montage/mosaic-color.png")
    assert "montage/region-oversized.hdr" in reached
    assert "montage/2mass-atlas-001021s-j0560033.fits" in reached
    assert "montage/task/mProject_ID0000001" in reached
    assert "montage" in reached
    inputs = {entity(found, at) for at in range(len(found)) if not references(found, at)} - {"montage"}
    fits = {name for name in inputs if "2mass-atlas" in name}
    assert len(fits) >= 10 and fits <= reached


@needs_data
@pytest.mark.parametrize(("log", "count"), [("example", 2), ("dxt", 275), ("ior_hdf5_example", 3)])
def test_darshan_logs_load(log: str, count: int) -> None:
    pytest.importorskip("darshan")
    assert len(check(sources.open_input(DATA / "darshan" / f"{log}.darshan"))) == count


@needs_data
def test_six_darshan_jobs_are_one_source_in_any_order() -> None:
    pytest.importorskip("darshan")
    logs: Iterable[Path] = sorted((DATA / "darshan" / "graph").iterdir())
    (source,) = sources.open_inputs(list(logs))
    found = check(source)
    assert len(found) == 15
    (other,) = sources.open_inputs(list(logs)[::-1])
    assert other.name == source.name
    assert np.array_equal(joined(other)[0].records, found.records)
    folder = "/home/pq/p/software/darshan-pydarshan/darshan-util/pydarshan/examples/darshan-graph/"
    reached = origins(found, folder + "C")
    assert {folder + "A", folder + "B"} <= reached
    assert folder + "Z" not in reached
    jobs = {name.split("-")[0] for name in reached if name.startswith("darshan/")}
    assert jobs == {"darshan/71296", "darshan/71303", "darshan/71326"}
    uses = [at for at in range(len(found)) if entity(found, at) == folder + "C" and found.info["operation"][at] == 3]
    assert len(uses) == 1 and b"darshan/71344-" in payload(found, uses[0])
