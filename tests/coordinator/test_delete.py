"""Deletes: what they ask of owners, and clocks that may not write them."""

import asyncio
from collections import Counter

from aiohttp import ClientSession

from dynafs.files import FileName
from dynafs.wire.messages import Request

HOUR_MS = 3_600_000


def count_requests(cluster) -> Counter[str]:
    """Return a counter of the requests that nodes send to each other, by their names."""
    seen: Counter[str] = Counter()
    for node in cluster.nodes.values():

        def counted(peer: str, request: Request, body: bytes, handle=node.listener.handler):
            seen[type(request).__name__] += 1
            return handle(peer, request, body)

        node.listener.handler = counted
    return seen


async def test_delete_reads_a_file_once(cluster, session: ClientSession) -> None:
    """At R owners, this node among them: what it read of the file is what its tombstone stands above."""
    async with session.put(cluster.file_url("demo/a"), data=b"x") as response:
        assert response.status == 201
    # The third owner has it, too, so that any two agree.
    async with asyncio.timeout(10):
        while not all(node.store.read_record(FileName("demo", "a").key) for node in cluster.nodes.values()):
            await asyncio.sleep(0.01)
    seen = count_requests(cluster)
    async with session.delete(cluster.file_url("demo/a")) as response:
        assert response.status == 204
    assert seen["ReadRecord"] == 1
    for url in map(cluster.url, cluster.nodes):
        async with session.get(f"{url}/v1/files/demo/a") as response:
            assert response.status == 404


async def test_clock_far_ahead_deletes_nothing(cluster, session: ClientSession, monkeypatch) -> None:
    """Owners refuse it before anything is stored, so that the file stays readable."""
    async with session.put(cluster.file_url("demo/a"), data=b"x") as response:
        assert response.status == 201
    stamps = cluster.nodes["n1"].replication.files._committer._stamps
    monkeypatch.setattr(stamps, "wall_ms", lambda: stamps._clock.wall_ms() + HOUR_MS)
    async with session.delete(cluster.file_url("demo/a")) as response:
        assert response.status == 503
        assert (await response.json())["error"]["outcome"] == "not_written"
    async with session.get(cluster.file_url("demo/a")) as response:
        assert (response.status, await response.read()) == (200, b"x")
