"""The audit of what was said of a round: commit record, body, certificates, votes, rejections; against its blocks.

Each function looks at one thing and calls ``say(block, what)`` with the place in the round of the block concerned. A round's own
blocks are read and checked by ``blocks.py``; rules over the whole ledger by ``audit_rules.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from baash import kernels, keys
from baash.errors import LedgerDamaged
from baash.ledger.audit_report import Report
from baash.ledger.blocks import RoundBlocks
from baash.ledger.round import Body, Round
from baash.protocol import certificate as certificates
from baash.protocol.certificate import Certificate
from baash.protocol.plan import rejections_digest
from baash.protocol.windows import entities_digest
from baash.records import CHECKSUM_BYTES, COMMIT_LOCATOR, COMMIT_RECORD, ZERO_HASH, Decider, Outcome, Reason, align

Say = Callable[[int, str], None]


@dataclass
class Chains:
    """The window chains of a view so far, and the commit records that a window may build on."""

    windows: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # cluster: windows decided, hash of the last
    bases: set[bytes] = field(default_factory=set)
    known: bool = True  # False behind damage: then a round's own word is taken to go on


@dataclass(frozen=True)
class Claim:
    """A window's certificate as it was read; ``wrong``: what is wrong with it by itself, under the round's view."""

    raw: np.ndarray
    certificate: Certificate | None
    wrong: str | None


@dataclass(frozen=True)
class Claims:
    """A round's body and certificates."""

    body: Body
    windows: list[Claim]


def read_claims(round: Round) -> Claims:
    """Read them and check all that takes no knowledge of other rounds, above all signatures. Raises LedgerError."""
    body = round.body()
    return Claims(body, [_read_claim(round, body, i) for i in range(len(body.windows))])


def _read_claim(round: Round, body: Body, window: int) -> Claim:
    raw = np.zeros(0, dtype=np.uint8)
    try:
        raw = round.certificate(body, window)
        made = certificates.decode(raw)
        return Claim(raw, made, certificates.examine(made, round.view))
    except (ValueError, LedgerDamaged) as error:
        return Claim(raw, None, str(error))


def check_commit(round: Round, report: Report, say: Say) -> None:
    """The slot's form and every coordinator's signature."""
    signers = sorted(round.view.coordinators, key=lambda n: n.node)
    record, rows = round.raw[: COMMIT_RECORD.itemsize].tobytes(), round.signatures
    used = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize + rows.nbytes
    spare = round.raw[used : round.raw.nbytes - CHECKSUM_BYTES].any() or rows["reserved"].any()
    if spare or int(round.record["flags"]) or round.record["reserved"].any():
        say(0, "bytes of the commit record that are reserved are not zero")
    if int(round.record["coordinator_count"]) != len(signers):
        say(0, "the commit record has another number of coordinators than the view")
    for row, node in zip(rows, signers, strict=True):
        report.signatures += 1
        if int(row["node"]) != node.node:
            say(0, f"a signature of node {int(row['node'])} is where that of coordinator {node.node} belongs")
        elif not keys.verify(node.key, keys.Context.COMMIT, record, row["signature"].tobytes()):
            say(0, f"the signature of coordinator {node.node} on the commit record does not verify")


@dataclass(frozen=True)
class Ends:
    """How far a segment is filled behind one of its rounds."""

    file: str
    slot: int
    blocks: int = 0
    rejections: int = 0
    records: int = 0
    certificates: int = 0


