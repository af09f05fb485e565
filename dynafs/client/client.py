"""DynafsClient."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from dynafs.errors import ServerRefused, ServerUnreachable

PIECE_SIZE_BYTES = 1 << 20
#: No answer at all for this long means the node is gone; a body may take as long as it keeps moving.
IDLE_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0

Source = bytes | bytearray | Path | AsyncIterator[bytes]


class RemoteFile:
    """An opened file: its headers are known, its bytes stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.size_bytes = response.content_length or 0
        self.etag = response.headers.get("ETag", "").strip('"')
        self.version = response.headers.get("X-Dynafs-Version", "")
        self.content_type = response.headers.get("Content-Type", "")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes in order. Raises ServerUnreachable when they break off."""
        try:
            async for piece in self._response.content.iter_chunked(PIECE_SIZE_BYTES):
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnreachable(f"the download broke off: {error}") from error


class DynafsClient:
    """Talks to one node. Use as an async context manager."""

    def __init__(self, url: str, token: str = "") -> None:
        """url: http://HOST:PORT of any node. token: its http.token, if it has one."""
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, auto_decompress=False)
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

    async def put(
        self,
        bucket: str,
        path: str,
        source: Source,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        w: int | None = None,
    ) -> dict[str, Any]:
        """Store a file; return {"version", "etag", "size_bytes", "stored_on", ...}.

        headers: more of the request's header fields, such as Content-Encoding, which come back with the file.
        """
        kept = {f"X-Meta-{k}": v for k, v in (metadata or {}).items()}
        fields = {**(headers or {}), "Content-Type": content_type, **kept}
        data: Any = source
        if isinstance(source, bytes | bytearray):
            fields["Content-Length"] = str(len(source))
            data = _byte_pieces(source)
        elif isinstance(source, Path):
            fields["Content-Length"] = str(await asyncio.to_thread(lambda: source.stat().st_size))
            data = _file_pieces(source)
        query = {} if w is None else {"w": str(w)}
        async with self._request("PUT", _files(bucket, path), data=data, headers=fields, query=query) as response:
            return await _json(response)

    async def get(self, bucket: str, path: str) -> bytes:
        """Return a whole file; for large ones use `open`."""
        async with self.open(bucket, path) as file:
            return b"".join([piece async for piece in file.pieces()])

    @asynccontextmanager
    async def open(
        self, bucket: str, path: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[RemoteFile]:
        """Open a file, or its bytes from start to stop (exclusive), for streaming."""
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        async with self._request("GET", _files(bucket, path), headers=headers) as response:
            yield RemoteFile(response)

    async def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield {"path", "size_bytes", "etag", ...} per file and {"prefix"} per folded prefix, page by page."""
        query = {"prefix": prefix, "delimiter": delimiter}
        while True:
            async with self._request("GET", f"/v1/files/{quote(bucket, safe='')}", query=query) as response:
                page = await _json(response)
            for prefix_found in page["prefixes"]:
                yield {"prefix": prefix_found}
            for row in page["files"]:
                yield row
            if page["cursor"] is None:
                return
            query["cursor"] = page["cursor"]

    async def buckets(self) -> AsyncIterator[str]:
        """Yield the names of all buckets."""
        query: dict[str, str] = {}
        while True:
            async with self._request("GET", "/v1/files", query=query) as response:
                page = await _json(response)
            for name in page["buckets"]:
                yield name
            if page["cursor"] is None:
                return
            query["cursor"] = page["cursor"]

    async def stat(self, bucket: str, path: str, first: int = 0) -> dict[str, Any]:
        """Return a file's version, record holders and the whereabouts of up to 1024 chunks from number `first` on."""
        query = {"first": str(first)} if first else {}
        async with self._request("GET", f"/v1/metadata/{_quoted(bucket, path)}", query=query) as response:
            return await _json(response)

    async def delete(self, bucket: str, path: str) -> None:
        """Delete a file."""
        async with self._request("DELETE", _files(bucket, path)):
            return

    async def ring(self) -> dict[str, Any]:
        """Return the ring's members and shares."""
        async with self._request("GET", "/v1/ring") as response:
            return await _json(response)

    async def ring_plan(self) -> dict[str, Any]:
        """Return what the staged changes of the ring would take."""
        async with self._request("GET", "/v1/ring/plan") as response:
            return await _json(response)

    async def stage(self, **change: Any) -> dict[str, Any]:
        """Stage a change of the ring (kind, node, by, weight, zone, address); return the plan of all that is staged."""
        async with self._request("POST", "/v1/ring/stage", data=msgspec.json.encode(change)) as response:
            return await _json(response)

    async def clear_staged(self) -> dict[str, Any]:
        """Forget all staged changes; return the plan that is left."""
        async with self._request("POST", "/v1/ring/clear") as response:
            return await _json(response)

    async def commit_ring(self, plan_hash: str) -> dict[str, Any]:
        """Begin to move to the ring of the staged changes; return how far that is."""
        data = msgspec.json.encode({"hash": plan_hash})
        async with self._request("POST", "/v1/ring/commit", data=data) as response:
            return await _json(response)

    async def cancel_ring(self) -> dict[str, Any]:
        """Give a change of the ring up that has not switched yet; return what stands."""
        async with self._request("POST", "/v1/ring/cancel") as response:
            return await _json(response)

    async def ring_status(self) -> dict[str, Any]:
        """Return every node of the ring as it says itself, and what an operator should look after."""
        async with self._request("GET", "/v1/ring/status") as response:
            return await _json(response)

    async def ring_history(self) -> dict[str, Any]:
        """Return which rings the node has heard of, the oldest first."""
        async with self._request("GET", "/v1/ring/history") as response:
            return await _json(response)

    async def transfers(self) -> dict[str, Any]:
        """Return how far a change of the ring is."""
        async with self._request("GET", "/v1/ring/transfers") as response:
            return await _json(response)

    async def act_on_node(self, node: str, action: str, **query: str) -> dict[str, Any]:
        """Drain, resume or restart a node. query: for_restart="true" for a drain."""
        path = f"/v1/nodes/{quote(node, safe='')}/{quote(action, safe='')}"
        async with self._request("POST", path, query=query) as response:
            return await _json(response)

    async def throttle_ring(self, bytes_per_s_max: int) -> dict[str, Any]:
        """Set how fast every node takes over data while the ring changes; 0 for its own pace. Return who did not."""
        query = {"bytes_per_s_max": str(bytes_per_s_max)}
        async with self._request("POST", "/v1/ring/throttle", query=query) as response:
            return await _json(response)

    async def jobs(self) -> dict[str, Any]:
        """Return what the node does in the background."""
        async with self._request("GET", "/v1/jobs") as response:
            return await _json(response)

    async def hints(self) -> dict[str, Any]:
        """Return what every node keeps for others that are away."""
        async with self._request("GET", "/v1/hints") as response:
            return await _json(response)

    async def act_on_job(self, name: str, action: str, **query: str) -> dict[str, Any]:
        """Start, pause, resume or limit a background job; return its status.

        query: deep="true" for a census, bytes_per_s_max="N" for a limit.
        """
        path = f"/v1/jobs/{quote(name, safe='')}/{quote(action, safe='')}"
        async with self._request("POST", path, query=query) as response:
            return await _json(response)

    async def explain(self, bucket: str, path: str) -> dict[str, Any]:
        """Return who holds what of a file, and what repair will do next."""
        async with self._request("GET", f"/v1/explain/{_quoted(bucket, path)}") as response:
            return await _json(response)

    async def census(self) -> dict[str, Any]:
        """Return what the node's last census counted."""
        async with self._request("GET", "/v1/census") as response:
            return await _json(response)

    async def locate(self, bucket: str, path: str) -> dict[str, Any]:
        """Return the owners and fallbacks of a file's record."""
        async with self._request("GET", f"/v1/ring/locate/{_quoted(bucket, path)}") as response:
            return await _json(response)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        target: str,
        *,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._session
        assert session is not None, "use the client as an async context manager"
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in (query or {}).items() if value)
        url = URL(f"{self.url}{target}" + (f"?{text}" if text else ""), encoded=True)
        try:
            response = await session.request(method, url, data=data, headers=headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnreachable(f"no answer from {self.url}: {str(error) or 'timed out'}", url=self.url) from error
        async with response:
            if response.status >= 400:
                raise await _refusal(response)
            yield response


async def _refusal(response: aiohttp.ClientResponse) -> ServerRefused:
    body = await response.read()
    try:
        told = msgspec.json.decode(body)["error"]
        evidence = {k: v for k, v in told.items() if k not in ("code", "message", "status")}
        return ServerRefused(response.status, told["code"], told["message"], evidence)
    except (msgspec.DecodeError, KeyError, TypeError):
        text = body[:200].decode(errors="replace")
        return ServerRefused(response.status, "unknown", f"HTTP {response.status}: {text}", {})


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await response.read(), type=dict[str, Any])
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        raise ServerUnreachable(f"the answer broke off: {error}") from error


async def _byte_pieces(source: bytes | bytearray) -> AsyncIterator[bytes]:
    view = memoryview(source)
    for start in range(0, len(view), PIECE_SIZE_BYTES):
        yield bytes(view[start : start + PIECE_SIZE_BYTES])


async def _file_pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_SIZE_BYTES):
            yield piece


def _quoted(bucket: str, path: str) -> str:
    # Dots are quoted so that no client library takes ".." for a step up.
    return f"{quote(bucket, safe='')}/{quote(path, safe='/').replace('..', '%2E%2E')}"


def _files(bucket: str, path: str) -> str:
    return f"/v1/files/{_quoted(bucket, path)}"
