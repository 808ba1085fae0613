"""What a node begins a view with is the ledger up to the cut, whenever it looks, and whether it reads all or goes on from memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import Builder, batch_of, record, rejection

from baash.errors import LedgerFenced
from baash.kernels import EntityTable
from baash.ledger.restore import Restored
from baash.protocol.view import Host, Parameters, View
from baash.records import Operation, Reason
from baash.session import begin_view, check_rivals, continue_state, read_state, run_of
from baash.sim.material import key_of

KEY = key_of("ledger")


def items(table: EntityTable) -> list[bytes]:
    return [a.tobytes() for a in table.items()]


def seen(found: Restored) -> tuple[object, ...]:
    return items(found.entities), items(found.ids), found.commit, found.head, found.block_total, found.transaction_total


def creates(first: int, count: int = 20) -> list[bytes]:
    return [record(Operation.CREATE, f"e{first + i}", first + i) for i in range(count)]


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    made = Builder(tmp_path / "ledger")
    made.begin_view()
    return made


@pytest.mark.parametrize("empty", [False, True], ids=["", "the view before committed nothing"])
def test_who_reads_late_reads_no_further(builder: Builder, empty: bool) -> None:
    builder.commit(batch_of(creates(0)))
    if empty:
        builder.begin_view()
    view = builder.begin_view()
    for cluster in range(2):
        early = seen(read_state(builder.path, view, cluster)[0])
    builder.commit(batch_of(creates(100)))
    assert seen(read_state(builder.path, view, 1)[0]) == early
    assert read_state(builder.path, view, 1)[1].round == 0


@pytest.mark.parametrize("known", ["nothing of the view", "its first round", "all of it"])
def test_who_goes_on_from_memory_knows_what_the_ledger_says(builder: Builder, known: str) -> None:
    first = builder.view
    assert first is not None
    bad = record(Operation.UPDATE, "nobody", 777)
    states = {"nothing of the view": read_state(builder.path, first, 0)[0]}
    for name, at in (("its first round", 0), ("all of it", 100)):
        reject = {0: rejection(bad, Reason.ENTITY_UNKNOWN)} if at else None
        builder.commit(batch_of(creates(at)), rejections=reject)
        states[name] = _before(builder, first)
    view = builder.begin_view()
    builder.commit(batch_of(creates(200)))
    kept = states[known]
    found = continue_state(builder.path, view, 0, kept, first.view)
    assert found is not None
    fresh = read_state(builder.path, view, 0)[0]
    assert seen(found[0]) == seen(fresh)
    issuers, numbers = _pair(bad)
    assert found[0].replay.check(issuers, numbers).tolist() == fresh.replay.check(issuers, numbers).tolist() != [0]


def test_what_lay_behind_the_cut_is_no_ground_to_go_on(builder: Builder) -> None:
    first = builder.view
    assert first is not None
    builder.commit(batch_of(creates(0)))
    cut = builder.slot
    builder.commit(batch_of(creates(100)))
    kept = _before(builder, first)
    builder.slot = cut
    view = builder.begin_view()
    assert continue_state(builder.path, view, 0, kept, first.view) is None


def _before(builder: Builder, view: View) -> Restored:
    """What a node holds now that has followed ``view`` so far."""
    return read_state(builder.path, _as_next(view), 0)[0]


def _as_next(view: View) -> View:
    fields = {name: getattr(view, name) for name in View.__dataclass_fields__}
    return View(**{**fields, "view": view.view + 1000})


def _pair(raw: bytes):  # type: ignore[no-untyped-def]
    info = batch_of([raw]).info
    return info["issuer"].copy(), info["sequence"].copy()


# -- claims -------------------------------------------------------------------------------------------------------------


def hosts() -> list[Host]:
    return [Host(r, "h", (key_of("n", r).public,), key_of("s", r).public) for r in range(5)]


def begin(builder: Builder, run: str, left: int | None):  # type: ignore[no-untyped-def]
    info = {"run": run}
    return begin_view(builder.folder, lambda _: KEY, hosts(), 1, Parameters(), 1, lambda: 1, info, left=left)


def test_a_job_that_another_has_fenced_never_claims(builder: Builder) -> None:
    mine, other = run_of(hosts()), "another"
    builder.folder.claim_next({"run": other})
    before = builder.folder.claims()
    with pytest.raises(LedgerFenced, match="claimed by another job"):
        next(begin(builder, mine, 0))
    assert builder.folder.claims() == before
    check_rivals(builder.folder, 1, mine)  # what came before it left is none of its business


def test_a_claim_of_the_same_job_that_led_to_nothing_is_passed_over(builder: Builder) -> None:
    mine = run_of(hosts())
    builder.folder.claim_next({"run": mine})
    (builder.path / "claim-000002").write_bytes(b"")  # somebody claims just now, or was killed in it
    steps = begin(builder, mine, 0)
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    assert end.value.value[0].view == 3


def test_who_has_not_heard_of_a_newer_view_claims_nothing(builder: Builder) -> None:
    builder.begin_view()
    (builder.path / "claim-000001").write_bytes(b'{"run": "test"}')
    before = builder.folder.claims()
    with pytest.raises(LedgerFenced, match="is there already"):
        next(begin(builder, "test", 0))
    assert builder.folder.claims() == before
