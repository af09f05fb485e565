"""Byte ranges and chunk spans."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import RangeNotSatisfiable
from dynafs.files import spans_of
from dynafs.files.manifest import PAGE_CHUNKS, plan_pages, split_ids
from dynafs.files.ranges import RANGE_COUNT_MAX, parse_ranges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=90-", [(90, 100)]),
        ("bytes=-10", [(90, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("bytes=50-1000", [(50, 100)]),
        ("bytes=0-9,20-29", [(0, 10), (20, 30)]),
        ("bytes=20-29,0-9,5-21", [(0, 30)]),
        ("bytes=0-9,200-300", [(0, 10)]),
        ("items=0-9", None),
        ("bytes=9-0", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("Bytes=0-1", [(0, 2)]),
        ("BYTES=-10", [(90, 100)]),
        ("bytes=0-1,,8-9", [(0, 2), (8, 10)]),
        ("bytes=, 0-1\t,", [(0, 2)]),
        ("bytes=,", None),
        ("bytes =0-1", None),
        ("bytes=0-1;2-3", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=0-" + "9" * 5000, [(0, 100)]),
        ("bytes=-" + "9" * 5000, [(0, 100)]),
        ("bytes=" + "0" * 30 + "5-6", [(5, 7)]),
        ("bytes=" + ",".join(["0-0"] * RANGE_COUNT_MAX), [(0, 1)]),
        ("bytes=" + ",".join(["0-0"] * (RANGE_COUNT_MAX + 1)), None),
        (None, None),
    ],
)
def test_parse_ranges(header: str | None, expected: list[tuple[int, int]] | None) -> None:
    """Ranges are understood as RFC 9110 wants; what is malformed is ignored."""
    assert parse_ranges(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0", "bytes=" + "9" * 5000 + "-"])
def test_parse_ranges_outside_the_file_is_refused(header: str) -> None:
    """A range that touches no byte is an error that tells the size."""
    with pytest.raises(RangeNotSatisfiable):
        parse_ranges(header, 100)


def test_suffix_of_an_empty_file_is_the_whole_file() -> None:
    """It is satisfiable, but no Content-Range can name no bytes; a first position in an empty file is not."""
    assert parse_ranges("bytes=-5", 0) is None
    for header in ("bytes=0-", "bytes=0-0", "bytes=-0"):
        with pytest.raises(RangeNotSatisfiable):
            parse_ranges(header, 0)


@given(st.integers(0, 20), st.lists(st.tuples(st.integers(0, 25) | st.none(), st.integers(0, 25) | st.none())))
def test_ranges_are_the_bytes_that_were_asked_for(size: int, pairs: list[tuple[int | None, int | None]]) -> None:
    """The ranges are ascending, apart, not empty, inside the file, and hold each byte that some range names."""
    text = ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in pairs)
    try:
        found = parse_ranges(f"bytes={text}", size)
    except RangeNotSatisfiable:
        found = []
    if found is None:
        return
    wanted: set[int] = set()
    for first, last in pairs:
        if first is None:
            wanted |= set(range(max(0, size - (last or 0)), size))
        else:
            wanted |= set(range(first, size if last is None else min(last + 1, size)))
    assert wanted == {i for one in found for i in range(one.start, one.stop)}
    assert all(a.stop < b.start for a, b in pairwise(found))
    assert all(0 <= one.start < one.stop <= size for one in found)


@given(st.integers(0, 5000), st.integers(1, 700), st.data())
def test_spans_cut_exactly_the_asked_bytes(size: int, chunk: int, data: st.DataObject) -> None:
    """Joining the spans of any range gives the range, and every span fits its chunk."""
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    contents = bytes(i % 251 for i in range(size))
    chunks = [contents[i : i + chunk] for i in range(0, size, chunk)]
    pieces = []
    for span in spans_of(size, chunk, start, stop):
        assert len(chunks[span.number]) == span.size_bytes
        pieces.append(chunks[span.number][span.start : span.stop])
    assert b"".join(pieces) == contents[start:stop]


@given(st.integers(0, 3 * PAGE_CHUNKS + 1))
def test_pages_list_every_chunk_in_order(count: int) -> None:
    """Long manifests are paged, short ones are not."""
    ids = [i.to_bytes(32, "big") for i in range(count)]
    pages = plan_pages(ids)
    assert (not pages) == (count <= PAGE_CHUNKS)
    if pages:
        assert [one for page in pages for one in split_ids(page)] == ids
