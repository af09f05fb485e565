"""The replica: what a node does with a request of a peer, or of itself. It verifies, merges, stores, answers."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from dynafs.causality.stamp import hybrid_time
from dynafs.errors import LocalProtocolError, StoreError
from dynafs.files.name import check_key
from dynafs.files.version import Record, Version
from dynafs.membership import RingKeeper
from dynafs.observe.events import get_logger
from dynafs.ports import Answer, Hint, Store, Storing
from dynafs.replication.digests import RecordDigests
from dynafs.replication.fence import Fence
from dynafs.replication.handoff import Handoff
from dynafs.replication.last_look import find_references
from dynafs.replication.maintenance import Maintenance
from dynafs.replication.reaping import Reaper
from dynafs.replication.rebalance import Rebalancer
from dynafs.replication.references import ReferenceKeeper
from dynafs.replication.refill import Refill
from dynafs.replication.rows import RowReader
from dynafs.replication.stamps import StampSource
from dynafs.replication.survey import Surveyor
from dynafs.replication.tree_keeper import TreeKeeper
from dynafs.storage.stored import stored_record
from dynafs.wire.listing_messages import ListRecords, ReadRows
from dynafs.wire.messages import (
    ChunkReply,
    ChunkStates,
    CommitVersion,
    CompareRecords,
    CompareTrees,
    ComparingRequest,
    ConfirmReferences,
    CountHints,
    Differing,
    FindReferences,
    FindUploads,
    HealingRequest,
    PullRecords,
    ReadChunk,
    ReadLeaves,
    ReadRecord,
    ReapRecords,
    RecordReply,
    ReferenceRequest,
    ReleaseReferences,
    Request,
    ScannedRecords,
    ScanRecords,
    StatChunks,
    StoreChunk,
    StoreRecord,
)
from dynafs.wire.operator_messages import LimitJob, OperatorRequest, RestartNode, SetDraining
from dynafs.wire.records import decode_record, encode_context, encode_record, record_digest
from dynafs.wire.ring_messages import (
    AcceptRing,
    AskIntroduction,
    AskStatus,
    LearnRing,
    PrepareRing,
    ReadPulled,
    ReadRing,
    RingQuestion,
)
from dynafs.wire.rows import ROWS_MAX, checked_ids, checked_rows

log = get_logger()


Committer = Callable[[CommitVersion, bytes], Awaitable[Answer]]
#: Contexts of smaller records certainly fit into a head, which costs less than a body of their own.
CONTEXT_IN_HEAD_SIZE_BYTES_MAX = 32 << 10


class Replica:
    """Serves requests on one node's store."""

    def __init__(
        self, store: Store, stamps: StampSource, references: ReferenceKeeper, fence: Fence, listing_rows_max: int
    ) -> None:
        self._store, self._stamps, self._rows = store, stamps, RowReader(store, fence, listing_rows_max)
        self._digests = RecordDigests()
        self._references, self._trees, self._fence = references, TreeKeeper(store, fence), fence
        #: set by the composition root: coordinates a write for a gateway that owns no copy
        self.committer: Committer | None = None
        #: set by the composition root: says what a node that started empty may answer, and serves those that did
        self.refill: Refill | None = None
        #: set by the composition root: votes on the ring
        self.ring_keeper: RingKeeper | None = None
        #: set by the composition root: pulls what this node will own
        self.rebalancer: Rebalancer | None = None
        #: set by the composition root: tells how this node is
        self.surveyor: Surveyor | None = None
        #: set by the composition root: does what operators ask for
        self.maintenance: Maintenance | None = None
        #: set by the composition root: says of which cluster this node is
        self.introduce: Callable[[], Answer] = _no_introduction
        #: set by the composition root: removes tombstones
        self.reaper: Reaper | None = None
        #: set by the composition root: keeps what is for other nodes
        self.handoff: Handoff | None = None
        #: set by the composition root: told of versions that were replaced here, and of references that were released
        self.on_replaced: Callable[[bytes, list[Version]], None] = lambda *_: None
        self.on_released: Callable[[], None] = lambda: None

    def handle(self, peer: str, request: Request, body: bytes | bytearray) -> Answer | Storing | Awaitable[Answer]:
        """Serve one request; reads of what is cached are answered at once. Raises DynafsError."""
        match request:
            case ReadRecord():
                return self._read_record(request)
            case StoreRecord() | StoreChunk():
                return Storing(self._store_something(request, body))
            case ReadChunk():
                return self._read_chunk(request)
            case StatChunks():
                return self._stat_chunks(request) if not request.verify else self._verify_chunks(request)
            case ListRecords() | ReadRows():
                return self._list(request, bytes(body))
            case CommitVersion() | SetDraining() | RestartNode() | LimitJob():
                return self._do(request, bytes(body))
            case _:
                return self._handle_rare(peer, request, body)

    def _list(self, request: ListRecords | ReadRows, body: bytes) -> Answer | Awaitable[Answer]:
        """Serve a peer that merges a listing."""
        if self.refill is not None:
            self.refill.check_all()
        return self._rows.page(request) if isinstance(request, ListRecords) else self._rows.rows(request, body)

    def _handle_rare(
        self, peer: str, request: HealingRequest | RingQuestion, body: bytes | bytearray
    ) -> Answer | Awaitable[Answer]:
        """Serve what is not on the way of any client."""
        match request:
            case PrepareRing() | AcceptRing() | LearnRing() | ReadRing():
                return self._handle_ring(request, bytes(body))
            case ReadPulled() | AskStatus() | AskIntroduction():
                return self._handle_ring(request, bytes(body))
            case _:
                return self._handle_healing(peer, request, body)

    def _do(self, request: CommitVersion | OperatorRequest, body: bytes) -> Answer | Awaitable[Answer]:
        """Do what another node asks this one to do in its place."""
        if self.committer is None or self.maintenance is None:
            raise LocalProtocolError("this node takes no orders")
        if isinstance(request, CommitVersion):
            return self.committer(request, body)
        return self.maintenance.serve(request)

    def _handle_ring(self, request: RingQuestion, body: bytes) -> Answer | Awaitable[Answer]:
        """Serve a peer that takes part in a change of the ring, or wants to."""
        if self.ring_keeper is None or self.rebalancer is None or self.surveyor is None:
            raise LocalProtocolError("this node keeps no ring")
        if isinstance(request, ReadPulled):
            return self.rebalancer.serve(request)
        if isinstance(request, AskStatus):
            return self.surveyor.serve(request)
        if isinstance(request, AskIntroduction):
            return self.introduce()
        return self.ring_keeper.serve(request, body)

    def _handle_healing(
        self, peer: str, request: HealingRequest, body: bytes | bytearray
    ) -> Answer | Awaitable[Answer]:
        """Serve a peer that brings copies together, or wants to know what may go."""
        match request:
            case ConfirmReferences() | ReleaseReferences() | FindReferences() | FindUploads():
                return self._handle_references(request, bytes(body))
            case ReapRecords():
                if self.reaper is None:
                    raise LocalProtocolError("this node reaps nothing")
                return self.reaper.serve(bytes(body))
            case CountHints():
                return self._handoff().report(request.key)
            case _:
                return self._handle_comparing(peer, request, body)

    def _handle_references(self, request: ReferenceRequest, body: bytes) -> Answer | Awaitable[Answer]:
        """Serve a peer that says, or asks, what is in use."""
        match request:
            case ConfirmReferences():
                return self._references.confirm(request)
            case ReleaseReferences():
                self.on_released()
                return self._references.release(request)
            case FindReferences():
                return find_references(self._store, request)
            case FindUploads():
                if self.refill is not None:
                    self.refill.check_all()
                return self._references.find(body)

    def _handle_comparing(
        self, peer: str, request: ComparingRequest, body: bytes | bytearray
    ) -> Answer | Awaitable[Answer]:
        """Serve a peer that wants to know what is here."""
        match request:
            case CompareRecords():
                return self._compare_records(bytes(body))
            case CompareTrees():
                return self._trees.compare(request, bytes(body))
            case ReadLeaves():
                return self._trees.read(request)
            case ScanRecords():
                return self._scan_records(request)
            case PullRecords():
                if self.refill is None:
                    raise LocalProtocolError("this node does not refill others")
                return self.refill.serve(peer, request)

    def _read_record(self, request: ReadRecord) -> Answer:
        if request.wall_ms:
            self._stamps.check(hybrid_time(request.wall_ms))
        if self.refill is not None:
            self.refill.check(request.key)
        self._fence.check(request.ring_version)
        data = self._store.read_record(request.key)
        if not request.context:
            return Answer(RecordReply(self._digests.of(request.key, data)), data if request.whole else b"")
        context = stored_record(data).context
        if request.context_in_body and not request.whole and len(data) > CONTEXT_IN_HEAD_SIZE_BYTES_MAX:
            return Answer(RecordReply(record_digest(data), context_in_body=True), encode_context(context))
        return Answer(RecordReply(record_digest(data), dict(context)), data if request.whole else b"")

    def _store_something(self, request: StoreRecord | StoreChunk, body: bytes | bytearray) -> "asyncio.Future[None]":
        self._fence.check(request.ring_version)
        if isinstance(request, StoreRecord):
            return self._fence.store(self._store_record(request, bytes(body)))
        return self._fence.store(self._store_chunk(request, body))

    def _store_record(self, request: StoreRecord, data: bytes) -> "asyncio.Future[None]":
        check_key(request.key)
        if not request.hint_for:
            return self.merge_record(request.key, data)
        asked = Hint(request.hint_for, request.key, size_bytes=len(data), is_counted=request.is_counted)
        hint = self._handoff().admit(asked)
        return self._handoff().track(hint, self.merge_record(request.key, data, hint=hint))

    def _store_chunk(self, request: StoreChunk, body: bytes | bytearray) -> "asyncio.Future[None]":
        chunk_id, upload_id, key = request.chunk_id, request.upload_id, request.key
        if not request.hint_for:
            return self._store.put_chunk(chunk_id, upload_id, key, body)
        asked = Hint(request.hint_for, key, chunk_id, upload_id, size_bytes=len(body), is_counted=request.is_counted)
        hint = self._handoff().admit(asked)
        return self._handoff().track(hint, self._store.put_chunk(chunk_id, upload_id, key, body, hint=hint))

    def _handoff(self) -> Handoff:
        if self.handoff is None:
            raise LocalProtocolError("this node keeps nothing for others")
        return self.handoff

    def merge_record(
        self, key: bytes, data: bytes, *, is_old: bool = False, hint: Hint | None = None
    ) -> "asyncio.Future[None]":
        """Merge a record into what is held; the future resolves when all is durable. Raises when it is damaged.

        is_old: another owner holds it already, so its stamps are not judged again. hint: to be kept with it.
        """
        incoming = decode_record(data)
        held_data = self._store.latest_record(key)
        held = stored_record(held_data)
        if incoming.time_max > held.time_max and not is_old:
            # A stamp from the far future is kept out; one that got in with the clocks of the day before is no news.
            self._stamps.check(incoming.time_max)
        if held.absorbs(incoming):
            # Told to hold what is held already: durable, or to be made so together with what is on its way.
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
            self.on_replaced(key, gone)

    def _read_chunk(self, request: ReadChunk) -> Answer | Awaitable[Answer]:
        body = self._store.read_chunk_now(request.chunk_id)
        return self._read_chunk_slowly(request) if body is None else Answer(ChunkReply(), body)

    async def _read_chunk_slowly(self, request: ReadChunk) -> Answer:
        return Answer(ChunkReply(), await self._store.read_chunk(request.chunk_id))

    def _compare_records(self, body: bytes) -> Answer:
        rows = checked_rows(body, "key and digest")
        read = self._store.read_record
        return Answer(Differing([i for i, (key, digest) in enumerate(rows) if record_digest(read(key)) != digest]))

    async def _verify_chunks(self, request: StatChunks) -> Answer:
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

    async def _scan_records(self, request: ScanRecords) -> Answer:
        page = await self._store.scan_records(request.after, min(request.limit, ROWS_MAX))
        rows = [(key, _without_inline(stored_record(data))) for key, data in page.rows]
        return Answer(ScannedRecords(page.after), msgspec.msgpack.encode(rows))

    def _stat_chunks(self, request: StatChunks) -> Answer:
        return Answer(ChunkStates([self._store.chunk_state(one) for one in checked_ids(request.chunk_ids)]))


def _without_inline(record: Record) -> bytes:
    slim = [msgspec.structs.replace(version, inline=None) for version in record.versions]
    return encode_record(Record(record.context, tuple(slim)))


def _no_introduction() -> Answer:
    raise LocalProtocolError("this node introduces nobody")


def _done() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
