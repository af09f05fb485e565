"""One client request: aiohttp's, with an id, the headers of every response, and the rules about Expect and versions."""

from typing import TYPE_CHECKING

from aiohttp import EMPTY_PAYLOAD, HttpVersion10, HttpVersion11, web
from multidict import CIMultiDict

from dynafs.http.fields import items_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http import RawRequestMessage

    from dynafs.http.connection import ClientConnection

#: Responses are data: no page of another site may embed them, and no browser guesses that they are something else.
COMMON_HEADERS = {
    "Server": "dynafs",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DEFAULT_CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'"
_COMMON: CIMultiDict[str] = CIMultiDict(COMMON_HEADERS)
#: aiohttp's name for the method of a request that its parser refused.
_UNPARSED_METHOD = "UNKNOWN"


class ClientRequest(web.BaseRequest):
    """A request of a `ClientConnection`."""

    def __init__(
        self,
        message: "RawRequestMessage",
        payload: "StreamReader",
        protocol: "ClientConnection",
        writer: "AbstractStreamWriter",
        task: "Task[None]",
        loop: "AbstractEventLoop",
        request_id: str,
    ) -> None:
        """Take what aiohttp's request factory is given. request_id: for X-Request-Id and the log."""
        #: HTTP version of the request line, when it is one that a response must not repeat
        self.foreign_version = ""
        if message.version is not HttpVersion11 and (
            message.version != HttpVersion10 or message.method == _UNPARSED_METHOD
        ):
            # A server answers with the version it speaks, not with the one it is offered (RFC 9110 section 2.5).
            if message.version.major != 1:
                self.foreign_version = f"{message.version.major}.{message.version.minor}"
            message = message._replace(version=HttpVersion11)
        super().__init__(message, payload, protocol, writer, task, loop)
        self.request_id = request_id
        self.client = protocol
        self._is_invited = "Expect" not in message.headers
        self._asks_for_upgrade = message.upgrade
        #: whether the request has something that is to be checked before its resource is looked at
        self.has_odd_form = not self._is_invited or protocol.has_large_headers or bool(self.foreign_version)

    @property
    def expectation(self) -> str:
        """What the lines of Expect ask for in lower case, each once (RFC 9110 section 10.1.1); empty when nothing."""
        return ", ".join(dict.fromkeys(item.lower() for item in items_of(self.headers, "Expect")))

    @property
    def keep_alive(self) -> bool:
        """Whether the connection can carry another request after this one.

        Not after a final response to a client that waits for 100 Continue: it may send the body or its next request,
        and the two cannot be distinguished (RFC 9110 section 10.1.1). Nor after CONNECT and Upgrade, which are never
        accepted here: aiohttp's parser stops at them, and would leave a request that came with them unanswered.
        """
        is_settled = self._is_invited or self.content is EMPTY_PAYLOAD
        is_plain = not self.foreign_version and not self._asks_for_upgrade and self.method != "CONNECT"
        return super().keep_alive and is_settled and is_plain

    @property
    def is_plain(self) -> bool:
        """Whether its response is of HTTP/1.1 and needs no Connection field: the connection stays open."""
        return self.version == HttpVersion11 and self.keep_alive

    async def invite_body(self) -> None:
        """Send 100 Continue to a client that waits for it; HTTP/1.0 has no such response (RFC 9110 section 10.1.1)."""
        if self._is_invited:
            return
        self._is_invited = True
        if self.version >= HttpVersion11 and self.expectation == "100-continue":
            await self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.writer.output_size = 0  # what was sent is not part of the response

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Add the headers that every response has. aiohttp calls this before it sends the headers of a response."""
        headers = response.headers
        headers.update(_COMMON)
        headers["X-Request-Id"] = self.request_id
        if "Content-Security-Policy" not in headers:
            headers["Content-Security-Policy"] = DEFAULT_CONTENT_SECURITY_POLICY
