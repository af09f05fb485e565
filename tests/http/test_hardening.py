"""What no honest client sends, and who may ask at all."""

import asyncio
import json

import pytest
from aiohttp import ClientSession

from dynafs.node import Node

MIB = 1 << 20


async def exchange(port: int, data: bytes, within_s: float = 10.0) -> bytes:
    """Send raw bytes, return everything until the server closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()
    try:
        writer.write(data)
        async with asyncio.timeout(within_s):
            await writer.drain()
            while piece := await reader.read(1 << 16):
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return bytes(answer)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * (10 * MIB) + b"\r\n\r\n", b"\x16\x03\x01garbage\r\n\r\n",
     b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"],
    ids=["10 MB header", "not http", "long line"],
)  # fmt: skip
async def test_malformed_requests_are_refused_with_one_event(cluster, session, data: bytes, events: list[dict]) -> None:
    """A clear answer, one event at most, and the next client is served."""
    events.clear()
    answer = await exchange(cluster.http_ports["n1"], data)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 414", b"HTTP/1.1 431")) or answer == b""
    assert [e["event"] for e in events if e["log_level"] != "debug"] in (["http.refused"], [])
    async with session.get(f"{cluster.url()}/healthz") as response:
        assert response.status == 200


async def test_what_is_too_long_is_named(cluster, events: list[dict]) -> None:
    """414 for a target, 431 for a header; neither the answer nor the log repeats it."""
    token, port = b"a-long-token" * 1500, cluster.http_ports["n1"]
    cases = {
        b"GET /v1/files/d/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": (b"414", b"target_too_long"),
        b"GET /v1/files?prefix=%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": (b"414", b"target_too_long"),
        b"GET /v1/ring HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: %s\r\n\r\n": (b"431", b"headers_too_large"),
        b"GET /v1/ring HTTP/1.1\r\nHost: 127.0.0.1\r\n%s: x\r\n\r\n": (b"431", b"headers_too_large"),
    }
    for request, (status, code) in cases.items():
        answer = await exchange(port, request % token)
        assert answer.startswith(b"HTTP/1.1 " + status), (request, answer)
        assert code in answer
        assert b"http.header_size_bytes_max" in answer
        assert b"a-long-token" not in answer
    assert "a-long-token" not in str([e for e in events if e["log_level"] != "debug"])


async def test_upgrade_is_passed_over_and_ends_the_connection(cluster, session: ClientSession) -> None:
    """The request is answered in HTTP/1.1 (RFC 9110 section 7.8), and a client that sent another one right behind it
    is not left waiting for the answer."""
    host = b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for protocol in (b"h2c", b"websocket", b"tcp"):
        upgrade = host + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
        put = b"PUT /v1/files/d/" + protocol + upgrade + b"Content-Length: 3\r\n\r\nabc"
        for first, status in ((put, b"201"), (b"GET /v1/files/d/" + protocol + upgrade + b"\r\n", b"200")):
            answer = await exchange(cluster.http_ports["n1"], first + b"GET /healthz" + host + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 " + status), (protocol, answer)
            assert b"Connection: close" in answer
        async with session.get(cluster.file_url(f"d/{protocol.decode()}")) as response:
            assert await response.read() == b"abc"


async def test_slow_client_is_cut_off(make_cluster, session: ClientSession) -> None:
    """A request that never completes and a body that stalls do not stay."""
    cluster = make_cluster(http={"idle_timeout_s": 0.5, "body_stall_timeout_s": 0.5})
    await cluster.start()
    port = cluster.http_ports["n1"]
    assert await exchange(port, b"GET / HTTP/1.1\r\nHost: 127", 5) == b""
    answer = await exchange(port, b"PUT /v1/files/d/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc", 8)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"body_incomplete" in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 403), ({"Origin": "null"}, 403),
     ({"Host": "localhost:1"}, 200), ({}, 200)],
)  # fmt: skip
async def test_foreign_pages_are_refused(cluster, session: ClientSession, headers: dict, status: int) -> None:
    """A page on another site cannot use the visitor's browser to reach a node."""
    async with session.get(f"{cluster.url()}/v1/ring", headers=headers) as response:
        assert response.status == status


