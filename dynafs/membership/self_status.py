"""What a node says of itself: since when it runs, where clients reach it, and whether it is being drained."""

from collections.abc import Callable

from dynafs.observe.events import get_logger

log = get_logger()


class SelfStatus:
    """The status of one node. restart: stops the node and starts it again; None where that is not offered."""

    def __init__(self, started_ms: int, restart: Callable[[], None] | None = None) -> None:
        """started_ms: by this node's clock."""
        self.started_ms, self.restart = started_ms, restart
        self._http, self._is_draining = "", False

    @property
    def http(self) -> str:
        """HOST:PORT where clients reach this node; empty until it serves them."""
        return self._http

    @property
    def is_draining(self) -> bool:
        """Whether this node is being taken out of service."""
        return self._is_draining

    def announce(self, http: str) -> None:
        """This node serves clients from now on. http: HOST:PORT where they reach it."""
        self._http = http

    def set_draining(self, *, is_on: bool) -> None:
        """Go out of service, or back into it."""
        if is_on != self._is_draining:
            self._is_draining = is_on
            if is_on:
                log.info("node.draining")
            else:
                log.info("node.resumed")
