"""Available buckets: fallbacks count, versions may stand beside each other."""

import asyncio
import os

from aiohttp import ClientSession

MIB = 1 << 20
WITHIN_S = 20.0


async def make_bucket(session: ClientSession, url: str, name: str, **policy: object) -> None:
    async with session.put(f"{url}/v1/buckets/{name}", json=policy) as response:
        assert response.status == 201, await response.text()


async def put(session: ClientSession, url: str, contents: bytes, **headers: str) -> int:
    async with session.put(url, data=contents, headers=headers) as response:
        await response.read()
        return response.status


async def get(session: ClientSession, url: str) -> tuple[int, bytes, dict[str, str]]:
    async with session.get(url) as response:
        return response.status, await response.read(), dict(response.headers)


async def is_whole(session: ClientSession, url: str) -> bool:
    """Take a census; an older one will do while that goes on."""
    async with session.post(f"{url}/v1/jobs/census/start") as response:
        assert response.status == 202
    async with session.get(f"{url}/v1/census") as response:
        return response.status == 200 and (await response.json())["is_whole"]


async def test_siblings_stand_until_a_writer_has_seen_them(cluster, session: ClientSession) -> None:
    """300 lists them, ?version= picks one, a PUT with the context replaces what was seen and nothing else."""
    await make_bucket(session, cluster.url(), "both", consistency="available", conflict="keep-both")
    url = cluster.file_url("both/f")
    assert await put(session, url, b"one") == 201
    assert await put(session, cluster.file_url("both/f", "n2"), b"two" * MIB) == 201
    async with session.get(url) as response:
        told = await response.json()
        assert response.status == 300
        context = response.headers["X-Dynafs-Context"]
    assert sorted(row["size_bytes"] for row in told["versions"]) == [3, 3 * MIB]
    for row in told["versions"]:
        status, body, _ = await get(session, cluster.url("n3") + row["url"])
        assert (status, len(body)) == (200, row["size_bytes"])
    assert (await get(session, url + "?version=none"))[0] == 404
    assert await put(session, url, b"three", **{"X-Dynafs-Context": "!"}) == 400
    assert await put(session, url, b"three", **{"X-Dynafs-Context": context}) == 201
    status, body, headers = await get(session, cluster.file_url("both/f", "n2"))
    assert (status, body) == (200, b"three")
    assert await put(session, url, b"late", **{"X-Dynafs-Context": context}) == 201
    assert (await get(session, url))[0] == 300
    async with session.delete(url) as response:
        assert response.status == 204
    assert (await get(session, url))[0] == 404
    assert headers["X-Dynafs-Context"]


async def test_equal_contents_are_no_siblings(cluster, session: ClientSession) -> None:
    """Two clients that write the same leave one version."""
    await make_bucket(session, cluster.url(), "both", consistency="available", conflict="keep-both")
    urls = [cluster.file_url("both/f", name) for name in cluster.names]
    assert await asyncio.gather(*(put(session, url, b"same") for url in urls)) == [201] * 3
    assert (await get(session, urls[0]))[:2] == (200, b"same")


async def test_writes_go_on_when_most_owners_are_away(make_cluster, session: ClientSession) -> None:
    """Any nodes that are up will do, for small and large files; what they took gets to the owners."""
    cluster = make_cluster(count=5, healing={"handoff_interval_s": 0.5, "anti_entropy_after_return_s": 0.5})
    await cluster.start()
    await make_bucket(session, cluster.url(), "loose", consistency="available")
    assert await put(session, cluster.file_url("strong/warm"), b"x") == 201
    for name in ("n1", "n2", "n4"):
        # A node that never met a bucket has to ask the owners of its policy.
        assert (await get(session, cluster.file_url("loose/none", name)))[0] == 404
    await cluster.stop("n3", "n4", "n5")
    files = {f"loose/f{number}": os.urandom((100, 2 * MIB)[number % 2]) for number in range(12)}
    for path, contents in files.items():
        assert await put(session, cluster.file_url(path), contents) == 201
        assert (await get(session, cluster.file_url(path, "n2")))[:2] == (200, contents)
    strong = [await put(session, cluster.file_url(f"strong/f{number}"), b"x") for number in range(12)]
    assert 503 in strong
    await cluster.start("n3", "n4", "n5")

    async with asyncio.timeout(WITHIN_S):
        while not await is_whole(session, cluster.url()):
            await asyncio.sleep(0.2)
    await cluster.stop("n1", "n2")
    for path, contents in files.items():
        status, body, _ = await get(session, cluster.file_url(path, "n4"))
        assert (status, body) == (200, contents), (path, body[:300])


async def test_what_cannot_be_promised_is_refused(cluster, session: ClientSession) -> None:
    """A strong read of an available bucket, an available write to a strong one, conflicts kept without any."""
    await make_bucket(session, cluster.url(), "loose", consistency="available", r=1, w=1)
    assert await put(session, cluster.file_url("loose/f"), b"x") == 201
    assert await put(session, cluster.file_url("demo/f"), b"x") == 201
    assert (await get(session, cluster.file_url("loose/f?consistency=strong")))[0] == 400
    assert await put(session, cluster.file_url("demo/f?consistency=available"), b"x") == 400
    # Two of three owners hold it by now; a single one that is asked may be the third for a moment.
    async with asyncio.timeout(10):
        while (await get(session, cluster.file_url("demo/f?consistency=available&r=1")))[:2] != (200, b"x"):
            await asyncio.sleep(0.01)
    assert (await get(session, cluster.file_url("demo/f?consistency=available")))[:2] == (200, b"x")
    assert (await get(session, cluster.file_url("demo/f?consistency=maybe")))[0] == 400
    async with session.put(f"{cluster.url()}/v1/buckets/b", json={"conflict": "keep-both"}) as response:
        assert response.status == 400
        assert "available" in (await response.json())["error"]["message"]
