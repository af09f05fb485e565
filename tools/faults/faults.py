#!/usr/bin/env python3
"""Break real nodes in every way this machine allows, and check that nothing is lost and everything heals.

    tools/dev test-faults [--seed S] [--keep DIR] [--files N] [--overwrites N] [NAME ...]

Names: kill wipe refill rot full power clocks slow space. All of them take under 15 minutes. `full`, `power` need root
(they mount file systems of their own), `clocks` needs gcc, `refill` needs wrk; what cannot be done here is said and
fails the run unless it was left out by name. --files 10000 --overwrites 100 make `space` long, and need 40 GB of disk.
"""

import argparse
import asyncio
import ctypes
import fcntl
import json
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from delay_proxy import DelayProxy
from process_cluster import CLIENT_TIMEOUT, Client, Cluster
from telling import check, say

from dynafs.cli.dev import PEER_PORT_OFFSET

MIB = 1 << 20
LOAD_SCRIPT = Path(__file__).parent.parent / "bench" / "load.lua"
#: Small files that wrk reads.
KEYS = 500
#: When to give up waiting for a disk to fill again.
REFILL_MAX_S = 240.0
EXT4_IOC_SHUTDOWN, SHUTDOWN_WITHOUT_FLUSH = 0x8004587D, 2


def run(*command: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"FAILED: {' '.join(command)}")


class Stage:
    """A directory and a seed for one check."""

    def __init__(self, path: Path, seed: int, files: int, overwrites: int) -> None:
        """files, overwrites: how many `space` makes."""
        self.path, self.seed, self.files, self.overwrites = path, seed, files, overwrites
        path.mkdir(parents=True, exist_ok=True)
        self.mounts: list[Path] = []

    @asynccontextmanager
    async def cluster(self, count: int, **sections: dict[str, object]) -> AsyncIterator[tuple[Cluster, Client]]:
        """Make a cluster that is not started yet, and a client; stop it in the end."""
        cluster = Cluster(self.path, count, **sections)
        async with aiohttp.ClientSession(timeout=CLIENT_TIMEOUT) as session:
            try:
                yield cluster, Client(cluster, session, self.seed)
            finally:
                await cluster.stop()

    def mount(self, where: Path, *arguments: str) -> None:
        where.mkdir(parents=True, exist_ok=True)
        run("mount", *arguments, str(where))
        self.mounts.append(where)

    def unmount(self, where: Path) -> None:
        run("umount", str(where))
        self.mounts.remove(where)


async def until(condition: Callable[[], Awaitable[bool]], within_s: float, what: str) -> float:
    """Wait until something is so; return how long that took."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > within_s:
            raise SystemExit(f"FAILED: not within {within_s:.0f} s: {what}")
        await asyncio.sleep(0.3)
    return time.monotonic() - began


async def until_whole(client: Client, within_s: float, *, deep: bool = False) -> float:
    """Wait until a census finds all copies of everything."""
    report: dict = {}

    async def is_whole() -> bool:
        nonlocal report
        report = await client.census(deep=deep)
        return report["is_whole"]

    try:
        return await until(is_whole, within_s, "a whole census")
    except SystemExit:
        say(f"the last census: {report['files']} {report['chunks']} {report['silent']} {report['lacking'][:5]}")
        raise


async def load(client: Client, nodes: list[str], stop: asyncio.Event, names: str, workers: int = 6) -> None:
    """Put files of all sizes until told to stop."""

    async def work(worker: int) -> None:
        number = 0
        while not stop.is_set():
            size = client.rng.choice([100, 4_000, 60_000, 300_000, 3 * MIB])
            await client.put(f"demo/{names}{worker}.{number % 40}", size, nodes)
            number += 1

    await asyncio.gather(*(work(worker) for worker in range(workers)))


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


async def wrk(cluster: Cluster, method: str, seconds: int) -> float:
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


def _flip(cluster: Cluster, node: str, count: int, rng: random.Random) -> int:
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


async def full(stage: Stage) -> None:
    """Fill a node's disk: 507 for PUT there, GET and DELETE go on, and deletes free it without a restart."""
    storage = {"segment_size_bytes_max": 16 * MIB}
    async with stage.cluster(3, storage=storage) as (cluster, client):
        for name in cluster.names:
            stage.mount(cluster.data(name), "-t", "tmpfs", "-o", "size=400m", "dynafs-test")
        await cluster.start()
        number = 0
        while await client.put(f"demo/f{number}", 4 * MIB, cluster.names) == 201:
            number += 1
        check(
            f"507 after {number} files of 4 MiB: {client.failures}",
            set(client.failures) <= {"store_full", "write_quorum_lost"},
        )
        check("small files are refused, too", await client.put("demo/small", 10, ["n1"]) == 507)
        outcomes = await client.read_all(cluster.names)
        check(f"everything acknowledged can be read: {outcomes}", set(outcomes) == {"right"})
        for path in list(client.held)[: len(client.held) * 2 // 3]:
            async with client.session.delete(f"{cluster.url('n2')}/v1/files/{path}") as response:
                if response.status != 204:
                    raise SystemExit(f"FAILED: DELETE on a full disk: {response.status} {await response.text()}")
            del client.held[path]
        check("DELETE works on full disks", fact=True)

        async def takes_again() -> bool:
            return await client.put("demo/again", 4 * MIB, ["n1"]) == 201

        check(f"space is back {await until(takes_again, 90, 'a PUT'):.1f} s after the deletes", fact=True)
        outcomes = await client.read_all(cluster.names)
        check(f"what was kept is right: {outcomes}", set(outcomes) == {"right"})


async def power(stage: Stage) -> None:
    """Cut the power of all nodes under load: nothing acknowledged is lost."""
    async with stage.cluster(3) as (cluster, client):
        for name in cluster.names:
            image = stage.path / f"{name}.img"
            with image.open("wb") as file:
                file.truncate(2 << 30)
            run("mkfs.ext4", "-q", "-F", str(image))
            stage.mount(cluster.data(name), "-o", "loop", str(image))
            shutil.rmtree(cluster.data(name) / "lost+found")
        await cluster.start()
        for number in range(3):
            stop = asyncio.Event()
            loading = asyncio.create_task(load(client, cluster.names, stop, f"p{number}."))
            await asyncio.sleep(4 + client.rng.random())
            for name in cluster.names:
                with (cluster.data(name) / "LOCK").open("rb") as file:
                    fcntl.ioctl(file, EXT4_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_FLUSH))
            await asyncio.sleep(0.3)
            stop.set()
            await cluster.kill(*cluster.names)
            await loading
            for name in cluster.names:
                stage.unmount(cluster.data(name))
                stage.mount(cluster.data(name), "-o", "loop", str(stage.path / f"{name}.img"))
            await cluster.start()
            outcomes = await client.read_all(cluster.names)
            check(f"power cut {number + 1}: {len(client.held)} acknowledged, {outcomes}", set(outcomes) == {"right"})
        check(f"the census is whole after {await until_whole(client, 90):.1f} s", fact=True)


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
        for name in ("n1", "n2"):
            proxies.append(DelayProxy(cluster.port + PEER_PORT_OFFSET + 3))
            cluster.set_peer_port(name, "n3", await proxies[-1].start())
        for name in ("n1", "n2"):
            proxies.append(DelayProxy(cluster.port + PEER_PORT_OFFSET + int(name[1:])))
            cluster.set_peer_port("n3", name, await proxies[-1].start())
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


