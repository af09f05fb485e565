"""Reading records at a quorum, and making sure that what was read stays."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from dynafs.causality.versions import join
from dynafs.errors import DynafsError, ReadQuorumLost
from dynafs.files.version import EMPTY, Record
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Answer
from dynafs.quorum import QuorumPolicy, QuorumRead, QuorumWrite, Verdict
from dynafs.quorum.read import RepairPlan
from dynafs.replication.agreement import context_of, is_plain, may_agree, read_agreed, read_contexts
from dynafs.replication.background import Background
from dynafs.replication.latency import LatencyTracker
from dynafs.replication.reach import Reach, failure_code
from dynafs.replication.throttle import Throttle
from dynafs.replication.writing import store_at
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.messages import ReadRecord, RecordReply, StoreRecord
from dynafs.wire.records import decode_record, encode_record

log = get_logger()

#: Background repairs of records at once; a read that finds more to repair leaves it to the next one.
REPAIRS_MAX = 64


class _ReadRun:
    """Asks owners until R have answered: R at first, one more for each that fails or is slow."""

    def __init__(
        self,
        reach: Reach,
        key: bytes,
        policy: QuorumPolicy,
        view: RingView,
        hedge_s: float,
        *,
        whole: bool = False,
        wall_ms: int = 0,
    ) -> None:
        """whole: ask the first owner for its record. wall_ms: ask for contexts, for who will stamp by this clock."""
        self._reach, self._key, self._hedge_s = reach, key, hedge_s
        self._whole, self._wall_ms = whole, wall_ms
        self._version = 0 if policy.is_available else view.version
        place, also = file_hash(key), list[str]()
        if policy.is_available:
            # Owners first: a fallback has only what was written while they were away.
            standing = reach.standing(place)
            self._untried = reach.in_reading_order([node for node, owner in standing if not owner])
            self._untried += [node for node, owner in standing if owner]
        else:
            readers = view.readers(place)
            self._untried = reach.in_reading_order(readers)
            if not wall_ms:
                also = [node for owners in view.writers(place) if owners != readers for node in owners]
        self.fold = QuorumRead(policy.r, self._untried, also, policy.w if also else 0)
        #: asked at once: who reads is told what both sets of owners hold
        self._at_once = [node for node in self._untried if node in also]
        self._at_once += [node for node in also if node not in self._untried]
        self.contexts: list[dict[str, int]] = []
        self._asked_s: dict[str, float] = {}
        self._decided: asyncio.Future[None] = reach.loop.create_future()
        self._timers: list[asyncio.TimerHandle] = []

    async def run(self) -> QuorumRead:
        """Return the fold at its verdict; raise ReadQuorumLost when that is LOST."""
        self._timers.append(self._reach.loop.call_later(self._reach.timeout_s, self._expire))
        for _ in range(self.fold.r):
            self._ask_next()
        for node in self._at_once:
            if node not in self._asked_s:
                self._ask(node)
        self._check()
        if not self._decided.done():
            self._timers.append(self._reach.loop.call_later(self._hedge_s, self._hedge))
        try:
            await self._decided
        finally:
            for timer in self._timers:
                timer.cancel()
        if self.fold.verdict is not Verdict.MET:
            metrics.quorum_lost.labels("read").inc()
            raise ReadQuorumLost(self.fold.r, self.fold.answered, self.fold.failed)
        return self.fold

    def _ask_next(self) -> None:
        while self._untried:
            node = self._untried.pop(0)
            if node not in self._asked_s:
                self._ask(node)
                return

    def _ask(self, node: str) -> None:
        whole, self._whole = self._whole, False
        self._asked_s[node] = self._reach.loop.time()
        question = ReadRecord(
            self._key, whole, bool(self._wall_ms), self._wall_ms, self._version, context_in_body=bool(self._wall_ms)
        )
        self.follow(node, self._reach.ask(node, question), whole=whole)

    def follow(self, node: str, future: "asyncio.Future[Answer]", *, whole: bool) -> None:
        """Fold an answer in when it comes, at once if it is here."""
        if future.done():
            self._on_answer(node, whole, future)
        else:
            future.add_done_callback(partial(self._on_answer, node, whole))

    def _on_answer(self, node: str, whole: bool, future: "asyncio.Future[Answer]") -> None:  # noqa: FBT001
        if node != self._reach.me:
            self._reach.speeds.add(node, self._reach.loop.time() - self._asked_s[node])
        try:
            self._fold_answer(node, future.result(), whole=whole)
        except (DynafsError, asyncio.CancelledError) as error:
            self.fold.add_failure(node, failure_code(error))
            # The one whole record was to come from this node: ask the next for its whole record instead.
            self._whole |= whole
            self._ask_next()
        self._check()

    def _fold_answer(self, node: str, answer: Answer, *, whole: bool) -> None:
        reply = answer.message
        assert isinstance(reply, RecordReply)
        context = context_of(reply, answer.body)
        if whole:
            self.fold.add_record(node, reply.digest, decode_record(answer.body))
        else:
            self.fold.add_digest(node, reply.digest)
        self.contexts.append(context)

    def _hedge(self) -> None:
        self._ask_next()

    def _expire(self) -> None:
        while self._untried:
            self.fold.add_failure(self._untried.pop(), "peer_timeout")
        for node in self.fold.pending:
            self.fold.add_failure(node, "peer_timeout")
        self._check()

    def _check(self) -> None:
        if not self._decided.done() and self.fold.verdict is not Verdict.PENDING:
            self._decided.set_result(None)


class RecordReader:
    """Strong reads of file records."""

    def __init__(self, reach: Reach, latency: LatencyTracker, throttle: Throttle) -> None:
        self._reach, self._latency, self._throttle = reach, latency, throttle
        self.repairs = Background("repair of records", REPAIRS_MAX)

    async def read(self, key: bytes, policy: QuorumPolicy) -> Record:
        """Return the newest record R owners know of, held by W owners when this returns. Raises ReadQuorumLost.

        An available read returns what R nodes that are up know of, and repairs afterwards.
        """
        began_s, hedge_s = self._reach.loop.time(), self._latency.hedge_s
        if may_agree(self._reach, policy):
            record = await read_agreed(self._reach, key, policy.r, hedge_s)
            if record is not None:
                self._note_time(began_s)
                return record
            # An owner is late or behind: the general read asks a further one at once.
            hedge_s = 0.0
        return await self._reach.in_view(partial(self._read_in, key, policy, began_s, hedge_s))

    def _note_time(self, began_s: float) -> None:
        took_s = self._reach.loop.time() - began_s
        self._latency.add(took_s)
        self._throttle.add("read", took_s)

    async def _read_in(
        self, key: bytes, policy: QuorumPolicy, began_s: float, hedge_s: float, view: RingView
    ) -> Record:
        """began_s: loop time at which the client's read began. hedge_s: after which a further owner is asked."""
        run = _ReadRun(self._reach, key, policy, view, hedge_s, whole=True)
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
        """Repair owners after the answer. A fallback that knows nothing proves nothing: unless R owners said so, all
        nodes that are up are asked before that counts as lost."""
        place = file_hash(key)
        owners = self._reach.owners(place)
        if plan.record.newest is None and sum(node in owners for node in fold.answered) < policy.r:
            everybody = len(self._reach.standing(place))
            if everybody > policy.r:
                return await self.read(key, replace(policy, r=everybody))
            raise ReadQuorumLost(policy.r, [node for node in fold.answered if node in owners], fold.failed)
        stale = tuple(node for node in plan.stale if node in owners)
        if stale:
            self._repair_later(key, RepairPlan(plan.record, plan.holders, stale))
        return plan.record

    async def read_context(self, key: bytes, policy: QuorumPolicy, wall_ms: int) -> dict[str, int]:
        """Return the joined contexts of R owners: what a new version has to stand above. Raises ReadQuorumLost.

        wall_ms: the clock that will stamp it. Were it far ahead, the others would refuse the version while this node
        kept it, and the file could not be read until they caught up. So one other owner at least is asked, if the
        write needs one: it refuses to answer such a clock.
        """
        if not policy.is_available:
            policy = replace(policy, r=max(policy.r, min(policy.w, 2)))
        hedge_s = self._latency.hedge_s
        if is_plain(self._reach, policy):
            context = await read_contexts(self._reach, key, policy.r, wall_ms, hedge_s)
            if context is not None:
                return context
            hedge_s = 0.0
        return await self._reach.in_view(partial(self._read_context_in, key, policy, wall_ms, hedge_s))

    async def _read_context_in(
        self, key: bytes, policy: QuorumPolicy, wall_ms: int, hedge_s: float, view: RingView
    ) -> dict[str, int]:
        run = _ReadRun(self._reach, key, policy, view, hedge_s, wall_ms=wall_ms)
        await run.run()
        context: dict[str, int] = {}
        for one in run.contexts:
            context = join(context, one)
        return context

    async def _fetch_whole(self, fold: QuorumRead, key: bytes, nodes: Sequence[str]) -> None:
        futures = [self._reach.ask(node, ReadRecord(key, whole=True)) for node in nodes]
        for node, result in zip(nodes, await asyncio.gather(*futures, return_exceptions=True), strict=True):
            try:
                if isinstance(result, BaseException):
                    raise result
                assert isinstance(result.message, RecordReply)
                fold.add_record(node, result.message.digest, decode_record(result.body))
            except DynafsError as error:
                fold.retract(node, failure_code(error))

    async def _repair_now(self, key: bytes, plan: RepairPlan, held: QuorumWrite, view: RingView) -> None:
        """Bring the record to as many more owners as W takes, before anybody is told of it."""
        request = StoreRecord(key, ring_version=view.version)
        fold = await store_at(self._reach, request, encode_record(plan.record), held)
        if fold.verdict is not Verdict.MET:
            metrics.quorum_lost.labels("read").inc()
            raise ReadQuorumLost(fold.w, fold.acked, fold.failed)
        told = [node for node in fold.acked if node not in plan.holders]
        metrics.records_repaired.inc(len(told))
        log.info("record.repaired", key=key.decode(errors="replace"), nodes=told)

    def _repair_later(self, key: bytes, plan: RepairPlan) -> None:
        if plan.record != EMPTY and not self.repairs.is_full:
            self.repairs.begin(self._repair_stale(key, plan))

    async def _repair_stale(self, key: bytes, plan: RepairPlan) -> None:
        fold = QuorumWrite(len(plan.stale), plan.stale)
        await store_at(self._reach, StoreRecord(key), encode_record(plan.record), fold)
        metrics.records_repaired.inc(len(fold.acked))
        for node, code in fold.failed.items():
            log.warning("record.repair_failed", key=key.decode(errors="replace"), node=node, code=code)
