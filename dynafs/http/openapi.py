"""The API described to machines (OpenAPI 3.1). A test asks every path here of a real node."""

from typing import Any

from dynafs import __version__


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
            "put": _operation("Store a file", {"201": "stored on W owners"}, _FILE, "application/octet-stream"),
            "get": _operation("Read a file", {"200": "contents", "206": "ranges", "304": "not modified"}, _FILE),
            "head": _operation("Describe a file", {"200": "headers"}, _FILE),
            "delete": _operation("Delete a file", {"204": "deleted"}, _FILE),
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
            "get": _operation("One chunk", {"200": "bytes"}, [_parameter("id", "path", "64 hexadecimal digits")])
        },
        "/v1/ring": {"get": _operation("The ring", {"200": "members and shares"}, [])},
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
