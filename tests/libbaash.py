"""libbaash as a C program gets it: built by CMake, and its functions as baash.h declares them, called through cffi.

The declarations are read from the header itself, so what is tested is what is promised; nothing of ``baash`` is used. Built once into
``build/`` of the repository, like the sanitized tests; CMake sees to it that it is up to date.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
HEADER = ROOT / "csrc/baash.h"


def tool(*names: str) -> str:
    """Where a program is that has one of ``names``, beside Python or on the path. Skips the test that needs one that is nowhere."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        pytest.skip(f"needs {names[0]} (make test brings CMake; apt-get install build-essential pkg-config gfortran)")
    return found


def run(*command: object, **more: Any) -> str:
    """What a program prints; when it fails, all that it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **more)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@lru_cache(maxsize=2)
def built(openmp: bool) -> Path:
    """The build folder of a library with or without OpenMP."""
    folder = ROOT / "build" / ("library" if openmp else "library-serial")
    folder.mkdir(parents=True, exist_ok=True)
    cmake = tool("cmake")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the tests may share the folder
        choices = ["-DBAASH_TESTS=OFF", "-DCMAKE_INSTALL_LIBDIR=lib"]
        run(cmake, "-S", ROOT, "-B", folder, *choices, f"-DBAASH_OPENMP={'ON' if openmp else 'OFF'}")
        run(cmake, "--build", folder, "--parallel", "2")
    return folder


@lru_cache(maxsize=1)
def header() -> str:
    """baash.h without comments."""
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)


def declarations() -> str:
    """What cffi reads: no lines of the preprocessor, nothing that only C++ sees."""
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", header(), flags=re.S)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.M)
    return text.replace("BAASH_API ", "")


def functions() -> list[str]:
    """The names of the public functions, in order."""
    return re.findall(r"BAASH_API[^;{]*?\b(baash_\w+)\(", header())


def macros() -> dict[str, int]:
    """Constants that are macros and not enumerators."""
    values: dict[str, int] = {}
    limits = {"UINT32_MAX": 2**32 - 1, "UINT64_MAX": 2**64 - 1}
    for name, body in re.findall(r"^#define (BAASH_\w+) (\S.*)$", header(), flags=re.M):
        plain = re.sub(r"U?INT(?:32|64)_C\((\w+)\)", r"\1", body)
        if name != "BAASH_API":
            values[name] = eval(plain, {"__builtins__": {}}, {**limits, **values})
    return values


class Library:
    """The functions and constants of baash.h under their names without ``baash_`` and ``BAASH_``; arrays of numpy as arguments."""

    def __init__(self, openmp: bool) -> None:
        cffi = pytest.importorskip("cffi", reason="libbaash is called through cffi (pip install 'baash[test]')")
        self.ffi = cffi.FFI()
        self.ffi.cdef(declarations())
        self.path = built(openmp) / "libbaash.so"
        self._library = self.ffi.dlopen(str(self.path))
        self._macros = macros()

    def __getattr__(self, name: str) -> Any:
        if name.isupper() or name.startswith("E_"):
            full = f"BAASH_{name}"
            return self._macros[full] if full in self._macros else getattr(self._library, full)
        function = getattr(self._library, f"baash_{name}")
        return lambda *arguments: function(*map(self.pointer, arguments))

    def pointer(self, value: Any) -> Any:
        """What C takes for ``value``: an array's bytes by its dtype, None for NULL, all else as it is."""
        if value is None:
            return self.ffi.NULL
        if isinstance(value, bytes):
            return self.ffi.from_buffer("uint8_t[]", value)
        if isinstance(value, np.ndarray):
            kind = "baash_transaction_info" if value.dtype.names else f"{value.dtype.name}_t"
            return self.ffi.from_buffer(f"{kind}[]", value)
        return value

    def new(self, kind: str, value: Any = None) -> Any:
        """Something of type ``kind`` for a result, or a struct by the names of its fields (arrays are not kept alive)."""
        if isinstance(value, dict):
            value = {name: self.pointer(field) for name, field in value.items()}
        return self.ffi.new(kind, value)

    def kernels(self) -> dict[str, Any]:
        """name → (number, what baash_sha256_info says)"""
        found, number = {}, 0
        while self.sha256_info(info := self.new("baash_kernel_info *"), number) == self.OK:
            found[self.ffi.string(info.name).decode()] = (number, info)
            number += 1
        return found


@lru_cache(maxsize=2)
def load(openmp: bool = True) -> Library:
    """The library, its kernels looked at."""
    library = Library(openmp)
    assert library.sha256_init(2**32 - 1) == library.OK
    return library
