"""Restarting all nodes of a cluster of real processes, one after another, while it is used."""

import asyncio
import json
import os
from pathlib import Path

import aiohttp

from tests.cli.test_commands import dynafs
from tests.support.processes import ProcessCluster


async def test_rolling_restart_is_not_noticed(tmp_path: Path) -> None:
    """Every node is started anew in its own process, and whoever asks another one meanwhile is always served."""
    cluster = ProcessCluster(tmp_path)
    try:
        await cluster.start()
        before = await started(cluster)
        pids = {name: process.pid for name, process in cluster.processes.items()}
        is_over = asyncio.Event()
        load = asyncio.create_task(work(cluster, is_over))
        code, out, err = await dynafs("cluster", "restart", "--rolling", "--yes", url=cluster.url("n2"))
        is_over.set()
        bodies = await load
        assert (code, out.count("is back after")) == (0, 3), (out, err)
        after = await started(cluster)
        assert all(after[name] > before[name] for name in cluster.names)
        assert pids == {name: process.pid for name, process in cluster.processes.items() if process.returncode is None}
        assert bodies
        async with aiohttp.ClientSession() as session:
            for path, body in bodies.items():
                async with session.get(f"{cluster.url('n3')}/v1/files/demo/{path}") as response:
                    assert await response.read() == body
    finally:
        codes = await cluster.stop()
    assert set(codes.values()) == {0}, "a node did not stop cleanly"


async def started(cluster: ProcessCluster) -> dict[str, int]:
    code, out, err = await dynafs("ring", "status", "--json", url=cluster.url("n2"))
    assert code == 0, err
    return {row["node"]: row["started_unix_ms"] for row in json.loads(out)["nodes"]}


async def work(cluster: ProcessCluster, is_over: asyncio.Event) -> dict[str, bytes]:
    """Write and read through nodes that say they are ready, another one when that does not answer."""
    bodies, count = {}, 0
    async with aiohttp.ClientSession() as session:
        while not is_over.is_set():
            path, body = f"f{count % 20}", os.urandom(200_000 if count % 5 == 0 else 2000)
            await ask(session, cluster, "PUT", path, body)
            bodies[path] = body
            assert await ask(session, cluster, "GET", path) == body
            count += 1
    return bodies


async def ask(
    session: aiohttp.ClientSession, cluster: ProcessCluster, method: str, path: str, body: bytes | None = None
) -> bytes:
    refused = []
    for name in cluster.names:
        try:
            async with session.get(f"{cluster.url(name)}/readyz") as response:
                if response.status != 200:
                    continue
            async with session.request(method, f"{cluster.url(name)}/v1/files/demo/{path}", data=body) as response:
                assert response.status in (200, 201), await response.text()
                return await response.read()
        except aiohttp.ClientConnectionError as error:
            refused.append(f"{name}: {error}")
    raise AssertionError(f"nobody served {method} {path}: {refused}")


async def test_rolling_restart_that_takes_too_long_says_so(tmp_path: Path) -> None:
    """A node that is not back within the timeout ends the command with code 2 and its name; the others go on."""
    cluster = ProcessCluster(tmp_path)
    try:
        await cluster.start()
        before = await started(cluster)
        code, _, err = await dynafs(
            "cluster", "restart", "--rolling", "--yes", "--timeout", "0.1", url=cluster.url("n2")
        )
        assert (code, "gave up after 0.1 s: n1 is not back" in err) == (2, True), err
        async with asyncio.timeout(30):
            while (after := await started(cluster))["n1"] in (0, before["n1"]):
                await asyncio.sleep(0.1)
        assert [name for name in cluster.names if after[name] != before[name]] == ["n1"]
        await cluster.wait_ready()
    finally:
        codes = await cluster.stop()
    assert set(codes.values()) == {0}, "a node did not stop cleanly"
