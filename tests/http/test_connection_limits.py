"""Client connections have limits, and strangers who use them up do not keep others out."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector
from hypothesis import given
from hypothesis import strategies as st

from dynafs.http.connection_limits import ConnectionLimits, counted_address

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
GET = HEAD + b"\r\n"
PUT_BEGUN = b"PUT /v1/files/d/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc"


#: Connections of the test under way.
_made: list["Stranger"] = []


@pytest.fixture(autouse=True)
async def _end_connections() -> AsyncIterator[None]:
    """End all connections of a test, and give the process back its limit, which nodes raise."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    for one in _made:
        one.writer.transport.abort()
    await asyncio.sleep(0)
    _made.clear()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Stranger:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, data: bytes = b"") -> "Stranger":
        stranger = cls(*await asyncio.open_connection("127.0.0.1", port))
        _made.append(stranger)
        stranger.writer.write(data)
        await stranger.writer.drain()
        return stranger

    async def answer(self) -> bytes:
        """Return the next response, b"" when the connection was closed instead."""
        try:
            async with asyncio.timeout(5):
                head = await self.reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                return head + await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


async def wait_for(condition, within_s: float = 5.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_idle_strangers_give_way(make_cluster, events: list) -> None:
    """At the limit, the oldest connection without a request is closed for a new one: half headers, then idle ones."""
    cluster = make_cluster(http={"connections_max": 5}, count=1, n=1, r=1, w=1)
    await cluster.launch("n1")
    port, limits = cluster.http_ports["n1"], cluster.nodes["n1"].http._limits
    served = await Stranger.connect(port, GET)
    assert (await served.answer()).startswith(b"HTTP/1.1 200")
    strangers = [await Stranger.connect(port, data) for data in (b"", HEAD, b"", HEAD)]
    await wait_for(lambda: limits.count == 5)
    await asyncio.sleep(1.1)  # the time that new connections have for their first request
    for _ in range(3):
        one = await Stranger.connect(port, GET)
        assert (await one.answer()).startswith(b"HTTP/1.1 200")
    for gone in strangers[:3]:
        assert await gone.reader.read() == b""
    served.writer.write(GET)
    assert (await served.answer()).startswith(b"HTTP/1.1 200")
    assert limits.count <= 5
    assert [e["limit"] for e in events if e["event"] == "connections.limited"] == ["made_room"]


async def test_connections_with_requests_stay_and_a_further_one_gets_503(make_cluster, session: ClientSession) -> None:
    """Uploads under way are not cut for a new connection, which is refused in words; their places are given back."""
    cluster = make_cluster(http={"connections_max": 4}, count=1, n=1, r=1, w=1)
    await cluster.launch("n1")
    port, limits = cluster.http_ports["n1"], cluster.nodes["n1"].http._limits
    uploads = [await Stranger.connect(port, PUT_BEGUN) for _ in range(4)]
    await wait_for(lambda: limits.count == 4 and not limits._all.fresh)
    for _ in range(20):
        one = await Stranger.connect(port, GET)
        answer = await one.answer()
        assert answer.startswith(b"HTTP/1.1 503"), answer
        assert b"Connection: close" in answer
        assert b"Retry-After: 1" in answer
        assert b'"code":"overloaded"' in answer
        assert b"Server: dynafs" in answer
        assert b"X-Request-Id: n1-" in answer
    descriptors = len(os.listdir("/proc/self/fd"))
    crowd = [await Stranger.connect(port) for _ in range(200)]
    assert len(os.listdir("/proc/self/fd")) <= descriptors + len(crowd) + 64
    for upload in uploads:
        upload.writer.write(b"defghi")
        assert (await upload.answer()).startswith(b"HTTP/1.1 201")
    async with session.get(f"{cluster.url()}/metrics") as response:
        text = await response.text()
    assert 'dynafs_http_connections_refused_total{limit="connections"}' in text
    assert "dynafs_http_connections " in text
    await session.close()
    for upload in uploads:
        upload.writer.close()
    await wait_for(lambda: limits.count == 0)


async def test_header_takes_too_long(make_cluster, session: ClientSession) -> None:
    """From the first byte of a request to the end of its headers there is a time, however slowly bytes come."""
    cluster = make_cluster(http={"header_timeout_s": 0.5}, count=1, n=1, r=1, w=1)
    await cluster.launch("n1")
    idle = await Stranger.connect(cluster.http_ports["n1"])
    slow = await Stranger.connect(cluster.http_ports["n1"], GET + HEAD)
    assert (await slow.answer()).startswith(b"HTTP/1.1 200")

    async def drip() -> None:
        while True:
            slow.writer.write(b"X")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await slow.reader.read() == b""
    dripping.cancel()
    idle.writer.write(GET)
    assert (await idle.answer()).startswith(b"HTTP/1.1 200")


async def test_unfinished_headers_share_a_budget(make_cluster) -> None:
    """Many connections with large half headers do not add up."""
    cluster = make_cluster(http={"headers_pending_size_bytes_max": 200_000}, count=1, n=1, r=1, w=1)
    await cluster.launch("n1")
    port, limits = cluster.http_ports["n1"], cluster.nodes["n1"].http._limits
    large = HEAD + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 4000) for i in range(7))
    strangers = [await Stranger.connect(port, large) for _ in range(20)]
    await wait_for(lambda: limits.count <= 7)
    assert await strangers[0].answer() == b""
    strangers[-1].writer.write(b"\r\n")
    assert (await strangers[-1].answer()).startswith(b"HTTP/1.1 200")


