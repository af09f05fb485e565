"""Quorums while nodes, links and clocks fail."""

import asyncio

from dynafs.membership.hedging import BURST, EARNED_PER_S, SHARE
from dynafs.sim.client import Target
from dynafs.sim.network import NetworkConditions
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import (
    LARGE,
    MIDDLE,
    SMALL,
    Stage,
    chunk_count,
    expect,
    resume_jobs,
    scenario,
    stop_jobs,
)


@scenario(WorldOptions(nodes=5))
async def steady_load(stage: Stage) -> None:
    """Nothing goes wrong: six clients read and write through five nodes a second apart, and every request succeeds."""

    async def work(number: int) -> None:
        for index in range(60):
            node, path = stage.world.names[(number + index) % 5], f"f{(number * 7 + index * 3) % 10}"
            if index % 3:
                expect(await stage.get(node, path), "a read failed though nothing is wrong")
            else:
                size = LARGE if index % 15 == 0 else SMALL
                expect(await stage.put(node, path, f"{number}.{index}", size), "a write failed though nothing is wrong")
            await asyncio.sleep(1.0)

    await asyncio.gather(*(work(number) for number in range(6)))


@scenario(WorldOptions(nodes=4))
async def coordinator_dies_between_chunks_and_manifest(stage: Stage) -> None:
    """The node that takes an upload dies when some chunks are stored and the record is not.

    The client hears a broken connection; the file stays what it was.
    """
    await stage.put("n1", "f", "old", LARGE)
    chunks_before = chunk_count(stage)
    upload = asyncio.create_task(stage.put("n1", "f", "new", LARGE))
    for _ in range(1000):
        if chunk_count(stage) < chunks_before + 3:
            await asyncio.sleep(0.0005)
    stage.world.kill("n1")
    expect(not await upload, "the upload was acknowledged by a dead node")
    expect(await stage.get("n2", "f"), "the file cannot be read with one node down")
    expect(stage.last("f") == "old", "a manifest that was never written is visible")


@scenario()
async def write_quorum_lost_mid_write(stage: Stage) -> None:
    """Two of three owners disappear while a write is on its way.

    The write fails as unknown or not written, reads refuse rather than guess, and when the owners are back the file has
    one value for everybody.
    """
    await stage.put("n1", "f", "old")
    write = asyncio.create_task(stage.put("n1", "f", "new", LARGE))
    await asyncio.sleep(0.01)
    stage.world.cut_power("n2", "n3")
    expect(not await write, "a write was acknowledged with two of three owners gone")
    expect(not await stage.get("n1", "f"), "a read was answered by one owner of three")
    stage.world.start()
    await stage.world.wait_connected()
    expect(await stage.get("n2", "f"), "the file stays unreadable after its owners came back")
    seen = stage.last("f")
    expect(await stage.get("n3", "f"), "the file stays unreadable after its owners came back")
    expect(stage.last("f") == seen, "two reads in a row see different values")


@scenario(WorldOptions(nodes=6))
async def fallbacks_are_no_owners(stage: Stage) -> None:
    """Two of three owners are away and plenty of others are there. A strong write is refused all the same: those two
    could be back before the hints are, and would not know of it."""
    await stage.put("n1", "f", "old")
    owners = stage.owners("f")
    stage.world.cut_power(*owners[:2])
    await asyncio.sleep(4.0)
    expect(not await stage.put(stage.gateway("f"), "f", "new"), "a strong write was acknowledged by one owner")
    expect(not await stage.get(stage.gateway("f"), "f"), "a strong read was answered by one owner")
    stage.world.start()
    await stage.world.wait_connected()
    expect(await stage.get(stage.gateway("f"), "f"), "the file cannot be read though all owners are back")
    for name in owners[:2]:
        stage.world.nodes[name].platter.used_share = 0.96
    await asyncio.sleep(1.0)
    expect(not await stage.put(owners[2], "f", "newer"), "a write that two of three owners refused was acknowledged")


@scenario()
async def slow_replica(stage: Stage) -> None:
    """One owner's disk and links become hundreds of times slower. Reads and writes go on with the other two, fast.

    Chunks for the slow one stay in the sender's budget until they are confirmed or time out, so there is a limit to how
    much can be written past it at full speed; records have no such limit.
    """
    await stage.put("n1", "f", "v0", LARGE)
    stage.world.nodes["n3"].disk_conditions.slowness = 500.0
    for other in ("n1", "n2"):
        stage.world.network.slow["n3", other] = stage.world.network.slow[other, "n3"] = 500.0
    for number in range(1, 21):
        started_s = stage.world.loop.time()
        expect(await stage.put("n1", "f", f"v{number}", MIDDLE if number < 4 else SMALL), "a slow replica stops writes")
        expect(await stage.get("n2", "f"), "a slow replica stops reads")
        expect(stage.world.loop.time() - started_s < 2.0, "a write and a read wait for the slow replica")


