"""How fast a client sends and takes: what a node waits for, and when it gives up."""

import asyncio
from collections.abc import Awaitable

from dynafs.config import HttpSettings
from dynafs.errors import BodyIncomplete, BodyTooSlow


class Pace:
    """One client during one request; a `Client` of byte budgets.

    Only time in which this node is ready to read or has offered bytes counts. Waiting puts the client behind by that
    many seconds, bytes let it catch up at the least rate, and it is never ahead: a burst buys no pause.
    """

    __slots__ = ("_lag_s", "_rate_bytes_per_s", "_since_s", "_stall_timeout_s", "_timeout", "_waited_s", "_window_s",
                 "address", "is_cut")  # fmt: skip

    def __init__(self, address: str, settings: HttpSettings) -> None:
        """address: of the client, without its port."""
        self.address = address
        self._rate_bytes_per_s = settings.body_rate_bytes_per_s_min
        self._window_s, self._stall_timeout_s = settings.body_rate_window_s, settings.body_stall_timeout_s
        self._waited_s = self._lag_s = 0.0
        #: since when it is waited for, None while it is not
        self._since_s: float | None = None
        self._timeout: asyncio.Timeout | None = None
        #: whether it was given up so that others get room
        self.is_cut = False

    @property
    def is_behind(self) -> bool:
        """Whether it has anything to catch up with."""
        return self._lag_s > 0

    def begin_wait(self) -> None:
        """From now on this node waits for the client."""
        self._since_s = asyncio.get_running_loop().time()

    def end_wait(self) -> None:
        """The node does not wait any more."""
        self._count()
        self._since_s = None

    def _count(self) -> None:
        if self._since_s is not None:
            now_s = asyncio.get_running_loop().time()
            self._waited_s += now_s - self._since_s
            self._lag_s += now_s - self._since_s
            self._since_s = now_s

    def move(self, size_bytes: int) -> None:
        """Note that the client sent or took bytes."""
        self._count()
        self._lag_s = max(0.0, self._lag_s - size_bytes / self._rate_bytes_per_s)

    @property
    def is_waited_for(self) -> bool:
        """Whether it is the client's turn."""
        return self._since_s is not None

    @property
    def is_too_slow(self) -> bool:
        """Whether it is further behind than any client may be."""
        return self.lag_s() >= self._window_s

    def waited_s(self) -> float:
        """Return for how long in all this node has waited for the client."""
        self._count()
        return self._waited_s

    def lag_s(self) -> float:
        """Return how far it is behind the least rate."""
        self._count()
        return self._lag_s

    def cut(self) -> None:
        """End the wait for the client's bytes: others need the room. What sends overrides this."""
        self.is_cut = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def receive(self, read: Awaitable[bytes]) -> bytes:
        """Return what the client sends next. Raises BodyTooSlow, BodyIncomplete."""
        self.begin_wait()
        patience_s = 0 if self.is_cut else min(self._stall_timeout_s, self._window_s - self._lag_s)
        try:
            async with asyncio.timeout(patience_s) as self._timeout:
                piece = await read
        except TimeoutError:
            raise self._error() from None
        finally:
            self._timeout = None
            self.end_wait()
        self.move(len(piece))
        if self.is_cut or self._lag_s >= self._window_s:
            raise self._error()
        return piece

    def _error(self) -> BodyIncomplete:
        if self.is_cut:
            return BodyTooSlow("the body came too slowly while other clients waited for memory")
        if self.is_too_slow:
            rate = f"{self._rate_bytes_per_s} bytes/s"
            return BodyTooSlow(f"the body came {self._window_s:g} s too slowly for {rate}", rate_min=rate)
        return BodyIncomplete(f"the body sent nothing for {self._stall_timeout_s:g} s")