async def test_client_that_does_not_read_is_cut_off(make_cluster) -> None:
    """Responses that no client reads do not stay for ever, small ones included."""
    cluster = make_cluster(http={"body_stall_timeout_s": 0.4}, count=1, n=1, r=1, w=1)
    await cluster.start()
    async with ClientSession() as session:
        for path, size in (("d/small", 60_000), ("d/big", 8 << 20)):
            async with session.put(cluster.file_url(path), data=bytes(size)) as response:
                assert response.status == 201
    limits = cluster.nodes["n1"].http._limits
    strangers = []
    for path in (b"small", b"big"):
        one = await Stranger.connect(cluster.http_ports["n1"])
        one.writer.transport.pause_reading()
        one.writer.write((b"GET /v1/files/d/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path) * 300)
        strangers.append(one)
    await wait_for(lambda: limits.count == 2)
    await wait_for(lambda: limits.count == 0, within_s=10)


class Fake:
    """A connection of the bookkeeping only."""

    def __init__(self) -> None:
        self.reason = ""

    def drop(self, reason: str) -> None:
        self.reason = reason


@given(st.data())
def test_bookkeeping_never_exceeds_a_limit_nor_drops_a_request(data: st.DataObject) -> None:
    """Whatever happens in which order, limits hold, busy connections stay, and nothing is left behind."""
    limits = ConnectionLimits(6, 3, 50, 1000)
    hosts = ["127.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"]
    open_, busy, host_of, now_s = [], set(), {}, 0.0
    for _ in range(data.draw(st.integers(0, 60))):
        now_s += data.draw(st.sampled_from([0.0, 0.7]))
        action = data.draw(st.sampled_from(["admit", "begin", "end", "pending", "remove"]))
        if action == "admit":
            one, host = Fake(), data.draw(st.sampled_from(hosts))
            was_busy = set(busy)
            if not limits.admit(one, host, data.draw(st.sampled_from([10, 10, 10, 60])), now_s):
                open_.append(one)
                host_of[one] = counted_address(host)
            assert not any(other.reason for other in was_busy)
        elif open_:
            one = data.draw(st.sampled_from(open_))
            if action == "begin":
                limits.begin_request(one)
                busy.add(one)
            elif action == "end" and one in busy:
                limits.end_request(one)
                busy.discard(one)
            elif action == "pending" and one not in busy:
                limits.add_pending(one, data.draw(st.integers(1, 600)))
            elif action == "remove":
                limits.remove(one)
                open_.remove(one)
                busy.discard(one)
        open_ = [one for one in open_ if not one.reason]
        assert limits.count == len(open_) <= 6
        for address in set(host_of.values()) - {""}:
            assert sum(host_of[one] == address for one in open_) <= 3
        assert 0 <= limits._pending_size_bytes <= 1000
    for one in open_:
        limits.remove(one)
    assert (limits.count, limits._addresses, limits._pending_size_bytes) == (0, {}, 0)


def test_new_connections_have_a_moment_for_their_first_request() -> None:
    """Many new connections in a moment do not push each other out before their requests can arrive."""
    limits, idle, fresh, late = ConnectionLimits(2, 0, 99, 99), Fake(), Fake(), Fake()
    for one in (idle, fresh):
        assert limits.admit(one, "10.0.0.1", 5, 0.0) == ""
    limits.begin_request(idle)
    limits.end_request(idle)
    assert limits.admit(late, "10.0.0.1", 5, 0.5) == ""
    assert (idle.reason, fresh.reason) == ("made_room", "")
    assert limits.admit(Fake(), "10.0.0.1", 5, 1.2) == ""
    assert fresh.reason == "made_room"


def test_addresses_count_as_clients_have_them() -> None:
    """One client is one IPv4 address or one /64; loopback is never limited."""
    assert counted_address("10.0.0.1") == "10.0.0.1"
    assert counted_address("2001:db8::1") == counted_address("2001:db8::2:3") != counted_address("2001:db8:0:1::1")
    assert counted_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert {counted_address(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "")} == {""}


def unused_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_settings(path: Path, port: int, more: str = "") -> Path:
    """Write settings of a cluster of one node."""
    file = path / "node.toml"
    file.write_text(
        f'[node]\nname = "n1"\ndata_dir = "{path / "data"}"\n[http]\nlisten = "127.0.0.1:{port}"\n{more}\n'
        f'[cluster]\nsecret = "a secret for tests only"\nn = 1\nr = 1\nw = 1\n[log]\nformat = "json"\n'
        f'[[cluster.members]]\nnode = "n1"\naddress = "127.0.0.1:{unused_port()}"\n'
    )
    return file


def serve(settings: Path, descriptors: tuple[int, int]) -> subprocess.Popen:
    """Start a node with limits (soft, hard) of its descriptors."""
    return subprocess.Popen(
        [sys.executable, "-m", "dynafs", "serve", "--config", str(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, descriptors),  # noqa: PLW1509
    )  # fmt: skip


def test_node_refuses_to_start_without_enough_descriptors(tmp_path: Path) -> None:
    """The settings are named, with what would fit; exit code 2, as for all settings that cannot work."""
    with serve(write_settings(tmp_path, unused_port()), (1024, 2048)) as node:
        text = node.communicate(timeout=20)[0]
    assert node.returncode == 2, text
    assert "http.connections_max" in text
    assert "the hard limit is 2048" in text
    assert "Traceback" not in text


async def test_strangers_never_take_the_descriptors_of_the_store(tmp_path: Path) -> None:
    """With a soft limit of 1024, 1,500 strangers hold connections, and others go on writing and reading."""
    port = unused_port()
    node = serve(write_settings(tmp_path, port, "connections_max = 600"), (1024, 2048))
    try:
        async with asyncio.timeout(60), ClientSession(connector=TCPConnector(force_close=True)) as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                        if response.status == 200:
                            break
                except (OSError, ClientError):
                    await asyncio.sleep(0.05)
            for i in range(1500):
                await Stranger.connect(port, (b"", HEAD, PUT_BEGUN)[i % 3] if i < 900 else b"")
            count = len(os.listdir(f"/proc/{node.pid}/fd"))
            assert 500 < count < 600 + 128
            for i in range(20):
                async with session.put(f"http://127.0.0.1:{port}/v1/files/d/{i}", data=bytes(100_000)) as response:
                    assert response.status == 201, await response.text()
                async with session.get(f"http://127.0.0.1:{port}/v1/files/d/{i}") as response:
                    assert len(await response.read()) == 100_000
    finally:
        node.send_signal(signal.SIGTERM)
        text = await asyncio.to_thread(lambda: node.communicate(timeout=30)[0])
    assert "Too many open files" not in text
    assert "connections.limited" in text
    assert text.count("\n") < 50
