"""Calls between nodes over real sockets: answers, deadlines, cancellation, and everything that must be turned away."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable

import pytest

from dynafs.config import TimeoutSettings
from dynafs.errors import NotFound, PeerOverloaded, PeerRefused, PeerTimeout, PeerUnreachable
from dynafs.node import SystemClock
from dynafs.peers import PeerListener, PeerPool
from dynafs.ports import Answer
from dynafs.wire.frames import WIRE_VERSION, FrameKind, encode_frame
from dynafs.wire.handshake import Hello, encode_handshake
from dynafs.wire.messages import ChunkReply, ReadChunk, ReadRecord, RecordReply, Request, StatChunks, StoreChunk, Stored

TIMEOUTS = TimeoutSettings(
    connect_s=0.5, ping_interval_s=0.2, ping_timeout_s=0.3, reconnect_min_s=0.01, reconnect_max_s=0.05
)
BIG = os.urandom(3 << 20)


class Service:
    """A handler whose slow requests wait for `gate`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.running = 0
        self.cancelled = asyncio.Event()

    def __call__(self, peer: str, request: Request, body: bytes | bytearray) -> Answer | Awaitable[Answer]:
        if isinstance(request, ReadRecord):
            return Answer(RecordReply(request.key), body)
        if isinstance(request, ReadChunk):
            return Answer(ChunkReply(), BIG)
        if isinstance(request, StoreChunk):
            return self._wait()
        raise NotFound("thing", peer)

    async def _wait(self) -> Answer:
        self.running += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        return Answer(Stored())


def hello(node: str, cluster: str = "c") -> Hello:
    return Hello(WIRE_VERSION, cluster, node, "control", b"ring", b"")


class Pair:
    """Node a calling node b."""

    async def open(self, *, secret: bytes = b"secret", cluster: str = "c", calls_max: int = 8) -> None:
        self.service, self.seen = Service(), []
        self.listener = PeerListener(
            hello("b"), b"secret", TIMEOUTS, SystemClock(), self.service, self.seen.append, 1 << 20
        )
        self.port = await self.listener.start("127.0.0.1:0")
        addresses = {"b": f"127.0.0.1:{self.port}"}
        self.pool = PeerPool(hello("a", cluster), secret, addresses, TIMEOUTS, SystemClock(), calls_max)

    async def wait_up(self, *, up: bool = True) -> None:
        async with asyncio.timeout(5):
            while self.pool.is_up("b") is not up:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.pool.close()
        await self.listener.close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.open()
    await made.wait_up()
    yield made
    await made.close()


async def test_call_brings_head_and_body_back(pair: Pair) -> None:
    """Small and large bodies arrive as they were, many at once."""
    small = [pair.pool.call("b", ReadRecord(b"%d" % i), b"x" * i, timeout_s=2) for i in range(5)]
    big = pair.pool.call("b", ReadChunk(b""), timeout_s=2, is_bulk=True)
    for i, future in enumerate(small):
        assert await future == Answer(RecordReply(b"%d" % i), b"x" * i)
    assert (await big).body == BIG


async def test_error_of_the_other_side_keeps_its_code(pair: Pair) -> None:
    """What the peer refused, and why, reaches the caller."""
    with pytest.raises(PeerRefused) as caught:
        await pair.pool.call("b", StatChunks(b""), timeout_s=2)
    assert caught.value.remote_code == "not_found"


async def test_call_past_its_deadline_fails_and_is_cancelled_over_there(pair: Pair) -> None:
    """A silent answer costs the caller its timeout, and the peer stops working on it."""
    with pytest.raises(PeerTimeout):
        await pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=0.2)
    await asyncio.wait_for(pair.service.cancelled.wait(), 2)


async def test_cancelled_call_frees_its_place(pair: Pair) -> None:
    """With all places taken a call is refused at once; cancelling one makes room."""
    calls = [pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=5) for _ in range(8)]
    with pytest.raises(PeerOverloaded):
        await pair.pool.call("b", ReadRecord(b""), timeout_s=2)
    while pair.service.running < 8:
        await asyncio.sleep(0.01)
    calls[0].cancel()
    await asyncio.wait_for(pair.service.cancelled.wait(), 2)
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")
    pair.service.gate.set()
    assert await asyncio.gather(*calls[1:]) == [Answer(Stored())] * 7


