"""/v1/files: contents in and out."""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from secrets import token_hex

from aiohttp import web

from dynafs.errors import DynafsError, NotFound, NotSupported, RequestInvalid
from dynafs.files import FileName, Record, Version
from dynafs.files.ranges import ByteRange, etag_matches, parse_ranges
from dynafs.http.asking import CONTEXT_HEADER, body_of, context_of, query_of, quorum_of
from dynafs.http.rendering import (
    META_PREFIX,
    context_header,
    file_url,
    json_response,
    receipt_json,
    siblings_response,
    version_headers,
)
from dynafs.observe.events import get_logger
from dynafs.replication.cluster import Replication
from dynafs.replication.files import Download
from dynafs.replication.upload import ExpectedDigest, UploadPlan

log = get_logger()

QUORUM_QUERY = ("r", "w", "consistency")
METADATA_SIZE_BYTES_MAX = 4096
CONTENT_TYPE_SIZE_BYTES_MAX = 256
#: One file cannot be larger: 1024 pages of 1024 chunks.
PAGES_MAX = 1024
_DIGEST_SIZES = {"md5": 16, "sha-256": 32, "blake3": 32}
_REPR_DIGEST = re.compile(r"\s*([a-z0-9-]+)=:([A-Za-z0-9+/=]*):\s*")


