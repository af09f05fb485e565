"""Reading segments back: what a crash kept out of the index, or the whole index.

An entry counts when its header's checksum and its body's hash are right. Between entries that do not, the scan looks
for the next header that does, so one damaged place costs only what it covers.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dynafs.errors import RemoteProtocolError
from dynafs.observe.events import get_logger
from dynafs.storage.index import ChunkPlace, Index
from dynafs.storage.segments import SegmentFiles
from dynafs.wire.frames import BODY_SIZE_BYTES_MAX
from dynafs.wire.segments import (
    ENTRY_HEADER_SIZE_BYTES,
    MAGIC,
    EntryHeader,
    chunk_id_of,
    decode_entry_header,
    is_intact,
)

log = get_logger()

_SEARCH_SIZE_BYTES = 1 << 20
#: Entries per index write while recovering.
_RECOVERY_BATCH = 256


class FoundEntry(NamedTuple):
    """A whole entry met in a segment."""

    header: EntryHeader
    key: bytes
    place: ChunkPlace


def indexed_key(segment: int) -> bytes:
    """Return the name under which the index remembers how far a segment is indexed."""
    return b"indexed:%08d" % segment


def recover(index: Index, segments: SegmentFiles) -> int:
    """Index every entry that lies behind what the index has of its segment; return how many were added."""
    added = 0
    for number in segments.numbers():
        known = index.get("node", indexed_key(number))
        start, end = int(known or b"0"), segments.size_bytes(number)
        if start < end:
            found = _index_entries(index, number, scan_segment(segments.file_path(number), number, start), end)
            if found:
                log.info("store.recovered", segment=number, entries=found, from_bytes=start, to_bytes=end)
            added += found
    return added


def rebuild(index: Index, segments: SegmentFiles) -> int:
    """Index every entry of every segment; return how many there are."""
    return sum(
        _index_entries(index, number, scan_segment(segments.file_path(number), number, 0), segments.size_bytes(number))
        for number in segments.numbers()
    )


def _index_entries(index: Index, number: int, entries: Iterator[FoundEntry], end: int) -> int:
    batch, count = index.batch(), 0
    for entry in entries:
        chunk_id = entry.header.chunk_id
        batch.put_chunk(chunk_id, entry.place)
        batch.put("references", chunk_id + entry.header.upload_id, entry.key)
        count += 1
        if count % _RECOVERY_BATCH == 0:
            index.write(batch, sync=False)
            batch = index.batch()
    batch.put("node", indexed_key(number), b"%d" % end)
    index.write(batch, sync=True)
    return count


def scan_segment(path: Path, number: int, start: int) -> Iterator[FoundEntry]:
    """Yield every whole, verified entry of a segment from offset `start` on."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset: int | None = start
        while offset is not None:
            entry = _entry_at(fd, number, offset)
            if entry is None:
                offset = _next_magic(fd, offset + 1)
            else:
                yield entry
                offset = entry.place.offset + entry.place.size_bytes
    finally:
        os.close(fd)


def _entry_at(fd: int, number: int, offset: int) -> FoundEntry | None:
    try:
        header = decode_entry_header(os.pread(fd, ENTRY_HEADER_SIZE_BYTES, offset))
    except RemoteProtocolError:
        return None
    key = os.pread(fd, header.key_size_bytes, offset + ENTRY_HEADER_SIZE_BYTES)
    if not is_intact(header, key) or header.body_size_bytes > BODY_SIZE_BYTES_MAX:
        return None
    place = ChunkPlace(number, offset + header.body_offset, header.body_size_bytes)
    body = os.pread(fd, place.size_bytes, place.offset)
    if chunk_id_of(body) != header.chunk_id:
        return None
    return FoundEntry(header, key, place)


def _next_magic(fd: int, offset: int) -> int | None:
    """Return the next offset at or after `offset` that could begin an entry, None at the end of the file."""
    while piece := os.pread(fd, _SEARCH_SIZE_BYTES, offset):
        found = piece.find(MAGIC)
        if found >= 0:
            return offset + found
        if len(piece) < len(MAGIC):
            return None
        offset += len(piece) - len(MAGIC) + 1
    return None
