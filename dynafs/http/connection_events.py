"""What the log and the metrics say about client connections, at a pace that strangers cannot raise."""

import time

from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.observe.pace import EventPace

log = get_logger()

#: How often the log says that a limit of connections is reached.
LIMIT_EVENT_INTERVAL_S = 10.0


class ConnectionEvents:
    """Counts and logs what happens to connections, at a pace that strangers cannot raise."""

    def __init__(self) -> None:
        self._refusals, self._limits = EventPace(), EventPace(LIMIT_EVENT_INTERVAL_S)

    def malformed(self, reason: str, address: str) -> None:
        """A client sent what is not a request. reason: a kind, never the bytes: they can hold a token."""
        if (suppressed := self._refusals.admit(address, time.monotonic())) is not None:
            log.warning("http.refused", reason=reason, address=address, suppressed=suppressed)

    def refused(self, limit: str, address: str) -> None:
        """A new connection was refused because a limit is reached."""
        metrics.http_connections_refused.labels(limit).inc()
        self._limited(limit, "refused", address)

    def dropped(self, reason: str, address: str) -> None:
        """A connection was closed from this end before its client was done."""
        metrics.http_connections_dropped.labels(reason).inc()
        if reason in ("made_room", "headers_pending"):
            self._limited(reason, "dropped", address)

    def _limited(self, limit: str, done: str, address: str) -> None:
        if (suppressed := self._limits.admit(limit, time.monotonic())) is not None:
            log.warning("connections.limited", limit=limit, done=done, address=address, suppressed=suppressed)
