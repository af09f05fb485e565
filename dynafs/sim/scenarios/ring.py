"""Rings that change while they serve."""

import asyncio
import random

from dynafs.errors import DynafsError
from dynafs.files import BucketPolicy, FileName
from dynafs.ring import file_hash
from dynafs.ring.change import Change
from dynafs.ring.transition import Step
from dynafs.sim.client import Target
from dynafs.sim.operators import moved
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, MIDDLE, SMALL, Stage, expect, resume_jobs, scenario, stop_jobs

#: Virtual seconds within which a change must be over when nothing is broken.
CHANGE_MAX_S = 120.0


async def change(stage: Stage, *changes: Change) -> None:
    """Have a change decided through any node that can."""
    for name in stage.world.running:
        keeper = stage.world.nodes[name].replication.consensus
        try:
            await keeper.propose(moved(keeper.state, *changes))
        except DynafsError:
            continue
        return
    expect(condition=False, message="no node could have a change decided")


async def settled(stage: Stage, but: str = "") -> None:
    """Wait until every running node, but one perhaps, knows that nothing moves any more."""
    for _ in range(int(CHANGE_MAX_S)):
        await asyncio.sleep(1.0)
        names = [name for name in stage.world.running if name != but]
        states = [stage.world.nodes[name].replication.consensus.state for name in names]
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


REPLACED = (Change("replace", "n1", by="n4"), Change("replace", "n2", by="n5"), Change("replace", "n3", by="n6"))


async def see_all(stage: Stage, expected: dict[str, str], when: str) -> None:
    """Read files through every running node; each has its last value."""
    for path, value in expected.items():
        for node in stage.world.running:
            expect(await stage.get(node, path), f"{path} cannot be read through {node} {when}")
            expect(stage.last(path) == value, f"{path} through {node} is {stage.last(path)}, not {value}, {when}")


@scenario(WorldOptions(nodes=7, founders=3))
async def all_owners_are_replaced(stage: Stage) -> None:
    """Three nodes take the places of those that there are. As long as the new ones do not pull, nothing is read from
    them; what is written meanwhile is seen by everybody. When it is over the old ones lose their power, and nothing is
    missed. A gateway that never heard of any of this learns it from who refuses it."""
    expected = {}
    for number in range(6):
        path = f"f{number}"
        expected[path] = f"v{number}"
        expect(await stage.put("n1", path, expected[path], [SMALL, LARGE][number % 2]), "a write is refused")
    unread = {"unread": "u"}
    expect(await stage.put("n2", "unread", "u", LARGE), "a write is refused")
    # The walk and the trees would bring over what pulling forgets.
    stop_jobs(stage, "anti-entropy", "walk", "scrub", "collection")
    for name in ("n4", "n5", "n6", "n7"):
        stage.world.nodes[name].replication.jobs["ring"].pause()
    await change(stage, *REPLACED)
    await asyncio.sleep(5.0)
    expect(stage.world.ring_state.step is Step.MOVING, "the ring moved on without its new owners")
    await see_all(stage, expected, "while the ring moves")
    for number in range(0, 6, 2):
        expected[f"f{number}"] = f"w{number}"
        expect(await stage.put("n3", f"f{number}", f"w{number}"), "a write is refused while the ring moves")
    await see_all(stage, expected, "after writes while the ring moves")
    for name in ("n4", "n5", "n6"):
        stage.world.nodes[name].replication.jobs["ring"].resume()
    await settled(stage, but="n7")
    stage.world.cut_power("n1", "n2")
    expected["f0"] = "last"
    expect(await stage.put("n5", "f0", "last"), "a write is refused after the change")
    await see_all(stage, expected, "after the change")
    stage.world.cut_power("n3")
    await see_all(stage, expected | unread, "without those that were replaced")
    resume_jobs(stage)


@scenario(WorldOptions(nodes=6, founders=3))
async def change_is_given_up(stage: Stage) -> None:
    """While the ring moves clients write, then it is cancelled: the owners that there were have everything, and the
    others nothing."""
    expected = {}
    for name in ("n4", "n5", "n6"):
        stage.world.nodes[name].replication.jobs["ring"].pause()
    await change(stage, *REPLACED)
    await asyncio.sleep(3.0)
    for number in range(6):
        path = f"f{number}"
        expected[path] = f"v{number}"
        node = stage.world.names[number]
        expect(await stage.put(node, path, expected[path], [SMALL, LARGE][number % 2]), "a write is refused")
    keeper = stage.world.nodes["n1"].replication.consensus
    await keeper.propose(keeper.state.cancelled())
    resume_jobs(stage)
    await settled(stage)
    stage.world.cut_power("n4", "n5", "n6")
    await see_all(stage, expected, "after the change was given up")


@scenario(WorldOptions(nodes=6, founders=5))
async def fallbacks_are_left_over(stage: Stage) -> None:
    """Owners of a file in an available bucket are away, and others take a write for them. Before those come back the
    ring changes so that the file belongs to somebody else. It gets there."""
    policy = BucketPolicy(r=1, w=2, consistency="available")
    stage.history.available["loose"] = "last-writer-wins"
    await stage.world.nodes["n1"].replication.buckets.make("loose", policy)
    target = Target("loose", "f")
    owners = stage.world.owners(file_hash(FileName("loose", "f").key))
    others = [name for name in stage.world.names if name not in owners]
    stage.world.kill(*owners[:2])
    await asyncio.sleep(4.0)
    stop_jobs(stage, "handoff", "anti-entropy", "walk")
    expect(await stage.client.put(others[0], target, "v", SMALL), "an available write is refused")
    stage.world.start()
    await stage.world.wait_connected()
    await change(stage, Change("leave", owners[0]), Change("leave", owners[1]), Change("join", "n6"))
    await settled(stage)
    resume_jobs(stage)
