"""How long reads take, and when a second owner should be asked as well (Dean, Barroso: "The Tail at Scale", 2013)."""

from collections import deque

#: Recent reads remembered, and how many new ones until the percentile is worked out again.
SAMPLES = 256
REFRESH_EVERY = 32


class LatencyTracker:
    """Keeps the 95th percentile of recent latencies."""

    def __init__(self, hedge_min_s: float) -> None:
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._hedge_min_s = hedge_min_s
        self._until_refresh = REFRESH_EVERY
        #: seconds after which to hedge
        self.hedge_s = hedge_min_s

    def add(self, latency_s: float) -> None:
        """Take one finished read into account."""
        self._samples.append(latency_s)
        self._until_refresh -= 1
        if self._until_refresh <= 0:
            self._until_refresh = REFRESH_EVERY
            ordered = sorted(self._samples)
            self.hedge_s = max(self._hedge_min_s, ordered[int(0.95 * (len(ordered) - 1))])
