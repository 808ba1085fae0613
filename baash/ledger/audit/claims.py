"""The audit of what was said of a round: commit record, body, certificates, votes, rejections; against its blocks.

Each function looks at one thing, and what is wrong goes to ``Examined`` with the place in the round of the block concerned. The
round's own blocks are read and checked by ``blocks.py`` and ``pieces.py``; the chains from window to window by ``order.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from baash import kernels, keys
from baash.errors import LedgerDamaged
from baash.ledger.audit.examined import LINKED_WINDOW, Examined
from baash.ledger.audit.kept import Keeper
from baash.ledger.audit.recount import Recounted, recount
from baash.ledger.blocks import words
from baash.ledger.round import Body, Round
from baash.protocol import certificate as certificates
from baash.protocol.certificate import Certificate
from baash.protocol.plan import rejections_digest
from baash.protocol.windows import entities_digest
from baash.records import CHECKSUM_BYTES, COMMIT_LOCATOR, COMMIT_RECORD, Decider, Outcome, Reason, align

Say = Callable[[int, str], None]

OTHER_COUNT = "the round body has another number of windows than the commit record"
RESERVED = "reserved bytes of the round body are not zero"


@dataclass(frozen=True)
class Claim:
    """A window's certificate as it was read; ``wrong``: what is wrong with it by itself, under the round's view."""

    raw: np.ndarray
    certificate: Certificate | None
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Claims:
    """A round's body and certificates: ``recounted`` in bulk, where all is well with them, else one by one."""

    body: Body
    recounted: Recounted | None
    windows: list[Claim]


def read_claims(round: Round, rows: np.ndarray, rules: kernels.ViewRules) -> Claims:
    """Read them and check all that takes no knowledge of other rounds, above all signatures. Raises LedgerError."""
    body = round.body()
    recounted = recount(round, body, rows, rules)
    return Claims(body, recounted, [] if recounted else [_read_claim(round, body, i) for i in range(len(body.windows))])


def _read_claim(round: Round, body: Body, window: int) -> Claim:
    raw = np.zeros(0, dtype=np.uint8)
    try:
        raw = round.certificate(body, window)
        made = certificates.decode(raw)
        return Claim(raw, made, tuple(certificates.faults(made, round.view)))
    except (ValueError, LedgerDamaged) as error:
        return Claim(raw, None, (str(error),))


def check_commit(round: Round, found: Examined) -> bool:
    """The slot's form, and every coordinator's signature; whether all of those hold."""
    sound, say = True, found.say
    signers = sorted(round.view.coordinators, key=lambda n: n.node)
    record, rows = round.raw[: COMMIT_RECORD.itemsize].tobytes(), round.signatures
    used = COMMIT_RECORD.itemsize + COMMIT_LOCATOR.itemsize + rows.nbytes
    spare = round.raw[used : round.raw.nbytes - CHECKSUM_BYTES].any() or rows["reserved"].any()
    if spare or int(round.record["flags"]) or round.record["reserved"].any():
        say(0, "bytes of the commit record that are reserved are not zero")
    if int(round.record["coordinator_count"]) != len(signers):
        say(0, "the commit record has another number of coordinators than the view")
    for row, node in zip(rows, signers, strict=True):
        found.counted.signatures += 1
        if int(row["node"]) != node.node:
            sound = False
            say(0, f"a signature of node {int(row['node'])} is where that of coordinator {node.node} belongs")
        elif not keys.verify(node.key, keys.Context.COMMIT, record, row["signature"].tobytes()):
            sound = False
            say(0, f"the signature of coordinator {node.node} on the commit record does not verify")
    return sound


