"""Commit threads that meet a bug: their writers are told, and nobody waits for ever."""

import asyncio
from dataclasses import dataclass

import pytest
import structlog

from dynafs.errors import DynafsError, StoreError, StoreFailed, StoreFull
from dynafs.storage.commit import CommitLane
from dynafs.storage.posix import ThreadWorker


@dataclass
class Write:
    """A write of some size; a size of None is a bug."""

    future: "asyncio.Future[None]"
    size_bytes: int | None = 1
    error: DynafsError | None = None


class Lane:
    """A lane whose commits fail when they are to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.lane = CommitLane[Write]("test", ThreadWorker("test"), self.commit)

    def commit(self, writes) -> None:
        if self.error is not None:
            raise self.error

    async def write(self, size_bytes: int | None = 1) -> None:
        write = Write(asyncio.get_running_loop().create_future(), size_bytes)
        self.lane.submit(write)
        async with asyncio.timeout(5):
            await write.future


async def test_bug_in_a_commit_fails_its_writers_and_the_lane_goes_on(events: list[dict]) -> None:
    """It is logged as what it is: no fault of the disk."""
    lane = Lane()
    lane.error = KeyError("k")
    with pytest.raises(StoreFailed, match="KeyError"):
        await lane.write()
    lane.error = None
    await lane.write()
    await lane.lane.close()
    assert [(one["event"], one["log_level"]) for one in events] == [("commit.failed", "error")]


@pytest.mark.parametrize("error", [StoreFull("full"), KeyError("k")])
async def test_lane_goes_on_when_the_log_cannot_be_written(error: Exception) -> None:
    """The disk that is full may be the log's, too."""

    class Unwritable:
        def write(self, _: str) -> None:
            raise OSError(28, "No space left on device")

        flush = close = write

    lane, before = Lane(), structlog.get_config()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=Unwritable()), cache_logger_on_first_use=False)
    try:
        lane.error = error
        with pytest.raises(StoreError):
            await lane.write()
        lane.error = None
        await lane.write()
        await lane.lane.close()
    finally:
        structlog.configure(**before)


async def test_bug_in_the_commit_thread_fails_all_writes_from_then_on(events: list[dict]) -> None:
    """Those that wait, those in the queue, and later ones; closing does not hang."""
    lane = Lane()
    outcomes = await asyncio.gather(lane.write(), lane.write(None), lane.write(), return_exceptions=True)
    assert isinstance(outcomes[1], StoreFailed)
    assert all(one is None or isinstance(one, StoreFailed) for one in outcomes)
    for _ in range(2):
        with pytest.raises(StoreFailed, match="start the node again"):
            await lane.write()
    async with asyncio.timeout(5):
        await lane.lane.close()
    assert [(one["event"], one["lane"]) for one in events if one["log_level"] == "error"] == [
        ("commit.stopped", "test")
    ]
