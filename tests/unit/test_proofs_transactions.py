"""Proofs of transactions: every one of random ledgers is proved; no byte of a proof may change; hostile files get a verdict."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import LEDGER_KEY, Builder, batch_of, key_of, record, small
from reader import proof_reader

from baash import kernels
from baash.errors import InputError, LedgerDamaged, LedgerError, UsageError
from baash.ledger.proofs import checking, checkpoint, form, making, notes, words
from baash.ledger.proofs.checking import Verdict
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.form import TransactionProof
from baash.ledger.proofs.notes import Witness
from baash.ledger.proofs.policy import of
from baash.ledger.proofs.tree import LogTree
from baash.ledger.reader import Ledger
from baash.ledger.transactions import Transaction, scan_rounds
from baash.protocol.view import Parameters
from baash.records import BLOCK_HEADER, Operation

WITNESS = Witness("w.example", key_of("w"))


@pytest.fixture(autouse=True)
def no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAASH_KEYS", str(tmp_path / "keys"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    builder = small(tmp_path_factory.mktemp("made") / "l")
    builder.checkpoint(by_coordinator=True)
    return builder.path


def transactions(ledger: Ledger) -> Iterator[Transaction]:
    for scanned in scan_rounds(ledger):
        yield from map(scanned.transaction, range(len(scanned.info)))


def read(data: bytes) -> TransactionProof:
    proof = form.decode(data, "p")
    assert isinstance(proof, TransactionProof)
    return proof


def plain(data: bytes) -> bool:
    try:
        proof_reader.check(data)
        return True
    except (proof_reader.Bad, proof_reader.Malformed):
        return False


def random_ledger(path: Path, seed: int) -> Builder:
    """Some views of some clusters, rounds of several windows; the last checkpoint by a node or by the ledger key."""
    draw = random.Random(seed)
    quorum = draw.choice(["majority", "byzantine"])
    parameters = Parameters(align=64, block_size=draw.choice([1, 2, 4, 7]), quorum=quorum)
    builder = Builder(path, clusters=draw.randint(1, 3), parameters=parameters)
    number, signer = 0, key_of("issuer", seed)
    for view in range(draw.randint(1, 3)):
        builder.begin_view(clusters=draw.randint(1, 3), signed_by_nodes=view > 0 and draw.random() < 0.6)
        for _ in range(draw.randint(1, 3)):
            records = []
            for _ in range(draw.randint(1, 30)):
                payload = draw.randbytes(draw.randint(0, 60))
                key = signer if draw.random() < 0.3 else None
                records.append(record(Operation.NOTE, f"entity {number}", number, payload=payload, key=key))
                number += 1
            cut = draw.randint(0, len(records))
            parts = [batch_of(part) for part in (records[:cut], records[cut:]) if part]
            builder.commit(parts, storage=draw.random() < 0.2)
    builder.checkpoint(by_coordinator=draw.random() < 0.7)
    builder.close()
    return builder


@pytest.mark.parametrize("seed", range(6))
def test_every_transaction_of_random_ledgers_is_proved(tmp_path: Path, seed: int) -> None:
    with Ledger(random_ledger(tmp_path / "l", seed).path) as ledger:
        count = 0
        for one in transactions(ledger):
            data = making.prove(ledger, one.id.hex())
            verdict = checking.check(data, "p", ledger_id=ledger.id)
            assert verdict.ok and verdict.known and verdict.transaction is not None, verdict.problems
            assert (verdict.transaction.id, verdict.transaction.height) == (one.id, one.height)
            assert (verdict.transaction.index, verdict.transaction.time_ns) == (one.index, one.time_ns)
            assert proof_reader.check(data)["id"] == one.id
            count += 1
        assert count == ledger.transaction_total > 0


def test_a_long_log(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "l", clusters=1, parameters=Parameters(align=64, block_size=1))
    builder.begin_view()
    builder.commit(batch_of([record(Operation.NOTE, f"e{i}", i) for i in range(600)]))
    builder.checkpoint()
    with Ledger(builder.path) as ledger:
        for one in list(transactions(ledger))[::97]:
            data = making.prove(ledger, one.id.hex())
            assert checking.check(data, "p").ok and plain(data)


def accepted(data: bytes, **options: object) -> Verdict | None:
    """The verdict, if the file is good; None: it is not. Nothing but InputError may come out."""
    try:
        verdict = checking.check(data, "p", **options)  # type: ignore[arg-type]
    except InputError:
        return None
    return verdict if verdict.ok else None


@pytest.fixture(scope="module")
def cosigned(made: Path) -> bytes:
    """A proof with a line more than is needed: that of a witness."""
    with Ledger(made) as ledger:
        note = checkpoint.read(ledger.folder)
        assert note is not None
        seen = note + notes.cosign(checkpoint.decode(note)[0].text, WITNESS, 1_700_000_000)
        return making.prove(ledger, next(transactions(ledger)).id.hex(), seen)


@pytest.mark.slow
def test_no_byte_of_a_proof_may_change(cosigned: bytes) -> None:
    """Each byte, in two ways. What is accepted changes nothing but the line of a witness whom nobody asked about."""
    good = accepted(cosigned)
    assert good is not None
    line = cosigned.rindex("\u2014".encode())
    policy = of([WITNESS.verifier.text], 1)
    draw = random.Random(1)
    for at in range(len(cosigned)):
        for byte in {cosigned[at] ^ 1, draw.randrange(256)} - {cosigned[at]}:
            changed = cosigned[:at] + bytes((byte,)) + cosigned[at + 1 :]
            verdict = accepted(changed)
            if verdict is None:
                continue
            assert at > line, f"byte {at} was changed, and the proof is good"
            assert (verdict.transaction, verdict.signers, verdict.points) == (
                good.transaction,
                good.signers,
                good.points,
            )
            assert accepted(changed, policy=policy) is None, f"byte {at}: the cosignature is another, and it counts"


def test_no_bit_of_what_is_inside_may_change(cosigned: bytes) -> None:
    """The same below the base64, where a changed letter may be several bits: every byte of the extra data, one bit of it."""
    extra = base64.b64decode(cosigned.split(b"\n")[1][6:])
    for at in range(len(extra)):
        changed = extra[:at] + bytes((extra[at] ^ 1 << at % 8,)) + extra[at + 1 :]
        whole = cosigned.replace(base64.b64encode(extra), base64.b64encode(changed))
        assert accepted(whole) is None, f"byte {at} of the extra data"
        if at % 16 == 0:
            assert not plain(whole), f"byte {at} of the extra data, second checker"


def test_cut_short_or_with_more_behind(cosigned: bytes) -> None:
    line = cosigned.rindex("\u2014".encode())
    for size in range(len(cosigned)):
        if size != line:  # without the witness's line it is a proof, too
            assert accepted(cosigned[:size]) is None, size
    for more in (b"\n", b"x", b"\0", cosigned):
        assert accepted(cosigned + more) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"c2sp.org/tlog-proof@v1\n", b"baash/tlog-consistency@v1\n"]))
def test_random_bytes_are_no_proof(data: bytes, first: bytes) -> None:
    assert accepted(first + data) is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_spliced_proofs(cosigned: bytes, data: st.DataObject) -> None:
    """Parts of a good proof left out, doubled, or replaced by numbers that are too large."""
    extra = bytearray(base64.b64decode(cosigned.split(b"\n")[1][6:]))
    whole = bytes(extra)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(extra) - 1))
        size = data.draw(st.integers(1, 64))
        match data.draw(st.sampled_from(["out", "twice", "ones", "zeros"])):
            case "out" if at:
                del extra[at : at + size]
            case "twice":
                extra[at:at] = extra[at : at + size]
            case "ones":
                extra[at : at + 4] = b"\xff" * len(extra[at : at + 4])
            case _:
                extra[at : at + 4] = bytes(len(extra[at : at + 4]))
    if bytes(extra) != whole:
        assert accepted(cosigned.replace(base64.b64encode(whole), base64.b64encode(extra))) is None


@pytest.mark.parametrize("field", range(6))
@pytest.mark.parametrize("number", [0, 1, 255, 2**16, 2**31, 2**32 - 1])
def test_sizes_that_are_not_true(cosigned: bytes, field: int, number: int) -> None:
    extra = bytearray(base64.b64decode(cosigned.split(b"\n")[1][6:]))
    whole = bytes(extra)
    struct.pack_into("<I", extra, 16 + 4 * field, number)
    if bytes(extra) != whole:
        assert accepted(cosigned.replace(base64.b64encode(whole), base64.b64encode(extra))) is None


def resigned(proof: TransactionProof, header: np.ndarray, **more: object) -> bytes:
    """The proof with another header, in a log of that one block which the ledger key signs: the owner himself cheats."""
    raw = header.tobytes()
    point = Checkpoint(LEDGER_KEY.public, 1, hashlib.sha256(raw).digest())
    note = checkpoint.sign(point, LEDGER_KEY)
    return form.encode(replace(proof, header=raw, height=0, log_path=(), note=note, **more))  # type: ignore[arg-type]


def test_votes_bind_the_block_even_against_the_ledger_key(made: Path) -> None:
    with Ledger(made) as ledger:
        first = next(transactions(ledger))
        proof = read(making.prove(ledger, first.id.hex()))
    header = np.frombuffer(proof.header, dtype=BLOCK_HEADER)
    assert accepted(resigned(proof, header)) is not None
    changes: dict[str, Callable[[int], int]] = {
        "cluster": lambda n: 1 - n,
        "view": lambda n: n + 2,
        "index": lambda n: n + 1,
        "window": lambda n: n + 1,
        "time_ns": lambda n: n + 1,
        "bytes": lambda n: n + 8,
        "height": lambda n: n + 1,
        "flags": lambda n: 1,
        "version": lambda n: 2,
    }
    for name, change in changes.items():
        other = header.copy()
        other[name] = change(int(header[name][0]))
        assert accepted(resigned(proof, other)) is None, name
    forged = proof.record[:33] + bytes((proof.record[33] ^ 1,)) + proof.record[34:]  # another sequence number
    assert accepted(resigned(proof, header, record=forged)) is None
    # a block of its own making, with a content digest that fits: nobody voted on it
    other, entry = header.copy(), np.zeros(1, dtype=[("root", "u1", 32), ("count", "<u4"), ("bytes", "<u4")])
    entry["root"] = np.frombuffer(hashlib.sha256(forged).digest(), dtype=np.uint8)
    entry["count"], entry["bytes"] = 1, len(forged)
    other["count"], other["bytes"] = 1, len(forged)
    other["content"] = kernels.content_digests(entry, int(header["cluster"][0]))
    verdict = checking.check(resigned(proof, other, record=forged, index=0, path=b""), "p")
    assert verdict.problems == ["the block header is not that of the block that was voted on"]


def test_blocks_that_were_lost_are_not_proved(made: Path) -> None:
    """Of a window that lost blocks, the votes carry the first ones alone."""
    with Ledger(made) as ledger:
        for one in transactions(ledger):
            proof = read(making.prove(ledger, one.id.hex()))
            head = struct.unpack_from("<BBBBIIIIIII", proof.certificate)
            blocks = struct.unpack_from("<I", proof.certificate, 32 + 12)[0]
            if head[5] < blocks:
                break
        else:
            raise AssertionError("no window lost blocks")
        header = np.frombuffer(proof.header, dtype=BLOCK_HEADER).copy()
        header["index"] = head[5]
        assert (
            "the votes do not carry this block of the window" in checking.check(resigned(proof, header), "p").problems
        )


def test_a_rotted_ledger_proves_nothing(tmp_path: Path) -> None:
    builder = small(tmp_path / "l", views_=1)
    builder.checkpoint()
    with Ledger(builder.path) as ledger:
        one = next(transactions(ledger))
        block = ledger.block(one.height)
        place = block.round.file.layout.data["records"].offset + int(block.row["records_offset"])
        name = block.round.file.layout.path
    with name.open("r+b") as file:
        file.seek(place + len(one.raw) + 33)  # the sequence number of the next record of the block
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes((byte[0] ^ 1,)))
    with (
        Ledger(builder.path) as ledger,
        pytest.raises(LedgerDamaged, match=r"nothing can be proved|are not those of the content digest"),
    ):
        making.prove(ledger, one.id.hex())


def test_which_checkpoint_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = small(tmp_path / "l", views_=1)
    with Ledger(builder.path) as ledger:
        ids = [one.id.hex() for one in transactions(ledger)]
        with pytest.raises(LedgerError, match=r"has no checkpoint, and the ledger key is not here.*BAASH_KEYS"):
            making.prove(ledger, ids[0])
        tree = LogTree(ledger)
        early = checkpoint.sign(Checkpoint(ledger.id, 2, tree.root(2)), LEDGER_KEY)
        (builder.path / "checkpoint").write_bytes(early)
        assert read(making.prove(ledger, ids[0])).note == early
        with pytest.raises(LedgerError, match="does not cover that block"):
            making.prove(ledger, ids[-1])
        with pytest.raises(LedgerError, match="take a newer one"):
            making.prove(ledger, ids[-1], early)
        monkeypatch.setattr("baash.ledger.keyring.load", lambda _: LEDGER_KEY)
        assert checkpoint.decode(read(making.prove(ledger, ids[-1])).note)[0].size == ledger.block_total
        other = checkpoint.sign(Checkpoint(ledger.id, 2, bytes(32)), LEDGER_KEY)
        for wrong, said in (
            (other, "is not of the log"),
            (checkpoint.sign(Checkpoint(ledger.id, 99, bytes(32)), LEDGER_KEY), "its end was cut off"),
            (checkpoint.sign(Checkpoint(key_of(1).public, 2, bytes(32)), key_of(1)), "is of ledger"),
            (checkpoint.sign(Checkpoint(ledger.id, 2, bytes(32)), key_of(1), "x"), "signed neither by"),
        ):
            with pytest.raises(LedgerError, match=said):
                making.prove(ledger, ids[0], wrong)
        (builder.path / "checkpoint").write_bytes(other)
        with pytest.raises(LedgerDamaged, match="is not of the log"):
            making.prove(ledger, ids[0])
        for id_, error in (("12", UsageError), ("00" * 32, LedgerError)):
            with pytest.raises(error):
                making.prove(ledger, id_)


def test_the_ledger_key_signs_no_rotted_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = small(tmp_path / "l", views_=1)
    monkeypatch.setattr("baash.ledger.keyring.load", lambda _: LEDGER_KEY)
    with Ledger(builder.path) as ledger:
        place = ledger.segments[0].data["block_headers"].offset
        assert checkpoint.decode(making.given_out(ledger, 3))[0].size == 3
        assert checkpoint.decode(making.given_out(ledger, 0))[0].root == hashlib.sha256(b"").digest()
        with pytest.raises(UsageError, match="--size asks for"):
            making.given_out(ledger, ledger.block_total + 1)
    with (builder.path / "segment-000000-0000.h5").open("r+b") as file:
        file.seek(place + 128 + 33)
        file.write(b"\xaa")
    with Ledger(builder.path) as ledger, pytest.raises(LedgerDamaged, match="nothing is signed"):
        making.given_out(ledger, 1)


def test_what_is_said(made: Path, cosigned: bytes) -> None:
    verdict = checking.check(cosigned, "p")
    said, not_said = "\n".join(words.proved(verdict)), "\n".join(words.not_proved(verdict))
    assert "CREATE of /data/run/" in said and "3 of the 4 nodes" in said and "the ledger key vouches" in said
    assert re.search(r"signed by node \d+ of view 3", said) and "w.example" not in said
    assert "nobody told its id" in not_said and "no witnesses were asked for" in not_said
    policy = of([WITNESS.verifier.text], 1)
    known = checking.check(cosigned, "p", ledger_id=verdict.ledger, policy=policy)
    assert "witness w.example saw this checkpoint at 2023-11-14T22:13:20Z" in words.proved(known)
    assert "nobody told" not in "\n".join(words.not_proved(known)) and "witness" not in "\n".join(
        words.not_proved(known)
    )
    other = checking.check(cosigned, "p", ledger_id=bytes(32))
    assert not other.ok and not other.known and words.proved(other) == []
