"""What comes back by itself: nodes that were away, disks that rot, fill up or are lost."""

import asyncio

from dynafs.files import FileName
from dynafs.sim.checkers import Converged, holds
from dynafs.sim.client import Target
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, SMALL, Stage, expect, rot_all, scenario


@scenario()
async def crash_of_all_nodes(stage: Stage) -> None:
    """The power fails everywhere while clients write. What was acknowledged is there when it comes back."""
    writes = [
        asyncio.create_task(stage.put(f"n{i % 3 + 1}", f"f{i}", f"v{i}", (SMALL, LARGE)[i % 2])) for i in range(8)
    ]
    await asyncio.sleep(0.015)
    stage.world.cut_power(*stage.world.names)
    await asyncio.gather(*writes)
    stage.world.start()
    await stage.world.wait_connected()
    for number, write in enumerate(writes):
        expect(await stage.get("n1", f"f{number}"), "a file cannot be read after the power came back")
        if write.result():
            expect(stage.last(f"f{number}") == f"v{number}", f"f{number} was acknowledged and is gone")


@scenario()
async def lost_disk(stage: Stage) -> None:
    """A node that acknowledged a write comes back with an empty disk, while an owner that missed the write is there.

    The empty node must not swear that the file never was: it refuses until it has pulled its peers' records.
    """
    await stage.put("n1", "f", "old", LARGE)
    stage.world.partition(["n1", "n2"], ["n3"])
    await asyncio.sleep(4.0)
    expect(await stage.put("n1", "f", "new", LARGE), "two owners of three cannot write")
    stage.world.cut_power("n2")
    stage.world.nodes["n2"].replace_disk()
    stage.world.start("n2")
    stage.world.network.heal()
    stage.world.partition(["n1"], ["n2", "n3"])
    for _ in range(20):
        expect(not await stage.get("n3", "f"), "an owner that forgot and one that never knew answered a read")
        await asyncio.sleep(1.0)
    stage.world.network.heal()
    await stage.world.wait_connected()
    expect(await stage.get("n3", "f") and stage.last("f") == "new", "the file is not what was acknowledged")
    expect(stage.world.nodes["n2"].store.read_record(FileName("demo", "f").key), "the empty node got no record")


@scenario(WorldOptions(nodes=3))
async def founding_without_one_member(stage: Stage) -> None:
    """A new cluster serves as soon as a majority is there; the member that comes later learns what it missed."""
    stage.world.cut_power("n3")
    for node in stage.world.nodes.values():
        if node.is_running:
            stage.world.cut_power(node.name)
        node.replace_disk()
    stage.world.start("n1", "n2")
    await stage.world.wait_connected("n1", "n2")
    expect(await stage.put("n1", "f", "v"), "two of three new nodes cannot write")
    expect(await stage.get("n2", "f"), "two of three new nodes cannot read")
    stage.world.start("n3")
    await stage.world.wait_connected()
    expect(stage.world.nodes["n3"].store.read_record(FileName("demo", "f").key), "the late member got no record")


@scenario()
async def node_away_for_a_while(stage: Stage) -> None:
    """A node misses writes, overwrites and deletes. When it is back it learns of them though nobody reads anything."""
    deleted = ["deleted", "deleted too", "deleted also", "deleted as well"]
    for name in ("kept", "overwritten", *deleted):
        await stage.put("n1", name, f"{name}.1", LARGE)
    stage.world.cut_power("n3")
    expect(await stage.put("n1", "overwritten", "overwritten.2", LARGE), "two owners of three cannot overwrite")
    expect(await stage.put("n2", "new", "new.1", LARGE), "two owners of three cannot write")
    for name in deleted:
        expect(await stage.client.delete("n1", Target("demo", name)), "two owners of three cannot delete")
    # Long enough for a walk, which must not forget the delete meanwhile.
    await asyncio.sleep(40.0)
    stage.world.start("n3")
    await stage.world.wait_connected()
    for _ in range(60):
        if holds(Converged(), stage.world, stage.history):
            return
        await asyncio.sleep(1.0)
    expect(condition=False, message="the node does not know after a minute what it missed")


@scenario()
async def bit_rot_on_one_copy(stage: Stage) -> None:
    """A bit of every chunk on one disk flips. No client ever sees it, and reading puts good copies back."""
    await stage.put("n1", "f", "v", LARGE)
    await asyncio.sleep(1.0)
    rotten = rot_all(stage, "n2")
    for node in stage.world.names:
        expect(await stage.get(node, "f"), "a file cannot be read though two copies are good")
    await asyncio.sleep(1.0)
    states = {stage.world.nodes["n2"].store.chunk_state(chunk_id) for chunk_id in rotten}
    expect(states == {"present"}, f"after being read, rotten copies are {states}")


@scenario()
async def bit_rot_on_two_copies(stage: Stage) -> None:
    """Two of three copies of every chunk rot. The last good one is found and the others are rebuilt from it."""
    await stage.put("n1", "f", "v", LARGE)
    await asyncio.sleep(1.0)
    rot_all(stage, "n1")
    rot_all(stage, "n2")
    for node in stage.world.names:
        expect(await stage.get(node, "f"), "a file cannot be read though one copy of each chunk is good")


@scenario(faults=("full_disk",))
async def full_disk(stage: Stage) -> None:
    """One disk is full. The other two owners take writes; when space is freed the node catches up without a restart."""
    await stage.put("n1", "f", "v0", LARGE)
    stage.world.nodes["n3"].platter.is_full = True
    expect(await stage.put("n1", "f", "v1", LARGE), "one full disk of three stops writes")
    expect(await stage.get("n3", "f") and stage.last("f") == "v1", "the node with the full disk cannot serve a read")
    stage.world.nodes["n3"].platter.is_full = False
    expect(await stage.put("n3", "f", "v2", LARGE), "the node does not recover when space is freed")


@scenario(WorldOptions(nodes=4))
async def disk_that_fills_up(stage: Stage) -> None:
    """Disks reach their hard mark. Such a node takes no new contents, but goes on serving reads and deletes; when all
    have reached it, nothing new is taken anywhere; and when space is freed everything is as before."""
    await stage.put("n1", "f", "v0", LARGE)
    await stage.put("n1", "g", "v0", LARGE)
    stage.world.nodes["n2"].platter.used_share = 0.96
    await asyncio.sleep(1.0)
    expect(not await stage.put("n2", "f", "v1", LARGE), "a node with a full disk takes an upload")
    expect(await stage.put("n1", "f", "v2", LARGE), "one full disk of four stops writes")
    expect(await stage.get("n2", "f") and stage.last("f") == "v2", "a node with a full disk cannot serve a read")
    for node in stage.world.nodes.values():
        node.platter.used_share = 0.96
    await asyncio.sleep(1.0)
    for name in stage.world.names:
        expect(not await stage.put(name, "f", "v3"), "a small file is taken though every disk is full")
        expect(await stage.get(name, "f") and stage.last("f") == "v2", "a file cannot be read though nothing is lost")
    expect(await stage.client.delete("n3", Target("demo", "g")), "nothing can be deleted when every disk is full")
    for node in stage.world.nodes.values():
        node.platter.used_share = 0.5
    await asyncio.sleep(1.0)
    expect(await stage.put("n4", "f", "v4", LARGE), "nothing can be written though space was freed")
