"""The error tree: what can go wrong, whose fault it is, the exit code, and what the user can do.

Every message is one sentence: what happened, where, what to do next. An invariant of ours that breaks is none of
these: it is an ``AssertionError`` and stops the process.
"""

from __future__ import annotations


class BaashError(Exception):
    """Base of all errors BAASH raises on purpose. ``exit_code`` is what a command ends with."""

    exit_code = 3


class UsageError(BaashError):
    """The caller's mistake: an option, an argument, a combination."""

    exit_code = 2


class Refused(BaashError):
    """Checked and found bad: a witness does not sign what contradicts what it signed before."""

    exit_code = 1


class InputError(BaashError):
    """An input is malformed; the message names the file, the line or field, and what was expected."""

    exit_code = 4


class LedgerError(BaashError):
    """The ledger cannot be used as asked."""

    exit_code = 5


class LedgerDamaged(LedgerError):
    """Committed bytes are not what was committed."""

    exit_code = 6


class LedgerBusy(LedgerError):
    """Somebody else writes this ledger."""

    exit_code = 7


class LedgerFenced(LedgerError):
    """A newer view has been claimed: this writer must stop and never claims again."""

    exit_code = 8


class StorageError(LedgerError):
    """The file system refused: full, read-only, gone, an I/O error."""

    exit_code = 9


class KeyNotFound(LedgerError):
    """A private key that is needed is not in the key folder."""

    exit_code = 10


class TransportError(BaashError):
    """MPI failed in a way that ends the run."""

    exit_code = 11


class PeerError(BaashError):
    """A peer sent what no honest peer sends; counted and dropped, it never ends a run by itself."""

    exit_code = 12


class QuorumLost(BaashError):
    """Too few nodes are alive to decide anything."""

    exit_code = 13


class KernelUnavailable(BaashError):
    """A kernel asked for by name cannot run; the message says which of three reasons."""

    exit_code = 14


class LimitExceeded(BaashError):
    """A stated limit was reached."""

    exit_code = 15


class Interrupted(BaashError):
    """Ended by a signal; what was acknowledged is in the ledger."""

    exit_code = 130


class NotYet(BaashError):
    """Named in ``docs/limits.md`` as not there yet."""

    exit_code = 16
