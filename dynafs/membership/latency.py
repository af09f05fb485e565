"""How long reads take, and when a second owner should be asked as well (Dean, Barroso: "The Tail at Scale", 2013)."""

from collections import deque
from collections.abc import Callable, Sequence

#: Recent reads remembered, and how many new ones until the percentile is worked out again.
SAMPLES = 256
REFRESH_EVERY = 32


class HedgeDelay:
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


#: A peer counts as slow when it takes so many times as long as the fastest one asked, and at least so long.
SLOW_FACTOR, SLOW_MIN_S = 4.0, 0.005
#: Weight of the newest answer in a peer's mean.
NEWEST_WEIGHT = 0.2
#: After this time without an answer a slow peer is tried again.
FORGOTTEN_S = 10.0


class PeerLatency:
    """Knows which peers answer slowly at present, so that reads begin with others."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        #: {node: (mean seconds, when last heard)}
        self._means: dict[str, tuple[float, float]] = {}

    def add(self, node: str, latency_s: float) -> None:
        """Take one answer into account, or how long one had not come."""
        mean_s, _ = self._means.get(node, (latency_s, 0.0))
        self._means[node] = (mean_s + NEWEST_WEIGHT * (latency_s - mean_s), self._monotonic_s())

    def slow_last(self, nodes: Sequence[str]) -> list[str]:
        """Return the nodes in their order, but slow ones behind the others."""
        forgotten_s = self._monotonic_s() - FORGOTTEN_S
        known = ((node, *self._means[node]) for node in nodes if node in self._means)
        means = {node: mean_s for node, mean_s, heard_s in known if heard_s > forgotten_s}
        limit_s = max(SLOW_FACTOR * min(means.values(), default=0.0), SLOW_MIN_S)
        return sorted(nodes, key=lambda node: means.get(node, 0.0) > limit_s)
