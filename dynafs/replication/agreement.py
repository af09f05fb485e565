"""Reads that owners agree on: nearly all of them.

Rule: this path may be taken while the ring is stable and R >= W holds in a strong bucket: what R owners hold alike is
held by W then, so there is nothing to repair and nothing to merge. Whenever an owner is late, fails, or holds something
else, it gives no answer, and the general read (`records.RecordReader`) begins from the start.
"""

import asyncio
from functools import partial

from dynafs.errors import DynafsError, RemoteProtocolError
from dynafs.files.version import Record
from dynafs.ports import Answer
from dynafs.quorum import QuorumPolicy
from dynafs.replication.reach import Reach
from dynafs.ring import file_hash
from dynafs.wire.messages import ReadRecord, RecordReply
from dynafs.wire.records import decode_record


def may_agree(reach: Reach, policy: QuorumPolicy) -> bool:
    """Return whether equal answers of R owners are all that a read takes."""
    return policy.r >= policy.w and not policy.is_available and reach.view.is_stable


async def read_agreed(reach: Reach, key: bytes, policy: QuorumPolicy, late_s: float) -> Record | None:
    """Return the record that the first R owners hold alike, None when they do not, or not within `late_s`."""
    view = reach.view
    answers, request = _Answers(reach, policy.r), ReadRecord(key, whole=True, ring_version=view.version)
    for node in reach.in_reading_order(view.readers(file_hash(key)))[: policy.r]:
        answers.follow(node, reach.ask(node, request))
        request = ReadRecord(key, ring_version=view.version)
    return await answers.agreed(late_s)


class _Answers:
    """Waits for the answers of a few owners; gives up at the first that fails or differs."""

    __slots__ = ("_began_s", "_body", "_digest", "_is_agreed", "_left", "_reach")

    def __init__(self, reach: Reach, count: int) -> None:
        self._reach, self._left, self._began_s = reach, count, reach.loop.time()
        #: of the first answer
        self._digest: bytes | None = None
        self._body: bytes | bytearray = b""
        self._is_agreed: asyncio.Future[bool] = reach.loop.create_future()

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
            self._decide(is_agreed=False)
            return
        if node != self._reach.me:
            self._reach.speeds.add(node, self._reach.loop.time() - self._began_s)
        if not isinstance(message, RecordReply) or self._digest not in (None, message.digest):
            self._decide(is_agreed=False)
            return
        self._digest, self._left = message.digest, self._left - 1
        self._body = body or self._body
        if not self._left:
            self._decide(is_agreed=True)

    def _decide(self, *, is_agreed: bool) -> None:
        if not self._is_agreed.done():
            self._is_agreed.set_result(is_agreed)

    async def agreed(self, late_s: float) -> Record | None:
        """Return what all hold, None when that is not one record or an answer is late."""
        if not self._is_agreed.done():
            timer = self._reach.loop.call_later(late_s, partial(self._decide, is_agreed=False))
            try:
                await self._is_agreed
            finally:
                timer.cancel()
        if not self._is_agreed.result():
            return None
        try:
            return decode_record(self._body).resolved()
        except RemoteProtocolError:
            return None
