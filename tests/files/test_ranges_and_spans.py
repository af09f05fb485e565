"""Byte ranges and chunk spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import RangeNotSatisfiable
from dynafs.files import spans_of
from dynafs.files.manifest import PAGE_CHUNKS, plan_pages, split_ids
from dynafs.files.ranges import etag_matches, parse_ranges


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
        ("bytes=" + ",".join(["0-0"] * 65), None),
        (None, None),
    ],
)
def test_parse_ranges(header: str | None, expected: list[tuple[int, int]] | None) -> None:
    """Ranges are understood as RFC 9110 wants; what is malformed is ignored."""
    assert parse_ranges(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_parse_ranges_outside_the_file_is_refused(header: str) -> None:
    """A range that touches no byte is an error that tells the size."""
    with pytest.raises(RangeNotSatisfiable):
        parse_ranges(header, 100)


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


def test_etag_matches() -> None:
    """Lists, stars and weak tags."""
    assert etag_matches('"a", W/"b"', "b", weak=True)
    assert not etag_matches('W/"b"', "b", weak=False)
    assert etag_matches("*", "b", weak=True)
    assert not etag_matches('"c"', "b", weak=True)
