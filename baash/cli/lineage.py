"""``baash lineage``: what an entity was made from, or what was made from it. Following references is ``ledger/lineage.py``'s matter."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from baash.cli.screen import Console, bar, say_notes
from baash.errors import UsageError
from baash.ledger.lineage import DEPTH, DEPTH_MAX
from baash.text import counted, printable, readable

if TYPE_CHECKING:
    from rich.tree import Tree

    from baash.ledger.lineage import Lineage, Version


class Form(str, Enum):
    """How a lineage is printed."""

    TREE = "tree"
    JSON = "json"
    DOT = "dot"


def lineage(
    ledger: Annotated[Path, typer.Argument(help="Folder of the ledger.")],
    entity: Annotated[str, typer.Argument(help="Name of an entity, or what follows a / at the end of it.")],
    up: Annotated[bool, typer.Option("--up/--down", help="What it was made from, or what was made from it.")] = True,
    depth: Annotated[int, typer.Option(help="Steps that are followed.", min=1, max=DEPTH_MAX)] = DEPTH,
    version: Annotated[
        int | None, typer.Option(help="With --up: of this version; the first is 1.", min=1, show_default="the newest")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="A tree for people, JSON, or DOT for Graphviz.")] = Form.TREE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Follow references: what an entity was made from (--up), or what was made from it (--down).

    References are claims of those who made the transactions; validators do not look them up.

    Example: baash lineage ./ledger-demo follow-up.pdf --depth 10 --format dot | dot -Tsvg > lineage.svg
    """
    import baash

    if version is not None and not up:
        raise UsageError("--version goes with --up: downwards, all versions of the entity are followed")
    with (
        bar("reading", "transactions", enabled=not as_json and form is Form.TREE) as progress,
        baash.open(ledger, progress=progress) as opened,
    ):
        say_notes(opened.notes)
        found = opened.lineage(entity, up=up, depth=depth, version=version)
    if as_json or form is Form.JSON:
        _print_json(found)
    elif form is Form.DOT:
        _print_dot(found)
    else:
        print_tree(found)


def print_tree(found: Lineage) -> None:
    """The tree, and a line that says what is left out."""
    from rich.tree import Tree

    from baash.cli.shown import label, walk

    name = printable(found.root.entity or b"")
    if not found.root.next:
        print(f"{name} was made from nothing that its issuer named" if found.up else f"nothing was made from {name}")
    else:
        tree = Tree(f"{name} was made from" if found.up else f"made from {name}")
        branches: list[Tree] = [tree]
        for step, version, note in walk(found):
            branches[step:] = [branches[step - 1].add(label(version, note))]
        Console(width=8192).print(tree)  # a line is as long as its names
    if found.left_out:
        of = counted(found.left_out, "version")
        what = f"what {of} of these came from" if found.up else f"what came of {of} of these"
        print(f"({what} is not shown; --depth {min(found.depth + DEPTH, DEPTH_MAX)} goes further)")


def _print_json(found: Lineage) -> None:
    from baash.cli.shown import print_json

    print_json(
        {
            "entity": readable(found.root.entity or b""),
            "direction": "up" if found.up else "down",
            "depth": found.depth,
            "left_out": found.left_out,
            "root": found.root.id.hex(),
            "versions": [_fields(v) for v in found.versions],
            "made_from": [[made.id.hex(), source.id.hex()] for made, source in found.edges()],
        }
    )


def _fields(version: Version) -> dict[str, object]:
    one = version.transaction
    return {
        "id": version.id.hex(),
        "entity": readable(one.entity) if one else None,
        "version": version.number or None,
        "operation": one.operation.name if one else None,
        "height": one.height if one else None,
        "block_time_ns": one.time_ns if one else None,
        "issuer": one.issuer.hex() if one else None,
        "step": version.step,
        "note": (version.cut or None) if one else "not in this ledger",
    }


def _print_dot(found: Lineage) -> None:
    """W3C PROV's drawing: entities as yellow ellipses, arrows from what was made to what it was made from."""
    from baash.cli.shown import ID_SHOWN

    print('digraph lineage {\n  rankdir="BT";\n  node [shape=ellipse, style=filled, fillcolor="#fffc87"];')
    for version in found.versions:
        one, id_ = version.transaction, version.id.hex()
        if one is None:
            print(f'  "{id_}" [label="{id_[:ID_SHOWN]}…\\nnot in this ledger", style=dashed];')
            continue
        said = f"{one.operation.name} in block {one.height}" + (
            f", version {version.number}" if version.number > 1 else ""
        )
        more = ', peripheries=2, tooltip="goes on"' if version.cut else ""
        print(f'  "{id_}" [label="{_quoted(printable(one.entity))}\\n{said}"{more}];')
    for made, source in found.edges():
        print(f'  "{made.id.hex()}" -> "{source.id.hex()}" [label="wasDerivedFrom"];')
    print("}")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
