"""Downloads: byte ranges of one version as a stream of verified pieces."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from dynafs.admission.reservation import Client, Reservation
from dynafs.coordinator.chunks import ChunkBytes
from dynafs.files import FileName, Version
from dynafs.files.manifest import PAGE_CHUNKS, Span, shared_spans

#: A client that takes longer over one chunk gets the next one without any fetched ahead.
SLOW_S = 1.0


class ChunkSource(Protocol):
    """Where a download gets chunks and room for them: the file reader."""

    @property
    def chunks_ahead(self) -> int:
        """Chunks a download may fetch ahead of its client."""
        ...

    async def chunk_ids(self, name: FileName, version: Version, first: int, stop: int) -> tuple[bytes, ...]:
        """Return the ids of chunks number first to stop (exclusive)."""
        ...

    async def read_chunk(self, name: FileName, version: Version, chunk_id: bytes) -> ChunkBytes:
        """Return one verified chunk."""
        ...

    async def take(self, size_bytes: int, client: Client | None = None, *, has_begun: bool = False) -> Reservation:
        """Wait for room to hold a chunk."""
        ...

    def try_take(self, size_bytes: int, client: Client | None = None) -> Reservation | None:
        """Return room to hold one more chunk, if it is free."""
        ...


class Piece(NamedTuple):
    """Verified bytes of one of the ranges, by its number."""

    number: int
    data: memoryview


class _Fetch(NamedTuple):
    #: (range number, span) of everything wanted of one chunk
    spans: list[tuple[int, Span]]
    body: "asyncio.Future[ChunkBytes]"
    holding: Reservation

    def drop(self) -> None:
        if not self.body.done():
            self.body.cancel()
        elif not self.body.cancelled():
            self.body.exception()
        self.holding.release()


class Download:
    """A file reader as a state machine: fetches ahead while there is room, hands out verified pieces in order.

    A chunk that several ranges touch one after the other is read once. Invariant: at most 1 + chunks_ahead fetches are
    open; every open fetch holds its bytes of the budget.
    """

    def __init__(
        self,
        source: ChunkSource,
        name: FileName,
        version: Version,
        ranges: Sequence[tuple[int, int]],
        client: Client | None = None,
    ) -> None:
        self._source, self._name, self._version, self._ranges, self._client = source, name, version, ranges, client
        manifest = version.manifest
        chunk_size = manifest.chunk_size_bytes if manifest else 0
        self._ahead = shared_spans(version.size_bytes, chunk_size, ranges) if manifest else iter(())
        self._next_spans = next(self._ahead, None)
        self._fetches: deque[_Fetch] = deque()
        #: chunk ids of the manifest page the download is in, and the number of the first
        self._ids: Sequence[bytes] = ()
        self._ids_first = 0
        #: how long the client had been waited for when the chunk at hand was begun
        self._waited_before_s = 0.0
        self._is_slow = False

    async def begin(self) -> None:
        """Get the first chunk."""
        if self._next_spans is not None:
            await self._fetch_next(await self._source.take(_size_bytes(self._next_spans), self._client))
            try:
                await asyncio.shield(self._fetches[0].body)
            except BaseException:
                self.close()
                raise

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield the bytes in order. Raises ChunkUnavailable when one cannot be had; the rest must not be made up."""
        try:
            if (inline := self._version.inline) is not None:
                for index, (start, stop) in enumerate(self._ranges):
                    yield Piece(index, memoryview(inline)[start:stop])
                return
            while self._fetches:
                await self._fetch_ahead()
                fetch = self._fetches[0]
                body = await asyncio.shield(fetch.body)
                self._waited_before_s = self._client.waited_s() if self._client is not None else 0.0
                for index, span in fetch.spans:
                    yield Piece(index, memoryview(body)[span.start : span.stop])
                self._is_slow = self._waits_long()
                self._fetches.popleft()
                del body
                await self._keep_one(fetch.holding)
        finally:
            self.close()

    async def _fetch_ahead(self) -> None:
        while not self._is_slow and self._next_spans is not None and len(self._fetches) <= self._source.chunks_ahead:
            holding = self._source.try_take(_size_bytes(self._next_spans), self._client)
            if holding is None:
                return
            await self._fetch_next(holding)

    def drop_ahead(self) -> None:
        """Give back what was fetched ahead if the client takes long over what it was given."""
        if not self._waits_long() or len(self._fetches) < 2:
            return
        dropped = list(self._fetches)[1:]
        for fetch in dropped:
            self._fetches.pop()
            fetch.drop()
        rest = [self._next_spans] if self._next_spans is not None else []
        self._ahead = itertools.chain([fetch.spans for fetch in dropped], rest, self._ahead)
        self._next_spans = next(self._ahead)

    def _waits_long(self) -> bool:
        return self._client is not None and self._client.waited_s() - self._waited_before_s >= SLOW_S

    async def _keep_one(self, holding: Reservation) -> None:
        """Pass the place of the chunk just sent to the next one, so that a download once begun goes on, unless an
        address waits that holds less."""
        if self._next_spans is None or self._fetches:
            holding.release()
            return
        if holding.is_wanted:
            holding.release()
            holding = await self._source.take(_size_bytes(self._next_spans), self._client, has_begun=True)
        holding.restart()
        await self._fetch_next(holding)

    async def _fetch_next(self, holding: Reservation) -> None:
        spans = self._next_spans
        assert spans is not None
        try:
            chunk_id = await self._id_of(spans[0][1].number)
        except BaseException:
            holding.release()
            raise
        self._next_spans = next(self._ahead, None)
        task = asyncio.ensure_future(self._source.read_chunk(self._name, self._version, chunk_id))
        self._fetches.append(_Fetch(spans, task, holding))

    async def _id_of(self, index: int) -> bytes:
        if not self._ids_first <= index < self._ids_first + len(self._ids):
            self._ids_first = index - index % PAGE_CHUNKS
            stop = self._ids_first + PAGE_CHUNKS
            self._ids = await self._source.chunk_ids(self._name, self._version, self._ids_first, stop)
        return self._ids[index - self._ids_first]

    def close(self) -> None:
        """Stop fetching and give everything back."""
        for fetch in self._fetches:
            fetch.drop()
        self._fetches.clear()


def _size_bytes(spans: list[tuple[int, Span]]) -> int:
    return spans[0][1].size_bytes
