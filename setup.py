"""Builds the one extension module. Everything else is in pyproject.toml.

The C sources are those that csrc/sources.txt lists, for CMake too. Any C11 compiler will do: ``CC=mpicc pip install .``.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

here = Path(__file__).parent
sources = (here / "csrc" / "sources.txt").read_text().split()
headers = sorted(path.relative_to(here).as_posix() for path in (here / "csrc").rglob("*.h"))

core = Extension(
    "baash._core",
    ["baash/_core.pyx", *sources],
    include_dirs=["csrc"],
    depends=["csrc/sources.txt", "baash/_core.pxd", *headers],
    extra_compile_args=["-std=c11", "-O3", "-fvisibility=hidden"],
)

setup(ext_modules=cythonize([core], compiler_directives={"language_level": 3}))
