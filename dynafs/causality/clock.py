"""The hybrid logical clock (Kulkarni et al. 2014), one per node.

Rule 1: times only grow, also across restarts: a time is issued only below `ceiling`, which the caller makes durable
first, and a restarted clock begins at the ceiling it finds.
Rule 2: a time is always above every time the caller has seen for that file.
"""

from dynafs.causality.stamp import Stamp, hybrid_time
from dynafs.errors import ClockSkewed

#: How far ahead of the wall clock the ceiling is made durable. Longer means fewer writes, and a clock that starts
#: further in the future after a restart.
CEILING_LEAD_MS = 3_000


class HybridClock:
    """Issues stamps for one actor. Invariant: `last` < `ceiling` whenever a stamp is out."""

    def __init__(self, actor: str, floor: int = 0) -> None:
        self.actor = actor
        self._last = floor
        self._ceiling = floor

    @property
    def ceiling(self) -> int:
        """Hybrid time below which stamps may be issued."""
        return self._ceiling

    def raise_ceiling(self, ceiling: int) -> None:
        """Allow times below `ceiling`, which is durable by now."""
        self._ceiling = max(self._ceiling, ceiling)

    def next_ceiling(self, now_ms: int, above: int = 0) -> int:
        """Return the ceiling worth making durable at `now_ms` for a time greater than `above`."""
        return max(self._last, above, hybrid_time(now_ms)) + hybrid_time(CEILING_LEAD_MS)

    def needs_ceiling(self, now_ms: int) -> bool:
        """Return whether less than half of the lead is left."""
        return max(self._last, hybrid_time(now_ms)) + hybrid_time(CEILING_LEAD_MS // 2) > self._ceiling

    def tick(self, now_ms: int, above: int) -> Stamp | None:
        """Return a stamp greater than all issued before and than `above`; None when the ceiling must rise first."""
        time = max(hybrid_time(now_ms), self._last + 1, above + 1)
        if time >= self._ceiling:
            return None
        self._last = time
        return Stamp(time, self.actor)


def check_skew(time: int, now_ms: int, allowed_ms: int) -> None:
    """Raise ClockSkewed when a hybrid time lies more than `allowed_ms` after `now_ms`."""
    ahead_ms = (time >> 16) - now_ms
    if ahead_ms > allowed_ms:
        raise ClockSkewed(ahead_ms, allowed_ms)
