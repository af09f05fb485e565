"""Listing rows: what a node replies to a node that merges a listing."""

import msgspec

from dynafs.errors import RequestInvalid
from dynafs.files import FileName, Record
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, ListedRecord, Store
from dynafs.replica.fence import Fence
from dynafs.storage.stored import stored_record
from dynafs.wire.listing_messages import ListRecords, ListReply, ReadRows, RowsReply
from dynafs.wire.records import encode_record
from dynafs.wire.rows import ROWS_MAX

_paths_decoder = msgspec.msgpack.Decoder(list[str])


class RowService:
    """Reads listing rows from one node's store."""

    def __init__(self, store: Store, fence: Fence, rows_max: int) -> None:
        self._store, self._fence, self._rows_max = store, fence, rows_max

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that merge a listing."""
        dispatcher.register(ListRecords, lambda _, request, _body: self.page(request))
        dispatcher.register(ReadRows, lambda _, request, body: self.rows(request, bytes(body)))

    async def page(self, request: ListRecords) -> Answer[ListReply]:
        """Return rows in path order. Raises ReplicaIncomplete, RingOutdated, RingBehind, StoreCorrupt."""
        self._fence.check_all_held()
        self._fence.check(request.ring_version)
        limit = min(request.limit, self._rows_max)
        page = await self._store.list_records(
            request.bucket, request.prefix, request.delimiter, request.after, limit, is_live=request.is_live
        )
        rows = page.records if request.is_live else [_before_version_3(row) for row in page.records]
        return Answer(ListReply(page.is_end, request.is_live), msgspec.msgpack.encode(rows))

    def rows(self, request: ReadRows, body: bytes) -> Answer[RowsReply]:
        """Return the rows of some files. Raises RequestInvalid, ReplicaIncomplete, RingOutdated, RingBehind,
        StoreCorrupt."""
        self._fence.check_all_held()
        self._fence.check(request.ring_version)
        try:
            paths = _paths_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestInvalid("body", f"not a list of paths: {error}") from None
        if len(paths) > ROWS_MAX:
            raise RequestInvalid("body", f"at most {ROWS_MAX} paths at once")
        held = [self._store.read_record(FileName(request.bucket, path).key) for path in paths]
        rows = [encode_record(_without_contents(stored_record(data))) for data in held]
        return Answer(RowsReply(), msgspec.msgpack.encode(rows))


def _without_contents(record: Record) -> Record:
    """Return a record without inline bytes and chunk lists."""
    slim = [msgspec.structs.replace(version, inline=None, manifest=None) for version in record.versions]
    return Record(record.context, tuple(slim))


def _before_version_3(row: ListedRecord) -> ListedRecord:
    """Return a row as nodes before wire version 3 merge it: without contents, and of the newest version alone."""
    record = stored_record(row.data)
    return ListedRecord(row.path, encode_record(_without_contents(Record(record.context, record.versions[:1]))))
