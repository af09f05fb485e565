"""The checker itself: histories that must pass and histories that must fail."""

import pytest

from dynafs.sim.linearizability import Operation, is_linearizable

INF = float("inf")


def ops(*rows: tuple) -> list[Operation]:
    return [Operation(*row) for row in rows]


@pytest.mark.parametrize(
    "history",
    [
        ops(("read", None, 0, 1)),
        ops(("write", "a", 0, 1), ("read", "a", 2, 3)),
        ops(("write", "a", 0, 3), ("read", None, 1, 2), ("read", "a", 4, 5)),
        ops(("write", "a", 0, 3), ("read", "a", 1, 2)),
        ops(("write", "a", 0, INF), ("read", None, 1, 2), ("read", "a", 3, 4)),
        ops(("write", "a", 0, INF), ("read", None, 1, 2), ("read", None, 3, 4)),
        ops(("write", "a", 0, 5), ("write", "b", 0, 5), ("read", "b", 6, 7), ("read", "b", 8, 9)),
        ops(("write", "a", 0, 1), ("write", None, 2, 3), ("read", None, 4, 5)),
    ],
)
def test_histories_of_a_register_pass(history: list[Operation]) -> None:
    """What an atomic register could have done is accepted."""
    assert is_linearizable(history)


@pytest.mark.parametrize(
    "history",
    [
        ops(("write", "a", 0, 1), ("read", None, 2, 3)),
        ops(("write", "a", 0, 1), ("write", "b", 2, 3), ("read", "a", 4, 5)),
        ops(("write", "a", 0, 9), ("read", "a", 1, 2), ("read", None, 3, 4)),
        ops(("write", "a", 0, INF), ("read", "a", 1, 2), ("read", None, 3, 4)),
        ops(("write", "a", 0, 5), ("write", "b", 0, 5), ("read", "a", 6, 7), ("read", "b", 8, 9)),
        ops(("write", "a", 0, 1), ("write", None, 2, 3), ("read", "a", 4, 5)),
        ops(("read", "a", 0, 1)),
    ],
)
def test_histories_no_register_could_make_fail(history: list[Operation]) -> None:
    """Lost writes, stale reads, flips back and resurrected deletes are found."""
    assert not is_linearizable(history)
