"""HTTP byte ranges and conditions (RFC 9110 sections 13 and 14), as pure choices."""

import re
from typing import NamedTuple

from dynafs.errors import RangeNotSatisfiable

#: More ranges than this in one request are answered with the whole file; a precedent is Apache's MaxRanges.
RANGE_COUNT_MAX = 64
_SPEC = re.compile(r"(\d{0,18})-(\d{0,18})")


class ByteRange(NamedTuple):
    """Bytes start to stop (exclusive)."""

    start: int
    stop: int


def parse_ranges(header: str | None, size_bytes: int) -> list[ByteRange] | None:
    """Return the satisfiable ranges a Range header asks for, or None to answer with the whole file.

    Malformed headers and foreign units are ignored, as the standard wants. Overlapping or touching ranges are merged
    when more than one is asked. Raises RangeNotSatisfiable when no range touches the file.
    """
    if not header or not header.startswith("bytes="):
        return None
    specs = [spec.strip() for spec in header.removeprefix("bytes=").split(",")]
    if len(specs) > RANGE_COUNT_MAX:
        return None
    ranges = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-" or (match[1] and match[2] and int(match[1]) > int(match[2])):
            return None
        found = _satisfy(match[1], match[2], size_bytes)
        if found is not None:
            ranges.append(found)
    if not ranges:
        raise RangeNotSatisfiable(size_bytes)
    return merge_ranges(ranges)


def _satisfy(first: str, last: str, size_bytes: int) -> ByteRange | None:
    if not first:
        suffix = min(int(last), size_bytes)
        return ByteRange(size_bytes - suffix, size_bytes) if suffix else None
    start = int(first)
    stop = min(int(last) + 1 if last else size_bytes, size_bytes)
    return ByteRange(start, stop) if start < stop else None


def merge_ranges(ranges: list[ByteRange]) -> list[ByteRange]:
    """Return the ranges in ascending order, joined where they overlap or touch."""
    merged: list[ByteRange] = []
    for found in sorted(ranges):
        if merged and found.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, found.stop))
        else:
            merged.append(found)
    return merged


def etag_matches(header: str, etag: str, *, weak: bool) -> bool:
    """Return whether an If-None-Match (weak) or If-Range (strong) header names this ETag."""
    if header.strip() == "*":
        return True
    for item in header.split(","):
        tag = item.strip()
        if weak:
            tag = tag.removeprefix("W/")
        if tag == f'"{etag}"':
            return True
    return False