def check_locator(round: Round, before: Round | None, claims: Claims | None, rows: np.ndarray, found: Examined) -> None:
    """The places that the slot states, which nobody signed: each follows from those of the slot before it in the segment and
    the sizes of this round. Behind a damaged slot what the segment held is not known, and the round's own word is taken."""
    at = {name: int(round.locator[name]) for name in COMMIT_LOCATOR.names or ()}
    filled, known = _filled(round, before, at), round.slot == 0
    if before is not None and (before.file.name, before.slot) == (round.file.name, round.slot - 1):
        known = True
    if (at["first_block"], at["first_rejection"]) != (filled["blocks"], filled["rejections"]):
        found.say(0, "the commit record's first rows are not behind those of the round before")
    unit = round.view.parameters.align
    starts = rows["records_offset"]
    ends = starts + rows["bytes"]  # where it wraps, it is below its start
    before_ends = np.append(np.uint64(filled["records"]), ends)[: len(starts)]
    if (starts < before_ends).any() or (ends < starts).any():
        found.say(0, "blocks lie in front of those before them")
    records = int(starts[-1]) + int(rows["bytes"][-1]) if len(rows) else filled["records"]
    if (known or len(rows)) and at["records_end"] not in (records, align(records, unit)):
        found.say(0, "the end of records in the commit record is not that of the round's blocks")
    if claims is None:
        return
    certificates, body = filled["certificates"], claims.body
    for offset, size in zip(body.certificate_offsets.tolist(), body.windows["certificate_bytes"].tolist(), strict=True):
        if offset < certificates or offset % 8:
            found.say(0, "a certificate lies in front of what is before it, or not at a multiple of 8")
        certificates = align(offset + size, 8)
    if (known or len(body.windows)) and at["body_offset"] != align(certificates, unit):
        found.say(0, "the round body is not right behind the certificates")
    if at["certificates_end"] != at["body_offset"] + at["body_bytes"] + 8 * len(body.windows):
        found.say(0, "the end of certificates in the commit record is not that of the round")


def _filled(round: Round, before: Round | None, at: dict[str, int]) -> dict[str, int]:
    """How far the segment was filled before the round: by the word of the slot before it, if there is one."""
    if round.slot == 0:
        return dict.fromkeys(("blocks", "rejections", "records", "certificates"), 0)
    if before is None or (before.file.name, before.slot) != (round.file.name, round.slot - 1):
        return {"blocks": at["first_block"], "rejections": at["first_rejection"], "records": 0, "certificates": 0}
    was = {name: int(before.locator[name]) for name in COMMIT_LOCATOR.names or ()}
    return {
        "blocks": was["first_block"] + was["block_count"],
        "rejections": was["first_rejection"] + was["rejection_count"],
        "records": was["records_end"],
        "certificates": was["certificates_end"],
    }


def check_rejections(round: Round, rows: np.ndarray, found: Examined) -> None:
    """The round's rejections (REJECTION): digest and form."""
    say = found.say
    if rejections_digest(rows) != round.record["rejections"].tobytes():
        say(0, "the rejections are not those of the commit record")
    if not len(rows):
        return
    legal = np.isin(rows["reason"], [int(r) for r in Reason if r is not Reason.NONE])
    if not legal.all() or (rows["cluster"] >= len(round.view.coordinators)).any() or rows["reserved"].any():
        say(0, "a rejection has an unknown reason or cluster, or reserved bytes that are not zero")
    if (rows["cluster"][1:] < rows["cluster"][:-1]).any():
        say(0, "the rejections are not in ascending order of cluster")


