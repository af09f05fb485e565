"""Reading records at a quorum, and making what was read durable at W owners."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from dynafs.causality import Context
from dynafs.causality.version_set import join
from dynafs.coordinator.agreement import FirstAnswers, is_plain, may_agree
from dynafs.coordinator.quorum_write import store_at
from dynafs.coordinator.read_run import ReadRun, Wanted
from dynafs.errors import DynafsError, ReadQuorumLost, failure_code
from dynafs.files.version import EMPTY, Record
from dynafs.jobs.tasks import BoundedTasks
from dynafs.jobs.throttle import Throttle
from dynafs.membership.cluster import Cluster
from dynafs.membership.latency import HedgeDelay
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.quorum import QuorumPolicy, QuorumRead, QuorumWrite, Verdict
from dynafs.quorum.read import RepairPlan
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.messages import ReadRecord, StoreRecord
from dynafs.wire.records import decode_record, encode_record

log = get_logger()

#: Concurrent repairs of records; further ones wait for the next read that finds the difference.
REPAIRS_MAX = 64


class ReplicatedRecords:
    """Strong reads of file records."""

    def __init__(self, cluster: Cluster, latency: HedgeDelay, throttle: Throttle) -> None:
        self._cluster, self._latency, self._throttle = cluster, latency, throttle
        self.repairs = BoundedTasks("repair of records", REPAIRS_MAX)

    async def read(self, key: bytes, policy: QuorumPolicy) -> Record:
        """Return the newest record at R owners; W owners hold it when this returns. Raises ReadQuorumLost.

        An available read returns the newest record at R live nodes, and repairs afterwards.
        """
        return (await self.read_to_replace(key, policy, 0))[0]

    async def read_to_replace(self, key: bytes, policy: QuorumPolicy, wall_ms: int) -> tuple[Record, Context | None]:
        """Return the record, as `read` does, and the context that a version stamped by this clock after the read must
        exceed.

        The context is None unless R >= W owners hold the same record and have checked the clock; then call
        `read_context`. wall_ms: 0 when nothing will be stamped.
        """
        began_s, begun = self._cluster.loop.time(), None
        if may_agree(self._cluster, policy):
            begun = FirstAnswers(self._cluster, key, policy.r, self._latency.hedge_s)
            record = await begun.read_record(wall_ms)
            if record is not None:
                self._note_time(began_s)
                return record, record.context if wall_ms else None
        return await self._cluster.in_view(partial(self._read_in, key, policy, began_s, begun)), None

    def _note_time(self, began_s: float) -> None:
        took_s = self._cluster.loop.time() - began_s
        self._latency.add(took_s)
        self._throttle.add("read", took_s)

    async def _read_in(
        self, key: bytes, policy: QuorumPolicy, began_s: float, begun: FirstAnswers | None, view: RingView
    ) -> Record:
        """began_s: loop time at which the client's read started."""
        run = ReadRun(self._cluster, Wanted(key, policy), view, self._latency.hedge_s, begun)
        fold = await run.run()
        self._note_time(began_s)
        while wanted := fold.wanted_records():
            await self._fetch_whole(fold, key, wanted)
            if fold.verdict is not Verdict.MET:
                raise ReadQuorumLost(policy.r, fold.answered, fold.failed)
        plan = fold.plan()
        if policy.is_available:
            return await self._finish_available(key, plan, fold, policy)
        held = QuorumWrite(policy.w, *view.writers(file_hash(key)))
        for node in plan.holders:
            held.add_ack(node)
        if plan.record.newest is not None and held.verdict is not Verdict.MET:
            await self._repair_now(key, plan, held, view)
        elif plan.stale:
            self._repair_later(key, plan)
        return plan.record

    async def _finish_available(self, key: bytes, plan: RepairPlan, fold: QuorumRead, policy: QuorumPolicy) -> Record:
        """Repair owners after the reply. An empty fallback proves nothing: unless R owners replied that the file does
        not exist, all live nodes are asked before the read fails."""
        place = file_hash(key)
        owners = self._cluster.owners(place)
        if plan.record.newest is None and sum(node in owners for node in fold.answered) < policy.r:
            live_count = len(self._cluster.standing(place))
            if live_count > policy.r:
                return await self.read(key, replace(policy, r=live_count))
            raise ReadQuorumLost(policy.r, [node for node in fold.answered if node in owners], fold.failed)
        stale = tuple(node for node in plan.stale if node in owners)
        if stale:
            self._repair_later(key, RepairPlan(plan.record, plan.holders, stale))
        return plan.record

    async def read_context(self, key: bytes, policy: QuorumPolicy, wall_ms: int) -> dict[str, int]:
        """Return the joined contexts of R owners, which a new version must exceed. Raises ReadQuorumLost.

        wall_ms: the clock that will stamp the version. If it were far ahead, other nodes would reject the version while
        this node kept it, and the file could not be read until they caught up. So at least one other owner is asked, if
        the write needs one: it rejects such a clock.
        """
        if not policy.is_available:
            policy = replace(policy, r=max(policy.r, min(policy.w, 2)))
        began_s, begun, context = self._cluster.loop.time(), None, None
        if is_plain(self._cluster, policy):
            begun = FirstAnswers(self._cluster, key, policy.r, self._latency.hedge_s)
            context = await begun.read_context(wall_ms)
        if context is None:
            context = await self._cluster.in_view(partial(self._read_context_in, key, policy, wall_ms, begun))
        self._latency.add(self._cluster.loop.time() - began_s)
        return context

    async def _read_context_in(
        self, key: bytes, policy: QuorumPolicy, wall_ms: int, begun: FirstAnswers | None, view: RingView
    ) -> dict[str, int]:
        run = ReadRun(self._cluster, Wanted(key, policy, wall_ms), view, self._latency.hedge_s, begun)
        await run.run()
        context: dict[str, int] = {}
        for one in run.contexts:
            context = join(context, one)
        return context

    async def _fetch_whole(self, fold: QuorumRead, key: bytes, nodes: Sequence[str]) -> None:
        futures = [self._cluster.ask(node, ReadRecord(key, whole=True)) for node in nodes]
        for node, result in zip(nodes, await asyncio.gather(*futures, return_exceptions=True), strict=True):
            try:
                if isinstance(result, BaseException):
                    raise result
                fold.add_record(node, result.message.digest, decode_record(result.body))
            except DynafsError as error:
                fold.retract(node, failure_code(error))

    async def _repair_now(self, key: bytes, plan: RepairPlan, held: QuorumWrite, view: RingView) -> None:
        """Store the record at as many more owners as W takes, before the read returns it."""
        request = StoreRecord(key, ring_version=view.version)
        fold = await store_at(self._cluster, request, encode_record(plan.record), held)
        if fold.verdict is not Verdict.MET:
            metrics.quorum_lost.labels("read").inc()
            raise ReadQuorumLost(fold.w, fold.acked, fold.failed)
        repaired = [node for node in fold.acked if node not in plan.holders]
        metrics.records_repaired.inc(len(repaired))
        log.info("record.repaired", key=key.decode(errors="replace"), nodes=repaired)

    def _repair_later(self, key: bytes, plan: RepairPlan) -> None:
        if plan.record != EMPTY and not self.repairs.is_full:
            self.repairs.begin(self._repair_stale(key, plan))

    async def _repair_stale(self, key: bytes, plan: RepairPlan) -> None:
        fold = QuorumWrite(len(plan.stale), plan.stale)
        await store_at(self._cluster, StoreRecord(key), encode_record(plan.record), fold)
        metrics.records_repaired.inc(len(fold.acked))
        for node, code in fold.failed.items():
            log.warning("record.repair_failed", key=key.decode(errors="replace"), node=node, code=code)
