"""Reading segments back: what a crash kept out of the index, or the whole index.

An entry counts when its header's checksum and its body's hash are right. Between entries that do not, the scan looks
for the next header that does, so one damaged place costs only what it covers.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dynafs.errors import RemoteProtocolError
from dynafs.observe.events import get_logger
from dynafs.storage.disk import ChunkPlace, Index, SegmentFile, SegmentMedium
from dynafs.storage.references import encode_reference
from dynafs.storage.stored import decode_stored
from dynafs.storage.trees import TreeWrites
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


def recover(index: Index, segments: SegmentMedium) -> int:
    """Index every entry that lies behind what the index has of its segment; return how many were added."""
    added = 0
    for number in segments.numbers():
        known = index.get("node", indexed_key(number))
        start, end = decode_stored("end of a segment", int, known or b"0"), segments.size_bytes(number)
        if start < end:
            found = _index_entries(index, number, scan_segment(segments.open(number), number, start), end)
            if found:
                log.info("store.recovered", segment=number, entries=found, from_bytes=start, to_bytes=end)
            added += found
    return added


def rebuild(index: Index, segments: SegmentMedium) -> int:
    """Index every entry of every segment; return how many there are."""
    return sum(
        _index_entries(index, number, scan_segment(segments.open(number), number, 0), segments.size_bytes(number))
        for number in segments.numbers()
    )


def _index_entries(index: Index, number: int, entries: Iterator[FoundEntry], end: int) -> int:
    batch, trees, count = index.batch(), TreeWrites(index), 0
    for entry in entries:
        chunk_id = entry.header.chunk_id
        batch.put_chunk(chunk_id, entry.place)
        trees.set_chunk(chunk_id, is_here=True)
        batch.put("references", chunk_id + entry.header.upload_id, encode_reference(entry.key, 0))
        count += 1
        if count % _RECOVERY_BATCH == 0:
            trees.write_to(batch)
            index.apply(batch)
            batch, trees = index.batch(), TreeWrites(index)
    trees.write_to(batch)
    batch.put("node", indexed_key(number), b"%d" % end)
    index.apply(batch)
    index.sync()
    return count


def scan_segment(file: SegmentFile, number: int, start: int) -> Iterator[FoundEntry]:
    """Yield every whole, verified entry of a segment from offset `start` on, then close the file."""
    try:
        offset: int | None = start
        while offset is not None:
            entry = _entry_at(file, number, offset)
            if entry is None:
                offset = _next_magic(file, offset + 1)
            else:
                yield entry
                offset = entry.place.offset + entry.place.size_bytes
    finally:
        file.close()


def _entry_at(file: SegmentFile, number: int, offset: int) -> FoundEntry | None:
    try:
        header = decode_entry_header(_read(file, ENTRY_HEADER_SIZE_BYTES, offset))
    except RemoteProtocolError:
        return None
    key = _read(file, header.key_size_bytes, offset + ENTRY_HEADER_SIZE_BYTES)
    if not is_intact(header, key) or header.body_size_bytes > BODY_SIZE_BYTES_MAX:
        return None
    place = ChunkPlace(number, offset + header.body_offset, header.body_size_bytes)
    if chunk_id_of(_read(file, place.size_bytes, place.offset)) != header.chunk_id:
        return None
    return FoundEntry(header, key, place)


def _next_magic(file: SegmentFile, offset: int) -> int | None:
    """Return the next offset at or after `offset` that could begin an entry, None at the end of the file."""
    while piece := _read(file, _SEARCH_SIZE_BYTES, offset):
        found = piece.find(MAGIC)
        if found >= 0:
            return offset + found
        if len(piece) < len(MAGIC):
            return None
        offset += len(piece) - len(MAGIC) + 1
    return None


def _read(file: SegmentFile, size_bytes: int, offset: int) -> bytes:
    """Return up to size_bytes from an offset, fewer only at the end of the file."""
    data = bytearray(size_bytes)
    view, filled = memoryview(data), 0
    while filled < size_bytes and (got := file.read_into(view[filled:], offset + filled)):
        filled += got
    return bytes(view[:filled])
