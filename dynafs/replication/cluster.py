"""The composed replication services of one node: what http and the composition root hold on to."""

from collections.abc import Callable, Mapping
from functools import partial

from dynafs.causality import HybridClock
from dynafs.config import Settings
from dynafs.membership import Gossip, RingKeeper
from dynafs.ports import Answer, Clock, Membership, Peers, Store
from dynafs.replication.anti_entropy import AntiEntropy
from dynafs.replication.buckets import Buckets
from dynafs.replication.budget import ByteBudget
from dynafs.replication.census import Census
from dynafs.replication.chunks import ChunkKeeper
from dynafs.replication.collection import Collector
from dynafs.replication.commit import Committer
from dynafs.replication.compaction import Compactor
from dynafs.replication.explain import Explainer
from dynafs.replication.fence import Fence
from dynafs.replication.files import FileReader
from dynafs.replication.giving import ChunkGiver
from dynafs.replication.handoff import Handoff
from dynafs.replication.inspect import Inspector
from dynafs.replication.job import Job
from dynafs.replication.latency import LatencyTracker
from dynafs.replication.listing import Lister
from dynafs.replication.maintenance import Maintenance
from dynafs.replication.pulling import Puller
from dynafs.replication.reach import Reach
from dynafs.replication.reaping import Reaper
from dynafs.replication.rebalance import Rebalancer
from dynafs.replication.records import RecordReader
from dynafs.replication.references import ReferenceKeeper, ReferenceSender
from dynafs.replication.refill import Refill
from dynafs.replication.replica import Replica
from dynafs.replication.scrub import Scrubber
from dynafs.replication.stamps import StampSource
from dynafs.replication.survey import Surveyor
from dynafs.replication.throttle import Throttle
from dynafs.replication.upload import Uploader
from dynafs.replication.walk import Walker
from dynafs.replication.watch import PeerWatch
from dynafs.ring import Ring
from dynafs.ring.transition import RingState, Step
from dynafs.ring.view import RingView
from dynafs.wire.context_token import ContextTokens, token_key
from dynafs.wire.ring import encode_ring_state
from dynafs.wire.ring_messages import Introduction

#: Nodes that are remembered for having connected.
SEEN_MAX = 1000