async def space(stage: Stage) -> None:
    """Deleted and overwritten contents leave the disks, without a restart."""
    async with stage.cluster(3) as (cluster, client):
        await cluster.start()
        empty = sum(cluster.size_bytes(name) for name in cluster.names)
        sizes = [int(4096 * 2048 ** client.rng.random()) for _ in range(stage.files)]

        async def fill(numbers: list[int]) -> None:
            while numbers:
                number = numbers.pop()
                await client.put(f"demo/f{number}", sizes[number], cluster.names)

        numbers = list(range(len(sizes)))
        await asyncio.gather(*(fill(numbers) for _ in range(8)))
        filled = sum(cluster.size_bytes(name) for name in cluster.names)
        for path in list(client.held):
            async with client.session.delete(f"{cluster.url('n1')}/v1/files/{path}") as response:
                await response.read()
        client.held.clear()

        async def is_empty() -> bool:
            return sum(cluster.size_bytes(name) for name in cluster.names) - empty < 0.1 * (filled - empty)

        took_s = await until(is_empty, 120, "less than a tenth left")
        left = sum(cluster.size_bytes(name) for name in cluster.names)
        check(
            f"{len(sizes)} files deleted: {filled / MIB:.0f} MiB on disk, {left / MIB:.0f} MiB {took_s:.0f} s later",
            fact=True,
        )
        for _ in range(stage.overwrites):
            await client.put("demo/again", 256 * MIB, ["n1"])

        async def is_small() -> bool:
            return all(cluster.size_bytes(name) < 2 * 256 * MIB + left // 3 for name in cluster.names)

        took_s = await until(is_small, 120, "at most two copies' worth")
        check(
            f"{stage.overwrites} overwrites of 256 MiB: at most two copies' worth a node after {took_s:.0f} s",
            fact=True,
        )
        outcomes = await client.read_all(cluster.names)
        check(f"the newest is right: {outcomes}", set(outcomes) == {"right"})


CHECKS = {one.__name__: one for one in (kill, wipe, refill, rot, full, power, clocks, slow, space)}


def main() -> None:
    """Run the checks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--keep", type=Path, help="leave data and logs in this directory")
    parser.add_argument("--files", type=int, default=1500, help="files that `space` makes and deletes")
    parser.add_argument("--overwrites", type=int, default=12, help="times that `space` overwrites 256 MiB")
    parser.add_argument("names", nargs="*", choices=[*CHECKS, []], metavar="NAME")
    chosen = parser.parse_args()
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: nothing a node leaves behind outlives this run
    say(f"seed {chosen.seed}")
    root = chosen.keep or Path(tempfile.mkdtemp(prefix="dynafs-faults-"))
    for name in chosen.names or CHECKS:
        say(f"{name}: {CHECKS[name].__doc__}")
        stage = Stage(root / name, chosen.seed, chosen.files, chosen.overwrites)
        try:
            asyncio.run(CHECKS[name](stage))
        finally:
            for where in list(stage.mounts):
                stage.unmount(where)
            if not chosen.keep:
                shutil.rmtree(stage.path, ignore_errors=True)
    say("all checks passed")


if __name__ == "__main__":
    sys.exit(main())
