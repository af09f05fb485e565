"""Files: what the HTTP layer and the command see of the cluster."""

from collections.abc import Sequence

from dynafs.admission.budget import ByteBudget
from dynafs.admission.reservation import PATIENCE, Client, Reservation
from dynafs.causality import Context
from dynafs.coordinator.chunks import ChunkBytes, ReplicatedChunks
from dynafs.coordinator.commit import UNSTAMPED, Committer, Receipt
from dynafs.coordinator.download import Download
from dynafs.coordinator.records import ReplicatedRecords
from dynafs.errors import NotFound
from dynafs.files import FileName, Record, Version, VersionKind
from dynafs.files.manifest import PAGE_CHUNKS, chunk_count, split_ids
from dynafs.quorum import QuorumPolicy

#: Bytes of the context that a delete hands on: half of what a message may have.
SEEN_SIZE_BYTES_MAX = 32 << 10


class FileReader:
    """Strong reads, deletes and streams of files."""

    def __init__(
        self,
        records: ReplicatedRecords,
        committer: Committer,
        keeper: ReplicatedChunks,
        budget: ByteBudget,
        chunks_ahead: int,
    ) -> None:
        self._records, self._committer, self._keeper = records, committer, keeper
        self._budget, self._chunks_ahead = budget, chunks_ahead

    async def newest(self, name: FileName, policy: QuorumPolicy) -> Version:
        """Return the file's newest version, held by W owners. Raises NotFound when R owners agree there is none,
        ReadQuorumLost when that cannot be told."""
        return (await self.read(name, policy)).files[0]

    async def read(self, name: FileName, policy: QuorumPolicy) -> Record:
        """Return the file's record, with at least one version that has contents. Raises like `newest`."""
        record = await self._records.read(name.key, policy)
        if not record.files:
            raise NotFound("file", str(name))
        return record

    async def delete(self, name: FileName, policy: QuorumPolicy, seen: Context | None = None) -> Receipt:
        """Write a tombstone over an existing file. Raises NotFound, QuorumError.

        seen: what the client had seen of the file; versions written since stay where both are kept. None: all that
        stand now are deleted.
        """
        record, known = await self._committer.read_to_replace(name.key, policy)
        if not record.files:
            raise NotFound("file", str(name))
        tombstone = Version(UNSTAMPED, VersionKind.TOMBSTONE, keeps_both=record.files[0].keeps_both)
        seen = record.shown_context(SEEN_SIZE_BYTES_MAX) if seen is None else seen
        return await self._committer.commit(name.key, tombstone, policy, known, seen=seen)

    async def open(
        self, name: FileName, version: Version, ranges: Sequence[tuple[int, int]], client: Client | None = None
    ) -> Download:
        """Return ranges of the file, each from start to stop (exclusive), as a stream whose first chunk is at hand, so
        that a file whose chunks cannot be had is refused before anything is sent. client: that they go to.

        Raises ChunkUnavailable, Overloaded.
        """
        download = Download(self, name, version, ranges, client)
        await download.begin()
        return download

    async def chunk_ids(self, name: FileName, version: Version, first: int, stop: int) -> tuple[bytes, ...]:
        """Return the ids of chunks number first to stop (exclusive) of a version, reading manifest pages as needed."""
        manifest = version.manifest
        if manifest is None:
            return ()
        listed = manifest.listed()
        if not manifest.paged:
            return listed[first:stop]
        stop = min(stop, chunk_count(version.size_bytes, manifest.chunk_size_bytes))
        ids: list[bytes] = []
        for page_number in range(first // PAGE_CHUNKS, -(-stop // PAGE_CHUNKS)):
            page = split_ids(bytes(await self.read_chunk(name, version, listed[page_number])))
            base = page_number * PAGE_CHUNKS
            ids += page[max(first - base, 0) : stop - base]
        return tuple(ids)

    async def read_chunk(self, name: FileName, version: Version, chunk_id: bytes) -> ChunkBytes:
        """Return one verified chunk of a version."""
        body = self._keeper.read_now(chunk_id)
        return body if body is not None else await self._keeper.read(chunk_id, version.upload_id, name.key)

    async def take(self, size_bytes: int, client: Client | None = None, *, has_begun: bool = False) -> Reservation:
        """Wait for room to hold a chunk. has_begun: for a request that has room already passed on; it waits longer."""
        timeout_s = self._budget.timeout_s * PATIENCE if has_begun else None
        return await self._budget.take(size_bytes, client, timeout_s=timeout_s)

    def try_take(self, size_bytes: int, client: Client | None = None) -> Reservation | None:
        """Return room to hold one more chunk, if it is free."""
        return self._budget.try_take(size_bytes, client)

    @property
    def chunks_ahead(self) -> int:
        """Chunks a download may fetch ahead of its client."""
        return self._chunks_ahead
