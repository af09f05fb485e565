"""The API described to machines (OpenAPI 3.1). A test asks every path here of a real node."""

from typing import Any

from dynafs import __version__
from dynafs.files.ranges import RANGE_COUNT_MAX
from dynafs.files.version import HEADER_FIELDS


def _parameter(name: str, where: str, text: str, kind: str = "string") -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": text,
        "schema": {"type": kind},
    }


_BUCKET = _parameter("bucket", "path", "1 to 63 of A-Z a-z 0-9 . _ -")
_PATH = _parameter("path", "path", "name of the file, up to 1024 bytes of UTF-8; may contain '/'")
_QUORUM = [
    _parameter("r", "query", "owners to ask, if not the bucket's", "integer"),
    _parameter("w", "query", "owners that must confirm, if not the bucket's", "integer"),
    _parameter("consistency", "query", "strong"),
]


def _operation(
    summary: str, answers: dict[str, str], parameters: list[dict[str, Any]], body: str = ""
) -> dict[str, Any]:
    responses: dict[str, Any] = {status: {"description": text} for status, text in answers.items()}
    responses["default"] = {
        "description": "an error",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    operation: dict[str, Any] = {"summary": summary, "parameters": parameters, "responses": responses}
    if body:
        operation["requestBody"] = {"content": {body: {"schema": {"type": "string", "format": "binary"}}}}
    return operation


_FILE = [_BUCKET, _PATH, *_QUORUM]
_CONDITIONS = [
    _parameter("If-Match", "header", "412 unless it names the ETag"),
    _parameter("If-Unmodified-Since", "header", "412 when changed after that second"),
    _parameter("If-None-Match", "header", "304 when it names the ETag"),
    _parameter("If-Modified-Since", "header", "304 when not changed after that second"),
]
_RANGE = [
    _parameter("Range", "header", f"bytes; at most {RANGE_COUNT_MAX} ranges"),
    _parameter("If-Range", "header", "the whole unless it names the ETag"),
]
_KEPT = [_parameter(name, "header", "comes back with the file") for name in sorted(HEADER_FIELDS)]
_DIGESTS = [
    _parameter(name, "header", "digest of the body, checked")
    for name in ("Content-Digest", "Content-MD5", "Digest", "Repr-Digest", "X-Content-Blake3")
]
_READ_ANSWERS = {
    "200": "contents", "206": "ranges", "304": "not modified", "412": "a condition does not hold",
    "416": "no byte of the range exists",
}  # fmt: skip
_HEAD_ANSWERS = {"200": "headers", "304": "not modified", "412": "a condition does not hold"}
_VERSION = _parameter("version", "query", "one of several versions that stand side by side")
_CHUNK = _parameter("id", "path", "64 hexadecimal digits")
_PAGE = [_parameter("limit", "query", "rows", "integer"), _parameter("cursor", "query", "of the page before")]

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "dynafs", "version": __version__, "description": "Quorum-replicated file store"},
    "paths": {
        "/v1/files": {"get": _operation("List buckets", {"200": "a page of names"}, _PAGE)},
        "/v1/files/{bucket}": {
            "get": _operation(
                "List files", {"200": "a page of files and folded prefixes"},
                [_BUCKET, _parameter("prefix", "query", "only names that start so"),
                 _parameter("delimiter", "query", "fold names behind it"), *_PAGE],
            ),
            "post": _operation("Upload a form's files", {"201": "stored"}, [_BUCKET, *_QUORUM], "multipart/form-data"),
        },
        "/v1/files/{bucket}/{path}": {
            "put": _operation(
                "Store a file",
                {"201": "stored on W owners", "422": "not the digest that was announced",
                 "501": "a condition or coding that is not supported"},
                [*_FILE, *_KEPT, *_DIGESTS], "application/octet-stream",
            ),
            "get": _operation(
                "Read a file", {**_READ_ANSWERS, "300": "several versions, listed"},
                [*_FILE, _VERSION, *_CONDITIONS, *_RANGE],
            ),
            "head": _operation(
                "Describe a file", {**_HEAD_ANSWERS, "300": "several versions"}, [*_FILE, _VERSION, *_CONDITIONS]
            ),
            "delete": _operation("Delete a file", {"204": "deleted", "501": "a condition is not supported"}, _FILE),
            "post": _operation("Upload a form's files under a prefix", {"201": "stored"}, _FILE, "multipart/form-data"),
        },
        "/v1/buckets/{bucket}": {
            "put": _operation("Make a bucket with a policy", {"201": "made"}, [_BUCKET], "application/json"),
            "get": _operation("Show a bucket's policy", {"200": "policy"}, [_BUCKET]),
        },
        "/v1/metadata/{bucket}/{path}": {
            "get": _operation("Version, record holders and chunk whereabouts", {"200": "metadata"}, _FILE)
        },
        "/v1/explain/{bucket}/{path}": {
            "get": _operation("Who holds what of a file, why, and what happens next", {"200": "explanation"}, _FILE)
        },
        "/v1/chunks/{id}": {
            "get": _operation("One chunk", _READ_ANSWERS, [_CHUNK, *_CONDITIONS, *_RANGE]),
            "head": _operation("Describe a chunk", _HEAD_ANSWERS, [_CHUNK, *_CONDITIONS]),
        },
        "/v1/ring": {"get": _operation("The ring", {"200": "members and shares"}, [])},
        "/v1/ring/owners": {
            "get": _operation("Owners of all partitions, and where clients reach nodes", {"200": "owners"}, [])
        },
        "/v1/ring/locate/{bucket}/{path}": {
            "get": _operation("Where a file belongs", {"200": "nodes"}, [_BUCKET, _PATH])
        },
        "/v1/ring/plan": {"get": _operation("What the staged changes would take", {"200": "plan"}, [])},
        "/v1/ring/stage": {
            "post": _operation("Stage a change", {"200": "plan", "400": "impossible"}, [], "application/json")
        },
        "/v1/ring/commit": {
            "post": _operation("Begin to move to the ring of a plan", {"200": "transfers", "409": "another plan"}, [])
        },
        "/v1/ring/cancel": {"post": _operation("Give a change of the ring up", {"200": "transfers"}, [])},
        "/v1/ring/status": {"get": _operation("Every node as it says itself, and problems", {"200": "status"}, [])},
        "/v1/ring/transfers": {"get": _operation("How far a change of the ring is", {"200": "transfers"}, [])},
        "/v1/ring/clear": {"post": _operation("Forget all staged changes", {"200": "plan"}, [])},
        "/v1/ring/history": {"get": _operation("Which rings there were", {"200": "rings"}, [])},
        "/v1/ring/throttle": {
            "post": _operation(
                "Set the pace of changes on all nodes", {"200": "who did not"},
                [_parameter("bytes_per_s_max", "query", "for each node; 0: its own pace")],
            )
        },
        "/v1/nodes/{node}/{action}": {
            "post": _operation(
                "Take a node out of service, put it back, or restart it",
                {"202": "it will", "404": "no such node", "409": "the others need it"},
                [_parameter("node", "path", "its name"), _parameter("action", "path", "drain, resume or restart"),
                 _parameter("for_restart", "query", "true: it is back in a minute; for drain")],
            )
        },
        "/v1/cluster": {"get": _operation("Which nodes are up", {"200": "nodes"}, [])},
        "/v1/census": {"get": _operation("What the last census counted", {"200": "counts", "404": "none taken"}, [])},
        "/v1/hints": {"get": _operation("What nodes keep for others that are away", {"200": "hints"}, [])},
        "/v1/jobs": {"get": _operation("What the node does in the background", {"200": "jobs"}, [])},
        "/v1/jobs/{name}/{action}": {
            "post": _operation(
                "Start, pause, resume or limit a job", {"202": "its status"},
                [_parameter("name", "path", "such as scrub; GET /v1/jobs lists all"),
                 _parameter("action", "path", "start, pause, resume or limit")],
            )
        },
        "/healthz": {"get": _operation("Alive", {"200": "yes"}, [])},
        "/readyz": {"get": _operation("Can serve a quorum", {"200": "yes", "503": "no"}, [])},
        "/metrics": {"get": _operation("Prometheus metrics", {"200": "text"}, [])},
        "/openapi.json": {"get": _operation("This document", {"200": "JSON"}, [])},
    },
    "components": {
        "schemas": {
            "Error": {
                "type": "object",
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["code", "message", "retryable"],
                        "properties": {
                            "code": {"type": "string"}, "message": {"type": "string"}, "retryable": {"type": "boolean"},
                        },
                    }
                },
            }
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
    "security": [{}, {"token": []}],
}  # fmt: skip