async def test_token_guards_everything_but_health(make_cluster, session: ClientSession) -> None:
    """With a token set, only its bearer reads or writes."""
    cluster = make_cluster()
    settings = cluster.settings("n1", http={"token": "s3cret"})
    cluster.nodes["n1"] = Node(settings)
    await cluster.nodes["n1"].start()
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer s3cret"}, 200),
    ):
        async with session.get(f"{cluster.url()}/v1/ring", headers=headers) as response:
            assert response.status == status
    async with session.put(cluster.file_url("d/x"), data=b"x") as response:
        assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    async with session.get(f"{cluster.url()}/healthz") as response:
        assert response.status == 200


async def test_every_documented_path_exists(cluster, session: ClientSession) -> None:
    """The API document names no route that the node does not have, and errors have the documented form."""
    async with session.put(cluster.file_url("demo/f"), data=b"x"):
        pass
    async with session.get(f"{cluster.url()}/openapi.json") as response:
        document = await response.json()
    for path, operations in document["paths"].items():
        url = path.replace("{bucket}", "demo").replace("{path}", "f").replace("{id}", "00" * 32)
        for method in operations:
            async with session.request(method, cluster.url() + url) as response:
                body = await response.read()
                assert response.status not in (405, 500), (method, path)
                if response.status >= 400 and method != "head":
                    error = json.loads(body)["error"]
                    assert {"code", "message", "retryable"} <= set(error)
                    assert error.get("what") != "route", (method, path)
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("PATCH", "/v1/files/demo/f", 405),
        ("PUT", "/v1/ring", 405),
        ("GET", "/v1/ring/stage", 405),
        ("POST", "/v1/ring/plan", 405),
        ("POST", "/v1/ring/stage", 400),
        ("POST", "/v1/ring/stage?now=yes", 400),
        ("POST", "/v1/ring/commit", 400),
        ("GET", "/v1/ring/cancel", 405),
        ("POST", "/v1/ring/dance", 404),
    ):
        async with session.request(method, cluster.url() + path) as response:
            assert response.status == status


async def test_metadata_and_chunk_routes(cluster, session: ClientSession) -> None:
    """A file's chunks can be found and read one by one from any node."""
    contents = bytes(range(256)) * 8192
    async with session.put(cluster.file_url("demo/f"), data=contents, headers={"X-Meta-A": "b"}):
        pass
    async with session.get(f"{cluster.url('n2')}/v1/metadata/demo/f") as response:
        found = await response.json()
    assert found["size_bytes"] == len(contents)
    assert found["metadata"] == {"a": "b"}
    assert set(found["record"].values()) <= {"current", "missing"}
    pieces = []
    for chunk in found["chunks"]:
        async with session.get(f"{cluster.url('n3')}/v1/chunks/{chunk['id']}") as response:
            pieces.append(await response.read())
    assert b"".join(pieces) == contents
    async with session.get(f"{cluster.url()}/v1/chunks/xyz") as response:
        assert response.status == 400
    async with session.get(f"{cluster.url()}/v1/metadata/demo/none") as response:
        assert response.status == 404
    async with session.get(f"{cluster.url()}/v1/ring/locate/demo/none") as response:
        roles = [node["role"] for node in (await response.json())["nodes"]]
        assert roles == ["owner"] * 3


async def test_jobs_are_shown_paused_and_hurried(cluster, session: ClientSession) -> None:
    """Background work is visible and stoppable; what does not exist or is not offered says so."""
    url = f"{cluster.url()}/v1/jobs"
    async with session.get(url) as response:
        states = {job["name"]: job["state"] for job in (await response.json())["jobs"]}
        jobs = ("handoff", "anti-entropy", "walk", "scrub", "collection", "compaction", "census", "ring")
        assert states == dict.fromkeys(jobs, "idle")
    async with session.post(f"{url}/scrub/pause") as response:
        assert (response.status, (await response.json())["is_paused"]) == (202, True)
    async with session.post(f"{url}/scrub/start") as response:
        assert (response.status, (await response.json())["is_paused"]) == (202, False)
    for path, method, status in (("/dance/start", "POST", 404), ("/scrub/dance", "POST", 400), ("/scrub", "GET", 405),
                                 ("", "POST", 405), ("?x=1", "GET", 400)):  # fmt: skip
        async with session.request(method, url + path) as response:
            assert response.status == status, await response.text()
