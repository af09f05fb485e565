"""Versions that stand beside each other: what merging keeps, and what a writer replaces."""

from collections.abc import Callable, Mapping
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.causality import Stamp
from dynafs.files import Record, Version, VersionKind
from dynafs.files.version import EMPTY


def version(time: int, actor: str, etag: str = "", *, keeps_both: bool = True) -> Version:
    return Version(Stamp(time, actor), VersionKind.FILE, etag=etag or f"{time}{actor}", keeps_both=keeps_both)


def etags(record: Record) -> list[str]:
    return [one.etag for one in record.versions]


#: (node that writes, whether it has seen what another node holds)
WRITES = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, 0, 1, 2]), st.sampled_from("ab")), max_size=8)


@given(WRITES)
def test_replicas_agree_in_whatever_order_they_hear_of_it(writes) -> None:
    """Each node writes over its own record, having seen nothing, or what some node holds; then all records merge."""
    held = [EMPTY, EMPTY, EMPTY]
    for time, (node, seen, etag) in enumerate(writes, 1):
        context = {} if seen is None else held[seen].context
        held[node] = held[node].with_sibling(version(time, f"n{node}", etag), context).resolved()
    results = {
        tuple(etags(one)) + tuple(one.stamps)
        for order in permutations(held)
        for one in [reduce(lambda left, right: left.merge(right).resolved(), order).resolved()]
    }
    assert len(results) == 1


#: (node that writes, node whose record its client has read, bytes of context that the client hands on, node that merges
#: with the writer afterwards)
SEEN_WRITES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([20, 32, 60, 10_000]), st.integers(0, 2)),
    max_size=12,
)


def standing(record: Record) -> Mapping[str, int]:
    """Return the least context that a reader may hand on and still replace all that stands."""
    actors = {version.stamp.actor for version in record.versions}
    return {actor: time for actor, time in record.context.items() if actor in actors}


def played(writes, shown: Callable[[Record, int], Mapping[str, int]]) -> Record:
    """Return the join of three replicas after these writes. shown: the context that a reader hands on."""
    held = [EMPTY, EMPTY, EMPTY]
    for time, (node, read, size_bytes, other) in enumerate(writes, 1):
        held[node] = held[node].with_sibling(version(time, f"n{node}"), shown(held[read], size_bytes))
        held[other] = held[other].merge(held[node])
    return reduce(lambda left, right: left.merge(right), held)


@given(SEEN_WRITES)
def test_part_of_a_context_never_replaces_more_than_the_whole(writes) -> None:
    """Whatever stands when clients hand on all that they have seen stands as well when they hand on less."""
    whole = played(writes, lambda record, _: record.context)
    part = played(writes, lambda record, size_bytes: record.shown_context(size_bytes))
    assert set(whole.stamps) <= set(part.stamps)


@given(SEEN_WRITES)
def test_actors_of_what_stands_are_all_that_a_write_needs(writes) -> None:
    """Once all replicas have merged, it is as if the whole context had been handed on."""
    whole = played(writes, lambda record, _: record.context)
    assert played(writes, lambda record, _: standing(record)).versions == whole.versions


def test_write_that_saw_nothing_stands_beside_what_is_there() -> None:
    """Also when the same node wrote both, which a plain version vector could not tell apart."""
    record = EMPTY.with_sibling(version(1, "n1"), {}).with_sibling(version(2, "n1"), {})
    assert etags(record) == ["2n1", "1n1"]
    elsewhere = EMPTY.with_sibling(version(1, "n1"), {})
    assert etags(elsewhere.merge(record)) == ["2n1", "1n1"]


def test_write_replaces_what_it_saw() -> None:
    """And only that: a version that came meanwhile stays."""
    seen = EMPTY.with_sibling(version(1, "n1"), {}).with_sibling(version(2, "n2"), {})
    now = seen.with_sibling(version(3, "n2"), {})
    assert etags(now.with_sibling(version(4, "n1"), seen.context)) == ["4n1", "3n2"]


def test_equal_contents_are_one_version() -> None:
    """To readers, whoever wrote them; a node that is told what it holds already keeps the later one only."""
    first, second = (EMPTY.with_sibling(version(time, f"n{time}", "same"), {}) for time in (1, 2))
    assert [one.stamp for one in first.merge(second).files] == [Stamp(2, "n2")]
    assert first.with_sibling(version(3, "n1", "same"), {}).stamps == (Stamp(3, "n1"),)


def test_last_writer_wins_unless_both_are_kept() -> None:
    """By the greatest stamp."""
    record = Record.of({}, [version(1, "n1", keeps_both=False), version(2, "n2", keeps_both=False)])
    assert etags(record.resolved()) == ["2n2"]


@pytest.mark.parametrize("is_first", [True, False])
def test_delete_is_no_sibling_of_a_file_to_readers(is_first: bool) -> None:
    """A tombstone that stands beside a file leaves one file to read."""
    tombstone = Version(Stamp(2 * is_first, "n2"), VersionKind.TOMBSTONE, keeps_both=True)
    record = EMPTY.with_sibling(version(1, "n1"), {}).with_sibling(tombstone, {})
    assert [one.etag for one in record.files] == ["1n1"]


def test_header_fields_are_apart_from_metadata() -> None:
    """Both are kept in one mapping, so that records of older versions keep their bytes; names tell them apart."""
    kept = {"content-encoding": "mine", "Content-Encoding": "gzip", "expires": "never", "Expires": "0"}
    one = Version(Stamp(1, "n1"), VersionKind.FILE, metadata=kept)
    assert one.user_metadata == {"content-encoding": "mine", "expires": "never"}
    assert one.header_fields == {"Content-Encoding": "gzip", "Expires": "0"}
