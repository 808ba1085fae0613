"""What a message, a write or an event says, in a line that people read. Only called when somebody listens to the story."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from baash.errors import PeerError
from baash.protocol import events
from baash.protocol.committed import split_certificates
from baash.protocol.events import Event, Persist
from baash.protocol.messages import Kind, Message, open_message
from baash.records import COMMIT_RECORD, REJECTION, VOTE, WINDOW, Answer, Decider, Reason
from baash.text import counted
from baash.trace.happened import LedgerSeen


def message(data: np.ndarray, target: int, rank: int) -> str:
    """``node 4 → node 0: VOTE on window 2: 3 blocks are valid``; between ranks ``rank 4 → rank 0: JOIN``."""
    try:
        found = open_message(data)
        if found.kind >= Kind.JOIN:
            return f"rank {found.sender} → rank {rank}: {found.kind.name} {TELL[found.kind](found)}".rstrip()
        return f"node {found.sender} → node {target}: {found.kind.name} {TELL[found.kind](found)}".rstrip()
    except (PeerError, ValueError, IndexError) as error:
        return f"noise for node {target}: {data.nbytes} bytes ({error})"


def persist(node: int, wanted: Persist) -> str:
    """What a coordinator is about to write."""
    if wanted.commits:
        return f"node {node} writes the commit record"
    made = f"makes segment {wanted.segment}" if wanted.creates is not None else ""
    parts = sorted({w.data_set.replace("_", " ") for w in wanted.writes})
    written = f"writes {', '.join(parts)}" if parts else ""
    return f"node {node} {' and '.join(filter(None, (made, written))) or 'has nothing to write'}"


def done(node: int, wanted: Persist, reason: str) -> str:
    """How it went."""
    what = "the commit record" if wanted.commits else "that"
    return f"node {node} cannot: {reason}" if reason else f"node {node}: {what} is durable"


def event(node: int, what: Event | LedgerSeen) -> str:
    """What happens to a node."""
    match what:
        case events.MessageReceived(data):
            return message(data, node, node)
        case events.BatchOffered(batch):
            return f"node {node} is offered {counted(len(batch), 'transaction')}"
        case events.NodesLost(nodes):
            return f"node {node} hears of the dead: {', '.join(map(str, sorted(nodes)))}"
        case events.Persisted(token):
            return f"node {node} hears that its write {token} is durable"
        case events.PersistFailed(token, reason):
            return f"node {node} hears that its write {token} failed: {reason}"
        case events.InputEnded():
            return f"node {node} hears that nothing more will be offered"
        case events.DrainRequested():
            return f"node {node} is told to finish"
        case events.LedgerRead() | LedgerSeen():
            return f"node {node} sees what the shared ledger holds"
        case events.TickElapsed():
            return f"time passes for node {node}"


def _window(found: Message) -> str:
    row = found.sections[0].view(WINDOW)[0]
    members = found.sections[1].view("<u4").tolist()
    what = f"{int(row['number'])} of {int(row['block_count'])} blocks, {int(row['transaction_count'])} transactions"
    if found.b == Decider.STORAGE_VALIDATOR:
        return f"{what}; you are to decide"
    bare = "" if found.sections[6].nbytes else "; you have it"
    return f"{what}; attempt {found.a} by nodes {members}{bare}"


def _vote(found: Message) -> str:
    vote = found.sections[0].view(VOTE)[0]
    answer = Answer(int(vote["answer"]))
    if answer is not Answer.PREFIX:
        return f"on window {found.a}: {'I am behind' if answer is Answer.BEHIND else 'I cannot judge it'}"
    reason, prefix = Reason(int(vote["reason"])), int(vote["prefix"])
    bad = f", then transaction {int(vote['bad_index'])} is {reason.name}" if reason else ""
    return f"on window {found.a}: {prefix} block{'' if prefix == 1 else 's'} valid{bad}"


def _parts(sections: tuple[np.ndarray, ...]) -> str:
    rejected = len(sections[0]) // REJECTION.itemsize
    windows = [str(int(c.window["number"])) for c, _ in split_certificates(sections[1])]
    said = [f"window{'s' if len(windows) > 1 else ''} {', '.join(windows)}"] if windows else []
    return " and ".join([*said, *([f"{rejected} rejected"] if rejected else [])])


def _offer(found: Message) -> str:
    return "nothing more will come" if found.a else _parts(found.sections)


def _propose(found: Message) -> str:
    clusters = found.sections[0].view("<u4").tolist()
    parts = [_parts(found.sections[1 + 2 * i : 3 + 2 * i]) for i in range(len(clusters))]
    return f"round {found.a}: " + "; ".join(f"cluster {c}: {p}" for c, p in zip(clusters, parts, strict=True))


def _ready(found: Message) -> str:
    reason = found.sections[1].tobytes().decode(errors="replace")
    return f"for round {found.a}: " + (f"no: {reason}" if reason else "written, and here is my signature")


def _committed(found: Message) -> str:
    record = found.sections[0][: COMMIT_RECORD.itemsize].view(COMMIT_RECORD)[0]
    lacking = len(found.sections[3]) // 8
    blocks = f"; here are the blocks of {lacking} window{'s' if lacking > 1 else ''}" if lacking else ""
    return f"round {found.a}: {int(record['block_total'])} blocks now{blocks}"


TELL: dict[Kind, Callable[[Message], str]] = {
    Kind.WINDOW: _window,
    Kind.VOTE: _vote,
    Kind.OFFER: _offer,
    Kind.PROPOSE: _propose,
    Kind.READY: _ready,
    Kind.RECORDED: lambda found: f"round {found.a} is committed",
    Kind.COMMITTED: _committed,
    Kind.ABORT: lambda found: f"round {found.a}: {found.sections[0].tobytes().decode(errors='replace')}",
    Kind.CLOSE: lambda found: "",
    Kind.JOIN: lambda found: (
        f"after view {found.view}: {found.sections[2].tobytes().decode(errors='replace').split(';')[0]}"
    ),
    Kind.CALL: lambda found: f"after view {found.view}",
    Kind.VIEW: lambda found: f"{found.view} is there",
    Kind.VOUCH: lambda found: f"for view {found.view}",
    Kind.VOUCHED: lambda found: f"for view {found.view}",
    Kind.OVER: lambda found: "nothing goes on here" if found.a else f"all is decided in view {found.view}",
}
