"""Which SHA-256 kernel runs, and why.

Every kernel that this build has was tested when ``_core`` was loaded; the fastest that passed is the default. One with many lanes is
slow on few messages, so by default the fastest with few takes those in its place (``csrc/sha256/dispatch.c``). The environment
variable ``BAASH_KERNEL`` names another. That is a demand, never a wish: one that cannot be met raises ``KernelUnavailable`` at
the first use of a kernel (not at import, so that a command can still say what is there). Use it through ``baash.kernels``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from baash import _core
from baash.errors import KernelUnavailable

ENVIRONMENT = "BAASH_KERNEL"
_CHOSEN = -1  # BAASH_CHOSEN in csrc/baash.h
_STATES = ("ready", "not tried", "not built", "cpu cannot", "self-test failed")  # baash_kernel_state
_obeyed = False


@dataclass(frozen=True)
class KernelInfo:
    """A SHA-256 kernel. ``lanes``: messages in flight at once; ``state``: ready, not built, cpu cannot, self-test failed.

    ``chosen``: in use; ``partner``: in use for few messages.
    """

    name: str
    lanes: int
    state: str
    reason: str
    chosen: bool
    partner: bool


def available() -> list[KernelInfo]:
    """All kernels there are, slowest first, whether they can run here or not. Raises nothing."""
    chosen, partner = _core.chosen(), _core.partner()
    return [
        KernelInfo(name, lanes, _STATES[state], reason, number == chosen, number == partner)
        for number, (name, _bits, lanes, state, reason) in enumerate(_core.kernel_table())
    ]


def current() -> str:
    """The name of the kernel in use, and behind a plus sign that of its partner for few messages, if it has one.

    Raises ``KernelUnavailable`` when ``BAASH_KERNEL`` cannot be met.
    """
    number(None)
    table = available()
    return "+".join(table[place].name for place in (_core.chosen(), _core.partner()) if place >= 0)


def select(name: str | None) -> None:
    """Use kernel ``name`` alone from now on, in the whole process; None: the default. Raises ``KernelUnavailable``."""
    global _obeyed
    if name is None:
        _core.init()
    else:
        _core.choose(_number(name, "asked for by the program"))
    _obeyed = True


def number(kernel: str | None) -> int:
    """What the C functions take for ``kernel``; ``None`` is the kernel in use. Raises ``KernelUnavailable``."""
    global _obeyed
    if kernel is not None:
        return _number(kernel, "asked for by the program")
    if not _obeyed:
        demand = os.environ.get(ENVIRONMENT)
        if demand:
            _core.choose(_number(demand, f"demanded by {ENVIRONMENT}"))
        elif _core.chosen() < 0:
            raise KernelUnavailable(f"No SHA-256 kernel can run here: {_listing()}; rebuild BAASH.")
        _obeyed = True
    return _CHOSEN


def _listing() -> str:
    return ", ".join(f"{kernel.name} ({kernel.state})" for kernel in available())


def _number(name: str, why: str) -> int:
    for place, kernel in enumerate(available()):
        if kernel.name == name:
            if kernel.state == "ready":
                return place
            raise KernelUnavailable(
                f"Kernel {name!r}, {why}, cannot run ({kernel.state}: {kernel.reason}); choose one of: {_listing()}."
            )
    raise KernelUnavailable(f"Kernel {name!r}, {why}, is unknown; choose one of: {_listing()}.")
