"""``baash simulate``: seeds of the made-up world, with all that can go wrong, and whether a promise was broken."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from baash.cli.screen import bar
from baash.errors import UsageError
from baash.text import counted, json_text, printable

SCHEMA_VERSION = 1


def simulate(
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000_000, help="Worlds to play.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, max=1 << 62, help="The first one's seed.")] = 1,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=2, max=20_000, help="Nodes; drawn by seed unless told.")
    ] = None,
    clusters: Annotated[
        int | None, typer.Option("--clusters", min=1, max=1000, help="Clusters; drawn by seed unless told.")
    ] = None,
    faults: Annotated[int | None, typer.Option("--faults", min=0, max=8, help="f; drawn by seed unless told.")] = None,
    quorum: Annotated[str | None, typer.Option("--quorum", help="majority or byzantine; drawn unless told.")] = None,
    transactions: Annotated[
        int | None, typer.Option("--transactions", min=1, max=100_000, help="Offered in each world; drawn unless told.")
    ] = None,
    harsh: Annotated[
        bool | None,
        typer.Option(
            "--harsh/--no-harsh", help="Lose, double and reorder messages, as MPI never does; drawn unless told."
        ),
    ] = None,
    liars: Annotated[
        int | None, typer.Option("--liars", min=0, max=1000, help="Validators that lie, in each cluster.")
    ] = None,
    deceits: Annotated[list[str] | None, typer.Option("--deceits", help="What they do; may be repeated.")] = None,
    lying_coordinators: Annotated[
        int | None, typer.Option("--lying-coordinators", min=0, max=1000, help="Coordinators that lie.")
    ] = None,
    frauds: Annotated[list[str] | None, typer.Option("--frauds", help="What they do; may be repeated.")] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kinds", help="Accidents that may happen; may be repeated.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, max=512, help="Processes that share the seeds.")] = 1,
    story: Annotated[
        int, typer.Option("--story", min=0, max=1_000_000, help="Tell the last lines of the first seed.")
    ] = 0,
    scale: Annotated[
        bool, typer.Option("--scale", help="Measure instead what a world costs, from 16 nodes to --nodes (10,000).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Play BAASH in made-up worlds: one thread and one seed each, with deaths, partitions, full disks, liars.

    Ends with 0 if no promise was broken, 1 if one was; then it prints the command that replays that seed, and its story.

    Example: baash simulate --seeds 1000 --nodes 100 --json
    """
    from baash.protocol.view import QUORUMS
    from baash.sim import campaign
    from baash.sim.accidents import ACCIDENTS
    from baash.sim.frauds import FRAUDS
    from baash.sim.liars import DECEITS
    from baash.sim.shape import drawn
    from baash.sim.simulation import play

    given: dict[str, Any] = {
        name: value
        for name, value in (
            ("nodes", nodes),
            ("clusters", clusters),
            ("faults", faults),
            ("quorum", quorum),
            ("transactions", transactions),
            ("harsh", harsh),
            ("liars", liars),
            ("deceits", tuple(deceits or ()) or None),
            ("lying_coordinators", lying_coordinators),
            ("frauds", tuple(frauds or ()) or None),
            ("kinds", tuple(kinds or ()) or None),
        )
        if value is not None
    }
    for name, known in (("deceits", DECEITS), ("frauds", FRAUDS), ("kinds", ACCIDENTS)):
        for word in given.get(name, ()):
            if word not in known:
                raise UsageError(f"--{name} {word!r} is not known: choose of {', '.join(sorted(known))}")
    if quorum is not None and quorum not in QUORUMS:
        raise UsageError(f"--quorum is {quorum!r}: choose one of {', '.join(QUORUMS)}")
    if scale:
        _scale(seed, nodes or 10_000, as_json)
        return
    drawn(seed, given)  # what cannot be formed is refused with the arithmetic, before anything is played
    if story:
        told = play(drawn(seed, given), listen=story).told
        print("\n".join(printable(line) for line in told))
    began = time.monotonic()
    with bar("playing", "seeds", enabled=not as_json) as progress:
        result = campaign.run(seed, seeds, given, processes=processes, progress=progress)
    fields = result.as_fields()
    elapsed_s = time.monotonic() - began
    if as_json:
        settled = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        header = {"schema_version": SCHEMA_VERSION, "first_seed": seed, "given": settled}
        print(json_text({**header, **fields, "elapsed_s": round(elapsed_s, 3)}))
    else:
        _print(result.as_fields(), elapsed_s)
    if result.failed:
        raise typer.Exit(1)


def _scale(seed: int, most: int, as_json: bool) -> None:
    from baash.sim import scale

    with bar("measuring", "worlds", enabled=not as_json) as progress:
        rows = scale.run(seed, most, progress)
    if as_json:
        print(json_text({"schema_version": SCHEMA_VERSION, "first_seed": seed, "worlds": rows}))
    else:
        print(
            f"{'nodes':>7} {'clusters':>8} {'messages/tx':>12} {'validate B/B':>13} {'replicate B/B':>14} {'memory/node':>12}"
        )
        for row in rows:
            print(
                f"{row['nodes']:7,} {row['clusters']:8,} {row['messages_per_transaction']:12.3f} "
                f"{row['hashed_to_validate_per_committed_byte']:13.2f} "
                f"{row['hashed_by_replicas_per_committed_byte']:14.2f} {row['memory_bytes_per_node']:12,}"
            )
    if any(row["violations"] for row in rows):
        raise typer.Exit(1)


def _print(fields: dict[str, Any], elapsed_s: float) -> None:
    print(
        f"{counted(fields['seeds'], 'world')}, {counted(fields['jobs'], 'job')}, {fields['simulated_s']:,.0f} s simulated "
        f"in {elapsed_s:,.1f} s: {counted(fields['committed'], 'transaction')} committed, {fields['rejected']:,} rejected, "
        f"{counted(fields['messages'], 'message')}"
    )
    for name, what in (("faults", "faults injected"), ("remarks", "remarks")):
        found = ", ".join(f"{kind} {count:,}" for kind, count in fields[name].items())
        print(f"{what}: {printable(found) or 'none'}")
    for failure in fields["failures"]:
        print(f"\nseed {failure['seed']}:")
        for text in failure["violations"]:
            print(f"  VIOLATION: {printable(text)}")
        for line in failure["story"]:
            print(f"  {printable(line)}")
        print(f"  again: {failure['replay']}")
    print(f"violations: {fields['violations']:,}")
