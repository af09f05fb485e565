"""Nodes that die, whose clocks are wrong, or that are slow."""

import asyncio
import struct
from pathlib import Path

from tests.support.proxy import Proxy
from tools.faults.stage import Stage, load, run, until, until_whole
from tools.faults.telling import check, say


async def kill(stage: Stage) -> None:
    """kill -9 a node under load, start it again: hints drain, the census is whole."""
    async with stage.cluster(5) as (cluster, client):
        await cluster.start()
        stop = asyncio.Event()
        loading = asyncio.create_task(load(client, cluster.names, stop, "k"))
        await asyncio.sleep(4)
        await cluster.kill("n3")
        await asyncio.sleep(6)
        kept = (await client.json("n1", "/v1/hints"))["hints"]
        await cluster.start("n3")
        await asyncio.sleep(2)
        stop.set()
        await loading
        say(f"{len(client.held)} files acknowledged, failures {client.failures}")
        check(f"hints were kept while n3 was away: {sum(row['count'] for row in kept)}", kept)

        async def is_drained() -> bool:
            told = await client.json("n1", "/v1/hints")
            return not told["hints"] and not told["silent"]

        check(f"hints drained to 0 in {await until(is_drained, 60, 'no hints'):.1f} s", fact=True)
        check(f"the census is whole after {await until_whole(client, 90):.1f} s", fact=True)
        outcomes = await client.read_all(cluster.names)
        check(f"everything acknowledged is read back: {outcomes}", set(outcomes) == {"right"})


async def clocks(stage: Stage) -> None:
    """One clock is ten minutes ahead, one ten minutes behind: refused loudly, never stale."""
    library = stage.path / "skew.so"
    run("gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).parent / "skew.c"))
    async with stage.cluster(3) as (cluster, client):
        for name, offset_s in (("n1", 0.0), ("n2", 600.0), ("n3", -600.0)):
            offset = stage.path / f"{name}.skew"
            offset.write_bytes(struct.pack("d", offset_s))
            cluster.environment[name] = {"LD_PRELOAD": str(library), "SKEW_FILE": str(offset)}
        await cluster.start()
        for number in range(300):
            status = await client.put(f"demo/f{number % 7}", 1000, cluster.names)
            if status == 201:
                outcome = await client.get(f"demo/f{number % 7}", client.rng.choice(cluster.names))
                if outcome not in ("right", "status 503"):
                    raise SystemExit(f"FAILED: a read after an acknowledged write is {outcome}")
        check(f"{len(client.held)} files, every read after a write saw it; refused: {client.failures}", fact=True)
        check(
            "nothing failed without saying why",
            set(client.failures) <= {"clock_skewed", "write_quorum_lost", "read_quorum_lost"},
        )


async def slow(stage: Stage) -> None:
    """One replica answers half a second late: reads go around it."""
    async with stage.cluster(3) as (cluster, client):
        proxies = []
        for name, peer in (("n1", "n3"), ("n2", "n3"), ("n3", "n1"), ("n3", "n2")):
            proxies.append(Proxy(cluster.peer_port(peer)))
            cluster.set_peer_address(name, peer, await proxies[-1].start())
        await cluster.start()
        for number in range(200):
            await client.put(f"demo/f{number}", client.rng.choice([1000, 300_000]), ["n1", "n2"])
        for _ in range(6):
            await client.read_all(["n1", "n2"], at_once=2)
        client.percentile_ms(0.99)
        for _ in range(10):
            await client.read_all(["n1", "n2"], at_once=2)
        normal_ms = client.percentile_ms(0.99)
        for proxy in proxies:
            proxy.delay_s = 0.5
        await asyncio.sleep(1)
        for _ in range(10):
            outcomes = await client.read_all(["n1", "n2"], at_once=2)
        slow_ms = client.percentile_ms(0.99)
        check(f"reads go on: {outcomes}", set(outcomes) == {"right"})
        check(
            f"p99 of GET {normal_ms:.1f} ms, with a slow replica {slow_ms:.1f} ms: {slow_ms / normal_ms:.2f}x",
            slow_ms < 3 * normal_ms,
        )
