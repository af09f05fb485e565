"""Clocks that are wrong in the ways clocks are."""

import random
from collections.abc import Callable

#: What the wall clocks show at virtual time 0, give or take.
EPOCH_MS = 1_750_000_000_000


class SimClock:
    """The Clock port of one node. The wall clock may be off, drift and jump; randomness comes from the seed."""

    def __init__(self, now_s: Callable[[], float], rng: random.Random) -> None:
        self._now_s, self._rng = now_s, rng
        #: how far the wall clock is ahead
        self.offset_ms = 0
        #: how much faster than true it runs, 0.001 is a second in a thousand
        self.drift = 0.0

    def wall_ms(self) -> int:
        """Milliseconds since 1970, by this node's clock."""
        return EPOCH_MS + self.offset_ms + int(self._now_s() * (1 + self.drift) * 1000)

    def monotonic_s(self) -> float:
        """Seconds that only move forward."""
        return self._now_s()

    def random_bytes(self, size_bytes: int) -> bytes:
        """Bytes drawn from the seed."""
        return self._rng.randbytes(size_bytes)
