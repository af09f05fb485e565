"""One write at a quorum of owners, with fallbacks that stand in for those that cannot take it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from dynafs.errors import ChunkMismatch, ClockSkewed, PeerTimeout, RingOutdated, failure_code
from dynafs.jobs.tasks import note_failure
from dynafs.membership.cluster import Cluster
from dynafs.ports import Answer, Body
from dynafs.quorum import QuorumWrite, Verdict
from dynafs.wire.messages import StoreChunk, StoreRecord

#: Bodies above this go by the connections for bulk.
BULK_SIZE_BYTES_MIN = 64 << 10
#: What a fallback would refuse as well, or must not take.
NOT_HINTED = (ChunkMismatch.code, ClockSkewed.code, RingOutdated.code, "cancelled")


class StandIns(NamedTuple):
    """What stands in for owners that fail. fallbacks: returns the nodes that may; called when the first owner fails.
    is_sloppy: whether they count like owners."""

    fallbacks: Callable[[], Sequence[str]]
    is_sloppy: bool = False


class QuorumWriter:
    """Drives one QuorumWrite: resolves `decided` at the verdict, calls `on_settled` after the last straggler.

    For each owner that fails, a stand-in that is up keeps the write and a hint for it. In a sloppy quorum stand-ins
    count like owners.
    """

    def __init__(
        self,
        cluster: Cluster,
        request: StoreRecord | StoreChunk,
        body: Body,
        fold: QuorumWrite,
        stand_ins: StandIns,
        on_settled: Callable[[], None] | None = None,
    ) -> None:
        """on_settled is called exactly once, when `body` is not used for this any more."""
        self.fold = fold
        self._cluster, self._request, self._body, self._on_settled = cluster, request, body, on_settled
        self._fallbacks, self._is_sloppy = _lazily(stand_ins.fallbacks), stand_ins.is_sloppy
        #: {stand-in: owner}
        self._owner_of: dict[str, str] = {}
        self.decided: asyncio.Future[None] = cluster.loop.create_future()
        self._open: dict[str, None] = {}
        self._hints_open = 0
        self.is_settled = False
        cluster.deadlines.add(self)

    def send(self, node: str, hint_for: str = "") -> None:
        """Send the write to an owner, or to who stands in for one and counts."""
        if hint_for:
            self._owner_of[node] = hint_for
        self.follow(node, self._ask(node, hint_for))

    def _ask(self, node: str, hint_for: str) -> "asyncio.Future[Answer[Any]]":
        request = self._request
        if hint_for:
            request = msgspec.structs.replace(request, hint_for=hint_for, is_counted=self._is_sloppy)
        return self._cluster.ask(node, request, self._body, is_bulk=len(self._body) > BULK_SIZE_BYTES_MIN)

    async def run(self) -> QuorumWrite:
        """Return the fold at its verdict, MET or LOST; stragglers go on in the background."""
        self._check()
        await self.decided
        return self.fold

    def follow(self, node: str, future: "asyncio.Future[Answer[Any]] | asyncio.Future[None]") -> None:
        """Fold this owner's answer in when it comes."""
        self._open[node] = None
        future.add_done_callback(partial(self._on_answer, node))

    def _on_answer(self, node: str, future: "asyncio.Future[Answer[Any]] | asyncio.Future[None]") -> None:
        if node not in self._open:
            # Too late: it counts as failed, and somebody stands in for it.
            note_failure(future)
            return
        del self._open[node]
        if future.cancelled():
            self._fail(node, "cancelled")
        elif (error := future.exception()) is not None:
            self._fail(node, failure_code(error))
        else:
            self.fold.add_ack(node)
        self._check()

    def _fail(self, node: str, code: str) -> None:
        self.fold.add_failure(node, code)
        if code not in NOT_HINTED:
            self._stand_in_for(self._owner_of.get(node, node))

    def _stand_in_for(self, owner: str) -> None:
        for node in self._fallbacks:
            if not self._cluster.is_up(node):
                continue
            if self._is_sloppy:
                self.fold.add_target(node)
                self.send(node, owner)
            else:
                self._hints_open += 1
                self._ask(node, owner).add_done_callback(partial(self._on_hinted, owner))
            return

    def _on_hinted(self, owner: str, future: "asyncio.Future[Answer[Any]]") -> None:
        self._hints_open -= 1
        if future.cancelled() or future.exception() is not None:
            self._stand_in_for(owner)
        self._check()

    def expire(self) -> None:
        """Count every owner that has not answered by now as failed."""
        late, self._open = self._open, {}
        for node in late:
            self._fail(node, PeerTimeout.code)
        self._check()

    def _check(self) -> None:
        if not self.decided.done() and self.fold.verdict is not Verdict.PENDING:
            self.decided.set_result(None)
        if self.fold.is_settled and not self._hints_open:
            self.is_settled, self._body = True, b""
            if self._on_settled is not None:
                settled, self._on_settled = self._on_settled, None
                settled()


def _lazily(nodes: Callable[[], Sequence[str]]) -> Iterator[str]:
    yield from nodes()


async def store_at(
    cluster: Cluster,
    request: StoreRecord,
    body: Body,
    fold: QuorumWrite,
    fallbacks: Callable[[], Sequence[str]] = tuple,
) -> QuorumWrite:
    """Send one record to all that a fold waits for and return it at its verdict, MET or LOST; stragglers go on in the
    background."""
    run = QuorumWriter(cluster, request, body, fold, StandIns(fallbacks))
    for node in fold.waiting:
        run.send(node)
    return await run.run()


def sloppy_run(
    cluster: Cluster,
    place: bytes,
    request: StoreRecord | StoreChunk,
    body: Body,
    w: int,
    on_settled: Callable[[], None] | None = None,
) -> QuorumWriter:
    """Send one write to n nodes that are up, owners first; stand-ins count. Return what waits for W of them."""
    standing = cluster.standing(place)
    chosen = [node for node, _ in standing]

    def spare() -> list[str]:
        return [node for node in cluster.fallbacks(place) if node not in chosen]

    stand_ins = StandIns(spare, is_sloppy=True)
    run = QuorumWriter(cluster, request, body, QuorumWrite(w, chosen), stand_ins, on_settled)
    for node, owner in standing:
        run.send(node, owner)
    return run
