"""What responses look like: versions as headers and JSON."""

from collections.abc import MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from dynafs.coordinator.commit import Receipt
from dynafs.files import FileName, Record, Version
from dynafs.files.version import HEADER_FIELDS

#: Stored files are strangers' bytes: a browser must not run them with the page's rights.
CONTENT_SECURITY_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; frame-ancestors 'none'"
)
META_PREFIX = "X-Meta-"
#: What describes the bytes of a body.
BODY_FIELDS = ("Content-Type", "Content-Encoding", "Content-Language")


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    body = msgspec.json.encode(value) + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})


@lru_cache(maxsize=1024)
def http_date(unix_s: int) -> str:
    """Return a time in the form of header fields (RFC 9110 section 5.6.7)."""
    return formatdate(unix_s, usegmt=True)


def version_headers(version: Version, now_s: float) -> dict[str, str]:
    """Return the headers that describe a stored file. now_s: Unix seconds; no file was changed later than that (RFC
    9110 section 8.8.2.1), whatever the clock of the node that stamped it says."""
    headers = {
        "Content-Type": version.content_type,
        "ETag": f'"{version.etag}"',
        "Last-Modified": http_date(min(version.stamp.wall_ms // 1000, int(now_s))),
        "Accept-Ranges": "bytes",
        "X-Dynafs-Version": str(version.stamp),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    }
    if version.manifest is not None:
        # With it a reader can compute the ETag.
        headers["X-Dynafs-Chunk-Size"] = str(version.manifest.chunk_size_bytes)
    for name, value in version.metadata.items():
        headers[name if name in HEADER_FIELDS else META_PREFIX + name] = value
    return headers


def not_modified_response(headers: dict[str, str]) -> web.Response:
    """Return 304 with the headers of the 200, without those that describe a body (RFC 9110 section 15.4.5)."""
    kept = {name: value for name, value in headers.items() if name not in BODY_FIELDS}
    return web.Response(status=304, headers=kept)


def part_headers(headers: MutableMapping[str, str]) -> str:
    """Return the header lines of one range among several, and take them out of the response's headers: they describe
    the file, not the multipart body around it."""
    moved = [f"{name}: {headers.pop(name)}\r\n" for name in BODY_FIELDS if name in headers]
    return "".join(moved)


def version_json(version: Version) -> dict[str, Any]:
    """Return the JSON form of a version."""
    return {
        "version": str(version.stamp),
        "kind": version.kind.value,
        "size_bytes": version.size_bytes,
        "etag": version.etag,
        "content_type": version.content_type,
        "modified_unix_ms": version.stamp.wall_ms,
        "metadata": version.user_metadata,
        "headers": version.header_fields,
    }


class ListedFile(msgspec.Struct, frozen=True):
    """A file in a listing: the JSON form of its version, and what stands beside it. Encoded without a dict per file."""

    path: str
    version: str
    kind: str
    size_bytes: int
    etag: str
    content_type: str
    modified_unix_ms: int
    metadata: dict[str, str]
    headers: dict[str, str]
    siblings: int


_NO_METADATA: dict[str, str] = {}


def listed_file(path: str, version: Version, siblings: int) -> ListedFile:
    """Return a file as listings show it."""
    has_metadata, stamp = bool(version.metadata), version.stamp
    return ListedFile(
        path, str(stamp), version.kind.value, version.size_bytes, version.etag, version.content_type, stamp.wall_ms,
        version.user_metadata if has_metadata else _NO_METADATA,
        version.header_fields if has_metadata else _NO_METADATA,
        siblings,
    )  # fmt: skip


def siblings_response(name: FileName, record: Record, token: str) -> web.Response:
    """Return 300: versions stand beside each other until a write with `token` resolves them."""
    url = file_url(name)
    rows = [{**version_json(one), "url": f"{url}?version={quote(str(one.stamp), safe='')}"} for one in record.files]
    shown = {"bucket": name.bucket, "path": name.path, "versions": rows, "context": token}
    return json_response(shown, 300, {"X-Dynafs-Context": token})


def receipt_json(name: FileName, receipt: Receipt) -> dict[str, Any]:
    """Return what the writer of a file is told."""
    version = receipt.version
    return {
        "bucket": name.bucket,
        "path": name.path,
        "version": str(version.stamp),
        "size_bytes": version.size_bytes,
        "etag": version.etag,
        "stored_on": receipt.stored_on,
    }


def file_url(name: FileName) -> str:
    """Return the path under which a file is served."""
    return f"/v1/files/{quote(name.bucket)}/{quote(name.path)}"
