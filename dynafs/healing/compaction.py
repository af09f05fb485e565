"""Compaction: segments that are mostly dead are written anew, and the old ones removed.

Rule: a segment of which less than half lives is sealed; every chunk that still lives there is read, verified, appended
to the segment being written, synced, and read back; only when nothing leads to the old file any more, durably, it goes.
A copy that is found to be bad stays where it is, and its segment with it, until a good one has taken its place.

Tested by power cuts at every operation (tests/storage/test_crash_points.py) and in the simulator.
"""

from collections.abc import AsyncIterator

from dynafs.errors import DynafsError
from dynafs.jobs.job import Job, JobRegistry
from dynafs.observe.events import get_logger
from dynafs.ports import Store, StoredChunk

log = get_logger()

#: Chunks looked up in the index at once.
PAGE_CHUNKS = 256
#: A segment being written is closed early for this much dead space.
SEAL_SIZE_BYTES_MIN = 1 << 20
#: Segments written anew in one pass through the index.
VICTIMS_MAX = 8
#: Pace of moving: a fraction of what disks and hashes can do.
RATE_BYTES_PER_S_MAX = 64 << 20


class Compactor:
    """Gives dead space of one node's segments back."""

    def __init__(self, store: Store, jobs: JobRegistry, interval_s: float) -> None:
        self._store = store
        self.job = jobs.add("compaction", self._compact, interval_s, RATE_BYTES_PER_S_MAX)

    async def _compact(self, job: Job) -> None:
        while victims := await self._choose(job):
            for segment in victims:
                await self._store.seal_segment(segment)
            living: dict[int, list[StoredChunk]] = {segment: [] for segment in victims}
            async for chunk in self._chunks(job):
                if chunk.segment in living:
                    living[chunk.segment].append(chunk)
            failed = [segment for segment in victims if not await self._rewrite(job, segment, living[segment])]
            if failed:
                return

    async def _choose(self, job: Job) -> list[int]:
        """Return the segments with the least life in them."""
        sizes = self._store.segment_sizes()
        live_bytes = dict.fromkeys(sizes, 0)
        async for chunk in self._chunks(job):
            live_bytes[chunk.segment] = live_bytes.get(chunk.segment, 0) + chunk.size_bytes
        pinned = self._store.pinned_segments()
        newest = max(sizes, default=0)
        victims = [
            segment for segment, size_bytes in sizes.items()
            if segment not in pinned and 2 * live_bytes[segment] < size_bytes
            and (segment != newest or size_bytes >= SEAL_SIZE_BYTES_MIN)
        ]  # fmt: skip
        return sorted(victims, key=lambda segment: live_bytes[segment])[:VICTIMS_MAX]

    async def _chunks(self, job: Job) -> AsyncIterator[StoredChunk]:
        after = b""
        while page := await self._store.scan_chunks(after, PAGE_CHUNKS):
            await job.step()
            for chunk in page:
                yield chunk
            after = page[-1].chunk_id

    async def _rewrite(self, job: Job, segment: int, chunks: list[StoredChunk]) -> bool:
        """Empty a sealed segment and remove it; return whether that could be done."""
        try:
            for chunk in chunks:
                await job.step(job.pace_s(chunk.size_bytes, RATE_BYTES_PER_S_MAX))
                await self._store.move_chunk(chunk.chunk_id, segment)
                job.status.items += 1
            if segment in self._store.pinned_segments():
                return False
            await self._store.remove_segment(segment)
        except DynafsError as error:
            job.note(error)
            return False
        job.status.mended += 1
        log.info("segment.removed", segment=segment, moved=len(chunks))
        return True
