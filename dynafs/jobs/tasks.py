"""Work that nobody waits for: bounded in number, its failures taken notice of, waited for at the end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from dynafs.errors import DynafsError
from dynafs.observe.supervision import report_failure


class BoundedTasks:
    """A handful of tasks at once; what is more than that is left to whoever notices next."""

    def __init__(self, name: str, tasks_max: int) -> None:
        """name: of what the tasks do, for reports of bugs."""
        self._name, self._tasks_max = name, tasks_max
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
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        note_failure(task, self._name)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def note_failure(task: "asyncio.Future[Any]", name: str = "request") -> None:
    """Take notice of the failure of something that nobody waits for any more. An error of ours needs no more than that;
    a bug is reported. name: of what the task does."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, DynafsError):
        report_failure(name, error)
