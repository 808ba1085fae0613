"""Files: describing, comparing, recording; HDF5 digests that name what changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from test_sources_replay import entity, joined, payload, references, replay

from baash import batch
from baash.errors import InputError
from baash.ledger import h5digest
from baash.records import ANY_VERSION, Operation
from baash.sources import describe as describing
from baash.sources.files import FileDescription, FileSource, Previous, compare, describe, expand, read_payload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name, size in (
        ("b.bin", 0),
        ("a.bin", 1),
        ("deep/c.bin", 70_000),
        ("deep/er/d.bin", describing.SMALL_BYTES + 1),
    ):
        (tmp_path / name).write_bytes(np.random.default_rng(size).bytes(size))
    return tmp_path


@pytest.mark.parametrize("threads", [1, 4])
def test_descriptions_say_what_is_there(folder: Path, threads: int) -> None:
    steps: list[tuple[int, int]] = []
    found = describe([folder], progress=lambda done, total: steps.append((done, total)), threads=threads)
    assert [one.path for one in found] == [
        str(folder / name) for name in ("a.bin", "b.bin", "deep/c.bin", "deep/er/d.bin")
    ]
    for one in found:
        content, stat = Path(one.path).read_bytes(), os.stat(one.path)
        assert one.payload == {
            "kind": "file",
            "size": len(content),
            "mtime_ns": stat.st_mtime_ns,
            "mode": f"{stat.st_mode & 0o7777:04o}",
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    total = sum(one.payload["size"] for one in found)
    assert steps[-1] == (total, total) and [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_many_small_files_go_through_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "_BATCH_BYTES", 1000)
    for number in range(300):
        (tmp_path / f"{number:03d}").write_bytes(bytes([number % 251]) * (number % 97))
    for one in describe([tmp_path]):
        assert one.payload["sha256"] == hashlib.sha256(Path(one.path).read_bytes()).hexdigest()


def test_expand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "link").symlink_to(folder / "deep")
    (folder / "broken").symlink_to(folder / "nowhere")
    assert expand(["a.bin", "./a.bin", folder / "a.bin"]) == [str(folder / "a.bin")]
    assert expand(["*.bin"]) == [str(folder / "a.bin"), str(folder / "b.bin")]
    assert expand(["deep/**/*.bin"])[-1] == str(folder / "deep/er/d.bin")
    assert expand(["."], recursive=False) == [str(folder / "a.bin"), str(folder / "b.bin")]
    assert len(expand(["."])) == 4  # neither the link to a folder nor the broken one
    (folder / "what[1].bin").write_bytes(b"")
    assert expand(["what[1].bin"]) == [str(folder / "what[1].bin")]
    for missing, said in (("none", "does not exist"), ("none*", "matches no file"), ("broken", "not a regular file")):
        with pytest.raises(InputError, match=said):
            expand([missing])


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.bin"
    try:
        with open(path, "wb") as file:
            file.write(b"x")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    (one,) = describe([tmp_path])
    assert one.entity == path
    assert len(joined(FileSource([one], {}))[0]) == 1


def test_a_file_that_changes_while_it_is_read_is_refused(folder: Path) -> None:
    def touch(done: int, total: int) -> None:
        os.utime(folder / "a.bin", ns=(5, 5))

    with pytest.raises(InputError, match=r"a\.bin changed while it was read"):
        describe([folder / "a.bin"], progress=touch)


def make_hdf5(path: Path, order: str = "<", **options: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("pressure", data=np.arange(6000, dtype=f"{order}f8").reshape(60, 100), **options)
        file.create_dataset("run/energy", data=np.arange(1000, dtype=f"{order}i4"), **options)
        names = file.create_dataset("names", (2,), dtype=h5py.string_dtype())
        names[:] = ["carbon", "säure"]
        table = np.zeros(3, dtype=[("id", f"{order}u2"), ("label", h5py.string_dtype()), ("xyz", f"{order}f4", (3,))])
        table["id"], table["label"] = [1, 2, 3], ["a", "b", "c"]
        file["table"] = table
        ragged = file.create_dataset("ragged", (2,), dtype=h5py.vlen_dtype(np.dtype(f"{order}i4")))
        ragged[0], ragged[1] = [1, 2, 3], [4]
        file["empty"] = h5py.Empty("f4")
        file["scalar"] = 5
        file["type"] = np.dtype("f8")
        file["run"].attrs["code"] = "solver 3"
        file["pressure"].attrs["unit"] = "Pa"
        file["run/loop"], file["run/again"] = file["/"], file["pressure"]
        file["run/soft"], file["run/gone"] = h5py.SoftLink("/pressure"), h5py.ExternalLink("no.h5", "/x")


def test_hdf5_contents(tmp_path: Path) -> None:
    make_hdf5(tmp_path / "x.h5")
    found = h5digest.digest(tmp_path / "x.h5")
    assert {one.name: (one.shape, one.dtype) for one in found.datasets} == {
        "/empty": (None, "f4"),
        "/names": ((2,), "string"),
        "/pressure": ((60, 100), "f8"),
        "/ragged": ((2,), "vlen(i4)"),
        "/run/energy": ((1000,), "i4"),
        "/scalar": ((), "i8"),
        "/table": ((3,), "{id:u2,label:string,xyz:f4[3]}"),
    }
    assert all(len(one.sha256) == 64 and not one.note for one in found.datasets)
    assert [name for name, _ in found.groups] == ["/", "/run"]
    assert found.types == (("/type", "f8"),)
    assert dict(found.links) == {
        "/run/again": "/pressure",
        "/run/gone": "no.h5:/x",
        "/run/loop": "/",
        "/run/soft": "/pressure",
    }


def test_the_documented_form_of_a_data_set(tmp_path: Path) -> None:
    make_hdf5(tmp_path / "x.h5")
    found = {one.name: one for one in h5digest.datasets(tmp_path / "x.h5")}
    head = b"baash/v1 hdf5 data set\0"
    numbers = np.arange(6000, dtype="<f8").tobytes()
    assert found["/pressure"].sha256 == hashlib.sha256(head + b"f8\x0060,100\0" + numbers).hexdigest()
    strings = b"".join(len(t.encode()).to_bytes(8, "little") + t.encode() for t in ("carbon", "säure"))
    assert found["/names"].sha256 == hashlib.sha256(head + b"string\x002\0" + strings).hexdigest()
    lists = (3).to_bytes(8, "little") + np.array([1, 2, 3], "<i4").tobytes() + (1).to_bytes(8, "little") + b"\4\0\0\0"
    assert found["/ragged"].sha256 == hashlib.sha256(head + b"vlen(i4)\x002\0" + lists).hexdigest()
    assert found["/empty"].sha256 == hashlib.sha256(head + b"f4\0null\0").hexdigest()
    text = (8).to_bytes(8, "little") + b"solver 3"
    attributes = b"baash/v1 hdf5 attributes\0" + (4).to_bytes(8, "little") + b"code" + b"string\0\0" + text
    assert dict(h5digest.digest(tmp_path / "x.h5").groups)["/run"] == hashlib.sha256(attributes).hexdigest()


def test_how_a_data_set_is_stored_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_hdf5(tmp_path / "plain.h5")
    plain = h5digest.datasets(tmp_path / "plain.h5")
    make_hdf5(tmp_path / "other.h5", order=">", chunks=True, compression="gzip", shuffle=True)
    assert h5digest.datasets(tmp_path / "other.h5") == plain
    for piece in (1, 800, 1700):
        monkeypatch.setattr(h5digest, "PIECE_BYTES", piece)
        assert h5digest.datasets(tmp_path / "other.h5") == plain


def test_one_byte_of_one_data_set_names_that_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    make_hdf5(path)
    (before,) = describe([path], hdf5=h5digest.describe)
    with h5py.File(path, "r") as file:
        offset = file["run/energy"].id.get_offset()
    with path.open("r+b") as raw:
        raw.seek(offset + 1234)
        raw.write(b"\x55")
    (now,) = describe([path], hdf5=h5digest.describe)
    changes = compare(before.payload, now.payload)
    assert changes.changed and changes.datasets_changed == ("/run/energy",)
    assert changes.datasets_added == changes.datasets_removed == changes.attributes_changed == ()
    assert changes.size is None and changes.sha256 is not None
    assert changes.sentences()[0] == "data set /run/energy changed"


def test_added_removed_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    make_hdf5(path)
    (before,) = describe([path], hdf5=h5digest.describe)
    with h5py.File(path, "r+") as file:
        del file["names"]
        file["new"] = np.arange(3)
        file["run"].attrs["code"] = "solver 4"
        file["pressure"].attrs["unit"] = "hPa"
    (now,) = describe([path], hdf5=h5digest.describe)
    changes = compare(read_payload(json.dumps(before.payload).encode()), now.payload)  # as it comes back from a ledger
    assert changes.datasets_added == ("/new",) and changes.datasets_removed == ("/names",)
    assert changes.attributes_changed == ("/pressure", "/run") and changes.datasets_changed == ()
    without = {key: value for key, value in now.payload.items() if key != "hdf5"}
    assert compare(before.payload, without).datasets_removed == ()


def test_padding_of_compound_types_does_not_matter(tmp_path: Path) -> None:
    inner = [("a", "u1"), ("b", "<f8")]
    digests = set()
    for align in (False, True):
        nested = np.dtype([("flag", "u1"), ("inner", np.dtype(inner, align=align), (2,)), ("n", "<i4")], align=align)
        values = np.zeros(4, dtype=nested)
        values.view("u1")[:] = 0xAA  # padding too
        for name, fill in (("flag", 1), ("n", 7)):
            values[name] = fill
        values["inner"]["a"], values["inner"]["b"] = 2, 3.5
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["x"] = values
        (found,) = h5digest.datasets(tmp_path / "x.h5")
        digests.add(found)
    assert len(digests) == 1 and found.dtype == "{flag:u1,inner:{a:u1,b:f8}[2],n:i4}" and not found.note


def test_floats_without_canonical_form_are_noted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.arange(3, dtype=np.longdouble)
    (found,) = h5digest.datasets(tmp_path / "x.h5")
    assert found.sha256 == "" and "canonical form" in found.note


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("bad", data=np.arange(1000.0), chunks=(1000,), fletcher32=True)
        file["good"] = 1
        offset = file["bad"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff")
    found = {one.name: one for one in h5digest.datasets(path)}
    assert found["/bad"].sha256 == "" and found["/bad"].note.startswith("not read: OSError")
    assert found["/good"].sha256
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    described = h5digest.describe(path)
    assert described is not None and described["note"].startswith("not read")
    path.write_bytes(b"text")
    assert h5digest.describe(path) is None


def test_read_payload_refuses_what_is_no_file() -> None:
    for bad in (b"", b"\xff", b"[]", b'{"kind": "workflow"}', b'{"kind": "file"}'):
        with pytest.raises(InputError, match="does not describe a file"):
            read_payload(bad)


def known(found: batch.Batch) -> dict[str, Previous]:
    """What a ledger that holds ``found`` knows."""
    files: dict[str, Previous] = {}
    for at in range(len(found)):
        name = entity(found, at)
        version = files[name].version + 1 if name in files else 1
        files[name] = Previous(read_payload(payload(found, at)), version, found.ids[at].tobytes())
    return files


def test_recording_creates_then_updates_then_does_nothing(folder: Path) -> None:
    first, _, _ = joined(FileSource(describe([folder]), {}, job="17", user="ada", host="n1", note="first"))
    assert set(first.info["operation"].tolist()) == {Operation.CREATE} and len(first) == 4
    assert json.loads(payload(first, 0))["recorded"] == {"job": "17", "user": "ada", "host": "n1", "note": "first"}
    ledger = known(first)
    again = FileSource(describe([folder]), ledger)
    assert again.total == 0 and len(again.unchanged) == 4 and list(again.chunks(10)) == []
    os.utime(folder / "a.bin", ns=(9, 9))  # touched, not changed
    assert FileSource(describe([folder]), ledger).total == 0
    (folder / "a.bin").write_bytes(b"changed")
    second, _, _ = joined(FileSource(describe([folder]), ledger))
    assert [entity(second, at) for at in range(len(second))] == [str(folder / "a.bin")]
    assert second.info["operation"].tolist() == [Operation.UPDATE]
    assert second.info["expected_version"].tolist() == [1]
    assert replay(batch.join([first, second])) == []


def test_inputs_are_referred_to_and_recorded_where_they_are_not_known(folder: Path) -> None:
    inputs, outputs = describe([folder / "a.bin", folder / "b.bin"]), describe([folder / "deep"])
    found, _, _ = joined(FileSource(outputs, {}, inputs))
    assert [entity(found, at) for at in range(2)] == [one.path for one in inputs]
    made = [found.ids[at].tobytes() for at in range(2)]
    assert [references(found, at) for at in range(4)] == [[], [], made, made]
    later, _, _ = joined(FileSource(outputs, {one.path: known(found)[one.path] for one in inputs}, inputs))
    assert len(later) == 2 and references(later, 0) == made
    (folder / "a.bin").write_bytes(b"changed")
    inputs = describe([folder / "a.bin", folder / "b.bin"])
    third, _, _ = joined(FileSource(outputs, {one.path: known(found)[one.path] for one in inputs}, inputs))
    assert third.info["operation"].tolist() == [Operation.UPDATE, Operation.CREATE, Operation.CREATE]
    assert references(third, 1) == [third.ids[0].tobytes(), made[1]]


def test_a_file_made_from_itself_refers_to_its_earlier_version(folder: Path) -> None:
    first, _, _ = joined(FileSource(describe([folder / "a.bin"]), {}))
    (folder / "a.bin").write_bytes(b"changed")
    now = describe([folder / "a.bin"])
    second, _, _ = joined(FileSource(now, known(first), now))
    assert references(second, 0) == [first.ids[0].tobytes()]
    assert references(joined(FileSource(now, {}, now))[0], 0) == []


def test_a_retired_file_is_created_anew_and_is_not_taken_for_the_first_time(folder: Path) -> None:
    now = describe([folder / "a.bin"])
    first = FileSource(now, {})
    anew = FileSource(now, {now[0].path: Previous(None, 2, bytes(32))})
    found, _, _ = joined(anew)
    assert found.info["operation"].tolist() == [Operation.CREATE]
    assert found.info["expected_version"].tolist() == [ANY_VERSION]
    assert anew.name != first.name
    assert FileSource(now, {}).name == first.name  # the very same step is the same input
    assert FileSource(now, {}, note="x").name != first.name
    assert FileSource(now, {}, name="mine").name == "mine"


def test_a_payload_that_would_not_fit_says_so(folder: Path) -> None:
    huge = {"datasets": [{"name": "x" * 1000}] * 9000}
    (one,) = describe([folder / "a.bin"], hdf5=lambda path: huge)
    assert one.payload["hdf5"] == {"note": "left out: too many objects (9000 data sets)"}
    assert isinstance(one, FileDescription)
