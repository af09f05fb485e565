"""An event loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Never, TypeVar

from dynafs.sim.errors import SimulationLeak, SimulationStuck

T = TypeVar("T")


class Life:
    """One process from its start to its end: whatever it does runs in `context`, whatever it left dies with it."""

    def __init__(self, node: str, number: int) -> None:
        """number: counts the lives of this node from 1."""
        self.node, self.number = node, number
        self.is_alive = True
        self.context = Context()
        self.context.run(current_life.set, self)
        #: tasks under way, oldest first
        self.tasks: dict[asyncio.Task[Any], None] = {}
        #: called at the end, before the tasks are
        self.on_end: list[Callable[[], None]] = []

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        """Count a task as part of this life."""
        if self.is_alive:
            self.tasks[task] = None
            task.add_done_callback(self._forget)
        else:
            task.cancel()

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.pop(task, None)

    def end(self) -> None:
        """Kill the process: no word of it leaves any more, its tasks are gone."""
        self.is_alive = False
        for callback in self.on_end:
            callback()
        for task in list(self.tasks):
            task.cancel()


#: Who runs right now; None for clients and the world itself.
current_life: ContextVar[Life | None] = ContextVar("current_life", default=None)


class _Selector(selectors.BaseSelector):
    """Waits for nothing: to wait is to move the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Any:
        return {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise SimulationStuck("everybody waits and no timer is set")
        if timeout > 0:
            self.now_s += timeout
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """Virtual time in seconds from 0. Sockets, threads and subprocesses are refused."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Never:  # type: ignore[override] # noqa: ARG002
        """Refuse threads: their order is not ours to decide."""
        raise SimulationLeak("a thread was asked for")

    async def create_connection(self, *args: Any, **options: Any) -> Never:  # noqa: ARG002
        """Refuse real sockets."""
        raise SimulationLeak("a real connection was asked for")

    async def create_server(self, *args: Any, **options: Any) -> Never:  # noqa: ARG002
        """Refuse real sockets."""
        raise SimulationLeak("a real server was asked for")


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
) -> "asyncio.Task[T]":
    task: asyncio.Task[T] = asyncio.Task(work, loop=loop, **options)
    life = current_life.get()
    if life is not None:
        life.adopt(task)
    return task


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a loop of its own and return the result; what is left then is cancelled."""
    loop = SimLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
