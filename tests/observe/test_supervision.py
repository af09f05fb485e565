"""Tasks that outlast their bugs."""

import asyncio
import itertools

import pytest
import structlog

from dynafs.jobs.tasks import BoundedTasks
from dynafs.observe import metrics
from dynafs.observe.supervision import RESTART_S_MAX, on_loop_failure, reporting, supervised
from dynafs.sim.loop import run_virtually


def reports(events: list[dict]) -> list[tuple[str, str]]:
    return [(one["task"], one["error"]) for one in events if one["event"] == "task.failed"]


def test_supervised_task_starts_again_after_growing_pauses(events: list[dict]) -> None:
    """Until it returns; each bug is logged and counted."""
    starts: list[float] = []
    before = metrics.REGISTRY.get_sample_value("dynafs_task_failures_total", {"task": "look around"}) or 0.0

    async def work() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) < 10:
            raise AssertionError("not so")

    async def main() -> None:
        await supervised("look around", work)

    run_virtually(main())
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == [min(2.0**number, RESTART_S_MAX) for number in range(9)]
    assert reports(events) == [("look around", "AssertionError: not so")] * 9
    assert metrics.REGISTRY.get_sample_value("dynafs_task_failures_total", {"task": "look around"}) == before + 9


def test_supervised_task_ends_when_it_is_cancelled_and_not_when_something_it_awaits_is(events: list[dict]) -> None:
    """Only its owner ends it."""
    started = 0

    async def main() -> None:
        async def work() -> None:
            nonlocal started
            started += 1
            inner = asyncio.get_running_loop().create_future()
            if started == 1:
                inner.cancel()
            await inner

        task = supervised("wait", work)
        await asyncio.sleep(10)
        assert (started, task.done()) == (2, False)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(main())
    assert reports(events) == [("wait", "CancelledError")]


def test_log_that_cannot_be_written_ends_nothing() -> None:
    """A full disk under the log must not turn a bug that is survived into the end of its task."""
    started = 0

    class Unwritable:
        def write(self, _: str) -> None:
            raise OSError(28, "No space left on device")

        flush = close = write

    async def work() -> None:
        nonlocal started
        started += 1
        if started < 3:
            raise AssertionError

    async def main() -> None:
        await supervised("log", work)

    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=Unwritable()), cache_logger_on_first_use=False)
    try:
        run_virtually(main())
    finally:
        structlog.configure(**before)
    assert started == 3


async def test_bugs_that_nobody_awaits_are_reported(events: list[dict]) -> None:
    """Of background work, of one round of a task, and of callbacks of the event loop."""

    async def fail() -> None:
        raise KeyError("k")

    work = BoundedTasks("repair", 2)
    work.begin(fail())
    await work.close()
    await asyncio.sleep(0)
    with reporting("round"):
        raise ValueError
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_failure)
    loop.call_soon(lambda: 1 // 0)
    await asyncio.sleep(0.01)
    loop.set_exception_handler(None)
    assert reports(events) == [
        ("repair", "KeyError: 'k'"), ("round", "ValueError"),
        ("event loop", "ZeroDivisionError: integer division or modulo by zero"),
    ]  # fmt: skip
    assert not work.is_full
