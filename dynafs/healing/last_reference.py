"""Last looks: before a chunk goes with its last reference, its other owners are asked whether they know a better one.

Problem: a node that was away has a chunk that an old upload brought, and missed that a newer one uses it too. Its own
references are all dead, but the chunk is not.

Rule: the owners that were there know the newer upload. One that stands becomes a reference here, and the chunk stays;
while an owner is silent, or knows more than can be judged at once, nothing goes.
"""

from collections import Counter
from collections.abc import Sequence

from dynafs.errors import DynafsError
from dynafs.healing.upload_lookup import UploadLookup
from dynafs.jobs.job import Job
from dynafs.membership.cluster import Cluster
from dynafs.ports import Reference, Store
from dynafs.replica.references import PAGE_CHUNKS, REFERENCES_MAX
from dynafs.wire.messages import FindReferences
from dynafs.wire.rows import reply_rows

_ID_SIZE_BYTES = 32


class LastReferenceCheck:
    """Looks once more at references that are about to be dropped."""

    def __init__(self, cluster: Cluster, store: Store, finder: UploadLookup, job: Job) -> None:
        self._cluster, self._store, self._finder, self._job = cluster, store, finder, job

    async def droppable(self, dead: Sequence[Reference]) -> list[Reference]:
        """Return those of dead references that may go now; living ones of their chunks are made here on the way."""
        doomed = {(one.chunk_id, one.upload_id) for one in dead}
        counts = Counter(one.chunk_id for one in dead)
        here = await self._store.references_to(list(counts), max(counts.values(), default=0) + 1)
        spared = {one.chunk_id for one in here if (one.chunk_id, one.upload_id) not in doomed}
        # A copy that belongs to other nodes is no loss: whatever uses it they have got themselves.
        last = [one for one in counts if one not in spared and self._cluster.me in self._cluster.owners(one)]
        kept: set[bytes] = set()
        for start in range(0, len(last), PAGE_CHUNKS):
            kept |= await self._keep_living(last[start : start + PAGE_CHUNKS], doomed)
        # Of a chunk that must stay one reference is enough. Owners with many dead ones would wait for each other.
        left = {one.chunk_id: one for one in dead if one.chunk_id in kept}
        return [one for one in dead if left.get(one.chunk_id) is not one]

    async def _keep_living(self, chunk_ids: list[bytes], doomed: set[tuple[bytes, bytes]]) -> set[bytes]:
        """Return the chunks that must not go now."""
        kept: set[bytes] = set()
        others: dict[Reference, None] = {}
        for node in self._cluster.others:
            asked = [chunk_id for chunk_id in chunk_ids if node in self._cluster.owners(chunk_id)]
            try:
                told = await self._ask(node, asked) if asked else []
            except DynafsError as error:
                self._job.note(error)
                kept.update(asked)
                continue
            for chunk_id in asked:
                its = [one for one in told if one.chunk_id == chunk_id]
                if len(its) >= REFERENCES_MAX:
                    kept.add(chunk_id)
                others |= dict.fromkeys(one for one in its if (chunk_id, one.upload_id) not in doomed)
        known = await self._finder.find(((one.key, one.upload_id) for one in others), self._cluster.keepers)
        for one in others:
            upload = one.key, one.upload_id
            if known.holders[upload] or upload in known.unsure:
                kept.add(one.chunk_id)
            if known.holders[upload]:
                await self._store.confirm_reference(one.chunk_id, one.upload_id, one.key)
        return kept

    async def _ask(self, node: str, chunk_ids: Sequence[bytes]) -> list[Reference]:
        return await read_references(self._cluster, node, chunk_ids)


async def read_references(cluster: Cluster, node: str, chunk_ids: Sequence[bytes]) -> list[Reference]:
    """Return what refers to chunks, at most 64, at a node: up to 16 of each. Raises DynafsError."""
    answer = await cluster.ask(node, FindReferences(b"".join(chunk_ids)))
    rows = reply_rows(answer.body, "reference and key")
    return [Reference(row[:_ID_SIZE_BYTES], row[_ID_SIZE_BYTES:], key, 0) for row, key in rows]
