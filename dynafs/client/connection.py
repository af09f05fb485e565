"""Requests to a node, and the only place where its answers are judged.

What a node answers is outside data: the URL may be of another server, or of a proxy. A status that the request does
not expect is an error, a redirect is not followed (it could carry the token to another host), JSON is bounded and
checked against its shape before anything of it is used.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from dynafs.client.shapes import Siblings
from dynafs.errors import (
    AnswerUnexpected,
    DynafsError,
    NameInvalid,
    RequestInvalid,
    ServerRefused,
    ServerUnreachable,
    SiblingsFound,
)
from dynafs.files import FileName

#: No answer at all for this long means the node is gone; a body may take as long as it keeps moving.
IDLE_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
#: Connections of one client, to all nodes and to one; further requests wait for one of them.
CONNECTIONS_MAX, CONNECTIONS_PER_NODE_MAX = 300, 100
#: The largest JSON a node sends is a full page of a listing: 1000 names of 1 KiB with 4 KiB of metadata each, escaped.
JSON_SIZE_BYTES_MAX = 64 << 20
ERROR_SIZE_BYTES_MAX = 1 << 20
#: `remote_code` of a refusal that is none of a node.
CODE_OF_OTHERS = "unknown"


#: The body of a request; a callable that makes it is called for each address that the request is sent to.
Data = bytes | Callable[[], AsyncIterator[bytes]] | None


class Outgoing(NamedTuple):
    """A request before it has an address. target: quoted path and query."""

    method: str
    target: str
    data: Data = None
    headers: Mapping[str, str] | None = None


class Connection:
    """A session with one node. Use as an async context manager."""

    def __init__(self, url: str, token: str = "") -> None:
        """url: http://HOST:PORT of any node. token: its http.token, if it has one. Raises RequestInvalid."""
        self.url = url.rstrip("/")
        _check_url(self.url)
        #: not of the session: not every request may carry it
        self._authorization = {}
        if token:
            if not (token.isascii() and token.isprintable()):
                raise RequestInvalid("token", "use printable ASCII characters")
            self._authorization["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=CONNECTIONS_PER_NODE_MAX)
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity"}, timeout=timeout, auto_decompress=False, connector=connector
        )
        # aiohttp sends a PUT or DELETE again when the connection breaks. A write whose fate is unknown must not be sent
        # twice: the second could undo what others wrote in between. There is no public switch; a test guards this one.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        target: str,
        *,
        statuses: tuple[int, ...] = (200,),
        data: Data = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        file: FileName | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield an answer with one of these statuses. target: quoted path. file: which file it is
        for, when any node may answer it but those that own the file do so best.

        Raises ServerUnreachable, ServerRefused, SiblingsFound, AnswerUnexpected, RequestInvalid.
        """
        text = "&".join(f"{name}={quoted(value, name)}" for name, value in (query or {}).items() if value)
        for name, value in (headers or {}).items():
            if not value.isprintable() or not name.isascii() or not name.isprintable():
                raise RequestInvalid(name, "use printable characters for headers")
        request = Outgoing(
            method, f"{target}?{text}" if text else target, data, {**self._authorization, **(headers or {})}
        )
        response = await self._deliver(request, file)
        async with response:
            if response.status not in statuses:
                raise await self._objection(response)
            yield response

    async def _deliver(self, request: Outgoing, file: FileName | None) -> aiohttp.ClientResponse:  # noqa: ARG002
        """Return the answer to a request. Raises as `_send`."""
        return await self._send(self.url, request)

    async def _send(
        self, base: str, request: Outgoing, limits: aiohttp.ClientTimeout | None = None
    ) -> aiohttp.ClientResponse:
        """Send a request to an address. Raises ServerUnreachable, whose cause tells whether anything was sent,
        AnswerUnexpected, RequestInvalid."""
        session = self._session
        assert session is not None, "use the client as an async context manager"
        body = request.data() if callable(request.data) else request.data
        options: dict[str, Any] = {} if limits is None else {"timeout": limits}
        try:
            return await session.request(
                request.method, URL(base + request.target, encoded=True), data=body, headers=request.headers,
                allow_redirects=False, **options,
            )  # fmt: skip
        except aiohttp.ClientResponseError as error:
            raise AnswerUnexpected(f"{base} does not speak HTTP; is it a dynafs node?", url=base) from error
        except UnicodeError as error:
            raise RequestInvalid("url", f"{base[:200]!r} has no valid host name; use http://HOST:PORT") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnreachable(f"no answer from {base}: {reason_of(error)}", url=base) from error

    def base_of(self, response: aiohttp.ClientResponse) -> str:
        """Return the address that an answer is from, for messages."""
        url = str(response.url)
        return self.url if url.startswith(self.url) else str(response.url.origin())

    async def json(
        self,
        method: str,
        target: str,
        shape: Any,
        *,
        statuses: tuple[int, ...] = (200,),
        data: Data = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        file: FileName | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of its answer, which has at least the fields of `shape`."""
        asked = self.request(method, target, statuses=statuses, data=data, headers=headers, query=query, file=file)
        async with asked as response:
            return self._decoded(response, await body_of(response, JSON_SIZE_BYTES_MAX), shape)

    def _decoded(self, response: aiohttp.ClientResponse, body: bytes, shape: Any) -> dict[str, Any]:
        try:
            found: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
            msgspec.convert(found, shape)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._unexpected(response, str(error) or "not JSON") from error
        return found

    def _unexpected(self, response: aiohttp.ClientResponse, reason: str) -> AnswerUnexpected:
        what = f"{response.method} {response.url.raw_path}"
        return AnswerUnexpected(
            f"unexpected answer from {self.base_of(response)} to {what}: {reason}; is it a dynafs node?",
            url=self.base_of(response), status=response.status,
        )  # fmt: skip

    async def _objection(self, response: aiohttp.ClientResponse) -> DynafsError:
        """Return the error that a status stands for."""
        if response.status >= 400:
            return _refusal(self.base_of(response), response.status, await body_of(response, ERROR_SIZE_BYTES_MAX))
        if response.status == 300:
            found = self._decoded(response, await body_of(response, JSON_SIZE_BYTES_MAX), Siblings)
            name = f"{found.get('bucket', '')}/{found.get('path', '')}"
            return SiblingsFound(name, found["versions"], found["context"])
        location = response.headers.get("Location", "")
        where = f" to {location}" if location else ""
        return self._unexpected(response, f"status {response.status}{where}")


