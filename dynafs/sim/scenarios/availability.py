"""Available buckets: nobody waits for who is away, and nothing that was taken is forgotten."""

import asyncio
from typing import Literal

from dynafs.files import BucketPolicy, FileName
from dynafs.ring import file_hash
from dynafs.sim.checkers import AvailableKept, Converged, holds
from dynafs.sim.client import SimClient, Target
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, Stage, expect, scenario


async def _make(stage: Stage, bucket: str, conflict: Literal["last-writer-wins", "keep-both"]) -> None:
    """Make an available bucket, and have every node meet it."""
    stage.history.available[bucket] = conflict
    policy = BucketPolicy(r=1, w=2, consistency="available", conflict=conflict)
    node = stage.world.nodes["n1"]
    assert node.life is not None
    await stage.world.loop.create_task(node.replication.buckets.make(bucket, policy), context=node.life.context.copy())
    for name in stage.world.names:
        await stage.client.get(name, Target(bucket, "none"))


@scenario(WorldOptions(nodes=6))
async def both_sides_of_a_partition_write(stage: Stage) -> None:
    """A network falls in two halves, and clients of both write the same files. Every write succeeds; afterwards all of
    them stand beside each other where both are kept, and the last one where the last writer wins."""
    await _make(stage, "both", "keep-both")
    await _make(stage, "loose", "last-writer-wins")
    left, right = stage.world.names[:3], stage.world.names[3:]
    stage.world.partition(left, right)
    await asyncio.sleep(4.0)
    for number in range(6):
        for side, name in ((left, "left"), (right, "right")):
            for bucket in ("both", "loose"):
                target = Target(bucket, f"f{number}")
                client = SimClient(stage.world, stage.history, f"client of the {name}")
                value = f"{bucket}{number}.{name}"
                size = (200, LARGE)[number % 2]
                expect(await client.put(side[number % 3], target, value, size), "a write fails though nodes are up")
                expect(await client.get(side[(number + 1) % 3], target), "what was written cannot be read")
    stage.world.network.heal()
    await stage.world.wait_connected()
    for _ in range(120):
        await asyncio.sleep(1.0)
        if holds(Converged(), stage.world, stage.history):
            break
    Converged().check(stage.world, stage.history)
    AvailableKept().check(stage.world, stage.history)


@scenario(WorldOptions(nodes=6))
async def only_fallbacks_are_left(stage: Stage) -> None:
    """All owners of a file are away for longer than hints are usually kept. Others take it, are restarted, and hand it
    over in the end."""
    await _make(stage, "loose", "last-writer-wins")
    owners = stage.world.owners(file_hash(FileName("loose", "f").key))
    others = [name for name in stage.world.names if name not in owners]
    stage.world.cut_power(*owners)
    await asyncio.sleep(4.0)
    target = Target("loose", "f")
    client = SimClient(stage.world, stage.history, "patient client")
    expect(await client.put(others[0], target, "v", 200), "a write fails though three nodes are up")
    await asyncio.sleep(1.0)
    stage.world.cut_power(*others)
    stage.world.start(*others)
    await asyncio.sleep(400.0)
    stage.world.start(*owners)
    await stage.world.wait_connected()
    for _ in range(120):
        await asyncio.sleep(1.0)
        if await client.get(owners[0], target) and stage.history.files["loose/f"][-1].value == "v":
            return
    expect(condition=False, message="what only fallbacks had is gone")
