"""Requests as bytes on a socket: forms of the target, versions, Expect, clients that end their side, odd headers."""

import asyncio
import json
import re

import pytest
import uvloop
from aiohttp import ClientSession

from dynafs.node import Node

MIB = 1 << 20
HOST = b"Host: 127.0.0.1\r\n"


async def exchange(port: int, *pieces: bytes, half_close: bool = False, within_s: float = 10.0) -> bytes:
    """Send the pieces one after the other, return everything until the server closes, or falls silent for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(within_s):
            while piece := await reader.read(1 << 16):
                answer += piece
    except (TimeoutError, ConnectionError):
        answer += b"<open>"
    writer.close()
    return bytes(answer)


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of all responses in the bytes."""
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def fields(answer: bytes) -> dict[str, str]:
    """Return the headers of the first response, in lower case."""
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def exists(session: ClientSession, cluster, path: str) -> bool:
    """Return whether a file can be read."""
    async with session.get(cluster.file_url(path)) as response:
        return response.status == 200


CLOSE = b"Connection: close\r\n\r\n"


LINES = [
    (b"GET http://127.0.0.1:9/v1/ring HTTP/1.1", HOST, 200),
    (b"GET HTTP://LOCALHOST./v1/ring HTTP/1.1", HOST, 200),
    (b"GET https://[::1]/v1/ring HTTP/1.1", HOST, 200),
    (b"GET http://localhost?x HTTP/1.1", HOST, 404),
    (b"GET http://127.0.0.1/healthz?x=1 HTTP/1.1", HOST, 200),
    # The host of the target counts, whatever the header says.
    (b"GET http://evil.example/v1/ring HTTP/1.1", HOST, 403),
    (b"GET http://127.0.0.1/v1/ring HTTP/1.1", b"Host: evil.example\r\n", 200),
    (b"GET http://user@127.0.0.1/v1/ring HTTP/1.1", HOST, 400),
    (b"GET ftp://127.0.0.1/v1/ring HTTP/1.1", HOST, 400),
    (b"OPTIONS * HTTP/1.1", HOST, 204),
    (b"GET * HTTP/1.1", HOST, 400),
    (b"GET /v1/ring HTTP/2.0", HOST, 505),
    (b"GET /v1/ring HTTP/0.9", HOST, 505),
    (b"GET /v1/ring HTTP/3.7", HOST, 400),
    (b"CONNECT 127.0.0.1:1 HTTP/1.1", HOST, 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"", 400),
]


async def test_forms_of_the_request_line(cluster) -> None:
    """Absolute targets are read like paths, and the response always names HTTP/1.1."""
    for line, headers, status in LINES:
        answer = await exchange(cluster.http_ports["n1"], line + b"\r\n" + headers + CLOSE)
        assert statuses(answer) == [status], (line, answer)
        assert answer.startswith(b"HTTP/1.1 ")
        assert fields(answer)["server"] == "dynafs"


async def test_absolute_target_stores_the_same_file(cluster, session: ClientSession) -> None:
    """A client that speaks as to a proxy writes and reads what all others do."""
    port = cluster.http_ports["n1"]
    target = b"http://127.0.0.1:%d/v1/files/d/x%%20y" % port
    put = b"PUT " + target + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n" + CLOSE + b"abc"
    assert statuses(await exchange(port, put)) == [201]
    async with session.get(cluster.file_url("d/x%20y")) as response:
        assert await response.read() == b"abc"


REFUSED = [
    b"PUT /v1/files/d/x?w=99", b"POST /v1/files/d/x", b"DELETE /v1/files/none/x", b"DELETE /v1/files/d/x?w=99",
    b"PUT /v1/buckets/d?x=1", b"POST /v1/ring/stage?x=1", b"PATCH /v1/files/d/x", b"PUT /v1/ring",
    b"POST /nowhere", b"GET /v1/ring", b"GET /nowhere",
]  # fmt: skip


