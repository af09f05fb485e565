"""Views: who is asked for what while a ring changes."""

from dynafs.ring import Member, place
from dynafs.ring.transition import RingState
from dynafs.ring.view import RingView


def hash_of(partition: int) -> bytes:
    """Return a hash that falls into one of 16 partitions."""
    return bytes([partition << 4]) + bytes(31)


def test_view_follows_the_steps() -> None:
    """Old owners are read from until the ring has switched; both hold everything meanwhile, and nobody else may."""
    old = place(tuple(Member(f"n{i}", "z") for i in range(1, 5)), 16, 3)
    members = (*old.members[1:], Member("n5", "y", address="host:1"))
    first = RingState.first(old)
    moving = first.moving_to(place(members, 16, 3, old, epoch=2))
    switched = moving.advanced()
    last = switched.advanced()
    views = [RingView(state) for state in (first, moving, switched, last)]
    assert [view.version for view in views] == [1, 2, 3, 4]
    assert [view.reading_ring.epoch for view in views] == [1, 1, 2, 2]
    assert [sorted(view.nodes) for view in views] == [
        ["n1", "n2", "n3", "n4"], ["n1", "n2", "n3", "n4", "n5"], ["n1", "n2", "n3", "n4", "n5"],
        ["n2", "n3", "n4", "n5"],
    ]  # fmt: skip
    assert views[1].addresses == {"n5": "host:1"}
    assert views[1].zones["n5"] == "y"
    for partition in range(16):
        place_of = hash_of(partition)
        before, after = old.owners[partition], last.ring.owners[partition]
        assert [view.readers(place_of) for view in views] == [before, before, after, after]
        both = (before,) if set(before) == set(after) else (before, after)
        assert [view.writers(place_of) for view in views] == [(before,), both, both, (after,)]
        for view in views:
            assert set(view.owners(place_of)) == {node for owners in view.writers(place_of) for node in owners}
            assert view.keepers(place_of)[: len(view.owners(place_of))] == view.owners(place_of)
            assert not set(view.fallbacks(place_of)) & set(view.owners(place_of))
            assert set(view.keepers(place_of)) <= set(view.nodes)