class Replication:
    """Everything a node does with other nodes' copies, wired together over the ports."""

    def __init__(
        self,
        settings: Settings,
        ring: Ring,
        clock: Clock,
        store: Store,
        generation: str,
        peers: Peers,
        membership: Membership,
    ) -> None:
        """generation: of the data directory; a node that lost its disk comes back with another, as another actor."""
        self.settings, self.membership = settings, membership
        self._clock, self._store = clock, store
        self._seen: dict[str, None] = {}
        #: set by the composition root, where there is any
        self.gossip: Gossip | None = None
        #: set by the composition root: told where peers are that joined, {node: HOST:PORT}
        self.on_members: Callable[[Mapping[str, str]], None] = lambda _: None
        self._compose_replica(ring, generation, peers)
        self._compose_requests()
        self._compose_healing()

    def _compose_replica(self, founded: Ring, generation: str, peers: Peers) -> None:
        """What answers peers, and what reaches them."""
        settings, clock, store = self.settings, self._clock, self._store
        hedge_min_s = settings.timeouts.hedge_min_ms / 1000
        hybrid = HybridClock(f"{settings.node.name}-{generation}", store.clock_ceiling())
        stamps = StampSource(hybrid, clock, store, settings.cluster.max_clock_skew_ms)
        keeper = ReferenceKeeper(store, clock, settings.healing.reference_age_s)
        self.ring_keeper = RingKeeper(settings.node.name, RingState.first(founded), store, clock)
        fence = Fence(self.ring_keeper)
        self.replica = Replica(store, stamps, keeper, fence, settings.limits.listing_rows_max)
        #: what other owners hold already becomes part of what is held here
        self._merge = partial(self.replica.merge_record, is_old=True)
        self.reach = Reach(
            settings.node.name, RingView(self.ring_keeper.state), peers, self.membership, self.replica.handle,
            settings.timeouts.request_s,
        )  # fmt: skip
        self.reach.catch_up = self.ring_keeper.catch_up
        self.ring_keeper.on_learned = self._on_ring_learned
        self.throttle = Throttle(clock.monotonic_s)
        self.records = RecordReader(self.reach, LatencyTracker(hedge_min_s), self.throttle)
        self.chunks = ChunkKeeper(self.reach, store, fence, LatencyTracker(hedge_min_s))
        self.ring_keeper.ask = self.reach.ask
        self.replica.ring_keeper = self.ring_keeper
        self.committer = Committer(self.reach, self.records, store, stamps, clock, self.throttle)
        self.replica.committer = self.committer.serve
        self.refill = Refill(self.reach, store, generation, self._merge)
        self.replica.refill = self.refill
        self.ring_keeper.may_have_forgotten = lambda: not self.refill.is_first
        self.refill.remember = self.ring_keeper.remember
        self.ring_keeper.has_forgotten = lambda: self.refill.is_lost

    def _compose_requests(self) -> None:
        """What serves clients."""
        cluster, limits, wait_s = self.settings.cluster, self.settings.limits, self.settings.limits.admission_timeout_s
        self.context_tokens = ContextTokens(token_key(cluster.secret, cluster.id))
        self.buckets = Buckets(self.records, self.committer, cluster.n, self.settings.bucket_policy)
        self.seats = ByteBudget("upload seat", limits.upload_seat_bytes, wait_s)
        self.sending = ByteBudget("upload send", limits.upload_send_bytes, wait_s)
        self.downloads = ByteBudget("download", limits.download_bytes, wait_s)
        self.files = FileReader(self.records, self.committer, self.chunks, self.downloads, limits.download_chunks_ahead)
        self.references = ReferenceSender(self.reach, self.files)
        self.replica.on_replaced = self.references.replaced
        self.uploader = Uploader(
            self.committer, self.chunks, self.references, self._store.check_room, self._clock, self.seats,
            self.sending, cluster.inline_limit_bytes, limits.upload_chunks_in_flight,
            self.settings.healing.collection_grace_s / 2,
        )  # fmt: skip
        self.lister = Lister(self.reach, self.records, limits.listing_rows_max)
        self.inspector = Inspector(self.reach)
        self.explainer = Explainer(self.reach, self.files, self.inspector)

    def _compose_healing(self) -> None:
        """What goes on in the background."""
        healing, clock, store = self.settings.healing, self._clock, self._store
        self.handoff = Handoff(
            self.reach, store, clock, interval_s=healing.handoff_interval_s,
            age_s=healing.hint_age_s, size_bytes_max=healing.hints_size_bytes_max,
        )  # fmt: skip
        self.replica.handoff = self.handoff
        reaper = self.replica.reaper = Reaper(self.reach, store, clock, healing.tombstone_grace_s)
        giver = ChunkGiver(self.reach, self.files, self.chunks)
        self.anti_entropy = AntiEntropy(
            self.reach, store, self._merge, giver, clock,
            interval_s=healing.anti_entropy_interval_s, after_return_s=healing.anti_entropy_after_return_s,
            rebuild_interval_s=healing.tree_rebuild_interval_s,
        )  # fmt: skip
        self.walker = Walker(
            self.reach, store, self.handoff, reaper, self.files, giver, clock, interval_s=healing.walk_interval_s
        )
        self.scrubber = Scrubber(store, self.chunks, clock, healing.scrub_period_s)
        self.collector = Collector(
            self.reach, store, self.handoff, clock, interval_s=healing.collection_interval_s,
            reference_age_s=healing.reference_age_s, grace_s=healing.collection_grace_s,
        )  # fmt: skip
        self.replica.on_released = self.collector.hurry
        self.compactor = Compactor(store, clock, healing.compaction_interval_s)
        self.collector.on_collected = self.compactor.job.hurry
        self.census = Census(self.reach, self.files, clock)
        self.rebalancer = self.replica.rebalancer = Rebalancer(
            self.reach, self.ring_keeper, self.lister, self.buckets, clock
        )
        self.surveyor = self.replica.surveyor = Surveyor(self.reach, self.ring_keeper, store, clock)
        self.surveyor.is_whole = lambda: self.refill.is_complete
        self.maintenance = self.replica.maintenance = Maintenance(
            self.reach, self.surveyor, self.rebalancer, self.handoff, self.inspector, lambda: self.jobs
        )
        self.surveyor.is_draining = lambda: self.maintenance.is_draining
        self.rebalancer.puller = Puller(self.rebalancer.job, self.reach, store, self._merge, self.chunks, self.files)
        for job in self.jobs.values():
            job.throttle = self.throttle
        wake = (self.handoff.on_peer_up, self.anti_entropy.on_peer_up, self.rebalancer.on_peer_up)
        self.watch = PeerWatch(self.reach, wake)

    def start(self) -> None:
        """Begin what goes on in the background; peers can be called now."""
        self.refill.start()
        self.watch.start()
        for job in self.jobs.values():
            job.start()

    @property
    def jobs(self) -> dict[str, Job]:
        """Everything that goes on in the background, by name."""
        workers = (
            self.handoff, self.anti_entropy, self.walker, self.scrubber, self.collector, self.compactor, self.census,
            self.rebalancer,
        )  # fmt: skip
        return {worker.job.status.name: worker.job for worker in workers}

    @property
    def ring(self) -> Ring:
        """The ring that is, or that a change leads to."""
        return self.reach.ring

    @property
    def addresses(self) -> dict[str, str]:
        """{node: HOST:PORT where its peers reach it}: the settings' word, else what was said when it joined."""
        return self.reach.view.addresses | {member.node: member.address for member in self.settings.cluster.members}

    def _on_ring_learned(self, state: RingState) -> None:
        is_over = state.step is Step.STABLE and self.reach.view.state.step is not Step.STABLE
        self.reach.view = RingView(state)
        self.on_members(self.addresses)
        self.rebalancer.job.hurry()
        if is_over:
            # What belongs to others now goes to them.
            for worker in (self.walker, self.collector, self.anti_entropy):
                worker.job.hurry()

    def note_seen(self, node: str) -> None:
        """A node that knows the secret has connected."""
        if node not in self._seen and len(self._seen) < SEEN_MAX:
            self._seen[node] = None
            # It may have heard of us because the ring is about to change.
            self.rebalancer.job.hurry()

    @property
    def waiting(self) -> dict[str, str]:
        """Nodes that no ring has, {node: HOST:PORT, empty when only it knows}: those of whom there is gossip, and those
        that have connected since this one started."""
        kin = {node: one.address for node, one in self.gossip.kin.items()} if self.gossip is not None else {}
        found = {**dict.fromkeys(self._seen, ""), **kin}
        return {node: address for node, address in sorted(found.items()) if node not in self.reach.view.nodes}

    def introduce(self, ring_digest: bytes) -> Answer:
        """Say of which cluster this node is. ring_digest: of the ring that the cluster was founded with."""
        cluster, state = self.settings.cluster, self.ring_keeper.state
        port = self.gossip.port if self.gossip is not None else 0
        told = Introduction(cluster.n, cluster.r, cluster.w, cluster.partitions, ring_digest, port, self.addresses)
        return Answer(told, encode_ring_state(state))

    def has_quorum(self) -> bool:
        """Return whether this node may answer reads, has asked others which ring stands, and reaches enough owners of
        every partition for the cluster's default R and W."""
        if not self.refill.is_complete or not self.rebalancer.has_asked:
            return False
        needed = max(self.settings.cluster.r, self.settings.cluster.w)
        view = self.reach.view
        up = {node for node in view.nodes if self.membership.is_up(node)}
        return all(sum(node in up for node in owners) >= needed for owners in view.owner_sets)

    def stored_bytes(self) -> int:
        """Return what this node's segments take. Raises StoreFailed."""
        return self.surveyor.stored_bytes()

    @property
    def repair_count(self) -> int:
        """Repairs of records and chunks under way."""
        return self.records.repairs.count + self.chunks.repairs.count

    async def close(self) -> None:
        """Wait for repairs under way; end the rest."""
        await self.watch.close()
        for job in self.jobs.values():
            await job.close()
        await self.refill.close()
        await self.records.repairs.close()
        await self.chunks.repairs.close()
        await self.references.work.close()
