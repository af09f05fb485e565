"""Collection: chunks that no version uses any more go, and only those.

Problem: overwritten, deleted and abandoned contents must give their space back; but a chunk removed too early is data
lost, and who says "nobody uses it" may be stale, empty, or early.

Rule: a chunk goes with its last reference. A reference is looked at when it was released, or when nobody confirmed it
for `reference_age_s` (the walk confirms those of living versions). Then every node that may hold the file's record is
asked whether the upload stands: all N owners and all fallbacks, and nothing is decided while one of them is silent.
When none knows it, it is asked for again after `collection_grace_s`, measured by a clock that never jumps, and only
then removed, unless the reference was confirmed meanwhile. Before the last one of a chunk goes, the chunk's other
owners are asked for more of them (`last_look`). An upload that takes longer than half of that time renews
its references before it commits, so a reference that was dropped belongs to an upload that can no longer happen.

Alternatives: counting references across nodes cannot be kept exact while nodes fail; trusting the coordinator of an
overwrite removes what a stale owner may still hand out.

Tested in the simulator: after every run exactly the chunks of living versions are left, with clocks that jump.
"""

import asyncio

from dynafs.config import HealingSettings
from dynafs.errors import DynafsError
from dynafs.healing.handoff import Handoff
from dynafs.healing.last_reference import LastReferenceCheck
from dynafs.healing.upload_lookup import UploadLookup
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership.cluster import Cluster
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Clock, Reference, Store
from dynafs.replica.references import is_within
from dynafs.ring import file_hash

log = get_logger()

#: References looked at together.
PAGE_REFERENCES = 512
#: References waiting for their second check; more wait for a later round.
DEAD_MAX = 100_000


class GarbageCollector:
    """Drops references of one node that nothing stands behind."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        handoff: Handoff,
        clock: Clock,
        jobs: JobRegistry,
        settings: HealingSettings,
    ) -> None:
        self._cluster, self._store, self._handoff, self._clock = cluster, store, handoff, clock
        self._age_ms, self._grace_s = 1000 * settings.reference_age_s, settings.collection_grace_s
        self._jobs = jobs
        self.job = jobs.add("collection", self._collect, settings.collection_interval_s)
        self._finder = UploadLookup(cluster, self.job.note)
        self._last_look = LastReferenceCheck(cluster, store, self._finder, self.job)
        #: {reference: monotonic seconds when nothing was found to stand behind it}
        self._dead: dict[Reference, float] = {}

    async def _collect(self, job: Job) -> None:
        still_dead: dict[Reference, float] = {}
        after, dropped_before = b"", job.status.mended
        while page := await self._store.scan_references(after, PAGE_REFERENCES):
            await job.step()
            now_ms = self._clock.wall_ms()
            due = [one for one in page if not is_within(one, now_ms, self._age_ms)]
            if due:
                await self._judge(due, still_dead)
            misplaced = [
                one for one in page if one not in due and self._cluster.me not in self._cluster.owners(one.chunk_id)
            ]
            if misplaced:
                await self._judge_misplaced(misplaced)
            job.status.items += len(page)
            after = page[-1].chunk_id + page[-1].upload_id
        self._dead = still_dead
        if job.status.mended > dropped_before:
            self._jobs.hurry("compaction", self._grace_s / 10)
        if still_dead:
            job.hurry(self._grace_s)

    async def _judge(self, due: list[Reference], still_dead: dict[Reference, float]) -> None:
        """Keep, confirm, remember or drop references that are due."""
        known = await self._finder.find(((one.key, one.upload_id) for one in due), self._cluster.keepers)
        now_s, over = self._clock.monotonic_s(), list[Reference]()
        for one in due:
            found = known.holders[one.key, one.upload_id]
            first_s = self._dead.get(one, now_s)
            if (one.key, one.upload_id) in known.unsure:
                if one in self._dead:
                    still_dead[one] = first_s
                continue
            try:
                if found:
                    await self._keep(one, found)
                elif now_s - first_s >= self._grace_s:
                    over.append(one)
                elif len(still_dead) < DEAD_MAX:
                    still_dead[one] = first_s
            except DynafsError as error:
                self.job.note(error)
        await self._drop_all(over, still_dead)

    async def _judge_misplaced(self, misplaced: list[Reference]) -> None:
        """See that what belongs to other nodes gets there, without waiting until it is due: the ring has changed. What
        nothing stands behind is due from now on; uploads that go on are never as old as the grace."""
        known = await self._finder.find(((one.key, one.upload_id) for one in misplaced), self._cluster.keepers)
        now_ms = self._clock.wall_ms()
        for one in misplaced:
            upload = one.key, one.upload_id
            try:
                if known.holders[upload] or upload in known.unsure:
                    await self._keep(one, known.holders[upload])
                elif not is_within(one, now_ms, 1000 * self._grace_s):
                    await self._store.release_reference(one.chunk_id, one.upload_id)
            except DynafsError as error:
                self.job.note(error)

    async def _drop_all(self, over: list[Reference], still_dead: dict[Reference, float]) -> None:
        """Drop what may go; what may not yet is looked at again."""
        try:
            going = dict.fromkeys(await self._last_look.droppable(over))
        except DynafsError as error:
            self.job.note(error)
            going = {}
        still_dead |= {one: self._dead[one] for one in over if one not in going and one in self._dead}
        # Together, so that one sync serves all of them.
        for outcome in await asyncio.gather(*map(self._drop, going), return_exceptions=True):
            if isinstance(outcome, DynafsError):
                self.job.note(outcome)
            elif outcome is not None:
                raise outcome

    async def _keep(self, reference: Reference, holders: list[str]) -> None:
        """All owners hold the version: look again when it is due next. Else it is just going or coming: soon."""
        if set(self._cluster.owners(file_hash(reference.key))) <= set(holders):
            await self._store.confirm_reference(reference.chunk_id, reference.upload_id, reference.key)
            await self._handoff.adopt_chunk(reference)

    async def _drop(self, reference: Reference) -> None:
        await self._store.drop_reference(reference)
        self.job.status.mended += 1
        if self._store.chunk_state(reference.chunk_id) == "missing":
            metrics.chunks_collected.inc()
            log.debug("chunk.collected", chunk=reference.chunk_id.hex())
