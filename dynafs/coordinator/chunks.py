"""Chunks: store at W owners, read any good copy, nearest first, hedged."""

import asyncio
from collections.abc import Callable
from functools import partial

from dynafs.coordinator.quorum_write import QuorumWriter, StandIns, sloppy_run
from dynafs.errors import ChunkMismatch, ChunkUnavailable, DynafsError, WriteQuorumLost, failure_code
from dynafs.jobs.tasks import BoundedTasks, note_failure
from dynafs.membership.cluster import Cluster
from dynafs.membership.latency import HedgeDelay
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.ports import Store
from dynafs.quorum import QuorumPolicy, QuorumWrite, Verdict
from dynafs.replica.fence import Fence
from dynafs.ring.view import RingView
from dynafs.wire.messages import ReadChunk, StoreChunk
from dynafs.wire.segments import chunk_id_of

log = get_logger()

#: Copies being given back to owners that lacked them; more are left to the next read that notices.
REPAIRS_MAX = 16

ChunkBytes = bytes | bytearray


class _Uses:
    """Counts who uses a body; tells once that nobody does any more."""

    def __init__(self, on_settled: Callable[[], None] | None) -> None:
        self._on_settled, self._count = on_settled, 1

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        if not self._count and self._on_settled is not None:
            self._on_settled()


class ReplicatedChunks:
    """Writes and reads single chunks for the coordinator of a request."""

    def __init__(self, cluster: Cluster, store: Store, fence: Fence, latency: HedgeDelay) -> None:
        self._cluster, self._store, self._fence, self._latency = cluster, store, fence, latency
        self.repairs = BoundedTasks("repair of chunks", REPAIRS_MAX)

    async def store(
        self,
        chunk_id: bytes,
        upload_id: bytes,
        key: bytes,
        body: ChunkBytes,
        policy: QuorumPolicy,
        on_settled: Callable[[], None] | None = None,
    ) -> QuorumWrite:
        """Store a chunk at all its owners; return when W hold it. Raises WriteQuorumLost (nothing became visible).

        on_settled is called exactly once, when nobody uses `body` any more.
        """
        uses = _Uses(on_settled)

        async def attempt(view: RingView) -> QuorumWrite:
            uses.begin()
            version = 0 if policy.is_available else view.version
            request = StoreChunk(chunk_id, upload_id, key, ring_version=version)
            fold = await self._begin(request, body, policy, view, uses.end).run()
            if fold.verdict is not Verdict.MET:
                metrics.quorum_lost.labels("chunk_write").inc()
                raise WriteQuorumLost(policy.w, fold.acked, fold.failed, outcome="not_written")
            return fold

        try:
            return await self._cluster.in_view(attempt)
        finally:
            uses.end()

    def _begin(
        self,
        request: StoreChunk,
        body: ChunkBytes,
        policy: QuorumPolicy,
        view: RingView,
        on_settled: Callable[[], None],
    ) -> QuorumWriter:
        chunk_id = request.chunk_id
        if policy.is_available:
            return sloppy_run(self._cluster, chunk_id, request, body, policy.w, on_settled)
        cluster, fold = self._cluster, QuorumWrite(policy.w, *view.writers(chunk_id))
        run = QuorumWriter(cluster, request, body, fold, StandIns(partial(view.fallbacks, chunk_id)), on_settled)
        for node in fold.waiting:
            if node == cluster.me:
                run.follow(node, self._put_here(request, body))
            else:
                run.send(node)
        return run

    def _put_here(self, request: StoreChunk, body: ChunkBytes) -> "asyncio.Future[None]":
        try:
            self._fence.check(request.ring_version)
        except DynafsError as error:
            refused: asyncio.Future[None] = self._cluster.loop.create_future()
            refused.set_exception(error)
            return refused
        chunk_id, upload_id, key = request.chunk_id, request.upload_id, request.key
        return self._fence.store(self._store.put_chunk(chunk_id, upload_id, key, body, is_verified=True))

    def read_now(self, chunk_id: bytes) -> bytearray | None:
        """Return the verified chunk when this node has it in memory, None when `read` has to be awaited."""
        try:
            return self._store.read_chunk_now(chunk_id)
        except DynafsError:
            return None

    async def read(self, chunk_id: bytes, upload_id: bytes, key: bytes) -> ChunkBytes:
        """Return the verified chunk from the nearest owner that has it; owners found without one get it back.

        Raises ChunkUnavailable when no owner can show a good copy.
        """
        race = _ChunkRace(self._cluster, self._store, chunk_id, self._latency.hedge_s)
        started = self._cluster.loop.time()
        body = await race.run()
        self._latency.add(self._cluster.loop.time() - started)
        for node in race.lacking:
            self._repair_later(node, StoreChunk(chunk_id, upload_id, key), body)
        return body

    async def look(self, chunk_id: bytes) -> ChunkBytes:
        """Return the verified chunk without mending anything: who asks does not know which file it belongs to."""
        return await _ChunkRace(self._cluster, self._store, chunk_id, self._latency.hedge_s).run()

    def _repair_later(self, node: str, request: StoreChunk, body: ChunkBytes) -> None:
        if not self.repairs.is_full:
            self.repairs.begin(self._repair(node, request, body))

    async def _repair(self, node: str, request: StoreChunk, body: ChunkBytes) -> None:
        try:
            await self._cluster.ask(node, request, body, is_bulk=True)
        except DynafsError as error:
            log.warning("chunk.repair_failed", chunk=request.chunk_id.hex(), node=node, code=failure_code(error))
        else:
            metrics.chunks_repaired.inc()
            log.info("chunk.repaired", chunk=request.chunk_id.hex(), node=node)


