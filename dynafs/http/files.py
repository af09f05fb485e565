"""/v1/files: contents in and out."""

import time

import msgspec
from aiohttp import web

from dynafs.coordinator.upload import UploadPlan
from dynafs.errors import NotFound, RequestInvalid
from dynafs.files import FileName, Record, Version
from dynafs.files.conditions import Validators, must_send, select_ranges
from dynafs.files.ranges import ByteRange
from dynafs.http.asking import CONTEXT_HEADER, body_of, context_of, query_of, quorum_of
from dynafs.http.fields import conditions_of
from dynafs.http.owners import owners_header
from dynafs.http.pace import Pace
from dynafs.http.ready import ReadyResponse
from dynafs.http.rendering import (
    file_url,
    not_modified_response,
    receipt_json,
    siblings_response,
    version_headers,
)
from dynafs.http.sending import Sender
from dynafs.http.upload_headers import content_type_of, expected_digests, metadata_of
from dynafs.services import Replication

QUORUM_QUERY = ("r", "w", "consistency")
#: One file cannot be larger: 1024 pages of 1024 chunks.
PAGES_MAX = 1024


class FileRoutes:
    """PUT, GET, HEAD and DELETE of single files."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._n = replication.ring.n
        self._settings = replication.settings.http
        self._sender = Sender(replication.files, self._settings)

    async def put(self, request: web.BaseRequest, name: FileName, raw_query: str) -> web.StreamResponse:
        """Store the body."""
        replication, headers = self._replication, request.headers
        asked = quorum_of(query_of(raw_query, QUORUM_QUERY), self._n)
        seen = context_of(headers, replication.context_tokens, name)
        expected, metadata = expected_digests(headers), metadata_of(headers)
        policy = await replication.buckets.find_or_make(name.bucket)
        size_bytes, pace = request.content_length, Pace(request.remote or "", self._settings)
        if size_bytes is not None and size_bytes > PAGES_MAX * PAGES_MAX * policy.chunk_size_bytes:
            raise RequestInvalid("Content-Length", f"a file of {size_bytes} bytes is too large")
        plan = UploadPlan(
            name, replication.buckets.quorum(policy, *asked, is_write=True), policy.chunk_size_bytes, size_bytes,
            content_type_of(headers), metadata, expected, policy.keeps_both, seen, pace,
        )  # fmt: skip
        receipt = await replication.uploader.upload(plan, body_of(request, pace))
        told = {"ETag": f'"{receipt.version.etag}"', "X-Dynafs-Version": str(receipt.version.stamp)}
        told |= owners_header(replication, name)
        fields = {"Content-Type": "application/json", **told, "Location": file_url(name)}
        return ReadyResponse(201, fields, msgspec.json.encode(receipt_json(name, receipt)) + b"\n")

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
        fields = version_headers(version, now_s) | owners_header(replication, name)
        if policy.keeps_both:
            fields[CONTEXT_HEADER] = replication.context_tokens.issue(name.key, record)
        current, conditions = Validators(version.etag, version.stamp.wall_ms // 1000), conditions_of(request.headers)
        if conditions is not None and not must_send(conditions, current, now_s):
            return not_modified_response(fields)
        if request.method == "HEAD":
            fields["Content-Length"] = str(version.size_bytes)
            return ReadyResponse(200, fields)
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
        """Send all of a version, or some ranges of it."""
        if ranges is None:
            if version.inline is not None:
                return ReadyResponse(200, fields, version.inline)
            everything = [ByteRange(0, version.size_bytes)]
            return await self._sender.send(request, name, version, everything, web.StreamResponse(headers=fields))
        if len(ranges) == 1:
            fields["Content-Range"] = f"bytes {ranges[0].start}-{ranges[0].stop - 1}/{version.size_bytes}"
        return await self._sender.send(request, name, version, ranges, web.StreamResponse(status=206, headers=fields))

    async def delete(self, request: web.BaseRequest, name: FileName, raw_query: str) -> web.StreamResponse:
        """Write a tombstone."""
        replication = self._replication
        asked = quorum_of(query_of(raw_query, QUORUM_QUERY), self._n)
        seen = context_of(request.headers, replication.context_tokens, name)
        policy = await replication.buckets.find(name.bucket)
        quorum = replication.buckets.quorum(policy, *asked, is_write=True)
        receipt = await replication.files.delete(name, quorum, seen)
        return ReadyResponse(204, {"X-Dynafs-Version": str(receipt.version.stamp), **owners_header(replication, name)})


def _chosen(name: FileName, record: Record, text: str | None) -> Version:
    """Return the version a request is about. Raises NotFound."""
    if text is None:
        return record.files[0]
    for version in record.files:
        if str(version.stamp) == text:
            return version
    raise NotFound("version", f"{name} {text[:100]}")
