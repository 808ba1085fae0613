"""Makes the known-answer files of this folder, from fixed seeds: the same bytes every time. ``make.py FOLDER`` writes them.

Two small ledgers (``tests/ledgers.py``) give the good ones; each bad one is a good one with one thing changed. What is
expected of each stands in ``verdicts.json``; ``README.md`` says how to read that.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record, small

from baash.ledger.proofs import checkpoint, form, making, notes
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.form import ConsistencyProof, TransactionProof
from baash.ledger.proofs.notes import Witness
from baash.ledger.proofs.tree import LogTree
from baash.ledger.reader import Ledger
from baash.ledger.transactions import scan_rounds
from baash.protocol.view import Parameters
from baash.records import Operation

TIME_S = 1_700_000_000
WITNESSES = [Witness(f"witness.example/w{i}", key_of("witness", i)) for i in (1, 2, 3)]


@dataclass
class Cases:
    """The files, and what is expected of each."""

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, data: bytes, exit_code: int, why: str, **more: Any) -> bytes:
        (self.folder / name).write_bytes(data)
        self.rows.append({"file": name, "exit_code": exit_code, "why": why, **more})
        return data

    def again(self, name: str, exit_code: int, why: str, **more: Any) -> None:
        """Another question about a file that is there."""
        self.rows.append({"file": name, "exit_code": exit_code, "why": why, **more})


def make(folder: Path) -> None:
    """Write all files into ``folder``."""
    cases = Cases(folder)
    with tempfile.TemporaryDirectory() as made:
        _good(cases, Path(made))
    _bad(cases)
    _bad_consistency(cases)
    _malformed(cases)
    lines = [f"witness w{i} {w.verifier.text}\n" for i, w in enumerate(WITNESSES, 1)]
    log = notes.Verifier(checkpoint.origin(LEDGER_KEY.public), notes.ED25519, LEDGER_KEY.public).text
    policy = f"# two of three\nlog {log}\n\n{''.join(lines)}group all-of-them 2 w1 w2 w3\nquorum all-of-them\n"
    (folder / "two-of-three.policy").write_text(policy)
    keys = {"ledger_id": LEDGER_KEY.public.hex(), "log": log, "witnesses": [w.verifier.text for w in WITNESSES]}
    (folder / "verdicts.json").write_text(json.dumps({**keys, "files": cases.rows}, indent=1) + "\n")


def _good(cases: Cases, made: Path) -> None:
    builder = small(made / "l")
    with Ledger(builder.path) as ledger:
        all_ = [s.transaction(i) for s in scan_rounds(ledger) for i in range(len(s.info))]
        ids = [one.id.hex() for one in all_]
        signed = next(one.id.hex() for one in all_ if one.signed)
        tree = LogTree(ledger)
        by_key = [checkpoint.sign(Checkpoint(ledger.id, n, tree.root(n)), LEDGER_KEY) for n in (0, 3, 10, 15)]
        builder.checkpoint(by_coordinator=True)
        by_node = checkpoint.read(ledger.folder)
        seen = by_key[3] + b"".join(
            notes.cosign(checkpoint.decode(by_key[3])[0].text, w, TIME_S) for w in WITNESSES[:2]
        )
        proofs = {
            "unsigned": (ids[0], by_key[3], "a CREATE in the first block, checkpoint of the ledger key"),
            "signed": (signed, by_key[2], "a transaction that its issuer signed; a checkpoint of 10 blocks"),
            "storage": (ids[-4], by_key[3], "decided by the storage validator, with the votes that did not suffice"),
            "by-node": (ids[30], by_node, "checkpoint of a node of the newest view"),
            "cosigned": (ids[2], seen, "checkpoint with the lines of two witnesses"),
        }
        for name, (id_, note, why) in proofs.items():
            cases.add(f"good-{name}.tlog-proof", making.prove(ledger, id_, note), 0, why)
        for old, new in ((0, 3), (1, 2), (1, 3), (2, 3), (3, 3)):
            data = making.prove_consistency(ledger, by_key[old], by_key[new])
            sizes = [checkpoint.decode(by_key[i])[0].size for i in (old, new)]
            cases.add(f"good-{sizes[0]}-{sizes[1]}.tlog-consistency", data, 0, "checkpoints of the ledger key")
        data = making.prove_consistency(ledger, by_key[1], by_node)
        cases.add(
            "good-by-node.tlog-consistency", data, 0, "the new checkpoint is of a node, so view records are in it"
        )
    nodes = Builder(made / "nodes", clusters=1, parameters=Parameters(align=64, block_size=1))
    nodes.begin_view()
    nodes.begin_view(signed_by_nodes=True)
    nodes.begin_view(signed_by_nodes=True)
    nodes.commit(batch_of([record(Operation.CREATE, "only", 0)]))
    nodes.checkpoint(by_coordinator=True)
    with Ledger(nodes.path) as ledger:
        one = next(scan_rounds(ledger)).transaction(0).id.hex()
        why = "a log of one block, and a view that nodes of the view before vouch for, whose view nodes vouch for, too"
        cases.add("good-chain-of-views.tlog-proof", making.prove(ledger, one), 0, why)
    known, other = {"ledger_id": LEDGER_KEY.public.hex()}, {"ledger_id": key_of("another").public.hex()}
    cases.again("good-by-node.tlog-proof", 0, "and the id is known", **known)
    cases.again("good-by-node.tlog-proof", 1, "of another ledger than the one that is meant", **other)
    for quorum, exit_code in ((1, 0), (2, 0), (3, 1)):
        cases.again(
            "good-cosigned.tlog-proof", exit_code, f"two witnesses of three, {quorum} are asked for", quorum=quorum
        )
    cases.again("good-cosigned.tlog-proof", 0, "the policy is met", policy="two-of-three.policy", quorum=2)
    cases.again("good-unsigned.tlog-proof", 1, "no witness, two are asked for", policy="two-of-three.policy", quorum=2)


def _bad(cases: Cases) -> None:
    def good(name: str) -> TransactionProof:
        proof = form.decode((cases.folder / f"good-{name}.tlog-proof").read_bytes(), name)
        assert isinstance(proof, TransactionProof)
        return proof

    def add(name: str, proof: TransactionProof, why: str) -> None:
        cases.add(f"bad-{name}.tlog-proof", form.encode(proof), 1, why)

    plain, signed, node = good("unsigned"), good("signed"), good("by-node")
    add("record", replace(plain, record=_flip(plain.record, 82)), "one bit of the payload")
    add("record-form", replace(plain, record=_flip(plain.record, 3)), "an operation that there is not")
    add("index", replace(plain, index=plain.index + 1), "the transaction has another number in its block")
    add("path", replace(plain, path=_flip(plain.path, 5)), "one bit of a hash of the path in the block")
    add("path-long", replace(plain, path=plain.path + bytes(32)), "the path in the block is too long")
    add("height", replace(plain, height=plain.height + 1), "the height is not that of the header")
    add(
        "log-path",
        replace(plain, log_path=(*plain.log_path[1:], plain.log_path[0])),
        "hashes of the log in another order",
    )
    add("log-path-short", replace(plain, log_path=plain.log_path[:-1]), "the path in the log is too short")
    add("header", replace(plain, header=_flip(plain.header, 90)), "one bit of the parent in the header")
    add("issuer", replace(signed, record=_flip(signed.record, len(signed.record) - 1)), "the issuer's signature")
    add("vote", replace(plain, certificate=_flip(plain.certificate, len(plain.certificate) - 1)), "a vote's signature")
    add("certificate", replace(plain, certificate=signed.certificate), "the certificate of another window")
    few = _without_votes(plain.certificate, 1)
    add("votes", replace(plain, certificate=few), "one vote too few")
    add("views-none", replace(plain, views=()), "no view record")
    add(
        "view-body",
        replace(plain, views=(plain.views[0].replace(b'"seed": 7', b'"seed": 8'),)),
        "a view record edited",
    )
    add(
        "view-nobody", replace(node, views=node.views[:1]), "the view of the node that signed the checkpoint is missing"
    )
    chain = good("chain-of-views")
    add("view-chain", replace(chain, views=(chain.views[0], chain.views[2])), "a predecessor is missing")
    last = chain.views[2]
    add("view-few", replace(chain, views=(*chain.views[:2], last[: last.rindex(b"node:")])), "too few nodes vouch")
    point, lines = checkpoint.decode(plain.note)
    forged = checkpoint.sign(point, key_of("forger"), point.origin)
    add("signer", replace(plain, note=forged), "the checkpoint is signed by another key under the ledger's name")
    text = plain.note.partition(b"\n\n")[0] + b"\n"
    broken = text + b"\n" + notes.line(lines[0][0], _flip(lines[0][1], 20))
    add("signature", replace(plain, note=broken), "the checkpoint's signature")
    theirs = Checkpoint(key_of("forger").public, point.size, point.root)
    add("ledger", replace(plain, note=checkpoint.sign(theirs, key_of("forger"))), "a checkpoint of another ledger")
    seen = good("cosigned")
    raw = checkpoint.decode(seen.note)[1]
    spoiled = seen.note.replace(base64.b64encode(raw[2][1]), base64.b64encode(_flip(raw[2][1], 11)))
    data = form.encode(replace(seen, note=spoiled))
    cases.add("bad-cosignature.tlog-proof", data, 1, "a cosignature's time was changed, and one is enough", quorum=1)
    cases.again("bad-cosignature.tlog-proof", 0, "the same, and nobody asks for witnesses")


def _bad_consistency(cases: Cases) -> None:
    found = form.decode((cases.folder / "good-3-15.tlog-consistency").read_bytes(), "")
    assert isinstance(found, ConsistencyProof)
    good: ConsistencyProof = found
    old = checkpoint.decode(good.old)[0]

    def add(name: str, proof: ConsistencyProof, why: str) -> None:
        cases.add(f"bad-{name}.tlog-consistency", form.encode_consistency(proof), 1, why)

    add("path", replace(good, path=(_flip(good.path[0], 0), *good.path[1:])), "one bit of the path")
    add("path-short", replace(good, path=good.path[:-1]), "the path is too short")
    add("path-long", replace(good, path=(*good.path, bytes(32))), "the path is too long")
    add("size", replace(good, old_size=4), "the size is not the old checkpoint's")
    add("swapped", replace(good, old=good.new, new=good.old, old_size=15), "old and new swapped")
    rewritten = checkpoint.sign(Checkpoint(old.ledger, old.size, bytes(32)), LEDGER_KEY)
    add("rewritten", replace(good, old=rewritten), "a history that was rewritten: the old root is another")
    nobody = checkpoint.sign(old, key_of("forger"), "somebody")
    add("nobody", replace(good, old=nobody), "the old checkpoint is signed by nobody who counts")


def _malformed(cases: Cases) -> None:
    good = (cases.folder / "good-unsigned.tlog-proof").read_bytes()
    extra = good.split(b"\n")[1][6:]
    raw = base64.b64decode(extra)
    changes: dict[str, tuple[Callable[[], bytes], str]] = {
        "empty": (lambda: b"", "nothing"),
        "cut": (lambda: good[: len(good) // 2], "cut short"),
        "no-newline": (lambda: good[:-1], "no end of line at the end"),
        "crlf": (lambda: good.replace(b"\n", b"\r\n"), "ends of lines of another kind"),
        "version": (lambda: good.replace(b"@v1", b"@v2", 1), "another version of the format"),
        "index": (lambda: good.replace(b"\nindex 0\n", b"\nindex 00\n"), "a number with a leading zero"),
        "huge": (lambda: good.replace(b"\nindex 0\n", b"\nindex 9223372036854775808\n"), "a number above 2^63 - 1"),
        "size": (lambda: good.replace(b"\n15\n", b"\n" + b"9" * 5000 + b"\n"), "a size of 5,000 digits"),
        "extra-behind": (
            lambda: good.replace(extra, base64.b64encode(raw + bytes(3))),
            "bytes behind the view records",
        ),
        "extra-sizes": (
            lambda: good.replace(extra, base64.b64encode(raw[:16] + b"\xff" * 20 + raw[36:])),
            "sizes of 4 GiB and more",
        ),
        "base64": (lambda: good.replace(extra, extra[:-1] + b"!"), "not base64"),
        "binary": (lambda: bytes(range(256)) * 8, "no text"),
    }
    for name, (change, why) in changes.items():
        cases.add(f"malformed-{name}.tlog-proof", change(), 4, why)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def _without_votes(certificate: bytes, count: int) -> bytes:
    """A certificate without its last votes, its own sizes right."""
    head = bytearray(certificate[: len(certificate) - 128 * count])
    head[4:8] = (len(head)).to_bytes(4, "little")
    head[20:24] = (int.from_bytes(head[20:24], "little") - count).to_bytes(4, "little")
    return bytes(head)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    make(Path(sys.argv[1]))
