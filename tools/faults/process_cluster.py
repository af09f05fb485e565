"""Real nodes for fault tests: processes that can be killed, wiped, skewed and slowed, and a client that remembers."""

import asyncio
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp

from dynafs.cli.dev_settings import PEER_PORT_OFFSET, prepare

#: Healing at the pace of a test. Everything else has its default.
QUICK_HEALING = {
    "handoff_interval_s": 2.0, "anti_entropy_interval_s": 20.0, "anti_entropy_after_return_s": 1.0,
    "walk_interval_s": 60.0, "collection_interval_s": 1.0, "collection_grace_s": 4.0, "compaction_interval_s": 2.0,
}  # fmt: skip
CLIENT_TIMEOUT = aiohttp.ClientTimeout(total=30)


def free_ports(count: int) -> int:
    """Return a port with `count` free ones from it on, for HTTP and for peers."""
    for _ in range(100):
        first = random.randrange(20_000, 30_000)
        wanted = [first + i for i in range(count)] + [first + PEER_PORT_OFFSET + i for i in range(1, count + 1)]
        with contextlib.ExitStack() as stack:
            try:
                for port in wanted:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise SystemExit("no free ports")


class Cluster:
    """Nodes n1, n2, …, each a process with a settings file below `path`."""

    def __init__(self, path: Path, count: int, room: int = 0, **sections: dict[str, object]) -> None:
        """room: ports to find for this many nodes, if that is more. sections: settings of every node besides those that
        `dynafs dev` writes."""
        self.path, self.names = path, [f"n{i}" for i in range(1, count + 1)]
        self.port = free_ports(max(count, room))
        self.configs = dict(zip(self.names, prepare(count, self.port, path), strict=True))
        for config in self.configs.values():
            with config.open("a") as file:
                for section, values in {"healing": QUICK_HEALING, **sections}.items():
                    file.write(f"\n[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.environment: dict[str, dict[str, str]] = {}

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port + int(name[1:]) - 1}"

    def peer_port(self, name: str) -> int:
        return self.port + PEER_PORT_OFFSET + int(name[1:])

    def data(self, name: str) -> Path:
        return self.path / name

    def set_peer_port(self, name: str, peer: str, port: int) -> None:
        """Have one node look for a peer elsewhere: at a proxy."""
        old = self.peer_port(peer)
        config = self.configs[name]
        config.write_text(
            re.sub(rf'(node = "{peer}"\naddress = "127.0.0.1):{old}"', rf'\1:{port}"', config.read_text())
        )

    async def start(self, *names: str) -> None:
        for name in names or self.names:
            with (self.path / f"{name}.log").open("ab") as log:
                self.processes[name] = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "dynafs", "serve", "--config", str(self.configs[name]),
                    stdout=log, stderr=log, env={**os.environ, **self.environment.get(name, {})},
                )  # fmt: skip
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session, asyncio.timeout(60):
            for name in names or self.names:
                while await _status(session, f"{self.url(name)}/readyz") != 200:
                    if self.processes[name].returncode is not None:
                        raise SystemExit(f"{name} ended: {(self.path / f'{name}.log').read_text()[-1500:]}")
                    await asyncio.sleep(0.1)

    async def kill(self, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            await self.processes.pop(name).wait()

    async def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        self.processes.clear()

    def wipe(self, name: str) -> None:
        """Empty a stopped node's data directory."""
        for entry in self.data(name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def size_bytes(self, name: str) -> int:
        """Return what a node keeps on disk."""
        total = 0
        for file in self.data(name).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size if file.is_file() else 0
        return total


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    try:
        async with session.get(url) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


def contents(seed: int, size: int) -> bytes:
    """Return bytes that follow from a seed, no MiB of them like another."""
    base, pieces = random.Random(seed).randbytes(min(size, 1 << 20)), range(-(-size // (1 << 20)))
    return b"".join(base[:-8] + (number ^ seed).to_bytes(8, "big") for number in pieces)[:size] if size >= 8 else base


class Client:
    """Writes files whose contents follow from their names, and remembers what was acknowledged."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession, seed: int) -> None:
        self.cluster, self.session, self.rng = cluster, session, random.Random(seed)
        #: {path: (seed of the contents, size)} of acknowledged writes
        self.held: dict[str, tuple[int, int]] = {}
        #: paths with a write of unknown outcome: anything goes
        self.unknown: set[str] = set()
        self.latencies_s: list[float] = []
        self.failures: dict[str, int] = {}

    async def put(self, path: str, size: int, nodes: list[str]) -> int:
        """Write a file through any of the nodes; return the status, 0 when the connection broke."""
        seed = self.rng.randrange(2**32)
        url = f"{self.cluster.url(self.rng.choice(nodes))}/v1/files/{path}"
        try:
            async with self.session.put(url, data=contents(seed, size)) as response:
                told = await response.json()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status, told = 0, {}
        if status == 201:
            self.held[path] = (seed, size)
            self.unknown.discard(path)
        else:
            code = told.get("error", {}).get("code", str(status))
            self.failures[code] = self.failures.get(code, 0) + 1
            if status == 0 or told.get("error", {}).get("outcome") == "unknown":
                self.unknown.add(path)
        return status

    async def get(self, path: str, node: str) -> str:
        """Read a file; return "right", "wrong", "missing", or why there was no answer."""
        started = time.monotonic()
        try:
            async with self.session.get(f"{self.cluster.url(node)}/v1/files/{path}") as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"no answer ({type(error).__name__})"
        self.latencies_s.append(time.monotonic() - started)
        if response.status == 404:
            return "missing"
        if response.status != 200:
            return f"status {response.status}"
        seed, size = self.held[path]
        right = hashlib.blake2b(contents(seed, size)).digest() == hashlib.blake2b(body).digest()
        return "right" if right else "wrong"

    async def read_all(self, nodes: list[str], at_once: int = 8) -> dict[str, int]:
        """Read everything acknowledged through random nodes; return {outcome: how often}."""
        paths, outcomes = sorted(set(self.held) - self.unknown), dict[str, int]()

        async def work() -> None:
            while paths:
                outcome = await self.get(paths.pop(), self.rng.choice(nodes))
                outcomes[outcome] = outcomes.get(outcome, 0) + 1

        await asyncio.gather(*(work() for _ in range(at_once)))
        return outcomes

    async def json(self, node: str, path: str, method: str = "GET") -> dict:
        async with self.session.request(method, f"{self.cluster.url(node)}{path}") as response:
            return await response.json()

    async def census(self, node: str = "n1", *, deep: bool = False) -> dict:
        """Take a census and return what it counted."""
        before = await self._runs(node, "census")
        await self.json(node, f"/v1/jobs/census/start{'?deep=true' if deep else ''}", "POST")
        await self._wait_run(node, "census", before)
        return await self.json(node, "/v1/census")

    async def scrub(self, node: str) -> None:
        """Have a node read all it stores, and wait until it has."""
        before = await self._runs(node, "scrub")
        await self.json(node, "/v1/jobs/scrub/start", "POST")
        await self._wait_run(node, "scrub", before)

    async def _wait_run(self, node: str, job: str, before: int) -> None:
        while True:
            if await self._runs(node, job) != before:
                return
            await asyncio.sleep(0.1)

    async def _runs(self, node: str, job: str) -> int:
        return next(one["runs"] for one in (await self.json(node, "/v1/jobs"))["jobs"] if one["name"] == job)

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of the reads since the last call, and forget them."""
        ordered, self.latencies_s = sorted(self.latencies_s), []
        return 1000 * ordered[int(share * (len(ordered) - 1))]
