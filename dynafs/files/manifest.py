"""Manifests and spans: which chunks make a file, and which part of which chunk a byte range touches."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from dynafs.errors import RemoteProtocolError

CHUNK_ID_SIZE_BYTES = 32
#: Chunk ids a manifest or a page lists; 32 KiB of ids, well inside one small record.
PAGE_CHUNKS = 1024


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """The chunks of one version.

    chunk_size_bytes: size of every chunk but the last, which is shorter or equal.
    ids: concatenated 32-byte ids, of the chunks themselves or, when `paged`, of the pages that list them.
    """

    chunk_size_bytes: int
    ids: bytes
    paged: bool = False

    def listed(self) -> tuple[bytes, ...]:
        """Return the listed ids, of chunks or of pages."""
        return split_ids(self.ids)


class Span(NamedTuple):
    """A slice of one chunk: bytes start to stop (exclusive) of chunk `number`, itself `size_bytes` long."""

    number: int
    start: int
    stop: int
    size_bytes: int


def split_ids(ids: bytes) -> tuple[bytes, ...]:
    """Return 32-byte ids; raise RemoteProtocolError when the bytes are not a whole number of them."""
    if len(ids) % CHUNK_ID_SIZE_BYTES:
        raise RemoteProtocolError(f"a list of chunk ids has {len(ids)} bytes, not a multiple of 32")
    return tuple(ids[i : i + CHUNK_ID_SIZE_BYTES] for i in range(0, len(ids), CHUNK_ID_SIZE_BYTES))


def plan_pages(ids: Sequence[bytes]) -> list[bytes]:
    """Return the pages (concatenated ids) that list these chunks; empty when the manifest can list them itself."""
    if len(ids) <= PAGE_CHUNKS:
        return []
    return [b"".join(ids[i : i + PAGE_CHUNKS]) for i in range(0, len(ids), PAGE_CHUNKS)]


def chunk_count(size_bytes: int, chunk_size_bytes: int) -> int:
    """Return how many chunks a file has."""
    return -(-size_bytes // chunk_size_bytes)


def spans_of(size_bytes: int, chunk_size_bytes: int, start: int, stop: int) -> Iterator[Span]:
    """Yield the spans that make up bytes start to stop (exclusive) of a file, in order.

    Requires 0 <= start <= stop <= size_bytes.
    """
    position = start
    while position < stop:
        index = position // chunk_size_bytes
        first = index * chunk_size_bytes
        size = min(chunk_size_bytes, size_bytes - first)
        end = min(stop, first + size)
        yield Span(index, position - first, end - first, size)
        position = end


def shared_spans(
    size_bytes: int, chunk_size_bytes: int, ranges: Sequence[tuple[int, int]]
) -> Iterator[list[tuple[int, Span]]]:
    """Yield what ranges of a file want of each chunk in turn, as (number of the range, span).

    Ranges that touch the same chunk one after the other share it. Requires of every range what `spans_of` does.
    """
    spans = ((i, span) for i, (start, stop) in enumerate(ranges)
             for span in spans_of(size_bytes, chunk_size_bytes, start, stop))  # fmt: skip
    for _, found in itertools.groupby(spans, key=lambda one: one[1].number):
        yield list(found)
