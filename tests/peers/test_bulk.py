"""Bulk connections over real sockets: opened when a call needs one, closed when unused, and never at a call's cost."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from dynafs.errors import PeerUnreachable
from dynafs.ports import Answer
from dynafs.wire.message import Stored
from dynafs.wire.messages import ReadChunk, ReadRecord, RecordReply, StoreChunk
from tests.support.pairs import BIG
from tests.support.pairs import TcpPair as Pair

IDLE_S = 0.3


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Return a connected pair whose bulk connections close soon."""
    made = Pair()
    await made.open(bulk_idle_s=IDLE_S)
    await made.wait_up()
    yield made
    await made.close()


async def wait_connections(pair: Pair, count: int) -> None:
    async with asyncio.timeout(5):
        while len(pair.listener.connections) != count:
            await asyncio.sleep(0.01)


def read(pair: Pair) -> "asyncio.Future[Answer]":
    return pair.pool.call("b", ReadChunk(b""), timeout_s=5, is_bulk=True)


async def test_bulk_connection_is_there_while_it_is_used(pair: Pair, events: list[dict]) -> None:
    """Beside the control connection none is open before the first bulk call, and none some time after the last."""
    assert len(pair.listener.connections) == 1
    for _ in range(2):
        assert (await read(pair)).body == BIG
        assert len(pair.listener.connections) == 2
        await wait_connections(pair, 1)
        assert pair.pool.is_up("b")
    assert not any(event["event"].startswith("peer.") for event in events if event["event"] != "peer.connected")


async def test_calls_at_once_take_two_connections(pair: Pair) -> None:
    """A call that finds every connection busy has a further one opened, up to two."""
    assert [answer.body == BIG for answer in await asyncio.gather(*(read(pair) for _ in range(6)))] == [True] * 6
    assert len(pair.listener.connections) == 3


async def test_long_call_keeps_its_connection_open(pair: Pair) -> None:
    """A connection is unused only when no call is under way, however long that call takes."""
    call = pair.pool.call("b", StoreChunk(b"", b"", b""), b"x", timeout_s=10, is_bulk=True)
    await asyncio.sleep(5 * IDLE_S)
    assert not call.done()
    pair.service.gate.set()
    assert await call == Answer(Stored())


async def test_no_call_is_lost_while_connections_close(pair: Pair) -> None:
    """Calls come at any moment around the one at which an unused connection closes; each is answered."""
    rng, counts = random.Random(7), set[int]()
    for _ in range(12):
        await asyncio.sleep(rng.uniform(0.5, 2.5) * IDLE_S)
        counts.add(len(pair.listener.connections))
        assert (await read(pair)).body == BIG
        assert pair.pool.is_up("b")
    assert counts == {1, 2}


async def test_call_that_is_cancelled_before_its_connection_stands_is_not_sent(pair: Pair) -> None:
    """It frees its place, and the calls beside it go on."""
    for _ in range(8):
        pair.pool.call("b", StoreChunk(b"", b"", b""), b"x", timeout_s=5, is_bulk=True).cancel()
    await asyncio.sleep(0)
    assert (await read(pair)).body == BIG
    assert pair.service.running == 0
    assert not pair.service.cancelled.is_set()


async def test_peer_that_takes_no_bulk_connection_is_down_until_it_does(pair: Pair) -> None:
    """Calls fail at once and were not sent; small calls go on; the peer counts as up again without a call."""
    pair.listener._server.close()
    with pytest.raises(PeerUnreachable) as caught:
        await read(pair)
    assert not caught.value.is_sent
    assert not pair.pool.is_up("b")
    assert pair.pool.problem("b") == caught.value.reason
    with pytest.raises(PeerUnreachable):
        await read(pair)
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")
    await pair.listener.start(f"127.0.0.1:{pair.port}")
    await pair.wait_up()
    assert (await read(pair)).body == BIG


async def test_bulk_calls_fail_at_once_when_the_peer_goes_and_work_again_when_it_is_back(pair: Pair) -> None:
    """An open bulk connection does not outlive its peer, and none is waited for while the peer is away."""
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), b"x", timeout_s=60, is_bulk=True)
    await read(pair)
    await pair.stop_b()
    with pytest.raises(PeerUnreachable) as caught:
        await waiting
    assert caught.value.is_sent
    await pair.wait_up(up=False)
    with pytest.raises(PeerUnreachable) as caught:
        await read(pair)
    assert not caught.value.is_sent
    await pair.start_b()
    await pair.wait_up()
    assert (await read(pair)).body == BIG
