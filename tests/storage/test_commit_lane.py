"""The commit lane when something of ours is wrong with it."""

import asyncio
from collections.abc import Sequence

import pytest

from dynafs.errors import StoreFailed
from dynafs.storage.chunk_batch import ChunkWrite
from dynafs.storage.commit import CommitLane
from dynafs.storage.posix import ThreadWorker


class BrokenWorker(ThreadWorker):
    """A thread whose clock fails once it has work."""

    def monotonic_s(self) -> float:
        raise ZeroDivisionError("a bug")


def nothing(_: Sequence[ChunkWrite]) -> None:
    """Commit nothing."""


async def test_writers_of_a_lane_that_ended_get_errors_instead_of_waiting() -> None:
    lane = CommitLane[ChunkWrite]("broken", BrokenWorker("broken"), nothing)
    loop = asyncio.get_running_loop()
    first = ChunkWrite(b"", loop.create_future())
    lane.submit(first)
    with pytest.raises(StoreFailed):
        await asyncio.wait_for(first.future, 5)
    later = ChunkWrite(b"", loop.create_future())
    lane.submit(later)
    with pytest.raises(StoreFailed):
        await asyncio.wait_for(later.future, 5)


async def test_bug_in_a_commit_fails_its_writers_and_the_lane_goes_on() -> None:
    bugs = [KeyError("a bug")]

    def commit(_: Sequence[ChunkWrite]) -> None:
        if bugs:
            raise bugs.pop()

    lane = CommitLane[ChunkWrite]("lane", ThreadWorker("lane"), commit)
    loop = asyncio.get_running_loop()
    first = ChunkWrite(b"", loop.create_future())
    lane.submit(first)
    with pytest.raises(StoreFailed):
        await asyncio.wait_for(first.future, 5)
    second = ChunkWrite(b"", loop.create_future())
    lane.submit(second)
    await asyncio.wait_for(second.future, 5)
    await lane.close()
