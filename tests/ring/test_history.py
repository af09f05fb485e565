"""What is remembered of rings that were."""

from dynafs.ring import Member, place
from dynafs.ring.change import Change
from dynafs.ring.history import PASTS_MAX, Past, extended
from dynafs.ring.plan import make_plan
from dynafs.ring.transition import RingState

FOUNDED = RingState.first(place(tuple(Member(f"n{i}", "z", 1.0) for i in range(1, 5)), 16, 3))


def moving(state: RingState, *changes: Change) -> RingState:
    plan = make_plan(state.ring, changes, state.epoch_max + 1)
    return state.moving_to(plan.after)


def test_rings_are_remembered_with_what_changed() -> None:
    """Founded, reached, given up: one entry each, whatever states lie between."""
    history: tuple[Past, ...] = ()
    one = moving(FOUNDED, Change("join", "n5", zone="z"), Change("weight", "n1", weight=2.0))
    two = one.advanced().advanced()
    three = moving(two, Change("leave", "n2"))
    four = three.cancelled()
    for now_ms, (before, after) in enumerate(((FOUNDED, one), (one, two), (two, three), (three, four)), 1):
        history = extended(history, before, after, now_ms)
    assert history == (
        Past(1, "founded"),
        Past(2, "reached", ("n5 joined", "weight of n1 from 1 to 2"), 1, 2),
        Past(3, "cancelled", ("n2 left",), 3, 4),
    )


def test_learning_again_or_late_does_no_harm() -> None:
    """A state learned twice adds nothing; states that were missed are told by what came of them."""
    one = moving(FOUNDED, Change("zone", "n1", zone="attic"))
    history = extended((), FOUNDED, one, 1)
    assert extended(history, FOUNDED, one, 9) == history
    two = moving(one.advanced().advanced(), Change("leave", "n4"))
    assert [(past.epoch, past.outcome) for past in extended(history, one, two, 2)] == [
        (1, "founded"), (2, "reached"), (3, "moving"),
    ]  # fmt: skip
    late = extended((), FOUNDED, two.advanced().advanced(), 5)
    assert late[-1] == Past(3, "reached", ("n4 left", "zone of n1 from z to attic"), 5, 5)


def test_history_is_bounded() -> None:
    """The oldest go."""
    state, history = FOUNDED, ()
    for weight in range(2, PASTS_MAX + 4):
        before, state = state, moving(state, Change("weight", "n1", weight=float(weight))).advanced().advanced()
        history = extended(history, before, state, weight)
    assert len(history) == PASTS_MAX
    assert history[-1].epoch == state.ring.epoch
