"""Records, hints and the node's own facts: what lives in the index alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from dynafs.errors import DynafsError
from dynafs.ports import Hint, RecordPage, RecordScan
from dynafs.storage.commit import CommitLane
from dynafs.storage.disk import Disk
from dynafs.storage.hints import encode_hint, hint_row
from dynafs.storage.listing import hint_targets, list_records, scan_hints, scan_records
from dynafs.storage.live import note_live
from dynafs.storage.marks import DiskMarks
from dynafs.storage.stored import decode_stored
from dynafs.storage.trees import RECORDS, KnownSums, TreeWrites

_CEILING_KEY = b"clock_ceiling"
#: Least time between two syncs of records. Under load a sync then serves twice as many writers, which gave a cluster
#: on two cores 18 % more small PUTs at lower latency; an idle store commits at once.
RECORD_INTERVAL_S = 0.002
#: Pause before a failed sync of records is tried again.
RESYNC_S = 1.0


@dataclass(slots=True)
class _PutValue:
    """A record, or another row that stands by itself; empty data removes it. hint: a row that comes with it."""

    family: str
    key: bytes
    data: bytes
    future: "asyncio.Future[None]"
    error: DynafsError | None = None
    #: set once readers of the index see it
    is_applied: bool = False
    hint: Hint | None = None
    #: branch of the records' tree to be counted again instead
    branch: int | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.data)


class RecordTable:
    """Records, hints and facts of one node, written by a commit lane with tree sums of its own."""

    def __init__(self, disk: Disk, marks: DiskMarks, *, is_synced: bool) -> None:
        self._disk, self._index, self._marks, self._is_synced = disk, disk.index, marks, is_synced
        self._loop = asyncio.get_running_loop()
        #: {key: bytes}: records given to put_record and not durable yet, the latest of each key
        self._unwritten: dict[bytes, bytes] = {}
        #: {key: bytes}: what is durable meanwhile. Invariant: same keys as `_unwritten`. The index shows a write to
        #: readers before it is synced; a quorum must not count what a power cut could still take back.
        self._durable: dict[bytes, bytes] = {}
        #: {key: bytes}: records in the index whose sync failed; hidden until a later sync makes them durable
        self._unsynced: dict[bytes, bytes] = {}
        #: the record that `latest_record` found in the index last, which is nearly always the one put next
        self._found: tuple[bytes, bytes] | None = None
        self._must_sync = False
        self._sums = KnownSums(disk.index)
        self._resync: asyncio.TimerHandle | None = None
        self._values = CommitLane[_PutValue](
            "records", disk.worker("records"), self._commit_values, RECORD_INTERVAL_S, self._on_settled
        )

    @property
    def unwritten_count(self) -> int:
        """Records on their way to the disk."""
        return len(self._unwritten)

    def clock_ceiling(self) -> int:
        """Return the durable ceiling of the hybrid clock."""
        return decode_stored("ceiling of the clock", int, self._index.get("node", _CEILING_KEY) or b"0")

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
        if data is None:
            data = self._index.record(key)
            self._found = key, data
        return data

    def put_record(self, key: bytes, data: bytes, hint: Hint | None = None) -> asyncio.Future[None]:
        """Replace the record, by nothing when data is empty. hint: to be kept with it. Raises StoreFull."""
        if data:
            self._marks.check_reserve()
            self._marks.add(len(data))
        # Records change by nothing but this.
        found, self._found = self._found, None
        if key not in self._durable:
            self._durable[key] = found[1] if found is not None and found[0] == key else self._index.record(key)
        self._unwritten[key] = data
        write = _PutValue("records", key, data, self._loop.create_future(), hint=hint)
        self._values.submit(write)
        return write.future

    def _on_settled(self, write: _PutValue, error: DynafsError | None) -> None:
        """Forget a record that is on disk, or never will be. A cancelled waiter changes nothing: were its record
        forgotten before it is on disk, the next merge would build on what came before it and overwrite it."""
        if write.family != "records":
            return
        key, data = write.key, write.data
        is_latest = self._unwritten.get(key) is data
        if error is not None and write.is_applied:
            # Its writer was told that it failed, yet the index shows it: hide it until it is known to be durable.
            self._unsynced[key] = data
            self._sync_again_later()
            return
        if is_latest and error is not None and key in self._unsynced:
            self._unwritten[key] = self._unsynced[key]
        elif is_latest:
            # The same bytes may be put twice while on their way; the first to be written settles both.
            self._forget(key)
        elif key in self._durable and error is None:
            self._durable[key] = data
        if self._unsynced and error is None:
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

    def put_hint(self, hint: Hint) -> asyncio.Future[None]:
        """Keep a hint for something that is here already."""
        return self._put_value("hints", hint_row(hint), encode_hint(hint))

    def remove_hint(self, hint: Hint) -> asyncio.Future[None]:
        """Forget a hint."""
        return self._put_value("hints", hint_row(hint), b"")

    def has_hint(self, hint: Hint) -> bool:
        """Return whether a hint for the same target and thing is kept, durable or not."""
        return self._index.get("hints", hint_row(hint)) is not None

    async def scan_hints(self, target: str, after: Hint | None, limit: int) -> list[Hint]:
        """Return the hints for a node in their order, behind one of them."""
        return await self._disk.read(scan_hints, self._index, target, after, limit)

    async def hint_targets(self) -> list[str]:
        """Return the nodes for which there are hints."""
        return await self._disk.read(hint_targets, self._index)

    def _put_value(self, family: str, key: bytes, data: bytes) -> asyncio.Future[None]:
        write = _PutValue(family, key, data, self._loop.create_future())
        self._values.submit(write)
        return write.future

    def _commit_values(self, writes: Sequence[_PutValue]) -> None:
        if self._must_sync:
            # While syncs fail nothing more is written: what is neither durable nor forgotten stays bounded.
            self._sync_index()
        batch = self._index.batch()
        trees = TreeWrites(self._index, self._sums.take())
        for write in writes:
            if write.branch is not None:
                trees.recount(RECORDS, write.branch)
            elif write.data:
                batch.put(write.family, write.key, write.data)
            else:
                batch.delete(write.family, write.key)
            if write.family == "records":
                trees.set_record(write.key, write.data)
                note_live(batch, write.key, write.data)
            if write.hint is not None:
                batch.put("hints", hint_row(write.hint), encode_hint(write.hint))
        trees.write_to(batch)
        self._index.apply(batch)
        for write in writes:
            write.is_applied = True
        if self._is_synced:
            self._sync_index()
        self._sums.give_back(trees.applied())

    def _sync_index(self) -> None:
        self._must_sync = True
        self._index.sync()
        self._must_sync = False

    async def list_records(
        self, bucket: str, prefix: str, delimiter: str, after: bytes, limit: int, *, is_live: bool = False
    ) -> RecordPage:
        """Return durable records in path order, skipping behind the first file of each common prefix.

        is_live: the listing rows of those that have contents.
        """
        return await self._disk.read(list_records, self._index, bucket, prefix, delimiter, after, limit, is_live)

    async def scan_records(self, after: bytes, limit: int) -> RecordScan:
        """Return records of all buckets in key order, behind a key."""
        return await self._disk.read(scan_records, self._index, after, limit)

    def recount_branch(self, branch: int) -> asyncio.Future[None]:
        """Count a branch of the records' tree again."""
        write = _PutValue("trees", b"", b"", self._loop.create_future(), branch=branch)
        self._values.submit(write)
        return write.future

    async def close(self) -> None:
        """Commit what is queued."""
        if self._resync is not None:
            self._resync.cancel()
        await self._values.close()
