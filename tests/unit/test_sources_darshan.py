"""Darshan: the drafts that uses of files come to, and logs that are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_sources_replay import DATA, joined, needs_data, replay

from baash import sources
from baash.errors import InputError, UsageError
from baash.records import Operation
from baash.sources import darshan, darshan_log
from baash.sources.darshan_log import FileUse, Log
from baash.sources.drafts import DraftSource


def use(read: int = 0, written: int = 0, read_s: float = float("inf"), write_s: float = float("inf")) -> FileUse:
    return FileUse({"POSIX": {"bytes_read": read, "bytes_written": written}}, {}, read_s, write_s)


def log(number: int, **files: FileUse) -> Log:
    return Log(f"{number:064x}", number * 10**9, number * 10**9, {"job_id": number}, files)


def story(*logs: Log) -> list[str]:
    drafts = darshan._drafts(list(logs))
    assert replay(joined(DraftSource("test", drafts))[0]) == []
    return [f"{draft.operation.name} {draft.entity.decode().split('-')[0]}" for draft in drafts]


def test_a_read_file_of_unknown_origin_is_found_once() -> None:
    told = story(log(1, a=use(read=5, read_s=1)), log(2, a=use(read=5, read_s=1)))
    assert told == ["CREATE darshan/1", "CREATE a", "USE a", "CREATE darshan/2", "USE a"]


def test_written_files_are_created_then_updated() -> None:
    told = story(log(1, a=use(written=5, write_s=1)), log(2, a=use(written=5, write_s=1)))
    assert told == ["CREATE darshan/1", "CREATE a", "CREATE darshan/2", "UPDATE a"]


def test_read_then_written_and_written_then_read() -> None:
    assert story(log(1, a=use(5, 5, 1.0, 2.0))) == ["CREATE darshan/1", "CREATE a", "USE a", "UPDATE a"]
    assert story(log(1, a=use(5, 5, 2.0, 1.0))) == ["CREATE darshan/1", "CREATE a", "USE a"]


def test_a_write_refers_to_the_job_and_to_what_it_used() -> None:
    drafts = darshan._drafts([log(1, a=use(read=5, read_s=1), b=use(written=5, write_s=2.5))])
    assert [draft.references for draft in drafts] == [(), (), (1, 0), (0, 1)]
    assert [draft.time_ns for draft in drafts] == [10**9, 10**9, 2 * 10**9, 3_500_000_000]
    assert drafts[3].operation == Operation.CREATE


@needs_data
def test_a_copy_of_a_log_adds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("darshan")
    original = DATA / "darshan" / "example.darshan"
    copy = tmp_path / "without-extension"
    copy.write_bytes(original.read_bytes())
    (both,) = sources.open_inputs([original, copy])
    one = sources.open_input(copy)
    assert (both.name, both.total) == (one.name, one.total)


@needs_data
def test_damaged_logs_are_named_and_can_be_skipped(tmp_path: Path) -> None:
    pytest.importorskip("darshan")
    good = DATA / "darshan" / "example.darshan"
    data = good.read_bytes()
    cut, spoilt, empty = (tmp_path / f"{name}.darshan" for name in ("cut", "spoilt", "empty"))
    cut.write_bytes(data[: len(data) // 2])
    spoilt.write_bytes(data[:60] + bytes(byte ^ 0xFF for byte in data[60:400]) + data[400:])
    empty.write_bytes(b"")
    for path in (cut, spoilt, empty):
        with pytest.raises(InputError, match=path.name):
            sources.open_input(path)
    (source,) = sources.open_inputs([cut, spoilt, good, empty], on_error="skip")
    found, _, skipped = joined(source)
    assert len(found) == 2
    assert [said.split(" ")[0] for said in skipped] == [str(cut), str(spoilt), str(empty)]


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.darshan"
    path.write_bytes(b"3.21\0\0\0\0" + darshan_log.MAGIC)
    monkeypatch.setattr(darshan_log.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"pip install 'baash\[darshan\]'"):
        sources.open_input(path)
