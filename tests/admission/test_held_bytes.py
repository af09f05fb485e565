"""What requests and jobs hold of the byte budgets comes back, however they end, and is not kept while they pause."""

import asyncio
import os
import random

from aiohttp import ClientError, ClientSession

from dynafs.admission.budget import ByteBudget
from dynafs.admission.reservation import Reservation
from dynafs.healing.transfer import ChunkSender, MissingCopy
from dynafs.jobs.job import Job, JobStatus
from dynafs.sim.clock import SimClock
from dynafs.sim.loop import run_virtually

MIB = 1 << 20
REQUESTS = 60


async def none_held(cluster) -> None:
    """Wait until no node holds anything."""
    nodes = [node.replication for node in cluster.nodes.values()]
    async with asyncio.timeout(20):
        while any(one.held_bytes for node in nodes for one in (node.seats, node.sending, node.downloads)):
            await asyncio.sleep(0.02)


async def test_body_that_is_refused_at_its_end_holds_nothing(cluster, session: ClientSession) -> None:
    """Its last chunk is cut and given up in one step, before anything of it is sent."""
    wrong = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for _ in range(4):
        for chunks in (1, 2):
            async with session.put(cluster.file_url("b/f"), data=bytes(chunks * MIB), headers=wrong) as response:
                assert response.status == 422
    await none_held(cluster)


async def test_requests_that_are_cut_hold_nothing(cluster, session: ClientSession, rng: random.Random) -> None:
    """Uploads and downloads whose clients go at any moment."""
    contents = os.urandom(3 * MIB + 1)
    async with session.put(cluster.file_url("b/there"), data=contents) as response:
        assert response.status == 201

    async def request(number: int) -> None:
        try:
            if number % 2:
                async with session.put(cluster.file_url(f"b/up{number % 7}"), data=contents) as response:
                    await response.read()
            else:
                async with session.get(cluster.file_url("b/there", rng.choice(cluster.names))) as response:
                    await response.content.readexactly(rng.randrange(len(contents)))
        except ClientError:
            return

    async def cut(number: int) -> None:
        task = asyncio.create_task(request(number))
        await asyncio.sleep(rng.random() * 0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for first in range(0, REQUESTS, 20):
        await asyncio.gather(*(cut(number) for number in range(first, first + 20)))
    await none_held(cluster)


class Neighbourhood:
    """What a giver needs of its node, over one budget."""

    def __init__(self) -> None:
        self.budget, self.given = ByteBudget("test", 10, 1.0), 0

    async def take(self, size_bytes: int) -> Reservation:
        return await self.budget.take(size_bytes)

    async def look(self, chunk_id: bytes) -> bytes:
        return bytes(10)

    async def ask(self, node: str, request: object, body: bytes, *, is_bulk: bool) -> None:
        self.given += 1


def test_job_holds_nothing_while_it_paces_itself_or_is_paused() -> None:
    """What a paused job held for hours would be missing to downloads."""

    async def main() -> None:
        around = Neighbourhood()
        giver = ChunkSender(around, around, around)  # type: ignore[arg-type]

        async def work(job: Job) -> None:
            for _ in range(3):
                await giver.give(job, MissingCopy("n2", bytes(32), bytes(16), b"b\0f"), 10)

        job = Job(JobStatus("work"), work, SimClock(asyncio.get_running_loop().time, random.Random(1)), None)
        job.limit(1)
        job.start()
        job.start_now()
        for _ in range(8):
            await asyncio.sleep(2)
            assert around.budget.held_bytes == 0
        job.pause()
        await asyncio.sleep(100)
        assert (job.status.state, around.budget.held_bytes) == ("paused", 0)
        job.resume()
        await asyncio.sleep(100)
        assert (around.given, job.status.runs) == (3, 1)
        await job.close()

    run_virtually(main())