async def test_final_answer_without_100_ends_the_connection(cluster) -> None:
    """A client that waits for 100 Continue may send its body or its next request: nothing that follows is a request."""
    following = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    for start in REFUSED:
        head = start + b" HTTP/1.1\r\n" + HOST + b"Expect: 100-Continue\r\nContent-Length: 50\r\n\r\n"
        answer = await exchange(cluster.http_ports["n1"], head, following.ljust(50, b"x"), following)
        assert len(statuses(answer)) == 1, answer
        assert 100 not in statuses(answer)
        assert fields(answer)["connection"] == "close"


async def test_refused_token_with_expectation_ends_the_connection(make_cluster) -> None:
    """The same holds before the token is accepted."""
    cluster = make_cluster()
    node = cluster.nodes["n1"] = Node(cluster.settings("n1", http={"token": "s3cret"}))
    await node.start()
    head = b"PUT /v1/files/d/x HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n"
    following = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await exchange(node.http_port, head, following.ljust(50), following)
    assert statuses(answer) == [401]
    assert fields(answer)["connection"] == "close"


async def test_body_of_a_refused_request_is_no_request(cluster) -> None:
    """What looks like a request inside a body is a body, and the request after it is answered."""
    inner = b"DELETE /v1/files/d/victim HTTP/1.1\r\n" + HOST + b"\r\n"
    for start in REFUSED:
        head = start + b" HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(inner)
        answer = await exchange(cluster.http_ports["n1"], head, inner, b"GET /healthz HTTP/1.1\r\n" + HOST + CLOSE)
        assert len(statuses(answer)) == 2, answer
        assert b"alive" in answer


async def test_expect_is_answered_by_version(cluster, session: ClientSession) -> None:
    """100 Continue comes before the body is needed, never to HTTP/1.0, and nothing else can be expected."""
    port = cluster.http_ports["n1"]
    head = b"PUT /v1/files/d/%s HTTP/1.%d\r\n" + HOST + b"Expect: %s\r\nContent-Length: 3\r\n" + CLOSE
    answer = await exchange(port, head % (b"a", 1, b"100-continue"), b"abc")
    assert statuses(answer) == [100, 201]
    answer = await exchange(port, head % (b"b", 0, b"100-continue") + b"abc")
    assert answer.startswith(b"HTTP/1.0 201"), answer
    assert await exists(session, cluster, "d/b")
    answer = await exchange(port, head % (b"c", 1, b"a-miracle"), b"abc")
    assert statuses(answer) == [417]
    assert fields(answer)["connection"] == "close"
    assert not await exists(session, cluster, "d/c")
    for others, expected in (
        (b"100-continue\r\nExpect: a-miracle", [417]),
        (b"a-miracle\r\nExpect: 100-continue", [417]),
        (b"100-continue, a-miracle", [417]),
        (b"100-continue\r\nExpect: 100-Continue", [100, 201]),
        (b", 100-continue,", [100, 201]),
    ):
        answer = await exchange(port, head % (b"d", 1, others), b"abc")
        assert statuses(answer) == expected, others
        assert await exists(session, cluster, "d/d") == (expected != [417])


