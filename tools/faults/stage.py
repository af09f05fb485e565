"""What every check that breaks real nodes uses: a cluster in its own directory, load, and waiting with a limit."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.processes import QUICK_HEALING, ProcessCluster
from tools.faults.client import CLIENT_TIMEOUT, Client
from tools.faults.telling import say

MIB = 1 << 20


def run(*command: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"FAILED: {' '.join(command)}")


class Stage:
    """A directory and a seed for one check."""

    def __init__(self, path: Path, seed: int, files: int, overwrites: int) -> None:
        """files, overwrites: how many `space` makes."""
        # Nodes and libraries are started with paths below it, from other directories.
        path = path.resolve()
        self.path, self.seed, self.files, self.overwrites = path, seed, files, overwrites
        path.mkdir(parents=True, exist_ok=True)
        self.mounts: list[Path] = []

    @asynccontextmanager
    async def cluster(self, count: int, **sections: dict[str, object]) -> AsyncIterator[tuple[ProcessCluster, Client]]:
        """Make a cluster that is not started yet, and a client; stop it in the end."""
        cluster = ProcessCluster(self.path, count, **{"healing": QUICK_HEALING, **sections})
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
