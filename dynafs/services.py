"""The composed replication services of one node: what http and the composition root hold on to."""

from functools import partial
from typing import NamedTuple

from dynafs.admission.budget import ByteBudget
from dynafs.causality import HybridClock
from dynafs.config import Settings
from dynafs.coordinator.buckets import Buckets
from dynafs.coordinator.chunks import ReplicatedChunks
from dynafs.coordinator.commit import Committer
from dynafs.coordinator.files import FileReader
from dynafs.coordinator.listing import ListingReader
from dynafs.coordinator.records import ReplicatedRecords
from dynafs.coordinator.references import ReferenceNotifier
from dynafs.coordinator.upload import Uploader, UploadRoom, UploadRules
from dynafs.healing.anti_entropy import AntiEntropy
from dynafs.healing.compaction import Compactor
from dynafs.healing.garbage_collection import GarbageCollector
from dynafs.healing.handoff import Handoff
from dynafs.healing.record_walk import RecordWalk
from dynafs.healing.refill import Refill
from dynafs.healing.scrub import Scrubber
from dynafs.healing.tombstones import TombstoneReaper
from dynafs.healing.transfer import ChunkSender
from dynafs.jobs.job import JobRegistry
from dynafs.jobs.throttle import Throttle
from dynafs.membership import Calls, DiskHistory, Gossip, Liveness, RingConsensus, RingRegister, SelfStatus
from dynafs.membership.cluster import Cluster
from dynafs.membership.latency import HedgeDelay
from dynafs.membership.peer_watch import PeerWatch
from dynafs.operations.census import Census
from dynafs.operations.copies import CopyInspector
from dynafs.operations.explain import Explainer
from dynafs.operations.maintenance import Maintenance
from dynafs.operations.newcomers import Newcomers
from dynafs.operations.node_status import StatusSurvey
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Clock, Peers, Store
from dynafs.rebalance.partition_pull import PartitionPull
from dynafs.rebalance.policy_survey import PolicySurvey
from dynafs.rebalance.rebalancer import Rebalancer
from dynafs.replica.chunks import ChunkService
from dynafs.replica.fence import Fence
from dynafs.replica.hints import HintBook
from dynafs.replica.records import RecordService
from dynafs.replica.references import ReferenceService
from dynafs.replica.rows import RowService
from dynafs.replica.stamps import StampSource
from dynafs.replica.trees import TreeService
from dynafs.ring import Ring
from dynafs.ring.transition import RingState, Step
from dynafs.wire.context_token import ContextTokens, token_key


class Ground(NamedTuple):
    """What the services of a node stand on. gossip: None where nodes do not gossip."""

    clock: Clock
    store: Store
    peers: Peers
    disk: DiskHistory
    register: RingRegister
    membership: Liveness
    status: SelfStatus
    gossip: Gossip | None = None


