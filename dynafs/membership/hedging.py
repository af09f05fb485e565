"""Hedges: further owners that are asked because those asked first are late, within a budget.

A hedge shortens a read while one owner is slow. While all owners are slow, because the cluster has more work than
processors, it adds to what makes them slow. So reads earn hedges (as in Finagle's `RetryBudget`): one for 20 reads,
and some at a time, which suffices while an owner becomes slow: from then on it is asked last (`latency.PeerLatency`).
A node whose own timers fire late sends none: what it waits for has probably come and waits for the event loop.
"""

import asyncio
from collections import deque
from typing import Protocol

from dynafs.observe import metrics

#: Hedges that a read earns.
SHARE = 0.05
#: Hedges earned in a second without any read, so that a node with few clients has some.
EARNED_PER_S = 1.0
#: Hedges kept at most: about as many as reads are under way to one owner when it becomes slow.
BURST = 100.0
#: A timer that fires later than this shows that the event loop is behind.
LAG_MAX_S = 0.01


class Waiting(Protocol):
    """A read that waits for answers."""

    @property
    def is_decided(self) -> bool:
        """Whether it waits no longer."""
        ...

    def on_late(self, due_s: float) -> None:
        """Ask a further owner if `Hedges.admit` lets it. due_s: loop time at which this should have been called."""
        ...


class Hedges:
    """The hedges of one node: its budget, and one timer for all reads that wait.

    Invariant: a timer runs while any read is kept.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left, self._earned_s = BURST, loop.time()
        #: (when it is late, read), mostly the earliest first
        self._kept: deque[tuple[float, Waiting]] = deque()
        self._due_s: float | None = None
        self._sent = metrics.hedges.labels("sent")
        self._refused = {reason: metrics.hedges.labels(reason) for reason in ("over_budget", "node_late")}
        #: reads, and hedges that were sent and refused, since the node started
        self.reads = self.sent = self.refused = 0

    def count_read(self) -> None:
        """Earn a share of a hedge."""
        self.reads += 1
        self._left += SHARE

    def is_behind(self, due_s: float) -> bool:
        """Return whether a timer that was due then shows that this node itself is late."""
        return self._loop.time() - due_s > LAG_MAX_S

    def admit(self, due_s: float) -> bool:
        """Return whether a late read may be sent to a further owner. due_s: loop time at which it became late."""
        now_s = self._loop.time()
        self._left = min(BURST, self._left + EARNED_PER_S * (now_s - self._earned_s))
        self._earned_s = now_s
        reason = "node_late" if self.is_behind(due_s) else "over_budget" if self._left < 1 else ""
        if reason:
            self.refused += 1
            self._refused[reason].inc()
            return False
        self._left -= 1
        self.sent += 1
        self._sent.inc()
        return True

    def watch(self, one: Waiting, due_s: float) -> None:
        """Call `on_late` of a read unless it is decided by then. due_s: loop time."""
        kept = self._kept
        while kept and kept[0][1].is_decided:
            kept.popleft()
        kept.append((due_s, one))
        if self._due_s is None:
            self._arm()

    def _arm(self) -> None:
        self._due_s = self._kept[0][0] if self._kept else None
        if self._due_s is not None:
            self._loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        due_s, now_s, kept = self._due_s or 0.0, self._loop.time(), self._kept
        try:
            while kept and (kept[0][0] <= now_s or kept[0][1].is_decided):
                _, one = kept.popleft()
                if not one.is_decided:
                    one.on_late(due_s)
        finally:
            self._arm()
