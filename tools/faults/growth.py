#!/usr/bin/env python3
"""Change the ring of real nodes under load, and check that no client notices.

    tools/dev test-growth [--seed S] [--files N] [--keep DIR]

Three nodes become five, then eight; one is replaced, one killed and started again while that goes on; then nodes leave
until four are left. Clients write and read a few files all the time, through every node: no request may fail except at
the one that was killed, what they saw must be linearizable, the bulk written before must be there, and the census whole
after every change. NodeReport are the bytes moved, against the least that would do, how fast, and what clients waited.
"""

import argparse
import asyncio
import contextlib
import math
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec

from dynafs.cli.dev_settings import prepare_newcomer
from dynafs.sim.linearizability import Operation, first_violation, is_linearizable
from tests.support.processes import QUICK_HEALING, ProcessCluster
from tools.faults.client import CLIENT_TIMEOUT, Client
from tools.faults.telling import check, say

MIB = 1 << 20
NODES_MAX = 9
#: Files that clients write over and over, and bodies of them.
HOT_FILES, SIZES = 12, (20, 3_000, 70_000, 400_000)
CHANGE_MAX_S = 240.0


class GrowingCluster(ProcessCluster):
    """A cluster that newcomers can be started beside."""

    async def add(self) -> str:
        """Start one more node, which knows the secret and one other; return its name."""
        number, _, path = prepare_newcomer(self.path)
        name = f"n{number}"
        self.add_sections(path)
        self.configs[name] = path
        await self.start(name)
        self.names.append(name)
        return name


