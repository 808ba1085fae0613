"""How a rank ends: so that its peers notice, and never after its launcher.

It does not end other ranks, and does not decide when the job is over.

Theory. Survivors learn of a death by signal, and of a zero exit without ``MPI_Finalize``; of a rank that ends by itself
with another code they never learn, and wait for ever. So whatever goes wrong in a rank (an exception, ``sys.exit(3)``,
falling off its end) says so in one line and then kills itself with SIGKILL. A rank that ends well closes its transport
and finalizes MPI if everybody lives. If somebody died it flushes and leaves by ``os._exit``: nothing that holds a dead
rank (HDF5 closing a shared file at exit) may run.

The launcher's death is the rank's: the kernel sends SIGKILL (``PR_SET_PDEATHSIG``), which a stopped or computing rank
cannot miss.

SIGUSR1 asks for a drain (the parent turns Ctrl-C into it, Slurm can send it: ``#SBATCH --signal``); so does the first
SIGTERM or SIGINT. A second SIGTERM or SIGINT kills.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, NoReturn

from baash.errors import BaashError
from baash.mpi.report import claim_stdout, emit
from baash.text import printable

if TYPE_CHECKING:  # importing it would start MPI, and the signals must be ours before that
    from baash.mpi.transport import MpiTransport

FINALIZE_S = 5  # MPI_Finalize may take so long
_PR_SET_PDEATHSIG = 1
_RANK_KEYS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
_SIZE_KEYS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
LOCAL_SIZE_KEYS = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")

_debug = False
_drain = False
_exit_code = 0
_PARENT = "BAASH_PARENT"  # set by the parent (``launcher.environment``)


def run_rank(body: Callable[[], MpiTransport | None], *, debug: bool = False, claim: bool = True) -> NoReturn:
    """Run ``body`` as this process's whole life: an exception ends the rank visibly, the transport returned is closed.

    ``claim`` False leaves standard output to who prints there, and no events are told (``report.py``).
    Call it before MPI is started; start MPI (``world.start_all``) in ``body``.
    """
    install(debug=debug, claim=claim)
    transport = None
    try:
        transport = body()
    except SystemExit as leaving:
        if leaving.code or "mpi4py.MPI" in sys.modules:  # else only a --help was asked for
            die(leaving)
    except BaseException as error:
        die(error)
    finish(transport)


def install(*, debug: bool = False, claim: bool = True) -> None:
    """Claim signals, standard output and the ways out of this process; follow the launcher."""
    global _debug
    _debug = debug
    follow_launcher()
    if claim:
        claim_stdout()
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    sys.excepthook = _on_exception
    atexit.register(_on_exit)


def drain_requested() -> bool:
    """Whether somebody asked this rank to finish what it has and end."""
    return _drain


def under_launcher() -> bool:
    """Whether this process is a rank that mpirun, mpiexec or srun started."""
    return any(key in os.environ for key in _RANK_KEYS)


def launched_ranks() -> int:
    """How many ranks this process's launcher started, itself counted; 0 without one. Starts no MPI."""
    if not under_launcher():
        return 0
    return next((int(os.environ[key]) for key in _SIZE_KEYS if os.environ.get(key, "").isdecimal()), 1)


def has_parent() -> bool:
    """Whether a parent of ours started the launcher, and listens to events."""
    return _PARENT in os.environ and under_launcher()


def tell_parent(exit_code: int, error: str | None = None, **fields: object) -> None:
    """The status, if there is a parent: what the job ends with."""
    emit("status", exit_code=exit_code, error=error, **fields)


def rank_here() -> int:
    """This rank as its launcher named it, before MPI is started; 0 without a launcher."""
    return next((int(os.environ[key]) for key in _RANK_KEYS if key in os.environ), 0)


def follow_launcher() -> None:
    """Die with the process that started this one, if that is a launcher of ranks."""
    if not under_launcher():
        return
    parent = os.getppid()
    try:
        followed = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
    except AttributeError:  # not Linux
        followed = False
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    if not followed:
        threading.Thread(target=_watch_launcher, args=(parent,), daemon=True).start()


def die(error: BaseException | str) -> NoReturn:
    """Say in one line why, on standard error and to the parent, and kill this process so that its peers notice."""
    if isinstance(error, SystemExit):
        text = (
            error.code if isinstance(error.code, str) else f"left with exit code {error.code} before the job was over"
        )
        code = error.code if isinstance(error.code, int) else 1
    elif isinstance(error, BaashError):
        text, code = str(error), error.exit_code
    elif isinstance(error, BaseException):
        text, code = f"{type(error).__name__}: {error}", 1
    else:
        text, code = error, 11
    try:
        if _debug and isinstance(error, BaseException):
            traceback.print_exception(error)
        print(f"baash: rank {rank_here()}: {printable(' '.join(text.split()))}", file=sys.stderr, flush=True)
        emit("failure", rank=rank_here(), exit_code=code or 1, error=text)
    finally:
        if under_launcher():
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(code or 1)


def finish(transport: MpiTransport | None) -> NoReturn:
    """End well: close the transport, finalize MPI if everybody lives, leave. Flush your own things before."""
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if transport is not None:
        transport.close()
    sys.stdout.flush()
    sys.stderr.flush()
    if transport is not None and transport.clean:
        from baash.mpi.library import MPI

        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(FINALIZE_S, exit=True, file=nowhere)  # works without the interpreter lock
            MPI.Finalize()
    os._exit(0 if _PARENT in os.environ else _exit_code)


def leave_with(code: int) -> None:
    """The exit code of this process when it ends well; under the parent it is 0, which has the status to go by."""
    global _exit_code
    _exit_code = code


def _on_signal(number: int, _: FrameType | None) -> None:
    global _drain
    if _drain and number != signal.SIGUSR1:
        os.kill(os.getpid(), signal.SIGKILL)
    _drain = True


def _on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    die(error.with_traceback(trace))


def _on_exit() -> None:
    die("left without ending its part of the job")


def _watch_launcher(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
