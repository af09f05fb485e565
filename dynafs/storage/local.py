"""LocalStore: the Store port over segments and RocksDB."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from dynafs.config import StorageSettings
from dynafs.errors import ChunkCorrupt, ChunkMismatch, ChunkMissing, DynafsError
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Body, RecordPage, RecordScan
from dynafs.storage.commit import CommitLane
from dynafs.storage.disk import Batch, ChunkPlace, Disk
from dynafs.storage.listing import list_records, scan_chunks, scan_records
from dynafs.storage.recovery import indexed_key, recover
from dynafs.storage.segments import SegmentFiles
from dynafs.wire.segments import chunk_id_of, encode_entry_header

log = get_logger()

_CEILING_KEY = b"clock_ceiling"
#: Least time between two syncs of records. Under load a sync then serves twice as many writers, which gave a cluster
#: on two cores 18 % more small PUTs at lower latency; an idle store commits at once.
RECORD_INTERVAL_S = 0.002
#: Pause before a failed sync of records is tried again.
RESYNC_S = 1.0


@dataclass(slots=True)
class _PutValue:
    """A record, or a value of the node's own."""

    family: str
    key: bytes
    data: bytes
    future: "asyncio.Future[None]"
    error: DynafsError | None = None
    #: set once readers of the index see it
    is_applied: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.data)


@dataclass(slots=True)
class _PutChunk:
    chunk_id: bytes
    upload_id: bytes
    key: bytes
    body: Body
    is_verified: bool
    future: "asyncio.Future[None]"
    error: DynafsError | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.body)


@dataclass(slots=True)
class _Quarantine:
    chunk_id: bytes
    place: ChunkPlace
    future: "asyncio.Future[None]"
    error: DynafsError | None = None
    size_bytes: int = 0


