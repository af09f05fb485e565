"""Small responses on a connection that stays open: as on one that closes, byte for byte but for its Connection."""

import asyncio
import contextlib
import json
import re

import pytest
from aiohttp import ClientSession

from dynafs.coordinator.upload import UploadPlan
from dynafs.files import FileName

MIB = 1 << 20
OPEN, CLOSE = b"", b"Connection: close\r\n"
#: Fields that differ from one response to the next.
CHANGING = {"date", "x-request-id", "x-dynafs-version"}


async def connect(port: int, limit: int = MIB) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=limit)


def request(method: str, path: str, *fields: bytes, body: bytes = b"", version: str = "1.1") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if method == "PUT" else b""
    line = f"{method} /v1/files/{path} HTTP/{version}\r\nHost: localhost\r\n".encode()
    return line + b"".join(fields) + length + b"\r\n" + (body if method == "PUT" else b"")


async def answer_of(reader: asyncio.StreamReader, has_body: bool) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """Return the status line, the fields and the body of the next response."""
    async with asyncio.timeout(10):
        line, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        fields = [(name.decode().lower(), value.decode()) for name, _, value in (one.partition(b": ") for one in lines)]
        size_bytes = int(dict(fields).get("content-length", "0")) if has_body else 0
        return line, fields, await reader.readexactly(size_bytes)


def lasting(fields: list[tuple[str, str]], changing: set[str]) -> list[tuple[str, str]]:
    """Return the fields by name, without the values that differ from one response to the next."""
    return sorted((name, "" if name in changing else value) for name, value in fields if name != "connection")


PUT_FIELDS = (
    "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline; filename=a\r\n"
    "X-Meta-City: Zürich 日本\r\nCache-Control: max-age=1\r\nX-Meta-Server: mine\r\n".encode()
)  # fmt: skip


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("body", [b"contents", b""], ids=["small", "empty"])
async def test_fields_do_not_depend_on_the_connection(cluster, version: str, body: bytes) -> None:
    """PUT, GET, HEAD and DELETE: the same status, fields and body, and Connection only where it is needed."""
    port = cluster.http_ports["n1"]
    reader, writer = await connect(port)
    for method, fields in (("PUT", PUT_FIELDS), ("GET", b""), ("HEAD", b""), ("DELETE", b"")):
        writer.write(request(method, "d/x", fields, body=body))
        line, kept, contents = await answer_of(reader, method != "HEAD")
        assert "connection" not in dict(kept)
        if method == "DELETE":
            writer.write(request("PUT", "d/x", PUT_FIELDS, body=body))
            await answer_of(reader, has_body=True)
        other_reader, other_writer = await connect(port)
        other_writer.write(request(method, "d/x", fields, CLOSE, body=body, version=version))
        other_line, closing, other_contents = await answer_of(other_reader, method != "HEAD")
        assert await other_reader.read() == b""
        other_writer.close()
        assert line.partition(b" ")[2] == other_line.partition(b" ")[2]
        assert other_line.startswith(f"HTTP/{version} ".encode())
        # A receipt lists the nodes that have stored the file by then: two, or all three.
        changing = CHANGING | {"content-length"} if method == "PUT" else CHANGING
        assert lasting(kept, changing) == lasting(closing, changing)
        assert dict(closing).get("connection") == ("close" if version == "1.1" else None)
        if method == "PUT":
            assert json.loads(contents).keys() == json.loads(other_contents).keys()
        else:
            assert contents == other_contents == (body if method == "GET" else b"")
    writer.close()


async def test_http_1_0_that_stays_open_gets_its_field(cluster) -> None:
    """HTTP/1.0 with keep-alive: the response repeats it, and the connection carries the next request."""
    reader, writer = await connect(cluster.http_ports["n1"])
    for method, status in (("PUT", b"201"), ("GET", b"200"), ("HEAD", b"200"), ("DELETE", b"204")):
        writer.write(request(method, "d/x", b"Connection: keep-alive\r\n", body=b"abc", version="1.0"))
        line, fields, _ = await answer_of(reader, method != "HEAD")
        assert line.startswith(b"HTTP/1.0 " + status)
        assert dict(fields)["connection"] == "keep-alive"
    writer.close()


