"""The real disk: files of the operating system, RocksDB, threads."""

import asyncio
import ctypes
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dynafs.config import StorageSettings
from dynafs.storage.directory import DataDirectory, sync_directory
from dynafs.storage.index import RocksIndex

T = TypeVar("T")

#: fallocate(2): leave the file's size as it is.
FALLOC_FL_KEEP_SIZE = 1
#: Linux's limit of buffers in one vectored write (IOV_MAX).
VECTOR_LENGTH_MAX = 1024
PAGE_SIZE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Threads for reads that miss the page cache and for listings.
READER_THREADS = 4


def _find_fallocate() -> Callable[..., int] | None:
    """Return fallocate(2) of the C library: Python has no call that leaves a file's size as it is."""
    try:
        found: Callable[..., int] = ctypes.CDLL(None).fallocate
    except (OSError, AttributeError):
        return None
    return found


_fallocate = _find_fallocate()


class PosixFile:
    """A file by its descriptor; closed when the last one who uses it lets go."""

    __slots__ = ("_fd",)

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = -1
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Write at an offset; return how many bytes were taken."""
        return os.pwritev(self._fd, buffers[:VECTOR_LENGTH_MAX], offset)

    def lay_out(self, offset: int, size_bytes: int) -> None:
        """Reserve blocks behind an offset; file systems that cannot are left alone."""
        if _fallocate is not None:
            _fallocate(self._fd, FALLOC_FL_KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(size_bytes))

    def give_back(self, size_bytes: int) -> None:
        """Free the blocks behind what was written."""
        if self._fd >= 0:
            os.ftruncate(self._fd, size_bytes)

    def sync(self) -> None:
        """Make everything written durable."""
        os.fdatasync(self._fd)

    def evict(self, offset: int, size_bytes: int) -> None:
        """Free the cached pages of this range but for the one it ends in."""
        begin = offset & -PAGE_SIZE_BYTES
        os.posix_fadvise(self._fd, begin, offset + size_bytes - begin, os.POSIX_FADV_DONTNEED)

    def read_into(self, room: memoryview, offset: int, *, cached_only: bool = False) -> int:
        """Fill room from an offset; BlockingIOError when cached_only and the disk is needed."""
        return os.preadv(self._fd, [room], offset, os.RWF_NOWAIT if cached_only else 0)

    def close(self) -> None:
        """Close; harmless when closed."""
        if self._fd >= 0:
            # Linux frees the descriptor even when closing fails; closing it again could close somebody else's file.
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        """Close what nobody uses any more, so that a reader is never closed under somebody's read."""
        self.close()


class PosixSegments:
    """Segment files in a directory, eight digits and `.segment` each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def numbers(self) -> list[int]:
        """Return the numbers of all segments, ascending."""
        return sorted(int(file.stem) for file in self._path.glob("*.segment"))

    def size_bytes(self, number: int) -> int:
        """Return a segment's size."""
        return self._file_path(number).stat().st_size

    def create(self, number: int) -> PosixFile:
        """Make an empty segment, its name durable, open for writing."""
        file = PosixFile(self._file_path(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            sync_directory(self._path)
        except BaseException:
            file.close()
            raise
        return file

    def open(self, number: int) -> PosixFile:
        """Open a segment for reading."""
        return PosixFile(self._file_path(number), os.O_RDONLY)

    def remove(self, number: int) -> None:
        """Remove a segment, durably."""
        self._file_path(number).unlink(missing_ok=True)
        sync_directory(self._path)

    def _file_path(self, number: int) -> Path:
        return self._path / f"{number:08d}.segment"


class ThreadWorker:
    """A daemon thread, its lock and its bell. Made inside a running event loop.

    The bell is a lock that is held until it rings: a `threading.Condition` makes such a lock for every wait, in Python.
    """

    def __init__(self, name: str) -> None:
        self.lock = threading.Lock()
        self._bell, self._is_waiting = threading.Lock(), False
        self._bell.acquire()
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None

    def start(self, run: Callable[[], None]) -> None:
        """Run a function in the thread."""
        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """End the thread's `wait`."""
        if self._is_waiting:
            self._is_waiting = False
            self._bell.release()

    def wait(self) -> None:
        """Let go of the lock until `ring`."""
        self._is_waiting = True
        self.lock.release()
        self._bell.acquire()
        self.lock.acquire()

    def pause(self, pause_s: float) -> None:
        """Let go of the lock for a while."""
        self.lock.release()
        time.sleep(pause_s)
        self.lock.acquire()

    def monotonic_s(self) -> float:
        """Seconds that only move forward."""
        return time.monotonic()

    def tell(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Have the event loop call back; return whether it still can."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return False
        return True

    async def join(self) -> None:
        """Wait until the function has returned."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


class LocalDisk:
    """The Disk in a data directory. Made inside a running event loop."""

    def __init__(self, directory: DataDirectory, settings: StorageSettings) -> None:
        self._directory = directory
        self.index = RocksIndex(directory.index_path, settings.cache_size_bytes, settings.write_buffer_size_bytes)
        self.segments = PosixSegments(directory.segments_path)
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="store-read")

    def room_bytes(self) -> tuple[int, int]:
        """Return (size of the file system, what is free for us)."""
        told = os.statvfs(self._directory.path)
        return told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize

    def worker(self, name: str) -> ThreadWorker:
        """Return a new thread that waits to be started."""
        return ThreadWorker(name)

    def read(self, function: Callable[..., T], *arguments: object) -> Awaitable[T]:
        """Run a reading function in a thread."""
        return self._loop.run_in_executor(self._readers, function, *arguments)

    async def close(self) -> None:
        """Close everything and release the directory."""
        self._readers.shutdown()
        self.index.close()
        self._directory.close()