class LocalStore:
    """Everything one node keeps. Made inside a running event loop; reads and puts are called from it."""

    def __init__(self, disk: Disk, settings: StorageSettings, wall_ms: Callable[[], int]) -> None:
        """Open the store, indexing what a crash left behind. Takes the disk over. Raises StoreError."""
        self._disk, self._index, self._wall_ms = disk, disk.index, wall_ms
        self._is_synced = settings.durability == "fsync"
        self._segments = SegmentFiles(disk.segments, settings.segment_size_bytes_max)
        recovered = recover(self._index, disk.segments)
        self._loop = asyncio.get_running_loop()
        #: {key: bytes}: records given to put_record and not durable yet, the latest of each key
        self._unwritten: dict[bytes, bytes] = {}
        #: {key: bytes}: what is durable meanwhile. Invariant: same keys as `_unwritten`. The index shows a write to
        #: readers before it is synced; a quorum must not count what a power cut could still take back.
        self._durable: dict[bytes, bytes] = {}
        #: {key: bytes}: records in the index whose sync failed; hidden until a later sync makes them durable
        self._unsynced: dict[bytes, bytes] = {}
        self._must_sync = False
        self._resync: asyncio.TimerHandle | None = None
        self._values = CommitLane[_PutValue]("records", disk.worker("records"), self._commit_values, RECORD_INTERVAL_S)
        self._chunks = CommitLane[_PutChunk | _Quarantine]("chunks", disk.worker("chunks"), self._commit_chunks)
        log.info("store.opened", recovered=recovered)

    @property
    def unwritten_count(self) -> int:
        """Records on their way to the disk."""
        return len(self._unwritten)

    def clock_ceiling(self) -> int:
        """Return the durable ceiling of the hybrid clock."""
        return int(self._index.get("node", _CEILING_KEY) or b"0")

    def put_clock_ceiling(self, ceiling: int) -> asyncio.Future[None]:
        """Remember the hybrid clock's ceiling."""
        return self._put_value("node", _CEILING_KEY, b"%d" % ceiling)

    def fact(self, name: str) -> bytes | None:
        """Return something the node knows of itself."""
        return self._index.get("node", name.encode())

    def put_fact(self, name: str, value: bytes) -> asyncio.Future[None]:
        """Remember something of the node itself."""
        return self._put_value("node", name.encode(), value)

    def read_record(self, key: bytes) -> bytes:
        """Return the durable record bytes, empty when there are none."""
        data = self._durable.get(key)
        return self._index.record(key) if data is None else data

    def latest_record(self, key: bytes) -> bytes:
        """Return the record bytes last given to put_record, durable or not yet."""
        data = self._unwritten.get(key)
        return self._index.record(key) if data is None else data

    def put_record(self, key: bytes, data: bytes) -> asyncio.Future[None]:
        """Replace the record."""
        if key not in self._durable:
            self._durable[key] = self._index.record(key)
        self._unwritten[key] = data
        write = _PutValue("records", key, data, self._loop.create_future())
        write.future.add_done_callback(partial(self._on_record_written, write))
        self._values.submit(write)
        # Who stops waiting does not stop the write. Were it forgotten before it is on disk, the next merge would build
        # on what came before it and overwrite it.
        return asyncio.shield(write.future)

    def _on_record_written(self, write: _PutValue, future: "asyncio.Future[None]") -> None:
        key, data = write.key, write.data
        is_latest = self._unwritten.get(key) is data
        if future.exception() is not None and write.is_applied:
            # Its writer was told that it failed, yet the index shows it: hide it until it is known to be durable.
            self._unsynced[key] = data
            self._sync_again_later()
            return
        if is_latest and future.exception() is not None and key in self._unsynced:
            self._unwritten[key] = self._unsynced[key]
        elif is_latest:
            # The same bytes may be put twice while on their way; the first to be written settles both.
            self._forget(key)
        elif key in self._durable and future.exception() is None:
            self._durable[key] = data
        if self._unsynced and future.exception() is None:
            self._show_unsynced()

    def _forget(self, key: bytes) -> None:
        del self._unwritten[key], self._durable[key]
        self._unsynced.pop(key, None)

    def _sync_again_later(self) -> None:
        if self._resync is None:
            self._resync = self._loop.call_later(RESYNC_S, self._sync_again)

    def _sync_again(self) -> None:
        """Write something small: with it everything before becomes durable, or the failure is met again."""
        self._resync = None
        if self._unsynced:
            self._put_value("node", b"resynced", b"").add_done_callback(self._on_resynced)

    def _on_resynced(self, future: "asyncio.Future[None]") -> None:
        if future.exception() is None:
            self._show_unsynced()
        else:
            self._sync_again_later()

    def _show_unsynced(self) -> None:
        """A sync succeeded, so everything applied before it is durable."""
        left, self._unsynced = self._unsynced, {}
        for key, data in left.items():
            if self._unwritten.get(key) is data:
                self._forget(key)
            elif key in self._durable:
                self._durable[key] = data

    def _put_value(self, family: str, key: bytes, data: bytes) -> asyncio.Future[None]:
        write = _PutValue(family, key, data, self._loop.create_future())
        self._values.submit(write)
        return write.future

    def _commit_values(self, writes: Sequence[_PutValue]) -> None:
        if self._must_sync:
            # While syncs fail nothing more is written: what is neither durable nor forgotten stays bounded.
            self._sync_index()
        batch = self._index.batch()
        for write in writes:
            batch.put(write.family, write.key, write.data)
        self._index.apply(batch)
        for write in writes:
            write.is_applied = True
        if self._is_synced:
            self._sync_index()

    def _sync_index(self) -> None:
        self._must_sync = True
        self._index.sync()
        self._must_sync = False

    def put_chunk(
        self, chunk_id: bytes, upload_id: bytes, key: bytes, body: Body, *, is_verified: bool = False
    ) -> asyncio.Future[None]:
        """Keep a chunk and a reference to it; ChunkMismatch unless the body hashes to its name."""
        write = _PutChunk(chunk_id, upload_id, key, body, is_verified, self._loop.create_future())
        self._chunks.submit(write)
        return write.future

    def _commit_chunks(self, writes: Sequence[_PutChunk | _Quarantine]) -> None:
        batch = self._index.batch()
        fresh: dict[bytes, _PutChunk] = {}
        # Bad copies go first: a good one that arrives in the same batch must not be taken for one that is here already.
        gone = {w.chunk_id for w in writes if isinstance(w, _Quarantine) and self._quarantine(batch, w)}
        must_sync = bool(gone)
        for write in writes:
            if isinstance(write, _Quarantine):
                continue
            if not write.is_verified and (actual := chunk_id_of(write.body)) != write.chunk_id:
                write.error = ChunkMismatch(write.chunk_id.hex(), actual.hex())
            else:
                if write.chunk_id in fresh or self._has(write.chunk_id, gone):
                    # Only the reference is new; no segment entry could bring it back after a power cut.
                    must_sync = True
                else:
                    fresh[write.chunk_id] = write
                batch.put("references", write.chunk_id + write.upload_id, write.key)
        self._append(batch, list(fresh.values()))
        self._index.apply(batch)
        if self._is_synced and must_sync:
            self._index.sync()

    def _has(self, chunk_id: bytes, gone: set[bytes]) -> bool:
        return chunk_id not in gone and self._index.chunk(chunk_id) is not None

    def _append(self, batch: Batch, writes: list[_PutChunk]) -> None:
        if not writes:
            return
        entries = [(encode_entry_header(w.chunk_id, w.upload_id, w.key, len(w.body)), w.body) for w in writes]
        places = self._segments.append(entries)
        if self._is_synced:
            self._segments.sync()
        for write, place in zip(writes, places, strict=True):
            batch.put_chunk(write.chunk_id, place)
            batch.delete("quarantine", write.chunk_id)
        number, offset = self._segments.position
        batch.put("node", indexed_key(number), b"%d" % offset)

    def _quarantine(self, batch: Batch, write: _Quarantine) -> bool:
        if self._index.chunk(write.chunk_id) != write.place:
            return False
        batch.delete("chunks", write.chunk_id)
        noted = {"place": write.place, "found_unix_ms": self._wall_ms()}
        batch.put("quarantine", write.chunk_id, msgspec.msgpack.encode(noted))
        return True

    def read_chunk_now(self, chunk_id: bytes) -> bytearray | None:
        """Return the verified chunk if no wait for the disk is needed, else None. Raises ChunkMissing, ChunkCorrupt."""
        place = self._place(chunk_id)
        body = self._segments.read(place, cached_only=True)
        return None if body is None else self._verified(chunk_id, place, body)

    async def read_chunk(self, chunk_id: bytes) -> bytearray:
        """Return the verified chunk. Raises ChunkMissing, ChunkCorrupt, StoreFailed."""
        place = self._place(chunk_id)
        body = self._segments.read(place, cached_only=True)
        if body is None:
            body = await self._disk.read(self._segments.read, place)
            assert body is not None
        return self._verified(chunk_id, place, body)

    def _place(self, chunk_id: bytes) -> ChunkPlace:
        place = self._index.chunk(chunk_id)
        if place is None:
            raise ChunkMissing(f"no copy of chunk {chunk_id.hex()} here", chunk=chunk_id.hex())
        return place

    def _verified(self, chunk_id: bytes, place: ChunkPlace, body: bytearray) -> bytearray:
        if len(body) == place.size_bytes and chunk_id_of(body) == chunk_id:
            return body
        metrics.chunks_quarantined.inc()
        log.warning("chunk.quarantined", chunk=chunk_id.hex(), segment=place.segment, offset_bytes=place.offset)
        self._chunks.submit(_Quarantine(chunk_id, place, self._loop.create_future()))
        raise ChunkCorrupt(
            f"the copy of chunk {chunk_id.hex()} here is corrupt; it was quarantined", chunk=chunk_id.hex()
        )

    def chunk_state(self, chunk_id: bytes) -> str:
        """Return "present", "missing" or "quarantined", by the index."""
        if self._index.chunk(chunk_id) is not None:
            return "present"
        return "missing" if self._index.get("quarantine", chunk_id) is None else "quarantined"

    async def list_records(self, bucket: str, prefix: str, delimiter: str, after: bytes, limit: int) -> RecordPage:
        """Return durable records in path order, skipping behind the first file of each common prefix."""
        return await self._disk.read(list_records, self._index, bucket, prefix, delimiter, after, limit)

    async def scan_records(self, after: bytes, limit: int) -> RecordScan:
        """Return records of all buckets in key order, behind a key."""
        return await self._disk.read(scan_records, self._index, after, limit)

    async def scan_chunks(self, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return (chunk id, size in bytes) of what is here, in the order of ids, behind an id."""
        return await self._disk.read(scan_chunks, self._index, after, limit)

    def reference_of(self, chunk_id: bytes) -> tuple[bytes, bytes] | None:
        """Return (upload id, key) of a reference to the chunk, None when there is none."""
        row = next(self._index.scan("references", chunk_id), None)
        if row is None or not row[0].startswith(chunk_id):
            return None
        return row[0][len(chunk_id) :], row[1]

    async def close(self) -> None:
        """Commit what is queued and close everything."""
        if self._resync is not None:
            self._resync.cancel()
        await self._chunks.close()
        await self._values.close()
        self._segments.close()
        await self._disk.close()