def check_locator(round: Round, claims: Claims, found: RoundBlocks, before: Ends | None, say: Say) -> Ends:
    """The places that the slot states, which nobody signed: each follows from those of the round before and the sizes of this
    one. ``before`` None: what the segment held is not known, and this round's own word is taken for it."""
    at = {name: int(round.locator[name]) for name in COMMIT_LOCATOR.names or ()}
    if round.slot == 0:
        before = Ends(round.file.name, -1)
    known = before is not None and (before.file, before.slot) == (round.file.name, round.slot - 1)
    if before is None or not known:
        before = Ends(round.file.name, -1, at["first_block"], at["first_rejection"])
    if (at["first_block"], at["first_rejection"]) != (before.blocks, before.rejections):
        say(0, "the commit record's first rows are not behind those of the round before")
    unit = round.view.parameters.align
    rows, body = found.rows, claims.body
    starts = rows["records_offset"].astype(object)
    ends = (starts + rows["bytes"].astype(object)).tolist()
    if any(start < end for start, end in zip(starts.tolist(), [before.records, *ends], strict=False)):
        say(0, "blocks lie in front of those before them")
    records = ends[-1] if ends else before.records
    if (known or ends) and at["records_end"] not in (records, align(records, unit)):
        say(0, "the end of records in the commit record is not that of the round's blocks")
    certificates = before.certificates
    for offset, size in zip(body.certificate_offsets.tolist(), body.windows["certificate_bytes"].tolist(), strict=True):
        if offset < certificates or offset % 8:
            say(0, "a certificate lies in front of what is before it, or not at a multiple of 8")
        certificates = align(offset + size, 8)
    if (known or len(body.windows)) and at["body_offset"] != align(certificates, unit):
        say(0, "the round body is not right behind the certificates")
    if at["certificates_end"] != at["body_offset"] + at["body_bytes"] + 8 * len(body.windows):
        say(0, "the end of certificates in the commit record is not that of the round")
    return Ends(
        round.file.name,
        round.slot,
        at["first_block"] + at["block_count"],
        at["first_rejection"] + at["rejection_count"],
        at["records_end"],
        at["certificates_end"],
    )


def check_rejections(round: Round, say: Say) -> np.ndarray:
    """REJECTION rows, their digest checked."""
    rows = round.rejections()
    if rejections_digest(rows) != round.record["rejections"].tobytes():
        say(0, "the rejections are not those of the commit record")
    legal = np.isin(rows["reason"], [int(r) for r in Reason if r is not Reason.NONE])
    if not legal.all() or (rows["cluster"] >= len(round.view.coordinators)).any() or rows["reserved"].any():
        say(0, "a rejection has an unknown reason or cluster, or reserved bytes that are not zero")
    if (rows["cluster"][1:] < rows["cluster"][:-1]).any():
        say(0, "the rejections are not in ascending order of cluster")
    return rows


def check_body(round: Round, claims: Claims, found: RoundBlocks, chains: Chains, report: Report, say: Say) -> None:
    """The body's hash and rows, and each window's certificate against chain, view and blocks."""
    body = claims.body
    if hashlib.sha256(body.hashed).digest() != round.record["body"].tobytes():
        say(0, "the round body is not that of the commit record")
    _check_body_rows(round, body, say)
    at = 0
    for row, claim in zip(body.windows, claims.windows, strict=True):
        prefix, made, here = int(row["prefix"]), claim.certificate, _said_at(say, at)
        if claim.wrong:
            here(0, f"window {int(row['number'])} of cluster {int(row['cluster'])}: {claim.wrong}")
        if made is not None:
            _check_window(row, claim.raw, made, chains, here)
            report.certificates += 1
            report.signatures += len(made.votes) + _enclosed_votes(made)
            _check_headers(found.rows[at : at + prefix], made, here)
            if found.whole:
                _check_entities(found, at, min(at + prefix, len(found.rows)), made, here)
        chains.windows[int(row["cluster"])] = (int(row["number"]) + 1, row["window"].tobytes())
        at += prefix
    if at != len(found.rows):
        say(0, f"the round body commits {at} blocks, the commit record {len(found.rows)}")
    _check_clusters(round, body, chains, say)


def _said_at(say: Say, first: int) -> Say:
    return lambda block, what: say(first + block, what)


def _check_body_rows(round: Round, body: Body, say: Say) -> None:
    windows = body.windows
    if int(body.head["window_count"]) != int(round.record["window_count"]):
        say(0, "the round body has another number of windows than the commit record")
    order = [(int(r["cluster"]), int(r["number"])) for r in windows]
    if order != sorted(set(order)):
        say(0, "the windows of the round are not in ascending order of cluster and number")
    whole = windows["prefix"] == windows["block_count"]
    outcome = np.where(whole, int(Outcome.DECIDED), int(Outcome.LOST_FROM))
    if (windows["prefix"] > windows["block_count"]).any() or (windows["outcome"] != outcome).any():
        say(0, "a window's outcome does not fit its prefix")
    reserved = (
        body.head["flags"],
        body.head["reserved"],
        windows["reserved"],
        windows["reserved2"],
        body.clusters["reserved"],
    )
    if any(np.any(field) for field in reserved):
        say(0, "reserved bytes of the round body are not zero")


