"""Healing with real nodes and disks: hints, collection, full disks."""

import asyncio
import os

from aiohttp import ClientSession

MIB = 1 << 20
WITHIN_S = 20.0
QUICK = {
    "handoff_interval_s": 0.5, "collection_interval_s": 0.5, "collection_grace_s": 1.0, "compaction_interval_s": 0.5,
}  # fmt: skip


async def put(session: ClientSession, url: str, contents: bytes) -> tuple[int, dict[str, object]]:
    async with session.put(url, data=contents) as response:
        return response.status, await response.json()


async def hints(session: ClientSession, url: str) -> list[dict[str, object]]:
    async with session.get(f"{url}/v1/hints") as response:
        told = await response.json()
        assert not told["silent"] or told["silent"] == {"n3": "peer_unreachable"}
        return told["hints"]


def segment_bytes(cluster, name: str) -> int:
    return sum(file.stat().st_size for file in (cluster.path / name / "segments").iterdir())


async def wait_until(condition) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_fallbacks_hand_over_what_an_owner_missed(make_cluster, session: ClientSession) -> None:
    """Hints are shown while it is away, and gone when it is back and holds everything."""
    cluster = make_cluster(count=5, healing={**QUICK, "anti_entropy_after_return_s": 3600.0})
    await cluster.start()
    await cluster.stop("n3")
    files = {f"demo/f{number}": os.urandom((1000, 3 * MIB)[number % 2]) for number in range(8)}
    for path, contents in files.items():
        assert (await put(session, cluster.file_url(path), contents))[0] == 201
    shown = await hints(session, cluster.url())
    assert {row["target"] for row in shown} == {"n3"}
    assert "n3" not in {row["keeper"] for row in shown}
    await cluster.start("n3")

    async def is_handed_over() -> bool:
        return not await hints(session, cluster.url())

    await wait_until(is_handed_over)
    for path in files:
        async with session.get(f"{cluster.url('n3')}/v1/metadata/{path}") as response:
            told = await response.json()
        assert told["record"].get("n3", "current") == "current"
        assert all(chunk["copies"].get("n3", "present") == "present" for chunk in told["chunks"])


async def test_space_comes_back_after_overwrites_and_deletes(make_cluster, session: ClientSession) -> None:
    """What nothing uses any more leaves every disk; what is used stays."""
    cluster = make_cluster(healing=QUICK)
    await cluster.start()
    url = cluster.file_url("demo/kept")
    for _ in range(6):
        kept = os.urandom(4 * MIB)
        assert (await put(session, url, kept))[0] == 201
        assert (await put(session, cluster.file_url("demo/gone"), os.urandom(4 * MIB)))[0] == 201
    async with session.delete(cluster.file_url("demo/gone")) as response:
        assert response.status == 204

    async def is_small() -> bool:
        return all(segment_bytes(cluster, name) < 9 * MIB for name in cluster.names)

    await wait_until(is_small)
    async with session.get(url) as response:
        assert await response.read() == kept


async def test_full_disk_refuses_new_contents_and_nothing_else(make_cluster, session: ClientSession) -> None:
    """507 for PUT on the node and when all are full; GET and DELETE go on."""
    cluster = make_cluster()
    await cluster.start()
    assert (await put(session, cluster.file_url("demo/a"), b"contents"))[0] == 201
    full = {"soft_mark": 1e-9, "hard_mark": 1e-9}
    await cluster.stop("n1")
    await cluster.start("n1", storage=full)
    status, told = await put(session, cluster.file_url("demo/b"), b"contents")
    assert (status, told["error"]["code"]) == (507, "store_full")
    assert (await put(session, cluster.file_url("demo/b", "n2"), b"contents"))[0] == 201
    await cluster.stop("n2")
    await cluster.start("n2", storage=full)
    status, told = await put(session, cluster.file_url("demo/c", "n3"), b"contents")
    assert (status, told["error"]["code"]) == (507, "write_quorum_lost")
    for path in ("demo/a", "demo/b"):
        async with session.get(cluster.file_url(path)) as response:
            assert await response.read() == b"contents"
        async with session.delete(cluster.file_url(path)) as response:
            assert response.status == 204
