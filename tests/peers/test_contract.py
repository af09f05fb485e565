"""The contract of calls between nodes, over real sockets and over the simulated network."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dynafs.errors import PeerOverloaded, PeerRefused, PeerTimeout, PeerUnreachable, RequestTooLarge
from dynafs.ports import Answer
from dynafs.wire.frames import BODY_SIZE_BYTES_MAX, HEAD_SIZE_BYTES_MAX
from dynafs.wire.message import Stored
from dynafs.wire.messages import (
    ChunkReply,
    CompareRecords,
    Differing,
    ReadChunk,
    ReadRecord,
    RecordReply,
    ScannedRecords,
    ScanRecords,
    StatChunks,
    StoreChunk,
)
from tests.support.pairs import BIG, SimPair, TcpPair


@pytest.fixture(params=[TcpPair, SimPair])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[TcpPair | SimPair]:
    """Return a connected pair of each kind."""
    made = request.param()
    await made.open()
    await made.wait_up()
    yield made
    await made.close()


async def test_call_brings_head_and_body_back(pair) -> None:
    """Small and large bodies arrive as they were, many at once."""
    small = [pair.pool.call("b", ReadRecord(b"%d" % i), b"x" * i, timeout_s=2) for i in range(5)]
    big = pair.pool.call("b", ReadChunk(b""), timeout_s=2, is_bulk=True)
    for i, future in enumerate(small):
        assert await future == Answer(RecordReply(b"%d" % i), b"x" * i)
    assert (await big).body == BIG


async def test_error_of_the_other_side_keeps_its_code(pair) -> None:
    """What the peer refused, and why, reaches the caller."""
    with pytest.raises(PeerRefused) as caught:
        await pair.pool.call("b", StatChunks(b""), timeout_s=2)
    assert caught.value.remote_code == "not_found"


@pytest.mark.parametrize("request_", [CompareRecords(), ScanRecords(b"", 1)], ids=["at once", "later"])
@pytest.mark.parametrize(
    "answer",
    [Answer(Differing(list(range(HEAD_SIZE_BYTES_MAX)))), Answer(ScannedRecords(b""), bytes(BODY_SIZE_BYTES_MAX + 1))],
    ids=["head", "body"],
)
async def test_answer_too_large_to_send_fails_its_own_call_only(pair, request_, answer: Answer) -> None:
    """The asker gets an error at once; the other calls and the connection go on."""
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=5)
    pair.service.strange = answer
    with pytest.raises(PeerRefused) as caught:
        await pair.pool.call("b", request_, timeout_s=2)
    assert caught.value.remote_code == "reply_too_large"
    pair.service.gate.set()
    assert await waiting == Answer(Stored())


@pytest.mark.parametrize(
    ("message", "body"),
    [(ReadRecord(bytes(HEAD_SIZE_BYTES_MAX)), b""), (StoreChunk(b"", b"", b""), bytes(BODY_SIZE_BYTES_MAX + 1))],
    ids=["head", "body"],
)
async def test_request_too_large_to_send_fails_its_own_call_only(pair, message, body: bytes) -> None:
    """It is not sent and takes no place; the connection goes on."""
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=5)
    for _ in range(10):
        with pytest.raises(RequestTooLarge):
            await pair.pool.call("b", message, body, timeout_s=2)
    pair.service.gate.set()
    assert await waiting == Answer(Stored())


async def test_reply_of_another_type_fails_its_own_call_only(pair) -> None:
    """A peer that answers another question than was asked is not believed."""
    pair.service.strange = Answer(ChunkReply())
    with pytest.raises(PeerRefused) as caught:
        await pair.pool.call("b", CompareRecords(), timeout_s=2)
    assert caught.value.remote_code == "remote_protocol_error"
    assert (await pair.pool.call("b", ReadRecord(b"k"), timeout_s=2)).message == RecordReply(b"k")


async def test_call_past_its_deadline_fails_and_is_cancelled_over_there(pair) -> None:
    """A silent answer costs the caller its timeout, and the peer stops working on it."""
    with pytest.raises(PeerTimeout):
        await pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=0.2)
    await asyncio.wait_for(pair.service.cancelled.wait(), 2)


async def test_deadline_of_a_call_does_not_depend_on_those_before_it(pair) -> None:
    """A short one after a long one is kept, and so is the long one."""
    calls = [pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=timeout_s) for timeout_s in (30, 0.2, 1.0)]
    for call, others in ((calls[1], calls[2]), (calls[2], calls[0])):
        with pytest.raises(PeerTimeout):
            await asyncio.wait_for(call, 5)
        assert not others.done()
    pair.service.gate.set()
    assert await calls[0] == Answer(Stored())


async def test_cancelled_call_frees_its_place(pair) -> None:
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


async def test_calls_fail_at_once_when_the_peer_goes_and_work_again_when_it_is_back(pair) -> None:
    """A closed peer costs an error, not a wait; a reopened one is found."""
    waiting = pair.pool.call("b", StoreChunk(b"", b"", b""), timeout_s=60)
    await pair.pool.call("b", ReadRecord(b""), timeout_s=2)
    await pair.stop_b()
    with pytest.raises(PeerUnreachable) as caught:
        await waiting
    assert caught.value.is_sent
    await pair.wait_up(up=False)
    with pytest.raises(PeerUnreachable) as caught:
        await pair.pool.call("b", ReadRecord(b""), timeout_s=60)
    assert not caught.value.is_sent
    await pair.start_b()
    await pair.wait_up()


async def test_frozen_peer_counts_as_down_before_any_call_finds_out(pair) -> None:
    """Silence beyond the ping timeout closes the connection."""
    pair.freeze_b()
    await pair.wait_up(up=False)
