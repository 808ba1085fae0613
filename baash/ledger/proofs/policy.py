"""Whose signatures make a checkpoint good: a C2SP tlog-policy (https://c2sp.org/tlog-policy) read, and applied.

A policy names logs, witnesses, groups of them (k of n, nested), and the quorum: one witness or group, or ``none``. Names are
bytes without meaning outside of the file. A group names only what stands before it and each name is a member
once, so the count is one walk in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from baash.errors import InputError, UsageError
from baash.ledger.proofs import checkpoint, notes
from baash.ledger.proofs.notes import COSIGNATURE, ED25519, Verifier

POLICY_MAX = 1 << 20
_NONE = b"none"


@dataclass
class Policy:
    """``quorum`` None: no witness is needed. ``logs`` empty: which log is meant is known from elsewhere."""

    logs: list[Verifier] = field(default_factory=list)
    witnesses: dict[bytes, Verifier] = field(default_factory=dict)
    groups: dict[bytes, tuple[int, tuple[bytes, ...]]] = field(default_factory=dict)
    quorum: bytes | None = None

    def met(self, cosigned: set[bytes]) -> bool:
        """Whether the witnesses with these names are enough."""
        good = {name: name in cosigned for name in self.witnesses}
        for name, (least, members) in self.groups.items():
            good[name] = sum(good[m] for m in members) >= least
        return self.quorum is None or good[self.quorum]


def of(witnesses: Sequence[str], least: int) -> Policy:
    """``least`` of these vkeys. UsageError."""
    if not 1 <= least <= len(witnesses):
        raise UsageError(f"a quorum of {least} of {len(witnesses)} witnesses cannot be: give 1 to {len(witnesses)}")
    found = Policy(quorum=b"all")
    for i, text in enumerate(witnesses):
        _add_witness(found, b"%d" % i, notes.read_verifier(text))
    found.groups[b"all"] = (least, tuple(found.witnesses))
    return found


def read(data: bytes, name: str) -> Policy:
    """The policy in a file; ``name`` is the file's, for messages. InputError names the line."""
    found, quorums = Policy(), 0
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            if len(data) > POLICY_MAX or any((b < 0x20 and b != 9) or b == 0x7F for b in line):
                raise UsageError("it is too large, or has control characters")
            words = line.replace(b"\t", b" ").split(b" ")
            words = [w for w in words if w]
            if words and not words[0].startswith(b"#"):
                quorums += _take(found, words[0], words[1:])
        except (UsageError, ValueError) as error:
            raise InputError(
                f"{name}, line {number}: {error}; https://c2sp.org/tlog-policy says how it looks"
            ) from None
    if quorums != 1:
        raise InputError(f"{name}: a policy has exactly one quorum line, this one has {quorums}")
    return found


def judge(policy: Policy, note: bytes) -> tuple[dict[str, int], list[str]]:
    """(witness's name → when it cosigned, seconds since 1970; what the policy finds wrong with the checkpoint ``note``).

    A log of the policy is met by a checkpoint of its ledger: whether the ledger key signed it, or a node that this key
    vouches for, the caller has checked. A known witness's signature that does not verify is wrong, whatever others say.
    """
    point, signatures = checkpoint.decode(note)
    problems = []
    if policy.logs and checkpoint.log_key(point.ledger) not in policy.logs:
        problems.append(f"the policy does not list the log {point.origin}")
    known = {(w.name, w.key_hash): (name, w) for name, w in policy.witnesses.items()}
    seen: dict[bytes, int] = {}
    for signer, raw in signatures:
        name, witness = known.get((signer, raw[:4]), (b"", None))
        if witness is None:
            continue
        time_s = notes.verify(point.text, raw, witness)
        if time_s is None:
            problems.append(f"the cosignature of {signer} does not verify")
        else:
            seen[name] = max(time_s, seen.get(name, 0))
    if not policy.met(set(seen)):
        problems.append(
            f"{len(seen)} of {len(policy.witnesses)} witnesses cosigned, and the policy's quorum asks for more"
        )
    return {policy.witnesses[name].name: time_s for name, time_s in seen.items()}, problems


def _take(policy: Policy, kind: bytes, words: list[bytes]) -> int:
    """One line; how many quorum lines it is. UsageError, ValueError."""
    if kind == b"log" and len(words) in (1, 2):
        log = notes.read_verifier(words[0].decode())
        if log.kind != ED25519:
            raise UsageError(f"the key of the log {log.name} is one of a witness")
        if any(log.public == other.public for other in policy.logs):
            raise UsageError("this log is there twice")
        policy.logs.append(log)
    elif kind == b"witness" and len(words) in (2, 3):
        _fresh(policy, words[0])
        _add_witness(policy, words[0], notes.read_verifier(words[1].decode()))
    elif kind == b"group" and len(words) >= 3:
        _add_group(policy, words[0], words[1], tuple(words[2:]))
    elif kind == b"quorum" and len(words) == 1:
        _known(policy, words)
        policy.quorum = None if words[0] == _NONE else words[0]
        return 1
    else:
        raise UsageError("this is not a line of a policy (log, witness, group, quorum)")
    return 0


def _add_witness(policy: Policy, name: bytes, witness: Verifier) -> None:
    if witness.kind != COSIGNATURE:
        raise UsageError(f"the key of {witness.name} is not one of a witness (kind 4)")
    if any(witness.public == other.public for other in policy.witnesses.values()):
        raise UsageError(f"the key of {witness.name} is there twice")
    policy.witnesses[name] = witness


def _add_group(policy: Policy, name: bytes, least: bytes, members: tuple[bytes, ...]) -> None:
    _fresh(policy, name)
    _known(policy, members)
    taken = {m for _, others in policy.groups.values() for m in others}
    if len(set(members)) != len(members) or taken & set(members) or _NONE in members:
        raise UsageError("a witness or group is a member of one group, once")
    if least in (b"any", b"all"):
        number = 1 if least == b"any" else len(members)
    else:
        number = int(least) if least.isdigit() and len(least) <= 6 else 0
    if not 1 <= number <= len(members):
        raise UsageError(f"a group of {len(members)} needs any, all or a number from 1 to {len(members)}")
    policy.groups[name] = (number, members)


def _fresh(policy: Policy, name: bytes) -> None:
    if name == _NONE or name in policy.witnesses or name in policy.groups:
        raise UsageError("this name is taken")


def _known(policy: Policy, names: Sequence[bytes]) -> None:
    if any(n != _NONE and n not in policy.witnesses and n not in policy.groups for n in names):
        raise UsageError("a name that no line before this one defines")
