"""Traces of made-up worlds, played again: the same core does the same, and another one is found out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bugs import BUGS
from stories import STORIES, befall, parts, shape_of
from typer.testing import CliRunner

from baash import packing
from baash.cli import app
from baash.errors import BaashError, InputError, UsageError
from baash.sim.check_trace import Checked, check
from baash.sim.shape import drawn
from baash.sim.simulation import Outcome, play
from baash.trace import frames
from baash.trace.frames import File, Frame
from baash.trace.happened import Happened

RUN = CliRunner()


def traced(folder: Path, seed: int, **given: object) -> Outcome:
    folder.mkdir()
    outcome = play(drawn(seed, given), trace=folder)
    assert not outcome.violations, outcome.violations
    return outcome


def differences(found: list[Checked]) -> list[Any]:
    return [d for one in found for d in one.differences]


def happenings(folder: Path) -> set[int]:
    return {f.event for path in folder.glob("trace-*") for f in File(path).frames() if f.kind is Frame.EVENT}


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("seed", range(1, 41))
def test_worlds_of_the_mix_do_the_same_again(tmp_path: Path, seed: int) -> None:
    traced(tmp_path / "t", seed)
    before = everything(tmp_path)
    found = check(tmp_path / "t")
    assert not differences(found)
    assert sum(one.events for one in found) > 20
    assert everything(tmp_path) == before, "nothing is written"


@pytest.mark.parametrize(
    ("kind", "event"),
    [("kill validator", Happened.NODES_LOST), ("disk full", Happened.PERSIST_FAILED), ("partition", Happened.MESSAGE)],
)
def test_worlds_with_one_kind_of_accident(tmp_path: Path, kind: str, event: Happened) -> None:
    seen: set[int] = set()
    for seed in range(6):
        traced(tmp_path / str(seed), seed, kinds=(kind,), liars=0, lying_coordinators=0, harsh=False, clusters=2)
        assert not differences(check(tmp_path / str(seed)))
        seen |= happenings(tmp_path / str(seed))
    assert event in seen


def test_liars_are_not_played_and_those_they_lie_to_are(tmp_path: Path) -> None:
    traced(tmp_path / "t", 5, deceits=("against",), liars=1, faults=1, kinds=(), lying_coordinators=0, harsh=False)
    found = check(tmp_path / "t")
    assert not differences(found) and any(one.liars for one in found) and any(one.unplayed for one in found)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_stories_do_the_same_again(tmp_path: Path, path: Path) -> None:
    head, _ = parts(path)
    (tmp_path / "t").mkdir()
    play(shape_of(head), listen=1, change=lambda sim: befall(sim, head), trace=tmp_path / "t")
    found = check(tmp_path / "t")
    assert not differences(found) and not any(one.lost for one in found)
    if "storage" in path.stem:
        assert Happened.LEDGER_READ in happenings(tmp_path / "t")


def test_tracing_changes_nothing(tmp_path: Path) -> None:
    for seed in (5, 17, 31):
        first, second = traced(tmp_path / str(seed), seed), play(drawn(seed))
        assert first.messages == second.messages and first.simulated_ns == second.simulated_ns
        assert first.reports == second.reports


# -- it can fail ----------------------------------------------------------------------------------------------------

IN_THE_CORE = (  # bugs of ``bugs.py``
    "acknowledged before the record",
    "anybody closes",
    "certificates unchecked",
    "entity lists believed",
    "next proposal at once",
    "no entity lock",
    "number reused",
    "number twice in a batch",
    "own state not applied",
    "quorum off by one",
)
WORLDS = 120  # of these at least one tells a sound core from another


@pytest.mark.parametrize("name", IN_THE_CORE)
def test_another_core_is_found_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []
    for seed in range(1, WORLDS):
        traced(world := tmp_path / str(seed), seed, **BUGS[name].given)
        with monkeypatch.context() as patched:
            BUGS[name].plant(patched)
            found = differences(check(world))
        assert not differences(check(world))
        if found:
            break
    assert found
    for one in found:
        assert one.signing or one.then[one.at : one.at + 1] != one.now[one.at : one.at + 1] or one.detail[one.at]


def test_a_liar_that_says_nothing_of_it_is_found_out(tmp_path: Path) -> None:
    """The mark of a made-up liar taken away: its votes are not what the core does."""
    traced(tmp_path / "t", 5, deceits=("against",), liars=1, faults=1, kinds=(), lying_coordinators=0, harsh=False)
    liars = {(one.rank, node) for one in check(tmp_path / "t") for node in one.liars}
    for path in (tmp_path / "t").glob("trace-*"):
        _write_again(
            path, lambda f: [_honest(f.arrays[0].tobytes()), *f.arrays[1:]] if f.kind is Frame.VIEW else f.arrays
        )
    found = differences(check(tmp_path / "t"))
    assert found and {(one.rank, one.node) for one in found} <= liars
    assert any("does not sign what was signed then" in text for one in found for text in one.signing)


def _honest(said: bytes) -> bytes:
    return json.dumps({**json.loads(said), "liars": []}).encode()


def _write_again(path: Path, change: Any) -> None:
    """A trace with sound checksums and other content."""
    read = [(f, change(f)) for f in File(path).frames()]
    raw = b"".join(
        b"".join(bytes(p) for p in frames.frame(f.kind, arrays, event=f.event, node=f.node, time_ns=f.time_ns))
        for f, arrays in read
    )
    path.unlink()
    path.write_bytes(frames.head() + raw)


# -- files as they should not be ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of a world without accidents."""
    folder = tmp_path_factory.mktemp("calm") / "t"
    traced(folder, 1, kinds=(), liars=0, lying_coordinators=0, harsh=False, nodes=6, clusters=1, faults=1)
    return folder


