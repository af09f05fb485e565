"""Peers over real sockets: everything that must be turned away, and what bounds memory."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from dynafs.errors import PeerRefused, PeerTimeout, PeerUnreachable
from dynafs.peers.caller import CallerConnection
from dynafs.peers.listener import ListenerConnection
from dynafs.ports import Answer
from dynafs.wire.frames import FrameKind, encode_frame
from dynafs.wire.handshake import WIRE_VERSION, Hello, encode_handshake
from dynafs.wire.message import Stored
from dynafs.wire.messages import CompareRecords, Differing, ReadRecord, RecordReply, ScanRecords, StoreChunk
from tests.support.pairs import TcpPair as Pair


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.open()
    await made.wait_up()
    yield made
    await made.close()


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
    events.clear()
    for data in (b"", opening[:10], opening):
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
        writer.write(data)
        await asyncio.wait_for(reader.read(), 3)
        writer.close()
    assert {event["event"] for event in events} == {"peer.refused"}


async def test_strangers_cannot_fill_the_log(pair: Pair, events: list[dict]) -> None:
    """One line a second for an address, with a count of what it leaves out."""
    events.clear()
    began_s = asyncio.get_running_loop().time()
    for _ in range(40):
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.port)
        writer.write(b"nonsense" * 10)
        await asyncio.wait_for(reader.read(), 2)
        writer.close()
    took_s = asyncio.get_running_loop().time() - began_s
    refused = [event for event in events if event["event"] == "peer.refused"]
    assert 1 <= len(refused) <= 1 + took_s
    assert sum(event["suppressed"] for event in refused) <= 40 - len(refused)


def control(pair: Pair) -> CallerConnection | None:
    return pair.pool._lanes["b"][0].connection


def is_connected(pair: Pair, events: list[dict]) -> bool:
    return pair.pool.is_up("b") and not any(event["event"] == "peer.disconnected" for event in events)


@pytest.mark.parametrize("request_", [CompareRecords(), ScanRecords(b"", 1)], ids=["at once", "later"])
@pytest.mark.parametrize("strange", [Answer(Differing([object()])), Answer(Stored(), 7), None], ids=str)
async def test_bug_in_a_handler_costs_its_own_call_only(pair: Pair, request_, strange, events: list[dict]) -> None:
    """The asker gets internal_error, the log one event with the traceback, and the connection goes on."""
    events.clear()
    pair.service.strange = strange
    with pytest.raises(PeerRefused) as caught:
        await pair.pool.call("b", request_, timeout_s=2)
    assert caught.value.remote_code == "internal_error"
    logged = [event for event in events if event["event"] == "peer.request_failed"]
    assert len(logged) == 1
    assert logged[0]["exc_info"].__traceback__ is not None
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")
    assert is_connected(pair, events)


async def test_malformed_message_of_a_peer_costs_its_own_call_only(pair: Pair, events: list[dict]) -> None:
    """A request or a reply that cannot be decoded fails one call; frames that cannot be cut end the connection."""
    events.clear()
    connection = control(pair)
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=5)
    connection.send(FrameKind.REQUEST, 77, b"no message")
    for listening in pair.listener.connections:
        listening.send(FrameKind.REPLY, 1, b"no message")
        listening.send(FrameKind.ERROR, 1, b"no message")
        listening.send(FrameKind.REPLY, 99, b"no message")
    with pytest.raises(PeerRefused) as caught:
        await waiting
    assert caught.value.remote_code == "remote_protocol_error"
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")
    assert [event["event"] for event in events] == ["peer.misbehaved"]
    assert is_connected(pair, events)


@pytest.mark.parametrize("side", ["caller", "listener"])
async def test_bug_outside_of_requests_ends_the_connection_with_one_event(
    pair: Pair, side: str, events: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged with its traceback and no peer is blamed; calls under way fail, and the peers connect again."""
    connection = control(pair)
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=5)
    await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)
    events.clear()
    with monkeypatch.context() as patch:
        patch.setattr(CallerConnection if side == "caller" else ListenerConnection, "on_frame", None)
        with pytest.raises(PeerUnreachable):
            await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)
        with pytest.raises(PeerUnreachable):
            await waiting
    logged = [event for event in events if event["event"] in ("peer.connection_failed", "peer.misbehaved")]
    assert {event["event"] for event in logged} == {"peer.connection_failed"}
    assert all(event["exc_info"] for event in logged)
    async with asyncio.timeout(5):
        while control(pair) in (None, connection):
            await asyncio.sleep(0.01)
    await pair.wait_up()
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")


async def test_bug_in_a_sweep_ends_the_connection_and_no_deadline_is_lost(
    pair: Pair, events: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that cannot be swept would keep its calls for ever: it is closed, and the next one is swept."""
    connection = control(pair)
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=60)
    events.clear()
    with monkeypatch.context() as patch:
        patch.setattr(CallerConnection, "_check_life", None)
        with pytest.raises(PeerUnreachable):
            await asyncio.wait_for(waiting, 5)
    assert "peer.connection_failed" in [event["event"] for event in events]
    async with asyncio.timeout(5):
        while control(pair) in (None, connection):
            await asyncio.sleep(0.01)
    with pytest.raises(PeerTimeout):
        await asyncio.wait_for(pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=0.2), 5)
