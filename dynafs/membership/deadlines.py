"""One timer for the deadlines of all writes under way, instead of one each: nearly all are done long before."""

import asyncio
from collections import deque
from typing import Protocol

#: How often deadlines are looked at; they are this much later at worst.
SWEEP_INTERVAL_S = 0.1


class Expiring(Protocol):
    """Something that ends by itself, or is ended at its deadline."""

    @property
    def is_settled(self) -> bool:
        """Whether it has ended."""
        ...

    def expire(self) -> None:
        """End it."""
        ...


class Deadlines:
    """Ends what takes longer than a time that is the same for all. Invariant: a timer runs while anything is kept."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._loop, self._timeout_s = loop, timeout_s
        #: (deadline, what ends then), the earliest first
        self._kept: deque[tuple[float, Expiring]] = deque()

    def add(self, one: Expiring) -> None:
        """End this one after the timeout unless it has ended by then."""
        if not self._kept:
            self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        self._kept.append((self._loop.time() + self._timeout_s, one))

    def _sweep(self) -> None:
        now_s, kept = self._loop.time(), self._kept
        while kept and (kept[0][1].is_settled or kept[0][0] <= now_s):
            _, one = kept.popleft()
            if not one.is_settled:
                one.expire()
        if kept:
            self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
