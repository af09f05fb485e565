"""Conditional requests: the order of RFC 9110 section 13.2.2, tags, and dates."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynafs.errors import PreconditionFailed
from dynafs.files.conditions import Conditions, Validators, allows_range, must_send, names_etag, parse_date

ETAG = "0123456789abcdef"
TAG = f'"{ETAG}"'
#: Sun, 06 Nov 1994 08:49:37 GMT
MODIFIED_S = 784_111_777
NOW_S = MODIFIED_S + 3600.0
CURRENT = Validators(ETAG, MODIFIED_S)
MODIFIED, BEFORE, AFTER = (
    f"Sun, 06 Nov 1994 08:49:{second} GMT" for second in (37, 36, 38)
)  # fmt: skip


def outcome(now_s: float = NOW_S, current: Validators = CURRENT, **conditions: str) -> int:
    try:
        return 200 if must_send(Conditions(**conditions), current, now_s) else 304
    except PreconditionFailed:
        return 412


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({}, 200),
        ({"if_match": TAG}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": f'"x" ,, {TAG}'}, 200),
        ({"if_match": '"nope"'}, 412),
        ({"if_match": f"W/{TAG}"}, 412),
        ({"if_match": ETAG}, 412),
        ({"if_match": ""}, 412),
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f"W/{TAG}"}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"nope"'}, 200),
        ({"if_none_match": f'"a,b", {TAG}'}, 304),
        ({"if_none_match": f'"a,{TAG}'}, 200),
        ({"if_unmodified_since": MODIFIED}, 200),
        ({"if_unmodified_since": AFTER}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": "yesterday"}, 200),
        ({"if_unmodified_since": f"{BEFORE}, {BEFORE}"}, 200),
        ({"if_modified_since": MODIFIED}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": f"{MODIFIED}, {MODIFIED}"}, 200),
        # If-Match outranks If-Unmodified-Since, If-None-Match outranks If-Modified-Since.
        ({"if_match": TAG, "if_unmodified_since": BEFORE}, 200),
        ({"if_match": '"nope"', "if_unmodified_since": AFTER}, 412),
        ({"if_none_match": '"nope"', "if_modified_since": MODIFIED}, 200),
        ({"if_none_match": TAG, "if_modified_since": BEFORE}, 304),
        # What fails the request comes before what saves it a body.
        ({"if_match": '"nope"', "if_none_match": TAG}, 412),
        ({"if_unmodified_since": BEFORE, "if_none_match": TAG}, 412),
        ({"if_match": TAG, "if_none_match": TAG}, 304),
        ({"if_unmodified_since": MODIFIED, "if_modified_since": MODIFIED}, 304),
    ],
)
def test_conditions_are_taken_in_order(conditions: dict[str, str], status: int) -> None:
    """As RFC 9110 section 13.2.2 has them."""
    assert outcome(**conditions) == status


def test_dates_mean_nothing_without_a_date() -> None:
    """A representation that has no date of change is not judged by one."""
    undated = Validators(ETAG)
    assert outcome(current=undated, if_unmodified_since=BEFORE) == 200
    assert outcome(current=undated, if_modified_since=AFTER) == 200
    assert outcome(current=undated, if_match='"nope"') == 412
    assert not allows_range(MODIFIED, undated, NOW_S)


@pytest.mark.parametrize(
    ("if_range", "now_s", "holds"),
    [
        (None, NOW_S, True),
        (TAG, NOW_S, True),
        ('"nope"', NOW_S, False),
        (f"W/{TAG}", NOW_S, False),
        ("*", NOW_S, False),
        (f'"nope", {TAG}', NOW_S, False),
        (ETAG, NOW_S, False),
        (MODIFIED, NOW_S, True),
        (MODIFIED, MODIFIED_S + 1.0, True),
        (MODIFIED, MODIFIED_S + 0.9, False),
        (BEFORE, NOW_S, False),
        (AFTER, NOW_S, False),
        ("yesterday", NOW_S, False),
    ],
)
def test_if_range_holds_for_exactly_this_representation(if_range: str | None, now_s: float, holds: bool) -> None:
    """By a strong tag, or by a date whose second is over: within it another version may have come."""
    assert allows_range(if_range, CURRENT, now_s) is holds


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_three_forms_of_a_date(text: str) -> None:
    """All three say the same second, in UTC."""
    assert parse_date(text, NOW_S) == MODIFIED_S


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "784111777", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
     "Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 09:49:37 +0100", "Sun, 06 Nov 1994 08:49:37 EST",
     "06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT",
     "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT",
     "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT\n", "sun, 06 nov 1994 08:49:37 gmt",
     "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT", "Sun Nov 6 08:49:37 1994", "Sun Nov  6 08:49:37 1994 GMT"],
)  # fmt: skip
def test_other_dates_are_none(text: str) -> None:
    """Other zones, forms and impossible times are not taken for anything."""
    assert parse_date(text, NOW_S) is None


def test_leap_second_and_short_years() -> None:
    """Second 60 is the one after 59; a two-digit year is at most 50 years ahead."""
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW_S) == datetime(2017, 1, 1, tzinfo=UTC).timestamp()
    now_s = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    for text, year in (("Monday, 01-Jun-76 00:00:00 GMT", 2076), ("Tuesday, 01-Jun-77 00:00:00 GMT", 1977)):
        assert parse_date(text, now_s) == datetime(year, 6, 1, tzinfo=UTC).timestamp()


@given(st.integers(0, 4_000_000_000))
def test_dates_that_are_sent_are_understood(unix_s: int) -> None:
    """What a node writes as Last-Modified it reads as the same second."""
    text = format_datetime(datetime.fromtimestamp(unix_s, UTC), usegmt=True)
    assert parse_date(text, NOW_S) == unix_s


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_a_list_of_tags_or_none(text: str, weak: bool) -> None:
    """Nothing a client sends is an error here, and nothing but the tag itself or a star names the file."""
    if TAG not in text and text.strip(" \t") != "*":
        assert not names_etag(text, ETAG, weak=weak)
    assert names_etag(f'{TAG}, "{text.replace(chr(34), "")}', ETAG, weak=weak)


ITEMS = st.tuples(st.booleans(), st.text("abc,\u00e9!", max_size=4))


@given(st.lists(ITEMS, max_size=5), st.text("abc,\u00e9!", max_size=4), st.booleans())
def test_tags_may_hold_commas(items: list[tuple[bool, str]], etag: str, weak: bool) -> None:
    """A list names exactly the tags in it, whatever they are made of."""
    header = " , ".join(f'{"W/" * is_weak}"{tag}"' for is_weak, tag in items)
    assert names_etag(header, etag, weak=weak) is any(tag == etag and (weak or not is_weak) for is_weak, tag in items)
