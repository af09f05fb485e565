"""Work that nobody waits for: bounded in number, its failures taken notice of, waited for at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Background:
    """A handful of tasks at once; what is more than that is left to whoever notices next."""

    def __init__(self, tasks_max: int) -> None:
        self._tasks_max = tasks_max
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be begun."""
        return len(self._tasks) >= self._tasks_max

    @property
    def count(self) -> int:
        """Tasks under way."""
        return len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something; the caller has looked whether there is room."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def note_failure(task: "asyncio.Future[Any]") -> None:
    """Take notice of the failure of something that nobody waits for any more; whoever did it has told of it."""
    if not task.cancelled():
        task.exception()
