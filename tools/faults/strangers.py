#!/usr/bin/env python3
"""Hold thousands of connections that do nothing useful to real nodes, and check that other clients do not notice.

    tools/dev test-strangers [KIND ...] [--connections N] [--seconds S] [--keep DIR]

Well-behaved clients write and read files of 4 KiB, at first alone, then beside each kind of strangers, then beside all
of them at once:

    idle      connections without a request
    half      half of a request header
    trickle   uploads of one byte a minute
    unread    downloads of a large file that are not read
    seats     five uploads of one byte each into a bucket with chunks of 16 MiB

Strangers come from 127.0.0.2, well-behaved clients from 127.0.0.3. Checked for each: the rate is at least 80 % of the
rate alone, no request fails, a node stays below 400 MiB, and its descriptors are given back when the strangers left.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.support.processes import QUICK_HEALING, ProcessCluster
from tools.faults.telling import check, say

KIB, MIB = 1 << 10, 1 << 20
STRANGER, HONEST = "127.0.0.2", "127.0.0.3"
KINDS = ("idle", "half", "trickle", "unread", "seats")
#: Uploads that hold a chunk each would stop all others with so few.
SEATS = 5
WORKERS = 16
RATE_SHARE_MIN = 0.8
RESIDENT_MIB_MAX = 400
#: Descriptors that a node may open meanwhile for other reasons: segments, connections to peers.
DESCRIPTORS_SPARE = 40
COME_S_MAX, LEFT_S_MAX = 10.0, 90.0
HEADS = {
    "idle": b"",
    "half": b"GET /v1/files/strangers/large HTTP/1.1\r\nHost: local",
    "trickle": b"PUT /v1/files/strangers/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx",
    "unread": b"GET /v1/files/strangers/large HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "seats": b"PUT /v1/files/huge/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\nx",
}  # fmt: skip


class Silent(asyncio.Protocol):
    """Sends a beginning, then a byte a minute if it is an upload, and reads nothing."""

    def __init__(self, head: bytes, *, is_upload: bool) -> None:
        self.head, self.is_upload, self.is_open = head, is_upload, False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.is_open = transport, True
        transport.pause_reading()
        transport.write(self.head)
        if self.is_upload:
            asyncio.get_running_loop().call_later(60, self.go_on)

    def go_on(self) -> None:
        if self.is_open:
            self.transport.write(b"x")
            asyncio.get_running_loop().call_later(60, self.go_on)

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False


class Strangers:
    """A number of connections of one kind, spread over the nodes; one that is closed is replaced."""

    def __init__(self, cluster: ProcessCluster, kind: str, count: int) -> None:
        self.cluster, self.kind, self.count = cluster, kind, count
        self.held: set[Silent] = set()
        self.are_there = asyncio.Event()
        self.numbers = itertools.count()
        self.task: asyncio.Task[None] | None = None

    async def come(self) -> None:
        self.task = asyncio.create_task(self.hold())
        # As many as are let in come within this time; a node may refuse the others.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.are_there.wait(), COME_S_MAX)

    async def hold(self) -> None:
        while True:
            self.held = {one for one in self.held if one.is_open}
            missing = min(100, self.count - len(self.held))
            if not missing:
                self.are_there.set()
            await asyncio.gather(*(self.open() for _ in range(missing)))
            await asyncio.sleep(0.1)

    async def open(self) -> None:
        number = next(self.numbers)
        head = HEADS[self.kind]
        head = head % number if b"%d" in head else head
        port = self.cluster.port + (0 if self.kind == "seats" else number % len(self.cluster.names))
        with contextlib.suppress(OSError):
            _, one = await asyncio.get_running_loop().create_connection(
                lambda: Silent(head, is_upload=self.kind in ("trickle", "seats")),
                "127.0.0.1", port, local_addr=(STRANGER, 0),
            )  # fmt: skip
            self.held.add(one)

    async def leave(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        for one in self.held:
            if one.transport is not None:
                one.transport.abort()


class Load:
    """Well-behaved clients, and what became of their requests."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self.cluster, self.numbers = cluster, itertools.count()
        self.done, self.failures = 0, dict[str, int]()

    async def run(self, seconds: float) -> float:
        """Return requests per second; half of them write, half read what was written."""
        self.done, self.failures = 0, {}
        connector = aiohttp.TCPConnector(local_addr=(HONEST, 0))
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
            started = time.monotonic()
            await asyncio.gather(*(self.work(session, started + seconds) for _ in range(WORKERS)))
            return self.done / (time.monotonic() - started)

    async def work(self, session: aiohttp.ClientSession, until: float) -> None:
        while time.monotonic() < until:
            number = next(self.numbers)
            url = f"{self.cluster.url(f'n{number % 3 + 1}')}/v1/files/honest/{number % 1000}"
            await self.ask(session.put(url, data=os.urandom(4 * KIB)))
            await self.ask(session.get(url))

    async def ask(self, request: contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]) -> None:
        try:
            async with request as response:
                await response.read()
                outcome = str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = type(error).__name__
        if outcome in ("200", "201"):
            self.done += 1
        else:
            self.failures[outcome] = self.failures.get(outcome, 0) + 1