async def test_slow_disk_stops_the_reading_of_bulk_and_nothing_else(pair: Pair) -> None:
    """Bytes received and not yet stored are bounded; small questions still get answers."""
    body = bytes(512 << 10)
    calls = [pair.pool.call("b", StoreChunk(b"", b"", b""), body, timeout_s=5, is_bulk=True) for _ in range(12)]
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")
    async with asyncio.timeout(2):
        while pair.listener.gate.size_bytes <= 1 << 20:
            await asyncio.sleep(0.01)
    assert pair.listener.gate.size_bytes <= (1 << 20) + 2 * len(body)
    pair.service.gate.set()
    assert await asyncio.gather(*calls) == [Answer(Stored())] * 12
    assert pair.listener.gate.size_bytes == 0


async def test_calls_fail_at_once_when_the_peer_goes_and_work_again_when_it_is_back(pair: Pair) -> None:
    """A closed peer costs an error, not a wait; a reopened one is found."""
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=60)
    await pair.pool.call("b", ReadRecord(b""), timeout_s=2)
    await pair.listener.close()
    with pytest.raises(PeerUnreachable) as caught:
        await waiting
    assert caught.value.is_sent
    await pair.wait_up(up=False)
    with pytest.raises(PeerUnreachable) as caught:
        await pair.pool.call("b", ReadRecord(b""), timeout_s=60)
    assert not caught.value.is_sent
    pair.listener = PeerListener(
        hello("b"), b"secret", TIMEOUTS, SystemClock(), pair.service, pair.seen.append, 1 << 20
    )
    await pair.listener.start(f"127.0.0.1:{pair.port}")
    await pair.wait_up()


@pytest.mark.parametrize("stranger", [{"secret": b"wrong"}, {"cluster": "other"}])
async def test_stranger_is_refused_with_one_event_per_try(stranger: dict, events: list[dict]) -> None:
    """A wrong secret or cluster never becomes a connection, and the log says why."""
    pair = Pair()
    await pair.open(**stranger)
    async with asyncio.timeout(5):
        while not any(event["event"] == "peer.refused" for event in events):
            await asyncio.sleep(0.01)
    assert not pair.pool.is_up("b")
    assert pair.seen == []
    with pytest.raises(PeerUnreachable):
        await pair.pool.call("b", ReadRecord(b""), timeout_s=2)
    await pair.close()


FOUR_GIB = bytearray(encode_frame(FrameKind.HELLO, 0, b""))
FOUR_GIB[8:16] = b"\xff" * 8


@pytest.mark.parametrize(
    "data",
    [os.urandom(100), bytes(FOUR_GIB), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", encode_frame(FrameKind.REQUEST, 1, b"x"),
     encode_frame(FrameKind.HELLO, 0, b"not msgpack")],
    ids=["garbage", "four gigabytes", "http", "request before proof", "bad hello"],
)  # fmt: skip
async def test_malformed_bytes_close_the_connection_with_one_event(pair: Pair, data: bytes, events: list[dict]) -> None:
    """Whatever a stranger sends harms nothing but its own connection."""
    events.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
    writer.write(data)
    await asyncio.wait_for(reader.read(), 2)
    writer.close()
    assert [event["event"] for event in events] == ["peer.refused"]
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")


async def test_silent_stranger_is_cut_off(pair: Pair, events: list[dict]) -> None:
    """Someone who connects and says nothing, or only hello, does not stay."""
    nonce = os.urandom(32)
    opening = encode_frame(
        FrameKind.HELLO, 0, encode_handshake(Hello(WIRE_VERSION, "c", "a", "control", b"ring", nonce))
    )
    for data in (b"", opening[:10], opening):
        events.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
        writer.write(data)
        await asyncio.wait_for(reader.read(), 3)
        writer.close()
        assert [event["event"] for event in events] == ["peer.refused"]


async def test_frozen_peer_counts_as_down_before_any_call_finds_out(pair: Pair) -> None:
    """Silence beyond the ping timeout closes the connection."""
    for connection in list(pair.listener.connections):
        connection.set_reading(on=False)
    await pair.wait_up(up=False)
