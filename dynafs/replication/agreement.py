"""Answers that owners agree on, or that simply all come: nearly all of them.

Rule: this path may be taken while the ring is stable and the bucket strong. A read ends here when R >= W and R owners
hold the same record, because W hold it then and there is nothing to repair; a write learns here what it must stand
above when the first R owners reply. Whenever an owner is late, fails, or holds something else, there is no result, and
the general read (`records.RecordReader`) begins from the start.
"""

import asyncio
from functools import partial

from dynafs.causality.versions import join
from dynafs.errors import DynafsError, RemoteProtocolError
from dynafs.files.version import Record
from dynafs.ports import Answer
from dynafs.quorum import QuorumPolicy
from dynafs.replication.reach import Reach
from dynafs.ring import file_hash
from dynafs.wire.messages import ReadRecord, RecordReply
from dynafs.wire.records import decode_context, decode_record


def may_agree(reach: Reach, policy: QuorumPolicy) -> bool:
    """Return whether equal answers of R owners are all that a read takes."""
    return policy.r >= policy.w and is_plain(reach, policy)


def is_plain(reach: Reach, policy: QuorumPolicy) -> bool:
    """Return whether there is one set of owners, and only owners count."""
    return not policy.is_available and reach.view.is_stable


async def read_agreed(reach: Reach, key: bytes, r: int, late_s: float) -> Record | None:
    """Return the record that the first R owners hold alike, None when they do not, or not within `late_s`."""
    view = reach.view
    answers, request = _Answers(reach, r), ReadRecord(key, whole=True, ring_version=view.version)
    for node in reach.in_reading_order(view.readers(file_hash(key)))[:r]:
        answers.follow(node, reach.ask(node, request))
        request = ReadRecord(key, ring_version=view.version)
    if not await answers.all_come(late_s):
        return None
    digest: bytes | None = None
    body: bytes | bytearray = b""
    for reply, data in answers.come:
        if digest not in (None, reply.digest):
            return None
        digest, body = reply.digest, data or body
    try:
        return decode_record(body).resolved()
    except RemoteProtocolError:
        return None


async def read_contexts(reach: Reach, key: bytes, r: int, wall_ms: int, late_s: float) -> dict[str, int] | None:
    """Return the joined contexts of the first R owners, None when one fails or is late. wall_ms: see `ReadRecord`."""
    view, answers = reach.view, _Answers(reach, r)
    request = ReadRecord(key, context=True, wall_ms=wall_ms, ring_version=view.version, context_in_body=True)
    for node in reach.in_reading_order(view.readers(file_hash(key)))[:r]:
        answers.follow(node, reach.ask(node, request))
    if not await answers.all_come(late_s):
        return None
    joined: dict[str, int] = {}
    try:
        for reply, data in answers.come:
            if context := context_of(reply, data):
                joined = join(joined, context)
    except RemoteProtocolError:
        return None
    return joined


def context_of(reply: RecordReply, body: bytes | bytearray) -> dict[str, int]:
    """Return the context that a reply carries, wherever it is. Raises RemoteProtocolError."""
    return decode_context(body) if reply.context_in_body else reply.context


class _Answers:
    """Waits for the answers of a few owners; gives up at the first that fails."""

    __slots__ = ("_all_came", "_began_s", "_left", "_reach", "come")

    def __init__(self, reach: Reach, count: int) -> None:
        self._reach, self._left, self._began_s = reach, count, reach.loop.time()
        #: (reply, body) in the order in which they came
        self.come: list[tuple[RecordReply, bytes | bytearray]] = []
        self._all_came: asyncio.Future[bool] = reach.loop.create_future()

    def follow(self, node: str, future: "asyncio.Future[Answer]") -> None:
        """Take the answer of an owner in when it comes, at once if it is here."""
        if future.done():
            self._on_answer(node, future)
        else:
            future.add_done_callback(partial(self._on_answer, node))

    def _on_answer(self, node: str, future: "asyncio.Future[Answer]") -> None:
        try:
            message, body = future.result()
        except (DynafsError, asyncio.CancelledError):
            self._decide(is_good=False)
            return
        if node != self._reach.me:
            self._reach.speeds.add(node, self._reach.loop.time() - self._began_s)
        if not isinstance(message, RecordReply):
            self._decide(is_good=False)
            return
        self.come.append((message, body))
        self._left -= 1
        if not self._left:
            self._decide(is_good=True)

    def _decide(self, *, is_good: bool) -> None:
        if not self._all_came.done():
            self._all_came.set_result(is_good)

    async def all_come(self, late_s: float) -> bool:
        """Return whether all answers come before they are late."""
        if not self._all_came.done():
            timer = self._reach.loop.call_later(late_s, partial(self._decide, is_good=False))
            try:
                await self._all_came
            finally:
                timer.cancel()
        return self._all_came.result()
