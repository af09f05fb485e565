"""The Index over RocksDB.

A write that fails leaves RocksDB refusing all others until it is opened anew. That is done in place, before the next
write, as soon as a probe shows that the disk takes writes again; until then what is there can be read. RocksDB rewrites
what it finds in its log when it opens, so what is seen afterwards is durable.
"""

import errno
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

from dynafs.errors import StoreError, StoreFailed, StoreFull
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import report_failure, reporting
from dynafs.storage.disk import FAMILIES, Batch, Index

log = get_logger()

#: Least time between two attempts to open an index anew.
REOPEN_EVERY_S = 1.0
PROBE_SIZE_BYTES = 4096
#: Files RocksDB keeps open, over all tables. Unlimited, a large index would use the descriptors of everything else.
OPEN_TABLES_MAX = 512
#: RocksDB keeps a mark of each removed row, which scans step over, until it compacts the files they lie in. After so
#: many removals from one family its newest rows are flushed; files in which marks are dense are compacted then.
REMOVALS_MAX = 2000
MARKS_WINDOW_ROWS, MARKS_PER_WINDOW, MARKS_SHARE = 1024, 256, 0.25


class RocksIndex(Index):
    """RocksDB with one column family per kind of fact."""

    def __init__(self, path: Path, cache_size_bytes: int, write_buffer_size_bytes: int) -> None:
        self._path = path
        self._cache_size_bytes, self._write_buffer_size_bytes = cache_size_bytes, write_buffer_size_bytes
        #: guards what follows; notified when the last writer leaves
        self._gate = threading.Condition()
        self._writers = 0
        self._is_broken, self._is_closed, self._retry_at_s = False, False, 0.0
        #: {family: rows removed since its last flush}
        self._removals = dict.fromkeys(FAMILIES, 0)
        self._mender: threading.Thread | None = None
        self._open()

    def _open(self) -> None:
        cache = Cache(self._cache_size_bytes)
        options = _options(cache)
        options.create_if_missing(True)  # noqa: FBT003  the library's signature
        options.create_missing_column_families(True)  # noqa: FBT003
        options.set_db_write_buffer_size(self._write_buffer_size_bytes)
        options.set_max_total_wal_size(8 * self._write_buffer_size_bytes)
        options.set_keep_log_file_num(4)
        options.set_max_open_files(OPEN_TABLES_MAX)
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            self._db = Rdict(str(self._path), options, column_families={name: _options(cache) for name in FAMILIES})
        except Exception as error:
            raise translate(error, "open the index") from error
        self._tables = {name: self._db.get_column_family(name) for name in FAMILIES}
        self._handles = {name: self._db.get_column_family_handle(name) for name in FAMILIES}
        self.opening += 1

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return a raw value. Raises StoreFailed while the index is being opened anew."""
        try:
            value: bytes | None = self._tables[family].get(key)
        except KeyError:
            raise _closed() from None
        return value

    def scan(self, family: str, start: bytes) -> Generator[tuple[bytes, bytes], bytes | None, None]:
        """Yield (key, value) from `start` on, in key order. Send a key into the generator to jump ahead to it."""
        try:
            cursor = self._tables[family].iter()
        except KeyError:
            raise _closed() from None
        cursor.seek(start)
        while cursor.valid():
            jump = yield cursor.key(), cursor.value()
            if jump is None:
                cursor.next()
            else:
                cursor.seek(jump)

    def batch(self) -> "RocksBatch":
        """Return an empty batch of writes. Raises StoreFailed while the disk takes none."""
        self._mend()
        return RocksBatch(self._handles, self.opening)

    def apply(self, batch: Batch) -> None:
        """Apply a batch, all or nothing. Raises StoreError."""
        rocks = cast("RocksBatch", batch)
        with self._writing("write the index"):
            if rocks.opening != self.opening:
                raise StoreFailed("the index was opened anew in the middle of a write")
            self._db.write(rocks.raw)
            self._clear_marks(rocks.removals)

    def _clear_marks(self, removals: dict[str, int]) -> None:
        """Have RocksDB get rid of the marks of removed rows, in its own threads."""
        for family, count in removals.items():
            self._removals[family] += count
            if self._removals[family] >= REMOVALS_MAX:
                self._removals[family] = 0
                try:
                    self._tables[family].flush(False)  # noqa: FBT003
                except Exception as error:  # noqa: BLE001  the batch is applied; the next write reports what is wrong
                    log.debug("store.flush_failed", family=family, error=str(error))

    def sync(self) -> None:
        """Make every batch applied so far durable. Raises StoreError."""
        self._mend()
        with self._writing("sync the index"):
            # Not WriteOptions.sync: rocksdict holds the interpreter lock through that, and releases it for this.
            self._db.flush_wal(True)  # noqa: FBT003

    @contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        """Keep the index open meanwhile; remember when RocksDB failed."""
        with self._gate:
            if not self._tables:
                raise _closed()
            self._writers += 1
        try:
            yield
        except StoreFailed:
            raise
        except Exception as error:
            self._is_broken = True
            raise translate(error, doing) from error
        finally:
            with self._gate:
                self._writers -= 1
                self._gate.notify_all()

    def _mend(self) -> None:
        """Open the index anew if a write failed and the disk takes writes again. Raises StoreError until it does."""
        if not self._is_broken:
            return
        with self._gate:
            if not self._is_broken:
                return
            if time.monotonic() < self._retry_at_s:
                raise StoreFailed("a write of the index failed; it is tried again in a moment")
            self._retry_at_s = time.monotonic() + REOPEN_EVERY_S
            _probe(self._path.with_name("probe"))
            while self._writers:
                self._gate.wait()
            if self._tables:
                self._let_go()
            try:
                self._open()
                # What follows writes to the index itself.
                self._is_broken = False
                self.on_reopened()
            except BaseException as error:
                # Also after a bug: an index that lacks what the segments have must not be written to.
                self._is_broken = True
                self._mend_later()
                if not isinstance(error, Exception):
                    raise
                if not isinstance(error, StoreError | OSError):
                    report_failure("recovery of the index", error)
                raise translate(error, "open the index anew") from error
            # Whatever others began meanwhile did not know of this.
            self.opening += 1
        log.info("store.mended", opening=self.opening)

    def _mend_later(self) -> None:
        """Go on trying without anybody writing: while the index is closed nothing can even be read."""
        if self._mender is None or not self._mender.is_alive():
            self._mender = threading.Thread(target=self._keep_mending, name="index-mender", daemon=True)
            self._mender.start()

    def _keep_mending(self) -> None:
        while self._is_broken and not self._is_closed:
            time.sleep(REOPEN_EVERY_S)
            with suppress(StoreError), reporting("opening of the index"):
                self._mend()

    def _let_go(self) -> None:
        # Failed batches may still be looked at by whoever failed with them, and know the same dictionaries.
        self._tables.clear()
        self._handles.clear()
        try:
            self._db.close()
        except Exception as error:  # noqa: BLE001  it says once more what failed before; what it kept is in its log
            log.debug("store.close_failed", error=str(error))
        self._db = None

    def close(self) -> None:
        """Flush and close."""
        self._is_closed = True
        if self._tables:
            self._tables.clear()
            self._handles.clear()
            self._db.close()


class RocksBatch(Batch):
    """A WriteBatch."""

    def __init__(self, handles: dict[str, Any], opening: int) -> None:
        self.raw = WriteBatch(raw_mode=True)
        self._handles, self.opening = handles, opening
        #: {family: rows removed}
        self.removals: dict[str, int] = {}

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set a value. Raises StoreFailed when the index is being opened anew."""
        self.raw.put(key, value, self._handle(family))

    def delete(self, family: str, key: bytes) -> None:
        """Remove a value."""
        self.raw.delete(key, self._handle(family))
        self.removals[family] = self.removals.get(family, 0) + 1

    def _handle(self, family: str) -> Any:
        try:
            return self._handles[family]
        except KeyError:
            raise _closed() from None


def _closed() -> StoreFailed:
    return StoreFailed("the index is being opened anew")


def _probe(path: Path) -> None:
    """Write a little and make it durable. Raises StoreError when the disk does not do that."""
    try:
        file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            if os.write(file, bytes(PROBE_SIZE_BYTES)) < PROBE_SIZE_BYTES:
                raise OSError(errno.ENOSPC, "No space left for a whole page")
            os.fdatasync(file)
        finally:
            os.close(file)
        path.unlink()
    except OSError as error:
        raise translate(error, "write to the disk") from error


def translate(error: Exception, doing: str) -> StoreFailed | StoreFull:
    """Return our error for one of RocksDB's or the operating system's."""
    text = str(error)
    if getattr(error, "errno", None) == 28 or "No space left" in text:
        return StoreFull(f"no space left to {doing}")
    return StoreFailed(f"cannot {doing}: {text}")


def _options(cache: Any) -> Any:
    options = Options(raw_mode=True)
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_bloom_filter(10, block_based=False)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.add_compact_on_deletion_collector_factory(MARKS_WINDOW_ROWS, MARKS_PER_WINDOW, MARKS_SHARE)
    return options
