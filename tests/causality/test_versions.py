"""Version sets: merge laws on histories that real coordinators could make, and the stamp order."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from dynafs.causality import Stamp, VersionSet


@dataclass(frozen=True)
class Write:
    stamp: Stamp


Set = VersionSet[Write]
EMPTY = VersionSet({}, ())


@st.composite
def replicas(draw: st.DrawFn) -> list[VersionSet]:
    """Return three replicas after a random history of reads, writes and merges; times are never issued twice."""
    held = [EMPTY, EMPTY, EMPTY]
    time = 0
    for _ in range(draw(st.integers(0, 12))):
        at = draw(st.integers(0, 2))
        if draw(st.booleans()):
            seen = EMPTY
            for other in draw(st.sets(st.integers(0, 2))):
                seen = seen.merge(held[other])
            time = max(time, seen.time_max) + 1
            held[at] = held[at].merge(seen.write(Write(Stamp(time, f"a{at}"))))
        else:
            held[at] = held[at].merge(held[draw(st.integers(0, 2))])
        if draw(st.booleans()):
            held[at] = held[at].last_writer_wins()
    return held


@given(replicas())
def test_merge_is_commutative_associative_idempotent(held: list[VersionSet]) -> None:
    """Replicas may exchange what they know in any order and any number of times."""
    a, b, c = held
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert a.merge(b).merge(b) == a.merge(b)


@given(replicas())
def test_merge_never_loses_the_newest_write(held: list[VersionSet]) -> None:
    """The greatest stamp anyone holds survives every merge: the last writer wins."""
    a, b, c = held
    stamps = [one.newest.stamp for one in held if one.newest is not None]
    newest = a.merge(b).merge(c).newest
    assert (newest.stamp if newest else None) == max(stamps, default=None)


@given(replicas())
def test_absorbs_means_merging_changes_nothing(held: list[VersionSet]) -> None:
    """`absorbs` is the cheap test for a merge that would be the same record."""
    a, b, _ = held
    assert a.absorbs(b) == (a.merge(b) == a)


@given(replicas())
def test_write_replaces_everything_seen(held: list[VersionSet]) -> None:
    """A write that saw a record dominates all of it, with a greater stamp."""
    a, b, _ = held
    seen = a.merge(b)
    written = seen.write(Write(Stamp(seen.time_max + 1, "writer")))
    assert written.merge(a).merge(b) == written
    assert all(version.stamp < written.newest.stamp for version in seen.versions)


def test_concurrent_writes_stand_as_siblings_until_one_saw_both() -> None:
    """Two writes that did not see each other both stand; a third that saw them replaces both."""
    one, two = EMPTY.write(Write(Stamp(1, "a"))), EMPTY.write(Write(Stamp(2, "b")))
    both = one.merge(two)
    assert len(both.versions) == 2
    assert len(both.write(Write(Stamp(3, "a"))).merge(one).merge(two).versions) == 1
