"""Chunks on one node: what the node replies to reads and writes of chunks."""

import asyncio
from collections.abc import Awaitable

from dynafs.errors import StoreError
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Hint, Store, Storing
from dynafs.replica.fence import Fence
from dynafs.replica.hints import HintBook
from dynafs.wire.messages import ChunkReply, ChunkStates, ReadChunk, StatChunks, StoreChunk
from dynafs.wire.rows import checked_ids


class ChunkService:
    """Serves the chunks of one node's store."""

    def __init__(self, store: Store, fence: Fence, hints: HintBook) -> None:
        self._store, self._fence, self._hints = store, fence, hints

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer what peers ask about chunks."""
        dispatcher.register(ReadChunk, self.read)
        dispatcher.register(StoreChunk, self.store)
        dispatcher.register(StatChunks, lambda _, request, _body: self._stat(request))

    def read(
        self,
        _: str,
        request: ReadChunk,
        body: bytes | bytearray,  # noqa: ARG002  a handler's signature
    ) -> Answer[ChunkReply] | Awaitable[Answer[ChunkReply]]:
        """Return a verified chunk. Raises ChunkMissing, ChunkCorrupt, StoreFailed."""
        found = self._store.read_chunk_now(request.chunk_id)
        return self._read_slowly(request) if found is None else Answer(ChunkReply(), found)

    async def _read_slowly(self, request: ReadChunk) -> Answer[ChunkReply]:
        return Answer(ChunkReply(), await self._store.read_chunk(request.chunk_id))

    def store(self, _: str, request: StoreChunk, body: bytes | bytearray) -> Storing:
        """Verify and store a chunk with its reference, and the hint that comes with it."""
        self._fence.check(request.ring_version)
        return Storing(self._fence.store(self._store_chunk(request, body)))

    def _store_chunk(self, request: StoreChunk, body: bytes | bytearray) -> "asyncio.Future[None]":
        chunk_id, upload_id, key = request.chunk_id, request.upload_id, request.key
        if not request.hint_for:
            return self._store.put_chunk(chunk_id, upload_id, key, body)
        asked = Hint(request.hint_for, key, chunk_id, upload_id, size_bytes=len(body), is_counted=request.is_counted)
        hint = self._hints.admit(asked)
        return self._hints.track(hint, self._store.put_chunk(chunk_id, upload_id, key, body, hint=hint))

    def _stat(self, request: StatChunks) -> Answer[ChunkStates] | Awaitable[Answer[ChunkStates]]:
        if request.verify:
            return self._verify_chunks(request)
        return Answer(ChunkStates([self._store.chunk_state(one) for one in checked_ids(request.chunk_ids)]))

    async def _verify_chunks(self, request: StatChunks) -> Answer[ChunkStates]:
        states = []
        for chunk_id in checked_ids(request.chunk_ids):
            state = self._store.chunk_state(chunk_id)
            if state == "present":
                try:
                    await self._store.read_chunk(chunk_id)
                except StoreError as error:
                    state = error.code
            states.append(state)
        return Answer(ChunkStates(states))
