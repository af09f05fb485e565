"""Named scenarios: what dynafs promises when one particular thing goes wrong, as short scripts.

Every script ends in a world that may still be broken; the runner mends it, reads everything through every node and
checks all promises (`run.settle`, `checkers`). Run one with many seeds: `tools/dev sim --scenario NAME --seeds 100`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dynafs.files import FileName
from dynafs.ring import file_hash
from dynafs.sim.checkers import Converged, holds
from dynafs.sim.client import SimClient, Target
from dynafs.sim.errors import PromiseBroken
from dynafs.sim.history import History
from dynafs.sim.network import NetworkConditions
from dynafs.sim.options import WorldOptions
from dynafs.sim.run import Outcome, run_script
from dynafs.sim.world import World

SMALL, MIDDLE, LARGE = 200, 4_000, 12_000


@dataclass
class Stage:
    """A world with one client, and words to say what must hold."""

    world: World
    history: History
    client: SimClient = field(init=False)

    def __post_init__(self) -> None:
        """Make the client."""
        self.client = SimClient(self.world, self.history)

    async def put(self, node: str, path: str, value: str, size_bytes: int = SMALL) -> bool:
        """Write demo/path through a node; whether it was acknowledged."""
        return await self.client.put(node, Target("demo", path), value, size_bytes, piece_bytes=1024)

    async def get(self, node: str, path: str) -> bool:
        """Read demo/path through a node; whether an answer came, found or not."""
        return await self.client.get(node, Target("demo", path))

    def last(self, path: str) -> str | None:
        """Return the value of the last successful operation on demo/path."""
        return self.history.files[f"demo/{path}"][-1].value

    def owners(self, path: str) -> tuple[str, ...]:
        """Return the owners of demo/path, first choice first."""
        return self.world.owners(file_hash(FileName("demo", path).key))

    def gateway(self, path: str) -> str:
        """Return a node that owns no copy of demo/path."""
        return next(name for name in self.world.names if name not in self.owners(path))


def expect(condition: object, message: str) -> None:
    """Raise PromiseBroken unless the condition holds."""
    if not condition:
        raise PromiseBroken("scenario", message)


class _Scenario(NamedTuple):
    script: Callable[[Stage], Awaitable[None]]
    options: WorldOptions
    faults: tuple[str, ...]


SCENARIOS: dict[str, _Scenario] = {}
Script = Callable[[Stage], Awaitable[None]]


def scenario(options: WorldOptions | None = None, faults: tuple[str, ...] = ()) -> Callable[[Script], Script]:
    """Register a script under its name. faults: kinds of `plan.FaultKind` that explain error events."""

    def register(script: Script) -> Script:
        SCENARIOS[script.__name__.replace("_", "-")] = _Scenario(script, options or WorldOptions(), faults)
        return script

    return register


def run_scenario(name: str, seed: int, show: Callable[[str], None] | None = None) -> Outcome:
    """Run one scenario with one seed."""
    found = SCENARIOS[name]

    async def script(world: World, history: History) -> None:
        await found.script(Stage(world, history))

    return run_script(replace(found.options, seed=seed), script, list(found.faults), show)


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
    chunks_before = _chunk_count(stage)
    upload = asyncio.create_task(stage.put("n1", "f", "new", LARGE))
    for _ in range(1000):
        if _chunk_count(stage) < chunks_before + 3:
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
    for name in ("kept", "overwritten", "deleted"):
        await stage.put("n1", name, f"{name}.1", LARGE)
    stage.world.cut_power("n3")
    expect(await stage.put("n1", "overwritten", "overwritten.2", LARGE), "two owners of three cannot overwrite")
    expect(await stage.put("n2", "new", "new.1", LARGE), "two owners of three cannot write")
    expect(await stage.client.delete("n1", Target("demo", "deleted")), "two owners of three cannot delete")
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
    rotten = _rot_all(stage, "n2")
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
    _rot_all(stage, "n1")
    _rot_all(stage, "n2")
    for node in stage.world.names:
        expect(await stage.get(node, "f"), "a file cannot be read though one copy of each chunk is good")


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


@scenario(faults=("full_disk",))
async def full_disk(stage: Stage) -> None:
    """One disk is full. The other two owners take writes; when space is freed the node catches up without a restart."""
    await stage.put("n1", "f", "v0", LARGE)
    stage.world.nodes["n3"].platter.is_full = True
    expect(await stage.put("n1", "f", "v1", LARGE), "one full disk of three stops writes")
    expect(await stage.get("n3", "f") and stage.last("f") == "v1", "the node with the full disk cannot serve a read")
    stage.world.nodes["n3"].platter.is_full = False
    expect(await stage.put("n3", "f", "v2", LARGE), "the node does not recover when space is freed")


def _chunk_count(stage: Stage) -> int:
    return sum(len(node.platter.index.tables["chunks"]) for node in stage.world.nodes.values())


def _rot_all(stage: Stage, node: str) -> list[bytes]:
    platter = stage.world.nodes[node].platter
    chunk_ids = sorted(platter.index.tables["chunks"])
    for chunk_id in chunk_ids:
        platter.rot(stage.world.nodes[node].disk.rng, chunk_id)
    return chunk_ids
