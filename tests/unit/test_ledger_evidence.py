"""``baash verify`` lists whom the ledger proves to be liars, and believes no NOTE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record
from reader import second_reader
from typer.testing import CliRunner

from baash.cli import app
from baash.keys import Context
from baash.ledger.audit import Report, audit, parts
from baash.ledger.audit.evidence import Claimed
from baash.ledger.audit.examined import Examined
from baash.packing import pack, unpack
from baash.protocol import evidence, quorum
from baash.protocol.evidence import COMMIT_RECORDS, VOTES, Contradiction, Statement, of_vote
from baash.protocol.view import View
from baash.records import COMMIT_RECORD, Answer, Operation

RUN = CliRunner()


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    builder = Builder(tmp_path / "l")
    builder.begin_view()
    yield builder
    builder.close()


def votes_of(builder: Builder, node: int, *prefixes: int) -> Contradiction:
    assert builder.view is not None
    cast = (quorum.cast(node, builder._keys[node], b"a" * 32, Answer.PREFIX, p) for p in prefixes)
    return Contradiction(VOTES, builder.view.view, node, *map(of_vote, cast))


def records_of(builder: Builder, node: int) -> Contradiction:
    assert builder.view is not None
    statements = []
    for time_ns in (1, 2):
        row = np.zeros((), dtype=COMMIT_RECORD)
        row["tag"], row["version"], row["view"], row["time_ns"] = 0x0C, 1, builder.view.view, time_ns
        row["ledger"] = np.frombuffer(LEDGER_KEY.public, dtype=np.uint8)
        statements.append(Statement(row.tobytes(), builder._keys[node].sign(Context.COMMIT, row.tobytes())))
    return Contradiction(COMMIT_RECORDS, builder.view.view, node, *statements)


def note(name: str, sequence: int, payload: bytes, kind: int = 1) -> bytes:
    return record(Operation.NOTE, f"baash:evidence:{name}", sequence, payload=payload, payload_type=kind)


def checked(builder: Builder) -> Report:
    report, second = audit(builder.path), second_reader.audit(builder.path)
    assert report.ok and second.ok, report.problems
    return report


def view_of(builder: Builder) -> View:
    assert builder.view is not None
    return builder.view


def test_a_liar_is_listed_by_his_own_signatures(builder: Builder) -> None:
    view = view_of(builder)
    node, leader = view.validators(1)[0], view.coordinators[0]
    found = [votes_of(builder, node.node, 3, 0), records_of(builder, leader.node), votes_of(builder, node.node, 1, 2)]
    others = [record(Operation.CREATE, f"e{i}", 100 + i) for i in range(9)]
    builder.commit(batch_of([*others, *(note(f"0:0:{i}", i, evidence.payload(f)) for i, f in enumerate(found))]))
    report = checked(builder)
    assert [(e.view, e.node) for e in report.evidence] == sorted(
        {(0, node.node), (0, leader.node)}, key=lambda each: [e.node for e in report.evidence].index(each[1])
    )
    assert (report.evidence_count, report.unfounded_count) == (2, 0)
    for one in report.evidence:
        assert (one.rank, one.host) == (view.nodes[one.node or 0].rank, view.nodes[one.node or 0].host)
    said = {e.node: e.what for e in report.evidence}
    assert said[leader.node] == "signed two commit records of round 0"
    assert said[node.node].startswith("answered one attempt with")


def test_what_does_not_check_accuses_nobody(builder: Builder) -> None:
    view = view_of(builder)
    node, other = (n.node for n in view.validators(0)[:2])
    true = votes_of(builder, node, 3, 0)
    follower = view.coordinators[1].node
    claims = {
        f"node {node} did not sign both": evidence.payload(
            replace(true, second=replace(true.second, signature=bytes(64)))
        ),
        "the votes are of another node": evidence.payload(replace(true, node=other)),
        "that view is not in the history": evidence.payload(replace(true, view=7)),
        "the view has no node 999": evidence.payload(replace(true, node=999)),
        "only the leading coordinator": evidence.payload(records_of(builder, follower)),
        "the payload is not that of evidence": b"{}",
        "the payload is too long for evidence": evidence.payload(true) + b" " * 5000,
    }
    builder.commit(batch_of([note(f"0:{node}:{i}", i, raw) for i, raw in enumerate(claims.values())]))
    report = checked(builder)
    assert not report.evidence and report.unfounded_count == len(claims)
    for said in claims:
        (one,) = (e for e in report.unfounded if said in e.what)
        assert one.rank is None and "says that" in str(one)


def test_other_names_and_other_operations_say_nothing(builder: Builder) -> None:
    raw = evidence.payload(votes_of(builder, view_of(builder).validators(0)[0].node, 3, 0))
    made = [
        record(Operation.CREATE, "baash:evidence:0:1:1", 1, payload=raw, payload_type=1),
        record(Operation.NOTE, "baash:evidence", 2, payload=raw, payload_type=1),
        record(Operation.NOTE, "baash:evidenc:0:1:2", 3, payload=raw, payload_type=1),
    ]
    builder.commit(batch_of(made))
    report = checked(builder)
    assert not report.evidence and not report.unfounded


def test_evidence_of_an_earlier_view_counts_by_that_view_s_keys(builder: Builder) -> None:
    found = votes_of(builder, view_of(builder).validators(0)[0].node, 3, 0)
    builder.commit(batch_of([record(Operation.CREATE, "e", 1)]))
    builder.begin_view()
    builder.commit(
        batch_of([note("a", 2, evidence.payload(found)), note("b", 3, evidence.payload(replace(found, view=1)))])
    )
    report = checked(builder)
    assert [(e.view, e.node) for e in report.evidence] == [(0, found.node)]
    assert [e.view for e in report.unfounded] == [1]


def test_a_view_nobody_vouches_for_makes_no_liars(builder: Builder) -> None:
    found = votes_of(builder, view_of(builder).validators(0)[0].node, 3, 0)
    builder.commit(batch_of([note("a", 2, evidence.payload(found))]))
    report = audit(builder.path, ledger_id=key_of("another ledger").public)
    assert not report.ok and not report.evidence
    assert [e.what for e in report.unfounded] == ["nobody vouches for that view"]


def test_what_is_said_of_a_flood(builder: Builder) -> None:
    """The same evidence again and again names its liar once; what is unfounded is counted, and the first thousand are listed."""
    raw = evidence.payload(votes_of(builder, view_of(builder).validators(0)[0].node, 3, 0))
    builder.commit(batch_of(note(str(i), i, raw if i % 2 else b"{}") for i in range(3000)))
    report = checked(builder)
    assert (len(report.evidence), report.evidence_count) == (1, 1)
    assert (len(report.unfounded), report.unfounded_count) == (1000, 1500)


def test_verify_prints_it_and_ends_well(builder: Builder) -> None:
    node = view_of(builder).validators(0)[0]
    raw = evidence.payload(votes_of(builder, node.node, 3, 0))
    builder.commit(batch_of([note("a", 1, raw), note("b", 2, b"\x1b[2J")]))
    builder.checkpoint()
    done = RUN.invoke(app(), ["verify", str(builder.path)])
    assert done.exit_code == 0
    assert "evidence: these nodes lied, as their own signatures prove:" in done.output
    named = f"  node {node.node} of view 0 (rank {node.rank}, {node.host}) contradicted itself: it answered one attempt with 3 blocks"
    assert named in done.output
    assert "evidence that is unfounded, and accuses nobody:\n  segment-000000-0000.h5, block" in done.output
    fields = json.loads(RUN.invoke(app(), ["verify", str(builder.path), "--json"]).output)
    assert (fields["schema_version"], fields["ok"], fields["evidence_count"], fields["unfounded_count"]) == (
        1,
        True,
        1,
        1,
    )
    assert fields["evidence"][0]["node"] == node.node and fields["evidence"][0]["what"] in done.output
    shown = json.loads(RUN.invoke(app(), ["query", str(builder.path), "--entity", "baash:evidence:a", "--json"]).output)
    assert json.dumps(shown).count('"kind": "evidence"') == 1


def test_a_divided_audit_says_the_same() -> None:
    examined = Examined(3, evidence=[Claimed(0, 1, "", 2, 7, 3, "h3", "answered"), Claimed(1, 0, "no")])
    assert parts.unpack_examined(unpack(pack(parts.pack_examined(examined)))).evidence == examined.evidence
