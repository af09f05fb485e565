"""One read at a quorum of owners: those that fail are replaced by others, and those that are late by hedges."""

import asyncio
from functools import partial
from typing import NamedTuple

from dynafs.coordinator.agreement import Asked, FirstAnswers, context_of
from dynafs.errors import DynafsError, ReadQuorumLost, failure_code
from dynafs.membership.cluster import Cluster
from dynafs.observe import metrics
from dynafs.ports import Answer
from dynafs.quorum import QuorumPolicy, QuorumRead, Verdict
from dynafs.ring import file_hash
from dynafs.ring.view import RingView
from dynafs.wire.messages import ReadRecord, RecordReply
from dynafs.wire.records import decode_record


class Wanted(NamedTuple):
    """What a read is to bring: the record, or the contexts for a write that will be stamped by a clock that shows
    wall_ms."""

    key: bytes
    policy: QuorumPolicy
    wall_ms: int = 0


class ReadRun:
    """Asks owners until R have answered: R at first, one more for each that fails or is slow."""

    def __init__(
        self, cluster: Cluster, wanted: Wanted, view: RingView, hedge_s: float, begun: FirstAnswers | None
    ) -> None:
        """begun: its questions are not asked again."""
        key, policy, wall_ms = wanted.key, wanted.policy, wanted.wall_ms
        self._cluster, self._key, self._hedge_s = cluster, key, hedge_s
        self._whole, self._wall_ms = not wall_ms, wall_ms
        self._begun: list[Asked] = begun.hand_over(view) if begun is not None else []
        #: whether a hedge was admitted before this began
        self._is_hedged = begun is not None and begun.is_late and bool(self._begun)
        self._version = 0 if policy.is_available else view.version
        place, also = file_hash(key), list[str]()
        if policy.is_available:
            # Owners first: a fallback has only what was written while they were away.
            standing = cluster.standing(place)
            owners = tuple(node for node, owner in standing if not owner)
            self._untried = [*cluster.in_reading_order(owners), *(node for node, owner in standing if owner)]
        else:
            readers = view.readers(place)
            self._untried = list(cluster.in_reading_order(readers))
            if not wall_ms:
                also = [node for nodes in view.writers(place) if nodes != readers for node in nodes]
        self.fold = QuorumRead(policy.r, self._untried, also, policy.w if also else 0)
        #: asked at once: who reads is told what both sets of owners hold
        self._at_once = [node for node in self._untried if node in also]
        self._at_once += [node for node in also if node not in self._untried]
        self.contexts: list[dict[str, int]] = []
        self._asked_s: dict[str, float] = {}
        self._decided: asyncio.Future[None] = cluster.loop.create_future()

    async def run(self) -> QuorumRead:
        """Return the fold at its verdict; raise ReadQuorumLost when that is LOST."""
        timer = self._cluster.loop.call_later(self._cluster.timeout_s, self._expire)
        self._ask_first()
        self._check()
        if not self._decided.done() and not self._is_hedged:
            self._cluster.hedges.watch(self, self._cluster.loop.time() + self._hedge_s)
        try:
            await self._decided
        finally:
            timer.cancel()
        if self.fold.verdict is not Verdict.MET:
            metrics.quorum_lost.labels("read").inc()
            raise ReadQuorumLost(self.fold.r, self.fold.answered, self.fold.failed)
        return self.fold

    def _ask_first(self) -> None:
        begun, self._begun = self._begun, []
        if not begun:
            self._cluster.hedges.count_read()
        for one in begun:
            self._asked_s[one.node] = one.asked_s
        for one in begun:
            whole = one.whole and self._whole
            self._whole &= not whole
            self.follow(one.node, one.future, whole=whole)
        for _ in range(self.fold.r + self._is_hedged - len(begun)):
            self._ask_next()
        for node in self._at_once:
            if node not in self._asked_s:
                self._ask(node)

    def _ask_next(self) -> None:
        while self._untried:
            node = self._untried.pop(0)
            if node not in self._asked_s:
                self._ask(node)
                return

    def _ask(self, node: str) -> None:
        whole, self._whole = self._whole, False
        self._asked_s[node] = self._cluster.loop.time()
        question = ReadRecord(
            self._key, whole, bool(self._wall_ms), self._wall_ms, self._version, context_in_body=bool(self._wall_ms)
        )
        self.follow(node, self._cluster.ask(node, question), whole=whole)

    def follow(self, node: str, future: "asyncio.Future[Answer[RecordReply]]", *, whole: bool) -> None:
        """Fold an answer in when it comes, at once if it is here."""
        if future.done():
            self._on_answer(node, whole, future)
        else:
            future.add_done_callback(partial(self._on_answer, node, whole))

    def _on_answer(self, node: str, whole: bool, future: "asyncio.Future[Answer[RecordReply]]") -> None:  # noqa: FBT001
        if node != self._cluster.me:
            self._cluster.speeds.add(node, self._cluster.loop.time() - self._asked_s[node])
        try:
            self._fold_answer(node, future.result(), whole=whole)
        except (DynafsError, asyncio.CancelledError) as error:
            self.fold.add_failure(node, failure_code(error))
            # The one whole record was to come from this node: ask the next for its whole record instead.
            self._whole |= whole
            self._ask_next()
        self._check()

    def _fold_answer(self, node: str, answer: Answer[RecordReply], *, whole: bool) -> None:
        reply = answer.message
        context = context_of(reply, answer.body)
        if whole:
            self.fold.add_record(node, reply.digest, decode_record(answer.body))
        else:
            self.fold.add_digest(node, reply.digest)
        self.contexts.append(context)

    @property
    def is_decided(self) -> bool:
        """Whether the verdict stands."""
        return self._decided.done()

    def on_late(self, due_s: float) -> None:
        """Ask a further owner, once, or wait as long again."""
        cluster, now_s = self._cluster, self._cluster.loop.time()
        if all(node in self._asked_s for node in self._untried):
            return
        if not cluster.hedges.is_behind(due_s):
            for node in self.fold.pending:
                if node in self._asked_s:
                    cluster.note_silence([node], now_s - self._asked_s[node])
        if cluster.hedges.admit(due_s):
            self._ask_next()
        else:
            cluster.hedges.watch(self, now_s + self._hedge_s)

    def _expire(self) -> None:
        while self._untried:
            self.fold.add_failure(self._untried.pop(), "peer_timeout")
        for node in self.fold.pending:
            self.fold.add_failure(node, "peer_timeout")
        self._check()

    def _check(self) -> None:
        if not self._decided.done() and self.fold.verdict is not Verdict.PENDING:
            self._decided.set_result(None)
