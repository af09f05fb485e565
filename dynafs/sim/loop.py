"""An event loop whose clock jumps to the next timer instead of waiting for it.

It keeps asyncio's promises on order (first come, first served; timers by their time) and knows nothing of sockets,
threads and signals. Written out rather than derived from asyncio's own: that one spends most of a simulation on asking
the system for events that cannot come.
"""

import asyncio
import heapq
import sys
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
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


class _Handle:
    """A callback that may still be cancelled."""

    __slots__ = ("_when_s", "args", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when_s: float) -> None:
        self.callback, self.args, self.context, self._when_s = callback, args, context, when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when_s


class SimLoop(asyncio.AbstractEventLoop):
    """Virtual time in seconds from 0. Sockets, threads and subprocesses are refused."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._ready: deque[_Handle] = deque()
        #: (when, order of asking, what)
        self._timers: list[tuple[float, int, _Handle]] = []
        self._asked = 0
        self._is_running = self._is_closed = self._is_stopping = False
        self._on_exception: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """Call back after everything that is ready already."""
        handle = _Handle(callback, args, context if context is not None else copy_context(), self._now_s)
        self._ready.append(handle)
        return handle

    #: Garbage collection calls this from the only thread there is.
    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """Call back after some seconds."""
        return self.call_at(self._now_s + max(delay, 0.0), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """Call back at a virtual time."""
        handle = _Handle(callback, args, context if context is not None else copy_context(), when)
        self._asked += 1
        heapq.heappush(self._timers, (when, self._asked, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """Run a coroutine as part of the present life."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        life = current_life.get()
        if life is not None:
            life.adopt(task)
        return task

    def run_until_complete(self, future: Any) -> Any:
        """Run until a coroutine or future is done, and return its result. Raises SimulationStuck when it cannot be."""
        main = asyncio.ensure_future(future, loop=self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._close_generator)
        _set_running_loop(self)
        self._is_running = True
        try:
            while not main.done():
                self._step()
        finally:
            self._is_running = False
            _set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
        return main.result()

    def _step(self) -> None:
        """Run the next callback, moving the clock when none is ready."""
        if not self._ready:
            self._move_clock()
        handle = self._ready.popleft()
        if handle.is_cancelled:
            return
        try:
            handle.context.run(handle.callback, *handle.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  a callback's bug is reported, as asyncio does
            self.call_exception_handler({"message": f"exception in {handle.callback}", "exception": error})

    def _move_clock(self) -> None:
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        if not timers:
            raise SimulationStuck("everybody waits and no timer is set")
        self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(timers)[2])

    def _close_generator(self, generator: AsyncGenerator[Any, None]) -> None:
        if not self._is_closed:
            self.call_soon(self.create_task, generator.aclose())

    def set_exception_handler(self, handler: Any) -> None:
        """Have bugs in callbacks reported to a function."""
        self._on_exception = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report a bug in a callback; without a handler it ends the simulation."""
        if self._on_exception is not None:
            self._on_exception(self, context)
        elif isinstance(context.get("exception"), BaseException):
            raise context["exception"]

    def get_debug(self) -> bool:
        """Debug mode is never on."""
        return False

    def is_running(self) -> bool:
        """Return whether the loop runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Return whether the loop is closed."""
        return self._is_closed

    def close(self) -> None:
        """Forget everything that was to come."""
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()

    def run_in_executor(  # type: ignore[override]
        self,
        executor: Any,  # noqa: ARG002
        func: Any,  # noqa: ARG002
        *args: Any,  # noqa: ARG002
    ) -> Never:
        """Refuse threads: their order is not ours to decide."""
        raise SimulationLeak("a thread was asked for")

    async def create_connection(self, *args: Any, **options: Any) -> Never:  # noqa: ARG002
        """Refuse real sockets."""
        raise SimulationLeak("a real connection was asked for")

    async def create_server(self, *args: Any, **options: Any) -> Never:  # noqa: ARG002
        """Refuse real sockets."""
        raise SimulationLeak("a real server was asked for")


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a loop of its own and return the result; what is left then is cancelled."""
    loop = SimLoop()  # type: ignore[abstract]  # what is left out must not be called
    try:
        result: T = loop.run_until_complete(main)
        return result
    finally:
        left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
