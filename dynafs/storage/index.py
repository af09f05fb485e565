"""The Index over RocksDB."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, WriteBatch

from dynafs.errors import StoreFailed, StoreFull
from dynafs.storage.disk import FAMILIES, Batch, Index


class RocksIndex(Index):
    """RocksDB with one column family per kind of fact."""

    def __init__(self, path: Path, cache_size_bytes: int, write_buffer_size_bytes: int) -> None:
        cache = Cache(cache_size_bytes)
        options = _options(cache)
        options.create_if_missing(True)  # noqa: FBT003  the library's signature
        options.create_missing_column_families(True)  # noqa: FBT003
        options.set_db_write_buffer_size(write_buffer_size_bytes)
        options.set_max_total_wal_size(8 * write_buffer_size_bytes)
        options.set_keep_log_file_num(4)
        try:
            self._db = Rdict(str(path), options, column_families={name: _options(cache) for name in FAMILIES})
        except Exception as error:
            raise translate(error, "open the index") from error
        self._tables = {name: self._db.get_column_family(name) for name in FAMILIES}
        self._handles = {name: self._db.get_column_family_handle(name) for name in FAMILIES}

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return a raw value."""
        value: bytes | None = self._tables[family].get(key)
        return value

    def scan(self, family: str, start: bytes) -> Generator[tuple[bytes, bytes], bytes | None, None]:
        """Yield (key, value) from `start` on, in key order. Send a key into the generator to jump ahead to it."""
        cursor = self._tables[family].iter()
        cursor.seek(start)
        while cursor.valid():
            jump = yield cursor.key(), cursor.value()
            if jump is None:
                cursor.next()
            else:
                cursor.seek(jump)

    def batch(self) -> "RocksBatch":
        """Return an empty batch of writes."""
        return RocksBatch(self._handles)

    def apply(self, batch: Batch) -> None:
        """Apply a batch, all or nothing. Raises StoreError."""
        try:
            self._db.write(cast("RocksBatch", batch).raw)
        except Exception as error:
            raise translate(error, "write the index") from error

    def sync(self) -> None:
        """Make every batch applied so far durable. Raises StoreError."""
        try:
            # Not WriteOptions.sync: rocksdict holds the interpreter lock through that, and releases it for this.
            self._db.flush_wal(True)  # noqa: FBT003
        except Exception as error:
            raise translate(error, "sync the index") from error

    def close(self) -> None:
        """Flush and close."""
        self._tables.clear()
        self._handles.clear()
        self._db.close()


class RocksBatch(Batch):
    """A WriteBatch."""

    def __init__(self, handles: dict[str, Any]) -> None:
        self.raw = WriteBatch(raw_mode=True)
        self._handles = handles

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set a value."""
        self.raw.put(key, value, self._handles[family])

    def delete(self, family: str, key: bytes) -> None:
        """Remove a value."""
        self.raw.delete(key, self._handles[family])


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
    return options
