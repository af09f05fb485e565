"""Where stamps come from: the hybrid clock, with its ceiling kept durable ahead of use."""

import asyncio

from dynafs.causality import HybridClock, Stamp
from dynafs.causality.clock import check_skew
from dynafs.jobs.tasks import note_failure
from dynafs.ports import Clock, Store


class StampSource:
    """Issues this node's stamps. A stamp is never issued twice, not even across a crash or a clock that jumps back."""

    def __init__(self, hybrid: HybridClock, clock: Clock, store: Store, max_clock_skew_ms: int) -> None:
        self._hybrid, self._clock, self._store = hybrid, clock, store
        self._max_clock_skew_ms = max_clock_skew_ms
        self._raising: asyncio.Task[None] | None = None

    def wall_ms(self) -> int:
        """Return what this node's clock shows."""
        return self._clock.wall_ms()

    async def next(self, above: int) -> Stamp:
        """Return a stamp greater than `above`. Raises ClockSkewed when `above` lies too far in our future."""
        now_ms = self._clock.wall_ms()
        check_skew(above, now_ms, self._max_clock_skew_ms)
        while (stamp := self._hybrid.tick(now_ms, above)) is None:
            await asyncio.shield(self._raise_ceiling(above))
            now_ms = self._clock.wall_ms()
        if self._hybrid.needs_ceiling(now_ms):
            self._raise_ceiling(above)
        return stamp

    def check(self, time: int) -> None:
        """Raise ClockSkewed when a peer's stamp lies too far in our future."""
        check_skew(time, self._clock.wall_ms(), self._max_clock_skew_ms)

    def _raise_ceiling(self, above: int) -> "asyncio.Task[None]":
        if self._raising is None or self._raising.done():
            ceiling = self._hybrid.next_ceiling(self._clock.wall_ms(), above)
            self._raising = asyncio.create_task(self._make_durable(ceiling))
            self._raising.add_done_callback(note_failure)
        return self._raising

    async def _make_durable(self, ceiling: int) -> None:
        await self._store.put_clock_ceiling(ceiling)
        self._hybrid.raise_ceiling(ceiling)
