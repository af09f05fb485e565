"""One timer for the deadlines and the silence of many connections, instead of one timer each."""

import asyncio
from typing import Protocol

from dynafs.observe.events import get_logger

log = get_logger()

#: How often connections are looked at; whatever is due is done this much later at worst.
SWEEP_INTERVAL_S = 0.1


class Swept(Protocol):
    """A connection. due_s: the loop time from which it wants to be looked at; `sweep` sets the next one."""

    due_s: float
    address: str

    def sweep(self, now_s: float) -> None:
        """Do what is due."""
        ...

    def on_bug(self) -> None:
        """Close: a sweep failed in a way that is logged already."""
        ...


class Sweeper:
    """Sweeps connections when they are due. Invariant: a timer runs while there are any."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Swept, None] = {}
        self._is_running = False

    def add(self, connection: Swept) -> None:
        """Look after a connection from now on."""
        self._connections[connection] = None
        if not self._is_running:
            self._is_running = True
            self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)

    def discard(self, connection: Swept) -> None:
        """Leave a connection alone."""
        self._connections.pop(connection, None)

    def _sweep(self) -> None:
        self._is_running = bool(self._connections)
        if not self._connections:
            return
        # Before anything that may fail: calls on connections that nothing sweeps would wait for ever.
        self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        now_s = self._loop.time()
        for connection in [one for one in self._connections if one.due_s <= now_s]:
            try:
                connection.sweep(now_s)
            except Exception as error:
                log.exception("peer.connection_failed", address=connection.address, error=repr(error))
                connection.on_bug()
