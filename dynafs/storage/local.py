"""LocalStore: the Store port over segments and an index."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from dynafs.config import StorageSettings
from dynafs.observe.events import get_logger
from dynafs.storage.chunks import ChunkTable
from dynafs.storage.disk import Disk
from dynafs.storage.live import build_live
from dynafs.storage.marks import DiskMarks
from dynafs.storage.records import RecordTable
from dynafs.storage.recovery import recover
from dynafs.storage.trees import RECORDS, build_trees, leaves_page, listed_digest, tree_sums

log = get_logger()


class LocalStore:
    """One node's disk: a record table and a chunk table, each with a commit lane and tree sums of its own.

    Made inside a running event loop; reads and puts are called from it.
    """

    def __init__(self, disk: Disk, settings: StorageSettings, wall_ms: Callable[[], int]) -> None:
        """Open the store, indexing what a crash left behind. Takes the disk over. Raises StoreError."""
        is_synced = settings.durability == "fsync"
        self._disk, self._index = disk, disk.index
        self.marks = DiskMarks(disk, settings)
        recovered = recover(disk.index, disk.segments)
        build_trees(disk.index)
        build_live(disk.index)
        # What was not synced may have gone with the failure; the segments have it.
        disk.index.on_reopened = partial(recover, disk.index, disk.segments)
        self.records = RecordTable(disk, self.marks, is_synced=is_synced)
        self.chunks = ChunkTable(disk, self.marks, settings.segment_size_bytes_max, wall_ms, is_synced=is_synced)
        self._serve_records(self.records)
        self._serve_chunks(self.chunks)
        log.info("store.opened", recovered=recovered)

    def _serve_records(self, records: RecordTable) -> None:
        """Serve the ports Records, Hints and Facts by the table's own methods, without a call in between."""
        self.read_record = records.read_record
        self.latest_record = records.latest_record
        self.put_record = records.put_record
        self.list_records = records.list_records
        self.scan_records = records.scan_records
        self.put_hint = records.put_hint
        self.remove_hint = records.remove_hint
        self.has_hint = records.has_hint
        self.scan_hints = records.scan_hints
        self.hint_targets = records.hint_targets
        self.fact = records.fact
        self.put_fact = records.put_fact
        self.clock_ceiling = records.clock_ceiling
        self.put_clock_ceiling = records.put_clock_ceiling

    def _serve_chunks(self, chunks: ChunkTable) -> None:
        """Serve the ports Chunks, References and Segments likewise."""
        self.put_chunk = chunks.put_chunk
        self.read_chunk_now = chunks.read_chunk_now
        self.read_chunk = chunks.read_chunk
        self.chunk_state = chunks.chunk_state
        self.chunk_size_bytes = chunks.chunk_size_bytes
        self.scan_chunks = chunks.scan_chunks
        self.scan_references = chunks.scan_references
        self.references_to = chunks.references_to
        self.reference_of = chunks.reference_of
        self.reference = chunks.reference
        self.confirm_reference = chunks.confirm_reference
        self.release_reference = chunks.release_reference
        self.drop_reference = chunks.drop_reference
        self.segment_sizes = chunks.segment_sizes
        self.pinned_segments = chunks.pinned_segments
        self.seal_segment = chunks.seal_segment
        self.move_chunk = chunks.move_chunk
        self.remove_segment = chunks.remove_segment

    def check_room(self, *, is_for_others: bool = False) -> None:
        """Raise StoreFull when there is no room for new contents. is_for_others: or for hints."""
        self.marks.check(is_for_others=is_for_others)

    async def tree_sums(self, kind: str, firsts: Sequence[int], span: int) -> list[bytes]:
        """Return 16 bytes for each range of `span` leaves from these on, ascending: what is held there."""
        return await self._disk.read(tree_sums, self._index, kind, firsts, span)

    async def scan_leaves(
        self, kind: str, leaves: Sequence[int], after: bytes, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return what leaves, ascending, stand for, in the first of them behind an item: (key, digest) of records, or
        (chunk id, nothing)."""
        return await self._disk.read(leaves_page, self._index, kind, leaves, after, limit)

    def listed_digest(self, key: bytes) -> bytes:
        """Return by which digest the trees know a record, empty when they do not."""
        return listed_digest(self._index, key)

    def recount_branch(self, kind: str, branch: int) -> asyncio.Future[None]:
        """Recompute a branch of a tree, and the leaves under it, from the stored data."""
        return self.records.recount_branch(branch) if kind == RECORDS else self.chunks.recount_branch(branch)

    async def close(self) -> None:
        """Commit what is queued and close everything."""
        await self.chunks.close()
        await self.records.close()
        await self._disk.close()
