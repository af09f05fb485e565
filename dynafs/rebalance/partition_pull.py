"""Pulling: a node that will own partitions takes over what their present owners hold.

Every source is asked by the version of the ring state that moves, which it must know by then, so that it takes no more
writes of anybody who does not (`replica.fence`). What it holds is compared leaf by leaf, records are merged, chunks
are verified as they are stored. A partition is done with a source when nothing of it was missing here any more, and
done when that was so with enough sources. Nothing of this is remembered over a restart: comparing again costs little.
"""

import asyncio
from collections.abc import Iterable, Sequence

from dynafs.coordinator.chunks import ReplicatedChunks
from dynafs.coordinator.files import FileReader
from dynafs.errors import ChunkMissing, DynafsError, PeerRefused, RingBehind
from dynafs.files.policy import CHUNK_SIZE_BYTES_MAX
from dynafs.healing.last_reference import read_references
from dynafs.healing.transfer import RATE_BYTES_PER_S_MAX
from dynafs.healing.tree_comparison import TreeReader, place_of
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership.cluster import Cluster, Merge, take_over
from dynafs.observe import metrics
from dynafs.ports import Store
from dynafs.ring.transition import RingState
from dynafs.ring.view import RingView
from dynafs.wire.messages import LEAVES_MAX, TREE_KINDS, ReadChunk
from dynafs.wire.ring import encode_ring_state
from dynafs.wire.ring_messages import LearnRing

#: Records asked for at once.
RECORDS_AT_ONCE = 16


class PartitionPull:
    """Pulls what one node will own."""

    def __init__(
        self,
        jobs: JobRegistry,
        cluster: Cluster,
        store: Store,
        merge: Merge,
        keeper: ReplicatedChunks,
        files: FileReader,
    ) -> None:
        """merge: makes a record of a peer part of what is held here."""
        self._jobs, self._cluster, self._store = jobs, cluster, store
        self._merge, self._keeper, self._files = merge, keeper, files
        self._epoch = 0
        #: {partition: sources that it is done with}
        self._sources: dict[int, set[str]] = {}
        self._records = asyncio.Semaphore(RECORDS_AT_ONCE)

    @property
    def _job(self) -> Job:
        """The job that pulls."""
        return self._jobs["ring"]

    def done(self, epoch: int, needed: int) -> list[int]:
        """Return the partitions that are done for the ring of this epoch. needed: of how many sources."""
        if epoch != self._epoch:
            return []
        return [partition for partition, sources in self._sources.items() if len(sources) >= needed]

    async def pull(self, view: RingView) -> None:
        """Take over what is missing, from all present owners that are up. What fails is noted, and tried again."""
        state, me = view.state, self._cluster.me
        if view.ring.epoch != self._epoch:
            self._epoch, self._sources = view.ring.epoch, {}
        wanted = state.pulls(me)
        for partition in wanted:
            mine = self._sources.setdefault(partition, set())
            if me in state.ring.owners[partition]:
                mine.add(me)
        for node in self._cluster.others:
            its = [p for p in wanted if node in state.ring.owners[p] and node not in self._sources[p]]
            if its and self._cluster.is_up(node):
                await self._pull_from(node, its, view)

    async def _pull_from(self, node: str, partitions: Sequence[int], view: RingView) -> None:
        try:
            failed = await self._compare(node, partitions, view)
        except DynafsError as error:
            self._job.note(error)
            if isinstance(error, PeerRefused) and error.remote_code == RingBehind.code:
                await self._teach(node, view.state)
            return
        for partition in partitions:
            if partition not in failed:
                self._sources[partition].add(node)

    async def _teach(self, node: str, state: RingState) -> None:
        try:
            await self._cluster.ask(node, LearnRing(), encode_ring_state(state))
        except DynafsError as error:
            self._job.note(error)

    async def _compare(self, node: str, partitions: Sequence[int], view: RingView) -> set[int]:
        """Take over what one node has of partitions; return those of which something could not be had."""
        failed, trees = set[int](), TreeReader(self._job, self._cluster, self._store)
        for kind in TREE_KINDS:
            leaves = await trees.differing(kind, node, partitions, ring_version=view.version)
            for start in range(0, len(leaves), LEAVES_MAX):
                await self._job.step()
                some = leaves[start : start + LEAVES_MAX]
                theirs = await trees.read(kind, node, some, ring_version=view.version)
                own = await trees.read(kind, self._cluster.me, some)
                missing = [
                    item for leaf in some for item, digest in theirs[leaf].items() if own[leaf].get(item) != digest
                ]
                for item in await (self._take_records if kind == "records" else self._take_chunks)(node, missing):
                    failed.add(view.partition_of(place_of(kind, item)))
        return failed

    async def _take_records(self, node: str, keys: Sequence[bytes]) -> list[bytes]:
        """Merge records of a node; return the keys of those that could not be."""
        outcomes = await asyncio.gather(*(self._take_record(node, key) for key in keys))
        return [key for key, is_done in zip(keys, outcomes, strict=True) if not is_done]

    async def _take_record(self, node: str, key: bytes) -> bool:
        async with self._records:
            try:
                await take_over(self._cluster, self._merge, node, key)
            except DynafsError as error:
                self._job.note(error)
                return False
        self._job.status.mended += 1
        return True

    async def _take_chunks(self, node: str, chunk_ids: Sequence[bytes]) -> list[bytes]:
        """Store chunks of a node with what refers to them; return those that could not be."""
        failed: list[bytes] = []
        for chunk_id in chunk_ids:
            try:
                await self._take_chunk(node, chunk_id)
            except ChunkMissing:
                continue
            except DynafsError as error:
                self._job.note(error)
                failed.append(chunk_id)
        return failed

    async def _take_chunk(self, node: str, chunk_id: bytes) -> None:
        references = await read_references(self._cluster, node, [chunk_id])
        if not references:
            # Nothing there refers to it any more: it goes, and so does the need for it.
            return
        first, *others = references
        # As much as the largest chunk may be: how large this one is nobody has told.
        with await self._files.take(CHUNK_SIZE_BYTES_MAX):
            body = await self._body(node, chunk_id)
            size_bytes = len(body)
            await self._store.put_chunk(chunk_id, first.upload_id, first.key, body)
            del body
        # Afterwards, since it takes as long as the job is paused: what clients wait for is not held meanwhile.
        await self._job.step(self._job.pace_s(size_bytes, RATE_BYTES_PER_S_MAX))
        for other in others:
            await self._store.confirm_reference(chunk_id, other.upload_id, other.key)
        self._job.status.mended += 1
        metrics.chunks_repaired.inc()

    async def _body(self, node: str, chunk_id: bytes) -> bytes | bytearray:
        try:
            answer = await self._cluster.ask(node, ReadChunk(chunk_id), is_bulk=True)
        except DynafsError:
            # Its copy is bad, or went; any other good one is as right.
            return await self._keeper.look(chunk_id)
        return answer.body


def packed(partitions: Iterable[int], partition_count: int) -> bytes:
    """Return partitions as a bit each, the first one the lowest of the first byte."""
    bits = 0
    for partition in partitions:
        bits |= 1 << partition
    return bits.to_bytes((partition_count + 7) // 8, "little")


def unpacked(data: bytes) -> list[int]:
    """Return the partitions whose bit is set."""
    bits = int.from_bytes(data, "little")
    return [partition for partition in range(8 * len(data)) if bits >> partition & 1]