def _check_window(row: np.void, raw: np.ndarray, made: Certificate, chains: Chains, say: Say) -> None:
    window, cluster, number = made.window, int(row["cluster"]), int(row["number"])
    name = f"window {number} of cluster {cluster}"
    if int(made.head["total_bytes"]) != raw.nbytes:
        say(0, f"{name}: the certificate has another length than the round body says")
    elif not certificates.canonical(raw, made):
        say(0, f"{name}: reserved bytes or padding of the certificate are not zero")
    if made.window_hash != row["window"].tobytes() or (int(window["cluster"]), int(window["number"])) != (
        cluster,
        number,
    ):
        say(0, f"{name}: the certificate is of another window")
    if (made.prefix, len(made.entries)) != (int(row["prefix"]), int(row["block_count"])):
        say(0, f"{name}: the certificate carries another number of blocks than the round body says")
    if int(window["flags"]):
        say(0, f"{name}: unknown flags in the window")
    if made.decider is Decider.STORAGE_VALIDATOR and (int(made.head["attempt"]) or not made.enclosed.nbytes):
        say(0, f"{name}: the storage validator decided without the votes that did not suffice, or in a later attempt")
    decided, last = chains.windows.get(cluster, (0, ZERO_HASH))
    if chains.known and (number != decided or window["previous"].tobytes() != last):
        say(0, f"{name} does not follow window {decided - 1} of its cluster")
    if chains.known and window["base"].tobytes() not in chains.bases:
        say(0, f"{name} builds on a commit record that is not before it in this view")


def _enclosed_votes(made: Certificate) -> int:
    try:
        return len(certificates.decode(made.enclosed).votes) if made.enclosed.nbytes else 0
    except ValueError:
        return 0


def _check_headers(rows: np.ndarray, made: Certificate, say: Say) -> None:
    """The blocks' headers against the window and the certificate's entries."""
    window, entries = made.window, made.entries[: len(rows)]
    if len(entries) != len(rows):
        say(0, "the certificate lists fewer blocks than were committed")
        return
    cluster = int(window["cluster"])
    content = (rows["content"] == kernels.content_digests(np.ascontiguousarray(entries), cluster)).all(axis=1)
    for good, what in (
        (content, "the content digest is not the one that was voted on"),
        (rows["count"] == entries["count"], "the header has another number of transactions than was voted on"),
        (rows["bytes"] == entries["bytes"], "the header has another size than was voted on"),
        (rows["cluster"] == cluster, "the header is of another cluster than its window"),
        (rows["window"] == window["number"], "the header is of another window"),
        (rows["time_ns"] == window["time_ns"], "the header has another time than its window"),
        (rows["index"] == np.arange(len(rows)), "the header has another place in its window"),
    ):
        for i in np.flatnonzero(~good):
            say(int(i), what)


def _check_entities(found: RoundBlocks, first: int, after: int, made: Certificate, say: Say) -> None:
    """The list of written entities. Of a window that lost blocks it is not known, since it names lost ones too."""
    if after - first != len(made.entries):
        return
    part = found.batch.cut(int(found.bounds[first]), int(found.bounds[after]))
    written = part.written()
    if (
        len(written) != int(made.window["entity_count"])
        or entities_digest(written) != made.window["entities"].tobytes()
    ):
        say(0, "the window's list of written entities is not that of its transactions")


def _check_clusters(round: Round, body: Body, chains: Chains, say: Say) -> None:
    """Where each cluster's chain stands once the round is committed."""
    stated = {int(r["cluster"]): (int(r["number"]), r["window"].tobytes()) for r in body.clusters}
    clusters = list(range(len(round.view.coordinators)))
    if [int(r["cluster"]) for r in body.clusters] != clusters:
        say(0, "the round body does not list every cluster of the view once, in order")
    elif chains.known and stated != {c: chains.windows.get(c, (0, ZERO_HASH)) for c in clusters}:
        say(0, "the round body says of a cluster's chain what its windows do not")
    chains.windows.update(stated)
