"""The exchange: what nodes do about leaves of their trees that differ."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dynafs.errors import DynafsError
from dynafs.healing.transfer import ChunkSender, MissingCopy
from dynafs.healing.tree_comparison import Rows, TreeReader
from dynafs.healing.upload_lookup import Upload, UploadLookup
from dynafs.jobs.job import Job
from dynafs.membership.cluster import Cluster, Merge, take_over
from dynafs.observe import metrics
from dynafs.ports import Reference, Store
from dynafs.ring import BRANCH_LEAVES, file_hash
from dynafs.wire.messages import ConfirmReferences, StoreRecord
from dynafs.wire.records import record_digest

#: References of one chunk that are passed on with it; those beyond are left to the walk.
REFERENCES_MAX = 64
#: Uploads whose fate is remembered for the length of a run.
FATES_MAX = 10_000
#: Records that are brought together at once.
RECORDS_AT_ONCE = 16


@dataclass(slots=True)
class _Leaf:
    """{item: digest} here, and {node: {item: digest}} at the peers that hold it otherwise and have told."""

    own: Rows
    theirs: dict[str, Rows] = field(default_factory=dict)


class LeafExchange:
    """Mends leaves on behalf of one node."""

    def __init__(
        self, job: Job, cluster: Cluster, store: Store, trees: TreeReader, merge: Merge, giver: ChunkSender
    ) -> None:
        """merge: makes a record of a peer part of what is held here."""
        self._job, self._cluster, self._store, self._trees = job, cluster, store, trees
        self._merge, self._giver = merge, giver
        self._finder = UploadLookup(cluster, job.note)
        self._records = asyncio.Semaphore(RECORDS_AT_ONCE)
        #: {upload: whether a version stands}
        self._fates: dict[Upload, bool] = {}

    def begin(self) -> None:
        """Forget what was learned in an earlier run."""
        self._fates.clear()

    async def mend(self, kind: str, differing: Mapping[int, Sequence[str]]) -> None:
        """Bring leaves here and at peers together, as far as it goes now; the rest is found again next time.

        differing: {leaf: peers that hold it otherwise}, at most LEAVES_MAX of them.
        """
        own = await self._trees.read(kind, self._cluster.me, sorted(differing))
        leaves = {leaf: _Leaf(rows) for leaf, rows in own.items()}
        asked: dict[str, list[int]] = {}
        for leaf in leaves:
            for node in differing[leaf]:
                asked.setdefault(node, []).append(leaf)
        await asyncio.gather(*(self._learn(node, kind, some, leaves) for node, some in asked.items()))
        await self._recount(kind, leaves)
        if kind == "records":
            await asyncio.gather(*(self._mend_records(leaf) for leaf in leaves.values()))
        else:
            await self._mend_chunks(leaves.values())

    async def _learn(self, node: str, kind: str, numbers: Sequence[int], leaves: Mapping[int, _Leaf]) -> None:
        try:
            found = await self._trees.read(kind, node, numbers)
        except DynafsError as error:
            self._job.note(error)
            return
        for number, rows in found.items():
            leaves[number].theirs[node] = rows

    async def _recount(self, kind: str, leaves: Mapping[int, _Leaf]) -> None:
        """Leaves that stand for the same but differ: a tree is wrong, perhaps the one here."""
        wrong = [
            number // BRANCH_LEAVES
            for number, leaf in leaves.items()
            if leaf.theirs and all(rows == leaf.own for rows in leaf.theirs.values())
        ]
        for branch in dict.fromkeys(wrong):
            try:
                await self._store.recount_branch(kind, branch)
            except DynafsError as error:
                self._job.note(error)

    async def _mend_records(self, leaf: _Leaf) -> None:
        # First take over what all others know, then tell them: so nobody is told twice.
        await asyncio.gather(
            *(
                self._take_over(node, key)
                for node, rows in leaf.theirs.items()
                for key, digest in rows.items()
                if leaf.own.get(key) != digest and node in self._cluster.owners(file_hash(key))
            )
        )
        telling = []
        for node, rows in leaf.theirs.items():
            for key in leaf.own | rows:
                data = self._store.read_record(key)
                if data and record_digest(data) != rows.get(key):
                    telling.append(self._tell(node, key, data))
        await asyncio.gather(*telling)

    async def _take_over(self, node: str, key: bytes) -> None:
        async with self._records:
            try:
                await take_over(self._cluster, self._merge, node, key)
            except DynafsError as error:
                self._job.note(error)

    async def _tell(self, node: str, key: bytes, data: bytes) -> None:
        async with self._records:
            try:
                await self._cluster.ask(node, StoreRecord(key), data)
            except DynafsError as error:
                self._job.note(error)
            else:
                self._job.status.mended += 1
                metrics.records_repaired.inc()

    async def _mend_chunks(self, leaves: Iterable[_Leaf]) -> None:
        lacks: dict[bytes, list[str]] = {}
        for leaf in leaves:
            for chunk_id in leaf.own:
                lacking = [node for node, rows in leaf.theirs.items() if chunk_id not in rows]
                if lacking and self._is_giver(chunk_id, lacking):
                    lacks[chunk_id] = lacking
        references = await self._standing(list(lacks)) if lacks else {}
        for chunk_id, nodes in lacks.items():
            try:
                await self._give(chunk_id, nodes, references.get(chunk_id, ()))
            except DynafsError as error:
                self._job.note(error)

    def _is_giver(self, chunk_id: bytes, lacking: Sequence[str]) -> bool:
        """Return whether no owner before this one, that is up, has the chunk."""
        able = (node for node in self._cluster.owners(chunk_id) if self._cluster.is_up(node) and node not in lacking)
        return next(able, None) == self._cluster.me

    async def _give(self, chunk_id: bytes, lacking: Sequence[str], references: Sequence[Reference]) -> None:
        for node in lacking if references else ():
            first = references[0]
            lack = MissingCopy(node, chunk_id, first.upload_id, first.key)
            await self._giver.give(self._job, lack, self._store.chunk_size_bytes(chunk_id))
            for other in references[1:]:
                await self._cluster.ask(node, ConfirmReferences(chunk_id, other.upload_id, other.key))

    async def _standing(self, chunk_ids: Sequence[bytes]) -> dict[bytes, list[Reference]]:
        """Return {chunk id: references to it that a version stands behind}, as far as the owners of files tell."""
        references = await self._store.references_to(chunk_ids, REFERENCES_MAX)
        if len(self._fates) >= FATES_MAX:
            self._fates.clear()
        unknown = {(one.key, one.upload_id): None for one in references}.keys() - self._fates.keys()
        found = await self._finder.find(sorted(unknown), self._owners_up)
        self._fates |= {upload: bool(nodes) for upload, nodes in found.holders.items()}
        standing: dict[bytes, list[Reference]] = {}
        for one in references:
            if self._fates.get((one.key, one.upload_id)):
                standing.setdefault(one.chunk_id, []).append(one)
        return standing

    def _owners_up(self, hash_bytes: bytes) -> list[str]:
        return [node for node in self._cluster.owners(hash_bytes) if self._cluster.is_up(node)]
