"""A ledger read a second time, by plain Python: one record, one block, one vote after the other.

It shares the reader's way to the bytes, and nothing else: hashes are hashlib's, signatures libsodium's, the rules and the quorum are
written out again. ``wrong`` lists what contradicts ``docs/ledger-format.md``. Slow, and meant to be.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from baash.keys import Context
from baash.ledger.reader import Ledger
from baash.ledger.round import Round
from baash.protocol import certificate as certificates
from baash.protocol.certificate import Certificate
from baash.protocol.view import View
from baash.records import BLOCK_HEADER, UNDECIDED_REASONS, VOTE_SIGNED_BYTES, ZERO_HASH, key_issuer

CREATE, UPDATE, USE, RETIRE, NOTE = range(1, 6)
ANY = 2**64 - 1
Pair = tuple[bytes, int]  # issuer, number
Decided = tuple[
    bytes, int, int
]  # id; first and last shard of which a cluster must have them all to know of the decision


@dataclass(frozen=True)
class Accusation:
    """A NOTE, made in ``view`` by ``cluster``, that accuses ``node`` of view ``of``; ``holds``: by its own signatures."""

    view: int
    cluster: int
    of: int
    node: int
    holds: bool


class History:
    """What the ledger in ``path`` says, and what is wrong with it.

    ``numbers``: id → its number; ``rejected``: id → reason; ``states``: for each commit record's hash, how many
    transactions there were; ``versions``: entity hash → (version, exists) at the end; ``evidence``: NOTEs that accuse.
    """

    def __init__(self, path: Path) -> None:
        self.wrong: list[str] = []
        self.numbers: dict[bytes, int] = {}
        self.rejected: dict[bytes, int] = {}
        self.rejected_by: dict[bytes, tuple[int, int]] = {}  # id → (view, cluster)
        self.blocks: list[bytes] = []
        self.rounds: list[bytes] = []  # hashes of commit records
        self.versions: dict[bytes, tuple[int, bool]] = {}
        self.writes: list[tuple[bytes, int, bool]] = []  # entity hash, version, exists: one a transaction
        self.totals: list[int] = []  # transactions, after each round
        self._pairs: dict[Pair, list[Decided]] = {}
        self.evidence: list[Accusation] = []
        self._chains: dict[int, tuple[int, bytes]] = {}
        self._view = -1
        with Ledger(path) as ledger:
            self._views = {epoch.view.view: epoch.view for epoch in ledger.epochs}
            for round in ledger.rounds:
                self._round(round)

    def _say(self, what: str) -> None:
        self.wrong.append(f"round {len(self.rounds)}: {what}")

    def _round(self, round: Round) -> None:
        view, record = round.view, round.raw[:256].tobytes()
        if view.view != self._view:
            self._view, self._chains = view.view, {}
        if round.record["previous"].tobytes() != (self.rounds[-1] if self.rounds else ZERO_HASH):
            self._say("its commit record does not follow the one before")
        signed = {int(s["node"]): s["signature"].tobytes() for s in round.signatures}
        for coordinator in view.coordinators:
            if not holds(coordinator.key, Context.COMMIT, record, signed.get(coordinator.node, b"")):
                self._say(f"coordinator {coordinator.node} did not sign it")
        rows, body = round.headers(), round.body()
        records = round.records(rows).tobytes()
        windows: dict[tuple[int, int], list[tuple[bytes, int, int]]] = {}
        at = 0
        for row in rows:
            header, size = row.tobytes()[: BLOCK_HEADER.itemsize], int(row["bytes"])
            if row["parent"].tobytes() != (self.blocks[-1] if self.blocks else ZERO_HASH):
                self._say(f"block {len(self.blocks)} does not follow the one before")
            self.blocks.append(hashlib.sha256(header).digest())
            ids = self._block(view, int(row["cluster"]), records[at : at + size])
            windows.setdefault((int(row["cluster"]), int(row["window"])), []).append((root_of(ids), len(ids), size))
            at += size
        for i, row in enumerate(body.windows):
            proof = certificates.decode(round.certificate(body, i))
            self._window(view, proof, windows.pop((int(row["cluster"]), int(row["number"])), []))
        if windows:
            self._say(f"blocks of windows {sorted(windows)} without a certificate")
        for row in round.rejections():
            self._rejection(view, row)
        self.rounds.append(hashlib.sha256(record).digest())
        self.totals.append(len(self.writes))

    # -- transactions -----------------------------------------------------------------------------------------------

    def _block(self, view: View, cluster: int, records: bytes) -> list[bytes]:
        ids, at = [], 0
        while at < len(records):
            size = int.from_bytes(records[at + 8 : at + 12], "little")
            if size < 64:
                self._say("bytes that are no records")
                break
            ids.append(self._transaction(view, cluster, records[at : at + size]))
            at += size
        return ids

    def _transaction(self, view: View, cluster: int, raw: bytes) -> bytes:
        _, _, _, operation, flags, name, _, _, issuer, sequence, _, expected = struct.unpack_from(
            "<BBBBHHII16sQQQ", raw
        )
        one = hashlib.sha256(raw).digest()
        entity = hashlib.sha256(b"\0\2" + raw[64 : 64 + name]).digest()
        if one in self.numbers:
            self._say(f"transaction {one.hex()[:12]} is committed twice")
        shard = int.from_bytes(entity[:8], "little") & 4095
        if self._known(view, cluster, (issuer, sequence), but=one):
            self._say(f"number {sequence} of an issuer is decided twice")
        self._pairs.setdefault((issuer, sequence), []).append((one, shard, shard))
        if int(view.cluster_of_shard[shard]) != cluster:
            self._say("an entity of another cluster's")
        if flags & 1:
            public, signature = raw[-96:-64], raw[-64:]
            if key_issuer(public) != issuer or not holds(public, Context.TRANSACTION, raw[:-64], signature):
                self._say(f"transaction {one.hex()[:12]} is not signed by its issuer")
        version, exists = self.versions.get(entity, (0, False))
        legal = operation == NOTE or (not exists if operation == CREATE else exists)
        if not legal or (expected not in (ANY, version)):
            self._say(f"transaction {one.hex()[:12]} breaks a rule")
        if operation in (CREATE, UPDATE, RETIRE):
            version, exists = version + 1, operation != RETIRE
            self.versions[entity] = version, exists
        if raw[64 : 64 + name].startswith(b"baash:evidence:"):
            at = 64 + name + -name % 8 + 32 * struct.unpack_from("<H", raw, 56)[0]
            size = struct.unpack_from("<I", raw, 12)[0]
            self.evidence.append(Accusation(view.view, cluster, *accused(self._views, raw[at : at + size])))
        self.numbers[one] = len(self.writes)
        self.writes.append((entity, version, exists))
        return one

    def _known(self, view: View, cluster: int, pair: Pair, but: bytes = b"") -> bool:
        """Whether a cluster must know that a pair was decided, for another transaction than ``but``."""
        first, last = _shards(view, cluster)
        return any(one != but and first <= low and high <= last for one, low, high in self._pairs.get(pair, ()))

    def _rejection(self, view: View, row: np.void) -> None:
        cluster = int(row["cluster"])
        one, pair = row["id"].tobytes(), (row["issuer"].tobytes(), int(row["sequence"]))
        self.rejected.setdefault(one, int(row["reason"]))
        self.rejected_by.setdefault(one, (view.view, cluster))
        if int(row["reason"]) in UNDECIDED_REASONS:
            return
        if one in self.numbers or self._known(view, cluster, pair):
            self._say(f"transaction {one.hex()[:12]} was decided before it is rejected")
        self._pairs.setdefault(pair, []).append((one, *_shards(view, cluster)))

    # -- certificates -----------------------------------------------------------------------------------------------

    def _window(self, view: View, proof: Certificate, blocks: list[tuple[bytes, int, int]]) -> None:
        window, cluster = proof.window, int(proof.window["cluster"])
        number = int(window["number"])
        name = f"window {number} of cluster {cluster}"
        if (number, window["previous"].tobytes()) != self._chains.get(cluster, (0, ZERO_HASH)):
            self._say(f"{name} does not follow the one before")
        digest = hashlib.sha256(window.tobytes()).digest()
        self._chains[cluster] = number + 1, digest
        listed = [(e["root"].tobytes(), int(e["count"]), int(e["bytes"])) for e in proof.entries]
        if listed[: proof.prefix] != blocks:
            self._say(f"{name}: its blocks are not those of its certificate")
        contents = [b"\0\3\1\0" + struct.pack("<III", cluster, count, size) + root for root, count, size in listed]
        if root_of([hashlib.sha256(c).digest() for c in contents]) != window["content_root"].tobytes():
            self._say(f"{name}: its content root is not that of its blocks")
        given, members = counted(view, proof, digest)
        if proof.head["decider"] == 1:
            storage = view.storage
            if storage is None or members != [storage.node] or given != [proof.prefix]:
                self._say(f"{name}: the storage validator did not decide that")
            return
        validators = {n.node for n in view.nodes if n.role == "validator" and n.cluster == cluster}
        if not validators.issuperset(members) or len(set(members)) != len(members):
            self._say(f"{name}: somebody voted who is no validator of its cluster")
        if len(members) != 3 * view.parameters.faults + 1 + int(proof.head["attempt"]):
            self._say(f"{name}: {len(members)} members in attempt {int(proof.head['attempt'])}")
        need = enough(view, len(members))
        best = max((p for p in range(len(listed) + 1) if sum(g >= p for g in given) >= need), default=-1)
        if best != proof.prefix:
            self._say(f"{name}: its votes carry {best} blocks, and {proof.prefix} are committed")


def counted(view: View, proof: Certificate, window_hash: bytes) -> tuple[list[int], list[int]]:
    """(prefixes of the valid votes, members) of a certificate."""
    members = proof.members.tolist()
    raw = struct.pack(f"<{len(members)}I", *members)
    attempt = hashlib.sha256(
        struct.pack("<BBBBIII", 0, 6, 1, int(proof.head["decider"]), int(proof.head["attempt"]), len(members), 0)
        + window_hash + raw + bytes(-len(raw) % 8)
    ).digest()  # fmt: skip
    given: dict[int, int] = {}
    for vote in proof.votes:
        node, signed = int(vote["node"]), vote.tobytes()
        if node not in members or vote["attempt"].tobytes() != attempt or int(vote["answer"]) != 0:
            continue
        if holds(view.nodes[node].key, Context.VOTE, signed[:VOTE_SIGNED_BYTES], signed[VOTE_SIGNED_BYTES:]):
            given[node] = min(int(vote["prefix"]), len(proof.entries))
    return list(given.values()), members


def accused(views: Mapping[int, View], payload: bytes) -> tuple[int, int, bool]:
    """(view, node, whether it is proved) of a piece of evidence (``docs/payloads.md``)."""
    fields = json.loads(payload)
    (one, first), (other, second) = (
        (bytes.fromhex(s["signed"]), bytes.fromhex(s["signature"])) for s in fields["statements"]
    )
    view, number = views[fields["view"]], fields["node"]
    vote, node = fields["what"] == "votes", view.nodes[number]
    if vote:  # of this node, on one attempt
        same = one[:3] == other[:3] == b"\0\x08\1" and one[4:8] == other[4:8] == struct.pack("<I", number)
        same = same and one[24:56] == other[24:56] and len(one) == len(other) == 64
    else:  # of the leader, on one round of this view of this ledger
        same = one[:4] == other[:4] == b"\0\x0c\1\0" and one[4:16] == other[4:16] and one[56:88] == other[56:88]
        same = same and one[4:8] == struct.pack("<I", view.view) and len(one) == len(other) == 256
        same = same and one[56:88] == view.ledger and node.role == "coordinator" and node.cluster == 0
    context = Context.VOTE if vote else Context.COMMIT
    signed = holds(node.key, context, one, first) and holds(node.key, context, other, second)
    return fields["view"], number, same and one != other and signed


def enough(view: View, members: int) -> int:
    """How many of ``members`` carry a window: more than half, or 2f+1 and one for each replacement."""
    f = view.parameters.faults
    return members // 2 + 1 if view.parameters.quorum == "majority" else 2 * f + 1 + members - (3 * f + 1)


_known: dict[tuple[bytes, bytes, bytes], bool] = {}


def holds(public: bytes, context: Context, signed: bytes, signature: bytes) -> bool:
    """Whether a signature is genuine, by libsodium alone."""
    digest = context.value + hashlib.sha256(signed).digest()
    key = (public, digest, signature)
    if key not in _known:
        if len(_known) > 100_000:
            _known.clear()
        try:
            _known[key] = len(signature) == 64 and bool(crypto_sign_open(signature + digest, public))
        except BadSignatureError:
            _known[key] = False
    return _known[key]


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root_of(leaves[:left]) + root_of(leaves[left:])).digest()


def _shards(view: View, cluster: int) -> tuple[int, int]:
    """First and last shard of a cluster, which has one range of them."""
    return next((first, last) for first, last, of in view.shards if of == cluster)
