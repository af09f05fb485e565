"""Chunks, whose bytes lie in segments, and the references to them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from dynafs.errors import ChunkCorrupt, ChunkMissing, StoreFull
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Body, Hint, Reference, StoredChunk
from dynafs.storage.chunk_batch import (
    ChunkBatch,
    ChunkWrite,
    Confirm,
    DropReference,
    MoveChunk,
    PutChunk,
    Quarantine,
    Recount,
    Release,
    RemoveSegment,
    SealSegment,
)
from dynafs.storage.commit import CommitLane
from dynafs.storage.disk import ChunkPlace, Disk
from dynafs.storage.listing import references_to, scan_chunks, scan_references
from dynafs.storage.marks import DiskMarks
from dynafs.storage.recovery import indexed_key
from dynafs.storage.references import decode_reference, encode_reference
from dynafs.storage.segments import SegmentFiles
from dynafs.storage.stored import decode_stored
from dynafs.storage.trees import KnownSums
from dynafs.wire.segments import chunk_id_of, encode_entry_header

log = get_logger()


class ChunkTable:
    """Chunks of one node and the references to them, written by a commit lane with tree sums of its own."""

    def __init__(
        self,
        disk: Disk,
        marks: DiskMarks,
        segment_size_bytes_max: int,
        wall_ms: Callable[[], int],
        *,
        is_synced: bool,
    ) -> None:
        self._disk, self._index, self._marks = disk, disk.index, marks
        self._wall_ms, self._is_synced = wall_ms, is_synced
        self._loop = asyncio.get_running_loop()
        self._segments = SegmentFiles(disk.segments, segment_size_bytes_max)
        self._sums = KnownSums(disk.index)
        self._chunks = CommitLane[ChunkWrite]("chunks", disk.worker("chunks"), self._commit_chunks)

    def _submit(self, write: ChunkWrite) -> asyncio.Future[None]:
        self._chunks.submit(write)
        return write.future

    def put_chunk(
        self,
        chunk_id: bytes,
        upload_id: bytes,
        key: bytes,
        body: Body,
        *,
        is_verified: bool = False,
        hint: Hint | None = None,
    ) -> asyncio.Future[None]:
        """Keep a chunk and a reference to it; ChunkMismatch unless the body hashes to its name. hint: kept with it."""
        write = PutChunk(chunk_id, self._loop.create_future(), upload_id, key, body, is_verified, hint)
        try:
            self._marks.check(is_for_others=hint is not None)
        except StoreFull as error:
            write.future.set_exception(error)
            return write.future
        self._marks.add(len(body))
        return self._submit(write)

    def confirm_reference(self, chunk_id: bytes, upload_id: bytes, key: bytes) -> asyncio.Future[None]:
        """Make a reference, or make it as good as new. Raises ChunkMissing when the chunk is not here."""
        return self._submit(Confirm(chunk_id, self._loop.create_future(), upload_id, key))

    def release_reference(self, chunk_id: bytes, upload_id: bytes) -> asyncio.Future[None]:
        """Have a reference looked at soon, if it is here."""
        return self._submit(Release(chunk_id, self._loop.create_future(), upload_id))

    def drop_reference(self, reference: Reference) -> asyncio.Future[None]:
        """Remove a reference unless it was confirmed or released since, and with a chunk's last one the chunk."""
        value = encode_reference(reference.key, reference.since_ms)
        return self._submit(DropReference(reference.chunk_id, self._loop.create_future(), reference.upload_id, value))

    def _commit_chunks(self, writes: Sequence[ChunkWrite]) -> None:
        batch = ChunkBatch(self._index, self._wall_ms, self._sums)
        # Bad copies go first: a good one that arrives in the same batch must not be taken for one that is here already.
        for write in sorted(writes, key=lambda write: not isinstance(write, Quarantine)):
            batch.fold(write)
        for number in batch.sealed:
            self._segments.seal(number)
        self._append(batch, is_synced=self._is_synced or any(isinstance(write, MoveChunk) for write in writes))
        batch.settle_trees()
        self._index.apply(batch.writes)
        if (self._is_synced and batch.must_sync) or batch.removed:
            self._index.sync()
        self._sums.give_back(batch.trees.applied())
        for number in batch.removed:
            # Only now does no durable row of the index lead there any more.
            self._segments.remove(number)

    def _append(self, batch: ChunkBatch, *, is_synced: bool) -> None:
        if not batch.entries:
            return
        entries = [
            (encode_entry_header(chunk_id, upload_id, key, len(body)), body)
            for chunk_id, (upload_id, key, body) in batch.entries.items()
        ]
        places = self._segments.append(entries)
        if is_synced:
            self._segments.sync()
        for chunk_id, place in zip(batch.entries, places, strict=True):
            batch.writes.put_chunk(chunk_id, place)
            batch.writes.delete("quarantine", chunk_id)
        number, offset = self._segments.position
        batch.writes.put("node", indexed_key(number), b"%d" % offset)

    def read_chunk_now(self, chunk_id: bytes) -> bytearray | None:
        """Return the verified chunk if no wait for the disk is needed, else None. Raises ChunkMissing, ChunkCorrupt."""
        place = self._place(chunk_id)
        body = self._segments.read(place, cached_only=True)
        return None if body is None else self._verified(chunk_id, place, body)

    async def read_chunk(self, chunk_id: bytes) -> bytearray:
        """Return the verified chunk. Raises ChunkMissing, ChunkCorrupt, StoreFailed."""
        while True:
            place = self._place(chunk_id)
            body = self._segments.read(place, cached_only=True)
            if body is None:
                body = await self._disk.read(self._segments.read, place)
                assert body is not None
            if len(body) == place.size_bytes or self._place(chunk_id) == place:
                return self._verified(chunk_id, place, body)
            # It was moved and its old segment removed meanwhile.

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
        # A disk that cannot note it now has said so; whoever reads the copy next finds it bad again.
        noted = self._submit(Quarantine(chunk_id, self._loop.create_future(), place))
        noted.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise ChunkCorrupt(
            f"the copy of chunk {chunk_id.hex()} here is corrupt; it was quarantined", chunk=chunk_id.hex()
        )

    def chunk_state(self, chunk_id: bytes) -> str:
        """Return "present", "missing" or "quarantined", by the index."""
        if self._index.chunk(chunk_id) is not None:
            return "present"
        return "missing" if self._index.get("quarantine", chunk_id) is None else "quarantined"

    def chunk_size_bytes(self, chunk_id: bytes) -> int:
        """Return a chunk's size by the index, 0 when it is not here."""
        place = self._index.chunk(chunk_id)
        return 0 if place is None else place.size_bytes

    async def scan_chunks(self, after: bytes, limit: int) -> list[StoredChunk]:
        """Return what is here, in the order of ids, behind an id."""
        return await self._disk.read(scan_chunks, self._index, after, limit)

    async def scan_references(self, after: bytes, limit: int) -> list[Reference]:
        """Return references in the order of chunk and upload ids, behind such a pair."""
        return await self._disk.read(scan_references, self._index, after, limit)

    async def references_to(self, chunk_ids: Sequence[bytes], limit: int) -> list[Reference]:
        """Return the references to these chunks, up to `limit` of each."""
        return await self._disk.read(references_to, self._index, chunk_ids, limit)

    def reference_of(self, chunk_id: bytes) -> Reference | None:
        """Return a reference to the chunk, None when there is none."""
        row = next(self._index.scan("references", chunk_id), None)
        return decode_reference(*row) if row is not None and row[0].startswith(chunk_id) else None

    def reference(self, chunk_id: bytes, upload_id: bytes) -> Reference | None:
        """Return one reference, None when it is not here."""
        row = chunk_id + upload_id
        value = self._index.get("references", row)
        return None if value is None else decode_reference(row, value)

    def segment_sizes(self) -> dict[int, int]:
        """Return {segment: its size in bytes}, the one being written included. Raises StoreFailed."""
        return self._segments.sizes_bytes()

    def pinned_segments(self) -> set[int]:
        """Return segments that must stay: bad copies lie there that no good one has replaced yet."""
        noted = (value for _, value in self._index.scan("quarantine", b""))
        return {decode_stored("quarantine", _quarantined_segment, value) for value in noted}

    def recount_branch(self, branch: int) -> asyncio.Future[None]:
        """Count a branch of the chunks' tree again."""
        return self._submit(Recount(b"", self._loop.create_future(), branch))

    def seal_segment(self, segment: int) -> asyncio.Future[None]:
        """Write no more to a segment."""
        return self._submit(SealSegment(b"", self._loop.create_future(), segment))

    async def move_chunk(self, chunk_id: bytes, segment: int) -> None:
        """Write a chunk that lies in this segment anew, durably and verified. Raises ChunkCorrupt, StoreFailed."""
        place = self._index.chunk(chunk_id)
        if place is None or place.segment != segment:
            return
        body = await self._disk.read(self._segments.read, place)
        assert body is not None
        self._verified(chunk_id, place, body)
        await self._submit(MoveChunk(chunk_id, self._loop.create_future(), place, body))
        with suppress(ChunkMissing):  # Its last reference may have gone meanwhile.
            await self.read_chunk(chunk_id)

    def remove_segment(self, segment: int) -> asyncio.Future[None]:
        """Remove a sealed segment from which everything has moved."""
        return self._submit(RemoveSegment(b"", self._loop.create_future(), segment))

    async def close(self) -> None:
        """Commit what is queued and close the segments."""
        await self._chunks.close()
        self._segments.close()


def _quarantined_segment(value: bytes) -> int:
    return ChunkPlace(*msgspec.msgpack.decode(value)["place"]).segment
