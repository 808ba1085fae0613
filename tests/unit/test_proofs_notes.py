"""Signed notes, verifier keys, cosignatures and policies: the specifications' own examples, strict forms, k of n."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import LEDGER_KEY, key_of

from baash.errors import InputError, LedgerDamaged, UsageError
from baash.ledger.proofs import checkpoint, notes, policy
from baash.ledger.proofs.checkpoint import Checkpoint
from baash.ledger.proofs.notes import COSIGNATURE, ED25519, Verifier, Witness
from baash.ledger.proofs.policy import Policy

WITNESSES = [Witness(f"w{i}.example", key_of("witness", i)) for i in range(5)]
VKEYS = [w.verifier.text for w in WITNESSES]
LOG = Verifier(checkpoint.origin(LEDGER_KEY.public), ED25519, LEDGER_KEY.public)
NOTE = checkpoint.sign(Checkpoint(LEDGER_KEY.public, 5, bytes(32)), LEDGER_KEY)
TEXT = checkpoint.decode(NOTE)[0].text


def cosigned(*numbers: int, note: bytes = NOTE) -> bytes:
    return note + b"".join(notes.cosign(TEXT, WITNESSES[i], 1000 + i) for i in numbers)


def test_the_verifier_key_of_gos_sumdb() -> None:
    """A key that is in use out there, and what makes its hash."""
    text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    found = notes.read_verifier(text)
    assert (found.name, found.kind, found.key_hash.hex(), found.text) == ("sum.golang.org", 1, "033de0ae", text)


def test_keys_are_written_and_read() -> None:
    for witness in WITNESSES:
        assert notes.read_witness(witness.text) == witness
        assert notes.read_verifier(witness.verifier.text) == witness.verifier
    assert notes.read_verifier(LOG.text) == LOG
    assert notes.key_hash("a", bytes(32), 4) == hashlib.sha256(b"a\n\4" + bytes(32)).digest()[:4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        "a+00000000+AAAA",
        VKEYS[0][:-1],
        VKEYS[0] + "A",
        VKEYS[0].replace("w0", "w1"),
        VKEYS[0].replace("w0", "w 0"),
        "+" + VKEYS[0],
        "x+zzzzzzzz+" + VKEYS[0].split("+", 2)[2],
        "x+00000000+" + base64.b64encode(bytes((6, *range(32)))).decode(),
        "x+00000000+" + base64.b64encode(bytes((4, *range(31)))).decode(),
        WITNESSES[0].text,
    ],
)
def test_what_is_no_verifier_key(text: str) -> None:
    with pytest.raises(UsageError):
        notes.read_verifier(text)


@pytest.mark.parametrize("text", ["", VKEYS[0], WITNESSES[0].text[:-4], WITNESSES[0].text.replace("w0", "w1")])
def test_what_is_no_private_key(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        notes.read_witness(text)
    assert WITNESSES[0].key.seed.hex() not in str(caught.value)


def test_a_cosignature_is_for_one_text_time_name_and_key() -> None:
    line = notes.cosign(TEXT, WITNESSES[0], 1_700_000_000)
    ((name, raw),) = notes.split(TEXT + b"\n" + line)[1]
    assert (name, len(raw)) == ("w0.example", 76)
    assert notes.verify(TEXT, raw, WITNESSES[0].verifier) == 1_700_000_000
    assert notes.verify(TEXT + b"x\n", raw, WITNESSES[0].verifier) is None
    assert notes.verify(TEXT, raw, WITNESSES[1].verifier) is None
    other = Verifier("w0.example", COSIGNATURE, WITNESSES[1].key.public)
    assert notes.verify(TEXT, other.key_hash + raw[4:], other) is None
    for at in range(4, 76):
        assert notes.verify(TEXT, raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :], WITNESSES[0].verifier) is None
    late = WITNESSES[0].verifier.key_hash + b"\xff" * 8 + raw[12:]
    assert notes.verify(TEXT, late, WITNESSES[0].verifier) is None
    plain = Verifier("w0.example", ED25519, WITNESSES[0].key.public)
    assert notes.verify(TEXT, plain.key_hash + raw[12:], plain) is None, "a cosignature is none of the note itself"


@pytest.mark.parametrize(
    "line",
    [
        "- a AAAAAAAA",
        "\u2014 a",
        "\u2014  AAAAAAAA",
        "\u2014 a b AAAAAAAA",
        "\u2014 a+b AAAAAAAA",
        "\u2014 a\u00a0b AAAAAAAA",
        "\u2014 a\tb AAAAAAAA",
        "\u2014 a AAAAAAA",
        "\u2014 a AAAAAAB=",
        "\u2014 a AAAA",
        "\u2014 " + "a" * 256 + " AAAAAAAA",
        "",
    ],
)
def test_what_is_no_signature_line(line: str) -> None:
    with pytest.raises(LedgerDamaged, match="not a checkpoint"):
        checkpoint.decode(NOTE + line.encode() + b"\n")


def test_lines_of_strangers_are_skipped_and_bounded() -> None:
    stranger = "\u2014 somebody/else AAAAAAAA\n".encode()
    assert checkpoint.verify(NOTE + stranger * 20, [(LOG.name, LOG.public)])[1] == [LOG.name]
    with pytest.raises(LedgerDamaged, match="more than"):
        checkpoint.decode(NOTE + stranger * notes.SIGNATURES_MAX)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: NOTE + t.encode("utf-8", "replace")))
def test_any_bytes_are_a_checkpoint_or_none(data: bytes) -> None:
    try:
        found, _ = checkpoint.decode(data)
        assert data.startswith(found.text)
    except LedgerDamaged:
        pass


# --- policies


def written(*lines: str) -> Policy:
    return policy.read("".join(f"{line}\n" for line in lines).encode(), "p")


NAMED = [f"witness w{i} {vkey}" for i, vkey in enumerate(VKEYS)]


def good(of: Policy, note: bytes) -> bool:
    return not policy.judge(of, note)[1]


def test_k_of_n() -> None:
    for least in range(1, 6):
        asked = policy.of(VKEYS, least)
        for count in range(6):
            assert good(asked, cosigned(*range(count))) == (count >= least)
    assert not good(policy.of(VKEYS, 2), cosigned(3, 3, 3)), "one witness counts once"
    for wrong in (0, 6):
        with pytest.raises(UsageError, match="cannot be"):
            policy.of(VKEYS, wrong)
    with pytest.raises(UsageError, match="twice"):
        policy.of([VKEYS[0], VKEYS[0]], 1)


def test_groups_of_groups() -> None:
    asked = written(
        "# the example of the specification, in small",
        f"log {LOG.text} https://log.example/",
        "",
        *NAMED,
        "group\tX 2 w0 w1 w2",
        "  group Y any  w3 w4 ",
        "group both all X Y",
        "quorum both",
    )
    for numbers, met in (((0, 1, 3), True), ((0, 2, 4), True), ((0, 1, 2), False), ((0, 3, 4), False), ((), False)):
        assert good(asked, cosigned(*numbers)) is met
    seen, _ = policy.judge(asked, cosigned(0, 1, 3))
    assert seen == {"w0.example": 1000, "w1.example": 1001, "w3.example": 1003}


def test_logs() -> None:
    mine, other = f"log {LOG.text}", f"log {Verifier('x', ED25519, key_of(1).public).text}"
    assert good(written(mine, other, "quorum none"), NOTE) and good(written("quorum none"), NOTE)
    assert not good(written(other, "quorum none"), NOTE)
    named_otherwise = Verifier("x", ED25519, LEDGER_KEY.public).text
    assert not good(written(f"log {named_otherwise}", "quorum none"), NOTE), "the name is the origin"


def test_a_known_witness_whose_line_is_spoiled() -> None:
    raw = checkpoint.decode(cosigned(0))[1][1][1]
    spoiled = NOTE + notes.line("w0.example", raw[:-1] + bytes((raw[-1] ^ 1,)))
    _, problems = policy.judge(written(*NAMED, "quorum none"), spoiled)
    assert problems == ["the cosignature of w0.example does not verify"]


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("quorum none", "quorum none"),
        ("quorum w0",),
        ("quorum w0", NAMED[0]),
        (NAMED[0], NAMED[0], "quorum w0"),
        (NAMED[0], NAMED[0].replace("w0 ", "w9 ", 1), "quorum w0"),
        (NAMED[0], "group g any", "quorum g"),
        (NAMED[0], "group g 0 w0", "quorum g"),
        (NAMED[0], "group g 2 w0", "quorum g"),
        (NAMED[0], "group g ² w0", "quorum g"),
        (NAMED[0], "group g any w0 w0", "quorum g"),
        (NAMED[0], "group g any none", "quorum g"),
        (NAMED[0], "group w0 any w0", "quorum w0"),
        (NAMED[0], "group none any w0", "quorum none"),
        (NAMED[0], "group g any g", "quorum g"),
        (NAMED[0], "group g any w0", "group h any w0", "quorum h"),
        (f"witness w0 {LOG.text}", "quorum w0"),
        (f"log {VKEYS[0]}", "quorum none"),
        (f"log {LOG.text}", f"log {LOG.text}", "quorum none"),
        ("log", "quorum none"),
        ("witness w0 nonsense", "quorum none"),
        ("quorum none\r",),
        ("nonsense", "quorum none"),
    ],
)
def test_what_is_no_policy(lines: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="p"):
        written(*lines)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([*NAMED, "quorum", "group", "g", "any", "all", "1", "none", "w0", "w1", "\n"]), max_size=20
    )
)
def test_any_words_are_a_policy_or_none(words: list[str]) -> None:
    try:
        found = policy.read(" ".join(words).replace("witness", "\nwitness").encode(), "p")
        assert found.met(set(found.witnesses)), "all that are named are always enough"
    except InputError:
        pass
