"""The dispatcher: which component of a node answers which request of a peer, or of the node itself."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from dynafs.errors import LocalProtocolError
from dynafs.ports import Answer, Storing
from dynafs.wire.message import Message
from dynafs.wire.messages import Request

Q = TypeVar("Q", bound=Message)

#: Answers one request: (peer, request, body).
Handler = Callable[[str, Q, bytes | bytearray], Answer[Any] | Storing | Awaitable[Answer[Any]]]


class Dispatcher:
    """A table of request types and the handlers that components register for them. One per node."""

    def __init__(self) -> None:
        self._handlers: dict[type[Message], Handler[Any]] = {}

    def register(self, kind: type[Q], handler: Handler[Q]) -> None:
        """Have a handler answer all requests of one type; each type has one handler."""
        assert kind not in self._handlers, kind
        self._handlers[kind] = handler

    def handle(
        self, peer: str, request: Request, body: bytes | bytearray
    ) -> Answer[Any] | Storing | Awaitable[Answer[Any]]:
        """Answer one request; reads of what is cached are answered at once. Raises DynafsError.

        peer: the node that sent it, this one included.
        """
        handler = self._handlers.get(type(request))
        if handler is None:
            raise LocalProtocolError(f"this node does not serve {type(request).__name__}")
        return handler(peer, request, body)
