"""What nodes find out by comparing their trees."""

import asyncio

from dynafs.sim.checkers import Converged, holds
from dynafs.sim.client import Target
from dynafs.sim.scenarios.stage import LARGE, SMALL, Stage, expect, resume_jobs, scenario, stop_jobs

OTHER_HEALERS = ("walk", "handoff", "scrub", "collection")


@scenario()
async def trees_find_what_was_missed(stage: Stage) -> None:
    """Nobody walks, scrubs or reads. A node misses files, overwrites and a delete, and has what it needs soon after it
    is back."""
    paths = [f"f{number}" for number in range(10)]
    for path in paths:
        await stage.put("n1", path, f"{path}.old", LARGE)
    stage.world.cut_power("n3")
    await asyncio.sleep(4.0)
    for number, path in enumerate(paths[:6]):
        expect(
            await stage.put("n1", path, f"{path}.new", (SMALL, LARGE)[number % 2]), "two owners of three cannot write"
        )
    expect(await stage.client.delete("n2", Target("demo", "f9")), "two owners of three cannot delete")
    stage.world.start("n3")
    stop_jobs(stage, *OTHER_HEALERS)
    await stage.world.wait_connected()
    for _ in range(40):
        await asyncio.sleep(1.0)
        if holds(Converged(), stage.world, stage.history):
            break
    Converged().check(stage.world, stage.history)
    resume_jobs(stage)


@scenario()
async def wrong_leaf_is_counted_again(stage: Stage) -> None:
    """A tree does not say what is stored. Its node notices when it compares it with the others', and mends it."""
    for number in range(6):
        await stage.put("n1", f"f{number}", f"v{number}", (SMALL, LARGE)[number % 2])
    await asyncio.sleep(1.0)
    tables = {name: stage.world.nodes[name].platter.index.tables for name in stage.world.names}
    for row in sorted(tables["n2"]["trees"]):
        tables["n2"]["trees"][row] = b"\1" * 16
    for _ in range(60):
        await asyncio.sleep(1.0)
        if tables["n1"]["trees"] == tables["n2"]["trees"] == tables["n3"]["trees"]:
            return
    expect(condition=False, message="after a minute the trees are still different")
