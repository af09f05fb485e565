"""Refill: a node that starts with an empty disk answers no reads until it knows what it may have forgotten.

Problem: a node that acknowledged writes and lost its disk would swear that they never were; together with one stale
owner that makes a read quorum.

Rule: an empty data directory is a new generation of its node. It takes writes as soon as it knows which ring stands,
which a lost disk makes it ask its peers for, but refuses to tell what it holds of a partition until it has pulled the
records of every other owner of that partition. Peers remember under which
generation they first met each node. If one of them knew this node under another, its disk was lost, and it first waits
until every operation that may have counted an answer of its former self is decided. If none did and a majority
answered, the cluster is being founded, and members that are not there yet are not waited for.

Alternatives: refilling on demand cannot know what to ask for; counting the node and hoping is what Riak's and Swift's
fresh disks do. Two disks lost at once with W = 2 lose data whatever is done here.

Tested by the scenario `lost-disk` and by random plans with lost disks in the simulator, and with real nodes.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import msgspec

from dynafs.errors import DynafsError, failure_code
from dynafs.membership import DiskHistory, RingConsensus
from dynafs.membership.cluster import Cluster, Merge
from dynafs.observe.events import get_logger
from dynafs.observe.supervision import supervised
from dynafs.peers.dispatcher import Dispatcher
from dynafs.ports import Answer, Store
from dynafs.ring import file_hash
from dynafs.wire.messages import PulledRecords, PullRecords
from dynafs.wire.rows import reply_rows

log = get_logger()

#: How often to look for peers that came up, and the longest pause after one could not be pulled from.
LOOK_S = 0.05
RETRY_S_MAX = 2.0
#: Records asked for at once.
PAGE_RECORDS = 256
#: Deadlines of one operation after which no answer of a former self counts any more: a read that met it, asked others
#: for whole records and then repaired takes three.
DECIDED_DEADLINES = 3


class Refill:
    """Pulls a new node's records from its peers, and serves peers that do so."""

    def __init__(
        self, cluster: Cluster, store: Store, disk: DiskHistory, consensus: RingConsensus, merge: Merge
    ) -> None:
        """merge: makes one record part of what is held."""
        self._cluster, self._store, self._disk, self._consensus, self._merge = cluster, store, disk, consensus, merge
        if not cluster.others:
            disk.note_alone()
        self._task: asyncio.Task[None] | None = None
        #: whether what a former self said can count no more
        self._is_decided = False
        #: peers that answered in this life
        self._answered: dict[str, None] = {}

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer peers that refill their disks."""
        dispatcher.register(PullRecords, lambda peer, request, _body: self.serve(peer, request))

    def start(self) -> None:
        """Refill in the background if that is needed; else only make ourselves known to peers that never met us."""
        self._task = supervised("refill", self._greet if self._disk.is_complete else self._run)

    async def _greet(self) -> None:
        """Ask every peer for no records at all, so that both sides remember whom they met."""
        strangers = [node for node in self._cluster.others if not self._disk.has_met(node)]
        while strangers:
            for node in list(strangers):
                with suppress(DynafsError):
                    answer = await self._cluster.ask(node, PullRecords(b"", 0, self._disk.generation))
                    await self._disk.meet(node, answer.message.generation)
                    strangers.remove(node)
            await asyncio.sleep(RETRY_S_MAX)

    async def close(self) -> None:
        """Stop; the next start goes on with the peers that are missing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = LOOK_S
        while True:
            if self._disk.is_lost and not self._is_decided:
                # Every operation that may have counted an answer of our former self comes to its end meanwhile.
                await asyncio.sleep(DECIDED_DEADLINES * self._cluster.timeout_s)
                self._is_decided = True
            done = [await self._try(self._pull(node)) for node in self._cluster.others if self._is_wanted(node)]
            if self._is_enough() and await self._try(self._finish()):
                log.info("node.refilled", pulled=self._disk.pulled, is_lost=self._disk.is_lost)
                return
            pause_s = LOOK_S if all(done) else min(2 * pause_s, RETRY_S_MAX)
            await asyncio.sleep(pause_s)

    def _is_wanted(self, node: str) -> bool:
        must_wait = self._disk.is_lost and not self._is_decided
        return not must_wait and node not in self._disk.pulled and self._cluster.is_up(node)

    def _is_enough(self) -> bool:
        if all(node in self._disk.pulled for node in self._cluster.others):
            return True
        return not self._disk.is_lost and 2 * (len(self._answered) + 1) > len(self._cluster.others) + 1

    async def _try(self, work: Coroutine[None, None, None]) -> bool:
        """Do something that a peer or the disk may refuse; return whether it was done."""
        try:
            await work
        except DynafsError as error:
            log.debug("node.refill_delayed", code=failure_code(error))
            return False
        return True

    async def _finish(self) -> None:
        if self._disk.is_lost:
            await self._consensus.remember(self._cluster.others)
        await self._disk.complete()

    async def _pull(self, node: str) -> None:
        after: bytes | None = b""
        while after is not None:
            request = PullRecords(after, PAGE_RECORDS, self._disk.generation)
            answer = await self._cluster.ask(node, request, is_bulk=True)
            reply = answer.message
            await self._disk.meet(node, reply.generation)
            self._answered[node] = None
            if reply.knows_other and not self._disk.is_lost:
                log.warning("node.disk_lost", generation=self._disk.generation)
                await self._disk.note_loss()
                return
            rows = reply_rows(answer.body, "key and record")
            await asyncio.gather(*(self._merge(key, data) for key, data in rows))
            after = reply.after
        await self._disk.note_pulled(node)

    async def serve(self, peer: str, request: PullRecords) -> Answer[PulledRecords]:
        """Return the next records of partitions that the peer owns."""
        knows_other = await self._disk.meet(peer, request.generation)
        page = await self._store.scan_records(request.after, min(request.limit, PAGE_RECORDS))
        rows = [(key, data) for key, data in page.rows if peer in self._cluster.owners(file_hash(key))]
        reply = PulledRecords(page.after, knows_other, self._disk.generation)
        return Answer(reply, msgspec.msgpack.encode(rows))
