"""Files: what the HTTP layer and the command see of the cluster."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from dynafs.causality import Context
from dynafs.errors import NotFound
from dynafs.files import FileName, Record, Version, VersionKind, spans_of
from dynafs.files.manifest import PAGE_CHUNKS, Span, chunk_count, split_ids
from dynafs.quorum import QuorumPolicy
from dynafs.replication.budget import ByteBudget, Holding
from dynafs.replication.chunks import ChunkBytes, ChunkKeeper
from dynafs.replication.commit import UNSTAMPED, Committer, Receipt
from dynafs.replication.records import RecordReader

#: Bytes of the context that a delete hands on: half of what a message may have.
SEEN_SIZE_BYTES_MAX = 32 << 10


class FileReader:
    """Strong reads, deletes and streams of files."""

    def __init__(
        self,
        records: RecordReader,
        committer: Committer,
        keeper: ChunkKeeper,
        budget: ByteBudget,
        chunks_ahead: int,
    ) -> None:
        self._records, self._committer, self._keeper = records, committer, keeper
        self._budget, self._chunks_ahead = budget, chunks_ahead

    async def newest(self, name: FileName, policy: QuorumPolicy) -> Version:
        """Return the file's newest version, held by W owners. Raises NotFound when R owners agree there is none,
        ReadQuorumLost when that cannot be told."""
        return (await self.read(name, policy)).files[0]

    async def read(self, name: FileName, policy: QuorumPolicy) -> Record:
        """Return the file's record, with at least one version that has contents. Raises like `newest`."""
        record = await self._records.read(name.key, policy)
        if not record.files:
            raise NotFound("file", str(name))
        return record

    async def delete(self, name: FileName, policy: QuorumPolicy, seen: Context | None = None) -> Receipt:
        """Write a tombstone over an existing file. Raises NotFound, QuorumError.

        seen: what the client had seen of the file; versions written since stay where both are kept. None: all that
        stand now are deleted.
        """
        record = await self.read(name, policy)
        tombstone = Version(UNSTAMPED, VersionKind.TOMBSTONE, keeps_both=record.files[0].keeps_both)
        seen = record.shown_context(SEEN_SIZE_BYTES_MAX) if seen is None else seen
        return await self._committer.commit(name.key, tombstone, policy, seen=seen)

    async def open(self, name: FileName, version: Version, start: int, stop: int) -> "Download":
        """Return the bytes from start to stop as a stream whose first chunk is at hand, so that a file whose chunks
        cannot be had is refused before anything is sent. Raises ChunkUnavailable, Overloaded."""
        download = Download(self, name, version, start, stop)
        await download.begin()
        return download

    async def chunk_ids(self, name: FileName, version: Version, first: int, stop: int) -> tuple[bytes, ...]:
        """Return the ids of chunks number first to stop (exclusive) of a version, reading manifest pages as needed."""
        manifest = version.manifest
        if manifest is None:
            return ()
        listed = manifest.listed()
        if not manifest.paged:
            return listed[first:stop]
        stop = min(stop, chunk_count(version.size_bytes, manifest.chunk_size_bytes))
        ids: list[bytes] = []
        for page_number in range(first // PAGE_CHUNKS, -(-stop // PAGE_CHUNKS)):
            page = split_ids(bytes(await self.read_chunk(name, version, listed[page_number])))
            base = page_number * PAGE_CHUNKS
            ids += page[max(first - base, 0) : stop - base]
        return tuple(ids)

    async def read_chunk(self, name: FileName, version: Version, chunk_id: bytes) -> ChunkBytes:
        """Return one verified chunk of a version."""
        body = self._keeper.read_now(chunk_id)
        return body if body is not None else await self._keeper.read(chunk_id, version.upload_id, name.key)

    async def take(self, size_bytes: int) -> Holding:
        """Wait for room to hold a chunk."""
        return await self._budget.take(size_bytes)

    def try_take(self, size_bytes: int) -> Holding | None:
        """Return room to hold one more chunk, if it is free."""
        return self._budget.try_take(size_bytes)

    @property
    def chunks_ahead(self) -> int:
        """Chunks a download may fetch ahead of its client."""
        return self._chunks_ahead


class _Fetch(NamedTuple):
    span: Span
    body: "asyncio.Future[ChunkBytes]"
    holding: Holding


class Download:
    """A file reader as a state machine: fetches ahead while there is room, hands out verified pieces in order.

    Invariant: at most 1 + chunks_ahead fetches are open; every open fetch holds its bytes of the budget.
    """

    def __init__(self, reader: FileReader, name: FileName, version: Version, start: int, stop: int) -> None:
        self._reader, self._name, self._version = reader, name, version
        self._start, self._stop = start, stop
        manifest = version.manifest
        self._chunk_size = manifest.chunk_size_bytes if manifest else 0
        self._spans = spans_of(version.size_bytes, self._chunk_size, start, stop) if manifest else iter(())
        self._next_span = next(self._spans, None)
        self._fetches: deque[_Fetch] = deque()
        #: chunk ids of the manifest page the download is in, and the number of the first
        self._ids: Sequence[bytes] = ()
        self._ids_first = 0

    async def begin(self) -> None:
        """Get the first chunk."""
        if self._next_span is not None:
            await self._fetch_next(await self._reader.take(self._next_span.size_bytes))
            try:
                await asyncio.shield(self._fetches[0].body)
            except BaseException:
                self.close()
                raise

    async def pieces(self) -> AsyncIterator[memoryview]:
        """Yield the bytes in order. Raises ChunkUnavailable when one cannot be had; the rest must not be made up."""
        try:
            if self._version.inline is not None:
                yield memoryview(self._version.inline)[self._start : self._stop]
                return
            while self._fetches:
                await self._fetch_ahead()
                fetch = self._fetches[0]
                body = await asyncio.shield(fetch.body)
                yield memoryview(body)[fetch.span.start : fetch.span.stop]
                self._fetches.popleft()
                del body
                await self._keep_one(fetch.holding)
        finally:
            self.close()

    async def _fetch_ahead(self) -> None:
        while self._next_span is not None and len(self._fetches) <= self._reader.chunks_ahead:
            holding = self._reader.try_take(self._next_span.size_bytes)
            if holding is None:
                return
            await self._fetch_next(holding)

    async def _keep_one(self, holding: Holding) -> None:
        """Pass the place of the chunk just sent to the next one, so that a download once begun never waits for room."""
        if self._next_span is not None and not self._fetches:
            await self._fetch_next(holding)
        else:
            holding.release()

    async def _fetch_next(self, holding: Holding) -> None:
        span = self._next_span
        assert span is not None
        try:
            chunk_id = await self._id_of(span.number)
        except BaseException:
            holding.release()
            raise
        self._next_span = next(self._spans, None)
        task = asyncio.ensure_future(self._reader.read_chunk(self._name, self._version, chunk_id))
        self._fetches.append(_Fetch(span, task, holding))

    async def _id_of(self, index: int) -> bytes:
        if not self._ids_first <= index < self._ids_first + len(self._ids):
            self._ids_first = index - index % PAGE_CHUNKS
            stop = self._ids_first + PAGE_CHUNKS
            self._ids = await self._reader.chunk_ids(self._name, self._version, self._ids_first, stop)
        return self._ids[index - self._ids_first]

    def close(self) -> None:
        """Stop fetching and give everything back."""
        for fetch in self._fetches:
            if not fetch.body.done():
                fetch.body.cancel()
            elif not fetch.body.cancelled():
                fetch.body.exception()
            fetch.holding.release()
        self._fetches.clear()
