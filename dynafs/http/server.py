"""The HTTP server: from a socket to a route, and from an error to a response."""

import asyncio
import itertools
import logging
import time

from aiohttp import web

from dynafs.config import split_address
from dynafs.errors import BodyIncomplete, DynafsError
from dynafs.http.asking import Gatekeeper
from dynafs.http.error_mapping import error_response
from dynafs.http.router import Router
from dynafs.observe import metrics
from dynafs.observe.events import get_logger
from dynafs.replication.cluster import Replication

log = get_logger()

READ_BUFFER_SIZE_BYTES = 256 << 10
#: After a refusal the rest of a body is read for this long, so that the client sees the answer instead of a reset.
LINGER_S = 5.0
OPEN_PATHS = ("/healthz", "/readyz")


class _RefusalLog(logging.Handler):
    """Turns what aiohttp says of malformed requests into one event each."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR and error is not None and not isinstance(error, web.HTTPException):
            log.warning("http.refused", reason=f"{type(error).__name__}: {error}"[:300])


def _aiohttp_logger() -> logging.Logger:
    logger = logging.getLogger("dynafs.http")
    logger.propagate = False
    logger.handlers = [_RefusalLog()]
    return logger


class HttpServer:
    """Listens for clients of one node."""

    def __init__(self, replication: Replication) -> None:
        self._settings = replication.settings.http
        self._shutdown_s = replication.settings.timeouts.shutdown_s
        self._gatekeeper = Gatekeeper(self._settings)
        self._router = Router(replication)
        self._prefix = replication.settings.node.name
        self._count = itertools.count(1)
        self._runner: web.ServerRunner | None = None

    async def start(self) -> int:
        """Listen; return the port, chosen by the system for port 0."""
        limits = self._settings
        server = web.Server(
            self._handle, access_log=None, logger=_aiohttp_logger(), auto_decompress=False,
            keepalive_timeout=limits.idle_timeout_s, max_line_size=limits.header_size_bytes_max,
            max_field_size=limits.header_size_bytes_max, read_bufsize=READ_BUFFER_SIZE_BYTES, lingering_time=LINGER_S,
        )  # fmt: skip
        self._runner = web.ServerRunner(server, shutdown_timeout=self._shutdown_s)
        await self._runner.setup()
        host, port = split_address(limits.listen)
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        if limits.shared_listen:
            host, port = split_address(limits.shared_listen)
            await web.TCPSite(self._runner, host, port, backlog=1024, reuse_port=True).start()
        return int(self._runner.addresses[0][1])

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.monotonic()
        request_id = f"{self._prefix}-{next(self._count):x}"
        try:
            response = await self._answer(request)
        except DynafsError as error:
            response = error_response(error)
            if isinstance(error, BodyIncomplete):
                response.force_close()
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("http.failed", method=request.method, path=request.raw_path[:500], request=request_id)
            response = error_response(DynafsError("a bug of ours; the node's log has the details"))
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
            response.headers["Server"] = "dynafs"
        seconds = time.monotonic() - started
        metrics.http_requests.labels(request.method, response.status).inc()
        metrics.http_seconds.labels(request.method).observe(seconds)
        log.debug(
            "http.answered", method=request.method, path=request.raw_path, status=response.status,
            duration_ms=round(1000 * seconds, 2), request=request_id,
        )  # fmt: skip
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if path not in OPEN_PATHS:
            self._gatekeeper.check(request.headers)
        return await self._router.route(request, path, query)

    async def close(self) -> None:
        """Stop listening, let requests under way finish for a while."""
        if self._runner is not None:
            await self._runner.cleanup()
