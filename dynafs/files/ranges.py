"""HTTP byte ranges (RFC 9110 section 14) as pure choices."""

import re
from typing import NamedTuple

from dynafs.errors import RangeNotSatisfiable

#: More ranges than this in one request are answered with the whole file: each one costs the reading of a chunk.
RANGE_COUNT_MAX = 16
_UNIT = "bytes="
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
#: Positions with more digits lie behind the end of every file.
_DIGITS_MAX = 18


class ByteRange(NamedTuple):
    """Bytes start to stop (exclusive)."""

    start: int
    stop: int


def parse_ranges(header: str | None, size_bytes: int) -> list[ByteRange] | None:
    """Return the satisfiable ranges a Range header asks for, or None to answer with the whole file.

    Malformed headers, foreign units and more than RANGE_COUNT_MAX ranges are ignored, as RFC 9110 section 14.2 allows;
    so is a suffix of an empty file, which is satisfiable (section 14.1.2) but has no Content-Range to say so.
    Overlapping or touching ranges are merged. Raises RangeNotSatisfiable when no range touches the file.
    """
    if not header or header[: len(_UNIT)].lower() != _UNIT:
        return None
    specs = [spec for item in header[len(_UNIT) :].split(",") if (spec := item.strip(" \t"))]
    if not 0 < len(specs) <= RANGE_COUNT_MAX:
        return None
    ranges = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = _position(match[1]), _position(match[2])
        if first is not None and last is not None and first > last:
            return None
        if first is None and last and not size_bytes:
            return None
        found = _satisfy(first, last, size_bytes)
        if found is not None:
            ranges.append(found)
    if not ranges:
        raise RangeNotSatisfiable(size_bytes)
    return merge_ranges(ranges)


def _position(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _DIGITS_MAX else 10**_DIGITS_MAX


def _satisfy(first: int | None, last: int | None, size_bytes: int) -> ByteRange | None:
    if first is None:
        suffix = min(last or 0, size_bytes)
        return ByteRange(size_bytes - suffix, size_bytes) if suffix else None
    stop = size_bytes if last is None else min(last + 1, size_bytes)
    return ByteRange(first, stop) if first < stop else None


def merge_ranges(ranges: list[ByteRange]) -> list[ByteRange]:
    """Return the ranges in ascending order, joined where they overlap or touch."""
    merged: list[ByteRange] = []
    for found in sorted(ranges):
        if merged and found.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, found.stop))
        else:
            merged.append(found)
    return merged
