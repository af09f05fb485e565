"""Real processes under load, killed with SIGKILL at random moments."""

import asyncio
import math
import random
import time
from pathlib import Path

import aiohttp
import pytest

from dynafs.sim.linearizability import Operation, first_violation, is_linearizable
from tests.support.one_shot import one_shot_session
from tests.support.processes import ProcessCluster

pytestmark = pytest.mark.slow
CLIENT_TIMEOUT = aiohttp.ClientTimeout(total=8)


@pytest.fixture
async def running(tmp_path: Path):
    """Return three running processes."""
    made = ProcessCluster(tmp_path)
    await made.start()
    yield made
    assert set((await made.stop()).values()) == {0}, "a node did not stop cleanly"


class Recorder:
    """Clients that read, write and delete a few files through random nodes and write down what they saw."""

    def __init__(self, cluster: ProcessCluster, rng: random.Random, files: int) -> None:
        self.cluster, self.rng = cluster, rng
        self.history: dict[str, list[Operation]] = {f"f{i}": [] for i in range(files)}
        self.count = 0
        self.stopped = False

    async def client(self, session: aiohttp.ClientSession) -> None:
        while not self.stopped:
            name = self.rng.choice(list(self.history))
            url = f"{self.cluster.url(self.rng.choice(self.cluster.names))}/v1/files/demo/{name}"
            kind = self.rng.choices(["read", "put", "delete"], [6, 4, 1])[0]
            await {"read": self.read, "put": self.put, "delete": self.delete}[kind](session, name, url)

    async def read(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        called = time.monotonic()
        try:
            async with session.get(url) as response:
                body = await response.text()
                if response.status in (200, 404):
                    value = body[:20].rstrip() if response.status == 200 else None
                    self.history[name].append(Operation("read", value, called, time.monotonic()))
                else:
                    assert response.status == 503, body
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.01)

    async def put(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        self.count += 1
        value = f"v{self.count}"
        # Some small and inline, some in chunks; the value stands at the front, the rest must come along whole.
        body = value.ljust(20).encode() + b"." * self.rng.choice([0, 100, 150_000])
        await self.write(session.put(url, data=body), name, value, 201)

    async def delete(self, session: aiohttp.ClientSession, name: str, url: str) -> None:
        called = time.monotonic()
        outcome = await self.write(session.delete(url), name, None, 204)
        if outcome == 404:
            self.history[name].append(Operation("read", None, called, time.monotonic()))

    async def write(self, request, name: str, value: str | None, good: int) -> int:
        called = time.monotonic()
        try:
            async with request as response:
                told = await response.json() if response.status >= 400 else {}
                if response.status == good:
                    self.history[name].append(Operation("write", value, called, time.monotonic()))
                elif response.status != 404 and told["error"].get("outcome") != "not_written":
                    assert response.status == 503, told
                    if told["error"]["code"] != "read_quorum_lost":
                        self.history[name].append(Operation("write", value, called, math.inf))
                return response.status
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(0.01)  # never sent
        except (aiohttp.ClientError, TimeoutError):
            self.history[name].append(Operation("write", value, called, math.inf))
        return 0

    def check(self) -> None:
        for name, operations in self.history.items():
            assert is_linearizable(operations), (
                f"{name} is not linearizable from here on: {first_violation(operations)}"
            )


async def test_history_is_linearizable_while_one_node_at_a_time_is_killed(running, rng: random.Random) -> None:
    """Goal: strong mode is a linearizable register per file. Method: random clients, random SIGKILLs of single nodes,
    then a checker over everything that was seen."""
    recorder = Recorder(running, rng, files=6)
    async with one_shot_session(CLIENT_TIMEOUT) as session:
        clients = [asyncio.create_task(recorder.client(session)) for _ in range(6)]
        for _ in range(3):
            name = rng.choice(running.names)
            await asyncio.sleep(rng.uniform(0.2, 0.8))
            await running.kill(name)
            await asyncio.sleep(rng.uniform(0.2, 0.8))
            await running.start(name)
        recorder.stopped = True
        await asyncio.gather(*clients)
        for name in recorder.history:
            for node in running.names:
                await recorder.read(session, name, f"{running.url(node)}/v1/files/demo/{name}")
    total = sum(map(len, recorder.history.values()))
    print(f"{total} operations recorded")
    assert total > 100
    recorder.check()


async def test_no_acknowledged_file_is_lost_when_all_nodes_are_killed_under_load(running, rng: random.Random) -> None:
    """Goal: 201 means durable. Method: clients PUT new files; all nodes are killed at a random moment, several times
    over; every acknowledged file is read back whole."""
    acknowledged: dict[str, int] = {}
    async with one_shot_session(CLIENT_TIMEOUT) as session:
        for round_number in range(4):
            stopped = False

            async def client(number: int, round_number: int = round_number) -> None:
                count = 0
                while not stopped:  # noqa: B023
                    count += 1
                    name, seed = f"{round_number}-{number}-{count}", rng.randrange(2**32)
                    body = random.Random(seed).randbytes(rng.choice([10, 5_000, 100_000, 1_500_000]))
                    node = rng.choice(running.names)
                    try:
                        async with session.put(f"{running.url(node)}/v1/files/load/{name}", data=body) as response:
                            if response.status == 201:
                                acknowledged[name] = hash(body)
                    except (aiohttp.ClientError, TimeoutError):
                        await asyncio.sleep(0.01)

            clients = [asyncio.create_task(client(i)) for i in range(6)]
            await asyncio.sleep(rng.uniform(0.3, 1.0))
            await running.kill(*running.names)
            stopped = True
            await asyncio.gather(*clients)
            await running.start()
            for name, expected in acknowledged.items():
                async with session.get(f"{running.url(rng.choice(running.names))}/v1/files/load/{name}") as response:
                    body = await response.read()
                    assert (response.status, hash(body)) == (200, expected), f"{name} was acknowledged and is not there"
    print(f"{len(acknowledged)} files acknowledged")
    assert len(acknowledged) > 20


async def test_with_two_of_three_killed_answers_come_within_five_seconds(running) -> None:
    """Killed, not stopped: 503 with the right codes, never a hang, never a 404 for a file that exists."""
    async with one_shot_session(CLIENT_TIMEOUT) as session:
        url = f"{running.url('n1')}/v1/files/demo/f"
        async with session.put(url, data=b"x" * 200_000) as response:
            assert response.status == 201
        await running.kill("n2", "n3")
        for method, code in (("GET", "read_quorum_lost"), ("PUT", "write_quorum_lost"), ("DELETE", "read_quorum_lost")):
            started = time.monotonic()
            data = b"y" * 200_000 if method == "PUT" else None
            async with session.request(method, url, data=data) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (503, code)
            assert time.monotonic() - started < 5
        await running.start("n2", "n3")
        async with session.get(url) as response:
            assert await response.read() == b"x" * 200_000
