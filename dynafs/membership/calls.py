"""Calls: one way to send a request to any node, this one included."""

import asyncio
from typing import cast

from dynafs.errors import DynafsError
from dynafs.ports import Answer, Body, Peers, R, RequestHandler, Storing
from dynafs.wire.message import Question
from dynafs.wire.messages import Request


class Calls:
    """Sends requests to peers, and serves those of this node itself."""

    def __init__(self, me: str, peers: Peers, handle_locally: RequestHandler, timeout_s: float) -> None:
        self.me, self.timeout_s = me, timeout_s
        self._peers, self._handle_locally = peers, handle_locally
        self._loop = asyncio.get_running_loop()

    def ask(
        self,
        node: str,
        request: Question[R],
        body: Body = b"",
        *,
        is_bulk: bool = False,
        timeout_s: float | None = None,
    ) -> "asyncio.Future[Answer[R]]":
        """Send a request to a node or serve it here. The future fails with DynafsError.

        What this node stores for itself resolves to None instead of Stored; callers look only whether it failed.
        """
        if node != self.me:
            return self._peers.call(node, request, body, timeout_s=timeout_s or self.timeout_s, is_bulk=is_bulk)
        future: asyncio.Future[Answer[R]] = self._loop.create_future()
        try:
            answer = self.serve(request, body if isinstance(body, bytes | bytearray) else bytes(body))
        except DynafsError as error:
            future.set_exception(error)
            return future
        if isinstance(answer, Answer):
            future.set_result(answer)
            return future
        return answer

    def serve(self, request: Question[R], body: bytes | bytearray = b"") -> "Answer[R] | asyncio.Future[Answer[R]]":
        """Serve a request of this node's own. Raises DynafsError."""
        answer = self._handle_locally(self.me, cast("Request", request), body)
        if isinstance(answer, Answer):
            return answer
        if isinstance(answer, Storing):
            return cast("asyncio.Future[Answer[R]]", answer.future)
        return asyncio.ensure_future(answer)