@pytest.fixture
def trace(calm: Path, tmp_path: Path) -> Iterator[Path]:
    """One of its own for a test, ledger and all."""
    shutil.copytree(calm, tmp_path / "t")
    yield tmp_path / "t"


def largest(folder: Path) -> Path:
    return max(folder.glob("trace-*"), key=lambda p: p.stat().st_size)


def test_a_moved_ledger_is_named(trace: Path, calm: Path, tmp_path: Path) -> None:
    os.rename(trace / "ledger", tmp_path / "elsewhere")
    found = check(trace, tmp_path / "elsewhere")
    assert not differences(found) and all(one.ended == "" for one in found)
    with pytest.raises(InputError, match="say where it is with --ledger"):
        check(trace, tmp_path / "nowhere")


def test_another_ledger_is_refused(trace: Path, tmp_path: Path) -> None:
    traced(tmp_path / "other", 2, kinds=(), nodes=6, clusters=1, faults=1)
    with pytest.raises(InputError, match="another view of that number"):
        check(trace, tmp_path / "other" / "ledger")


def test_one_file_may_hold_several_views(tmp_path: Path) -> None:
    """As a rank writes it that goes from one view to the next."""
    traced(tmp_path / "t", 8, kinds=("kill job",), liars=0, lying_coordinators=0, harsh=False, nodes=6, clusters=1)
    before = check(tmp_path / "t")
    first, second = (one for one in before if one.rank == before[0].rank and one.views in ([0], [1]))
    ends, goes_on = (tmp_path / "t" / one.file for one in (first, second))
    more = [f for f in File(goes_on).frames() if f.kind is not Frame.RANK]
    raw = ends.read_bytes()[: next((f.at for f in File(ends).frames() if f.kind is Frame.END), None)]
    goes_on.unlink()
    ends.write_bytes(raw + b"".join(map(_raw, more)))
    one = next(one for one in check(tmp_path / "t") if one.file == first.file)
    assert one.views == [0, 1] and one.events == first.events + second.events > first.events and not one.differences
    assert one.nodes == first.nodes + second.nodes and one.ended == second.ended


def _raw(f: frames.Read) -> bytes:
    return b"".join(map(bytes, frames.frame(f.kind, f.arrays, event=f.event, node=f.node, time_ns=f.time_ns)))