class FileRoutes:
    """PUT, GET, HEAD and DELETE of single files."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._n = replication.ring.n
        self._stall_timeout_s = replication.settings.http.body_stall_timeout_s

    async def put(self, request: web.BaseRequest, name: FileName, raw_query: str) -> web.StreamResponse:
        """Store the body."""
        replication, headers = self._replication, request.headers
        asked = quorum_of(query_of(raw_query, QUORUM_QUERY), self._n)
        refuse_conditions(headers)
        seen = context_of(headers)
        expected, metadata = expected_digests(headers), metadata_of(headers)
        policy = await replication.buckets.find_or_make(name.bucket)
        size_bytes = request.content_length
        if size_bytes is not None and size_bytes > PAGES_MAX * PAGES_MAX * policy.chunk_size_bytes:
            raise RequestInvalid("Content-Length", f"a file of {size_bytes} bytes is too large")
        plan = UploadPlan(
            name, replication.buckets.quorum(policy, *asked, is_write=True), policy.chunk_size_bytes, size_bytes,
            content_type_of(headers), metadata, expected, policy.keeps_both, seen,
        )  # fmt: skip
        receipt = await replication.uploader.upload(plan, body_of(request, self._stall_timeout_s))
        told = {"ETag": f'"{receipt.version.etag}"', "X-Dynafs-Version": str(receipt.version.stamp)}
        return json_response(receipt_json(name, receipt), 201, {**told, "Location": file_url(name)})

    async def get(self, request: web.BaseRequest, name: FileName, raw_query: str) -> web.StreamResponse:
        """Send the newest version, or what was asked of it."""
        replication, headers = self._replication, request.headers
        query = query_of(raw_query, (*QUORUM_QUERY, "version"))
        asked = quorum_of(query, self._n)
        policy = await replication.buckets.find(name.bucket)
        record = await replication.files.read(
            name, replication.buckets.quorum(policy, asked.r, None, asked.consistency)
        )
        if len(record.files) > 1 and "version" not in query:
            return siblings_response(name, record)
        version = _chosen(name, record, query.get("version"))
        fields = version_headers(version)
        if policy.keeps_both:
            fields[CONTEXT_HEADER] = context_header(record)
        if is_unmodified(headers, version):
            del fields["Content-Type"]
            return web.Response(status=304, headers=fields)
        ranges = self._ranges(headers, version)
        if request.method == "HEAD":
            fields["Content-Length"] = str(version.size_bytes)
            return web.Response(status=200, headers=fields)
        if ranges is None:
            if version.inline is not None:
                return web.Response(body=version.inline, headers=fields)
            return await self._send(request, name, version, ByteRange(0, version.size_bytes), 200, fields)
        if len(ranges) > 1:
            return await self._send_ranges(request, name, version, ranges, fields)
        found = ranges[0]
        fields["Content-Range"] = f"bytes {found.start}-{found.stop - 1}/{version.size_bytes}"
        return await self._send(request, name, version, found, 206, fields)

    async def delete(self, request: web.BaseRequest, name: FileName, raw_query: str) -> web.StreamResponse:
        """Write a tombstone."""
        replication = self._replication
        asked = quorum_of(query_of(raw_query, QUORUM_QUERY), self._n)
        refuse_conditions(request.headers)
        policy = await replication.buckets.find(name.bucket)
        receipt = await replication.files.delete(name, replication.buckets.quorum(policy, *asked, is_write=True))
        return web.Response(status=204, headers={"X-Dynafs-Version": str(receipt.version.stamp)})

    def _ranges(self, headers: Mapping[str, str], version: Version) -> list[ByteRange] | None:
        header = headers.get("Range")
        if header is None:
            return None
        condition = headers.get("If-Range")
        if condition is not None and not _if_range_holds(condition, version):
            return None
        return parse_ranges(header, version.size_bytes)

    async def _send(
        self,
        request: web.BaseRequest,
        name: FileName,
        version: Version,
        part: ByteRange,
        status: int,
        fields: dict[str, str],
    ) -> web.StreamResponse:
        download = await self._replication.files.open(name, version, part.start, part.stop)
        response = web.StreamResponse(status=status, headers=fields)
        response.content_length = part.stop - part.start
        try:
            await response.prepare(request)
            await self._pump(request, response, download, name)
        finally:
            download.close()
        await response.write_eof()
        return response

    async def _pump(
        self, request: web.BaseRequest, response: web.StreamResponse, download: Download, name: FileName
    ) -> None:
        """Write the pieces; cut the connection when one cannot be had or the client takes none."""
        try:
            async for piece in download.pieces():
                async with asyncio.timeout(self._stall_timeout_s):
                    await response.write(piece)
        except (DynafsError, TimeoutError) as error:
            code = error.code if isinstance(error, DynafsError) else "client_stalled"
            log.warning("download.aborted", bucket=name.bucket, path=name.path, code=code)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("download aborted") from error

    async def _send_ranges(
        self,
        request: web.BaseRequest,
        name: FileName,
        version: Version,
        ranges: list[ByteRange],
        fields: dict[str, str],
    ) -> web.StreamResponse:
        """Send several ranges as multipart/byteranges (RFC 9110 section 14.6)."""
        boundary = token_hex(16)
        content_type = fields["Content-Type"]
        heads = [
            f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
            f"Content-Range: bytes {one.start}-{one.stop - 1}/{version.size_bytes}\r\n\r\n".encode()
            for one in ranges
        ]
        tail = f"\r\n--{boundary}--\r\n".encode()
        fields["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        response = web.StreamResponse(status=206, headers=fields)
        response.content_length = sum(map(len, heads)) + sum(b - a for a, b in ranges) + len(tail)
        download = await self._replication.files.open(name, version, *ranges[0])
        await response.prepare(request)
        for index, (head, part) in enumerate(zip(heads, ranges, strict=True)):
            if index:
                download = await self._reopen(request, name, version, part)
            try:
                await response.write(head)
                await self._pump(request, response, download, name)
            finally:
                download.close()
        await response.write_eof(tail)
        return response

    async def _reopen(self, request: web.BaseRequest, name: FileName, version: Version, part: ByteRange) -> Download:
        try:
            return await self._replication.files.open(name, version, *part)
        except DynafsError as error:
            log.warning("download.aborted", bucket=name.bucket, path=name.path, code=error.code)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("download aborted") from error


def _chosen(name: FileName, record: Record, text: str | None) -> Version:
    """Return the version a request is about. Raises NotFound."""
    if text is None:
        return record.files[0]
    for version in record.files:
        if str(version.stamp) == text:
            return version
    raise NotFound("version", f"{name} {text[:100]}")


def refuse_conditions(headers: Mapping[str, str]) -> None:
    """Raise NotSupported for conditional writes: they would not be atomic, and half a promise is worse than none."""
    for field in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
        if field in headers:
            raise NotSupported(f"{field} on writes is not supported: it could not be kept atomic", field=field)


def content_type_of(headers: Mapping[str, str]) -> str:
    """Return the content type to remember."""
    value = headers.get("Content-Type", "application/octet-stream")
    if len(value) > CONTENT_TYPE_SIZE_BYTES_MAX or not value.isprintable():
        raise RequestInvalid("Content-Type", f"use at most {CONTENT_TYPE_SIZE_BYTES_MAX} printable characters")
    return value or "application/octet-stream"


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the X-Meta-* headers, lower-case and without their prefix."""
    prefix = META_PREFIX.lower()
    found = {n.lower()[len(prefix) :]: v for n, v in headers.items() if n.lower().startswith(prefix)}
    size = sum(len(n.encode()) + len(v.encode("utf-8", "surrogateescape")) for n, v in found.items())
    if size > METADATA_SIZE_BYTES_MAX:
        raise RequestInvalid("X-Meta-*", f"{size} bytes of metadata, at most {METADATA_SIZE_BYTES_MAX} are kept")
    for name, value in found.items():
        if not name or not value.isprintable():
            raise RequestInvalid(f"X-Meta-{name}", "use a name and printable UTF-8")
    return found