def check_body(round: Round, claims: Claims, rows: np.ndarray, found: Examined) -> None:
    """The body's hash and rows, and each window's certificate against view and blocks; what it builds on is noted."""
    body, say = claims.body, found.say
    found.windows = np.zeros(len(body.windows), dtype=LINKED_WINDOW)
    found.clusters, found.told = body.clusters, True
    if hashlib.sha256(body.hashed).digest() != round.record["body"].tobytes():
        say(0, "the round body is not that of the commit record")
    if claims.recounted is not None:
        _take_recounted(round, body, claims.recounted, found)
        return
    _check_body_rows(round, body, say)
    at = 0
    for row, claim, linked in zip(body.windows, claims.windows, found.windows, strict=True):
        prefix, made, here = int(row["prefix"]), claim.certificate, _said_at(found, at)
        linked["block"], linked["cluster"], linked["number"] = min(at, 2**32 - 1), row["cluster"], row["number"]
        linked["window"] = row["window"]
        for wrong in claim.wrong:
            here(0, f"window {int(row['number'])} of cluster {int(row['cluster'])}: {wrong}")
        if made is not None:
            linked["told"], linked["previous"], linked["base"] = True, made.window["previous"], made.window["base"]
            _check_window(row, claim.raw, made, here)
            found.counted.certificates += 1
            found.counted.signatures += len(made.votes) + _enclosed_votes(made)
            _check_headers(rows[at : at + prefix], made, here)
        at += prefix
    if at != len(rows):
        say(0, f"the round body commits {at} blocks, the commit record {len(rows)}")


def _take_recounted(round: Round, body: Body, recounted: Recounted, found: Examined) -> None:
    """Certificates of which nothing is to be said any more, nor of the rows of the body."""
    linked, rows, windows = found.windows, body.windows, recounted.windows
    linked["block"][1:] = np.cumsum(rows["prefix"][:-1], dtype=np.uint32)
    linked["told"] = True
    for name in ("cluster", "number", "window"):
        linked[name] = rows[name]
    linked["previous"], linked["base"] = windows["previous"], windows["base"]
    found.counted.certificates += len(windows)
    found.counted.signatures += recounted.votes
    _check_body_head(round, body, found.say)


def _said_at(found: Examined, first: int) -> Say:
    return lambda block, what: found.say(first + block, what)


def _check_body_head(round: Round, body: Body, say: Say) -> None:
    if int(body.head["window_count"]) != int(round.record["window_count"]):
        say(0, OTHER_COUNT)
    if int(body.head["flags"]) or int(body.head["reserved"]) or body.clusters["reserved"].any():
        say(0, RESERVED)


def _check_body_rows(round: Round, body: Body, say: Say) -> None:
    windows = body.windows
    if int(body.head["window_count"]) != int(round.record["window_count"]):
        say(0, OTHER_COUNT)
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
        say(0, RESERVED)


def _check_window(row: np.void, raw: np.ndarray, made: Certificate, say: Say) -> None:
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
    content = (words(rows, "content") == made.digests[: len(rows)].view("<u8")).all(axis=1)
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


def check_entities(
    claims: Claims, blocks: int, bounds: np.ndarray, bad: set[int], keeper: Keeper, found: Examined
) -> None:
    """Each window's list of written entities. Of one that lost blocks it is not known, since it names lost ones too; nor of one
    with ``bad`` blocks. ``bounds``: the number in the round of each block's first transaction."""
    after = 0
    for prefix, stated in zip(claims.body.windows["prefix"].tolist(), _stated_entities(claims), strict=True):
        first, after = after, after + prefix
        if stated is None or after > blocks or prefix != stated[0] or any(first <= b < after for b in bad):
            continue
        written = keeper.written(int(bounds[first]), int(bounds[after]))
        if (len(written), entities_digest(written)) != stated[1:]:
            found.say(first, "the window's list of written entities is not that of its transactions")


def _stated_entities(claims: Claims) -> Iterator[tuple[int, int, bytes] | None]:
    """Of each window: its blocks, and the number and digest of the entities it says it writes; None: not known."""
    if claims.recounted is not None:
        windows = claims.recounted.windows
        digests = windows["entities"].tobytes()
        for i, (blocks, count) in enumerate(
            zip(windows["block_count"].tolist(), windows["entity_count"].tolist(), strict=True)
        ):
            yield blocks, count, digests[32 * i : 32 * i + 32]
        return
    for claim in claims.windows:
        made = claim.certificate
        if made is None:
            yield None
        else:
            yield len(made.entries), int(made.window["entity_count"]), made.window["entities"].tobytes()
