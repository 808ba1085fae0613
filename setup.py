"""Builds the one extension module. Everything else is in pyproject.toml.

The C sources are those that csrc/sources.txt lists, for CMake too. Any C11 compiler will do: ``CC=mpicc pip install .``.
Threads within a rank are OpenMP's. What the compiler can do is found out by trying; without it all works, in one thread.
``BAASH_OPENMP=0`` leaves it out, ``BAASH_OPENMP=1`` demands it.
"""

import os
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

here = Path(__file__).parent
sources = (here / "csrc" / "sources.txt").read_text().split()
headers = sorted(path.relative_to(here).as_posix() for path in (here / "csrc").rglob("*.h"))
families = sorted(path.relative_to(here).as_posix() for path in (here / "baash" / "core").glob("*.pxi"))

core = Extension(
    "baash._core",
    ["baash/_core.pyx", *sources],
    include_dirs=["csrc"],
    depends=["csrc/sources.txt", "baash/_core.pxd", *families, *headers],
    extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
)

OPENMP = "-fopenmp"
PROBE = """
#include <omp.h>
int main(void) {
    int n = 0;
#pragma omp parallel for reduction(+ : n)
    for (int i = 0; i < 9; i++) n += omp_get_max_threads() > 0;
    return n != 9;
}
"""


class BuildExt(build_ext):
    """With OpenMP where the compiler has it."""

    def build_extensions(self) -> None:
        wish = os.environ.get("BAASH_OPENMP", "")
        if wish not in ("", "0", "1"):
            raise SystemExit(f"BAASH_OPENMP must be 0 (leave it out) or 1 (demand it), not {wish!r}")
        if wish != "0":
            if self._has_openmp():
                for extension in self.extensions:
                    extension.extra_compile_args.append(OPENMP)
                    extension.extra_link_args.append(OPENMP)
            elif wish == "1":
                raise SystemExit(f"BAASH_OPENMP=1, but this compiler cannot build a program with {OPENMP}")
        super().build_extensions()

    def _has_openmp(self) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text(PROBE)
            try:
                objects = self.compiler.compile([str(source)], output_dir="/", extra_postargs=[OPENMP])
                self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=[OPENMP])
            except (CompileError, LinkError):
                return False
        return True


setup(ext_modules=cythonize([core], compiler_directives={"language_level": 3}), cmdclass={"build_ext": BuildExt})
