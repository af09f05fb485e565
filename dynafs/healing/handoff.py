"""Handoff: what fallbacks keep for owners that could not take it, and how it gets there.

Problem: an owner that is away for a minute should not have to be compared with everybody to learn what it missed; and
in the meantime there should be as many copies as were asked for.

Rule: whoever coordinates a write sends it, for each owner that fails, to a fallback as well. The fallback keeps the
thing itself and, in the same commit, a hint: whom it is for. When the owner is up again it is sent everything, in
order, at a bounded pace; a hint is removed only after the owner's ack, which means fsynced and verified, and when no
hint is left the fallback lets its copy go. Hints are found by their target in the index, so a restart forgets none. A
hint that gets too old, or a fallback that keeps too much, leaves the owner to the walk.

Things of other nodes that are here without a hint (what a crash left behind) get hints for all their owners.

Tested in the simulator: after every run no hint is left and no copy is where it does not belong.
"""

from collections.abc import Iterable

from dynafs.config import HealingSettings
from dynafs.errors import ChunkMissing, DynafsError, PeerTimeout, PeerUnreachable
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership.cluster import Cluster
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Clock, Hint, Reference, Store
from dynafs.replica.hints import HintBook
from dynafs.ring import file_hash
from dynafs.wire.messages import ConfirmReferences, StoreChunk, StoreRecord

log = get_logger()

#: Pace of sending to one owner.
RATE_BYTES_PER_S_MAX = 64 << 20


class Handoff:
    """Hands one node's hints over."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        hints: HintBook,
        clock: Clock,
        jobs: JobRegistry,
        settings: HealingSettings,
    ) -> None:
        self._cluster, self._store, self._hints, self._clock = cluster, store, hints, clock
        self._age_ms = 1000 * settings.hint_age_s
        self.job = jobs.add("handoff", self._hand_over, settings.handoff_interval_s, RATE_BYTES_PER_S_MAX)

    def on_peer_up(self) -> None:
        """A peer came up: give it what is kept for it."""
        self.job.hurry()

    async def _hand_over(self, job: Job) -> None:
        count = size_bytes = 0
        for target in await self._store.hint_targets():
            async for hint in self._hints.hints_for(target):
                if not await self._deal_with(job, hint):
                    count, size_bytes = count + 1, size_bytes + hint.size_bytes
        self._hints.recount(count, size_bytes)

    async def _deal_with(self, job: Job, hint: Hint) -> bool:
        """Hand over one hint if its target is up, give it up if it is too old; return whether it is gone."""
        if hint.target not in self._cluster.owners(hint.chunk_id or file_hash(hint.key)):
            return await self._readdress(hint)
        is_up = self._cluster.is_up(hint.target)
        await job.step(job.pace_s(hint.size_bytes, RATE_BYTES_PER_S_MAX) if is_up else 0.0)
        is_old = not hint.is_counted and not 0 <= self._clock.wall_ms() - hint.since_ms <= self._age_ms
        try:
            if is_up and await self._give(hint):
                job.status.mended += 1
            elif not is_old:
                return False
            await self._store.remove_hint(hint)
            await self._let_go(hint)
        except DynafsError as error:
            job.note(error)
            return False
        job.status.items += 1
        return True

    async def _readdress(self, hint: Hint) -> bool:
        """The ring has changed, and what a hint is about belongs to others than its target: keep it for those."""
        owners = self._cluster.owners(hint.chunk_id or file_hash(hint.key))
        try:
            await self._adopt(hint, owners)
            await self._store.remove_hint(hint)
        except DynafsError as error:
            self.job.note(error)
            return False
        return True

    async def _give(self, hint: Hint) -> bool:
        """Send what a hint is about; return whether the target holds it, or it is not here any more."""
        try:
            if hint.chunk_id and await self._is_there(hint):
                return True
            if hint.chunk_id:
                body = await self._store.read_chunk(hint.chunk_id)
                request = StoreChunk(hint.chunk_id, hint.upload_id, hint.key)
                await self._cluster.ask(hint.target, request, body, is_bulk=True)
                metrics.chunks_repaired.inc()
                return True
            data = self._store.read_record(hint.key)
            if data:
                await self._cluster.ask(hint.target, StoreRecord(hint.key), data)
                metrics.records_repaired.inc()
            return data == self._store.latest_record(hint.key)
        except (PeerUnreachable, PeerTimeout):
            return False
        except ChunkMissing:
            # Collected, or found to be bad; the other owners have it.
            return True

    async def _is_there(self, hint: Hint) -> bool:
        """Return whether the target has a chunk already, with a reference from this upload by now."""
        request = ConfirmReferences(hint.chunk_id, hint.upload_id, hint.key)
        answer = await self._cluster.ask(hint.target, request)
        return answer.message.states == ["present"]

    async def _let_go(self, hint: Hint) -> None:
        """Remove the copy of something that belongs to other nodes, once no hint for it is left."""
        owners = self._cluster.owners(hint.chunk_id or file_hash(hint.key))
        if self._cluster.me in owners or self._hints.is_kept(hint, owners):
            return
        if not hint.chunk_id:
            if self._store.read_record(hint.key) == self._store.latest_record(hint.key):
                await self._store.put_record(hint.key, b"")
        elif (reference := self._store.reference(hint.chunk_id, hint.upload_id)) is not None:
            await self._store.drop_reference(reference)

    async def adopt_record(self, key: bytes) -> None:
        """A record of other nodes is here: make sure that it gets to them."""
        await self._adopt(Hint("", key, is_counted=True), self._cluster.owners(file_hash(key)))

    async def adopt_chunk(self, reference: Reference) -> None:
        """A chunk of other nodes is here: make sure that it gets to them."""
        hint = Hint("", reference.key, reference.chunk_id, reference.upload_id, is_counted=True)
        await self._adopt(hint, self._cluster.owners(reference.chunk_id))

    async def _adopt(self, thing: Hint, owners: Iterable[str]) -> None:
        if self._cluster.me in owners or self._hints.is_kept(thing, owners):
            return
        for node in owners:
            hint = self._hints.admit(thing._replace(target=node))
            await self._hints.track(hint, self._store.put_hint(hint))
        self.job.hurry()
