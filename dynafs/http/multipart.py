"""POST /v1/files: forms with any number of files."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from dynafs.coordinator.upload import UploadPlan
from dynafs.errors import DynafsError, NameInvalid, RequestInvalid
from dynafs.files import FileName
from dynafs.http.asking import CONTEXT_HEADER, body_of, context_of, decoded, query_of, quorum_of
from dynafs.http.disposition import boundary_of
from dynafs.http.fields import Headers, check_write_fields
from dynafs.http.files import QUORUM_QUERY
from dynafs.http.form import FilePart, Form
from dynafs.http.pace import Pace
from dynafs.http.rendering import META_PREFIX, json_response, receipt_json
from dynafs.http.upload_headers import FOREIGN_META_PREFIX, content_type_of, expected_digests, metadata_of
from dynafs.services import Replication

#: Headers that speak of one file, {lower case: name}. On the request of a form it would be unclear of which.
_OF_ONE_FILE = {
    name.lower(): name
    for name in (
        "Content-MD5", "Repr-Digest", "Content-Digest", "Digest", "X-Content-Blake3", "Content-Range", CONTEXT_HEADER,
        "Content-Disposition", "Content-Language", "Expires",
    )
}  # fmt: skip
#: Transfer encodings that leave the bytes as they are; others have no place in HTTP (RFC 7578 section 4.7).
_PLAIN_ENCODINGS = ("binary", "8bit", "7bit", "identity")


class MultipartRoutes:
    """Uploads from browser forms and `curl -F`."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._settings = replication.settings.http
        self._files_max = replication.settings.limits.multipart_files_max

    async def post(self, request: web.BaseRequest, rest: str, raw_query: str) -> web.StreamResponse:
        """Store every file of the form under the prefix, one after the other. Files stored before an error stay, and
        the error names them."""
        query = query_of(raw_query, QUORUM_QUERY)
        boundary = boundary_of(request.headers.get("Content-Type", ""))
        _check_request(request.headers)
        bucket, _, raw_prefix = rest.partition("/")
        prefix = decoded(raw_prefix, "path")
        if prefix and not prefix.endswith("/"):
            prefix += "/"
        pace = Pace(request.remote or "", self._settings)
        form = Form(boundary, body_of(request, pace), self._files_max)
        stored: list[dict[str, Any]] = []
        try:
            while (part := await form.next_file()) is not None:
                name = FileName.parse(decoded(bucket, "bucket"), prefix + _path_of(part.filename))
                stored.append(await self._store(name, part, form, query, pace))
        except DynafsError as error:
            error.evidence["stored"] = stored
            raise
        if not stored:
            raise RequestInvalid("body", "the form has no file: every file part needs a filename")
        return json_response({"files": stored}, 201)

    async def _store(
        self, name: FileName, part: FilePart, form: Form, query: Mapping[str, str], pace: Pace
    ) -> dict[str, Any]:
        replication, headers = self._replication, part.headers
        _check_part(headers)
        asked = quorum_of(query, replication.ring.n)
        seen, expected, metadata = (
            context_of(headers, replication.context_tokens, name),
            expected_digests(headers),
            metadata_of(headers),
        )
        policy = await replication.buckets.find_or_make(name.bucket)
        plan = UploadPlan(
            name, replication.buckets.quorum(policy, *asked, is_write=True), policy.chunk_size_bytes, None,
            content_type_of(headers), metadata, expected, policy.keeps_both, seen, pace,
        )  # fmt: skip
        receipt = await replication.uploader.upload(plan, form.pieces())
        return receipt_json(name, receipt)


def _path_of(filename: str) -> str:
    """Return a part's filename as a path below the prefix."""
    if filename.endswith("/"):
        raise NameInvalid("filename", "the name ends in '/'; name a file")
    return filename.lstrip("/")


def _check_request(headers: Headers) -> None:
    """Refuse what would be dropped: a header that is about one file, on a form with any number of them. Cache-Control
    is passed over: browsers send it about the request itself."""
    for field in headers:
        lower = field.lower()
        prefix = next((one for one in (META_PREFIX, FOREIGN_META_PREFIX) if lower.startswith(one.lower())), "")
        name = f"{prefix.title()}*" if prefix else _OF_ONE_FILE.get(lower)
        if name is not None:
            raise RequestInvalid(name, "is about one file; send it with that file's part of the form, or use PUT")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestInvalid("Content-Encoding", "a form cannot be compressed as a whole; send it as it is")


def _check_part(headers: Headers) -> None:
    """Refuse what would change what a part's bytes mean and is not done."""
    check_write_fields(headers)
    if headers.get("Content-Transfer-Encoding", "binary").strip().lower() not in _PLAIN_ENCODINGS:
        raise RequestInvalid("Content-Transfer-Encoding", f"use {' or '.join(_PLAIN_ENCODINGS)}: send the bytes as is")
