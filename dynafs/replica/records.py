"""Records on one node: replies to reads and writes of records, its own included.

A write is verified, merged into the local record, and acknowledged when it is durable.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from dynafs.causality.stamp import hybrid_time
from dynafs.files.name import check_key
from dynafs.files.version import Record, Version
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Hint, Store, Storing
from dynafs.replica.digests import RecordDigests
from dynafs.replica.fence import Fence
from dynafs.replica.hints import HintBook
from dynafs.replica.stamps import StampSource
from dynafs.storage.stored import stored_record
from dynafs.wire.messages import (
    CompareRecords,
    Differing,
    ReadRecord,
    RecordReply,
    ScannedRecords,
    ScanRecords,
    StoreRecord,
)
from dynafs.wire.records import decode_record, encode_context, encode_record, record_digest
from dynafs.wire.rows import ROWS_MAX, checked_rows

#: Contexts of smaller records always fit into a head, which costs less than a separate body.
CONTEXT_IN_HEAD_SIZE_BYTES_MAX = 32 << 10

#: Called with a key and its versions that were replaced.
OnReplaced = Callable[[bytes, Iterable[Version]], None]


class RecordService:
    """Serves the records of one node's store."""

    def __init__(
        self, store: Store, stamps: StampSource, fence: Fence, hints: HintBook, on_replaced: OnReplaced
    ) -> None:
        self._store, self._stamps, self._fence, self._hints = store, stamps, fence, hints
        self._on_replaced, self._digests = on_replaced, RecordDigests()

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that ask about records."""
        dispatcher.register(ReadRecord, self.read)
        dispatcher.register(StoreRecord, self.store)
        dispatcher.register(CompareRecords, lambda _, _request, body: self._compare(bytes(body)))
        dispatcher.register(ScanRecords, lambda _, request, _body: self._scan(request))

    def read(self, _: str, request: ReadRecord, body: bytes | bytearray) -> Answer[RecordReply]:  # noqa: ARG002  a handler's signature
        """Return the record under a key, its digest or its context. Raises ClockSkewed, ReplicaIncomplete,
        RingOutdated, RingBehind, StoreError."""
        if request.wall_ms:
            self._stamps.check(hybrid_time(request.wall_ms))
        self._fence.check_held(request.key)
        self._fence.check(request.ring_version)
        data = self._store.read_record(request.key)
        if not request.context:
            return Answer(RecordReply(self._digests.of(request.key, data)), data if request.whole else b"")
        context = stored_record(data).context
        if request.context_in_body and not request.whole and len(data) > CONTEXT_IN_HEAD_SIZE_BYTES_MAX:
            return Answer(RecordReply(record_digest(data), context_in_body=True), encode_context(context))
        return Answer(RecordReply(record_digest(data), dict(context)), data if request.whole else b"")

    def store(self, _: str, request: StoreRecord, body: bytes | bytearray) -> Storing:
        """Merge a record into the local one, and keep the hint of the request."""
        self._fence.check(request.ring_version)
        return Storing(self._fence.store(self._store_record(request, bytes(body))))

    def _store_record(self, request: StoreRecord, data: bytes) -> "asyncio.Future[None]":
        check_key(request.key)
        if not request.hint_for:
            return self.merge_record(request.key, data)
        asked = Hint(request.hint_for, request.key, size_bytes=len(data), is_counted=request.is_counted)
        hint = self._hints.admit(asked)
        return self._hints.track(hint, self.merge_record(request.key, data, hint=hint))

    def merge_record(
        self, key: bytes, data: bytes, *, is_old: bool = False, hint: Hint | None = None
    ) -> "asyncio.Future[None]":
        """Merge a record into the local one; the future resolves when the result is durable. Raises when it is damaged.

        is_old: another owner holds it already, so its stamps are not checked again. hint: to be kept with it.
        """
        incoming = decode_record(data)
        held_data = self._store.latest_record(key)
        held = stored_record(held_data)
        if incoming.time_max > held.time_max and not is_old:
            # A stamp from the far future is rejected, unless the local record has one at least as late already.
            self._stamps.check(incoming.time_max)
        if held.absorbs(incoming):
            # Nothing to merge: the local record is durable, or is written again together with the pending one.
            if self._store.read_record(key) == held_data:
                return _done() if hint is None else self._store.put_hint(hint)
            return self._store.put_record(key, held_data, hint)
        if incoming.newest is not None and incoming.newest.is_file:
            self._store.check_room(is_for_others=hint is not None)
        if incoming.absorbs(held):
            self._note_replaced(key, held, incoming)
            return self._store.put_record(key, data, hint)
        merged = held.merge(incoming).resolved()
        self._note_replaced(key, held, merged)
        self._note_replaced(key, incoming, merged)
        return self._store.put_record(key, encode_record(merged), hint)

    def _note_replaced(self, key: bytes, before: Record, after: Record) -> None:
        gone = [version for version in before.versions if version not in after.versions]
        if gone:
            self._on_replaced(key, gone)

    def _compare(self, body: bytes) -> Answer[Differing]:
        rows = checked_rows(body, "key and digest")
        read = self._store.read_record
        return Answer(Differing([i for i, (key, digest) in enumerate(rows) if record_digest(read(key)) != digest]))

    async def _scan(self, request: ScanRecords) -> Answer[ScannedRecords]:
        page = await self._store.scan_records(request.after, min(request.limit, ROWS_MAX))
        rows = [(key, _without_inline(stored_record(data))) for key, data in page.rows]
        return Answer(ScannedRecords(page.after), msgspec.msgpack.encode(rows))


def _without_inline(record: Record) -> bytes:
    slim = [msgspec.structs.replace(version, inline=None) for version in record.versions]
    return encode_record(Record(record.context, tuple(slim)))


def _done() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
