"""What goes by itself: contents that nothing uses any more."""

import asyncio

from dynafs.files import FileName
from dynafs.sim.client import SimClient, Target
from dynafs.sim.network import NetworkConditions
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, Stage, chunk_count, expect, resume_jobs, scenario, stop_jobs
from dynafs.sim.world import CHUNK_SIZE_BYTES, SEGMENT_SIZE_BYTES
from dynafs.wire.records import decode_record


@scenario()
async def overwrites_give_their_space_back(stage: Stage) -> None:
    """A file is overwritten twenty times. After the grace one copy's worth is left on every disk, in segments that are
    not mostly dead; what is read meanwhile is whole."""
    for number in range(20):
        expect(await stage.put("n1", "f", f"v{number}", LARGE), "an overwrite fails")
    for _ in range(150):
        await asyncio.sleep(1.0)
        expect(await stage.get("n2", "f") and stage.last("f") == "v19", "the newest version is not whole")
    for name in stage.world.names:
        kept = sum(len(file.content) for file in stage.world.nodes[name].platter.files.values())
        expect(kept < 2 * (LARGE + SEGMENT_SIZE_BYTES), f"{name} still holds {kept} bytes of segments")


@scenario()
async def upload_that_takes_very_long(stage: Stage) -> None:
    """A client sends its file for longer than references are trusted and graces last, while all clocks are set ten
    minutes ahead. The chunks it sent first are still there when it is done."""
    slow = SimClient(stage.world, stage.history, "slow client", patience_s=400.0)
    upload = asyncio.create_task(slow.put("n1", Target("demo", "f"), "v", LARGE, piece_bytes=1024, pause_s=20.0))
    await asyncio.sleep(30.0)
    for node in stage.world.nodes.values():
        node.clock.offset_ms = 600_000
    expect(await upload, "a long upload fails though nothing is broken")
    expect(await stage.get("n3", "f") and stage.last("f") == "v", "a long upload cannot be read")


@scenario()
async def abandoned_upload(stage: Stage) -> None:
    """The node that takes an upload dies. Nobody can say what became of it, so its chunks stay until they are old, and
    while one owner is away, who might know more; then they go."""
    upload = asyncio.create_task(stage.put("n1", "f", "v", LARGE))
    for _ in range(1000):
        if chunk_count(stage) < 5:
            await asyncio.sleep(0.0005)
    stage.world.cut_power("n1")
    expect(not await upload, "the upload was acknowledged by a dead node")
    left = chunk_count(stage)
    await asyncio.sleep(300.0)
    expect(chunk_count(stage) >= left, "chunks were collected though an owner could not be asked")
    stage.world.start("n1")
    await asyncio.sleep(200.0)
    expect(chunk_count(stage) == 0, "abandoned chunks are still there")


@scenario(WorldOptions(network=NetworkConditions(late_s=8.0)))
async def messages_later_than_the_delete(stage: Stage) -> None:
    """Every message of some writes arrives twice, often seconds late, when the files are long deleted and every owner
    knows. What is deleted stays deleted."""
    conditions = stage.world.network.conditions
    paths = [f"f{number}" for number in range(12)]
    conditions.repeated, conditions.late = 1.0, 0.4
    written = await asyncio.gather(*(stage.put("n1", path, f"{path}.1") for path in paths))
    conditions.repeated = conditions.late = 0.0
    deleted = [path for path, is_written in zip(paths, written, strict=True) if is_written]
    for path in deleted:
        await stage.client.delete("n2", Target("demo", path))
    for _ in range(6):
        for node in stage.world.nodes.values():
            node.replication.walker.job.start_now()
        await asyncio.sleep(2.0)
    for path in deleted:
        expect(await stage.get("n3", path), "a deleted file cannot be asked for")


@scenario()
async def power_cut_after_compaction(stage: Stage) -> None:
    """What lived in a segment that was mostly dead was written anew and the segment removed. Then the power fails
    everywhere at once: the new copies are on the medium."""
    paths = [f"f{number}" for number in range(14)]
    stop_jobs(stage, "compaction")
    for path in paths:
        expect(await stage.put("n1", path, f"{path}.1", LARGE), "a write fails")
    for path in paths[2:]:
        expect(await stage.client.delete("n1", Target("demo", path)), "a delete fails")
    full = {name: len(node.platter.files) for name, node in stage.world.nodes.items()}
    for _ in range(200):
        await asyncio.sleep(1.0)
        if chunk_count(stage) <= len(stage.world.names) * 2 * (LARGE // CHUNK_SIZE_BYTES + 1):
            break
    resume_jobs(stage)
    for node in stage.world.nodes.values():
        node.replication.compactor.job.start_now()
    for _ in range(4000):
        await asyncio.sleep(0.005)
        if any(len(node.platter.files) < full[name] for name, node in stage.world.nodes.items()):
            break
    expect(any(len(n.platter.files) < full[name] for name, n in stage.world.nodes.items()), "nothing was compacted")
    await asyncio.sleep(0.02 * (stage.world.options.seed % 10))
    stage.world.cut_power(*stage.world.names)
    stage.world.start()
    await stage.world.wait_connected()
    for path in paths[:2]:
        expect(await stage.get("n2", path) and stage.last(path) == f"{path}.1", f"{path} is lost")


@scenario()
async def same_contents_many_times(stage: Stage) -> None:
    """Twenty files have the same contents, and are deleted. Nothing is left of them: owners of a chunk with many dead
    references do not wait for each other."""
    paths = [f"f{number}" for number in range(20)]
    for path in paths:
        expect(await stage.put("n1", path, "same", LARGE), "a write fails")
    for path in paths:
        expect(await stage.client.delete("n2", Target("demo", path)), "a delete fails")
    for _ in range(300):
        await asyncio.sleep(1.0)
        if not chunk_count(stage):
            return
    expect(condition=False, message=f"{chunk_count(stage)} chunks are left of deleted files")


@scenario()
async def contents_used_again_while_a_node_is_away(stage: Stage) -> None:
    """A node has chunks of a file that was overwritten while it was away, and does not know that another file has the
    same contents. It keeps them all the time."""
    await stage.put("n1", "old", "same", LARGE)
    await asyncio.sleep(1.0)
    stage.world.cut_power("n3")
    await asyncio.sleep(4.0)
    expect(await stage.put("n1", "old", "other", LARGE), "two owners of three cannot overwrite")
    expect(await stage.put("n2", "new", "same", LARGE), "two owners of three cannot write")
    store = stage.world.nodes["n1"].store
    (version,) = decode_record(store.read_record(FileName("demo", "new").key)).files
    assert version.manifest is not None
    stage.world.start("n3")
    stop_jobs(stage, "walk")
    await stage.world.wait_connected()
    for _ in range(200):
        await asyncio.sleep(1.0)
        states = {stage.world.nodes["n3"].store.chunk_state(one) for one in version.manifest.listed()}
        expect(states == {"present"}, f"chunks of a living file are {states} on a node that had them")
    resume_jobs(stage)
