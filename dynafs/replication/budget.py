"""Byte budgets: what bounds the memory of requests under way."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from dynafs.errors import Overloaded
from dynafs.observe import metrics


class ByteBudget:
    """A pool of bytes that requests take from, first come first served. Invariant: 0 <= held <= size, nobody waits
    while what the first one wants is free."""

    def __init__(self, name: str, size_bytes: int, timeout_s: float) -> None:
        self._name, self._size_bytes, self._timeout_s = name, size_bytes, timeout_s
        self.held_bytes = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._gauge = metrics.bytes_in_flight.labels(name)

    def try_take(self, size_bytes: int) -> "Holding | None":
        """Return a holding if it is free right now and nobody is ahead."""
        size_bytes = min(size_bytes, self._size_bytes)
        if self._waiting or self.held_bytes + size_bytes > self._size_bytes:
            return None
        self.held_bytes += size_bytes
        self._gauge.set(self.held_bytes)
        return Holding(self, size_bytes)

    async def take(self, size_bytes: int) -> "Holding":
        """Return a holding, waiting for it; raise Overloaded after the timeout. Asking for more than all gets all."""
        if (holding := self.try_take(size_bytes)) is not None:
            return holding
        size_bytes = min(size_bytes, self._size_bytes)
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, granted))
        try:
            async with asyncio.timeout(self._timeout_s):
                await granted
        except BaseException as error:
            if granted.done() and not granted.cancelled():
                self.give_back(size_bytes)
            granted.cancel()
            self._grant()
            if isinstance(error, TimeoutError):
                raise Overloaded(f"the node's {self._name} budget of {self._size_bytes} bytes is in use") from None
            raise
        return Holding(self, size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Return bytes and serve who waits. Callers use Holding.release."""
        self.held_bytes -= size_bytes
        assert self.held_bytes >= 0
        self._grant()
        self._gauge.set(self.held_bytes)

    def _grant(self) -> None:
        while self._waiting:
            size_bytes, granted = self._waiting[0]
            if not granted.done():
                if self.held_bytes + size_bytes > self._size_bytes:
                    return
                self.held_bytes += size_bytes
                granted.set_result(None)
            self._waiting.popleft()


class Holding:
    """Bytes taken from a budget. Releasing twice is harmless."""

    __slots__ = ("_budget", "_size_bytes")

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self._budget, self._size_bytes = budget, size_bytes

    def release(self) -> None:
        """Give the bytes back."""
        size_bytes, self._size_bytes = self._size_bytes, 0
        if size_bytes:
            self._budget.give_back(size_bytes)

    def __enter__(self) -> Self:
        """Hold during a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the bytes back."""
        self.release()
