"""What responses look like: versions as headers and JSON."""

import base64
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from dynafs.files import FileName, Record, Version
from dynafs.replication.commit import Receipt

#: Stored files are strangers' bytes: a browser must not run them with the page's rights.
CONTENT_SECURITY_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
META_PREFIX = "X-Meta-"


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    body = msgspec.json.encode(value) + b"\n"
    return web.Response(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})


@lru_cache(maxsize=1024)
def _http_date(unix_s: int) -> str:
    return formatdate(unix_s, usegmt=True)


def version_headers(version: Version) -> dict[str, str]:
    """Return the headers that describe a stored file."""
    headers = {
        "Content-Type": version.content_type,
        "ETag": f'"{version.etag}"',
        "Last-Modified": _http_date(version.stamp.wall_ms // 1000),
        "Accept-Ranges": "bytes",
        "X-Dynafs-Version": str(version.stamp),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    }
    for name, value in version.metadata.items():
        headers[META_PREFIX + name] = value
    return headers


def version_json(version: Version) -> dict[str, Any]:
    """Return the JSON form of a version."""
    return {
        "version": str(version.stamp),
        "kind": version.kind.value,
        "size_bytes": version.size_bytes,
        "etag": version.etag,
        "content_type": version.content_type,
        "modified_unix_ms": version.stamp.wall_ms,
        "metadata": version.metadata,
    }


def context_header(record: Record) -> str:
    """Return what a reader of this record has seen, for its next write."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(record.context)).decode()


def siblings_response(name: FileName, record: Record) -> web.Response:
    """Return 300: versions stand beside each other, and nobody has said which is right."""
    url = file_url(name)
    rows = [{**version_json(one), "url": f"{url}?version={quote(str(one.stamp), safe='')}"} for one in record.files]
    told = {"bucket": name.bucket, "path": name.path, "versions": rows, "context": context_header(record)}
    return json_response(told, 300, {"X-Dynafs-Context": context_header(record)})


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
