"""What happened, in order: a running hash for everybody, lines for who asks, and the log events of the nodes."""

import hashlib
from collections.abc import Callable, MutableMapping
from typing import Any, Never

import structlog

from dynafs.sim.loop import current_life

#: Log events kept with a run, the newest ones.
EVENTS_MAX = 2000


class Trace:
    """Everything observable goes through `note`; equal hashes mean equal runs."""

    def __init__(self, now_s: Callable[[], float], show: Callable[[str], None] | None = None) -> None:
        """show: gets every line, for a person to read."""
        self._now_s, self._show = now_s, show
        self._hash = hashlib.sha256()
        self.count = 0
        #: log events of level error: (node, event, fields)
        self.errors: list[tuple[str, str, dict[str, Any]]] = []

    def note(self, who: str, what: str, details: object = "") -> None:
        """Add one thing that happened."""
        line = f"{self._now_s():.6f} {who} {what} {details}"
        self.count += 1
        self._hash.update(line.encode(errors="surrogateescape"))
        if self._show is not None:
            self._show(line)

    @property
    def digest(self) -> str:
        """Hash of everything so far, 16 hexadecimal digits."""
        return self._hash.hexdigest()[:16]

    def on_event(self, logger: object, method: str, event: MutableMapping[str, Any]) -> Never:  # noqa: ARG002
        """Take a log event of a node (a structlog processor)."""
        life = current_life.get()
        if life is None or life.is_alive:
            node = life.node if life is not None else "world"
            fields = {name: value for name, value in event.items() if name not in ("event", "exc_info")}
            self.note(node, event["event"], fields)
            if method in ("error", "exception", "critical"):
                self.errors.append((node, event["event"], fields))
        raise structlog.DropEvent

    def capture_logs(self) -> None:
        """Route the log events of this process here."""
        structlog.configure(
            processors=[self.on_event], wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=False,
        )  # fmt: skip
