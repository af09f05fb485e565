"""A client for fault tests that remembers what was confirmed to it."""

import asyncio
import hashlib
import random
import time

import aiohttp

from tests.support.processes import ProcessCluster

CLIENT_TIMEOUT = aiohttp.ClientTimeout(total=30)


def contents(seed: int, size: int) -> bytes:
    """Return bytes that follow from a seed, no MiB of them like another."""
    base, pieces = random.Random(seed).randbytes(min(size, 1 << 20)), range(-(-size // (1 << 20)))
    return b"".join(base[:-8] + (number ^ seed).to_bytes(8, "big") for number in pieces)[:size] if size >= 8 else base


class Client:
    """Writes files whose contents follow from their names, and remembers what was acknowledged."""

    def __init__(self, cluster: ProcessCluster, session: aiohttp.ClientSession, seed: int) -> None:
        self.cluster, self.session, self.rng = cluster, session, random.Random(seed)
        #: {path: (seed of the contents, size in bytes)} of confirmed writes
        self.held: dict[str, tuple[int, int]] = {}
        #: paths with a write of unknown outcome: every content is accepted
        self.unknown: set[str] = set()
        self.latencies_s: list[float] = []
        self.failures: dict[str, int] = {}

    async def put(self, path: str, size: int, nodes: list[str]) -> int:
        """Write a file through any of the nodes; return the status, 0 when the connection broke."""
        seed = self.rng.randrange(2**32)
        url = f"{self.cluster.url(self.rng.choice(nodes))}/v1/files/{path}"
        try:
            async with self.session.put(url, data=contents(seed, size)) as response:
                reply = await response.json()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status, reply = 0, {}
        if status == 201:
            self.held[path] = (seed, size)
            self.unknown.discard(path)
        else:
            code = reply.get("error", {}).get("code", str(status))
            self.failures[code] = self.failures.get(code, 0) + 1
            if status == 0 or reply.get("error", {}).get("outcome") == "unknown":
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
        """Read every confirmed file through random nodes; return {outcome: how often}."""
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
