"""Events that strangers cause are logged at a bounded rate, and none is lost from the counts."""

from hypothesis import given
from hypothesis import strategies as st

from dynafs.observe.pace import EventPace


def test_one_event_per_key_and_interval() -> None:
    """The first passes; those within the interval are counted by the next one that passes."""
    pace = EventPace(1.0)
    assert pace.admit("a", 10.0) == 0
    assert [pace.admit("a", 10.0 + t) for t in (0.0, 0.5, 0.99)] == [None, None, None]
    assert pace.admit("b", 10.5) == 0
    assert pace.admit("a", 11.0) == 3
    assert pace.admit("a", 12.5) == 0


def test_many_keys_share_one_pace() -> None:
    """A stranger with many addresses gets one line more than the table has keys."""
    pace = EventPace(1.0, keys_max=4)
    admitted = [pace.admit(str(i), 1.0) for i in range(1000)]
    assert admitted == [0] * 5 + [None] * 995
    assert pace.admit("late", 1.5) is None
    assert pace.admit("new", 2.0) == 0  # the table has room again
    assert sum(filter(None, (pace.admit(f"x{i}", 2.0) for i in range(10)))) == 996


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 0.7)), max_size=200))
def test_every_event_is_logged_or_counted(steps: list[tuple[str, float]]) -> None:
    """Lines and counts add up to the events, and no interval holds more lines than keys allow."""
    pace, now_s, lines, counted = EventPace(1.0, keys_max=3), 0.0, [], 0
    for key, pause_s in steps:
        now_s += pause_s
        if (suppressed := pace.admit(key, now_s)) is not None:
            lines.append(now_s)
            counted += suppressed
    now_s += 10
    for key in [*"abcdefgh", "p", "q", "r", "s"]:
        counted += pace.admit(key, now_s) or 0
    assert len(lines) + counted == len(steps)
    for start in lines:
        assert sum(start <= at < start + 0.999 for at in lines) <= 3 + 1
