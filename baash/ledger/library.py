"""Which HDF5 this is: the one place that asks h5py about itself."""

from __future__ import annotations

import h5py

from baash.errors import UsageError


def versions() -> dict[str, str]:
    """Of h5py and HDF5."""
    return {"h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version}


def parallel() -> bool:
    """Whether h5py is built with parallel HDF5, as the ``mpio`` writer needs."""
    return bool(h5py.get_config().mpi)


def require_parallel() -> None:
    """Raise UsageError, saying what to do, where there is no parallel HDF5."""
    if not parallel():
        raise UsageError(
            "the mpio writer needs h5py built with parallel HDF5, and this one is not: build it with HDF5_MPI=ON and "
            "CC=mpicc (docs/install-cluster.md), or use --writer offset, which writes the same bytes"
        )
