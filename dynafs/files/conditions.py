"""Conditional and range requests (RFC 9110 sections 13 and 14) as pure choices: what of a representation is sent?

Dates have whole seconds, versions have milliseconds. Several writes may share a second, so a date is compared with the
second of the version, and is taken for If-Range only when that second is over: an ETag is exact, a date is not.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from dynafs.errors import PreconditionFailed
from dynafs.files.ranges import ByteRange, parse_ranges

_DAYS, _LONG_DAYS = (
    "Mon|Tue|Wed|Thu|Fri|Sat|Sun",
    "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
#: The three forms of an HTTP-date (RFC 9110 section 5.6.7), all of them in UTC.
_DATES = (
    re.compile(rf"(?:{_DAYS}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"(?:{_LONG_DAYS}), (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"(?:{_DAYS}) {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)
#: A two-digit year further ahead than this belongs to the century before (RFC 9110 section 5.6.7).
_YEARS_AHEAD_MAX = 50
_TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")[ \t]*(?=,|\Z)')


class Conditions(NamedTuple):
    """The fields of a request that decide what is sent, each joined over its lines; None: absent."""

    if_match: str | None = None
    if_unmodified_since: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_range: str | None = None
    ranges: str | None = None


class Validators(NamedTuple):
    """What a representation is compared by. etag: strong, without quotes. modified_s: Unix seconds, None without a
    date."""

    etag: str
    modified_s: int | None = None


def must_send(conditions: Conditions, current: Validators, now_s: float) -> bool:
    """Return whether a GET or HEAD is answered in full, False for 304 (RFC 9110 section 13.2.2, steps 1 to 4).

    now_s: Unix seconds. Dates that are not valid, or lists of them, are ignored. Raises PreconditionFailed.
    """
    modified_s = current.modified_s
    if conditions.if_match is not None:
        if not names_etag(conditions.if_match, current.etag, weak=False):
            raise PreconditionFailed("If-Match", current.etag)
    elif modified_s is not None:
        unmodified_s = parse_date(conditions.if_unmodified_since, now_s)
        if unmodified_s is not None and modified_s > unmodified_s:
            raise PreconditionFailed("If-Unmodified-Since", current.etag)
    if conditions.if_none_match is not None:
        return not names_etag(conditions.if_none_match, current.etag, weak=True)
    if modified_s is None:
        return True
    since_s = parse_date(conditions.if_modified_since, now_s)
    return since_s is None or modified_s > since_s


def select_ranges(conditions: Conditions, current: Validators, size_bytes: int, now_s: float) -> list[ByteRange] | None:
    """Return the ranges that a GET is answered with, None for the whole (RFC 9110 section 13.2.2, step 5).

    Raises RangeNotSatisfiable.
    """
    if conditions.ranges is None or not allows_range(conditions.if_range, current, now_s):
        return None
    return parse_ranges(conditions.ranges, size_bytes)


def allows_range(if_range: str | None, current: Validators, now_s: float) -> bool:
    """Return whether a Range counts: without If-Range, or when it names the representation (RFC 9110 section 13.1.5).

    A date counts only when it is exact and a second or more ago (section 8.8.2.2); a weak tag, a list and "*" never do.
    """
    if if_range is None:
        return True
    if if_range.endswith('"'):
        return if_range == f'"{current.etag}"'
    date_s = parse_date(if_range, now_s)
    return date_s is not None and date_s == current.modified_s and now_s >= date_s + 1


def names_etag(header: str, etag: str, *, weak: bool) -> bool:
    """Return whether a list of entity tags, or "*", names this strong ETag; weak: by weak comparison, which takes a
    weak tag of the same text for it (RFC 9110 section 8.8.3.2)."""
    if header.strip(" \t") == "*":
        return True
    wanted = f'"{etag}"'
    return any(tag == wanted and (weak or not is_weak) for is_weak, tag in _tags(header))


def _tags(header: str) -> Iterator[tuple[bool, str]]:
    """Yield (is weak, quoted tag) up to the first thing that is none."""
    match = _TAG.match(header)
    while match is not None:
        yield match[1] is not None, match[2]
        match = _TAG.match(header, match.end())


def parse_date(text: str | None, now_s: float) -> int | None:
    """Return the Unix seconds of an HTTP-date, None when it is absent or not one. now_s: places two-digit years."""
    if text is None:
        return None
    match = next((found for form in _DATES if (found := form.fullmatch(text))), None)
    if match is None:
        return None
    year, second = int(match["year"]), int(match["second"])
    if len(match["year"]) == 2:
        year = _full_year(year, datetime.fromtimestamp(now_s, UTC).year)
    try:
        minute = datetime(
            year, _MONTHS.index(match["month"]) + 1, int(match["day"]), int(match["hour"]), int(match["minute"]),
            tzinfo=UTC,
        )  # fmt: skip
        # Second 60 is a leap second.
        return int((minute + timedelta(seconds=second)).timestamp()) if second <= 60 else None
    except (ValueError, OverflowError):
        return None


def _full_year(two_digits: int, this_year: int) -> int:
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + _YEARS_AHEAD_MAX else year
