"""Available buckets: nobody waits for who is away, and nothing that was taken is forgotten."""

import asyncio
from typing import Literal

from dynafs.causality.stamp import COUNTER_BITS, hybrid_time
from dynafs.files import BucketPolicy, FileName, Record
from dynafs.ring import file_hash
from dynafs.sim.checkers import AvailableKept, Converged, held_by_owners, holds
from dynafs.sim.client import SimClient, Target
from dynafs.sim.options import WorldOptions
from dynafs.sim.scenarios.stage import LARGE, Stage, expect, scenario
from dynafs.wire.context_token import ContextTokens
from dynafs.wire.records import decode_record


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


@scenario(WorldOptions(nodes=6))
async def client_claims_what_it_never_read(stage: Stage) -> None:
    """A client writes with contexts it made up, of its own key or of another file: to replace versions that it never
    read, to move the clocks of nodes, to fill a record with actors. Each of these writes is refused and changes
    nothing."""
    await _make(stage, "both", "keep-both")
    target, other = Target("both", "f"), Target("both", "other")
    for node in ("n1", "n2"):
        writer = SimClient(stage.world, stage.history, f"writer at {node}")
        expect(await writer.put(node, target, f"by.{node}", 200), "a write fails though all is well")
    await asyncio.sleep(2.0)
    before = _records(stage, target)
    actors = {actor for record in before for actor in record.context}
    far = hybrid_time(stage.world.nodes["n3"].clock.wall_ms() + 50_000)
    claims = [dict.fromkeys(sorted(actors), far), {f"invented{number}": far for number in range(500)}]
    claimed = Record.of(claims[0], before[0].versions)
    tokens = stage.world.nodes["n3"].replication.context_tokens
    texts = [ContextTokens(bytes(32)).issue(_key(target), Record.of(one, ())) for one in claims]
    texts += [tokens.issue(_key(other), claimed), tokens.issue(_key(target), claimed)[:-1], "AAAA"]
    for number, text in enumerate(texts):
        liar = SimClient(stage.world, stage.history, "liar")
        expect(not await liar.put("n3", target, f"lie{number}", 200, token=text), f"claim {number} is believed")
    expect(_records(stage, target) == before, "a refused write changes the file")
    honest = SimClient(stage.world, stage.history, "honest client")
    expect(await honest.put("n3", other, "true", 200), "a write fails though all is well")
    ahead_ms = max(record.time_max for record in _records(stage, other)) >> COUNTER_BITS
    expect(ahead_ms <= stage.world.nodes["n3"].clock.wall_ms(), "a client moves the clock of a node")


@scenario(WorldOptions(nodes=6))
async def fallback_stands_in_again_and_again(stage: Stage) -> None:
    """A node stands in for one owner, again and again, and hands over what it took each time. It goes on under the
    name that it took at first, so that the record does not grow for ever; and no write is lost."""
    await _make(stage, "both", "keep-both")
    target = Target("both", "f")
    place = file_hash(FileName(target.bucket, target.path).key)
    away = stage.world.owners(place)[0]
    gateway = stage.world.nodes["n1"].replication.cluster.fallbacks(place)[0]
    actors = set[str]()
    for number in range(6):
        stage.world.kill(away)
        await asyncio.sleep(4.0)
        client = SimClient(stage.world, stage.history, f"client {number}")
        if number % 2:
            expect(await client.get(gateway, target), "what was written cannot be read")
        expect(await client.put(gateway, target, f"v{number}", 200), "a write fails though five nodes are up")
        stage.world.start(away)
        await stage.world.wait_connected()
        for _ in range(120):
            await asyncio.sleep(1.0)
            if not stage.world.nodes[gateway].store.read_record(_key(target)):
                break
        expect(not stage.world.nodes[gateway].store.read_record(_key(target)), "a fallback does not hand over")
        actors |= {actor for record in _records(stage, target) for actor in record.context}
    expect(len(actors) == 1, f"one node wrote as {sorted(actors)}")


def _key(target: Target) -> bytes:
    return FileName(target.bucket, target.path).key


def _records(stage: Stage, target: Target) -> list[Record]:
    """Return what the owners of a file hold."""
    return [decode_record(data) for data in held_by_owners(stage.world, target.name).values()]