def resident_mib(pid: int) -> int:
    """Return a process's resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) >> 10


def descriptors(cluster: ProcessCluster) -> dict[str, int]:
    return {name: len(os.listdir(f"/proc/{one.pid}/fd")) for name, one in cluster.processes.items()}


async def prepare(cluster: ProcessCluster) -> None:
    """Write what strangers ask for."""
    async with aiohttp.ClientSession() as session:
        for bucket, policy in (("huge", {"chunk_size_bytes": 16 * MIB}), ("strangers", {}), ("honest", {})):
            async with session.put(f"{cluster.url('n1')}/v1/buckets/{bucket}", json=policy) as response:
                check(f"bucket {bucket} is there", response.status == 201)
        async with session.put(f"{cluster.url('n1')}/v1/files/strangers/large", data=os.urandom(64 * MIB)) as response:
            check("the large file is there", response.status == 201)


async def judge(
    cluster: ProcessCluster, load: Load, kinds: list[str], alone: float, options: argparse.Namespace
) -> list[str]:
    """Let strangers of these kinds come, measure, and let them leave; return what was not as it should be."""
    before = descriptors(cluster)
    share = options.connections // len(kinds)
    crowd = [Strangers(cluster, kind, SEATS if kind == "seats" else share) for kind in kinds]
    await asyncio.gather(*(one.come() for one in crowd))
    rate = await load.run(options.seconds)
    memory = {name: resident_mib(one.pid) for name, one in cluster.processes.items()}
    held = sum(len(one.held) for one in crowd)
    await asyncio.gather(*(one.leave() for one in crowd))
    left_s, deadline = 0.0, time.monotonic() + LEFT_S_MAX
    while (now := descriptors(cluster)) and time.monotonic() < deadline:
        if all(now[name] <= before[name] + DESCRIPTORS_SPARE for name in before):
            break
        await asyncio.sleep(0.5)
        left_s += 0.5
    say(
        f"{'+'.join(kinds)}: {held} held, {rate:.0f} requests/s ({rate / alone:.0%} of alone), "
        f"failures {load.failures or 'none'}, resident MiB {memory}, descriptors {before} -> {now} after {left_s:g} s"
    )
    problems = []
    if rate < RATE_SHARE_MIN * alone:
        problems.append(f"the rate fell to {rate / alone:.0%}")
    if load.failures:
        problems.append(f"requests failed: {load.failures}")
    if max(memory.values()) > RESIDENT_MIB_MAX:
        problems.append(f"a node has {max(memory.values())} MiB")
    if any(now[name] > before[name] + DESCRIPTORS_SPARE for name in before):
        problems.append(f"descriptors were not given back: {before} -> {now}")
    return [f"{'+'.join(kinds)}: {problem}" for problem in problems]


async def run(options: argparse.Namespace, path: Path) -> list[str]:
    """Return all that was not as it should be."""
    cluster = ProcessCluster(path, 3, healing=QUICK_HEALING)
    try:
        await cluster.start()
        await prepare(cluster)
        load = Load(cluster)
        await load.run(options.seconds / 2)
        alone = await load.run(options.seconds)
        check(f"no request failed without strangers: {load.failures or 'none'}", not load.failures)
        say(f"alone: {alone:.0f} requests/s")
        problems = []
        kinds = options.kinds or list(KINDS)
        for one in [[kind] for kind in kinds] + ([kinds] if len(kinds) > 1 else []):
            problems += await judge(cluster, load, one, alone, options)
        return problems
    finally:
        await cluster.stop()


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    path = options.keep or Path(tempfile.mkdtemp(prefix="strangers-"))
    try:
        problems = asyncio.run(run(options, path))
    finally:
        if options.keep is None:
            shutil.rmtree(path, ignore_errors=True)
    for problem in problems:
        print(f"wrong: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
