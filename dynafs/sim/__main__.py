"""`tools/dev sim`: the simulator's command."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from dynafs.sim.plan import Plan, draw_plan
from dynafs.sim.planting import PlantsMissing, load_plants, planted
from dynafs.sim.run import Outcome, run_plan
from dynafs.sim.scenarios import SCENARIOS, run_scenario
from dynafs.sim.shrink import Shrinker
from dynafs.sim.sweep import Sweep, sweep

app = typer.Typer(add_completion=False, rich_markup_mode=None)
out = Console(highlight=False, soft_wrap=True, markup=False)
#: Exit codes: a promise was broken; the command was wrong.
EXIT_BROKEN, EXIT_USAGE = 1, 2
PLANT_SEEDS = 200


@app.command()
def main(
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds. Default 100; 200 with --plant.")] = None,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop after this time, whatever is left.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Run this scenario instead of random plans.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Run this one seed.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Run the plan in this file.")] = None,
    plant: Annotated[str | None, typer.Option(help="Put this bug in; succeeds when it is found.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes. Default: all cores.")] = None,
    *,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed or --plan: print all that happens.")] = False,
    names: Annotated[bool, typer.Option("--list", help="List scenarios and plants.")] = False,
) -> None:
    """Simulate clusters: many random ones, one by its seed, or a named scenario."""
    _check_name("--scenario", scenario, list(SCENARIOS))
    _check_name("--plant", plant, _plant_names() if plant is not None else [])
    if names:
        _list_names()
    elif plan is not None:
        loaded = _load(plan)
        _run_one(lambda show: run_plan(loaded, show), trace=trace, plant=plant)
    elif seed is not None and scenario is not None:
        _run_one(lambda show: run_scenario(scenario, seed, show), trace=trace, plant=plant)
    elif seed is not None:
        _run_one(lambda show: run_plan(draw_plan(seed), show), trace=trace, plant=plant)
    elif trace:
        _refuse("--trace needs --seed or --plan: the trace of many seeds would be too much to read")
    else:
        count = seeds or (PLANT_SEEDS if plant else 100)
        found = sweep(range(first, first + count), scenario, plant, minutes=minutes, jobs=jobs, console=out)
        _report(found, count, scenario, plant)


def _check_name(option: str, name: str | None, known: list[str]) -> None:
    if name is not None and name not in known:
        _refuse(f"{option}: there is no {name!r}; choose from {', '.join(known)}")


def _plant_names() -> list[str]:
    try:
        return list(load_plants())
    except PlantsMissing as error:
        _refuse(f"--plant: {error}")
    raise AssertionError


def _refuse(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201
    raise typer.Exit(EXIT_USAGE)


def _list_names() -> None:
    out.print("scenarios:")
    for name, found in SCENARIOS.items():
        out.print(f"  {name:<48} {(found.script.__doc__ or '').splitlines()[0]}")
    try:
        plants = load_plants()
    except PlantsMissing as error:
        out.print(f"plants: {error}")
        return
    out.print("plants:")
    for name, places in plants.items():
        out.print(f"  {name:<48} {(places[0][2].__doc__ or '').splitlines()[0]}")


def _load(path: Path) -> Plan:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        _refuse(f"--plan: {path}: {error.strerror}")
    except msgspec.DecodeError as error:
        _refuse(f"--plan: {path} is not a plan: {error}")
    raise AssertionError


def _run_one(run: Callable[[Callable[[str], None] | None], Outcome], *, trace: bool, plant: str | None) -> None:
    with planted(plant):
        outcome = run(out.print if trace else None)
    counts = ", ".join(f"{what}: {count}" for what, count in sorted(outcome.counts.items()))
    out.print(f"{outcome.virtual_s:.1f} virtual s, {outcome.events} events, trace {outcome.digest}; {counts}")
    if outcome.failure:
        out.print(f"BROKEN {outcome.failure}")
        raise typer.Exit(EXIT_BROKEN)
    out.print("every promise held")


def _report(found: Sweep, count: int, scenario: str | None, plant: str | None) -> None:
    out.print(
        f"{found.seeds} seeds, {found.virtual_s:.0f} virtual s in {found.real_s:.1f} s: "
        f"{found.speed:.0f} times real time on each core, {found.events} events"
    )
    if found.failed is None and found.seeds < count:
        out.print(f"stopped early: {count - found.seeds} seeds did not run")
    if found.failed is None:
        out.print(f"the plant {plant} was NOT found" if plant else "every promise held")
        raise typer.Exit(EXIT_BROKEN if plant else 0)
    seed, outcome = found.failed
    extra = "".join(f" --{name} {value}" for name, value in (("scenario", scenario), ("plant", plant)) if value)
    out.print(f"seed {seed} BROKE {outcome.failure}")
    out.print(f"replay: tools/dev sim --seed {seed}{extra} --trace")
    if plant:
        out.print(f"the plant {plant} was found by seed {seed}")
        raise typer.Exit(0)
    if scenario is None:
        _shrink(seed, outcome, plant)
    raise typer.Exit(EXIT_BROKEN)


def _shrink(seed: int, outcome: Outcome, plant: str | None) -> None:
    """Make the failing plan smaller and keep it in a file."""

    def fails(plan: Plan) -> bool:
        with planted(plant):
            return run_plan(plan).checker == outcome.checker

    plan = draw_plan(seed)
    with out.status("making the failing run smaller"):
        smaller = Shrinker(fails).shrink(plan)
        with planted(plant):
            told = run_plan(smaller).failure
    path = Path(f"sim-seed-{seed}.json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(smaller), indent=1))
    shape = "{} nodes, {} steps, {} faults"
    out.print(f"smaller: {shape.format(*plan.size)} -> {shape.format(*smaller.size)}: {told}")
    out.print(f"replay: tools/dev sim --plan {path} --trace")


if __name__ == "__main__":
    app()