def expected_digests(headers: Mapping[str, str]) -> tuple[ExpectedDigest, ...]:
    """Return what the client says the body hashes to, by Content-MD5, Repr-Digest (RFC 9530) or X-Content-Blake3."""
    found = []
    if (text := headers.get("Content-MD5")) is not None:
        found.append(_expected("Content-MD5", "md5", text, is_hex=False))
    if (text := headers.get("X-Content-Blake3")) is not None:
        found.append(_expected("X-Content-Blake3", "blake3", text, is_hex=True))
    for item in filter(None, headers.get("Repr-Digest", "").split(",")):
        match = _REPR_DIGEST.fullmatch(item)
        if match is None:
            raise RequestInvalid("Repr-Digest", "use ALGORITHM=:BASE64:")
        if match[1] in ("sha-256", "md5"):
            found.append(_expected("Repr-Digest", match[1], match[2], is_hex=False))
        else:
            raise NotSupported(f"{match[1]} is not checked; use sha-256", field="Repr-Digest")
    return tuple(found)


def _expected(field: str, algorithm: str, text: str, *, is_hex: bool) -> ExpectedDigest:
    try:
        digest = bytes.fromhex(text) if is_hex else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != _DIGEST_SIZES[algorithm]:
        form = "hexadecimal" if is_hex else "base64"
        raise RequestInvalid(field, f"not a {algorithm} digest in {form}")
    return ExpectedDigest(field, algorithm, digest)


def is_unmodified(headers: Mapping[str, str], version: Version) -> bool:
    """Return whether a conditional GET is answered with 304; If-None-Match outranks If-Modified-Since."""
    if (tags := headers.get("If-None-Match")) is not None:
        return etag_matches(tags, version.etag, weak=True)
    since = _seconds_of(headers.get("If-Modified-Since"))
    return since is not None and version.stamp.wall_ms // 1000 <= since


def _if_range_holds(condition: str, version: Version) -> bool:
    if condition.startswith('"'):
        return etag_matches(condition, version.etag, weak=False)
    # Two writes may share a second, so a date proves nothing unless it is exact and old enough; an ETag is the way.
    return _seconds_of(condition) == version.stamp.wall_ms // 1000


def _seconds_of(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
