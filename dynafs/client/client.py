"""DynafsClient."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from dynafs.client.connection import quoted, quoted_name
from dynafs.client.operating import OperatorCalls
from dynafs.client.remote_file import PIECE_SIZE_BYTES, VERSION_HEADER, RemoteFile
from dynafs.client.routed import RoutedConnection
from dynafs.client.shapes import BucketPage, FilePage, FileStat, Receipt
from dynafs.client.source import LocalSource, open_source
from dynafs.errors import AnswerUnexpected, DynafsError, RequestInvalid
from dynafs.files import FileName

Source = bytes | bytearray | Path | LocalSource | AsyncIterator[bytes]


class DynafsClient(RoutedConnection, OperatorCalls):
    """Talks to a cluster, through one node and, for the contents of files, through owners of each. Use as an async
    context manager."""

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
        seen: str | None = None,
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> dict[str, Any]:
        """Store a file; return {"version", "etag", "size_bytes", "stored_on", ...}.

        headers: more of the request's header fields, such as Content-Encoding, which come back with the file.
        source: a path may be of a file, FIFO or device. seen: the context of an earlier answer (`RemoteFile.context`,
        `SiblingsFound.context`), whose versions this write replaces. on_progress: called with the size of each piece.
        Raises OSError when the source cannot be read, SourceChanged when it is a file that grows or shrinks meanwhile.
        """
        kept = {f"X-Meta-{k}": v for k, v in (metadata or {}).items()}
        fields = {**(headers or {}), "Content-Type": content_type, **kept}
        if seen is not None:
            fields["X-Dynafs-Context"] = seen
        query = {} if w is None else {"w": str(w)}
        with ExitStack() as opened:
            if isinstance(source, Path):
                source = opened.enter_context(open_source(source))
            body = _Body(source, on_progress)
            if body.size_bytes is not None:
                fields["Content-Length"] = str(body.size_bytes)
            try:
                return await self.json(
                    "PUT", _files(bucket, path), Receipt,
                    statuses=(201,), data=body.pieces, headers=fields, query=query, file=FileName(bucket, path),
                )  # fmt: skip
            except DynafsError:
                if body.error is not None:
                    raise body.error from None
                raise

    async def get(self, bucket: str, path: str, *, version: str = "") -> bytes:
        """Return a whole file; for large ones use `open`."""
        async with self.open(bucket, path, version=version) as file:
            return b"".join([piece async for piece in file.pieces()])

    @asynccontextmanager
    async def open(
        self, bucket: str, path: str, *, start: int = 0, stop: int | None = None, version: str = ""
    ) -> AsyncIterator[RemoteFile]:
        """Open a file, or its bytes from start to stop (exclusive), for streaming.

        version: which one of several, by its stamp. Raises SiblingsFound when there are several and none is named.
        """
        headers, statuses = {}, (200,)
        if start or stop is not None:
            if start < 0 or (stop is not None and stop <= start):
                raise RequestInvalid("stop", f"no byte is at or behind {start} and before {stop}")
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            statuses = (206,)
        query = {"version": version}
        file = FileName(bucket, path)
        request = self.request("GET", _files(bucket, path), statuses=statuses, headers=headers, query=query, file=file)
        async with request as response:
            url = self.base_of(response)
            if headers and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise AnswerUnexpected(f"unexpected answer from {url}: other bytes than those from {start} on")
            if not ({"ETag", VERSION_HEADER} <= response.headers.keys()):
                raise AnswerUnexpected(
                    f"unexpected answer from {url}: contents without a version; is it a dynafs node?", url=url
                )
            yield RemoteFile(response, f"{bucket}/{path}")

    async def list(self, bucket: str, prefix: str = "", delimiter: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield {"path", "size_bytes", "etag", ...} per file and {"prefix"} per folded prefix, page by page."""
        query = {"prefix": prefix, "delimiter": delimiter}
        async for page in self._pages(f"/v1/files/{quoted(bucket, 'bucket')}", query, FilePage):
            for prefix_found in page["prefixes"]:
                yield {"prefix": prefix_found}
            for row in page["files"]:
                yield row

    async def buckets(self) -> AsyncIterator[str]:
        """Yield the names of all buckets."""
        async for page in self._pages("/v1/files", {}, BucketPage):
            for name in page["buckets"]:
                yield name

    async def _pages(self, target: str, query: dict[str, str], shape: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the pages of a listing. Raises AnswerUnexpected when its cursor comes back."""
        seen: set[str] = set()
        while True:
            page = await self.json("GET", target, shape, query=query)
            yield page
            cursor = page["cursor"]
            if cursor is None:
                return
            if not cursor or cursor in seen:
                raise AnswerUnexpected(f"unexpected answer from {self.url}: the listing does not advance", url=self.url)
            seen.add(cursor)
            query["cursor"] = cursor

    async def stat(self, bucket: str, path: str, first: int = 0) -> dict[str, Any]:
        """Return a file's version, record holders and the whereabouts of up to 1024 chunks from number `first` on;
        "next" is the number to go on with, or None."""
        query = {"first": str(first)} if first else {}
        found = await self.json("GET", f"/v1/metadata/{quoted_name(bucket, path)}", FileStat, query=query)
        if found["next"] is not None and found["next"] <= first:
            raise AnswerUnexpected(f"unexpected answer from {self.url}: the chunks do not advance", url=self.url)
        return found

    async def delete(self, bucket: str, path: str) -> None:
        """Delete a file."""
        file = FileName(bucket, path)
        async with self.request("DELETE", _files(bucket, path), statuses=(204,), file=file):
            return


class _Body:
    """What a PUT sends. error: what the source raised; aiohttp tells of a broken connection instead."""

    def __init__(
        self, source: bytes | bytearray | LocalSource | AsyncIterator[bytes], on_progress: Callable[[int], object]
    ) -> None:
        self._on_progress = on_progress
        self.error: Exception | None = None
        self.size_bytes: int | None = None
        if isinstance(source, bytes | bytearray):
            self.size_bytes, self._pieces = len(source), _byte_pieces(source)
        elif isinstance(source, LocalSource):
            self.size_bytes, self._pieces = source.size_bytes, source.pieces()
        else:
            self._pieces = source

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        try:
            async for piece in self._pieces:
                yield piece
                self._on_progress(len(piece))
        except Exception as error:
            self.error = error
            raise


async def _byte_pieces(source: bytes | bytearray) -> AsyncIterator[bytes]:
    view = memoryview(source)
    for start in range(0, len(view), PIECE_SIZE_BYTES):
        yield bytes(view[start : start + PIECE_SIZE_BYTES])


def _files(bucket: str, path: str) -> str:
    return f"/v1/files/{quoted_name(bucket, path)}"
