"""LocalStore: the Store port over segments and an index."""

import asyncio
from collections.abc import Callable
from functools import partial

from dynafs.config import StorageSettings
from dynafs.observe.events import get_logger
from dynafs.storage.chunks import ChunkStore
from dynafs.storage.disk import Disk
from dynafs.storage.marks import DiskMarks
from dynafs.storage.records import RecordStore
from dynafs.storage.recovery import recover
from dynafs.storage.trees import RECORDS, build_trees

log = get_logger()


class LocalStore(RecordStore, ChunkStore):
    """Everything one node keeps: two halves with a commit lane each, on one disk.

    Made inside a running event loop; reads and puts are called from it.
    """

    def __init__(self, disk: Disk, settings: StorageSettings, wall_ms: Callable[[], int]) -> None:
        """Open the store, indexing what a crash left behind. Takes the disk over. Raises StoreError."""
        is_synced = settings.durability == "fsync"
        self.marks = DiskMarks(disk, settings)
        recovered = recover(disk.index, disk.segments)
        build_trees(disk.index)
        # What was not synced may have gone with the failure; the segments have it.
        disk.index.on_reopened = partial(recover, disk.index, disk.segments)
        RecordStore.__init__(self, disk, self.marks, is_synced=is_synced)
        ChunkStore.__init__(self, disk, self.marks, settings.segment_size_bytes_max, wall_ms, is_synced=is_synced)
        log.info("store.opened", recovered=recovered)

    def check_room(self, *, is_for_others: bool = False) -> None:
        """Raise StoreFull when there is no room for new contents. is_for_others: or for hints."""
        self.marks.check(is_for_others=is_for_others)

    def recount_branch(self, kind: str, branch: int) -> asyncio.Future[None]:
        """Make a branch of a tree, and the leaves under it, what is held."""
        return self.recount_records(branch) if kind == RECORDS else self.recount_chunks(branch)

    async def close(self) -> None:
        """Commit what is queued and close everything."""
        await self.close_chunks()
        await self.close_records()
        await self._disk.close()
