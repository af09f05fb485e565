"""One client connection: aiohttp's, with limits before a request is complete, half-closed clients, and our errors.

`tests/http/test_connection.py` pins what is used of aiohttp's inside: the queue of parsed messages.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from email.utils import formatdate
from socket import IPPROTO_TCP
from typing import Any, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from dynafs.config import HttpSettings
from dynafs.errors import DynafsError, HeadersTooLarge, Overloaded, RequestMalformed, TargetTooLong
from dynafs.http.connection_events import ConnectionEvents
from dynafs.http.connection_limits import ConnectionLimits
from dynafs.http.error_mapping import error_body, error_response
from dynafs.http.request import COMMON_HEADERS, DEFAULT_CONTENT_SECURITY_POLICY
from dynafs.observe import metrics
from dynafs.observe.events import get_logger

log = get_logger()

#: After an answer that ends the connection, what the client still sends is read for this long, so that it sees the
#: answer instead of a reset.
LINGER_S = 1.0
#: Bytes of a response that the kernel takes before the client's window lets them go (TCP_NOTSENT_LOWAT of Linux).
#: Without it the kernel keeps megabytes for each client that does not read, and the node spends its time on filling
#: them. A quarter of this costs a download of 1 MiB a tenth more processor time.
UNSENT_SIZE_BYTES_MAX = 1 << 20
_TCP_NOTSENT_LOWAT = 25


class ClientConnection(web.RequestHandler):
    """One accepted connection."""

    __slots__ = (
        "_end", "_events", "_head_size_bytes", "_header_timer", "_is_admitted", "_is_busy", "_is_cut",
        "_is_half_closed", "_limits", "_next_id", "_payload", "_settings", "_size_bytes_max", "_socket", "_stall_timer",
        "_unread_size_bytes", "address", "has_large_headers",
    )  # fmt: skip

    def __init__(
        self, server: web.Server, limits: ConnectionLimits, events: ConnectionEvents, settings: HttpSettings,
        next_id: Callable[[], str], **options: Any,
    ) -> None:  # fmt: skip
        """next_id: returns an id for a response. options: of aiohttp's RequestHandler."""
        super().__init__(server, **options)
        self._limits, self._events, self._settings, self._next_id = limits, events, settings, next_id
        self._socket: asyncio.Transport | None = None
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._is_admitted = self._is_busy = self._is_cut = self._is_half_closed = False
        self._head_size_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._end: asyncio.Future[None] | None = None
        self._unread_size_bytes = 0
        self._size_bytes_max = settings.headers_total_size_bytes_max
        #: whether the header section of a request may be larger than the limit: bytes came that allow it
        self.has_large_headers = False
        #: the client's IP address
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or refuse it."""
        self._socket = cast("asyncio.Transport", transport)
        peer, socket = transport.get_extra_info("peername"), transport.get_extra_info("socket")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        descriptor = socket.fileno() if socket is not None else 0
        limit = self._limits.admit(self, self.address, descriptor, time.monotonic())
        if limit:
            self._refuse(limit)
            return
        self._is_admitted = True
        metrics.http_connections.inc()
        if socket is not None:
            # Where a kernel has no such limit, responses are as before.
            with contextlib.suppress(OSError):
                socket.setsockopt(IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_SIZE_BYTES_MAX)
        super().connection_made(transport)

    def _refuse(self, limit: str) -> None:
        self._events.refused(limit, self.address)
        self._end_with(Overloaded("too many connections"), 0 if limit == "descriptors" else LINGER_S)
        self._limits.add_refused(self)

    def _end_with(self, error: DynafsError, linger_s: float) -> None:
        """Answer an error to a client that has no request under way, and close when it has had time to read it."""
        assert self._socket is not None
        self._is_cut = True
        self._stop_timers()
        response = error_response(error)
        body = error_body(error)
        fields = {
            **response.headers, **COMMON_HEADERS, "Content-Security-Policy": DEFAULT_CONTENT_SECURITY_POLICY,
            "X-Request-Id": self._next_id(), "Date": formatdate(usegmt=True), "Content-Length": str(len(body)),
            "Connection": "close",
        }  # fmt: skip
        head = f"HTTP/1.1 {response.status} {response.reason}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items())
        self._socket.write(head.encode() + b"\r\n" + body)
        if not linger_s:
            self._socket.close()
            return
        self._socket.write_eof()
        self._header_timer = self._loop.call_later(linger_s, self._socket.abort)

    def drop(self, reason: str) -> None:
        """Close the connection at once. reason: a short word for the metrics."""
        self._events.dropped(reason, self.address)
        self._is_cut = True
        if self._socket is not None:
            self._socket.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give up the connection's place."""
        self._stop_timers()
        if self._end is not None and not self._end.done():
            self._end.set_result(None)
        self._limits.remove_refused(self)
        if self._is_admitted:
            self._is_admitted = False
            metrics.http_connections.dec()
            self._limits.remove(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse requests, within the limits of what may come before one is complete."""
        if self._is_cut:
            return
        messages, payload = self._messages, self._payload
        count, body_size_bytes = len(messages), payload.total_bytes
        in_body = not payload.is_eof()
        super().data_received(data)
        if len(messages) > count:
            self._begin_requests(len(data))
        elif not in_body:
            self._add_to_headers(len(data))
        elif payload.total_bytes == body_size_bytes and not payload.is_eof():
            self._add_to_trailers(len(data))
        else:
            self._head_size_bytes = 0

    def _begin_requests(self, size_bytes: int) -> None:
        """Take note that requests were parsed; the last entry of the queue is the one whose body may follow."""
        if self._head_size_bytes + size_bytes > self._size_bytes_max:
            self.has_large_headers = True
        self._head_size_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        message, payload = self._messages[-1]
        if not isinstance(message, RawRequestMessage):
            # The parser gave up: what follows has no meaning, and aiohttp leaves a body under way without an end.
            self._is_cut = True
            if not self._payload.is_eof():
                self._payload.set_exception(web.RequestPayloadError("the body is malformed"))
        self._payload = payload
        if not self._is_busy:
            self._is_busy = True
            self._limits.begin_request(self)

    def _add_to_headers(self, size_bytes: int) -> None:
        """A part of a header section came."""
        self._head_size_bytes += size_bytes
        is_too_large = self._head_size_bytes > self._size_bytes_max
        if self._is_busy:
            # The requests before this one are still answered; then the connection ends.
            self._is_cut = is_too_large
        elif is_too_large:
            self._end_with(HeadersTooLarge(self._size_bytes_max), LINGER_S)
        elif size_bytes:
            if self._header_timer is None:
                self._header_timer = self._loop.call_later(self._settings.header_timeout_s, self.drop, "header_timeout")
            self._limits.add_pending(self, size_bytes)

    def _add_to_trailers(self, size_bytes: int) -> None:
        """A piece of the body brought no contents: chunk sizes, their extensions, or trailers."""
        self._head_size_bytes += size_bytes
        if self._head_size_bytes > self._size_bytes_max:
            self._is_cut = True
            self._payload.set_exception(web.RequestPayloadError("the trailers are too large"))

    def eof_received(self) -> bool | None:  # type: ignore[override]  # aiohttp narrows asyncio's type to None
        """The client sends nothing more; keep the connection while it waits for answers.

        aiohttp leaves it to the transport, which closes; a client may well end its side first (RFC 9112 section 9.6).
        """
        if not self._is_busy:
            return None
        self._is_half_closed = True
        if not self._payload.is_eof():
            self._payload.set_exception(web.RequestPayloadError("the client ended the connection before the body"))
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; then the connection is idle, or ends."""
        done = await super().finish_response(request, resp, start_time)
        if self._messages:
            self._payload = self._messages[-1][1]
            return done
        self._is_busy = False
        self._limits.end_request(self)
        if self._is_half_closed:
            self.close()
        elif self._is_cut:
            self.close()
            await self._wait_for_end()
        return done

    async def _wait_for_end(self) -> None:
        """Let a client that is still sending take its answer before the connection is closed."""
        if self.transport is None:
            return
        self.transport.write_eof()
        self._end = self._loop.create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._end

    def pause_writing(self) -> None:
        """Watch whether the client reads at all."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def _watch_reading(self) -> None:
        assert self._socket is not None
        self._unread_size_bytes = self._socket.get_write_buffer_size()
        # Later than the timeout of a download, which says more in the log.
        timeout_s = 1.25 * self._settings.body_stall_timeout_s
        self._stall_timer = self._loop.call_later(timeout_s, self._check_reading)

    def _check_reading(self) -> None:
        assert self._socket is not None
        if self._socket.get_write_buffer_size() < self._unread_size_bytes:
            self._watch_reading()
        else:
            self.drop("client_stalled")

    def _stop_timers(self) -> None:
        for timer in (self._header_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  aiohttp's signature
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Return the response to a request that aiohttp could not parse, or whose handling failed.

        Raises ConnectionError when the client is gone or has a part of another response.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if isinstance(exc, HttpProcessingError):
            self._events.malformed(type(exc).__name__, self.address)
            response = error_response(self._refusal_of(exc))
        else:
            log.error("http.failed", method=request.method, path=request.raw_path[:500], exc_info=exc)
            response = error_response(DynafsError("internal error; see the node's log"))
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another response was sent")
        response.force_close()
        return response

    def _refusal_of(self, error: HttpProcessingError) -> DynafsError:
        """Return what is answered to what aiohttp's parser refuses (RFC 9112 section 3, RFC 6585 section 5)."""
        if not isinstance(error, LineTooLong):
            return RequestMalformed(type(error).__name__)
        size_bytes_max = self._settings.header_size_bytes_max
        if error.args[1] == size_bytes_max:
            return TargetTooLong(size_bytes_max)
        return HeadersTooLarge(size_bytes_max, is_single=True)

    def log_exception(self, *args: object, **kw: Any) -> None:  # noqa: ARG002  aiohttp's signature
        """Take what aiohttp logs besides `handle_error`: a body that broke off is the client's doing."""
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            if not self._is_half_closed:
                self._events.malformed(type(error).__name__, self.address)
        elif not isinstance(error, ConnectionError):
            log.error("http.failed", method="", path="", exc_info=error)
