"""Segment files: append, make durable, read. One writer thread; readers on the event loop and in threads."""

import os
import threading
from collections import OrderedDict
from pathlib import Path

from dynafs.errors import StoreFailed
from dynafs.ports import Body
from dynafs.storage.directory import sync_directory
from dynafs.storage.index import ChunkPlace, translate

#: Segment files kept open for reading, least recently used closed first.
OPEN_FILES_MAX = 256
#: Linux's limit of buffers in one vectored write (IOV_MAX).
VECTOR_LENGTH_MAX = 1024


class _Reader:
    """A file open for reading; closed when the last one who uses it lets go, so eviction cannot pull it away."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class SegmentFiles:
    """The segments of one directory. Segments that existed before are never appended to."""

    def __init__(self, path: Path, size_bytes_max: int) -> None:
        self._path = path
        self._size_bytes_max = size_bytes_max
        self._number = max((number for number in self.numbers()), default=0)
        self._writer_fd = -1
        self._offset = 0
        self._readers: OrderedDict[int, _Reader] = OrderedDict()
        self._readers_lock = threading.Lock()

    def numbers(self) -> list[int]:
        """Return the numbers of all segments, ascending."""
        return sorted(int(file.stem) for file in self._path.glob("*.segment"))

    def file_path(self, number: int) -> Path:
        """Return a segment's path."""
        return self._path / f"{number:08d}.segment"

    def size_bytes(self, number: int) -> int:
        """Return a segment's size."""
        return self.file_path(number).stat().st_size

    def append(self, entries: list[tuple[bytes, Body]]) -> list[ChunkPlace]:
        """Write (header, body) entries behind each other and return where the bodies lie. Not durable before `sync`.

        On failure nothing of it counts: the next append begins a new segment.
        """
        self._roll_if_full()
        places, buffers, offset = [], [], self._offset
        for header, body in entries:
            places.append(ChunkPlace(self._number, offset + len(header), len(body)))
            buffers += [header, body]
            offset += len(header) + len(body)
        try:
            self._write_all(buffers)
        except OSError as error:
            self._abandon()
            raise translate(error, "append to a segment") from error
        self._offset = offset
        return places

    def sync(self) -> None:
        """Make everything appended durable."""
        try:
            os.fdatasync(self._writer_fd)
        except OSError as error:
            # After a failed fdatasync the kernel may have dropped the pages: this file cannot be trusted any more.
            self._abandon()
            raise translate(error, "sync a segment") from error

    @property
    def position(self) -> tuple[int, int]:
        """Number of the segment being written and the offset its next entry will have."""
        return self._number, self._offset

    def _roll_if_full(self) -> None:
        if self._writer_fd >= 0 and self._offset < self._size_bytes_max:
            return
        self._abandon()
        self._number += 1
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._writer_fd = os.open(self.file_path(self._number), flags, 0o600)
            sync_directory(self._path)
        except OSError as error:
            raise translate(error, "make a segment") from error
        self._offset = 0

    def _write_all(self, buffers: list[Body]) -> None:
        offset = self._offset
        views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        while views:
            written = os.pwritev(self._writer_fd, views[:VECTOR_LENGTH_MAX], offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def _abandon(self) -> None:
        if self._writer_fd >= 0:
            os.close(self._writer_fd)
            self._writer_fd = -1

    def read(self, place: ChunkPlace, *, cached_only: bool = False) -> bytearray | None:
        """Return a body's bytes, unverified; None when cached_only and they are not all in the page cache.

        Raises StoreFailed; a body cut short is returned short.
        """
        body = bytearray(place.size_bytes)
        flags = os.RWF_NOWAIT if cached_only else 0
        filled = 0
        try:
            reader = self._reader(place.segment)
            while filled < place.size_bytes:
                got = os.preadv(reader.fd, [memoryview(body)[filled:]], place.offset + filled, flags)
                if got == 0:
                    return None if cached_only else body[:filled]
                filled += got
        except BlockingIOError:
            return None
        except OSError as error:
            if cached_only:
                return None
            raise StoreFailed(f"cannot read segment {place.segment}: {error.strerror}") from error
        return body

    def _reader(self, number: int) -> _Reader:
        with self._readers_lock:
            reader = self._readers.get(number)
            if reader is None:
                reader = self._readers[number] = _Reader(self.file_path(number))
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