class Load:
    """Clients that write and read hot files, and write down what they saw."""

    def __init__(self, cluster: ProcessCluster, session: aiohttp.ClientSession, seed: int) -> None:
        self.cluster, self.session, self.rng = cluster, session, random.Random(seed)
        self.history: dict[str, list[Operation]] = {f"hot{number}": [] for number in range(HOT_FILES)}
        self.waits_s: list[float] = []
        #: problems at nodes that were not down
        self.failures: list[str] = []
        self.down: set[str] = set()
        #: nodes that were killed: who waited for them may be told that nobody knows what became of a write
        self.killed: set[str] = set()
        self.count, self.is_over = 0, False
        #: cleared while a census is taken: a write on its way is not whole yet
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def work(self) -> None:
        while not self.is_over:
            path, node = self.rng.choice(list(self.history)), self.rng.choice(self.cluster.names)
            if node in self.down:
                continue
            await self.may_write.wait()
            called = time.monotonic()
            is_read = self.rng.random() < 0.6
            try:
                await (self.read(path, node, called) if is_read else self.write(path, node, called))
            except (aiohttp.ClientError, TimeoutError) as error:
                if node not in self.down:
                    self.failures.append(f"{node}: {error!r}")
            self.waits_s.append(time.monotonic() - called)
            await asyncio.sleep(0.01)

    async def read(self, path: str, node: str, called: float) -> None:
        async with self.session.get(f"{self.cluster.url(node)}/v1/files/hot/{path}") as response:
            body = await response.read()
        if response.status in (200, 404):
            value = body[:16].decode().strip() if response.status == 200 else None
            self.history[path].append(Operation("read", value, called, time.monotonic()))
        elif node not in self.down:
            self.failures.append(f"GET {path} through {node}: {response.status} {body[:300]!r}")

    async def write(self, path: str, node: str, called: float) -> None:
        self.count += 1
        value = f"v{self.count}"
        body = value.ljust(16).encode() + b"." * self.rng.choice(SIZES)
        returned = math.inf
        try:
            async with self.session.put(f"{self.cluster.url(node)}/v1/files/hot/{path}", data=body) as response:
                told = await response.read()
            if response.status == 201:
                returned = time.monotonic()
            elif node not in self.down and not any(f'"{one}"'.encode() in told for one in self.killed):
                self.failures.append(f"PUT {path} through {node}: {response.status} {told[:300]!r}")
        finally:
            self.history[path].append(Operation("write", value, called, returned))

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of what clients waited since the last call."""
        ordered, self.waits_s = sorted(self.waits_s), []
        return 1000 * ordered[int(share * (len(ordered) - 1))]


class Operator:
    """Changes the ring through a node, and tells what it took."""

    def __init__(self, client: Client, load: Load) -> None:
        self.client, self.load = client, load

    async def change(self, via: str, *changes: dict[str, object]) -> None:
        """Stage and commit changes, wait until they are over."""
        await self._wait_heard(via, {str(one.get("by", one["node"])) for one in changes if one["kind"] != "leave"})
        for change in changes:
            plan = await self._post(via, "stage", change)
        before_ms = self.load.percentile_ms(0.99)
        began = time.monotonic()
        await self._post(via, "commit", {"hash": plan["hash"]})
        await self._wait_over(via, plan["epoch"] + 1)
        took_s = time.monotonic() - began
        during_ms = self.load.percentile_ms(0.99)
        moved_mib = plan["moves_bytes"] / MIB
        check(
            f"{', '.join(plan['staged'])}: {took_s:.1f} s, {plan['moves']} copies moved, at least {plan['moves_min']}; "
            f"about {moved_mib:.0f} MiB, {moved_mib / took_s:.0f} MiB/s; "
            f"p99 of clients {before_ms:.0f} ms before, {during_ms:.0f} ms meanwhile; failed: {self.load.failures[:3]}",
            not self.load.failures,
        )

    async def whole(self, via: str) -> None:
        """Wait for a census that finds all copies of everything."""
        began = time.monotonic()
        self.load.may_write.clear()
        while not (report := await self.client.census(via))["is_whole"]:
            if time.monotonic() - began > CHANGE_MAX_S:
                raise SystemExit(f"FAILED: the census is not whole: {report}")
            await asyncio.sleep(1.0)
        self.load.may_write.set()
        check(f"the census is whole {time.monotonic() - began:.1f} s later", fact=True)

    async def _wait_heard(self, via: str, newcomers: set[str]) -> None:
        """Wait until a node has heard of newcomers."""
        while True:
            async with self.client.session.get(f"{self.client.cluster.url(via)}/v1/ring/status") as response:
                if newcomers <= set((await response.json())["waiting"]):
                    return
            await asyncio.sleep(0.1)

    async def _post(self, via: str, action: str, body: dict[str, object]) -> dict:
        url = f"{self.client.cluster.url(via)}/v1/ring/{action}"
        async with self.client.session.post(url, data=msgspec.json.encode(body)) as response:
            told = await response.json()
        if response.status != 200:
            raise SystemExit(f"FAILED: {action} {body}: {told}")
        return told

    async def _wait_over(self, via: str, epoch: int) -> None:
        async with asyncio.timeout(CHANGE_MAX_S):
            while True:
                told = await self.client.json(via, "/v1/ring/transfers")
                if told.get("step") == "stable" and told["epoch"] == epoch:
                    return
                await asyncio.sleep(0.2)


async def grow(path: Path, seed: int, files: int) -> None:
    """Three, five, eight, one replaced, four."""
    cluster = GrowingCluster(path, 3, room=NODES_MAX, healing=QUICK_HEALING)
    async with contextlib.AsyncExitStack() as stack:
        # One connection for each request: a node that is killed must not cost a request that it never got.
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=CLIENT_TIMEOUT))
        stack.push_async_callback(cluster.stop)
        await cluster.start()
        client, load = Client(cluster, session, seed), Load(cluster, session, seed)
        for number in range(files):
            await client.put(f"bulk/{number}", client.rng.choice([3_000, 300_000, 3 * MIB]), cluster.names)
        say(f"{files} files of bulk are there, {sum(size for _, size in client.held.values()) / MIB:.0f} MiB")
        workers = [asyncio.create_task(load.work()) for _ in range(4)]
        operator = Operator(client, load)
        await asyncio.sleep(3.0)
        for count in (2, 3):
            joins = [{"kind": "join", "node": await cluster.add()} for _ in range(count)]
            await operator.change("n1", *joins)
            await operator.whole("n1")
        name = await cluster.add()
        replacing = asyncio.create_task(operator.change("n1", {"kind": "replace", "node": "n2", "by": name}))
        await _kill_one(cluster, load, "n5")
        await replacing
        await operator.whole("n1")
        await operator.change("n3", {"kind": "leave", "node": "n1"}, {"kind": "leave", "node": "n8"})
        await operator.whole("n3")
        await operator.change("n3", {"kind": "leave", "node": "n4"}, {"kind": "leave", "node": "n6"})
        await operator.whole("n3")
        load.is_over = True
        await asyncio.gather(*workers)
        _check_history(load)
        outcomes = await client.read_all(["n3", "n5", "n7", "n9"])
        check(f"everything acknowledged is read back: {outcomes}", set(outcomes) == {"right"})


async def _kill_one(cluster: ProcessCluster, load: Load, name: str) -> None:
    """Kill a node with SIGKILL in the middle of a change, and start it again."""
    await asyncio.sleep(0.3)
    load.down.add(name)
    load.killed.add(name)
    await cluster.kill(name)
    await asyncio.sleep(2.0)
    await cluster.start(name)
    load.down.discard(name)
    await asyncio.sleep(5.0)
    load.killed.discard(name)
    say(f"{name} was killed and started again meanwhile")


def _check_history(load: Load) -> None:
    total = sum(map(len, load.history.values()))
    check(f"{total} requests, failed: {load.failures[:3]}", not load.failures)
    for path, operations in load.history.items():
        if not is_linearizable(operations):
            raise SystemExit(f"FAILED: {path} is not linearizable from here on: {first_violation(operations)}")
    check("what clients saw is linearizable", fact=True)


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--files", type=int, default=120, help="files of bulk")
    parser.add_argument("--keep", type=Path, help="leave data and logs in this directory")
    chosen = parser.parse_args()
    say(f"seed {chosen.seed}")
    path = chosen.keep or Path(tempfile.mkdtemp(prefix="dynafs-growth-"))
    try:
        asyncio.run(grow(path, chosen.seed, chosen.files))
    finally:
        if not chosen.keep:
            shutil.rmtree(path, ignore_errors=True)
    say("all checks passed")


if __name__ == "__main__":
    sys.exit(main())
