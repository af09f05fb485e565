"""Requests for files, sent to owners of them; see `routing` for which.

A request goes to a second address only when nothing of it reached the first one, or when it is a read, which may be
sent twice. Whether a write that broke off may be sent again stays the caller's to decide.
"""

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from dynafs.client.connection import IDLE_TIMEOUT_S, Connection, Outgoing, body_of
from dynafs.client.placement import TABLE_SIZE_BYTES_MAX, OwnerNode, Placement
from dynafs.client.routing import SUSPECT_S, Address, Routing
from dynafs.config import is_loopback, joined
from dynafs.errors import AnswerUnexpected, DynafsError, ServerUnreachable
from dynafs.files import FileName

#: Opening a connection to an owner; the address that the caller gave may take longer.
OWNER_CONNECT_TIMEOUT_S = 2.0
_OWNER_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=OWNER_CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S)
#: How long an owner may take until a read is sent to another address: longer than a busy node lets a request wait, so
#: that a cluster with too much to do does not get its reads twice.
OWNER_READ_TIMEOUT_S = 15.0
#: Learning the owners, for which their node asks all others; trying an address out.
LEARN_TIMEOUT_S, TRIAL_TIMEOUT_S = 10.0, 3.0
READINESS_SIZE_BYTES_MAX = 64 << 10
#: By these a node refuses a request before it looks at it: this client's token or the node's name are not right there.
REFUSED_AT_THE_DOOR = (401, 403)
OWNERS_HEADER = "X-Dynafs-Owners"


class _Readiness(msgspec.Struct):
    status: str
    instance: str


_readiness_decoder = msgspec.json.Decoder(_Readiness)


class RoutedConnection(Connection):
    """A session that sends requests for a file to an owner of it."""

    def __init__(self, url: str, token: str = "", *, is_ring_aware: bool = True) -> None:
        """url: http://HOST:PORT of any node. token: its http.token, if it has one; the owners need the same.

        is_ring_aware: False sends everything to `url`, as for a proxy in front of all nodes. With https nothing else is
        done: nodes themselves do not speak it. Raises RequestInvalid.
        """
        super().__init__(url, token)
        self._is_ring_aware = is_ring_aware and self.url.startswith("http:")
        self._routing: Routing | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        await super().__aenter__()
        if self._is_ring_aware:
            self._routing = Routing(self.url, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        if self._routing is not None:
            await self._routing.close()
        await super().__aexit__(kind, error, trace)

    async def _deliver(self, request: Outgoing, file: FileName | None) -> aiohttp.ClientResponse:
        if file is None or self._routing is None:
            return await super()._deliver(request, file)
        is_write = request.method not in ("GET", "HEAD")
        *others, last = self._routing.addresses(file, is_write=is_write)
        for address in others:
            try:
                response = await self._send_to(address, request, is_write=is_write)
            except (ServerUnreachable, AnswerUnexpected) as error:
                if is_write and _may_be_sent(error):
                    raise
            else:
                if is_write or response.status not in REFUSED_AT_THE_DOOR:
                    return response
                response.release()
        return await self._send_to(last, request, is_write=is_write)

    async def _send_to(self, address: Address, request: Outgoing, *, is_write: bool) -> aiohttp.ClientResponse:
        """Send a request to an address, and note what becomes of it there. Raises as `_send`."""
        routing, node = self._routing, address.node
        if routing is None or node is None:
            return await self._send(address.base, request)
        doubt = asyncio.get_running_loop().call_later(SUSPECT_S, routing.suspect, node)
        try:
            async with asyncio.timeout(None if is_write else OWNER_READ_TIMEOUT_S):
                response = await self._send(address.base, request, _OWNER_TIMEOUT)
        except TimeoutError as error:
            routing.note_failed(node)
            raise ServerUnreachable(f"no answer from {address.base}: timed out", url=address.base) from error
        except (ServerUnreachable, AnswerUnexpected):
            routing.note_failed(node)
            raise
        finally:
            doubt.cancel()
        if OWNERS_HEADER in response.headers:
            routing.note_moved()
        if response.status in REFUSED_AT_THE_DOOR:
            routing.note_failed(node)
        return response

    async def placement(self, base: str) -> Placement:
        """Ask the node at an address which nodes own what. Raises DynafsError."""
        request = Outgoing("GET", "/v1/ring/owners", headers=self._authorization)
        body = await self._asked(base, request, TABLE_SIZE_BYTES_MAX, LEARN_TIMEOUT_S)
        return Placement.decode(body, is_near=_is_near(self.url))

    async def try_out(self, node: OwnerNode) -> None:
        """Return when a node answers at its address as the one that it is, and takes this client's requests. Raises
        DynafsError."""
        base = f"http://{node.http}"
        body = await self._asked(base, Outgoing("GET", "/readyz"), READINESS_SIZE_BYTES_MAX, TRIAL_TIMEOUT_S)
        try:
            found = _readiness_decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise AnswerUnexpected(f"unexpected answer from {base}: {error}", url=base) from error
        if not node.instance or found.instance != node.instance:
            raise AnswerUnexpected(f"{base} is not {node.node}", url=base)
        request = Outgoing("GET", "/v1/cluster", headers=self._authorization)
        await self._asked(base, request, READINESS_SIZE_BYTES_MAX, TRIAL_TIMEOUT_S)

    async def _asked(self, base: str, request: Outgoing, size_bytes_max: int, timeout_s: float) -> bytes:
        """Return the body of an answer with status 200. Raises DynafsError."""
        limits = aiohttp.ClientTimeout(total=timeout_s, sock_connect=OWNER_CONNECT_TIMEOUT_S)
        async with await self._send(base, request, limits) as response:
            if response.status != 200:
                raise await self._objection(response)
            return await body_of(response, size_bytes_max)


def _may_be_sent(error: DynafsError) -> bool:
    """Return whether a node may have received anything of a request that ended with this error."""
    return not isinstance(error.__cause__, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)


def _is_near(url: str) -> bool:
    """Return whether the node at a URL is on this machine."""
    return is_loopback(joined(URL(url).host or "", 1))
