"""Responses to small requests: the status line, the fields and the body as one piece of bytes."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionResetError, web

from dynafs.http.rendering import http_date
from dynafs.http.request import COMMON_HEADERS, DEFAULT_CONTENT_SECURITY_POLICY, ClientRequest

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

#: Statuses whose responses have neither a body nor a length (RFC 9110 section 8.6).
_BODILESS = (204, 304)
_STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}" for one in HTTPStatus}
_DEFAULT_FIELDS = {"Content-Security-Policy": DEFAULT_CONTENT_SECURITY_POLICY}


class ReadyResponse(web.StreamResponse):
    """A response whose fields and body are complete before it is sent.

    It is sent in one write when the request is plain (`ClientRequest.is_plain`), every character of the fields is
    printable, and neither `headers` nor `force_close` was used; else as a `web.Response` with the same fields and
    body, which refuses control characters.
    """

    def __init__(self, status: int, fields: Mapping[str, str], body: bytes = b"") -> None:
        """fields: by their usual names, each once, with the Content-Type of a body; a Content-Length only when it is
        not that of the body."""
        super().__init__(status=status)
        self._fields, self._whole = fields, body
        self._general: web.Response | None = None
        self._is_sent = False

    @property
    def prepared(self) -> bool:
        """Whether sending has begun."""
        return self._is_sent or (self._general is not None and self._general.prepared)

    @property
    def headers(self) -> "CIMultiDict[str]":
        """The fields, which may be changed until the response is sent."""
        return self._as_general().headers

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection carries another request; None before that is decided."""
        return self._is_sent or (None if self._general is None else self._general.keep_alive)

    def force_close(self) -> None:
        """End the connection after this response."""
        self._as_general().force_close()

    async def prepare(self, request: web.BaseRequest) -> "AbstractStreamWriter | None":
        """Send the response, or begin to. Raises ConnectionError when the client is gone."""
        if self._is_sent:
            return None
        if self._general is None and isinstance(request, ClientRequest) and request.is_plain:
            head = self._head(request)
            if head is not None:
                self._is_sent = True
                has_body = request.method != "HEAD" and self.status not in _BODILESS
                await _send(request, head + self._whole if has_body else head)
                return None
        return await self._as_general().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send what is left of the response."""
        if not self._is_sent:
            await self._as_general().write_eof(data)

    def _as_general(self) -> web.Response:
        if self._general is None:
            self._general = web.Response(status=self.status, headers=self._fields, body=self._whole)
        return self._general

    def _head(self, request: ClientRequest) -> bytes | None:
        """Return the status line and the fields; None when they have a character that is not printable."""
        fields = {
            **_DEFAULT_FIELDS, **self._fields, **COMMON_HEADERS,
            "Date": http_date(int(time.time())), "X-Request-Id": request.request_id,
        }  # fmt: skip
        if self.status not in _BODILESS and (self._whole or request.method != "HEAD"):
            fields.setdefault("Content-Length", str(len(self._whole)))
        lines = [f"{name}: {value}" for name, value in fields.items()]
        if not "".join(lines).isprintable():
            return None
        return "\r\n".join([_STATUS_LINES[self.status], *lines, "\r\n"]).encode()


async def _send(request: ClientRequest, data: bytes) -> None:
    """Send a whole response, and wait while the client takes too little."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ClientConnectionResetError("the client closed the connection")
    request.writer.output_size += len(data)
    transport.write(data)
    if request.client.writing_paused:
        await request.writer.drain()