@scenario()
async def every_replica_slow(stage: Stage) -> None:
    """All links become slow at once, while many reads are under way. Reads succeed, and the node sends further owners
    no more of them than reads earn: asking more owners of a cluster that is slow makes it slower."""
    paths = [f"f{number}" for number in range(30)]
    for path in paths:
        await stage.put("n1", path, "v0")
    for one in stage.world.names:
        for other in stage.world.names:
            stage.world.network.slow[one, other] = 200.0
    began_s, hedges = stage.world.loop.time(), stage.world.nodes["n1"].replication.cluster.hedges
    for _ in range(3):
        found = await asyncio.gather(*(stage.get("n1", path) for path in paths * 5))
        expect(all(found), "a read failed though all owners answer")
    earned = BURST + SHARE * hedges.reads + EARNED_PER_S * (stage.world.loop.time() - began_s)
    expect(hedges.refused, "no read was late")
    expect(hedges.sent <= earned, f"{hedges.sent} hedges were sent and {earned:.0f} earned")


@scenario(WorldOptions(nodes=5))
async def minority_partition(stage: Stage) -> None:
    """One owner is cut off. The others go on; the lonely one refuses to answer, and agrees again when it is back."""
    await stage.put("n1", "f", "v0")
    lonely = stage.owners("f")[0]
    others = [name for name in stage.world.names if name != lonely]
    stage.world.partition([lonely], others)
    await asyncio.sleep(4.0)
    expect(await stage.put(others[0], "f", "v1"), "a majority cannot write")
    expect(await stage.get(others[1], "f"), "a majority cannot read")
    expect(not await stage.get(lonely, "f"), "a node that is cut off answers a strong read")
    expect(not await stage.put(lonely, "f", "v2"), "a node that is cut off acknowledges a write")
    stage.world.network.heal()
    await stage.world.wait_connected()
    expect(await stage.get(lonely, "f"), "the node cannot read after the partition healed")
    expect(stage.last("f") != "v0", "a read went back to the time before the partition")


@scenario(WorldOptions(nodes=5))
async def majority_partition(stage: Stage) -> None:
    """A gateway is left with one owner. It serves nothing of the file; the side with two owners serves all of it."""
    await stage.put("n1", "f", "v0", LARGE)
    owners = stage.owners("f")
    outside = [name for name in stage.world.names if name not in owners]
    stage.world.partition([owners[0], outside[0]], [owners[1], owners[2], outside[1]])
    await asyncio.sleep(4.0)
    expect(not await stage.put(outside[0], "f", "lost"), "one owner of three acknowledged a write")
    expect(not await stage.get(owners[0], "f"), "one owner of three answered a strong read")
    expect(await stage.put(outside[1], "f", "v1"), "two owners of three cannot write")
    expect(await stage.get(owners[1], "f") and stage.last("f") == "v1", "two owners of three cannot read")


@scenario(WorldOptions(nodes=3, clock_offsets_ms={"n1": 30_000, "n2": -20_000}))
async def clock_scramble(stage: Stage) -> None:
    """Clocks disagree by up to fifty seconds and jump. A later write wins nevertheless, through whichever node."""
    for number in range(20):
        node = stage.world.names[number % 3]
        expect(await stage.put(node, "f", f"v{number}"), "a write is refused though clocks are within bounds")
        expect(await stage.get(stage.world.names[(number + 1) % 3], "f"), "the file cannot be read")
        expect(stage.last("f") == f"v{number}", f"v{number} lost against an earlier write")
        stage.world.nodes[node].clock.offset_ms = (-1) ** number * 25_000
    stage.world.nodes["n1"].clock.offset_ms = 600_000
    expect(not await stage.put("n1", "f", "far ahead"), "a clock ten minutes ahead stamped a write")
    expect(await stage.put("n2", "f", "right"), "a node with a wrong clock stops the others from writing")
    expect(await stage.get("n3", "f") and stage.last("f") == "right", "the file cannot be read")


@scenario(WorldOptions(nodes=5, network=NetworkConditions(repeated=0.5, late=0.1, late_s=8.0)))
async def duplicate_and_late_messages(stage: Stage) -> None:
    """Half of all messages arrive twice and a tenth of them seconds late. Nothing happens twice, nothing comes back."""
    for number in range(15):
        gateway = stage.gateway("f")
        if number % 4 == 3:
            await stage.client.delete(gateway, Target("demo", "f"))
        else:
            await stage.put(gateway, "f", f"v{number}")
        await stage.get(stage.world.names[number % 5], "f")


@scenario(WorldOptions(nodes=4))
async def half_written_is_read(stage: Stage) -> None:
    """Two of three owners refused a write, so nobody was told that it worked. Whoever reads it nevertheless has seen it
    for everybody: it is made whole before it is returned, and no later read goes back behind it."""
    stop_jobs(stage, "anti-entropy", "walk", "handoff")
    first, *others = stage.owners("f")
    for number in range(4):
        expect(await stage.put(first, "f", f"v{number}"), "a write is refused though nothing is wrong")
        for name in others:
            stage.world.nodes[name].platter.used_share = 0.96
        await asyncio.sleep(1.0)
        expect(
            not await stage.put(first, "f", f"w{number}"), "a write that two of three owners refused was acknowledged"
        )
        for name in others:
            stage.world.nodes[name].platter.used_share = 0.0
        await asyncio.sleep(1.0)
        expect(await stage.get(first, "f"), "the file cannot be read though all owners are there")
        stage.world.network.cut([first], others)
        stage.world.network.cut(others, [first])
        await asyncio.sleep(4.0)
        expect(await stage.get(others[0], "f"), "two owners of three cannot read")
        stage.world.network.heal()
        await stage.world.wait_connected()
    resume_jobs(stage)
