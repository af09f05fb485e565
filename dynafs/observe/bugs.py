"""Bugs of ours in work that is not waited for: seen, survived, never silent.

Rule: work that lasts as long as its node goes through `go_on`, which reports a bug and begins again. A report is a call
of the event loop's exception handler, which the program that owns the loop sets: a node logs the bug, the simulator
fails the run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from dynafs.observe import metrics
from dynafs.observe.events import get_logger

log = get_logger()

#: Pauses before work that met a bug begins again: the first, doubled up to the longest.
PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 60.0


def report_bug(what: str, error: Exception) -> None:
    """Report a bug in `what`. Called from within the event loop."""
    metrics.bugs.labels(what).inc()
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": error})


def log_bug(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a bug that was reported, or that asyncio found in a callback or in a task that is gone."""
    error = context.get("exception")
    log.error("task.failed", what=context["message"], error=repr(error), exc_info=error or False)


async def go_on(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do work until it returns by itself; begin it again, after a pause, when a bug ends it."""
    pause_s = PAUSE_S_MIN
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  the report says it all
            report_bug(what, error)
        else:
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