async def test_half_closed_client_gets_its_answers(cluster) -> None:
    """A client may end its side after whole requests: each is answered, a PUT is stored, and the connection ends."""
    port = cluster.http_ports["n1"]
    big = bytes(range(256)) * 16384
    put = b"PUT /v1/files/d/half HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(big) + big
    get = b"GET /v1/files/d/half HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await exchange(port, put, half_close=True)
    assert statuses(answer) == [201], answer[-200:]
    assert not answer.endswith(b"<open>")
    answer = await exchange(port, get, half_close=True)
    assert answer.endswith(big)
    answer = await exchange(port, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n" + get, half_close=True)
    assert statuses(answer)[:2] == [200, 200]
    assert answer.endswith(big)


async def test_half_closed_client_gets_its_answers_under_uvloop(make_cluster) -> None:
    """The event loop that nodes run on treats a half-closed connection as asyncio's does."""
    cluster = make_cluster(count=1, n=1, r=1, w=1)

    async def scenario() -> tuple[bytes, bytes]:
        await cluster.start()
        port = cluster.http_ports["n1"]
        start = b"PUT /v1/files/d/x HTTP/1.1\r\n" + HOST
        whole = await exchange(port, start + b"Content-Length: 3\r\n\r\nabc", half_close=True)
        cut = await exchange(port, start + b"Content-Length: 9\r\n\r\nabc", half_close=True)
        await cluster.stop()
        return whole, cut

    whole, cut = await asyncio.to_thread(uvloop.run, scenario())
    assert (statuses(whole), statuses(cut)) == ([201], [400])
    assert b"body_incomplete" in cut
    assert not (whole + cut).endswith(b"<open>")


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    ids=["length", "chunked"],
)
async def test_half_close_in_mid_body_stores_nothing(
    cluster, session: ClientSession, events: list, body: bytes
) -> None:
    """A body that breaks off is answered as such."""
    answer = await exchange(
        cluster.http_ports["n1"], b"PUT /v1/files/d/cut HTTP/1.1\r\n" + HOST + body, half_close=True
    )
    assert statuses(answer) == [400], answer
    assert b"body_incomplete" in answer
    assert not await exists(session, cluster, "d/cut")
    assert [e for e in events if e["log_level"] in ("warning", "error")] == []


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHos"], ids=["nothing", "half a header"])
async def test_half_close_without_a_request_ends_the_connection(cluster, data: bytes) -> None:
    """There is nothing to answer."""
    assert await exchange(cluster.http_ports["n1"], data, half_close=True) == b""


async def test_malformed_body_is_answered_at_once(cluster, session: ClientSession) -> None:
    """A body whose framing breaks in the middle is refused when it breaks, and its connection ends."""
    head = b" HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    for start, first, last in (
        (b"PUT /v1/files/d/bad", b"HTTP/1.1 100 ", b"body_incomplete"),
        (b"POST /nowhere", b"HTTP/1.1 404 ", b"not_found"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.http_ports["n1"])
        writer.write(start + head)
        async with asyncio.timeout(4):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(first)
            writer.write(b"3\r\nabc\r\nzz\r\n")
            assert last in await reader.read()
        writer.close()
    assert not await exists(session, cluster, "d/bad")


async def test_client_that_is_gone_in_mid_body_is_no_fault_of_the_node(cluster, session, events: list) -> None:
    """Nothing is logged as an error, whatever the handler was doing."""
    for request in (b"PUT /v1/files/d/gone", b"PUT /v1/buckets/gone", b"POST /v1/ring/stage"):
        reader, writer = await asyncio.open_connection("127.0.0.1", cluster.http_ports["n1"])
        writer.write(request + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 500\r\nExpect: 100-continue\r\n\r\n")
        # Only now has the node read the request: what it has not read goes with the connection.
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 100")
        writer.write(b"abc")
        writer.transport.abort()
    async with asyncio.timeout(5):
        while sum(e["event"] == "http.answered" for e in events) < 3:
            await asyncio.sleep(0.01)
    assert [e for e in events if e["log_level"] in ("warning", "error")] == []
    assert not await exists(session, cluster, "d/gone")


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: x\nAuthorization: Bearer a-long-token\r\n\r\n",
     b"GET / HTTP/1.1\r\nAuthorization: Bearer a-long-token\x00\r\nHost: x\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-long-token\r\n: x\r\n\r\n",
     b"\x16\x03\x01Bearer a-long-token\r\n\r\n",
     b"GET / HTTP/1.1\r\nAuthorization: Bearer a-long-token\r\n\r\n"],
    ids=["bare LF", "NUL", "no name", "TLS", "no host"],
)  # fmt: skip
async def test_malformed_request_is_answered_in_our_form_and_logged_by_kind(cluster, events: list, data: bytes) -> None:
    """The error is JSON with the headers of every response; neither it nor the log repeats what was sent."""
    events.clear()
    for _ in range(5):
        answer = await exchange(cluster.http_ports["n1"], data)
        assert statuses(answer) == [400]
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert (error["code"], error["retryable"]) == ("request_malformed", False)
        assert {"server", "x-request-id", "x-content-type-options"} <= set(fields(answer))
        assert fields(answer)["connection"] == "close"
        assert b"a-long-token" not in answer
    refused = [e for e in events if e["event"] == "http.refused"]
    assert 1 <= len(refused) <= 2
    assert refused[0]["address"] == "127.0.0.1"
    assert "a-long-token" not in str([e for e in events if e["log_level"] != "debug"])


