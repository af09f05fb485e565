"""What `put` sends: a local file or stream, opened.

A regular file is sent with its size announced, and the last piece leaves only when the file still has that size: a
file that grew or shrank meanwhile is an error, and nothing is stored. Pipes, devices and sockets are streams without
a size. They are read when they are ready, so that a cancelled upload never waits for their writer.
"""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dynafs.errors import SourceChanged

PIECE_SIZE_BYTES = 1 << 20


class LocalSource:
    """An open file or stream. size_bytes: what is left of a regular file, None for a stream."""

    def __init__(self, descriptor: int, name: str) -> None:
        """name: for messages. Raises IsADirectoryError."""
        self._descriptor, self._name = descriptor, name
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        self.is_regular = stat.S_ISREG(found.st_mode)
        self.size_bytes = self._size_left(found.st_size) if self.is_regular else None

    def _size_left(self, size_bytes: int) -> int | None:
        start = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        # Files of /proc have contents and no size.
        if size_bytes == 0 and os.pread(self._descriptor, 1, start):
            return None
        return max(size_bytes - start, 0)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the contents in order. Raises SourceChanged before the last piece, OSError."""
        left = self.size_bytes
        if left is None:
            while piece := await self._read(PIECE_SIZE_BYTES):
                yield piece
            return
        while left > 0:
            piece = await self._read(min(PIECE_SIZE_BYTES, left))
            left -= len(piece)
            if not piece:
                raise self._changed("shrank")
            if left == 0 and await self._read(1):
                raise self._changed("grew")
            yield piece

    def _changed(self, how: str) -> SourceChanged:
        return SourceChanged(f"{self._name} {how} while it was sent; nothing was stored", file=self._name)

    async def _read(self, size_bytes: int) -> bytes:
        if self.is_regular:
            return await asyncio.to_thread(self._read_now, size_bytes)
        while True:
            await _until_readable(self._descriptor)
            with suppress(BlockingIOError):  # another process of the same stream was faster
                return self._read_now(size_bytes)

    def _read_now(self, size_bytes: int) -> bytes:
        try:
            return os.read(self._descriptor, size_bytes)
        except BlockingIOError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from error


@contextmanager
def open_source(path: Path) -> Iterator[LocalSource]:
    """Open a file, FIFO or device. Raises OSError with the name in it."""
    # A FIFO opens at once, whether or not its writer is there yet; waiting is for the first read.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        yield LocalSource(descriptor, str(path))
    finally:
        os.close(descriptor)


@contextmanager
def open_standard_input() -> Iterator[LocalSource]:
    """Take standard input as a source, from where it stands."""
    yield LocalSource(0, "standard input")


async def _until_readable(descriptor: int) -> None:
    """Wait until a read does not block; what cannot be waited for, like /dev/null, never does."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
