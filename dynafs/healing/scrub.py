"""The scrub: a node reads everything it stores and checks it, so that rot is found before the last good copy rots.

Problem: a bit that flips in a chunk nobody reads is noticed only when it is needed, and then perhaps everywhere.

Rule: all chunks are read in the order of their names and verified against them, at the pace that takes `scrub_period_s`
for everything, but not slower than `RATE_BYTES_PER_S_MIN`, and faster when an operator asked for it. The store
quarantines what is bad; a good copy is fetched from another owner and put in its place at once. Where it stopped is
durable, so a restart does not begin again.

Tested in the simulator: bits flip at random, and all copies must be good again before anything is read.
"""

from dynafs.coordinator.chunks import ReplicatedChunks
from dynafs.errors import ChunkCorrupt, ChunkMissing, DynafsError
from dynafs.jobs.job import Job, JobRegistry
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Store

log = get_logger()

POSITION_FACT = "scrub_position"
#: Chunks looked up in the index at once.
PAGE_CHUNKS = 256
#: Even a small store is read at this pace: a slower one would only spread the same work.
RATE_BYTES_PER_S_MIN = 1 << 20
#: The least pace when somebody waits for it: noticeable, and a fraction of what disks and hashes can do.
RATE_ASKED_FOR_BYTES_PER_S_MIN = 64 << 20
#: Bytes read between two writes of the position.
POSITION_EVERY_BYTES = 256 << 20


class Scrubber:
    """Scrubs one node's chunks."""

    def __init__(self, store: Store, keeper: ReplicatedChunks, jobs: JobRegistry, period_s: float) -> None:
        self._store, self._keeper, self._period_s = store, keeper, period_s
        self.job = jobs.add("scrub", self._scrub, period_s / 100, RATE_BYTES_PER_S_MIN)

    async def _scrub(self, job: Job) -> None:
        total_bytes = await self._total_bytes(job)
        after, unsaved_bytes = self._store.fact(POSITION_FACT) or b"", 0
        while True:
            page = await self._store.scan_chunks(after, PAGE_CHUNKS)
            for chunk in page:
                await job.step(job.pace_s(chunk.size_bytes, self._rate(job, total_bytes)))
                await self._check(job, chunk.chunk_id)
                unsaved_bytes += chunk.size_bytes
            if len(page) < PAGE_CHUNKS:
                break
            after = page[-1].chunk_id
            if unsaved_bytes >= POSITION_EVERY_BYTES:
                await self._store.put_fact(POSITION_FACT, after)
                unsaved_bytes = 0
        if self._store.fact(POSITION_FACT):
            await self._store.put_fact(POSITION_FACT, b"")

    def _rate(self, job: Job, total_bytes: int) -> int:
        least = RATE_ASKED_FOR_BYTES_PER_S_MIN if job.is_asked_for else RATE_BYTES_PER_S_MIN
        return max(least, int(total_bytes / self._period_s))

    async def _total_bytes(self, job: Job) -> int:
        total_bytes, after = 0, b""
        while page := await self._store.scan_chunks(after, PAGE_CHUNKS):
            await job.step()
            total_bytes += sum(chunk.size_bytes for chunk in page)
            after = page[-1].chunk_id
        return total_bytes

    async def _check(self, job: Job, chunk_id: bytes) -> None:
        job.status.items += 1
        try:
            await self._store.read_chunk(chunk_id)
        except ChunkCorrupt:
            await self._rebuild(job, chunk_id)
        except ChunkMissing:
            return  # Removed since the page was read.
        except DynafsError as error:
            job.note(error)

    async def _rebuild(self, job: Job, chunk_id: bytes) -> None:
        """Put a good copy in the place of a bad one."""
        reference = self._store.reference_of(chunk_id)
        if reference is None:
            return
        try:
            body = await self._keeper.look(chunk_id)
            await self._store.put_chunk(chunk_id, reference.upload_id, reference.key, body, is_verified=True)
        except DynafsError as error:
            job.note(error)
            return
        job.status.mended += 1
        metrics.chunks_repaired.inc()
        log.info("chunk.repaired", chunk=chunk_id.hex(), node="here")
