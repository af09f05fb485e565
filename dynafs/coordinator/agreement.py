"""Answers that owners agree on, or that simply all come: nearly all of them.

Rule: this path may be taken while the ring is stable and the bucket strong. A read ends here when R >= W and R owners
hold the same record, because W hold it then and there is nothing to repair; a write learns here what it must stand
above when the first R owners reply. Whenever an owner is late, fails, or holds something else, there is no result, and
the general read (`records.ReplicatedRecords`) goes on with the questions that were asked here.
"""

import asyncio
from functools import partial
from typing import NamedTuple

from dynafs.causality.version_set import join
from dynafs.errors import DynafsError, RemoteProtocolError
from dynafs.files.version import Record
from dynafs.jobs.tasks import note_failure
from dynafs.membership.cluster import Cluster
from dynafs.ports import Answer
from dynafs.quorum import QuorumPolicy
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.messages import ReadRecord, RecordReply
from dynafs.wire.records import decode_context, decode_record


def may_agree(cluster: Cluster, policy: QuorumPolicy) -> bool:
    """Return whether equal answers of R owners are all that a read takes."""
    return policy.r >= policy.w and is_plain(cluster, policy)


def is_plain(cluster: Cluster, policy: QuorumPolicy) -> bool:
    """Return whether there is one set of owners, and only owners count."""
    return not policy.is_available and cluster.view.is_stable


def context_of(reply: RecordReply, body: bytes | bytearray) -> dict[str, int]:
    """Return the context that a reply carries, wherever it is. Raises RemoteProtocolError."""
    return decode_context(body) if reply.context_in_body else reply.context


class Asked(NamedTuple):
    """A question to another node. whole: for its record. asked_s: at this loop time."""

    node: str
    future: "asyncio.Future[Answer[RecordReply]]"
    whole: bool
    asked_s: float


class FirstAnswers:
    """Asks the first R owners of a key, and waits until all have replied, or one fails or is late."""

    __slots__ = (
        "_asked_s",
        "_cluster",
        "_come",
        "_decided",
        "_futures",
        "_key",
        "_late_s",
        "_left",
        "_nodes",
        "_spare",
        "_view",
        "is_late",
    )  # fmt: skip

    def __init__(self, cluster: Cluster, key: bytes, r: int, late_s: float) -> None:
        """late_s: after which an owner is late."""
        self._cluster, self._key, self._late_s, self._left = cluster, key, late_s, r
        self._view = view = cluster.view
        nodes = cluster.in_reading_order(view.readers(file_hash(key)))
        self._nodes, self._spare = nodes[:r], len(nodes) - r
        #: {other node: its answer}
        self._futures: dict[str, asyncio.Future[Answer[RecordReply]]] = {}
        self._asked_s = 0.0
        #: (reply, body) in the order in which they came
        self._come: list[tuple[RecordReply, bytes | bytearray]] = []
        #: whether a further owner may be asked at once
        self.is_late = False
        self._decided: asyncio.Future[bool] = cluster.loop.create_future()

    async def read_record(self, wall_ms: int = 0) -> Record | None:
        """Return the record that all hold alike, None when they do not, or do not reply in time. wall_ms: see
        `ReadRecord`."""
        key, version = self._key, self._view.version
        whole, digest = ReadRecord(key, True, False, wall_ms, version), ReadRecord(key, False, False, wall_ms, version)  # noqa: FBT003
        come = await self._ask(whole, digest)
        if not come:
            return None
        (one, body), *rest = come
        for reply, data in rest:
            if reply.digest != one.digest:
                return None
            body = data or body
        try:
            return decode_record(body).resolved()
        except RemoteProtocolError:
            return None

    async def read_context(self, wall_ms: int) -> dict[str, int] | None:
        """Return the joined contexts of all, None when one fails or is late. wall_ms: see `ReadRecord`."""
        request = ReadRecord(
            self._key, context=True, wall_ms=wall_ms, ring_version=self._view.version, context_in_body=True
        )
        come = await self._ask(request, request)
        joined: dict[str, int] = {}
        try:
            for reply, data in come:
                if context := context_of(reply, data):
                    joined = join(joined, context)
        except RemoteProtocolError:
            return None
        return joined if come else None

    async def _ask(self, request: ReadRecord, others: ReadRecord) -> list[tuple[RecordReply, bytes | bytearray]]:
        """Return the answers, none unless all come in time. request: to the first node. others: to the rest."""
        cluster = self._cluster
        self._asked_s = asked_s = cluster.loop.time()
        cluster.hedges.count_read()
        for node in self._nodes:
            if node == cluster.me:
                self._ask_here(request)
            else:
                self._follow(node, cluster.ask(node, request))
            request = others
        if not self._decided.done() and self._spare:
            cluster.hedges.watch(self, asked_s + self._late_s)
        is_good = await self._decided
        # `Hedges` may keep this a while; it must not keep bodies.
        come, self._come = self._come, []
        if not is_good:
            return []
        self._futures.clear()
        return come

    def _ask_here(self, request: ReadRecord) -> None:
        """Ask this node, which nearly always answers at once."""
        try:
            answer = self._cluster.serve(request)
        except DynafsError:
            self._decide(is_good=False)
        else:
            if isinstance(answer, Answer):
                self._add(answer)
            else:
                self._follow(self._cluster.me, answer)

    def _follow(self, node: str, future: "asyncio.Future[Answer[RecordReply]]") -> None:
        """Take an answer in when it comes, at once if it is here."""
        self._futures[node] = future
        if future.done():
            self._on_answer(node, future)
        else:
            future.add_done_callback(partial(self._on_answer, node))

    def _on_answer(self, node: str, future: "asyncio.Future[Answer[RecordReply]]") -> None:
        if self._decided.done():
            # The general read has it, or the client has gone.
            note_failure(future)
            return
        try:
            answer = future.result()
        except (DynafsError, asyncio.CancelledError):
            self._decide(is_good=False)
            return
        if node != self._cluster.me:
            self._cluster.speeds.add(node, self._cluster.loop.time() - self._asked_s)
        self._add(answer)

    def _add(self, answer: Answer[RecordReply]) -> None:
        self._left -= 1
        self._come.append((answer.message, answer.body))
        if not self._left:
            self._decide(is_good=True)

    def _decide(self, *, is_good: bool) -> None:
        if not self._decided.done():
            self._decided.set_result(is_good)

    @property
    def is_decided(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._decided.done()

    def on_late(self, due_s: float) -> None:
        """Let the general read ask a further owner, or wait as long again."""
        cluster, now_s = self._cluster, self._cluster.loop.time()
        if not cluster.hedges.is_behind(due_s):
            cluster.note_silence([node for node, one in self._futures.items() if not one.done()], now_s - self._asked_s)
        if cluster.hedges.admit(due_s):
            self.is_late = True
            self._decide(is_good=False)
        else:
            cluster.hedges.watch(self, now_s + self._late_s)

    def hand_over(self, view: RingView) -> list[Asked]:
        """Return, once, the questions that were asked, for a read that goes by this view; none if it is another one."""
        futures, self._futures = self._futures, {}
        if view is not self._view:
            return []
        first = self._nodes[0]
        return [Asked(node, future, node == first, self._asked_s) for node, future in futures.items()]