class _ChunkRace:
    """Asks owners one after the other, the next when one fails or is slow; the first good copy wins."""

    #: codes of an owner that answered but has no good copy
    LACKING = ("chunk_missing", "chunk_corrupt", "chunk_mismatch")

    def __init__(self, cluster: Cluster, store: Store, chunk_id: bytes, hedge_s: float) -> None:
        self._cluster, self._store, self._chunk_id, self._hedge_s = cluster, store, chunk_id, hedge_s
        # A fallback may have a copy as well, and any good copy is right.
        spare = [node for node in cluster.fallbacks(chunk_id) if cluster.is_up(node)]
        self._untried = [*cluster.in_reading_order(cluster.owners(chunk_id)), *spare]
        self._running: dict[asyncio.Task[ChunkBytes], str] = {}
        #: {node: code}
        self.failures: dict[str, str] = {}

    @property
    def lacking(self) -> list[str]:
        """Owners that should be given a copy."""
        owners = self._cluster.owners(self._chunk_id)
        return [node for node, code in self.failures.items() if node in owners and code in self.LACKING]

    async def run(self) -> ChunkBytes:
        """Return the first good copy."""
        self._cluster.hedges.count_read()
        may_ask = True
        try:
            async with asyncio.timeout(self._cluster.timeout_s):
                while self._untried or self._running:
                    if self._untried and may_ask:
                        node = self._untried.pop(0)
                        self._running[asyncio.create_task(self._read_at(node))] = node
                    running = len(self._running)
                    due_s = self._cluster.loop.time() + self._hedge_s
                    body = await self._wait_one()
                    if body is not None:
                        return body
                    may_ask = len(self._running) < running or self._may_hedge(due_s)
        except TimeoutError:
            self.failures.update(dict.fromkeys(self._running.values(), "peer_timeout"))
        finally:
            for task in self._running:
                # Those that lost the race in the same moment have ended; nobody asks what became of them.
                if task.done():
                    note_failure(task)
                task.cancel()
        raise ChunkUnavailable(self._chunk_id.hex(), self.failures)

    async def _wait_one(self) -> ChunkBytes | None:
        """Wait for an answer, or until the next owner is worth asking; None means ask on."""
        timeout_s = self._hedge_s if self._untried else None
        await asyncio.wait(self._running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in [one for one in self._running if one.done()]:
            node = self._running.pop(task)
            try:
                return task.result()
            except DynafsError as error:
                self.failures[node] = failure_code(error)
        return None

    def _may_hedge(self, due_s: float) -> bool:
        """Return whether a further owner may be asked because the others are late."""
        if not self._cluster.hedges.is_behind(due_s):
            self._cluster.note_silence(self._running.values(), self._hedge_s)
        return self._cluster.hedges.admit(due_s)

    async def _read_at(self, node: str) -> ChunkBytes:
        if node == self._cluster.me:
            return await self._store.read_chunk(self._chunk_id)
        asked_s = self._cluster.loop.time()
        try:
            answer = await self._cluster.ask(node, ReadChunk(self._chunk_id), is_bulk=True)
        finally:
            # Also when another was faster and this is not waited for any more.
            self._cluster.speeds.add(node, self._cluster.loop.time() - asked_s)
        if (actual := chunk_id_of(answer.body)) != self._chunk_id:
            raise ChunkMismatch(self._chunk_id.hex(), actual.hex())
        return answer.body