class Replication:
    """Everything a node does with other nodes' copies, wired together over the ports."""

    def __init__(self, settings: Settings, ground: Ground) -> None:
        self.settings, self._ground = settings, ground
        self.register, self.status, self.disk = ground.register, ground.status, ground.disk
        self._store, self._clock = ground.store, ground.clock
        self._compose_ground()
        self._compose_requests()
        self._compose_replica()
        self._compose_healing()
        self._compose_operations()
        for service in (
            self.register, self.record_service, self.chunk_service, self._rows, self._trees, self._hints,
            self._reference_service, self.committer, self.refill, self.reaper, self.rebalancer, self.surveyor,
            self.maintenance,
        ):  # fmt: skip
            service.register(self.dispatcher)
        self.register.observe(self._on_ring_learned)

    def _compose_ground(self) -> None:
        """What reaches peers, guards what is here, and runs in the background."""
        settings, ground = self.settings, self._ground
        name, store, clock = settings.node.name, ground.store, ground.clock
        self.dispatcher = Dispatcher()
        calls = Calls(name, ground.peers, self.dispatcher.handle, settings.timeouts.request_s)
        self.consensus = RingConsensus(name, self.register, calls.ask, clock)
        self.cluster = Cluster(calls, self.register, self.consensus, ground.membership)
        self.throttle = Throttle(clock.monotonic_s)
        self.jobs = JobRegistry(clock, self.throttle)
        self.fence = Fence(name, self.register, self.disk)
        hybrid = HybridClock(f"{name}-{self.disk.generation}", store.clock_ceiling())
        self.stamps = StampSource(hybrid, clock, store, settings.cluster.max_clock_skew_ms)

    def _compose_requests(self) -> None:
        """What serves clients."""
        settings, cluster, limits = self.settings, self.settings.cluster, self.settings.limits
        store, clock, wait_s = self._store, self._clock, self.settings.limits.admission_timeout_s
        hedge_min_s = settings.timeouts.hedge_min_ms / 1000
        self.records = ReplicatedRecords(self.cluster, HedgeDelay(hedge_min_s), self.throttle)
        self.chunks = ReplicatedChunks(self.cluster, store, self.fence, HedgeDelay(hedge_min_s))
        self.committer = Committer(self.cluster, self.records, store, self.stamps, clock, self.throttle)
        self.context_tokens = ContextTokens(token_key(cluster.secret, cluster.id))
        self.buckets = Buckets(self.records, self.committer, cluster.n, settings.bucket_policy)
        self.seats = ByteBudget("upload seat", limits.upload_seat_bytes, wait_s)
        self.sending = ByteBudget("upload send", limits.upload_send_bytes, wait_s)
        self.downloads = ByteBudget("download", limits.download_bytes, wait_s)
        self.files = FileReader(self.records, self.committer, self.chunks, self.downloads, limits.download_chunks_ahead)
        self.references = ReferenceNotifier(self.cluster, self.files)
        room = UploadRoom(store.check_room, self.seats, self.sending)
        renew_after_s = settings.healing.collection_grace_s / 2
        rules = UploadRules(cluster.inline_limit_bytes, limits.upload_chunks_in_flight, renew_after_s)
        self.uploader = Uploader(self.committer, self.chunks, self.references, clock, room, rules)
        self.lister = ListingReader(self.cluster, self.records, limits.listing_rows_max)

    def _compose_replica(self) -> None:
        """What answers peers."""
        store, clock, healing, fence = self._store, self._clock, self.settings.healing, self.fence
        status = self.jobs.status("handoff")
        self._hints = HintBook(self.cluster, store, clock, healing.hints_size_bytes_max, status)
        self.record_service = RecordService(store, self.stamps, fence, self._hints, self.references.replaced)
        self.chunk_service = ChunkService(store, fence, self._hints)
        self._rows = RowService(store, fence, self.settings.limits.listing_rows_max)
        self._trees = TreeService(store, fence)
        self._reference_service = ReferenceService(
            store, clock, fence, healing.reference_age_s,
            partial(self.jobs.hurry, "collection", healing.collection_grace_s / 10),
        )  # fmt: skip
        #: what other owners hold already becomes part of what is held here
        self._merge = partial(self.record_service.merge_record, is_old=True)
        self.refill = Refill(self.cluster, store, self.disk, self.consensus, self._merge)

    def _compose_healing(self) -> None:
        """What goes on in the background."""
        healing, clock, store, jobs = self.settings.healing, self._clock, self._store, self.jobs
        self.handoff = Handoff(self.cluster, store, self._hints, clock, jobs, healing)
        self.reaper = TombstoneReaper(self.cluster, store, clock, healing.tombstone_grace_s)
        giver = ChunkSender(self.cluster, self.files, self.chunks)
        self.anti_entropy = AntiEntropy(self.cluster, store, self._merge, giver, clock, jobs, healing)
        self.walker = RecordWalk(
            self.cluster, store, self.handoff, self.reaper, self.files, giver, jobs, healing.walk_interval_s
        )
        self.scrubber = Scrubber(store, self.chunks, jobs, healing.scrub_period_s)
        self.collector = GarbageCollector(self.cluster, store, self.handoff, clock, jobs, healing)
        self.compactor = Compactor(store, jobs, healing.compaction_interval_s)

    def _compose_operations(self) -> None:
        """What operators look at and order, and what follows a new ring."""
        store, clock, jobs = self._store, self._clock, self.jobs
        self.inspector = CopyInspector(self.cluster)
        self.explainer = Explainer(self.cluster, self.files, self.inspector)
        self.census = Census(self.cluster, self.files, clock, jobs)
        policies = PolicySurvey(self.lister, self.buckets)
        puller = PartitionPull(jobs, self.cluster, store, self._merge, self.chunks, self.files)
        self.rebalancer = Rebalancer(self.cluster, self.register, self.consensus, policies, puller, jobs)
        self.surveyor = StatusSurvey(self.cluster, store, clock, self.status, self.disk)
        self.maintenance = Maintenance(
            self.cluster, self.status, self.surveyor, policies, self._hints, self.inspector, jobs
        )
        self.newcomers = Newcomers(self.cluster, self._ground.gossip, jobs)
        wake = (self.handoff.on_peer_up, self.anti_entropy.on_peer_up, self.rebalancer.on_peer_up)
        self.watch = PeerWatch(self.cluster, wake)

    def start(self) -> None:
        """Begin what goes on in the background; peers can be called now."""
        self.refill.start()
        self.watch.start()
        self.jobs.start()

    @property
    def ring(self) -> Ring:
        """The ring that is, or that a change leads to."""
        return self.cluster.ring

    @property
    def addresses(self) -> dict[str, str]:
        """{node: HOST:PORT where its peers reach it}: by the settings, else what came with it when it joined."""
        return self.cluster.view.addresses | {member.node: member.address for member in self.settings.cluster.members}

    def _on_ring_learned(self, before: RingState, state: RingState) -> None:
        self.rebalancer.job.hurry()
        if state.step is Step.STABLE and before.step is not Step.STABLE:
            # What belongs to others now goes to them.
            for worker in (self.walker, self.collector, self.anti_entropy):
                worker.job.hurry()

    def has_quorum(self) -> bool:
        """Return whether this node may answer reads, has asked others which ring stands, and reaches enough owners of
        every partition for the cluster's default R and W."""
        if not self.disk.is_complete or not self.rebalancer.has_asked:
            return False
        needed = max(self.settings.cluster.r, self.settings.cluster.w)
        view = self.cluster.view
        up = {node for node in view.nodes if self.cluster.is_up(node)}
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
        await self.jobs.close()
        await self.refill.close()
        await self.records.repairs.close()
        await self.chunks.repairs.close()
        await self.references.work.close()
