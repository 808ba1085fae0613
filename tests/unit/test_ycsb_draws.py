"""YCSB's key hash and distributions against published vectors and the draws of YCSB's own classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baash.sources import zipfian
from baash.sources.keys_in_order import KeysInOrder

KEYS = {
    0: 6284781860667377211,
    1: 8517097267634966620,
    2: 1820151046732198393,
    3: 4052466453699787802,
    10: 2408371864701034737,
    100: 879817313296471393,
    999: 2071219101098386137,
    1000: 5952875239596136740,
    999999: 2744965632448235251,
    10**10: 1201321332300452516,
}
DRAWS = 3_000_000
# A frequency p over n draws has a standard deviation of sqrt(p / n): .00011 for .0386. Six of them, and half a unit of the
# oracle's last digit.
ORACLE = {
    1_000: {144: 0.0386, 610: 0.0199, 213: 0.0160, 679: 0.0116, 10: 0.0093},
    100_000: {42439: 0.0377, 91481: 0.0191, 44356: 0.0154, 93398: 0.0109},
}
HOTTEST_FIFTH = {1_000: 0.400, 100_000: 0.534}


def draws(count: int) -> np.ndarray:
    return zipfian.uniform(zipfian.stream_key("test", 1), np.arange(count, dtype=np.uint64))


def test_key_hashes() -> None:
    assert zipfian.fnvhash64(np.array(list(KEYS))).tolist() == list(KEYS.values())


def test_zeta_and_eta() -> None:
    assert zipfian.zeta(2) == pytest.approx(1.5034777750283594, abs=1e-15)
    assert zipfian.zeta(1000) == pytest.approx(7.728953217284738, abs=1e-12)
    assert zipfian.zeta(10**6) == pytest.approx(15.391849746036804, abs=1e-11)
    assert zipfian.eta(10**10 + 1, np.array([26.46902820178302]))[0] == pytest.approx(0.21220003380967, abs=1e-13)


@given(st.floats(0.5, 1e12), st.sampled_from([0.99, -0.99, 0.01, 2.0]))
def test_power_is_pow(base: float, exponent: float) -> None:
    assert zipfian.power(np.array([base]), exponent)[0] == pytest.approx(math.pow(base, exponent), rel=2e-14)


def test_power_where_zipfian_uses_it() -> None:
    base = np.linspace(0.7, 1.0, 100_001)
    assert np.allclose(zipfian.power(base, zipfian.ALPHA), base**zipfian.ALPHA, rtol=2e-14, atol=0)


@pytest.mark.parametrize("records", ORACLE)
def test_scrambled_zipfian_is_ycsbs(records: int) -> None:
    counts = np.bincount(zipfian.scrambled(draws(DRAWS), records + 1), minlength=records + 1) / DRAWS
    for key, p in ORACLE[records].items():
        assert counts[key] == pytest.approx(p, abs=6 * math.sqrt(p / DRAWS) + 0.00005)
    hottest = list(ORACLE[records])
    assert np.argsort(-counts)[: len(hottest)].tolist() == hottest
    # Sorting by what was drawn flatters the hottest fifth: little for 1,000 keys, more for 100,000 of 30 draws each.
    fifth = np.sort(counts)[::-1][: records // 5].sum()
    assert fifth == pytest.approx(HOTTEST_FIFTH[records], abs=0.002 if records == 1_000 else 0.015)


def test_plain_ranks_follow_zipf() -> None:
    items, count = 1000, 1_000_000
    zeta = np.array([zipfian.zeta(items)])
    rank = zipfian.ranks(draws(count), np.array([float(items)]), zeta, zipfian.eta(items, zeta))
    assert rank.min() == 0 and rank.max() < items
    assert (rank == 0).mean() == pytest.approx(0.129, abs=0.002)
    assert (rank == 1).mean() == pytest.approx(0.129 * 0.5**0.99, abs=0.002)


def test_latest_counts_back_from_the_newest_key_and_does_not_depend_on_where_it_is_cut() -> None:
    u = draws(20_000)
    newest = 999 + np.arange(20_000) // 20
    whole = zipfian.Latest(999).draw(u, newest)
    assert whole.min() >= 1 and (whole <= newest).all()
    assert (whole == newest).mean() == pytest.approx(1 / zipfian.zeta(1500), abs=0.01)
    latest = zipfian.Latest(999)
    pieces = [latest.draw(u[a:b], newest[a:b]) for a, b in ((0, 1), (1, 7000), (7000, 7000), (7000, 20_000))]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_uniform_is_uniform_and_reached_from_anywhere() -> None:
    u = draws(100_000)
    assert u.min() >= 0 and u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.005)
    assert np.bincount((u * 10).astype(int)).tolist() == pytest.approx([10_000] * 10, abs=600)
    key = zipfian.stream_key("test", 1)
    assert np.array_equal(zipfian.uniform(key, np.array([777, 5], dtype=np.uint64)), u[[777, 5]])


@given(st.integers(2, 60), st.data())
def test_scans_see_what_a_simple_table_shows(count: int, data: st.DataObject) -> None:
    table = KeysInOrder(count)
    names = [str(key) for key in zipfian.fnvhash64(np.arange(count + 100)).tolist()]
    first = count
    for _ in range(2):  # two blocks of operations
        inserts = data.draw(st.integers(0, 5))
        newest = np.array(
            sorted(data.draw(st.lists(st.integers(first - 1, first - 1 + inserts), max_size=8))), dtype=int
        )
        starts = np.array([data.draw(st.integers(0, last)) for last in newest.tolist()], dtype=np.int64)
        lengths = np.array([data.draw(st.integers(1, 100)) for _ in newest], dtype=np.int64)
        got, counts = table.scan(starts, lengths, newest, np.arange(first, first + inserts))
        expected = []
        for start, length, last in zip(starts.tolist(), lengths.tolist(), newest.tolist(), strict=True):
            seen = sorted((names[number], number) for number in range(last + 1))
            expected.append([number for name, number in seen if name >= names[start]][:length])
        assert got.tolist() == [number for numbers in expected for number in numbers]
        assert counts.tolist() == [len(numbers) for numbers in expected]
        first += inserts
