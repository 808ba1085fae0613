"""The one import of MPI: how it is initialised, and whether it can name the dead.

Importing this starts MPI, before any h5py that was built with MPI (the other way round h5py's own MPI library would be
loaded beside this one and win). ``ending.py`` leads MPI to its end, so mpi4py does not finalize it; where the user's
own program started MPI already, it is the user's, and nothing here changes how it ends.

ULFM, the extension by which survivors learn of a death and go on, is there when Open MPI was built with it *and*
started with it (``mpirun --with-ft ulfm``). Elsewhere everything works until a rank dies, and then the job is over.
Then four of its settings must be right, whoever wrote the command line; a value the user gave stays. The one that
matters most: TCP without its "put" protocol, for a receiver whose large message dies with the sender
spins in that protocol for ever, or crashes (docs/mpi.md has the counts).
"""

from __future__ import annotations

import ctypes
import os

import mpi4py

_SWITCH = "OMPI_MCA_mpi_ft_enable"  # what mpirun --with-ft ulfm gives its ranks
_SETTINGS = {
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_coll": "^han,cuda,hcoll,portals4",
    "OMPI_MCA_btl_tcp_flags": "send,inplace,need-ack,need-csum,hetero-rdma",
    "OMPI_MCA_btl_base_warn_peer_error": "0",
}

if os.environ.get(_SWITCH):
    for _name, _value in _SETTINGS.items():
        os.environ.setdefault(_name, _value)
mpi4py.rc.initialize = mpi4py.rc.finalize = False

from mpi4py import MPI  # noqa: E402

from baash.mpi.info import libmpi_mapped  # noqa: E402

__all__ = ["MPI", "has_ulfm", "ulfm_state"]


def _start() -> None:
    """MPI_Init, which waits for ever if a rank died before it; mpi4py's own would keep the interpreter from saying so."""
    level, found = MPI.THREAD_SERIALIZED, libmpi_mapped()
    try:
        start = ctypes.CDLL(found[0]).MPI_Init_thread  # ctypes lets other threads run meanwhile
    except (IndexError, OSError, AttributeError):
        MPI.Init_thread(level)
        return
    start(None, None, level, ctypes.byref(ctypes.c_int()))


if not MPI.Is_initialized():
    _start()
    for _comm in (MPI.COMM_WORLD, MPI.COMM_SELF):
        _comm.Set_errhandler(MPI.ERRORS_RETURN)


def ulfm_state() -> tuple[bool, str]:
    """Whether deaths are survived here, and why or why not."""
    vendor, version = MPI.get_vendor()
    name = f"{vendor} {'.'.join(map(str, version))}"
    if vendor != "Open MPI":
        return False, f"{name} does not tell survivors of a death; Open MPI 5 does"
    if version < (5, 0, 0):
        return False, f"{name} is too old; Open MPI 5 tells survivors of a death"
    if os.environ.get(_SWITCH, "").lower() not in {"1", "true", "yes", "on"}:
        return False, f"{name} was not started with mpirun --with-ft ulfm"
    try:
        MPI.COMM_SELF.Get_failed().Free()
    except (MPI.Exception, NotImplementedError) as error:
        return False, f"{name} was built without ULFM ({error})"
    return True, f"{name} with mpirun --with-ft ulfm"


def has_ulfm() -> bool:
    """Whether deaths are survived here."""
    return ulfm_state()[0]
