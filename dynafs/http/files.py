"""/v1/files: contents in and out."""

import asyncio
import time
from secrets import token_hex

from aiohttp import web

from dynafs.errors import DynafsError, NotFound, RequestInvalid
from dynafs.files import FileName, Record, Version
from dynafs.files.conditions import Validators, must_send, select_ranges
from dynafs.files.ranges import ByteRange
from dynafs.http.asking import CONTEXT_HEADER, body_of, context_of, query_of, quorum_of
from dynafs.http.fields import conditions_of
from dynafs.http.rendering import (
    file_url,
    json_response,
    not_modified_response,
    part_headers,
    receipt_json,
    siblings_response,
    version_headers,
)
from dynafs.http.upload_headers import content_type_of, expected_digests, metadata_of
from dynafs.observe.events import get_logger
from dynafs.replication.cluster import Replication
from dynafs.replication.files import Download
from dynafs.replication.upload import UploadPlan

log = get_logger()

QUORUM_QUERY = ("r", "w", "consistency")
#: One file cannot be larger: 1024 pages of 1024 chunks.
PAGES_MAX = 1024


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
        seen = context_of(headers, replication.context_tokens, name)
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
        replication = self._replication
        query = query_of(raw_query, (*QUORUM_QUERY, "version"))
        asked = quorum_of(query, self._n)
        policy = await replication.buckets.find(name.bucket)
        record = await replication.files.read(
            name, replication.buckets.quorum(policy, asked.r, None, asked.consistency)
        )
        if len(record.files) > 1 and "version" not in query:
            return siblings_response(name, record, replication.context_tokens.issue(name.key, record))
        version, now_s = _chosen(name, record, query.get("version")), time.time()
        fields = version_headers(version, now_s)
        if policy.keeps_both:
            fields[CONTEXT_HEADER] = replication.context_tokens.issue(name.key, record)
        current, conditions = Validators(version.etag, version.stamp.wall_ms // 1000), conditions_of(request.headers)
        if conditions is not None and not must_send(conditions, current, now_s):
            return not_modified_response(fields)
        if request.method == "HEAD":
            fields["Content-Length"] = str(version.size_bytes)
            return web.Response(status=200, headers=fields)
        ranges = None if conditions is None else select_ranges(conditions, current, version.size_bytes, now_s)
        return await self._send_some(request, name, version, ranges, fields)

    async def _send_some(
        self,
        request: web.BaseRequest,
        name: FileName,
        version: Version,
        ranges: list[ByteRange] | None,
        fields: dict[str, str],
    ) -> web.StreamResponse:
        """Send the whole file, or ranges of it."""
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
        seen = context_of(request.headers, replication.context_tokens, name)
        policy = await replication.buckets.find(name.bucket)
        quorum = replication.buckets.quorum(policy, *asked, is_write=True)
        receipt = await replication.files.delete(name, quorum, seen)
        return web.Response(status=204, headers={"X-Dynafs-Version": str(receipt.version.stamp)})

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
        described = part_headers(fields)
        heads = [
            f"\r\n--{boundary}\r\n{described}"
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
