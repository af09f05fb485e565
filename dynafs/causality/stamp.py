"""Stamps: the name, dot and order of one version."""

from typing import NamedTuple

#: Bits of a hybrid time that count events within one millisecond.
COUNTER_BITS = 16


class Stamp(NamedTuple):
    """One write. Compares by time, then actor: a total order.

    time: hybrid time, wall milliseconds since 1970 shifted left by 16, plus a counter.
    actor: node name and data-directory generation, unique for ever.
    """

    time: int
    actor: str

    @property
    def wall_ms(self) -> int:
        """Milliseconds since 1970 by the hybrid clock."""
        return self.time >> COUNTER_BITS

    def __str__(self) -> str:
        """Return the stamp as text: hexadecimal time, dash, actor."""
        return f"{self.time:016x}-{self.actor}"


def hybrid_time(wall_ms: int) -> int:
    """Return the smallest hybrid time of a wall-clock millisecond."""
    return wall_ms << COUNTER_BITS
