"""What survives a power cut: files and an index that forget what was not synced. No time passes here."""

import errno
import random
from collections.abc import Generator, Sequence
from typing import cast

from dynafs.errors import StoreFailed, StoreFull
from dynafs.storage.disk import FAMILIES, Batch, Index

SECTOR_SIZE_BYTES = 512
_Write = tuple[str, bytes, bytes | None]


class Platter:
    """One node's medium. `is_full` and `sync_failures` are set by faults."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.files: dict[int, PlatterFile] = {}
        self.index = PlatterIndex(self)
        self.is_full = False
        #: how full others have made it, for those who ask; only `is_full` fails writes
        self.used_share = 0.0
        #: how many of the next syncs fail
        self.sync_failures = 0

    def cut_power(self) -> None:
        """Keep what was synced and an arbitrary part of the rest, as a power cut would."""
        for file in self.files.values():
            file.cut_power(self._rng)
        self.index.cut_power(self._rng)

    def fails_sync(self) -> bool:
        """Return whether this sync is one that fails."""
        if self.sync_failures:
            self.sync_failures -= 1
            return True
        return False

    def rot(self, rng: random.Random, chunk_id: bytes | None = None) -> bytes | None:
        """Flip one bit of a stored chunk (any, unless one is named); return its id, None when there is none."""
        stored = sorted(self.index.tables["chunks"])
        chosen = chunk_id if chunk_id is not None else rng.choice(stored) if stored else None
        place = None if chosen is None else self.index.chunk(chosen)
        if place is None:
            return None
        file, offset = self.files[place.segment], place.offset + rng.randrange(max(place.size_bytes, 1))
        for content in (file.content, file.synced):
            if offset < len(content):
                content[offset] ^= 1 << rng.randrange(8)
        return chosen


class PlatterFile:
    """A file: what readers see, what is on the medium, and the writes in between."""

    def __init__(self, platter: Platter) -> None:
        self._platter = platter
        self.content = bytearray()
        self.synced = bytearray()
        self._dirty: list[tuple[int, bytes]] = []

    def write(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Take bytes; on a full disk some of them, then none."""
        data = b"".join(buffers)
        if self._platter.is_full:
            data = data[: len(data) // 2] if len(data) > SECTOR_SIZE_BYTES else b""
            if not data:
                raise OSError(errno.ENOSPC, "No space left on device")
        _splice(self.content, offset, data)
        self._dirty.append((offset, data))
        return len(data)

    def sync(self) -> None:
        """Make all writes durable, or lose them for good and say so."""
        dirty, self._dirty = self._dirty, []
        if self._platter.fails_sync():
            raise OSError(errno.EIO, "Input/output error")
        for offset, data in dirty:
            _splice(self.synced, offset, data)

    def cut_power(self, rng: random.Random) -> None:
        """Keep any subset of the sectors that were written and not synced."""
        for offset, data in self._dirty:
            fate = rng.choice(("lost", "torn", "cut", "whole"))
            if fate == "whole":
                _splice(self.synced, offset, data)
            elif fate == "cut":
                _splice(self.synced, offset, data[: rng.randrange(len(data) + 1)])
            elif fate == "torn":
                for start in range(0, len(data), SECTOR_SIZE_BYTES):
                    if rng.random() < 0.5:
                        _splice(self.synced, offset + start, data[start : start + SECTOR_SIZE_BYTES])
        self._dirty = []
        self.content = bytearray(self.synced)


def _splice(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class PlatterIndex(Index):
    """The Index in memory, with a log: a power cut keeps the synced batches and some first ones of the others, as
    RocksDB's write-ahead log does."""

    def __init__(self, platter: Platter) -> None:
        self._platter = platter
        self.tables: dict[str, dict[bytes, bytes]] = {family: {} for family in FAMILIES}
        self._synced: dict[str, dict[bytes, bytes]] = {family: {} for family in FAMILIES}
        self._log: list[list[_Write]] = []
        #: batches applied so far; names the point up to which a sync was asked for
        self.applied_count = 0
        #: {family: (its rows, their keys in order)} as of its last write
        self._views: dict[str, tuple[dict[bytes, bytes], list[bytes]]] = {}

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return a raw value."""
        return self.tables[family].get(key)

    def scan(self, family: str, start: bytes) -> Generator[tuple[bytes, bytes], bytes | None, None]:
        """Yield (key, value) from `start` on, in key order, as of now."""
        if family not in self._views:
            table = self.tables[family]
            self._views[family] = dict(table), sorted(table)
        table, order = self._views[family]
        position = _first_at(order, start)
        while position < len(order):
            key = order[position]
            jump = yield key, table[key]
            position = position + 1 if jump is None else _first_at(order, jump)

    def batch(self) -> "PlatterBatch":
        """Return an empty batch of writes."""
        return PlatterBatch()

    def apply(self, batch: Batch) -> None:
        """Show a batch to readers and log it."""
        if self._platter.is_full:
            raise StoreFull("no space left to write the index")
        writes = cast("PlatterBatch", batch).writes
        self._log.append(writes)
        self.applied_count += 1
        for family in {write[0] for write in writes}:
            self._views.pop(family, None)
        _replay(self.tables, writes)

    def sync(self) -> None:
        """Make the log durable, or fail and leave it as it is."""
        self.sync_up_to(self.applied_count)

    def sync_up_to(self, count: int) -> None:
        """Make the first batches durable: those applied before the sync was asked for."""
        if self._platter.fails_sync():
            raise StoreFailed("cannot sync the index: Input/output error")
        kept = min(len(self._log), self.applied_count - count)
        ready, self._log = self._log[: len(self._log) - kept], self._log[len(self._log) - kept :]
        for writes in ready:
            _replay(self._synced, writes)

    def cut_power(self, rng: random.Random) -> None:
        """Keep what was synced and the first few batches of the rest."""
        for writes in self._log[: rng.randint(0, len(self._log))]:
            _replay(self._synced, writes)
        self._log = []
        self._views.clear()
        self.tables = {family: dict(table) for family, table in self._synced.items()}

    def close(self) -> None:
        """Nothing to do."""


class PlatterBatch(Batch):
    """A list of writes."""

    def __init__(self) -> None:
        self.writes: list[_Write] = []

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set a value."""
        self.writes.append((family, key, value))

    def delete(self, family: str, key: bytes) -> None:
        """Remove a value."""
        self.writes.append((family, key, None))


def _replay(tables: dict[str, dict[bytes, bytes]], writes: list[_Write]) -> None:
    for family, key, value in writes:
        if value is None:
            tables[family].pop(key, None)
        else:
            tables[family][key] = value


def _first_at(keys: list[bytes], start: bytes) -> int:
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if keys[middle] < start else (low, middle)
    return low
