"""What fallbacks keep for owners that are away."""

import asyncio

from dynafs.sim.checkers import Converged, NothingWasted, holds
from dynafs.sim.client import Target
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, SMALL, Stage, expect, resume_jobs, scenario, stop_jobs


@scenario(WorldOptions(nodes=6))
async def hints_bring_back_what_was_missed(stage: Stage) -> None:
    """Nobody compares, nobody reads. An owner misses small and large files, overwrites and a delete; when it is back
    it is sent all of it, though its power fails again in the middle, and then the fallbacks keep nothing any more."""
    paths = [f"f{number}" for number in range(12)]
    for path in paths:
        await stage.put("n1", path, f"{path}.old", SMALL)
    away = stage.owners("f0")[1]
    others = [name for name in stage.world.names if name != away]
    stage.world.cut_power(away)
    await asyncio.sleep(4.0)
    for number, path in enumerate(paths):
        size = (SMALL, LARGE)[number % 2]
        expect(await stage.put(others[number % 5], path, f"{path}.new", size), "a write fails with one owner away")
    expect(await stage.client.delete(others[0], Target("demo", "f0")), "a delete fails with one owner away")
    stop_jobs(stage, "walk", "anti-entropy")
    for pause_s in (1.5, 2.0):
        stage.world.start(away)
        stop_jobs(stage, "walk", "anti-entropy")
        await asyncio.sleep(pause_s)
        stage.world.cut_power(away)
        await asyncio.sleep(5.0)
    stage.world.start(away)
    stop_jobs(stage, "walk", "anti-entropy")
    for _ in range(30):
        await asyncio.sleep(1.0)
        if holds(Converged(), stage.world, stage.history):
            break
    Converged().check(stage.world, stage.history)
    for _ in range(90):
        if holds(NothingWasted(), stage.world, stage.history):
            break
        await asyncio.sleep(1.0)
    NothingWasted().check(stage.world, stage.history)
    resume_jobs(stage)


@scenario(WorldOptions(nodes=5))
async def fallback_restarts_with_hints(stage: Stage) -> None:
    """A fallback keeps something for an owner, loses its power, and still hands it over."""
    away = stage.owners("f")[0]
    stage.world.cut_power(away)
    await asyncio.sleep(4.0)
    others = [name for name in stage.world.names if name != away]
    expect(await stage.put(others[0], "f", "v", LARGE), "a write fails with one owner away")
    await asyncio.sleep(1.0)
    keepers = [name for name in others if stage.world.nodes[name].platter.index.tables["hints"]]
    expect(keepers, "nobody keeps anything for an owner that is away")
    stage.world.cut_power(*keepers)
    stage.world.start()
    stop_jobs(stage, "walk", "anti-entropy")
    await stage.world.wait_connected()
    for _ in range(30):
        await asyncio.sleep(1.0)
        if not any(stage.world.nodes[name].platter.index.tables["hints"] for name in stage.world.names):
            break
    Converged().check(stage.world, stage.history)
    resume_jobs(stage)
