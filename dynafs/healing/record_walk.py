"""The walk: a node goes through all records it holds, and sees to it that each stands as it should.

Problem: trees tell which records and chunks are where; they do not tell whether a chunk's references are, whether a
delete may be forgotten, or whether something lies where nobody looks for it.

Rule: a node walks its records in key order, a page at a time. It hands over those that belong to others, proposes to
forget old deletes, and, being the first owner that is up, confirms the references of the file's chunks at their owners
and gives a verified one to those that lack it. It does one thing at a time and holds one chunk at most, so it is slow
and never in the way.

Alternatives: references could have a tree of their own; a confirmed one is younger than an audit's age, which a tree
would not tell.

Tested in the simulator, where all owners must agree within bounded time after every fault, before anything is read.
"""

from collections.abc import Awaitable, Sequence

from dynafs.coordinator.files import FileReader
from dynafs.coordinator.references import all_chunk_ids, by_owner
from dynafs.errors import DynafsError
from dynafs.files import Version
from dynafs.healing.handoff import Handoff
from dynafs.healing.tombstones import TombstoneReaper
from dynafs.healing.transfer import RATE_BYTES_PER_S_MAX, ChunkSender, MissingCopy
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership.cluster import Cluster
from dynafs.ports import Store
from dynafs.ring import file_hash
from dynafs.storage.stored import stored_record
from dynafs.wire.messages import ConfirmReferences
from dynafs.wire.replies import states_of

#: Records looked at together.
PAGE_RECORDS = 128


class RecordWalk:
    """Walks one node's records in the background."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        handoff: Handoff,
        reaper: TombstoneReaper,
        files: FileReader,
        giver: ChunkSender,
        jobs: JobRegistry,
        interval_s: float,
    ) -> None:
        self._cluster, self._store = cluster, store
        self._handoff, self._reaper = handoff, reaper
        self._files, self._giver = files, giver
        self.job = jobs.add("walk", self._walk, interval_s, RATE_BYTES_PER_S_MAX)

    async def _walk(self, job: Job) -> None:
        """Go through all records once. Failures are noted, and left to the next walk."""
        after: bytes | None = b""
        while after is not None:
            page = await self._store.scan_records(after, PAGE_RECORDS)
            keys, strays = list[bytes](), list[bytes]()
            for key, _ in page.rows:
                (keys if self._cluster.me in self._cluster.owners(file_hash(key)) else strays).append(key)
            await job.step()
            for key in strays:
                await self._try(self._handoff.adopt_record(key))
            await self._try(self._reaper.reap(keys))
            for key in keys:
                await job.step()
                await self._mend_chunks(key)
            job.status.items += len(keys)
            after = page.after

    async def _try(self, work: Awaitable[object]) -> None:
        try:
            await work
        except DynafsError as error:
            self.job.note(error)

    async def _mend_chunks(self, key: bytes) -> None:
        if self._cluster.first_up(file_hash(key)) != self._cluster.me:
            return
        try:
            for version in stored_record(self._store.read_record(key)).files:
                async for ids in all_chunk_ids(self._files, key, version):
                    await self._mend_ids(key, version, ids)
        except DynafsError as error:
            self.job.note(error)

    async def _mend_ids(self, key: bytes, version: Version, ids: Sequence[bytes]) -> None:
        """Confirm the version's references where its chunks are, and give copies to owners that lack one."""
        for node, some in by_owner(self._cluster, ids):
            if self._cluster.is_up(node):
                answer = await self._cluster.ask(node, ConfirmReferences(b"".join(some), version.upload_id, key))
                for chunk_id, state in zip(some, states_of(answer.message, len(some)), strict=True):
                    if state != "present":
                        lack = MissingCopy(node, chunk_id, version.upload_id, key)
                        size_bytes = version.manifest.chunk_size_bytes if version.manifest else 0
                        await self._giver.give(self.job, lack, size_bytes)
