"""References on one node: what the node replies to peers that confirm, release or look for references."""

import asyncio
from collections.abc import Callable

import msgspec

from dynafs.errors import ChunkMissing
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Clock, Reference, Store
from dynafs.replica.fence import Fence
from dynafs.storage.stored import stored_record
from dynafs.wire.message import Stored
from dynafs.wire.messages import (
    ChunkStates,
    ConfirmReferences,
    FindReferences,
    FindUploads,
    FoundReferences,
    ReleaseReferences,
    Standing,
)
from dynafs.wire.rows import checked_ids, checked_rows

#: Chunks of one question, and references that the reply has of each.
PAGE_CHUNKS, REFERENCES_MAX = 64, 16


def is_within(reference: Reference, now_ms: int, age_ms: float) -> bool:
    """Return whether a reference was confirmed within this time. One from the future was not: a clock was wrong."""
    return 0 <= now_ms - reference.since_ms <= age_ms


class ReferenceService:
    """Serves peers that confirm or release references, or ask whether an upload still stands."""

    def __init__(
        self, store: Store, clock: Clock, fence: Fence, reference_age_s: float, on_released: Callable[[], None]
    ) -> None:
        """on_released: called when references are to be looked at soon."""
        self._store, self._clock, self._fence = store, clock, fence
        self._fresh_ms, self._on_released = 1000 * reference_age_s / 4, on_released

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that look at what is in use."""
        dispatcher.register(ConfirmReferences, lambda _, request, _body: self.confirm(request))
        dispatcher.register(ReleaseReferences, lambda _, request, _body: self.release(request))
        dispatcher.register(FindReferences, lambda _, request, _body: self.find_references(request))
        dispatcher.register(FindUploads, lambda _, _request, body: self.find_uploads(bytes(body)))

    async def confirm(self, request: ConfirmReferences) -> Answer[ChunkStates]:
        """Make references as good as new where the chunk is here; tell the state of every chunk."""
        ids = checked_ids(request.chunk_ids)
        states = [self._store.chunk_state(chunk_id) for chunk_id in ids]
        stale = {
            number: self._store.confirm_reference(chunk_id, request.upload_id, request.key)
            for number, (chunk_id, state) in enumerate(zip(ids, states, strict=True))
            if state == "present" and (request.is_upload or not self._is_fresh(chunk_id, request.upload_id))
        }
        outcomes = await asyncio.gather(*stale.values(), return_exceptions=True)
        for number, outcome in zip(stale, outcomes, strict=True):
            if isinstance(outcome, ChunkMissing):
                states[number] = "missing"
            elif isinstance(outcome, BaseException):
                raise outcome
        return Answer(ChunkStates(states))

    def _is_fresh(self, chunk_id: bytes, upload_id: bytes) -> bool:
        held = self._store.reference(chunk_id, upload_id)
        return held is not None and is_within(held, self._clock.wall_ms(), self._fresh_ms)

    async def release(self, request: ReleaseReferences) -> Answer[Stored]:
        """Have references looked at soon."""
        self._on_released()
        ids = checked_ids(request.chunk_ids)
        await asyncio.gather(*(self._store.release_reference(one, request.upload_id) for one in ids))
        return Answer(Stored())

    def find_uploads(self, body: bytes) -> Answer[Standing]:
        """Return which uploads are versions that stand here, durable or about to be. Raises ReplicaIncomplete."""
        self._fence.check_all_held()
        rows = checked_rows(body, "key and upload id")
        return Answer(Standing([number for number, row in enumerate(rows) if self._stands(*row)]))

    def _stands(self, key: bytes, upload_id: bytes) -> bool:
        held = {self._store.read_record(key), self._store.latest_record(key)}
        return any(version.upload_id == upload_id for data in held for version in stored_record(data).versions)

    async def find_references(self, request: FindReferences) -> Answer[FoundReferences]:
        """Return what refers to chunks here, for an owner that is about to drop them."""
        here = await self._store.references_to(checked_ids(request.chunk_ids)[:PAGE_CHUNKS], REFERENCES_MAX)
        rows = [(one.chunk_id + one.upload_id, one.key) for one in here]
        return Answer(FoundReferences(), msgspec.msgpack.encode(rows))
