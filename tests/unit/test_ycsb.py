"""YCSB workloads: what they are made of, and that neither chunks nor the length of a run change a record."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from test_sources_replay import entity, joined, payload, replay

from baash import sources
from baash.errors import UsageError
from baash.records import Operation, PayloadType
from baash.sources.zipfian import fnvhash64

RECORDS = 500


def workload(name: str, transactions: int = 400, **more: object) -> sources.Source:
    arguments: dict[str, object] = {"record_bytes": 53, "record_count": RECORDS, "seed": 5} | more
    return sources.open_workload(name, transactions, **arguments)  # type: ignore[arg-type]


# Hashes of the records and names read of ``workload(name, 400)``: whoever changes one gives the workload another name, for
# ledgers hold records of it. Numpy's code paths for different CPUs must not change them either.
PINNED = {
    ("ycsb-load", False): "aa1a93ccd51b0e5a",
    ("ycsb-load", True): "aa1a93ccd51b0e5a",
    ("ycsb-a", False): "f395120d7821bc55",
    ("ycsb-a", True): "2a1ba6f7812cdfc7",
    ("ycsb-b", False): "251ef90d9fafb718",
    ("ycsb-b", True): "711e4103026fb583",
    ("ycsb-c", False): "f41eebc47efc43e6",
    ("ycsb-c", True): "d55f0e35485ed50e",
    ("ycsb-d", False): "fe7cf2fcdfe28ded",
    ("ycsb-d", True): "0f4d2ad8fe668df1",
    ("ycsb-e", False): "46981f215a972cad",
    ("ycsb-e", True): "a1eddbeffb5457f9",
    ("ycsb-f", False): "342e4da2a154507e",
    ("ycsb-f", True): "d7b9f9a1ad8210c6",
}


@pytest.mark.parametrize(("name", "record_reads"), PINNED)
def test_the_bytes_are_the_same_everywhere(name: str, record_reads: bool) -> None:
    records, reads = hashlib.sha256(), hashlib.sha256()
    for chunk in workload(name, record_reads=record_reads).chunks(100):
        records.update(chunk.records)
        if chunk.reads is not None:
            reads.update(chunk.reads[0])
    records.update(reads.digest())
    assert records.hexdigest()[:16] == PINNED[name, record_reads]


@pytest.mark.parametrize("record_reads", [False, True])
@pytest.mark.parametrize("name", sources.WORKLOADS)
def test_chunk_size_changes_nothing(name: str, record_reads: bool) -> None:
    source = workload(name, record_reads=record_reads)
    whole, reads, _ = joined(source, 1_000_000)
    for size in (1, 37):
        again, reads_again, _ = joined(source, size)
        assert np.array_equal(again.records, whole.records)
        assert reads_again == reads
    assert len(whole) == source.total
    assert whole.info["sequence"].tolist() == list(range(len(whole)))


@pytest.mark.parametrize("record_reads", [False, True])
@pytest.mark.parametrize("name", [name for name in sources.WORKLOADS if name != "ycsb-e"])
def test_a_longer_run_continues_a_shorter_one(name: str, record_reads: bool) -> None:
    short, long = (workload(name, count, record_reads=record_reads, record_count=30_000) for count in (150, 20_000))
    assert short.name == long.name
    (first, first_reads, _), (all_, all_reads, _) = joined(short), joined(long, 5000)
    assert all_.records[: len(first.records)].tobytes() == first.records.tobytes()
    assert all_reads[: len(first_reads)] == first_reads
    assert len(all_) == long.total


def test_workload_e_depends_on_its_length_and_says_so() -> None:
    assert workload("ycsb-e", 100).name != workload("ycsb-e", 200).name


def test_the_name_holds_every_parameter_that_changes_a_record() -> None:
    names = [
        workload("ycsb-a", **more).name
        for more in ({}, {"seed": 6}, {"record_bytes": 54}, {"record_count": 501}, {"record_reads": True})
    ]
    assert len(set(names)) == len(names)
    load = [workload("ycsb-load", 300, record_count=count) for count in (300, 700)]
    assert load[0].name == load[1].name
    assert np.array_equal(joined(load[0])[0].records, joined(load[1])[0].records)


def test_load_then_run_keeps_to_the_rules() -> None:
    loaded, _, _ = joined(workload("ycsb-load", RECORDS))
    for name in ("ycsb-a", "ycsb-b", "ycsb-d", "ycsb-e", "ycsb-f"):
        for record_reads in (False, True):
            versions: dict[str, int] = {}
            assert replay(loaded, versions) == []
            found, reads, _ = joined(workload(name, 1000, record_reads=record_reads))
            known = set(versions)
            assert replay(found, versions) == []
            assert {read.decode() for read in reads} <= known | set(versions)
            assert bool(reads) != record_reads


@pytest.mark.parametrize("record_bytes", [10, 53, 100, 1000, 1003])
def test_payloads(record_bytes: int) -> None:
    loaded, _, _ = joined(workload("ycsb-load", 100, record_bytes=record_bytes))
    assert set(loaded.info["payload_bytes"].tolist()) == {record_bytes}
    assert set(loaded.info["payload_type"].tolist()) == {PayloadType.YCSB}
    assert len({payload(loaded, at) for at in range(100)}) > (90 if record_bytes > 10 else 80)
    found, _, _ = joined(workload("ycsb-a", 2000, record_bytes=record_bytes))
    assert set(found.info["operation"].tolist()) == {Operation.UPDATE}
    bounds = [record_bytes * field // 10 for field in range(11)]
    fields = np.zeros(10, dtype=int)
    for at in range(len(found)):
        content = payload(found, at)
        field = int.from_bytes(content[:4], "little")
        assert len(content) == 4 + bounds[field + 1] - bounds[field]
        fields[field] += 1
    assert fields.min() > 140 and fields.max() < 260  # 200 each, standard deviation 13


def test_entities_are_ycsbs_keys() -> None:
    found, _, _ = joined(workload("ycsb-load", 100))
    hashes = fnvhash64(np.arange(100)).tolist()
    assert [entity(found, at) for at in range(100)] == [f"usertable/user{value}" for value in hashes]
    assert set(found.info["operation"].tolist()) == {Operation.CREATE}


SHARES = [("ycsb-a", 0.5), ("ycsb-b", 0.95), ("ycsb-d", 0.95), ("ycsb-f", 0.5)]


@pytest.mark.parametrize(("name", "share"), SHARES)
def test_shares(name: str, share: float) -> None:
    found, reads, _ = joined(workload(name, 4000, record_count=2000), 2000)
    pure = len(reads) - (len(found) if name == "ycsb-f" else 0)  # a read-modify-write reads too
    assert pure / (pure + len(found)) == pytest.approx(share, abs=0.03)


def test_a_read_modify_write_reads_what_it_updates() -> None:
    found, _, _ = joined(workload("ycsb-f", 300, record_reads=True))
    for at in np.flatnonzero(found.info["operation"] == Operation.UPDATE).tolist():
        assert entity(found, at) == entity(found, at - 1)
        assert found.info["operation"][at - 1] == Operation.USE


def test_workload_c_names_reads_or_records_them() -> None:
    found, reads, _ = joined(workload("ycsb-c", 300))
    assert len(found) == 0 and len(reads) == 300 and workload("ycsb-c", 300).total == 0
    found, reads, _ = joined(workload("ycsb-c", 300, record_reads=True))
    assert len(found) == 300 and reads == []


def test_inserts_take_the_next_keys_and_scans_follow_key_order() -> None:
    found, reads, _ = joined(workload("ycsb-e", 40), 40)
    hashes = fnvhash64(np.arange(RECORDS, RECORDS + 40)).tolist()
    assert [entity(found, at) for at in range(40)] == [f"usertable/user{value}" for value in hashes]
    rising = sum(a < b for a, b in pairwise(reads)) / len(reads)
    assert 0.95 < rising < 1.0  # falls only where one scan ends and another begins


def test_no_transactions_give_nothing() -> None:
    assert list(workload("ycsb-a", 0).chunks(10)) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "ycsb-z"}, "no workload 'ycsb-z'"),
        ({"name": "ycsb-a", "transactions": -1}, "-1 transactions"),
        ({"name": "ycsb-a", "record_bytes": 9}, "record_bytes is 9"),
        ({"name": "ycsb-a", "record_count": 1}, "for ycsb-a give 2 to"),
        ({"name": "ycsb-a", "record_count": 10**20}, "for ycsb-a give 2 to"),
        ({"name": "ycsb-d", "record_count": 1 << 40}, "for ycsb-d give 2 to"),
        ({"name": "ycsb-e", "record_count": 1 << 40}, "for ycsb-e give 2 to"),
        ({"name": "ycsb-a", "transactions": 10**20}, "give 0 to"),
        ({"name": "ycsb-a", "seed": 10**20}, "seed is 1000"),
        ({"name": "ycsb-load", "transactions": 501}, "raise record_count"),
    ],
)
def test_refusals(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        workload(**arguments)  # type: ignore[arg-type]
