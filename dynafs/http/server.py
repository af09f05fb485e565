"""The HTTP server: from a socket to a route, and from an error to a response."""

import asyncio
import itertools
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from dynafs.config import Settings, split_address
from dynafs.errors import BodyIncomplete, DynafsError, ExpectationFailed, HeadersTooLarge, VersionNotSupported
from dynafs.http.access import Gatekeeper, origin_form
from dynafs.http.connection import ClientConnection
from dynafs.http.connection_events import ConnectionEvents
from dynafs.http.connection_limits import ConnectionLimits
from dynafs.http.error_mapping import error_response
from dynafs.http.request import ClientRequest
from dynafs.http.router import Router
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.services import Replication

log = get_logger()

READ_BUFFER_SIZE_BYTES = 256 << 10
#: After a refusal the rest of a body is read for this long, so that the client sees the answer instead of a reset.
LINGER_S = 5.0
OPEN_PATHS = ("/healthz", "/readyz")
#: What `OPTIONS *` names: every method that some route has.
METHODS = "GET, HEAD, PUT, POST, DELETE, OPTIONS"
#: Bytes of a header line besides its name and value: ": " and CRLF.
HEADER_FRAME_SIZE_BYTES = 4

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
RequestFactory = Callable[..., web.BaseRequest]
Connect = Callable[..., ClientConnection]


class _Server(web.Server):
    """aiohttp's server, with connections of our own class."""

    def __init__(self, handler: Handler, request_factory: RequestFactory, connect: Connect) -> None:
        """connect: makes a connection of a server and an event loop."""
        super().__init__(handler, request_factory=request_factory)
        self._connect = connect

    def __call__(self) -> ClientConnection:
        return self._connect(self, loop=asyncio.get_running_loop())


class HttpServer:
    """Listens for clients of one node."""

    def __init__(self, replication: Replication, descriptor_max: int = sys.maxsize) -> None:
        """descriptor_max: the first number of a file descriptor that clients may not have."""
        settings = self._settings = replication.settings.http
        self._shutdown_s = replication.settings.timeouts.shutdown_s
        self._gatekeeper = Gatekeeper(settings, _own_names(replication.settings))
        self._router = Router(replication)
        self._prefix = replication.settings.node.name
        self._count = itertools.count(1)
        self._runner: web.ServerRunner | None = None
        self._logs_requests = log.is_enabled_for(logging.DEBUG)
        self._events = ConnectionEvents()
        self._limits = ConnectionLimits(
            settings.connections_max, settings.connections_per_address_max, descriptor_max,
            settings.headers_pending_size_bytes_max,
        )  # fmt: skip

    async def start(self) -> int:
        """Listen; return the port, chosen by the system for port 0."""
        limits = self._settings
        connect = partial(
            ClientConnection, limits=self._limits, events=self._events, settings=limits, next_id=self._next_id,
            access_log=None, auto_decompress=False, keepalive_timeout=limits.idle_timeout_s,
            max_line_size=limits.header_size_bytes_max,
            # By the limit that it names an error of the parser shows which of the two was too long.
            max_field_size=limits.header_size_bytes_max + 1,
            read_bufsize=READ_BUFFER_SIZE_BYTES, lingering_time=LINGER_S,
        )  # fmt: skip
        self._runner = web.ServerRunner(
            _Server(self._handle, self._make_request, connect), shutdown_timeout=self._shutdown_s
        )
        await self._runner.setup()
        host, port = split_address(limits.listen)
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        if limits.shared_listen:
            host, port = split_address(limits.shared_listen)
            await web.TCPSite(self._runner, host, port, backlog=1024, reuse_port=True).start()
        return int(self._runner.addresses[0][1])

    def _make_request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: "asyncio.Task[None]"
    ) -> ClientRequest:
        """Return a request of what aiohttp gives a request factory."""
        return ClientRequest(message, payload, protocol, writer, task, asyncio.get_running_loop(), self._next_id())

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._count):x}"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, ClientRequest)
        started = time.monotonic()
        try:
            response = await self._answer(request)
        except DynafsError as error:
            response = error_response(error)
            if isinstance(error, BodyIncomplete | HeadersTooLarge):
                response.force_close()
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("http.failed", method=request.method, path=request.raw_path[:500], request=request.request_id)
            response = error_response(DynafsError("internal error; see the node's log"))
        seconds = time.monotonic() - started
        metrics.http.add(request.method, response.status, seconds)
        if self._logs_requests:
            log.debug(
                "http.answered", method=request.method, path=request.raw_path, status=response.status,
                duration_ms=round(1000 * seconds, 2), request=request.request_id,
            )  # fmt: skip
        return response

    async def _answer(self, request: ClientRequest) -> web.StreamResponse:
        target, host = request.raw_path, request.headers.get("Host")
        if request.has_odd_form:
            self._check_form(request)
        if not target.startswith("/") and target != "*":
            # The host of the target counts, not that of the header (RFC 9112 section 3.2.2).
            host, target = origin_form(target)
        path, _, query = target.partition("?")
        if path not in OPEN_PATHS:
            self._gatekeeper.check(request.method, host, request.headers)
        if path == "*":
            return web.Response(status=204, headers={"Allow": METHODS})
        return await self._router.route(request, path, query)

    def _check_form(self, request: ClientRequest) -> None:
        """Raise VersionNotSupported, HeadersTooLarge or ExpectationFailed."""
        if request.foreign_version:
            raise VersionNotSupported(f"HTTP/{request.foreign_version} is not offered here; use HTTP/1.1")
        if request.client.has_large_headers:
            size_bytes = sum(len(name) + len(value) + HEADER_FRAME_SIZE_BYTES for name, value in request.raw_headers)
            if size_bytes > self._settings.headers_total_size_bytes_max:
                raise HeadersTooLarge(self._settings.headers_total_size_bytes_max)
        if request.expectation not in ("", "100-continue"):
            raise ExpectationFailed(f"Expect: {request.expectation[:100]} cannot be met; only 100-continue can")

    async def close(self) -> None:
        """Stop listening, let requests under way finish for a while."""
        if self._runner is not None:
            await self._runner.cleanup()


def _own_names(settings: Settings) -> set[str]:
    """Return the host names under which operators and other nodes know this one."""
    addresses = [m.address for m in settings.cluster.members if m.node == settings.node.name]
    addresses += [address for address in (settings.node.listen, settings.http.advertise) if address]
    return {socket.gethostname(), *(split_address(address)[0] for address in addresses)}
