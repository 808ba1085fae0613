"""What happens to a rank while views change (events), what it wants done (effects), and how long things may take.

``membership.py`` decides; ``succession.py`` brings the events and does what is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from baash.protocol.view import Host, View


@dataclass(frozen=True)
class Bounds:
    """Times in ns. The first two double with each attempt, ``age_ns`` with each change that only takes somebody in; 16 times at most."""

    gather_ns: int = 500_000_000  # that a steward waits for ranks that are silent
    patience_ns: int = 2_000_000_000  # with a steward that says nothing
    age_ns: int = 2_000_000_000  # of a view before it is changed only to take somebody in
    forget_ns: int = 600_000_000_000  # after which a rank's calls are counted from none again
    retry_ns: int = 250_000_000  # between two calls
    vouch_ns: int = 5_000_000_000  # that countersignatures may take
    give_up_ns: int = 60_000_000_000  # without a view


USUAL = Bounds()

# -- events -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Suspected:
    """This rank's nodes cannot go on in their view. ``ranks``: dead or silent, or ``lying``; none: something else."""

    ranks: frozenset[int]
    why: str
    lying: bool = False


@dataclass(frozen=True)
class RanksLost:
    """The transport says that these are dead."""

    ranks: frozenset[int]


@dataclass(frozen=True)
class MailReceived:
    """Bytes (u1) from another rank, of the kinds JOIN to OVER."""

    rank: int
    data: np.ndarray


@dataclass(frozen=True)
class VouchersWanted:
    """The view that is being formed needs signatures of more than half of the nodes of ``before``."""

    view: View
    before: View


@dataclass(frozen=True)
class Published:
    """What this rank was to form is there; ``text`` is its record's file."""

    view: View
    text: bytes


@dataclass(frozen=True)
class NotPublished:
    """It is not, because of something that may pass."""

    why: str


@dataclass(frozen=True)
class Closed:
    """All nodes here have stopped: everything in this view is decided."""


@dataclass(frozen=True)
class Failed:
    """This rank leads and cannot go on, nor can the job."""


@dataclass(frozen=True)
class Ticked:
    """Time has passed."""


Happened = Failed | Suspected | RanksLost | MailReceived | VouchersWanted | Published | NotPublished | Closed | Ticked

# -- effects ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leave:
    """Stop this rank's nodes of the view it is in, for ever."""

    why: str


@dataclass(frozen=True)
class Tell:
    ranks: tuple[int, ...]
    data: np.ndarray


@dataclass(frozen=True)
class Succeed:
    """Claim, cut, form with these ranks, publish. ``why`` the view before cannot go on; ``lying``: who is left out for good."""

    hosts: tuple[Host, ...]
    why: str
    lying: tuple[int, ...] = ()

    @property
    def said(self) -> dict[str, str]:
        """Of it in the view record's ``started_by``."""
        return {"why": self.why[:1000], "lying": ",".join(map(str, self.lying))}


@dataclass(frozen=True)
class Vouched:
    """The countersignatures that were wanted."""

    signatures: Mapping[str, bytes]


@dataclass(frozen=True)
class Desist:
    """Give up what is being formed."""


@dataclass(frozen=True)
class Enter:
    """Make this rank's nodes in ``view``."""

    view: View
    text: bytes


@dataclass(frozen=True)
class Depart:
    """The job is over, ``well`` or because it cannot go on: then another rank tells of it."""

    well: bool = True


@dataclass(frozen=True)
class GiveUp:
    """This job cannot go on here. ``error`` names a class of ``errors.py``."""

    error: str
    text: str


Wanted = Leave | Tell | Succeed | Vouched | Desist | Enter | Depart | GiveUp
