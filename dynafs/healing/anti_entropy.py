"""Anti-entropy: two nodes compare their trees and exchange only what differs.

Problem: what a node missed while it was away, or lost with its disk, must come back without anybody reading it; and
finding out that nothing is missing must cost next to nothing, however much is stored.

Rule: at every interval, and soon after a peer came up, a node compares the roots of the partitions it shares with each
other owner, then the branches and leaves under roots that differ, then, many leaves at once, what those stand for.
Records are merged both ways.
A chunk that another owner lacks is given by the first owner that has it, if a version that uses it still stands. When a
leaf differs and what it stands for does not, the tree is wrong, and its branch is counted again. Now and then all
branches are counted again, and every record is looked up in its tree.

Alternatives: naming every key (Swift's replicator, and what `walk` does for references) is simpler, and costs the more
the more is stored. Trees over key ranges need a copy of the data to be built; sums kept by every write need none.

Tested in the simulator, where all owners must agree within bounded time after every fault, before anything is read.
"""

from dynafs.config import HealingSettings
from dynafs.errors import DynafsError
from dynafs.healing.leaf_exchange import LeafExchange
from dynafs.healing.transfer import RATE_BYTES_PER_S_MAX, ChunkSender
from dynafs.healing.tree_comparison import TreeReader
from dynafs.jobs.job import Job, JobRegistry
from dynafs.membership.cluster import Cluster, Merge
from dynafs.observe.events import get_logger
from dynafs.ports import Clock, Store
from dynafs.ring import BRANCH_LEAVES, LEAF_COUNT
from dynafs.wire.messages import LEAVES_MAX, TREE_KINDS
from dynafs.wire.records import record_digest

log = get_logger()

#: Records looked up at once when trees are counted again.
PAGE_RECORDS = 256


class AntiEntropy:
    """Compares one node's trees with those of its peers."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        merge: Merge,
        giver: ChunkSender,
        clock: Clock,
        jobs: JobRegistry,
        settings: HealingSettings,
    ) -> None:
        """merge: makes a record of a peer part of what is held here."""
        self._cluster, self._store, self._clock = cluster, store, clock
        self._after_return_s = settings.anti_entropy_after_return_s
        self._rebuild_interval_s = settings.tree_rebuild_interval_s
        self._rebuild_due_s = clock.monotonic_s() + self._rebuild_interval_s
        self.job = jobs.add("anti-entropy", self._run, settings.anti_entropy_interval_s, RATE_BYTES_PER_S_MAX)
        self._trees = TreeReader(self.job, cluster, store)
        self._exchange = LeafExchange(self.job, cluster, store, self._trees, merge, giver)

    def on_peer_up(self) -> None:
        """Compare soon: a peer may have missed something."""
        self.job.hurry(self.job.jittered(self._after_return_s))

    async def _run(self, job: Job) -> None:
        """Compare everything once. Failures are noted, and left to the next time."""
        if self._clock.monotonic_s() >= self._rebuild_due_s:
            await self._rebuild(job)
            self._rebuild_due_s = self._clock.monotonic_s() + self._rebuild_interval_s
        self._exchange.begin()
        for kind in TREE_KINDS:
            differing: dict[int, list[str]] = {}
            for node in self._cluster.others:
                if self._cluster.is_up(node):
                    for leaf in await self._differing(kind, node):
                        differing.setdefault(leaf, []).append(node)
            leaves = sorted(differing)
            for start in range(0, len(leaves), LEAVES_MAX):
                await job.step()
                await self._exchange.mend(kind, {leaf: differing[leaf] for leaf in leaves[start : start + LEAVES_MAX]})

    async def _differing(self, kind: str, node: str) -> list[int]:
        """Return the leaves that a peer holds otherwise, of partitions that both own."""
        view, me = self._cluster.view, self._cluster.me
        shared = [p for p in range(view.partition_count) if node in view.owners_of(p) and me in view.owners_of(p)]
        try:
            return await self._trees.differing(kind, node, shared)
        except DynafsError as error:
            self.job.note(error)
            return []

    async def _rebuild(self, job: Job) -> None:
        """Count all branches again; have every record written anew that its tree knows otherwise."""
        after: bytes | None = b""
        while after is not None:
            page = await self._store.scan_records(after, PAGE_RECORDS)
            for key, data in page.rows:
                is_settled = self._store.read_record(key) == self._store.latest_record(key) == data
                if is_settled and self._store.listed_digest(key) != record_digest(data):
                    log.warning("tree.corrected", key=key)
                    await self._store.put_record(key, data)
            await job.step()
            after = page.after
        for kind in TREE_KINDS:
            for branch in range(LEAF_COUNT // BRANCH_LEAVES):
                await job.step()
                await self._store.recount_branch(kind, branch)
