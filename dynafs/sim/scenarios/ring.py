"""Rings that change while they serve."""

import asyncio
import random

from dynafs.errors import DynafsError
from dynafs.ring.change import Change
from dynafs.ring.transition import Step
from dynafs.sim.operators import moved
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, MIDDLE, SMALL, Stage, expect, scenario

#: Virtual seconds within which a change must be over when nothing is broken.
CHANGE_MAX_S = 120.0


async def change(stage: Stage, *changes: Change) -> None:
    """Have a change decided through any node that can."""
    for name in stage.world.running:
        keeper = stage.world.nodes[name].replication.ring_keeper
        try:
            await keeper.propose(moved(keeper.state, *changes))
        except DynafsError:
            continue
        return
    expect(condition=False, message="no node could have a change decided")


async def settled(stage: Stage) -> None:
    """Wait until every running node knows that nothing moves any more."""
    for _ in range(int(CHANGE_MAX_S)):
        await asyncio.sleep(1.0)
        states = [stage.world.nodes[name].replication.ring_keeper.state for name in stage.world.running]
        if all(state == states[0] and state.step is Step.STABLE for state in states):
            return
    told = [(state.version, str(state.step)) for state in states]
    jobs = [stage.world.nodes[name].replication.rebalancer.job.status for name in stage.world.running]
    expect(condition=False, message=f"the ring did not come to rest: {told} {jobs}")


@scenario(WorldOptions(nodes=5, founders=3))
async def nodes_join_while_clients_write(stage: Stage) -> None:
    """Two nodes join a cluster of three, under writes and reads: none of them fails, and the newcomers get their share.
    Then one of the first leaves, and keeps nothing."""
    rng = random.Random(f"{stage.world.options.seed} joins")  # noqa: S311
    is_over = False

    async def work() -> None:
        number = 0
        while not is_over:
            number += 1
            path = f"f{rng.randrange(12)}"
            size = rng.choice([SMALL, MIDDLE, LARGE])
            node = rng.choice(stage.world.names)
            expect(await stage.put(node, path, f"v{number}", size), "a write failed while the ring changed")
            node = rng.choice(stage.world.names)
            expect(await stage.get(node, path), "a read failed while the ring changed")
            expect(stage.last(path) == f"v{number}", "a read went back behind a write")
            await asyncio.sleep(0.05)

    task = asyncio.create_task(work())
    await asyncio.sleep(2.0)
    await change(stage, Change("join", "n4"), Change("join", "n5"))
    await settled(stage)
    expect(all(stage.world.ring_state.ring.loads[name] for name in ("n4", "n5")), "a newcomer owns nothing")
    await change(stage, Change("leave", "n1"))
    await settled(stage)
    expect("n1" not in stage.world.ring_state.nodes, "who left is still there")
    is_over = True
    await task
