"""A file that is being read from a node, and the check that what arrives is what was stored."""

import re
from collections.abc import AsyncIterator, Mapping

import aiohttp
from blake3 import blake3

from dynafs.client.connection import reason_of
from dynafs.errors import ContentMismatch, ServerUnreachable
from dynafs.files.policy import CHUNK_SIZE_BYTES_MAX, CHUNK_SIZE_BYTES_MIN
from dynafs.files.version import etag_of

PIECE_SIZE_BYTES = 1 << 20
CHUNK_SIZE_HEADER = "X-Dynafs-Chunk-Size"
VERSION_HEADER = "X-Dynafs-Version"
_ETAG = re.compile(r"[0-9a-f]{32}")


class RemoteFile:
    """An opened file: its headers are there, its bytes stream.

    version: its stamp. context: what its reader has seen, for the `seen` of the next `put`; empty in buckets that keep
    one version.
    """

    def __init__(self, response: aiohttp.ClientResponse, name: str) -> None:
        """name: for messages."""
        self._response, self._name = response, name
        headers = response.headers
        self.size_bytes = response.content_length or 0
        self.etag = headers.get("ETag", "").strip('"')
        self.version = headers.get(VERSION_HEADER, "")
        self.content_type = headers.get("Content-Type", "")
        self.context = headers.get("X-Dynafs-Context", "")
        is_whole = response.status == 200 and _ETAG.fullmatch(self.etag)
        self._chunk_size_bytes = _chunk_size_of(headers, self.size_bytes) if is_whole else None

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes in order. A whole file is compared with its ETag at its end: of what was yielded nothing is
        right before the iteration ends without an error. Raises ServerUnreachable when the bytes break off, and
        ContentMismatch."""
        digest = _Digest(self._chunk_size_bytes) if self._chunk_size_bytes else None
        try:
            async for piece in self._response.content.iter_chunked(PIECE_SIZE_BYTES):
                if digest is not None:
                    digest.update(piece)
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnreachable(f"the download broke off: {reason_of(error)}") from error
        if digest is not None and (actual := digest.etag()) != self.etag:
            raise ContentMismatch(
                f"{self._name}: the bytes that arrived are not those of version {self.version}",
                etag=self.etag, actual=actual,
            )  # fmt: skip


class _Digest:
    """Computes the ETag of contents whose chunks have this size."""

    def __init__(self, chunk_size_bytes: int) -> None:
        self._chunk_size_bytes = chunk_size_bytes
        self._ids: list[bytes] = []
        self._hash, self._left = blake3(), chunk_size_bytes

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(piece)
        while view:
            if not self._left:
                self._ids.append(self._hash.digest())
                self._hash, self._left = blake3(), self._chunk_size_bytes
            part = view[: self._left]
            self._hash.update(part)
            self._left -= len(part)
            view = view[len(part) :]

    def etag(self) -> str:
        """Return the ETag of all of them."""
        return etag_of([*self._ids, self._hash.digest()])


def _chunk_size_of(headers: Mapping[str, str], size_bytes: int) -> int | None:
    """Return the size of a file's chunks, None when the node does not say. Without a statement, what fits into the
    smallest chunk there is has only one."""
    text = headers.get(CHUNK_SIZE_HEADER, "")
    if text.isascii() and text.isdigit() and len(text) < 10:
        size = int(text)
        return size if CHUNK_SIZE_BYTES_MIN <= size <= CHUNK_SIZE_BYTES_MAX else None
    return CHUNK_SIZE_BYTES_MIN if size_bytes <= CHUNK_SIZE_BYTES_MIN else None
