"""Segments: append, make durable, read. One writer thread; readers on the event loop and in threads."""

import threading
from collections import OrderedDict
from contextlib import suppress

from dynafs.errors import StoreFailed
from dynafs.ports import Body
from dynafs.storage.disk import ChunkPlace, SegmentFile, SegmentMedium
from dynafs.storage.index import translate

#: Room that the medium finds at once for what is appended. Looking for it at every sync costs an append of 1 MiB a
#: fifth of its time.
LAID_OUT_SIZE_BYTES = 32 << 20
#: Bodies from this size on, and what is appended with them, are not kept in memory by being written.
EVICTED_SIZE_BYTES_MIN = 128 << 10
#: Segment files kept open for reading, least recently used let go first.
OPEN_FILES_MAX = 256


class SegmentFiles:
    """The segments of one medium. Segments that existed before are never appended to."""

    def __init__(self, medium: SegmentMedium, size_bytes_max: int) -> None:
        self._medium = medium
        self._size_bytes_max = size_bytes_max
        self._number = max(medium.numbers(), default=0)
        self._writer: SegmentFile | None = None
        self._offset = 0
        #: of the segment being written, up to where there is room
        self._laid_out = 0
        #: of the segment being written, where what was appended since the last sync begins, and whether it is to be
        #: evicted from memory then
        self._synced, self._is_large = 0, False
        self._readers: OrderedDict[int, SegmentFile] = OrderedDict()
        self._readers_lock = threading.Lock()

    def append(self, entries: list[tuple[bytes, Body]]) -> list[ChunkPlace]:
        """Write (header, body) entries behind each other and return where the bodies lie. Not durable before `sync`.

        On failure nothing of it counts: the next append begins a new segment.
        """
        writer = self._writable()
        self._lay_out(writer, sum(len(header) + len(body) for header, body in entries))
        places, buffers, offset = [], [], self._offset
        for header, body in entries:
            places.append(ChunkPlace(self._number, offset + len(header), len(body)))
            buffers += [header, body]
            offset += len(header) + len(body)
        try:
            self._write_all(writer, buffers)
        except OSError as error:
            self._abandon()
            raise translate(error, "append to a segment") from error
        self._offset = offset
        self._is_large |= any(one.size_bytes >= EVICTED_SIZE_BYTES_MIN for one in places)
        return places

    def sync(self) -> None:
        """Make everything appended durable; if large bodies are among it, free the memory that kept it.

        Most large copies are not read soon, and reads cache what they fetch (Swift drops what it has written, too).
        Cached writes would push out what is read, and every append would take fresh pages, which cost several times
        the copy where a hypervisor provides them.
        """
        assert self._writer is not None
        try:
            self._writer.sync()
        except OSError as error:
            # After a failed fdatasync the kernel may have dropped the pages: this file cannot be trusted any more.
            self._abandon()
            raise translate(error, "sync a segment") from error
        if self._is_large:
            with suppress(OSError):
                self._writer.evict(self._synced, self._offset - self._synced)
        self._synced, self._is_large = self._offset, False

    @property
    def position(self) -> tuple[int, int]:
        """Number of the segment being written and the offset its next entry will have."""
        return self._number, self._offset

    def sizes_bytes(self) -> dict[int, int]:
        """Return {segment: its size}. Raises StoreFailed."""
        try:
            return {number: self._medium.size_bytes(number) for number in self._medium.numbers()}
        except OSError as error:
            raise StoreFailed(f"cannot look at the segments: {error.strerror}") from error

    def seal(self, number: int) -> None:
        """Append to another segment from now on, if this one is being written."""
        if number == self._number:
            self._abandon()

    def remove(self, number: int) -> None:
        """Remove a segment nobody needs any more; reads under way come to their end. Raises StoreFailed."""
        assert number != self._number or self._writer is None
        with self._readers_lock:
            self._readers.pop(number, None)
        try:
            self._medium.remove(number)
        except OSError as error:
            raise translate(error, "remove a segment") from error

    def _writable(self) -> SegmentFile:
        """Return the segment to append to, a new one when the last is full or was abandoned."""
        if self._writer is not None and self._offset < self._size_bytes_max:
            return self._writer
        self._abandon()
        self._number += 1
        try:
            self._writer = self._medium.create(self._number)
        except OSError as error:
            raise translate(error, "make a segment") from error
        self._offset = self._laid_out = self._synced = 0
        self._is_large = False
        return self._writer

    def _lay_out(self, writer: SegmentFile, size_bytes: int) -> None:
        if self._offset + size_bytes > self._laid_out:
            self._laid_out = self._offset + size_bytes + LAID_OUT_SIZE_BYTES
            writer.lay_out(self._offset, self._laid_out - self._offset)

    def _write_all(self, writer: SegmentFile, buffers: list[Body]) -> None:
        offset = self._offset
        views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        while views:
            written = writer.write(views, offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                # What is left of the room is not worth an error; the next opening of the store does not need it.
                writer.give_back(self._offset)
            writer.close()

    def read(self, place: ChunkPlace, *, cached_only: bool = False) -> bytearray | None:
        """Return a body's bytes, unverified; None when cached_only and they are not all in the page cache.

        Raises StoreFailed; a body cut short is returned short, and empty when the whole segment is not there.
        """
        body = bytearray(place.size_bytes)
        view, filled = memoryview(body), 0
        try:
            reader = self._reader(place.segment)
            while filled < place.size_bytes:
                got = reader.read_into(view[filled:], place.offset + filled, cached_only=cached_only)
                if got == 0:
                    return None if cached_only else body[:filled]
                filled += got
        except FileNotFoundError:
            return bytearray()
        except OSError as error:
            if cached_only:
                return None
            raise StoreFailed(f"cannot read segment {place.segment}: {error.strerror}") from error
        return body

    def _reader(self, number: int) -> SegmentFile:
        with self._readers_lock:
            reader = self._readers.get(number)
            if reader is None:
                reader = self._readers[number] = self._medium.open(number)
                if len(self._readers) > OPEN_FILES_MAX:
                    self._readers.popitem(last=False)
            else:
                self._readers.move_to_end(number)
            return reader

    def close(self) -> None:
        """Close all files."""
        self._abandon()
        with self._readers_lock:
            self._readers.clear()
