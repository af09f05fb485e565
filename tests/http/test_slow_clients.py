"""Clients that send or take too little: what they hold, and when they are cut."""

import asyncio
import json

import pytest
from aiohttp import ClientSession, TCPConnector

from dynafs.config import HttpSettings
from dynafs.errors import BodyIncomplete, BodyTooSlow
from dynafs.http.pace import Pace
from dynafs.sim.loop import run_virtually

MIB = 1 << 20
FORM_HEAD = (
    b"POST /v1/files/d HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 100000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n"
)


async def open_from(address: str, port: int, data: bytes, limit: int = MIB):
    """Connect from a loopback address, send bytes, and read nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=limit)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def trickle(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def wait_until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "head",
    [b"PUT /v1/files/d/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n",
     FORM_HEAD,
     b"PUT /v1/buckets/d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"],
    ids=["PUT", "form", "small body"],
)  # fmt: skip
async def test_body_below_the_least_rate_is_refused(make_cluster, head: bytes) -> None:
    """Byte by byte, without ever falling silent: 408, the connection closes, and nothing is held."""
    cluster = make_cluster(http={"body_rate_bytes_per_s_min": 10_000, "body_rate_window_s": 0.5})
    await cluster.start()
    reader, writer = await open_from("127.0.0.1", cluster.http_ports["n1"], head)
    sending = asyncio.create_task(trickle(writer))
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"}}\n")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"\r\nConnection: close\r\n" in answer
    assert b"body_too_slow" in answer
    sending.cancel()
    writer.close()
    await wait_until(lambda: not cluster.nodes["n1"].replication.seats.held_bytes)


@pytest.mark.parametrize("what", ["whole", "range", "ranges", "chunk"])
async def test_unread_download_is_cut_with_one_event(make_cluster, session: ClientSession, what: str, events) -> None:
    """A client that takes nothing is cut; its room comes back, and the log has it once."""
    cluster = make_cluster(http={"body_rate_window_s": 0.6}, cluster={"chunk_size_bytes": 16 * MIB})
    await cluster.start()
    async with session.put(cluster.file_url("d/large"), data=bytes(40 * MIB)) as response:
        assert response.status == 201
    path, header = "/v1/files/d/large", b""
    if what == "chunk":
        async with session.get(f"{cluster.url()}/v1/metadata/d/large") as response:
            path = "/v1/chunks/" + (await response.json())["chunks"][0]["id"]
    if what.startswith("range"):
        header = b"Range: bytes=0-30000000" + b",30000010-41943039" * (what == "ranges") + b"\r\n"
    events.clear()
    reader, writer = await open_from(
        "127.0.0.1",
        cluster.http_ports["n1"],
        b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (path.encode(), header),
        1,
    )
    downloads = cluster.nodes["n1"].replication.downloads
    await wait_until(lambda: downloads.held_bytes)
    await wait_until(lambda: not downloads.held_bytes)
    told = [(e["event"], e.get("code")) for e in events if e["event"].startswith(("download", "http.refused"))]
    assert told == [("download.aborted", "client_stalled")]
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(40 * MIB)
    writer.close()


async def test_one_byte_uploads_do_not_stop_others(make_cluster) -> None:
    """Room is taken by bytes that came: five uploads of chunks of 16 MiB and a byte each are five bytes."""
    cluster = make_cluster(limits={"admission_timeout_s": 2.0})
    await cluster.start()
    async with ClientSession() as session:
        async with session.put(f"{cluster.url()}/v1/buckets/huge", json={"chunk_size_bytes": 16 * MIB}) as response:
            assert response.status == 201
        head = b"PUT /v1/files/huge/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\nx"
        strangers = [await open_from("127.0.0.2", cluster.http_ports["n1"], head % i) for i in range(5)]
        seats = cluster.nodes["n1"].replication.seats
        await wait_until(lambda: seats.held_bytes == 5)
        async with session.put(cluster.file_url("d/x"), data=bytes(3 * MIB)) as response:
            assert response.status == 201
        for _, writer in strangers:
            writer.close()
        await wait_until(lambda: not seats.held_bytes)


async def test_uploads_beyond_the_budget_wait_and_then_get_503(make_cluster) -> None:
    """Bytes in flight have one limit; what does not fit gets the time to try again, and all is given back."""
    cluster = make_cluster(limits={"upload_seat_bytes": MIB, "admission_timeout_s": 0.3})
    await cluster.start()
    head = b"PUT /v1/files/d/big HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000000\r\n\r\n"
    _, writer = await open_from("127.0.0.1", cluster.http_ports["n1"], head + bytes(MIB - 10))
    seats = cluster.nodes["n1"].replication.seats
    await wait_until(lambda: seats.held_bytes == MIB - 10)
    async with ClientSession(connector=TCPConnector()) as session:
        async with session.put(cluster.file_url("d/third"), data=bytes(100)) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (503, "overloaded")
            assert int(response.headers["Retry-After"]) >= 1
        writer.close()
        await wait_until(lambda: not seats.held_bytes)
        async with session.put(cluster.file_url("d/third"), data=bytes(100)) as response:
            assert response.status == 201


async def test_stalled_upload_gives_way_to_another_address(make_cluster) -> None:
    """A full budget of chunks that do not come to an end is cleared when another client needs it."""
    cluster = make_cluster(limits={"upload_seat_bytes": 2 * MIB})
    await cluster.start()
    head = b"PUT /v1/files/d/%d HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000000\r\n\r\n"
    strangers = [await open_from("127.0.0.2", cluster.http_ports["n1"], head % i + bytes(MIB - 10)) for i in range(2)]
    seats = cluster.nodes["n1"].replication.seats
    await wait_until(lambda: seats.held_bytes == 2 * MIB - 20)
    async with ClientSession() as session, session.put(cluster.file_url("d/x"), data=bytes(3 * MIB)) as response:
        assert response.status == 201
    reading = [asyncio.create_task(reader.readuntil(b"}}\n")) for reader, _ in strangers]
    done, left = await asyncio.wait(reading, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert b"body_too_slow" in done.pop().result()
    for task in left:
        task.cancel()
    for _, writer in strangers:
        writer.close()


async def test_stalled_downloads_give_way_to_another_address(make_cluster, session: ClientSession) -> None:
    """Downloads that are not read hold all there is until another client asks."""
    cluster = make_cluster(limits={"download_bytes": 2 * 16 * MIB, "admission_timeout_s": 5.0})
    await cluster.start()
    async with session.put(f"{cluster.url()}/v1/buckets/huge", json={"chunk_size_bytes": 16 * MIB}):
        pass
    async with session.put(cluster.file_url("huge/f"), data=bytes(33 * MIB)) as response:
        assert response.status == 201
    ask = b"GET /v1/files/huge/f HTTP/1.1\r\nHost: localhost\r\n\r\n"
    strangers = [await open_from("127.0.0.2", cluster.http_ports["n1"], ask, 1) for _ in range(4)]
    downloads = cluster.nodes["n1"].replication.downloads
    await wait_until(lambda: downloads.held_bytes == 32 * MIB)
    async with session.get(cluster.file_url("huge/f")) as response:
        assert (response.status, len(await response.read())) == (200, 33 * MIB)
    for _, writer in strangers:
        writer.close()
    await wait_until(lambda: not downloads.held_bytes)


def test_only_time_that_the_client_is_waited_for_counts() -> None:
    """An upload that waits for this node is not slow; one that catches up is forgiven; a burst buys no pause."""
    settings = HttpSettings(body_rate_bytes_per_s_min=100, body_rate_window_s=10, body_stall_timeout_s=20)

    async def arrive(after_s: float, size_bytes: int) -> bytes:
        await asyncio.sleep(after_s)
        return bytes(size_bytes)

    async def main() -> None:
        pace = Pace("a", settings)
        await asyncio.sleep(1000)
        assert (pace.waited_s(), pace.lag_s()) == (0, 0)
        await pace.receive(arrive(9, 100))
        assert (pace.waited_s(), pace.lag_s()) == (9, 8)
        assert pace.is_behind
        pace.move(10_000)
        assert pace.lag_s() == 0
        for _ in range(18):
            await pace.receive(arrive(1, 50))
        with pytest.raises(BodyTooSlow):
            await pace.receive(arrive(2, 50))
        cut = Pace("a", settings)
        cut.cut()
        with pytest.raises(BodyTooSlow):
            await cut.receive(arrive(9, 100))
        assert cut.waited_s() == 0
        with pytest.raises(BodyIncomplete):
            await Pace("a", HttpSettings(body_stall_timeout_s=5)).receive(arrive(6, 1))

    run_virtually(main())


def test_slow_error_is_retryable_and_names_the_rate() -> None:
    """A program can act on it."""
    error = BodyTooSlow("too slow", rate_min="16384 bytes/s")
    assert (error.code, error.retryable, json.dumps(error.evidence)) == (
        "body_too_slow", True, '{"rate_min": "16384 bytes/s"}',
    )  # fmt: skip
