"""The disk as the store sees it: segment files, an index, threads.

`posix` has the real one; the simulator brings one that can lose what was not synced.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from dynafs.storage.stored import decode_stored

T = TypeVar("T")
_places = msgspec.msgpack.Decoder(tuple[int, int, int])

#: records: bucket NUL path -> record. live: the keys of those records that have contents -> what listings show.
#: chunks: id -> place. references: id + upload id -> since when, bucket NUL path. quarantine: id -> place and reason.
#: hints: target and thing -> since when. trees: kind, level and number -> sum.
#: by_partition: start of a key's hash, and the key -> digest of its record.
#: node: names of this module's callers -> their values.
FAMILIES = ("records", "live", "by_partition", "chunks", "trees", "references", "quarantine", "hints", "node")


class ChunkPlace(NamedTuple):
    """Where a chunk's body lies: segment number, offset of the body in bytes, its size in bytes."""

    segment: int
    offset: int
    size_bytes: int


def decode_place(packed: bytes) -> ChunkPlace:
    """Return the place that a stored row says. Raises StoreCorrupt."""
    return decode_stored("place of a chunk", _unpacked, packed)


def _unpacked(packed: bytes) -> ChunkPlace:
    return ChunkPlace(*_places.decode(packed))


class SegmentFile(Protocol):
    """One open file. All methods raise OSError."""

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Write at an offset, like pwritev; return how many bytes were taken. Not durable before `sync`."""
        ...

    def lay_out(self, offset: int, size_bytes: int) -> None:
        """Have the medium find room behind an offset before it is written to; the file becomes no larger. Where that
        cannot be had, nothing happens."""
        ...

    def give_back(self, size_bytes: int) -> None:
        """Free what was laid out behind the first `size_bytes`, which are all that was written."""
        ...

    def sync(self) -> None:
        """Make everything written durable."""
        ...

    def evict(self, offset: int, size_bytes: int) -> None:
        """Free the memory that keeps these written and synced bytes; the next read fetches them from the medium. What
        shares its page with other bytes may stay."""
        ...

    def read_into(self, room: memoryview, offset: int, *, cached_only: bool = False) -> int:
        """Fill room from an offset; 0 at the end. BlockingIOError when cached_only and it is not cached."""
        ...

    def close(self) -> None:
        """Close; harmless when closed."""
        ...


class SegmentMedium(Protocol):
    """A directory of segment files."""

    def numbers(self) -> list[int]:
        """Return the numbers of all segments, ascending."""
        ...

    def size_bytes(self, number: int) -> int:
        """Return a segment's size."""
        ...

    def create(self, number: int) -> SegmentFile:
        """Make an empty segment, its name durable, open for writing."""
        ...

    def open(self, number: int) -> SegmentFile:
        """Open a segment for reading."""
        ...

    def remove(self, number: int) -> None:
        """Remove a segment, durably."""
        ...


class Batch(ABC):
    """Writes that are applied together."""

    @abstractmethod
    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set a value."""

    @abstractmethod
    def delete(self, family: str, key: bytes) -> None:
        """Remove a value."""

    def put_chunk(self, chunk_id: bytes, place: ChunkPlace) -> None:
        """Say where a chunk lies."""
        self.put("chunks", chunk_id, msgspec.msgpack.encode(place))


class Index(ABC):
    """An ordered key-value store with one family per kind of fact. Safe to use from several threads."""

    #: set by the store: called when the index was opened anew after a failure, before anybody else writes
    on_reopened: Callable[[], object] = staticmethod(lambda: None)
    #: counts how often the index was opened; what was not synced may be gone after another one
    opening = 0

    @abstractmethod
    def get(self, family: str, key: bytes) -> bytes | None:
        """Return a raw value."""

    @abstractmethod
    def scan(self, family: str, start: bytes) -> Generator[tuple[bytes, bytes], bytes | None, None]:
        """Yield (key, value) from `start` on, in key order. Send a key into the generator to jump ahead to it."""

    @abstractmethod
    def batch(self) -> Batch:
        """Return an empty batch of writes."""

    @abstractmethod
    def apply(self, batch: Batch) -> None:
        """Apply a batch, all or nothing. Readers see it at once; it is durable after the next `sync`."""

    @abstractmethod
    def sync(self) -> None:
        """Make every batch applied so far durable. A crash before keeps some first ones of them, in order."""

    @abstractmethod
    def close(self) -> None:
        """Flush and close."""

    def record(self, key: bytes) -> bytes:
        """Return a record's bytes, empty when there is none."""
        return self.get("records", key) or b""

    def chunk(self, chunk_id: bytes) -> ChunkPlace | None:
        """Return where the chunk lies, None when it is not here."""
        packed = self.get("chunks", chunk_id)
        return None if packed is None else decode_place(packed)


class Worker(Protocol):
    """A thread with a lock, and the bell that wakes it. `wait` and `pause` are called by the thread itself."""

    @property
    def lock(self) -> AbstractContextManager[object]:
        """What guards the queue between the thread and the event loop."""
        ...

    def start(self, run: Callable[[], None]) -> None:
        """Run a function in the thread."""
        ...

    def ring(self) -> None:
        """End the thread's `wait`, with the lock held."""
        ...

    def wait(self) -> None:
        """Let go of the lock until `ring`, then take it again."""
        ...

    def pause(self, pause_s: float) -> None:
        """Let go of the lock for a while, then take it again."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only move forward."""
        ...

    def tell(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Have the event loop call back; return whether it still can."""
        ...

    async def join(self) -> None:
        """Wait until the function has returned."""
        ...


class Disk(Protocol):
    """Everything one node's store stands on."""

    @property
    def segments(self) -> SegmentMedium:
        """The segment files."""
        ...

    @property
    def index(self) -> Index:
        """The index."""
        ...

    def room_bytes(self) -> tuple[int, int]:
        """Return (size of the file system, what is free for us)."""
        ...

    def worker(self, name: str) -> Worker:
        """Return a new thread that waits to be started."""
        ...

    def read(self, function: Callable[..., T], *arguments: object) -> Awaitable[T]:
        """Run a reading function where it may wait for the disk."""
        ...

    async def close(self) -> None:
        """Close everything; the workers have ended."""
        ...