async def test_every_response_has_the_same_headers(cluster, session: ClientSession) -> None:
    """Small and streamed files, ranges, JSON, errors and 304 alike."""
    async with session.put(cluster.file_url("d/big"), data=bytes(3 * MIB)) as response:
        etag = response.headers["ETag"]
    async with session.put(cluster.file_url("d/small"), data=b"x"):
        pass
    seen = set()
    for method, path, headers in (
        ("GET", "/v1/files/d/big", {}),
        ("HEAD", "/v1/files/d/big", {}),
        ("GET", "/v1/files/d/big", {"Range": "bytes=0-1"}),
        ("GET", "/v1/files/d/big", {"Range": "bytes=0-1,5-9"}),
        ("GET", "/v1/files/d/big", {"If-None-Match": etag}),
        ("GET", "/v1/files/d/small", {}),
        ("DELETE", "/v1/files/d/small", {}),
        ("GET", "/v1/files/d", {}),
        ("GET", "/v1/ring", {}),
        ("GET", "/metrics", {}),
        ("GET", "/healthz", {}),
        ("GET", "/nowhere", {}),
        ("PATCH", "/v1/ring", {}),
        ("GET", "/v1/ring", {"Origin": "http://evil.example"}),
    ):
        async with session.request(method, cluster.url() + path, headers=headers) as response:
            got = response.headers
            assert got["Server"] == "dynafs", (method, path)
            assert got["X-Content-Type-Options"] == "nosniff"
            assert got["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in got["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in got
            assert got["X-Request-Id"] not in seen
            seen.add(got["X-Request-Id"])


async def test_bytes_above_127_in_headers_are_refused_like_others(cluster) -> None:
    """They are quoted in the error as question marks."""
    for header in (b"Origin: http://evil\xff.example", b"Origin: http://127.0.0.1\xe9"):
        answer = await exchange(
            cluster.http_ports["n1"], b"GET /v1/ring HTTP/1.1\r\n" + HOST + header + b"\r\n" + CLOSE
        )
        assert statuses(answer) == [403], answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "origin_refused"


async def test_headers_have_a_limit_together(cluster) -> None:
    """32 KiB, however they are cut and wherever they stand; what is below passes."""
    port = cluster.http_ports["n1"]
    start = b"GET /healthz HTTP/1.1\r\n" + HOST
    line = b"X-%d: " + b"y" * 4000 + b"\r\n"
    small, large = (b"".join(line % i for i in range(count)) for count in (7, 12))
    assert statuses(await exchange(port, start + small + CLOSE)) == [200]
    for pieces in ((start + large + CLOSE,), (start + large[:20000], large[20000:] + CLOSE), (start + large,)):
        answer = await exchange(port, *pieces, within_s=5)
        assert statuses(answer) == [431], answer[:300]
        assert b"headers_too_large" in answer
        assert fields(answer)["x-request-id"].startswith("n1-")
        assert fields(answer)["server"] == "dynafs"
    chunked = b"PUT /v1/files/d/t HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(chunked + b"1\r\nx\r\n")
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(b"0\r\n")
    for i in range(400):
        writer.write(line % i)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert statuses(answer) == [400], answer
    writer.close()