async def test_pipelined_responses_come_whole_and_in_order(cluster) -> None:
    """Requests that came together: each response ends where the next one begins, HEAD and 204 without a body."""
    reader, writer = await connect(cluster.http_ports["n1"])
    writer.write(request("PUT", "d/a", body=b"first") + request("PUT", "d/b", body=b"second"))
    asked = [("GET", "d/a"), ("HEAD", "d/b"), ("GET", "d/b"), ("DELETE", "d/a"), ("GET", "d/a"), ("GET", "d/b")]
    writer.write(b"".join(request(*one) for one in asked[:-1]) + request(*asked[-1], CLOSE))
    got = [await answer_of(reader, method != "HEAD") for method in ("PUT", "PUT", *(method for method, _ in asked))]
    assert [line.split()[1] for line, _, _ in got] == [b"201", b"201", b"200", b"200", b"200", b"204", b"404", b"200"]
    assert [body for _, _, body in got[2:6]] == [b"first", b"", b"second", b""]
    assert got[-1][2] == b"second"
    assert await reader.read() == b""
    ids = [dict(fields)["x-request-id"] for _, fields, _ in got]
    assert len(set(ids)) == len(ids)
    writer.close()


@pytest.mark.parametrize("value", ["x\r\nSet-Cookie: a=b", "x\nSet-Cookie: a=b", "x\r", "x\x00", "x\x7f"])
@pytest.mark.parametrize("connection", [OPEN, CLOSE], ids=["open", "close"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_stored_control_characters_reach_no_client(cluster, value: str, connection: bytes, method: str) -> None:
    """A version whose fields could end a line, however it was stored: the connection ends without a response."""
    replication = cluster.nodes["n1"].replication
    policy = await replication.buckets.find_or_make("d")

    async def pieces():
        yield b"contents"

    plan = UploadPlan(
        FileName("d", "x"), replication.buckets.quorum(policy, None, None, None, is_write=True),
        policy.chunk_size_bytes, 8, metadata={"a": value},
    )  # fmt: skip
    await replication.uploader.upload(plan, pieces())
    reader, writer = await connect(cluster.http_ports["n1"])
    writer.write(request(method, "d/x", connection))
    async with asyncio.timeout(10):
        whole = await reader.read()
    assert whole == b""
    writer.close()


async def test_client_that_does_not_read_small_responses_is_held_back(make_cluster) -> None:
    """The node stops answering when the client stops reading, keeps little for it, and cuts it in the end."""
    cluster = make_cluster(http={"body_stall_timeout_s": 0.5})
    await cluster.start()
    port = cluster.http_ports["n1"]
    reader, writer = await connect(port)
    writer.write(request("PUT", "d/x", body=bytes(64 << 10)))
    await answer_of(reader, has_body=True)
    writer.close()
    count = 2000
    dropped = await dropped_clients(cluster)
    reader, writer = await connect(port, limit=1)
    writer.write(request("GET", "d/x") * count)
    async with asyncio.timeout(10):
        while await dropped_clients(cluster) == dropped:
            await asyncio.sleep(0.05)
    size_bytes = 0
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(MIB):
            size_bytes += len(piece)
    assert size_bytes < count * (64 << 10)
    writer.close()


async def dropped_clients(cluster) -> float:
    """Return how many clients this process has cut because they did not read."""
    async with ClientSession() as session, session.get(f"{cluster.url()}/metrics") as response:
        text = await response.text()
    found = re.search(r'dropped\w*{[^}]*reason="client_stalled"[^}]*} (\S+)', text)
    return float(found[1]) if found else 0
