"""The census beside clients that write: what is on its way is no loss, what is lost is reported."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession

from dynafs.cli.census import take_census
from dynafs.client import DynafsClient

WRITERS = 4
CENSUSES = 5
LARGE_SIZE_BYTES = 100_000


async def census(session: ClientSession, url: str) -> dict[str, object]:
    """Take one census and return what it counted."""
    number = 0
    async with session.get(f"{url}/v1/census") as response:
        if response.status == 200:
            number = (await response.json())["number"]
    async with session.post(f"{url}/v1/jobs/census/start") as response:
        assert response.status == 202
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"{url}/v1/census") as response:
                report = await response.json()
            if response.status == 200 and report["number"] > number:
                return report
            await asyncio.sleep(0.05)


@asynccontextmanager
async def busy(session: ClientSession, cluster, rng: random.Random) -> AsyncIterator[list[int]]:
    """Put, overwrite and delete small and large files through all nodes meanwhile; yield [how many times]."""
    done = [0]

    async def write(number: int) -> None:
        while True:
            url = cluster.file_url(f"busy/{number}-{rng.randrange(20)}", rng.choice(cluster.names[:2]))
            size_bytes = rng.choice([100, 100, LARGE_SIZE_BYTES])
            if rng.random() < 0.3:
                async with session.delete(url) as response:
                    assert response.status in (204, 404)
            else:
                async with session.put(url, data=os.urandom(size_bytes)) as response:
                    assert response.status == 201
            done[0] += 1

    writers = [asyncio.create_task(write(number)) for number in range(WRITERS)]
    try:
        yield done
    finally:
        for writer in writers:
            writer.cancel()
        for outcome in await asyncio.gather(*writers, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_census_beside_writes_is_whole(cluster, session: ClientSession, rng: random.Random) -> None:
    """A healthy cluster is whole however many files are being written, overwritten and deleted."""
    for number in range(300):
        async with session.put(cluster.file_url(f"still/{number}"), data=b"contents") as response:
            assert response.status == 201
    async with busy(session, cluster, rng) as done:
        for _ in range(CENSUSES):
            report = await census(session, cluster.url("n2"))
            assert report["is_whole"], report
            assert report["lacking"] == []
            assert report["files"]["3"] >= 300
        assert done[0] > CENSUSES


async def test_census_beside_writes_reports_what_is_really_missing(
    cluster, session: ClientSession, rng: random.Random
) -> None:
    """Copies that a node missed while it was away are counted and named, and nothing else is."""
    lost = {"still/small": b"contents", "still/large": os.urandom(LARGE_SIZE_BYTES)}
    async with session.put(cluster.file_url("still/first"), data=b"x") as response:
        assert response.status == 201
    await cluster.stop("n3")
    for path, contents in lost.items():
        async with session.put(cluster.file_url(path), data=contents) as response:
            assert response.status == 201
    await cluster.start("n3")
    async with busy(session, cluster, rng):
        report = await census(session, cluster.url())
    assert not report["is_whole"]
    assert {one["path"] for one in report["lacking"]} == set(lost)
    assert all(one["nodes"] == {"n3": "missing"} and one["copies"] == 2 for one in report["lacking"])
    assert report["files"]["2"] == 2
    assert report["chunks"]["2"] == sum(one["what"].startswith("chunk") for one in report["lacking"])


async def test_census_under_way_is_not_taken_for_the_one_asked_for(cluster, session: ClientSession) -> None:
    """Of several at once each gets a report that began after it asked, and a deep one when it asked for that."""
    for number in range(50):
        async with session.put(cluster.file_url(f"still/{number}"), data=b"contents") as response:
            assert response.status == 201
    async with DynafsClient(cluster.url()) as client:
        reports = [asyncio.create_task(take_census(client, lambda _: None))]
        while not (await client.job("census"))["begun"]:
            await asyncio.sleep(0)
        reports += [asyncio.create_task(take_census(client, lambda _: None, deep=deep)) for deep in (True, False)]
        _, deep, _ = await asyncio.gather(*reports)
    assert deep["is_deep"]
    assert all(report.result()["is_whole"] for report in reports)