def reason_of(error: aiohttp.ClientError | TimeoutError) -> str:
    """Return in words why a connection cannot be made or broke off."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate cannot be verified"
    if isinstance(error, aiohttp.ClientSSLError):
        return "it does not speak TLS; use http:// if it is a node without TLS"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no address is found for the host name"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection closed before the end, or what arrived is not HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection closed before an answer"
    if isinstance(error, aiohttp.ClientOSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def quoted(text: str, field: str, safe: str = "") -> str:
    """Return text for a URL. Raises NameInvalid when it is not UTF-8."""
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise NameInvalid(field, f"'{text}' is not valid UTF-8") from None


def quoted_name(bucket: str, path: str) -> str:
    """Return BUCKET/PATH for a URL."""
    # Dots are quoted so that no client library takes ".." for a step up.
    return f"{quoted(bucket, 'bucket')}/{quoted(path, 'path', safe='/').replace('..', '%2E%2E')}"


def _check_url(text: str) -> None:
    try:
        url = URL(text)
        is_usable = (
            url.scheme in ("http", "https") and bool(url.host) and not url.user and not any(c in text for c in "?# ")
        )
    except ValueError:
        is_usable = False
    if not is_usable or not text.isprintable():
        raise RequestInvalid("url", f"{text[:200]!r} is not the URL of a node; use http://HOST:PORT")


async def body_of(response: aiohttp.ClientResponse, size_bytes_max: int) -> bytes:
    """Return the body. Raises ServerUnreachable when it breaks off, AnswerUnexpected when it is too large."""
    body = bytearray()
    try:
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > size_bytes_max:
                raise AnswerUnexpected(
                    f"unexpected answer: more than {size_bytes_max} bytes with status {response.status}",
                    status=response.status,
                )
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServerUnreachable(f"the answer broke off: {reason_of(error)}") from error
    return bytes(body)


class _Problem(msgspec.Struct):
    code: str
    message: str


def _refusal(url: str, status: int, body: bytes) -> ServerRefused:
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])["error"]
        problem = msgspec.convert(told, _Problem)
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        text = body[:200].decode(errors="replace")
        message = f"{url} answers with HTTP {status} and not as a dynafs node does: {text}"
        return ServerRefused(status, CODE_OF_OTHERS, message, {})
    evidence = {k: v for k, v in told.items() if k not in ("self", "code", "message", "status")}
    return ServerRefused(status, problem.code, problem.message, evidence)
