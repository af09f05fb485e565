"""Disks that are lost, or rot."""

import asyncio
import json
import random
import statistics
import subprocess
import time
from pathlib import Path

from tests.support.processes import ProcessCluster
from tools.faults.stage import MIB, Stage, until_whole
from tools.faults.telling import check, say

LOAD_SCRIPT = Path(__file__).parent.parent / "bench" / "load.lua"
#: Small files that wrk reads.
KEYS = 500
#: When to give up waiting for a disk to fill again.
REFILL_MAX_S = 240.0


async def wipe(stage: Stage) -> None:
    """Wipe a node's disk: it is filled again without anybody asking, while others read."""
    async with stage.cluster(4) as (cluster, client):
        await cluster.start()
        for number in range(60):
            await client.put(f"demo/large{number}", 8 * MIB, cluster.names)
        for number in range(300):
            await client.put(f"demo/small{number}", 4096, cluster.names)
        size = cluster.size_bytes("n2")
        await cluster.kill("n2")
        cluster.wipe("n2")
        began = time.monotonic()
        await cluster.start("n2")
        healing = asyncio.create_task(until_whole(client, 240))
        while not healing.done():
            outcomes = await client.read_all(["n1", "n3", "n4"])
            check(f"reads while it is filled again: {outcomes}", set(outcomes) == {"right"})
        await healing
        took_s = time.monotonic() - began
        check(f"{size / MIB:.0f} MiB are back after {took_s:.1f} s, {size / 1e6 / took_s:.0f} MB/s", fact=True)


async def refill(stage: Stage) -> None:
    """Wipe a node's disk under load: with default settings, clients wait less than half as long again."""
    async with stage.cluster(4, healing={}) as (cluster, client):
        await cluster.start()
        for number in range(KEYS):
            await client.put(f"wrk/key-{number}", 4096, cluster.names)
        await asyncio.gather(*(client.put(f"demo/large{number}", 8 * MIB, cluster.names) for number in range(120)))
        await wrk(cluster, "GET", 4)
        before = {method: await wrk(cluster, method, 10) for method in ("GET", "PUT")}
        size = cluster.size_bytes("n2")
        await cluster.kill("n2")
        cluster.wipe("n2")
        await cluster.start("n2")
        during: dict[str, list[float]] = {"GET": [], "PUT": []}
        began = time.monotonic()
        while cluster.size_bytes("n2") < 0.95 * size and time.monotonic() - began < REFILL_MAX_S:
            for method, found_ms in during.items():
                if cluster.size_bytes("n2") < 0.95 * size:
                    found_ms.append(await wrk(cluster, method, 5))
        say(f"{size / MIB:.0f} MiB were back after {time.monotonic() - began:.0f} s of load")
        for method, found_ms in during.items():
            ratio = statistics.median(found_ms) / before[method]
            told = ", ".join(f"{one:.1f}" for one in found_ms)
            check(f"p99 of {method}: {before[method]:.1f} ms before, {told} ms meanwhile: {ratio:.2f}x", ratio < 1.5)
        await until_whole(client, 240)


async def wrk(cluster: ProcessCluster, method: str, seconds: int) -> float:
    """Load n1, n3 and n4 with files of 4 KiB over 8 connections; return the 99th percentile in milliseconds."""
    hosts = [cluster.url(name).removeprefix("http://") for name in ("n1", "n3", "n4")]
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t2", "-c8", f"-d{seconds}s", "-s", str(LOAD_SCRIPT), f"http://{hosts[0]}", "--",
        method, "4096", str(KEYS), f"s{time.monotonic_ns()}", "/v1/files/wrk/", *hosts, stdout=subprocess.PIPE,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    check("wrk ran", line)
    found = json.loads(str(line).removeprefix("RESULT "))
    check(
        f"{method}: {found['requests'] / seconds:.0f} requests a second, {found['failed']} failed", not found["failed"]
    )
    return float(found["p99_us"]) / 1000


async def rot(stage: Stage) -> None:
    """Flip bytes on one disk: none is ever served, one scrub finds them all."""
    async with stage.cluster(3) as (cluster, client):
        await cluster.start()
        for number in range(60):
            await client.put(f"demo/f{number}", client.rng.choice([100_000, MIB, 3 * MIB]), cluster.names)
        _flip(cluster, "n2", 40, client.rng)
        outcomes = [await client.read_all(cluster.names) for _ in range(3)]
        check(f"no wrong byte is served: {outcomes}", all(set(one) == {"right"} for one in outcomes))
        await client.scrub("n2")
        check(f"whole, every byte, {await until_whole(client, 60, deep=True):.1f} s after one scrub", fact=True)
        flipped = _flip(cluster, "n2", 40, client.rng)
        await client.scrub("n2")
        report = await client.census(deep=True)
        check(f"one scrub finds {flipped} flipped bytes that nobody read", report["is_whole"])


def _flip(cluster: ProcessCluster, node: str, count: int, rng: random.Random) -> int:
    segments = sorted((cluster.data(node) / "segments").iterdir())
    for _ in range(count):
        segment = rng.choice(segments)
        with segment.open("r+b") as file:
            offset = rng.randrange(segment.stat().st_size)
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 0x55]))
    return count