def test_a_cut_trace_is_played_up_to_there(trace: Path) -> None:
    path = largest(trace)
    raw = path.read_bytes()
    whole = next(one for one in check(trace) if one.file == path.name)
    events = set()
    for size in range(0, len(raw), max(1, len(raw) // 60)):
        path.write_bytes(raw[:size])
        found = check(trace)
        one = next(one for one in found if one.file == path.name)
        assert not differences(found) and one.ended is None and one.events <= whole.events
        events.add(one.events)
    assert len(events) > 10


def test_a_flipped_bit_is_damage_and_no_difference(trace: Path) -> None:
    path = largest(trace)
    raw = path.read_bytes()
    for at in range(16, len(raw), max(1, len(raw) // 200)):
        flipped = bytearray(raw)
        flipped[at] ^= 0x10
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="is damaged at byte"):
            check(trace)


@pytest.mark.parametrize("seed", range(3))
def test_frames_that_make_no_sense_are_damage(trace: Path, seed: int) -> None:
    """Whoever writes sound checksums over nonsense gets an error or a difference, and never a traceback."""
    path = largest(trace)
    raw = path.read_bytes()
    number = len(list(File(path).frames()))
    for victim in range(number):
        path.write_bytes(raw)
        count = 0

        def spoil(frame: frames.Read, victim: int = victim) -> list[packing.Packable]:
            nonlocal count
            count += 1
            arrays: list[packing.Packable] = [a.tobytes() for a in frame.arrays]
            if count - 1 != victim:
                return arrays
            if seed == 0:
                return arrays[:-1]
            if seed == 1:
                return [bytes(a)[: len(a) // 2] for a in arrays]
            return [bytes(b ^ 0x5A for b in bytes(a)) for a in arrays]

        _write_again(path, spoil)
        try:
            check(trace)
        except BaashError:
            continue


def test_what_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no trace in"):
        check(tmp_path)
    with pytest.raises(InputError, match="there is no trace in"):
        check(tmp_path / "nowhere")
    (tmp_path / "trace-000000-000000").write_bytes(b"")
    with pytest.raises(InputError, match="end before the first view"):
        check(tmp_path)


# -- the command ----------------------------------------------------------------------------------------------------


def test_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    world = ["--nodes", "6", "--clusters", "1", "--faults", "1", "--liars", "0", "--lying-coordinators", "0"]
    done = RUN.invoke(app(), ["simulate", "--seeds", "1", "--seed", "3", *world, "--trace", str(folder)])
    assert done.exit_code == 0, done.output
    done = RUN.invoke(app(), ["simulate", "--check-trace", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    fields = json.loads(done.output)
    assert fields["schema_version"] == 1 and fields["same"] and not fields["differences"]
    assert fields["events"] == sum(t["events"] for t in fields["traces"]) > 0 < fields["signatures"]
    done = RUN.invoke(app(), ["simulate", "--check-trace", str(folder)])
    assert done.exit_code == 0 and "the same is done" in done.output


def test_the_command_tells_the_first_difference(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS["acknowledged before the record"].plant(monkeypatch)
    done = RUN.invoke(app(), ["simulate", "--check-trace", str(trace)])
    assert done.exit_code == 1
    assert "DIFFERENCE: rank " in done.output and "what happens: node " in done.output
    assert "then:" in done.output and "the node writes the commit record" in done.output and "now:" in done.output
    done = RUN.invoke(app(), ["simulate", "--check-trace", str(trace), "--json"])
    assert done.exit_code == 1
    first = json.loads(done.output)["differences"][0]
    assert {"rank", "view", "node", "event", "time_ns", "happened", "then", "now", "at"} <= set(first)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trace", "x"],  # a hundred seeds
        ["--trace", "x", "--check-trace", "x"],
        ["--check-trace", "x", "--scale"],
        ["--ledger", "x"],
    ],
)
def test_what_does_not_go_together(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUN.invoke(app(), ["simulate", *arguments])
    assert isinstance(done.exception, UsageError), done.output
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("")
    done = RUN.invoke(app(), ["simulate", "--seeds", "1", "--trace", str(tmp_path)])
    assert isinstance(done.exception, UsageError) and "is not empty" in str(done.exception)
