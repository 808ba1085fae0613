"""The arrows of docs/architecture.md, held by reading every import statement.

An import inside a function or under TYPE_CHECKING counts too: knowing a name is depending on it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "baash").rglob("*.py"))
IMPURE = re.compile(
    "asyncio|ctypes|datetime|io|logging|multiprocessing|os|pathlib|platform|random|secrets|shutil|signal|socket|"
    "subprocess|sys|tempfile|threading|time|uuid"
)
FREE = {"errors", "text"}  # may be imported by all
UNDRAWN = {"keys": "batch"}  # a room that the picture leaves out: beside which one it stands


def rooms() -> dict[str, tuple[int, int]]:
    """Room to (storey, company), from the picture: what stands further right stands lower. Rooms of one storey with a
    comma between them are company and may know each other; rooms with a bar between them may not."""
    picture = re.search(r"```\n(.*→.*)\n```", (ROOT / "docs/architecture.md").read_text())
    assert picture, "docs/architecture.md lost its picture of the arrows"
    found = {
        room.strip(): (storey, company)
        for storey, text in enumerate(reversed(picture[1].split("→")))
        for company, names in enumerate(text.split("|"))
        for room in names.split(",")
    }
    return {room: found[neighbour] for room, neighbour in UNDRAWN.items()} | found


ROOMS = rooms()


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Full names of all that ``path`` imports, anywhere in it."""
    package = dotted(path).split(".") if path.name == "__init__.py" else dotted(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """``baash.protocol.quorum`` stands in the room ``protocol``; the package itself has no room."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: dotted(path))
def test_imports_point_one_way(path: Path) -> None:
    here = room(dotted(path))
    if path == ROOT / "baash/__init__.py":
        return  # the front door: what importing it may load is tested below
    if here in FREE:
        assert not [name for name in imported(path) if name.startswith("baash")]
        return
    assert here in ROOMS, f"{here} stands in no room of docs/architecture.md"
    for name in imported(path):
        there = room(name)
        if name.split(".")[0] != "baash" or there in FREE or there == here or there not in ROOMS:
            continue
        below, company = ROOMS[there][0] < ROOMS[here][0], ROOMS[there] == ROOMS[here]
        assert below or company, f"{dotted(path)} imports {name}, which does not lie below it"


@pytest.mark.parametrize(("library", "owner"), [("mpi4py", "mpi"), ("h5py", "ledger"), ("baash._core", "kernels")])
def test_one_room_alone_imports(library: str, owner: str) -> None:
    strangers = {
        dotted(path)
        for path in MODULES
        if room(dotted(path)) != owner
        for name in imported(path)
        if name == library or name.startswith(library + ".")
    }
    assert not strangers, f"only {owner} may import {library}"


def test_protocol_is_pure() -> None:
    for path in (ROOT / "baash/protocol").rglob("*.py"):
        impure = [name for name in imported(path) if IMPURE.fullmatch(name.split(".")[0])]
        assert not impure, f"{dotted(path)} imports {impure}: time is an argument, randomness a seed"
        text = path.read_text()
        assert not re.search(r"\b(np|numpy)\.random\b", text), f"{dotted(path)} draws from numpy.random"
        assert not re.search(r"(?<![\w.])(open|print|input)\(", text), f"{dotted(path)} reads or writes"


@pytest.mark.parametrize("module", ["baash", "baash.errors", "baash.records", "baash.protocol"])
def test_importing_starts_neither_mpi_nor_hdf5(module: str) -> None:
    code = f"import sys, {module}; print(*{{'mpi4py', 'h5py'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_no_room_without_a_subject() -> None:
    nameless = {"utils", "util", "manager", "helper", "helpers", "common", "misc"}
    found = {dotted(path) for path in MODULES if nameless & set(dotted(path).split("."))}
    assert not found


def test_every_package_is_shipped() -> None:
    """setuptools ships the packages that pyproject.toml lists, and no others."""
    listed = re.search(r"^packages = (\[.*?\])$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert listed
    assert set(ast.literal_eval(listed[1])) == {dotted(path) for path in MODULES if path.name == "__init__.py"}
