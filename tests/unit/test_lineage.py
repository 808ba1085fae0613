"""Lineage: what was made from what, up and down, against a plain definition over random references."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from ledgers import Builder, batch_of, record
from plain_lookup import PlainLookup

from baash.ledger.lineage import DEPTH_MAX, Lineage, origins, results
from baash.ledger.reader import Ledger
from baash.ledger.transactions import Transaction
from baash.records import Operation, entity_hash


def tx(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def opened(tmp_path: Path, records: list[bytes]) -> PlainLookup:
    builder = Builder(tmp_path / "l", clusters=1)
    builder.begin_view()
    builder.commit(batch_of(records))
    return PlainLookup(Ledger(builder.path))


def last(lookup: PlainLookup, name: str) -> Transaction:
    return lookup.all[int(lookup.writes(entity_hash(name.encode()))[-1])]


def names(found: Lineage) -> list[tuple[str, int, int]]:
    return [(v.entity.decode() if v.entity else "?", v.number, v.step) for v in found.versions]


CREATE, UPDATE, USE, NOTE = Operation.CREATE, Operation.UPDATE, Operation.USE, Operation.NOTE


def test_up_and_down_a_small_workflow(tmp_path: Path) -> None:
    raw, code = record(CREATE, "raw", 0), record(CREATE, "code", 1)
    use = record(USE, "raw", 2, references=[tx(code)])  # who uses raw says with what
    mesh = record(CREATE, "mesh", 3, references=[tx(use)])
    again = record(UPDATE, "mesh", 4, references=[tx(mesh)])
    result = record(CREATE, "result", 5, references=[tx(again), bytes(32)])
    aside = record(USE, "raw", 6, references=[tx(result)])  # nobody refers to it: it made nothing
    lookup = opened(tmp_path, [raw, code, use, mesh, again, result, aside])
    up = origins(lookup, last(lookup, "result"))
    assert names(up) == [("result", 1, 0), ("mesh", 2, 1), ("?", 0, 1), ("raw", 1, 2), ("code", 1, 3)]
    assert up.left_out == 0
    down = results(lookup, last(lookup, "code"))
    assert names(down) == [("code", 1, 0), ("raw", 1, 1), ("mesh", 1, 2), ("result", 1, 3)]
    assert names(results(lookup, last(lookup, "result"))) == [("result", 1, 0)]
    arrows = {(a.entity, b.entity) for a, b in down.edges()}
    assert arrows == {(b"raw", b"code"), (b"mesh", b"raw"), (b"result", b"mesh")}


@pytest.mark.parametrize("up", [True, False])
def test_depth(tmp_path: Path, up: bool) -> None:
    chain = [record(CREATE, "e0", 0)]
    for i in range(1, 20):
        chain.append(record(CREATE, f"e{i}", i, references=[tx(chain[-1])]))
    lookup = opened(tmp_path, chain)
    walk, root = (origins, "e19") if up else (results, "e0")
    for depth, count, left_out in ((1, 2, 1), (18, 19, 1), (19, 20, 0), (50, 20, 0)):
        found = walk(lookup, last(lookup, root), depth=depth)
        assert (len(found.versions), found.left_out) == (count, left_out)
        assert found.versions[-1].cut == (f"not followed beyond {depth} steps" if left_out else "")


def plain(lookup: PlainLookup) -> set[tuple[int, int]]:
    """All (made, made from), numbers of writes, by the definition in lineage.py's head, one step."""
    by_id = {t.id: t for t in lookup.all}

    def base(one: Transaction) -> Transaction | None:
        return one if one.writes else lookup.last_write(entity_hash(one.entity), one.number)

    def sources(one: Transaction, seen: set[int]) -> set[int]:
        """Numbers of the writes that the transaction refers to, through earlier ones of its own entity."""
        found: set[int] = set()
        for id_ in one.references:
            other = by_id.get(id_)
            if other is None or other.number in seen:
                continue
            made = base(other)
            if other.entity != one.entity:
                found.add((made or other).number)
                continue
            for own in {made, other} - {None}:
                assert own is not None
                if own.number not in seen:
                    found |= sources(own, seen | {own.number})
        return found

    pairs: set[tuple[int, int]] = set()
    for one in lookup.all:
        if one.writes:
            pairs |= {(one.number, source) for source in sources(one, {one.number})}
    return pairs


@pytest.mark.parametrize("seed", range(6))
def test_random_references_of_writes(tmp_path: Path, seed: int) -> None:
    """Where only writes are referred to, upwards is the closure of the plain definition, and downwards its reverse."""
    draw = random.Random(seed)
    raws: list[bytes] = []
    made: list[str] = []
    for i in range(60):
        refs = [tx(r) for r in draw.sample(raws, min(len(raws), draw.randrange(3)))]
        if made and draw.random() < 0.3:
            raws.append(record(UPDATE, draw.choice(made), i, references=refs))
        else:
            made.append(f"e{i}")
            raws.append(record(CREATE, made[-1], i, references=refs))
    lookup = opened(tmp_path, raws)
    pairs = plain(lookup)
    above: dict[int, set[int]] = {}
    for one in lookup.all:
        found = origins(lookup, one, depth=DEPTH_MAX)
        above[one.number] = {v.transaction.number for v in found.versions[1:] if v.transaction}
        reached: set[int] = set()
        waiting = [one.number]
        while waiting:
            at = waiting.pop()
            more = {source for number, source in pairs if number == at} - reached
            reached |= more
            waiting += more
        assert above[one.number] == reached - {one.number}
    for name in made:
        own = {t.number for t in lookup.all if t.entity == name.encode()}
        below = {v.entity for v in results(lookup, last(lookup, name), depth=DEPTH_MAX).versions[1:]}
        wanted = {lookup.all[n].entity for n, sources in above.items() if sources & own} - {name.encode()}
        assert below == wanted, name


def test_circles_end(tmp_path: Path) -> None:
    a, b = record(CREATE, "a", 0), record(CREATE, "b", 1)
    use_b = record(USE, "b", 2, references=[tx(a)])
    a2 = record(UPDATE, "a", 3, references=[tx(use_b), tx(a)])
    use_a = record(USE, "a", 4, references=[tx(a2)])
    b2 = record(UPDATE, "b", 5, references=[tx(use_a), tx(b)])
    lookup = opened(tmp_path, [a, b, use_b, a2, use_a, b2])
    assert names(origins(lookup, last(lookup, "b"))) == [("b", 2, 0), ("a", 2, 1), ("b", 1, 2), ("a", 1, 3)]
    assert {n for n, _, _ in names(results(lookup, last(lookup, "a")))} == {"a", "b"}
