"""The hybrid clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.causality import HybridClock
from dynafs.causality.clock import check_skew
from dynafs.causality.stamp import hybrid_time
from dynafs.errors import ClockSkewed


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, hybrid_time(10_000)), st.booleans())))
def test_stamps_only_grow_whatever_the_wall_clock_does(steps: list[tuple[int, int, bool]]) -> None:
    """Stamps grow over clock jumps and crashes, stay above what was seen, and below the durable ceiling."""
    clock, durable, last = HybridClock("a"), 0, -1
    for now_ms, above, crashes in steps:
        if crashes:
            clock = HybridClock("a", durable)
        stamp = clock.tick(now_ms, above)
        while stamp is None:
            durable = clock.next_ceiling(now_ms, above)
            clock.raise_ceiling(durable)
            stamp = clock.tick(now_ms, above)
        assert max(last, above) < stamp.time < durable
        last = stamp.time


def test_check_skew_refuses_stamps_from_the_future() -> None:
    """A stamp further ahead than allowed is refused, one within passes."""
    check_skew(hybrid_time(1500), now_ms=1000, allowed_ms=500)
    with pytest.raises(ClockSkewed) as caught:
        check_skew(hybrid_time(1501), now_ms=1000, allowed_ms=500)
    assert caught.value.evidence == {"ahead_ms": 501, "allowed_ms": 500}
