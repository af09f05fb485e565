"""Supervision: a bug in a task that nobody awaits is logged and counted, and what the task does goes on.

Problem: an exception ends a background task without a trace; what it did is never done again until a restart.

Rule: a task that lasts as long as the node is made by `supervised`, which starts it again after a growing pause. A task
with an end reports its bug when it is done (`report_failure`). Every report is an event of level error: an operator is
alerted by it, and a simulation whose nodes log one that no fault explains fails.

Alternatives: ending the process loses the requests of all clients for one bug in the background; asyncio's "exception
was never retrieved" comes when the garbage collector runs, if it does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dynafs.observe import metrics
from dynafs.observe.events import get_logger

log = get_logger()

#: Pause before the first restart of a task, and the longest one; each pause is twice the one before. A task that ran
#: for the longest pause starts over with the first.
RESTART_S_MIN, RESTART_S_MAX = 1.0, 60.0


def described(error: BaseException) -> str:
    """Return an exception's class and message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def report_failure(task: str, error: BaseException) -> None:
    """Log and count a bug that ended a task, or one round of it. task: what the task does, in few words."""
    metrics.task_failures.labels(task).inc()
    log_bug("task.failed", error, task=task)


def log_bug(event: str, error: BaseException, **fields: object) -> None:
    """Log a bug with its traceback. A log that cannot be written does not end what survives the bug."""
    with suppress(Exception):
        log.error(event, error=described(error), exc_info=error, **fields)


async def outcome_of(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Do the work and return what it raised, None when it ended well.

    Raises CancelledError when the calling task is cancelled. When only something that the work awaits is, that is an
    outcome like others.
    """
    try:
        await work()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error
    except Exception as error:  # noqa: BLE001  the caller reports it
        return error
    return None


def supervised(task: str, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
    """Start a task that does the work, from its beginning again whenever that raises, until it returns. task: what it
    does, in few words. Cancel it to stop."""
    return asyncio.create_task(_supervise(task, work), name=task)


async def _supervise(task: str, work: Callable[[], Awaitable[None]]) -> None:
    pause_s, loop = RESTART_S_MIN, asyncio.get_running_loop()
    while True:
        started_s = loop.time()
        error = await outcome_of(work)
        if error is None:
            return
        report_failure(task, error)
        if loop.time() - started_s > RESTART_S_MAX:
            pause_s = RESTART_S_MIN
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RESTART_S_MAX)


def name_of(task: "asyncio.Task[Any]") -> str:
    """Return what a supervised task does, or which function another one runs."""
    function: str = task.get_coro().__qualname__  # type: ignore[union-attr]
    return task.get_name() if function == _supervise.__qualname__ else function


@contextmanager
def reporting(task: str) -> Iterator[None]:
    """Report a bug in one round of a task, which goes on with its next one."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  any bug is reported
        report_failure(task, error)


def on_loop_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG001
    """Report what a callback raised, or a task that nobody awaited (an exception handler of the event loop)."""
    error = context.get("exception")
    if error is None:
        log.warning("loop.troubled", reason=str(context.get("message", ""))[:300])
    else:
        report_failure("event loop", error)
