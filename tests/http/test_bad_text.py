"""Bytes that are no text, and JSON that is none: a 4xx in JSON, never a 500."""

import json

import pytest
from raw_http import ask

ROUTES = [
    ("PUT", "/v1/buckets/new"),
    ("POST", "/v1/ring/stage"),
    ("POST", "/v1/ring/commit"),
]
BODIES = [
    b'{"r":' + b"[" * 1900 + b"]" * 1900 + b"}",
    b'{"x":' + b'{"a":' * 600 + b"1" + b"}" * 600 + b"}",
    b'{"hash": "\xff", "r": "\xff"}',
    b"\xff\xfe{\x00}\x00",
    b'{"weight": 1e999, "r": 1e999, "kind": "weight", "node": "n1"}',
    b'{"weight": NaN, "r": NaN, "kind": "weight", "node": "n1"}',
    b"[]",
    b"{",
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_bodies_that_are_no_json_are_refused(cluster, events: list[dict], method: str, path: str) -> None:
    """Nested too deep, not UTF-8, not finite, not an object: a field of the body is at fault, and not the node."""
    for body in BODIES:
        answer = await ask(cluster.http_ports["n1"], method, path, body=body)
        assert answer.status == 400, body[:40]
        assert json.loads(answer.body)["error"]["field"], body[:40]
    for body in (b'{"hash": "\\ud800"}', b'{"conflict": "\\ud800"}', b'{"kind": "leave", "node": "\\udfff"}'):
        answer = await ask(cluster.http_ports["n1"], method, path, body=body)
        assert 400 <= answer.status < 500
        json.loads(answer.body)
    assert not [event for event in events if event["event"] in ("http.failed", "http.refused")]


NAMES = (
    "Accept", "Authorization", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language",
    "Content-MD5", "Content-Range", "Content-Type", "Cookie", "Expect", "Expires", "If-Match", "If-Modified-Since",
    "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Range", "Referer", "Repr-Digest", "Trailer",
    "X-Content-Blake3", "X-Dynafs-Context", "X-Forwarded-For", "X-Meta-A", "X-Other",
)  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"])
async def test_any_byte_in_any_header_is_no_server_error(cluster, method: str, events: list[dict]) -> None:
    """Error texts may quote it; they are JSON all the same."""
    port = cluster.http_ports["n1"]
    for name in NAMES:
        for path in ("/v1/files/demo/f", "/v1/files", "/v1/buckets/demo"):
            answer = await ask(port, method, path, (name, b"\xff\xfe\x80"), body=b"x" if method == "PUT" else None)
            assert answer.status < 500 or answer.status == 501, (name, path)
            if answer.status >= 400 and method != "HEAD" and answer.value("Content-Type") == "application/json":
                assert "code" in json.loads(answer.body)["error"]
    assert not [event for event in events if event["event"] in ("http.failed", "http.refused")]


TARGETS = (
    "/v1/files/demo/%s", "/v1/files/%s/x", "/v1/files/demo?prefix=%s", "/v1/files/demo?cursor=%s",
    "/v1/files/demo?%s=1", "/v1/chunks/%s", "/v1/metadata/demo/%s", "/%s", "/v1/jobs/%s/start", "/v1/nodes/%s/drain",
    "/v1/buckets/%s",
    "/v1/files/demo/x?version=%s", "/v1/ring/locate/demo/%s", "/v1/explain/demo/%s",
)  # fmt: skip


@pytest.mark.parametrize("text", [b"%ff", b"%ed%a0%80", b"\xff"])
async def test_any_byte_in_a_path_or_query_is_no_server_error(cluster, text: bytes, events: list[dict]) -> None:
    """It is refused as what it is: no UTF-8."""
    for target in TARGETS:
        for method in ("GET", "POST", "PUT", "DELETE"):
            raw = target.encode().replace(b"%s", text)
            answer = await ask(cluster.http_ports["n1"], method, raw, body=b"x" if method == "PUT" else None)
            assert 400 <= answer.status < 500, (method, raw)
            if answer.value("Content-Type") == "application/json":
                json.loads(answer.body)
    assert not [event for event in events if event["event"] == "http.failed"]
