"""The folder: claims, published views, the history, the lock, the key ring, the probe."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledgers import LEDGER_KEY, Builder, batch_of, record, small

from baash.errors import KeyNotFound, LedgerBusy, LedgerDamaged, LedgerError, StorageError
from baash.keys import Context
from baash.ledger import durable, keyring, probe
from baash.ledger.durable import rename_exclusively
from baash.ledger.folder import Folder
from baash.protocol import view_record
from baash.protocol.view import View
from baash.records import Operation


def _claim(path: str, times: int, gate: object, out: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    out.put([Folder(path).claim_next({"pid": os.getpid()}) for _ in range(times)])  # type: ignore[attr-defined]


def test_claims_of_many_processes_are_all_different(tmp_path: Path) -> None:
    Folder.create(tmp_path / "l")
    context = multiprocessing.get_context("spawn")
    gate, out = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_claim, args=(str(tmp_path / "l"), 10, gate, out)) for _ in range(4)]
    for worker in workers:
        worker.start()
    claimed = [number for _ in workers for number in out.get(timeout=60)]
    for worker in workers:
        worker.join()
    assert sorted(claimed) == list(range(40))
    assert Folder(tmp_path / "l").newest_claim() == 39


def test_a_claim_follows_claims_and_views(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    assert builder.folder.newest_claim() == -1
    assert builder.begin_view().view == 0
    assert builder.folder.claim_next({}) == 1
    assert builder.begin_view().view == 2
    (tmp_path / "l" / "claim-000002").unlink()
    assert builder.folder.newest_claim() == 2, "a published view is a claim too"


def test_a_view_is_published_once_and_whole(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    view = builder.begin_view()
    before = builder.folder.view_path(0).read_bytes()
    with pytest.raises(LedgerError, match="exists already"):
        builder.folder.publish(view, {})
    assert builder.folder.view_path(0).read_bytes() == before
    assert not list((tmp_path / "l").glob("*.tmp"))


def test_renaming_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(LedgerError, match="exists already"):
        rename_exclusively(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"
    rename_exclusively(tmp_path / "a", tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c"]


def test_renaming_by_link_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from baash.ledger import durable

    monkeypatch.setattr(durable, "_libc", object())
    test_renaming_never_overwrites(tmp_path)


def test_a_ledger_is_not_made_over_another(tmp_path: Path) -> None:
    Builder(tmp_path / "l").begin_view()
    with pytest.raises(LedgerError, match="holds a ledger already"):
        Folder.create(tmp_path / "l")
    (tmp_path / "empty").mkdir()
    Folder.create(tmp_path / "empty")


def test_the_history_walks_back_and_leaves_out_what_was_passed_over(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    builder.commit(batch_of([record(Operation.CREATE, "a", 0)]))
    cut = builder.slot
    first, log, keys = builder.view, builder.log, builder._keys
    builder.begin_view()  # 1: published, then passed over: view 2 does not know of it
    builder.view, builder.slot, builder.log, builder._keys = first, cut, log, keys
    builder.begin_view()
    builder.begin_view()
    epochs = builder.folder.history()
    assert [e.view.view for e in epochs] == [0, 2, 3]
    assert [e.open for e in epochs] == [False, False, True]
    assert epochs[0].cut == cut and epochs[0].last_round == 0
    assert epochs[1].cut is None and epochs[1].last_round == -1
    assert epochs[2].last_round is None
    assert [e.predecessor and e.predecessor.view for e in epochs] == [None, 0, 2]


def test_a_history_with_a_hole_is_damage(tmp_path: Path) -> None:
    builder = small(tmp_path / "l")
    path = builder.folder.view_path(1)
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(LedgerDamaged, match="view-000001: it is missing"):
        builder.folder.history()
    path.write_bytes(builder.folder.view_path(0).read_bytes())
    with pytest.raises(LedgerDamaged, match="holds the record of view 0"):
        builder.folder.history()
    path.write_bytes(kept[:100])
    with pytest.raises(LedgerDamaged, match="not a view record"):
        builder.folder.history()


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    folder = Folder.create(tmp_path / "l")
    program = (
        "import sys; from baash.ledger.folder import Folder\n"
        "lock = Folder(sys.argv[1]).lock(info={'user': 'ann', 'host': 'n7', 'pid': 41})\n"
        "print(lock.held, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, tmp_path / "l"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"True\n"
        with pytest.raises(LedgerBusy, match="user ann, host n7, pid 41"):
            folder.lock()
        taken = folder.lock(take_over=True)
        assert not taken.held and "ann" in (taken.note or "")
        other.communicate(b"")
    with folder.lock() as lock:
        assert lock.held and lock.note is None
    assert folder.lock().held


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        builder = small(tmp_path / "l", views_=1)
    finally:
        os.umask(before)
    names = ["claim-000000", "view-000000", "segment-000000-0000.h5"]
    assert {stat.S_IMODE((builder.path / n).stat().st_mode) for n in names} == {0o640}


def test_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot list .*: it does not exist; check the path"):
        Folder(tmp_path / "none").views()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        Folder(tmp_path / "file").claim_next({})


def test_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe.probe(tmp_path)
    assert found == probe.file_system(tmp_path / "not" / "there") and found.type != "unknown"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(probe, "file_system", lambda path: probe.FileSystem("nfs4", "/", "server:/home"))
    with pytest.raises(StorageError, match=r"is on NFS \(server:/home\)"):
        probe.probe(tmp_path)
    assert probe.probe(tmp_path, force=True).type == "nfs4"
    with pytest.raises(StorageError, match="cannot write a probe"):
        probe.probe(tmp_path / "none", force=True)


@pytest.fixture
def keys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAASH_KEYS", str(tmp_path / "config" / "keys"))
    return tmp_path / "config" / "keys"


def test_a_key_comes_back_and_is_its_owners_alone(keys_folder: Path) -> None:
    key = keyring.generate()
    path = keyring.path_of(key.public)
    assert keyring.load(key.public) == key
    assert path.name == f"{key.public.hex()}.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(keys_folder.stat().st_mode) == 0o700
    with pytest.raises(LedgerError, match="never replaced"):
        keyring.save(key)


def test_where_keys_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAASH_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert keyring.folder() == Path("/x/baash/keys")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert keyring.folder() == Path("/h/.config/baash/keys")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_touch_is_refused(keys_folder: Path, mode: int) -> None:
    keyring.save(LEDGER_KEY)
    keyring.path_of(LEDGER_KEY.public).chmod(mode)
    with pytest.raises(LedgerError, match="chmod 600"):
        keyring.load(LEDGER_KEY.public)


def test_a_key_that_is_not_there_or_not_one(keys_folder: Path) -> None:
    with pytest.raises(KeyNotFound, match="BAASH_KEYS"):
        keyring.load(LEDGER_KEY.public)
    path = keyring.save(LEDGER_KEY)
    whole = path.read_bytes()
    for bad in (b"", whole[:-2], whole[:-2] + b"g\n", b"x" + whole, b"\xff" * 40, whole + b"more"):
        path.write_bytes(bad)
        with pytest.raises(LedgerError, match="is not a ledger key"):
            keyring.load(LEDGER_KEY.public)
    other = keyring.path_of(bytes(32))
    path.write_bytes(whole)
    path.rename(other)
    with pytest.raises(LedgerError, match="the key of another ledger"):
        keyring.load(bytes(32))


# --- what a view record may be, whoever signed it


def signed(view: View, change: Callable[[dict[str, Any]], object] | None = None, text: bytes | None = None) -> bytes:
    """A record whose fields were changed, signed by the ledger key itself."""
    fields = json.loads(view.body)
    if change is not None:
        change(fields)
    body = json.dumps(fields, indent=2).encode() + b"\n" if text is None else text
    signature = LEDGER_KEY.sign(Context.VIEW, b"\0\x0d" + body)
    return b"baash-view-v1\n" + body + b"\nledger " + base64.b64encode(signature) + b"\n"


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda f: f.update(view=0.0),
    lambda f: f.update(view=False),
    lambda f: f.update(view=-1),
    lambda f: f.update(view="0"),
    lambda f: f.update(seed=1 << 64),
    lambda f: f.update(seed=1.5),
    lambda f: f.update(time_ns=-1),
    lambda f: f.update(time_ns=float(f["time_ns"])),
    lambda f: f.update(ledger=f["ledger"].upper()),
    lambda f: f.update(more=1),
    lambda f: f.pop("seed"),
    lambda f: f.pop("predecessor"),
    lambda f: f["parameters"].pop("align"),
    lambda f: f["parameters"].update(more=1),
    lambda f: f["parameters"].update(faults=True),
    lambda f: f["parameters"].update(block_size=4.0),
    lambda f: f["parameters"].update(quorum=["majority"]),
    lambda f: f["nodes"][0].update(node=0.0),
    lambda f: f["nodes"][0].update(rank=None),
    lambda f: f["nodes"][0].update(more=1),
    lambda f: f["nodes"][0].update(host="h" * 4097),
    lambda f: f["nodes"][0].update(host=7),
    lambda f: f["nodes"][0].update(cluster=0.0),
    lambda f: f["nodes"][0].update(key=f["nodes"][0]["key"].upper()),
    lambda f: f["shards"][0].__setitem__(0, 0.0),
    lambda f: f["shards"][0].append(1),
    lambda f: f.update(predecessor={"view": 0}),
    lambda f: f.update(predecessor={"view": True, "commit": None}),
    lambda f: f.update(predecessor={"view": 0, "commit": ""}),
    lambda f: f.update(predecessor={"view": 0, "commit": 7}),
    lambda f: f.update(predecessor=[]),
    lambda f: f["started_by"].update(user="u" * 4097),
    lambda f: f["started_by"].update({str(i): i for i in range(64)}),
    lambda f: f["started_by"].update(user=["u"]),
    lambda f: f["started_by"].update(pid=1.0),
    lambda f: f.update(started_by=[["user", "u"]]),
    lambda f: f["started_by"].update(user="\ud800"),
    lambda f: f["parameters"].update(align=12),
    lambda f: f["parameters"].update(replay_width=100),
    lambda f: f["parameters"].update(replay_width=0),
    lambda f: f["shards"].append([4095, 4095, 0]),
    lambda f: f["nodes"].extend(_storage(f, at) for at in (1, 2)),
    lambda f: f["nodes"].append({**_storage(f, 1), "rank": None}),
]


def _storage(fields: dict[str, Any], at: int) -> dict[str, Any]:
    number = len(fields["nodes"]) + at - 1
    return {"node": number, "key": f"{at:064x}", "rank": 0, "host": "h", "cluster": None, "role": "storage"}


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_signed_view_of_another_form_is_none(tmp_path: Path, number: int) -> None:
    builder = Builder(tmp_path / "l")
    view = builder.begin_view()
    assert view_record.decode(signed(view))[0] == view
    with pytest.raises(LedgerDamaged, match="not a view record"):
        view_record.decode(signed(view, CHANGES[number]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seed": 7', b'"seed": 7, "seed": 7'),
        (b'"faults": 1', b'"faults": 1, "faults": 1'),
        (b'"seed": 7', b'"seed": -0'),
        (b'"seed": 7', b'"seed": NaN'),
        (b'"seed": 7', b'"seed": Infinity'),
        (b'"seed": 7', b'"seed": ' + b"9" * 5000),
        (b'"seed": 7', b'"seed": ' + b"[" * 100_000 + b"]" * 100_000),
        (b'"user": "test"', b'"user": "\xff"'),
    ],
)
def test_json_that_can_be_understood_in_two_ways(tmp_path: Path, old: bytes, new: bytes) -> None:
    view = Builder(tmp_path / "l").begin_view()
    assert old in view.body
    with pytest.raises(LedgerDamaged, match="not a view record"):
        view_record.decode(signed(view, text=view.body.replace(old, new, 1)))


def test_a_signer_is_named_once(tmp_path: Path) -> None:
    text = signed(Builder(tmp_path / "l").begin_view())
    with pytest.raises(LedgerDamaged, match="signed twice"):
        view_record.decode(text + text[text.rindex(b"ledger ") :])


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b" / "c", mode=0o700)
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert stat.S_IMODE((tmp_path / "a" / "b" / "c").stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        durable.make_folder(tmp_path / "file" / "d")
