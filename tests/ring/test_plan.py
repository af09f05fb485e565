"""Staged changes and plans: what operators ask for, and what they are told before they commit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import ChangeRefused, DynafsError, RequestInvalid, RingTooSmall
from dynafs.ring import Member, place
from dynafs.ring.change import Change, changed
from dynafs.ring.names import WEIGHT_MAX, WEIGHT_MIN
from dynafs.ring.plan import copies_without, make_plan
from dynafs.ring.transition import RingState

PARTITIONS = 256


def members(count: int, zones: int = 0) -> tuple[Member, ...]:
    return tuple(Member(f"n{i}", f"z{i % (zones or count)}") for i in range(1, count + 1))


RING = place(members(4), PARTITIONS, 3)
SMALL = place(members(4), 16, 3)


def test_changes_are_folded_in_their_order() -> None:
    """Joins, leaves, replacements, weights and zones of one plan build on each other."""
    after = changed(
        RING.members,
        [
            Change("join", "n5", weight=2.0, zone="z9"),
            Change("leave", "n1"),
            Change("replace", "n2", by="n6"),
            Change("weight", "n5", weight=3.0),
            Change("zone", "n6", zone="attic"),
            Change("join", "n1"),
        ],
    )
    assert {(m.node, m.zone, m.weight) for m in after} == {
        ("n1", "default", 1.0), ("n3", "z3", 1.0), ("n4", "z0", 1.0), ("n5", "z9", 3.0), ("n6", "attic", 1.0),
    }  # fmt: skip
    assert [m.node for m in after] == sorted(m.node for m in after)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (Change("join", "n1"), "join n1: n1 is a member already"),
        (Change("leave", "n9"), "leave n9: n9 is no member; members are n1, n2, n3, n4"),
        (Change("replace", "n1", by="n2"), "replace n1 by n2: n2 is a member already"),
        (Change("replace", "n1"), "by: '' is no name of a node; use 1 to 63 of a-z"),
        (Change("replace", "n1", by=".."), "by: '..' is no name of a node"),
        (Change("join", "../x"), "node: '../x' is no name of a node"),
        (Change("join", "n5", zone=""), "zone: '' is no name"),
        (Change("join", "n5", address="n5:0"), "address: 'n5:0' is not HOST:PORT"),
        (Change("leave", "n\x1b"), r"node: 'n\\x1b' is no name of a node"),
        (Change("weight", "n1", weight=0.0), "weight: use a number from 0.001 to 1000000, not 0"),
        (Change("weight", "n1", weight=math.nan), "weight: use a number from 0.001 to 1000000, not nan"),
        (Change("weight", "n1", weight=math.inf), "weight: use a number from 0.001 to 1000000, not inf"),
        (Change("weight", "n1"), "weight: give the weight that the node is to have"),
        (Change("zone", "n1"), "zone: give the zone that the node is to have"),
        (Change("zone", "n9", zone="z"), "zone of n9 to z: n9 is no member"),
    ],
)
def test_impossible_changes_say_why(change: Change, problem: str) -> None:
    """What cannot be is refused by its name and reason."""
    with pytest.raises((ChangeRefused, RequestInvalid), match=problem):
        changed(RING.members, [change])


def test_member_with_an_odd_name_can_leave() -> None:
    """Rules for names bind newcomers; who has such a name from earlier must not be stuck in the ring."""
    odd = place((*RING.members, Member("n/9", "z9")), PARTITIONS, 3)
    assert [member.node for member in changed(odd.members, [Change("leave", "n/9")])] == ["n1", "n2", "n3", "n4"]


CHANGES = st.builds(
    Change,
    st.sampled_from(["join", "leave", "replace", "weight", "zone"]),
    st.sampled_from(["n1", "n2", "n3", "n4", "n5", "n6"]) | st.text(),
    st.sampled_from(["", "n5", "n6", "n7"]) | st.text(),
    st.none() | st.floats() | st.sampled_from([WEIGHT_MIN, 1.0, WEIGHT_MAX]),
    st.none() | st.sampled_from(["default", "z1", "z2", "z9"]) | st.text(),
    st.sampled_from(["", "n5:7400"]) | st.text(),
)


@given(st.lists(CHANGES, max_size=8))
def test_whatever_can_be_staged_can_be_planned_and_shown(changes: list[Change]) -> None:
    """Each change is refused with an error of ours, or leaves a state whose plan can be made and told."""
    state = RingState.first(SMALL)
    for change in changes:
        try:
            state = state.staging(change)
        except DynafsError:
            continue
        plan = make_plan(state.newest, state.staged, state.epoch_max + 1)
        assert [str(one) for one in plan.changes]
        assert math.isfinite(plan.imbalance)


def test_join_moves_what_it_must() -> None:
    """A fifth node gets its share, from the owners that stay where possible, and nothing else moves."""
    plan = make_plan(RING, [Change("join", "n5", zone="z5")], 2)
    assert {move.to for move in plan.moves} == {"n5"}
    assert len(plan.moves) == plan.moves_min == plan.after.loads["n5"]
    assert abs(len(plan.moves) - 3 * PARTITIONS / 5) <= 1
    for move in plan.moves:
        assert set(move.sources) == set(RING.owners[move.partition])
        stays = [node in plan.after.owners[move.partition] for node in move.sources]
        assert stays == sorted(stays, reverse=True)
    assert plan.imbalance < 0.02
    assert plan.warnings == ()
    assert (plan.before.epoch, plan.after.epoch) == (1, 2)


def test_replacement_takes_exactly_the_place() -> None:
    """Nothing moves but to the newcomer, and it owns what the other did."""
    plan = make_plan(RING, [Change("replace", "n2", by="n7")], 2)
    assert {move.to for move in plan.moves} == {"n7"}
    assert len(plan.moves) == RING.loads["n2"]
    assert all("n2" in RING.owners[move.partition] for move in plan.moves)


def test_plan_warns_of_crowded_zones_and_wholesale_moves() -> None:
    """Two copies in one zone, and partitions that share no owner with before."""
    crowded = make_plan(RING, [Change("zone", "n1", zone="z2"), Change("zone", "n3", zone="z2")], 2)
    assert any("two copies in one zone" in warning for warning in crowded.warnings)
    swaps = [Change("replace", f"n{i}", by=f"m{i}") for i in range(1, 5)]
    assert make_plan(RING, swaps, 2).warnings == (f"{PARTITIONS} partitions change all their owners at once",)
    with pytest.raises(RingTooSmall):
        make_plan(RING, [Change("leave", "n1"), Change("leave", "n2")], 2)


def test_hash_names_ring_and_changes() -> None:
    """The same changes of the same ring have one hash; anything else another."""
    join = Change("join", "n5", zone="z5")
    first = make_plan(RING, [join], 2)
    assert first.hash == make_plan(RING, [join], 2).hash
    others = [make_plan(RING, [join], 3), make_plan(RING, [Change("join", "n6", zone="z5")], 2)]
    others.append(make_plan(place(members(5), PARTITIONS, 3), [Change("leave", "n5")], 2))
    assert len({first.hash, *(other.hash for other in others)}) == 4


def test_loss_of_nodes_is_told_beforehand() -> None:
    """How many copies would be left of how many partitions."""
    assert copies_without(RING, []) == {3: PARTITIONS}
    one = copies_without(RING, ["n1"])
    assert one == {2: RING.loads["n1"], 3: PARTITIONS - RING.loads["n1"]}
    assert sum(copies_without(RING, ["n1", "n2", "n3"]).values()) == PARTITIONS
    assert min(copies_without(RING, ["n1", "n2", "n3"])) == 0
