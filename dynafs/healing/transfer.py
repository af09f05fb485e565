"""Giving: a node that has good copies of a chunk, or finds one, sends it to an owner that lacks it."""

from typing import NamedTuple

from dynafs.coordinator.chunks import ReplicatedChunks
from dynafs.coordinator.files import FileReader
from dynafs.jobs.job import Job
from dynafs.membership.cluster import Cluster
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.wire.messages import StoreChunk

log = get_logger()

#: Pace of giving.
RATE_BYTES_PER_S_MAX = 64 << 20


class MissingCopy(NamedTuple):
    """An owner has no good copy of a chunk that an upload of the file under `key` uses."""

    node: str
    chunk_id: bytes
    upload_id: bytes
    key: bytes


class ChunkSender:
    """Gives chunks to other nodes, one at a time, within the budget of downloads and a job's pace."""

    def __init__(self, cluster: Cluster, files: FileReader, keeper: ReplicatedChunks) -> None:
        self._cluster, self._files, self._keeper = cluster, files, keeper

    async def give(self, job: Job, lack: MissingCopy, size_bytes: int) -> None:
        """Give one chunk of about this size, verified. Raises DynafsError when it cannot be had or is not taken."""
        # First, since it takes as long as the job is paused: what clients wait for is not held meanwhile.
        await job.step(job.pace_s(size_bytes, RATE_BYTES_PER_S_MAX))
        with await self._files.take(size_bytes):
            body = await self._keeper.look(lack.chunk_id)
            request = StoreChunk(lack.chunk_id, lack.upload_id, lack.key)
            await self._cluster.ask(lack.node, request, body, is_bulk=True)
        job.status.mended += 1
        metrics.chunks_repaired.inc()
        log.info("chunk.repaired", chunk=lack.chunk_id.hex(), node=lack.node)
