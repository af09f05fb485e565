"""POST /v1/files: forms with any number of files."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import BodyPartReader, ClientConnectionError, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from dynafs.errors import BodyIncomplete, DynafsError, RequestInvalid
from dynafs.files import FileName
from dynafs.http.asking import decoded, invite_body, query_of, quorum_of
from dynafs.http.files import QUORUM_QUERY
from dynafs.http.rendering import json_response, receipt_json
from dynafs.http.upload_headers import content_type_of
from dynafs.replication.cluster import Replication
from dynafs.replication.upload import UploadPlan

READ_SIZE_BYTES = 128 << 10
#: Plain form fields beside the files are read over; a form has few and small ones.
FIELD_SIZE_BYTES_MAX = 64 << 10


class MultipartRoutes:
    """Uploads from browser forms and `curl -F`."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._limits = replication.settings.limits
        self._stall_timeout_s = replication.settings.http.body_stall_timeout_s

    async def post(self, request: web.BaseRequest, rest: str, raw_query: str) -> web.StreamResponse:
        """Store every file of the form under the prefix, one after the other. Files stored before an error stay, and
        the error names them."""
        query = query_of(raw_query, QUORUM_QUERY)
        if not request.content_type.startswith("multipart/"):
            raise RequestInvalid("Content-Type", "use multipart/form-data here, or PUT to store one file")
        bucket, _, raw_prefix = rest.partition("/")
        prefix = decoded(raw_prefix, "path")
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        stored: list[dict[str, Any]] = []
        try:
            await self._store_all(request, decoded(bucket, "bucket"), prefix, query, stored)
        except DynafsError as error:
            error.evidence["stored"] = stored
            raise
        if not stored:
            raise RequestInvalid("body", "the form has no file: every file part needs a filename")
        return json_response({"files": stored}, 201)

    async def _store_all(
        self,
        request: web.BaseRequest,
        bucket: str,
        prefix: str,
        query: dict[str, str],
        stored: list[dict[str, Any]],
    ) -> None:
        await invite_body(request)
        try:
            reader = await request.multipart()
            while (part := await self._next_part(reader)) is not None:
                if part.filename is None:
                    await self._skip_field(part)
                    continue
                if len(stored) >= self._limits.multipart_files_max:
                    raise RequestInvalid("body", f"at most {self._limits.multipart_files_max} files in one form")
                stored.append(await self._store_one(part, FileName.parse(bucket, prefix + part.filename), query))
        except DynafsError:
            raise
        except (ValueError, AssertionError, RuntimeError, LookupError) as error:
            raise RequestInvalid("body", f"not valid multipart/form-data: {error}") from None
        except (
            ClientConnectionError,
            HttpProcessingError,
            web.RequestPayloadError,
            ConnectionError,
        ) as error:
            raise BodyIncomplete(f"the form broke off: {error}") from None

    async def _next_part(self, reader: MultipartReader) -> BodyPartReader | None:
        async with asyncio.timeout(self._stall_timeout_s):
            part = await reader.next()
        if isinstance(part, MultipartReader):
            raise RequestInvalid("body", "nested multipart is not supported")
        return part

    async def _skip_field(self, part: BodyPartReader) -> None:
        size_bytes = 0
        async for piece in self._pieces(part):
            size_bytes += len(piece)
            if size_bytes > FIELD_SIZE_BYTES_MAX:
                raise RequestInvalid("body", f"a form field without a filename exceeds {FIELD_SIZE_BYTES_MAX} bytes")

    async def _store_one(self, part: BodyPartReader, name: FileName, query: dict[str, str]) -> dict[str, Any]:
        replication = self._replication
        asked = quorum_of(query, replication.ring.n)
        policy = await replication.buckets.find_or_make(name.bucket)
        plan = UploadPlan(
            name, replication.buckets.quorum(policy, *asked, is_write=True), policy.chunk_size_bytes,
            content_type=content_type_of(part.headers), keeps_both=policy.keeps_both,
        )  # fmt: skip
        receipt = await replication.uploader.upload(plan, self._pieces(part))
        return receipt_json(name, receipt)

    async def _pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        while not part.at_eof():
            try:
                async with asyncio.timeout(self._stall_timeout_s):
                    piece = await part.read_chunk(READ_SIZE_BYTES)
            except TimeoutError:
                raise BodyIncomplete(f"the form sent nothing for {self._stall_timeout_s:g} s") from None
            if piece:
                yield bytes(piece)
